"""What can be chosen: candidates, the space that they are sampled from, and presets."""

from spaces.candidate import (
    Architecture,
    Augmentation,
    Bits,
    Candidate,
    CandidateError,
    Pruning,
    Recipe,
    Sparsity,
)
from spaces.methods import METHODS, method_name, sparsity
from spaces.presets import presets
from spaces.space import Space, SpaceError

__all__ = [
    "METHODS",
    "Architecture",
    "Augmentation",
    "Bits",
    "Candidate",
    "CandidateError",
    "Pruning",
    "Recipe",
    "Space",
    "SpaceError",
    "Sparsity",
    "method_name",
    "presets",
    "sparsity",
]

"""What can be chosen: candidates, the space that they are sampled from, and presets."""

if __name__ != "slimfront.spaces":
    raise ImportError("slimfront's package spaces is imported as slimfront.spaces")

from slimfront.spaces.candidate import (
    Architecture,
    Augmentation,
    Bits,
    Candidate,
    CandidateError,
    Pruning,
    Recipe,
    Sparsity,
)
from slimfront.spaces.domain import SpaceError
from slimfront.spaces.methods import method_name, sparsity
from slimfront.spaces.presets import presets
from slimfront.spaces.space import Space

__all__ = [
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

"""Weight sharing: many shapes of a network trained as parts of one, cut out of it, measured, and trained on."""

from slimfront.evaluators.supernet.measuring import Measured, measure
from slimfront.evaluators.supernet.screening import Screening, screen, screening_file
from slimfront.evaluators.supernet.shapes import Shapes
from slimfront.evaluators.supernet.sharing import Sharing
from slimfront.evaluators.supernet.supernet import Supernet, cut, load_supernet, supernet_file, supernet_for

__all__ = [
    "Measured",
    "Screening",
    "Shapes",
    "Sharing",
    "Supernet",
    "cut",
    "load_supernet",
    "measure",
    "screen",
    "screening_file",
    "supernet_file",
    "supernet_for",
]

"""Weight sharing: many shapes of a network trained as parts of one, cut out of it, measured, and trained on."""

from slimfront.evaluators.supernet.measuring import Measured, measure
from slimfront.evaluators.supernet.shapes import Shapes
from slimfront.evaluators.supernet.sharing import Sharing
from slimfront.evaluators.supernet.supernet import Supernet, cut, load_supernet, supernet_file, supernet_for

__all__ = [
    "Measured",
    "Shapes",
    "Sharing",
    "Supernet",
    "cut",
    "load_supernet",
    "measure",
    "supernet_file",
    "supernet_for",
]

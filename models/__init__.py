"""Networks: blocks, building, bit-widths by layer, folding."""

from models.folding import fold_batch_norm
from models.network import Network, build, weight_layers
from models.precision import assign_bits, layer_bits

__all__ = ["Network", "assign_bits", "build", "fold_batch_norm", "layer_bits", "weight_layers"]

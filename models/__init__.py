"""Networks: blocks, building, bit-widths by layer, folding."""

if __name__ != "slimfront.models":
    raise ImportError("slimfront's package models is imported as slimfront.models")

from slimfront.models.folding import fold_batch_norm
from slimfront.models.network import Network, build, weight_layers
from slimfront.models.quantization.precision import assign_bits, layer_bits

__all__ = ["Network", "assign_bits", "build", "fold_batch_norm", "layer_bits", "weight_layers"]

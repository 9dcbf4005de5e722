"""Networks under tracers: the kernels are invisible to them, so torch's own operations run, and the graph computes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from slimfront.models import assign_bits, build
from slimfront.models.quantization.calibration import calibrate
from slimfront.models.quantization.conversion import quantize
from slimfront.spaces import Bits, presets
from torch import Tensor, nn

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))

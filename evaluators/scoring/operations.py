"""The table of operations: how many multiply-adds one takes, or that it is cheap. What is in neither is refused.

Multiply-adds are counted where numbers are multiplied and summed up: matrix products, convolutions, attention,
recurrent layers. Most formulas are torch's (`torch.utils.flop_counter.flop_registry`, two operations each); it has none
for products with a vector, sparse and bilinear ones, for attention on the CPU and for fused recurrent layers.

Cheap are operations that take a few for every number that they read or write: elementwise ones, norms, pooling, sums,
and those that only move, choose or make numbers. The formula of the score leaves them out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

Rule = Callable[..., int]
"""(the operation's arguments..., out=its result) -> multiply-adds"""

_aten = torch.ops.aten


def _attention(query: Tensor, key: Tensor, value: Tensor, *_other: Any, out: Any, **_more: Any) -> int:
    # (..., L, E) x (..., S, E) -> (..., L, S); then x (..., S, V) -> (..., L, V)
    pairs = query.shape[:-1].numel() * key.shape[-2]
    return int(pairs * (query.shape[-1] + value.shape[-1]))


def _positions(x: Tensor) -> int:
    return x.numel() // max(1, x.shape[-1])


def _recurrent_layer(x: Tensor, ih: Tensor, hh: Tensor, *_other: Any, out: Any, **_more: Any) -> int:
    return _positions(x) * (ih.numel() + hh.numel())  # every weight once a step


def _recurrent(x: Tensor, weights: list[Tensor], *_other: Any, out: Any, **_more: Any) -> int:
    return _positions(x) * sum(weight.numel() for weight in weights if weight.dim() > 1)


def _trilinear(
    a: Tensor, b: Tensor, c: Tensor, of_a: list[int], of_b: list[int], of_c: list[int], *_other: Any, out: Any
) -> int:
    shapes = []
    for tensor, places in ((a, of_a), (b, of_b), (c, of_c)):
        shape = list(tensor.shape)
        for place in places:
            shape.insert(place, 1)
        shapes.append(shape)
    return int(torch.broadcast_shapes(*shapes).numel())  # type: ignore[no-untyped-call]


_OWN: Mapping[str, Rule] = {
    "mv": lambda matrix, vector, *, out: matrix.numel(),
    "addmv": lambda _, matrix, vector, *, out, **scales: matrix.numel(),
    "dot": lambda a, b, *, out: a.numel(),
    "vdot": lambda a, b, *, out: a.numel(),
    "addbmm": lambda _, a, b, *, out, **scales: a.numel() * b.shape[-1],
    "_addmm_activation": lambda _, a, b, *, out, **scales: a.numel() * b.shape[-1],
    "_int_mm": lambda a, b, *, out: a.numel() * b.shape[-1],
    "_sparse_mm": lambda a, b, *_, out: a.numel() * b.shape[-1],
    "_sparse_addmm": lambda _, a, b, *, out, **scales: a.numel() * b.shape[-1],
    "sparse_sampled_addmm": lambda _, a, b, *, out, **scales: a.numel() * b.shape[-1],
    "conv_tbc": lambda x, weight, *_, out: _positions(out) * weight.numel(),
    "_cdist_forward": lambda a, b, *_, out: a.numel() * b.shape[-2],
    "_trilinear": _trilinear,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_fused_attention_overrideable": _attention,
    "mkldnn_rnn_layer": _recurrent_layer,
    "_cudnn_rnn": _recurrent,
    "miopen_rnn": _recurrent,
}


def _by_torch(formula: Callable[..., int]) -> Rule:
    return lambda *args, out, **kwargs: formula(*args, **kwargs, out_val=out) // 2  # which counts each as two


def _table() -> dict[Any, Rule]:
    own = {getattr(_aten, name): rule for name, rule in _OWN.items() if hasattr(_aten, name)}
    return {packet: _by_torch(formula) for packet, formula in flop_registry.items()} | own


_RULES = _table()

# Elementwise operations carry torch's tag for them; these do not.
_CHEAP_WORDS = """
alias as_strided as_strided_ broadcast_to chunk clone col2im constant_pad_nd contiguous copy copy_ detach
detach_ diag diag_embed diagonal expand flatten flip gather im2col index index_add index_copy index_fill
index_put index_put_ index_select lift lift_fresh lift_fresh_copy masked_scatter masked_select movedim narrow
nonzero pad permute pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle put reflection_pad1d
reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d
reshape resize resize_ roll rot90 scatter scatter_ scatter_add scatter_add_ scatter_reduce select select_scatter
set_ slice slice_scatter split split_with_sizes squeeze squeeze_ stack cat t t_ take tensor_split to _to_copy
transpose transpose_ tril triu unbind unfold unsafe_split unsafe_split_with_sizes unsqueeze unsqueeze_ view
view_as_complex view_as_real _unsafe_view _reshape_alias _reshape_copy _to_dense _to_sparse to_mkldnn _conj
_neg_view unsafe_chunk expand_copy embedding _embedding_bag _embedding_bag_forward_only _unsafe_index
_unsafe_index_put _unsafe_masked_index tril_indices triu_indices meshgrid _pack_padded_sequence one_hot fill
fill_ zero zero_ is_same_size _coalesced_ sparse_coo_tensor _sparse_coo_tensor_with_dims_and_tensors

arange bernoulli bernoulli_ empty empty_like empty_strided empty_permuted eye full full_like linspace logspace
multinomial new_empty new_empty_strided new_full new_ones new_zeros normal normal_ ones ones_like rand rand_like
randint randint_like randn randn_like randperm scalar_tensor uniform uniform_ zeros zeros_like exponential_
_efficientzerotensor

_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d
avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices max_pool1d max_pool2d max_pool3d
mkldnn_max_pool2d fractional_max_pool2d max_unpool2d max_unpool3d _adaptive_avg_pool1d grid_sampler_2d
grid_sampler_3d upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
upsample_nearest3d upsample_trilinear3d _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d affine_grid_generator

_fused_rms_norm _log_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training _softmax all amax
amin aminmax any argmax argmin argsort batch_norm_stats bincount bucketize count_nonzero cummax cummin cumprod
cumsum histc kthvalue logcumsumexp logsumexp linalg_vector_norm max mean median min mode msort nanmedian nansum
native_batch_norm native_group_norm native_layer_norm norm prod rms_norm searchsorted sort std std_mean sum topk
unique_consecutive _unique2 unique_dim var var_mean _weight_norm_interface cross equal _local_scalar_dense item
cudnn_batch_norm miopen_batch_norm renorm dist _safe_softmax _masked_softmax

native_dropout dropout _fused_dropout alpha_dropout rrelu_with_noise fake_quantize_per_tensor_affine
fake_quantize_per_channel_affine fake_quantize_per_tensor_affine_cachemask
fake_quantize_per_channel_affine_cachemask _fake_quantize_per_tensor_affine_cachemask_tensor_qparams
_fake_quantize_learnable_per_tensor_affine _fake_quantize_learnable_per_channel_affine
_fused_moving_avg_obs_fq_helper glu prelu _prelu_kernel addr ger real imag isfinite isinf isnan _assert_async
_assert_tensor_metadata sym_size record_stream

celu elu hardshrink hardsigmoid hardtanh leaky_relu log_sigmoid_forward mish relu6 selu softplus softshrink threshold
ldexp rad2deg
"""
"""Moving, choosing; making numbers; pooling, resizing; norms, sums, orders; chance; what older torch has no tag for."""
_CHEAP = frozenset(_CHEAP_WORDS.split())


def rule_of(operation: Any) -> Rule | None:
    """How many multiply-adds an operation takes; None: it is not in the table."""
    return _RULES.get(operation.overloadpacket)


_ADDED_TO = frozenset(
    ("addmm", "addmv", "addbmm", "baddbmm", "_addmm_activation", "_sparse_addmm", "sparse_sampled_addmm")
)
_BIASED = frozenset(("convolution", "_convolution", "convolution_overrideable", "conv_tbc", "_slow_conv2d_forward"))


def factors(operation: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those of an operation's arguments that are multiplied: not what is added to the products."""
    name = name_of(operation).partition("::")[2]
    if name in _ADDED_TO:
        return args[1:3]
    if name in _BIASED:
        return args[:2]
    if name.endswith(("rnn", "rnn_layer")):
        flat = [one for arg in args[1:3] for one in (arg if isinstance(arg, list | tuple) else [arg])]
        return tuple(one for one in flat if isinstance(one, Tensor) and one.dim() > 1)
    return args[:3] if "attention" in name else args


def is_cheap(operation: Any) -> bool:
    """Whether an operation is one of those that the score leaves out."""
    if torch.Tag.pointwise in operation.tags:
        return True
    space, _, name = operation.overloadpacket._qualified_op_name.partition("::")
    return space in ("aten", "prims") and not _CHEAP.isdisjoint((name, name.removesuffix("_")))


def name_of(operation: Any) -> str:
    """What an operation is called: "aten::mv"."""
    return str(operation.overloadpacket._qualified_op_name)

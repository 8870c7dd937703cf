"""Checks that must hold before an op touches memory; native code believes them.

One function per op, used by every implementation, so that all refuse the same calls in the same
words. Each raises `KernelError` and changes nothing. `device` is the type of the device that the
tensors must be on; None stands for wherever the first one is.
"""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from tinychat.errors import KernelError
from tinychat.kernels import (
    Activation,
    AttentionShape,
    Norm,
    PackedWeight,
    QKNorm,
    SamplingRule,
)
from tinychat.kernels.rows import row_width
from tinychat.quantize.format import BITS

FLOAT32 = (torch.float32,)
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
INT32 = (torch.int32,)


def check(
    tensor: Tensor,
    name: str,
    shape: tuple[int | None, ...],
    dtypes: tuple[torch.dtype, ...] = FLOAT32,
    device: str = "cpu",
    strided: bool = False,
) -> None:
    """Refuse a tensor that is not as the op needs it.

    Args:
        tensor: the argument.
        name: what a message calls it, as "x of matmul".
        shape: the sizes it must have; None for any.
        dtypes: the dtypes that the op takes.
        device: the device type that the op runs on.
        strided: whether the op takes it in whatever order it lies in memory.
    Raises: KernelError naming what differs.
    """
    actual = tuple(tensor.shape)
    fits = len(actual) == len(shape) and all(
        want is None or want == have for want, have in zip(shape, actual, strict=True)
    )
    if not fits:
        expected = ", ".join("*" if size is None else str(size) for size in shape)
        raise KernelError(f"{name} has shape {list(actual)}, expected [{expected}]")
    if tensor.dtype not in dtypes:
        expected = " or ".join(str(dtype) for dtype in dtypes)
        raise KernelError(f"{name} is {tensor.dtype}, expected {expected}")
    if tensor.device.type != device:
        raise KernelError(f"{name} is on {tensor.device}, expected {device}")
    if not strided and not tensor.is_contiguous():
        raise KernelError(f"{name} is not contiguous; call .contiguous() first")


def address(
    tensor: Tensor,
    name: str,
    shape: tuple[int | None, ...],
    dtypes: tuple[torch.dtype, ...] = FLOAT32,
    device: str = "cpu",
) -> int:
    """The address of a tensor that passes `check`."""
    check(tensor, name, shape, dtypes, device)
    return tensor.data_ptr()


def optional_address(tensor: Tensor | None) -> int:
    """The address of a tensor that was checked, null for None."""
    return 0 if tensor is None else tensor.data_ptr()


def qk_norm_arguments(norm: QKNorm | None) -> tuple[int, int, float]:
    """One that was checked as native code takes it: the addresses of q and k, null for None, and
    eps.
    """
    return (0, 0, 0.0) if norm is None else (norm.q.data_ptr(), norm.k.data_ptr(), norm.eps)


def embedding(ids: Tensor, table: Tensor, device: str | None = None) -> None:
    """For `embedding`."""
    device = device or ids.device.type
    check(ids, "ids of embedding", (None,), INT32, device)
    check(table, "table of embedding", (None, None), FLOATS, device)


def norm(x: Tensor, norm: Norm, device: str | None = None, op: str = "norm") -> None:
    """For `norm`, and for the op that has one inside."""
    device = device or x.device.type
    check(x, f"x of {op}", (None, None), device=device)
    if norm.kind not in ("rms", "layer"):
        raise KernelError(f"norm of {op} is {norm.kind!r}, expected rms or layer")
    owner = op if op == "norm" else f"norm of {op}"
    check(norm.weight, f"weight of {owner}", (x.shape[1],), device=device)
    if norm.bias is not None:
        if norm.kind == "rms":
            raise KernelError(f"bias of {owner}: an rms norm has none")
        check(norm.bias, f"bias of {owner}", (x.shape[1],), device=device)


def bits(bits: int) -> None:
    """For `pack`, and for what reads a packed weight."""
    if bits not in BITS:
        raise KernelError(f"a weight has {bits} bits, expected 2, 3, 4 or 8")


def round_to_nearest(weight: Tensor, device: str | None = None) -> None:
    """For `round_to_nearest`."""
    name = "weight of round_to_nearest"
    check(weight, name, (None, None), FLOATS, device or weight.device.type)
    if weight.numel() == 0:
        raise KernelError(f"{name} has shape {list(weight.shape)}, expected no empty axis")


def unpack_rows(words: Tensor, width: int, order: Tensor | None, device: str | None = None) -> None:
    """For `unpack_rows`; words may have any strides.

    Args:
        width: bits of an integer.
    """
    device = device or words.device.type
    bits(width)
    check(words, "words of unpack_rows", (None, None), INT32, device, strided=True)
    count, rest = divmod(words.shape[1] * 32, width)
    if rest:
        raise KernelError(
            f"words of unpack_rows has {words.shape[1]} words in a row, expected a whole number of "
            f"{width}-bit integers"
        )
    if order is not None:
        check(order, "order of unpack_rows", (count,), INT32, device)


def unpack_awq(words: Tensor, device: str | None = None) -> None:
    """For `unpack_awq`."""
    check(words, "words of unpack_awq", (None, None), INT32, device or words.device.type)


def matmul(
    x: Tensor,
    weight: PackedWeight,
    bias: Tensor | None,
    before: Norm | None,
    order: Tensor | None,
    gate: str | None,
    residual: Tensor | None,
    device: str | None = None,
) -> None:
    """For `matmul`; `before` is its norm."""
    device = device or x.device.type
    outputs, inputs = weight.shape
    check(x, "x of matmul", (None, inputs), device=device)
    if bias is not None:
        check(bias, "bias of matmul", (outputs,), device=device)
    if before is not None:
        norm(x, before, device, "matmul")
    if order is not None:
        check(order, "order of matmul", (inputs,), INT32, device)
    if gate is not None:
        known(gate, "gate of matmul")
        if outputs % 2:
            raise KernelError(f"weight of matmul has {outputs} rows, expected an even number")
        if residual is not None:
            raise KernelError("residual of matmul: not with a gate")
    if residual is not None:
        check(residual, "residual of matmul", (x.shape[0], outputs), device=device)
        if residual.numel() and residual.data_ptr() == x.data_ptr():
            raise KernelError("residual of matmul is x, expected memory of its own")


def refine(
    logits: Tensor, x: Tensor, weight: PackedWeight, tiles: int, device: str | None = None
) -> None:
    """For `refine`."""
    device = device or x.device.type
    outputs, inputs = weight.shape
    check(x, "x of refine", (None, inputs), device=device)
    check(logits, "logits of refine", (x.shape[0], outputs), device=device)
    if tiles < 1:
        raise KernelError(f"tiles of refine is {tiles}, expected 1 or more")


def attention(
    qkv: Tensor,
    keys: Tensor,
    values: Tensor,
    start: Tensor,
    shape: AttentionShape,
    rope: tuple[Tensor, Tensor] | None,
    alibi: Tensor | None,
    qk_norm: QKNorm | None,
    device: str | None = None,
) -> None:
    """For `attention`."""
    device = device or qkv.device.type
    heads, kv_heads, head_dim = shape.heads, shape.kv_heads, shape.head_dim
    if min(heads, kv_heads, head_dim) < 1 or heads % kv_heads:
        raise KernelError(
            f"shape of attention has heads={heads}, kv_heads={kv_heads}, head_dim={head_dim}, "
            "expected positive numbers and heads a multiple of kv_heads"
        )
    if shape.window < 0:
        raise KernelError(f"shape of attention has window={shape.window}, expected 0 or more")
    check(qkv, "qkv of attention", (None, (heads + 2 * kv_heads) * head_dim), FLOAT32, device)
    width = row_width(head_dim, keys.dtype)
    check(keys, "keys of attention", (kv_heads, None, width), (*FLOATS, torch.int8), device)
    check(values, "values of attention", tuple(keys.shape), (keys.dtype,), device)
    tokens, capacity = qkv.shape[0], keys.shape[1]
    starts = tokens if start.dim() == 1 and len(start) > 1 else 1
    on_host = start.device.type == "cpu"
    check(start, "start of attention", (starts,), INT32, "cpu" if on_host else device)
    if tokens > capacity:
        raise KernelError(
            f"qkv of attention has {tokens} tokens, expected at most the cache's {capacity}"
        )
    if on_host:
        # Elsewhere reading it would wait for the device; and a replayed step is not seen here.
        first, *others = start.tolist()
        if not 0 <= first <= capacity - tokens:
            raise KernelError(
                f"start of attention is {first}, expected 0 to {capacity - tokens}: "
                f"{tokens} tokens in a cache of {capacity}"
            )
        if others != list(range(first + 1, first + starts)):
            raise KernelError(
                f"start of attention is {start.tolist()}, expected a run of positions"
            )
    if rope is not None:
        cos, sin = rope
        check(cos, "cos of attention", (None, None), FLOAT32, device)
        check(sin, "sin of attention", tuple(cos.shape), FLOAT32, device)
        if cos.shape[0] < capacity or 2 * cos.shape[1] > head_dim:
            raise KernelError(
                f"cos of attention has shape {list(cos.shape)}, expected at least {capacity} "
                f"positions and at most {head_dim // 2} angles"
            )
    if alibi is not None:
        check(alibi, "alibi of attention", (heads,), FLOAT32, device)
    if qk_norm is not None:
        check(qk_norm.q, "qk_norm.q of attention", (head_dim,), FLOAT32, device)
        check(qk_norm.k, "qk_norm.k of attention", (head_dim,), FLOAT32, device)


def known(kind: str, name: str) -> None:
    """Refuse what is no activation."""
    if kind not in get_args(Activation):
        kinds = ", ".join(get_args(Activation))
        raise KernelError(f"{name} is {kind!r}, expected one of {kinds}")


def activation(
    op: str, x: Tensor, kind: str, scale: Tensor | None = None, device: str | None = None
) -> None:
    """For `activation`, and for `gated_activation`, which has no scale."""
    device = device or x.device.type
    known(kind, f"kind of {op}")
    check(x, f"x of {op}", (None, None), device=device)
    if scale is not None:
        check(scale, f"scale of {op}", (x.shape[1],), device=device)
    if op == "gated_activation" and x.shape[1] % 2:
        raise KernelError(f"x of {op} has {x.shape[1]} columns, expected an even number")


def sample(
    logits: Tensor,
    rule: SamplingRule,
    recent: Tensor,
    uniform: float,
    device: str | None = None,
) -> None:
    """For `sample`."""
    device = device or logits.device.type
    check(logits, "logits of sample", (None,), FLOAT32, device)
    where = "cpu" if recent.device.type == "cpu" else device
    check(recent, "recent of sample", (None,), INT32, where)
    if logits.numel() == 0:
        raise KernelError("logits of sample has shape [0], expected at least one")
    penalty = rule.repetition_penalty
    limits = (
        ("temperature", rule.temperature, 0.0 <= rule.temperature < math.inf, "0 or more"),
        ("top_k", rule.top_k, rule.top_k >= 0, "0 or more"),
        ("top_p", rule.top_p, 0.0 <= rule.top_p <= 1.0, "0 to 1"),
        ("min_p", rule.min_p, 0.0 <= rule.min_p <= 1.0, "0 to 1"),
        ("repetition_penalty", penalty, 0.0 < penalty < math.inf, "more than 0"),
        ("uniform", uniform, 0.0 <= uniform < 1.0, "at least 0 and less than 1"),
    )
    for name, value, fine, expected in limits:
        if not fine:
            raise KernelError(f"{name} of sample is {value}, expected {expected}")


def recent(ids: Tensor, vocabulary: int) -> None:
    """For `sample`: the ids that the penalty applies to."""
    if not len(ids):
        return
    low, high = int(ids.min()), int(ids.max())
    if not 0 <= low <= high < vocabulary:
        raise KernelError(
            f"recent of sample holds ids {low} to {high}, expected 0 to {vocabulary - 1}"
        )

"""The canonical low-bit weight: checkpoint formats are read into it, kernels pack from it.

Reading a file's tensors checks them completely, so that nothing past this module meets a shape
that it must doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError

AWQ_BITS = 4
GROUP_SIZES = (128, 64, 32)
"""Group sizes that every kernel runs, beside the whole row; the first dividing K is the default."""
_PER_WORD = 8
# Column 8c + e of an AWQ gemm matrix lies in nibble _AWQ_NIBBLE[e] of word c, low end first.
_AWQ_NIBBLE = (0, 4, 1, 5, 2, 6, 3, 7)
# Words are turned from columns to rows this many columns at a time: a block stays in cache.
_BLOCK = 64
_SCALE_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class LowBitWeight:
    """A [N, K] matrix in integers: w[n, k] = (codes[n, k] - zeros[n, g]) · scales[n, g].

    The group g of input k is k // group_size, unless `order` says otherwise.

    Attributes:
        codes: [N, K] uint8, each below 2**bits.
        scales: [N, ceil(K / group_size)] float16.
        zeros: [N, ceil(K / group_size)] uint8, each below 2**bits.
        bits: 2, 3, 4 or 8.
        group_size: Q; K for one group a row.
        order: [K] int32, a permutation: column j of codes belongs to input order[j], and the group
            of column j is j // group_size (act-order). None for the natural order.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor
    bits: int
    group_size: int
    order: Tensor | None = None


def dequantize(weight: LowBitWeight) -> Tensor:
    """The matrix that the integers stand for, [N, K] float32, its inputs in natural order."""
    k = weight.codes.shape[1]
    scales, zeros = (
        t.float().repeat_interleave(weight.group_size, dim=1)[:, :k]
        for t in (weight.scales, weight.zeros)
    )
    matrix = (weight.codes.float() - zeros).mul_(scales)
    if weight.order is None:
        return matrix
    natural = torch.empty_like(matrix)
    natural[:, weight.order.long()] = matrix
    return natural


def concatenate(weights: Sequence[LowBitWeight]) -> LowBitWeight:
    """Stack matrices that read the same input into one, along N.

    Raises: ArgumentError if K, bits, group size or the order of the inputs differ.
    """
    if not weights:
        raise ArgumentError("nothing to concatenate: the list of low-bit weights is empty")
    kinds = {(w.codes.shape[1], w.bits, w.group_size) for w in weights}
    if len(kinds) > 1:
        raise ArgumentError(
            "low-bit weights to be concatenated differ in (K, bits, group_size): "
            f"{sorted(kinds)}; leave them apart"
        )
    order = weights[0].order
    if not all(_same_order(w.order, order) for w in weights):
        raise ArgumentError(
            "low-bit weights to be concatenated have their inputs in different orders; "
            "leave them apart"
        )
    if len(weights) == 1:
        return weights[0]
    return LowBitWeight(
        codes=torch.cat([w.codes for w in weights]),
        scales=torch.cat([w.scales for w in weights]),
        zeros=torch.cat([w.zeros for w in weights]),
        bits=weights[0].bits,
        group_size=weights[0].group_size,
        order=order,
    )


def _same_order(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def from_awq_gemm(
    qweight: Tensor,
    qzeros: Tensor,
    scales: Tensor,
    group_size: int,
    name: str,
    bits: int = AWQ_BITS,
) -> LowBitWeight:
    """Read the three tensors of one linear of an AWQ checkpoint, version "gemm".

    Args:
        qweight: [K, N/8] int32, eight 4-bit codes a word in AWQ's order.
        qzeros: [K/Q, N/8] int32, packed alike.
        scales: [K/Q, N] float16 (bfloat16 and float32 are rounded to it).
        group_size: Q of the checkpoint's config; -1 for the whole row.
        name: the linear's name in the checkpoint, for messages.
        bits: of the checkpoint's config.
    Raises: CheckpointError naming the tensor whose dtype, shape or values are wrong.
    """
    if bits != AWQ_BITS:
        raise CheckpointError(f"bits={bits} of {name}: AWQ checkpoints hold 4-bit weights only")
    for part, tensor, dtypes in (
        ("qweight", qweight, (torch.int32,)),
        ("qzeros", qzeros, (torch.int32,)),
        ("scales", scales, _SCALE_DTYPES),
    ):
        if tensor.dtype not in dtypes:
            raise CheckpointError(
                f"{name}.{part} has dtype {_word(tensor.dtype)}; expected {_word(dtypes[0])}"
            )
        if tensor.ndim != 2 or 0 in tensor.shape:
            raise CheckpointError(
                f"{name}.{part} has shape {list(tensor.shape)}; expected two axes, neither empty"
            )
    k, n = qweight.shape[0], qweight.shape[1] * _PER_WORD
    group = k if group_size == -1 else group_size
    _check_group(group, k, name)
    expected = {"qzeros": [k // group, n // _PER_WORD], "scales": [k // group, n]}
    for part, tensor in (("qzeros", qzeros), ("scales", scales)):
        if list(tensor.shape) != expected[part]:
            raise CheckpointError(
                f"{name}.{part} has shape {list(tensor.shape)}; expected {expected[part]} beside "
                f"qweight {list(qweight.shape)} and group_size {group_size}"
            )
    half = scales.to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        raise CheckpointError(
            f"{name}.scales has values that are not finite in float16; the checkpoint is damaged"
        )
    return LowBitWeight(
        codes=_unpack_awq(qweight),
        scales=half.t().contiguous(),
        zeros=_unpack_awq(qzeros),
        bits=AWQ_BITS,
        group_size=group,
    )


def to_awq_gemm(weight: LowBitWeight) -> dict[str, Tensor]:
    """Write a 4-bit weight as the three tensors of one linear of an AWQ checkpoint, version "gemm".

    Returns: `qweight`, `qzeros` and `scales`, shaped as `from_awq_gemm` reads them.
    Raises: ArgumentError for what the layout cannot hold: other bits, N % 8, a ragged last group.
    """
    n, k = weight.codes.shape
    if weight.bits != AWQ_BITS or n % _PER_WORD or k % weight.group_size:
        raise ArgumentError(
            f"AWQ gemm cannot hold a {weight.bits}-bit [{n}, {k}] weight in groups of "
            f"{weight.group_size}: it needs 4 bits, N divisible by 8 and K by the group"
        )
    return {
        "qweight": _pack_awq(weight.codes),
        "qzeros": _pack_awq(weight.zeros),
        "scales": weight.scales.t().contiguous(),
    }


def _check_group(group: int, k: int, name: str) -> None:
    if group != k and (group not in GROUP_SIZES or k % group):
        why = f"does not divide K={k}" if group in GROUP_SIZES else "is not one that kernels run"
        raise CheckpointError(
            f"group_size={group} of {name} {why}; "
            "requantize with 32, 64 or 128, or with -1 for whole rows"
        )


def _unpack_awq(words: Tensor) -> Tensor:
    """[R, N/8] int32 -> [N, R] uint8."""
    rows, columns = words.shape
    codes = torch.empty(columns, _PER_WORD, rows, dtype=torch.uint8)
    for start in range(0, columns, _BLOCK):
        block = slice(start, start + _BLOCK)
        turned = words[:, block].t().contiguous()
        for element, nibble in enumerate(_AWQ_NIBBLE):
            codes[block, element] = turned >> 4 * nibble & 15
    return codes.view(columns * _PER_WORD, rows)


def _pack_awq(codes: Tensor) -> Tensor:
    """[N, R] uint8 -> [R, N/8] int32, the inverse of `_unpack_awq`."""
    n, rows = codes.shape
    lanes = codes.reshape(n // _PER_WORD, _PER_WORD, rows)
    words = torch.empty(rows, n // _PER_WORD, dtype=torch.int32)
    for start in range(0, n // _PER_WORD, _BLOCK):
        block = slice(start, start + _BLOCK)
        turned = lanes[block, 0].int() << 4 * _AWQ_NIBBLE[0]
        for element, nibble in enumerate(_AWQ_NIBBLE[1:], start=1):
            turned |= lanes[block, element].int() << 4 * nibble
        words[:, block] = turned.t()
    return words


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

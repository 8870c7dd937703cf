"""What the file formats share: streams of small integers in 32-bit words, and the checks of a
module's tensors.

Reading a module checks it completely, so that nothing past a reader meets a shape that it must
doubt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from tinychat.errors import CheckpointError
from tinychat.quantize.format import GROUP_SIZES, LowBitWeight, all_finite

WORD = 32
# Words are packed so many at a time: they stay in cache, and torch runs an op on them in one
# thread. Several have barriers, at which a busy machine loses seconds over milliseconds.
BLOCK_WORDS = 32767
_INT32 = (torch.int32,)
_DTYPES = {
    "qweight": _INT32,
    "qzeros": _INT32,
    "scales": (torch.float16, torch.bfloat16, torch.float32),
    "g_idx": _INT32,
}


class Unpacker(Protocol):
    """What takes the words of files apart: `tinychat.kernels.Ops`, which says what these are."""

    def unpack_rows(self, words: Tensor, bits: int, order: Tensor | None = None) -> Tensor: ...

    def unpack_awq(self, words: Tensor) -> Tensor: ...


def unpack_rows(words: Tensor, bits: int) -> Tensor:
    """Read every row as one stream of `bits`-bit integers, lowest bits first.

    Args:
        words: [R, W] int32 of any strides; 32·W divisible by `bits`.
        bits: 1 to 8; where they do not divide 32, integers go on in the next word.
    Returns: [R, 32·W/bits] uint8.
    """
    rows, width = words.shape
    period, span = _period(bits)
    codes = torch.empty(rows, width // span, period, dtype=torch.uint8)
    run = words.reshape(rows, width // span, span)
    mask = 2**bits - 1
    for i in range(period):
        word, shift = divmod(bits * i, WORD)
        over = shift + bits - WORD
        # NOTE: >> copies the sign downwards, and the mask takes that off again.
        value = run[..., word] >> shift & (mask if over <= 0 else mask >> over)
        if over > 0:
            value |= (run[..., word + 1] & (1 << over) - 1) << bits - over
        codes[:, :, i] = value
    return codes.view(rows, width * WORD // bits)


def pack_rows(codes: Tensor, bits: int) -> Tensor:
    """[R, C] uint8 below 2**bits -> [R, C·bits/32] int32, the inverse of `unpack_rows`."""
    rows, count = codes.shape
    period, span = _period(bits)
    words = torch.zeros(rows, count // period, span, dtype=torch.int32)
    lanes = codes.reshape(rows, count // period, period)
    step = max(1, BLOCK_WORDS * WORD // (count * bits))
    for start in range(0, rows, step):
        block = slice(start, start + step)
        for i in range(period):
            word, shift = divmod(bits * i, WORD)
            value = lanes[block, :, i].int()
            words[block, :, word] |= value << shift
            if shift + bits > WORD:
                words[block, :, word + 1] |= value >> WORD - shift
    return words.view(rows, count * bits // WORD)


def _period(bits: int) -> tuple[int, int]:
    """After so many integers, and so many words, the stream is at the start of a word again."""
    common = math.lcm(bits, WORD)
    return common // bits, common // WORD


def check_parts(parts: Mapping[str, Tensor], name: str) -> None:
    """Raise CheckpointError for a part of another dtype or number of axes, or without elements.

    Args:
        parts: "qweight", "qzeros", "scales" and "g_idx" as far as the module has them.
        name: of the module, for messages.
    """
    for part, tensor in parts.items():
        dtypes = _DTYPES[part]
        if tensor.dtype not in dtypes:
            found, expected = (str(d).removeprefix("torch.") for d in (tensor.dtype, dtypes[0]))
            raise CheckpointError(f"{name}.{part} has dtype {found}; expected {expected}")
        axes = 1 if part == "g_idx" else 2
        if tensor.ndim != axes or 0 in tensor.shape:
            expected = "one axis, not empty" if axes == 1 else "two axes, neither empty"
            raise CheckpointError(
                f"{name}.{part} has shape {list(tensor.shape)}; expected {expected}"
            )


def check_shapes(
    parts: Mapping[str, Tensor], expected: Mapping[str, list[int]], group_size: int, name: str
) -> None:
    """Raise CheckpointError for a part whose shape does not fit that of `qweight`."""
    for part, shape in expected.items():
        if part in parts and list(parts[part].shape) != shape:
            raise CheckpointError(
                f"{name}.{part} has shape {list(parts[part].shape)}; expected {shape} beside "
                f"qweight {list(parts['qweight'].shape)} and group_size {group_size}"
            )


def check_group(group: int, k: int, name: str, ragged: bool = False) -> None:
    """Raise CheckpointError for groups that the kernels cannot run.

    Args:
        group: Q, K for the whole row.
        ragged: whether the last group may be smaller.
    """
    if group == k:
        return
    divides = group > 0 and (ragged or k % group == 0)
    if not divides or all(group % size for size in GROUP_SIZES):
        why = "is not one that kernels run" if divides else f"does not divide K={k}"
        raise CheckpointError(
            f"group_size={group} of {name} {why}; "
            "requantize with 32, 64 or 128, or with -1 for whole rows"
        )


def low_bit_weight(
    codes: Tensor,
    scales: Tensor,
    zeros: Tensor,
    bits: int,
    group: int,
    name: str,
    order: Tensor | None = None,
) -> LowBitWeight:
    """The canonical weight of checked parts.

    Groups larger than the kernels' own, as 256 or 1024, become several of equal scale.

    Args:
        codes, zeros, order: as in `LowBitWeight`.
        scales: [N, ceil(K / group)], float16 or rounded to it.
        group: Q, that `check_group` has passed.
        name: of the module, for messages.
    Raises: CheckpointError if a scale is not finite.
    """
    half = scales.to(torch.float16)
    if not all_finite(half):
        raise CheckpointError(
            f"{name}.scales has values that are not finite in float16; the checkpoint is damaged"
        )
    k = codes.shape[1]
    size = group if group == k else next(s for s in GROUP_SIZES if group % s == 0)
    if size != group:
        count = -(-k // size)
        half, zeros = (t.repeat_interleave(group // size, dim=1)[:, :count] for t in (half, zeros))
    return LowBitWeight(codes, half.contiguous(), zeros.contiguous(), bits, size, order)

"""AWQ checkpoints: version "gemm", read and written, and "gemv", the older one, read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError
from tinychat.quantize.format import LowBitWeight
from tinychat.quantize.packed import (
    BLOCK_WORDS,
    Unpacker,
    check_group,
    check_parts,
    check_shapes,
    low_bit_weight,
)

AWQ_BITS = 4
_PER_WORD = 8
# Column 8c + e of a gemm matrix lies in nibble _NIBBLE[e] of word c, low end first.
_NIBBLE = (0, 4, 1, 5, 2, 6, 3, 7)
# Words are turned between rows and columns in tiles: whole cache lines, and few enough words.
_TILE_COLUMNS = 16
_TILE_ROWS = BLOCK_WORDS // _TILE_COLUMNS
# A gemv row of zeros has words in multiples of this, by group size; 1 for all others.
_GEMV_ROUNDING = {64: 2, 32: 4}


def from_awq_gemm(
    parts: Mapping[str, Tensor], bits: int, group_size: int, name: str, unpacker: Unpacker
) -> LowBitWeight:
    """Read the three tensors of one linear of version "gemm".

    Args:
        parts: "qweight", [K, N/8] int32, eight 4-bit codes a word in AWQ's order; "qzeros",
            [K/Q, N/8] int32, packed alike; "scales", [K/Q, N] float16 (bfloat16 and float32 are
            rounded to it).
        bits: of the checkpoint's config.
        group_size: Q of the checkpoint's config; -1 for the whole row.
        name: the linear's name in the checkpoint, for messages.
        unpacker: takes the words apart.
    Raises: CheckpointError naming the tensor whose dtype, shape or values are wrong.
    """
    _check(parts, bits, name)
    k, words = parts["qweight"].shape
    group = k if group_size == -1 else group_size
    check_group(group, k, name)
    expected = {"qzeros": [k // group, words], "scales": [k // group, words * _PER_WORD]}
    check_shapes(parts, expected, group_size, name)
    codes, zeros = (unpacker.unpack_awq(parts[part].contiguous()) for part in ("qweight", "qzeros"))
    return low_bit_weight(codes, parts["scales"].t(), zeros, AWQ_BITS, group, name)


def from_awq_gemv(
    parts: Mapping[str, Tensor], bits: int, group_size: int, name: str, unpacker: Unpacker
) -> LowBitWeight:
    """Read the three tensors of one linear of version "gemv".

    Args:
        parts: "qweight", [N, K/8] int32, codes in natural order; "qzeros", [N, Z] int32, likewise;
            "scales", [N, 8·Z] float16. Z is ceil(K / 8Q), for groups of 64 and 32 rounded up to a
            multiple of 2 and 4; what is beyond K/Q is not read.
        bits, group_size, name, unpacker: as for `from_awq_gemm`.
    Raises: CheckpointError naming the tensor whose dtype, shape or values are wrong.
    """
    _check(parts, bits, name)
    n, words = parts["qweight"].shape
    k = words * _PER_WORD
    group = k if group_size == -1 else group_size
    check_group(group, k, name)
    groups, unit = k // group, _GEMV_ROUNDING.get(group, 1)
    width = -(-groups // (_PER_WORD * unit)) * unit
    check_shapes(parts, {"qzeros": [n, width], "scales": [n, width * _PER_WORD]}, group_size, name)
    codes, zeros = (unpacker.unpack_rows(parts[part], AWQ_BITS) for part in ("qweight", "qzeros"))
    scales = parts["scales"][:, :groups]
    return low_bit_weight(codes, scales, zeros[:, :groups], AWQ_BITS, group, name)


def to_awq_gemm(weight: LowBitWeight) -> dict[str, Tensor]:
    """Write a 4-bit weight as the three tensors of one linear of version "gemm".

    Returns: `qweight`, `qzeros` and `scales`, shaped as `from_awq_gemm` reads them.
    Raises: ArgumentError for what the layout cannot hold: other bits, N % 8, a ragged last group,
        columns in another order than the inputs.
    """
    n, k = weight.codes.shape
    if weight.order is not None:
        raise ArgumentError("AWQ gemm cannot hold a weight with act-order; write it as GPTQ")
    if weight.bits != AWQ_BITS or n % _PER_WORD or k % weight.group_size:
        raise ArgumentError(
            f"AWQ gemm cannot hold a {weight.bits}-bit [{n}, {k}] weight in groups of "
            f"{weight.group_size}: it needs 4 bits, N divisible by 8 and K by the group"
        )
    return {
        "qweight": _pack_gemm(weight.codes),
        "qzeros": _pack_gemm(weight.zeros),
        "scales": weight.scales.t().contiguous(),
    }


def awq_config(group_size: int, left: list[str]) -> dict[str, Any]:
    """The quantization_config of a "gemm" checkpoint.

    Args:
        group_size: of every linear; -1 for whole rows.
        left: parts of the names of linears that are in floating point.
    """
    return {
        "quant_method": "awq",
        "bits": AWQ_BITS,
        "group_size": group_size,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": left or None,
    }


def _check(parts: Mapping[str, Tensor], bits: int, name: str) -> None:
    if bits != AWQ_BITS:
        raise CheckpointError(f"bits={bits} of {name}: AWQ checkpoints hold 4-bit weights only")
    check_parts(parts, name)


def unpack_awq(words: Tensor) -> Tensor:
    """[R, N/8] int32 -> [N, R] uint8: what `Unpacker.unpack_awq` is."""
    nibbles = [(words >> 4 * nibble & 15).to(torch.uint8) for nibble in _NIBBLE]
    return torch.stack(nibbles, dim=-1).flatten(1).t().contiguous()


def _pack_gemm(codes: Tensor) -> Tensor:
    """[N, R] uint8 -> [R, N/8] int32, the inverse of `unpack_awq`."""
    n, count = codes.shape
    lanes = codes.reshape(n // _PER_WORD, _PER_WORD, count)
    words = torch.empty(count, n // _PER_WORD, dtype=torch.int32)
    for rows, columns in _tiles(*words.shape):
        turned = lanes[columns, 0, rows].int() << 4 * _NIBBLE[0]
        for element, nibble in enumerate(_NIBBLE[1:], start=1):
            turned |= lanes[columns, element, rows].int() << 4 * nibble
        words[rows, columns] = turned.t()
    return words


def _tiles(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, rows, _TILE_ROWS):
        for column in range(0, columns, _TILE_COLUMNS):
            yield slice(row, row + _TILE_ROWS), slice(column, column + _TILE_COLUMNS)

"""The layout tc16 of weights on a card, drawn in csrc/cuda/tc16.h: packing and unpacking by torch,
on whatever device the weight is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tinychat.errors import KernelError
from tinychat.kernels import PackedWeight, checks
from tinychat.quantize.format import GROUP_SIZES, LowBitWeight, concatenate

TILE_ROWS = 16
_UNIT = 64  # inputs come in multiples of it
_LOAD_BYTES = 512
_SCALE_BYTES = 64  # of a group of a tile
_ROW_GROUP = 128  # as which a whole row is packed

# The codes of a tile in their natural order have the axes 0 row / 8, 1 row % 8, 2 load, and of the
# inputs of a load 3 fragment, 4 its half, 5 lane % 4, 6 odd or even. In memory their order is:
_IN_MEMORY = {4: (2, 1, 5, 3, 6, 4, 0), 8: (2, 1, 5, 3, 4, 6, 0)}


def stored_bits(bits: int) -> int:
    """How wide a code lies in memory: 2- and 3-bit ones are kept as 4-bit ones."""
    checks.bits(bits)
    return max(bits, 4)


def packed_group(group_size: int, inputs: int) -> int:
    """Inputs of a group as packed.

    Raises: KernelError for a group size that no kernel runs.
    """
    if group_size in GROUP_SIZES:
        return group_size
    if group_size == inputs:
        return _ROW_GROUP
    expected = ", ".join(map(str, GROUP_SIZES))
    raise KernelError(f"group_size={group_size}, expected one of {expected} or K={inputs}")


def packed_bytes(bits: int, shape: tuple[int, int], group_size: int) -> int:
    """Size of a packed weight."""
    rows, inputs = shape
    codes, scales = _tile_bytes(bits, inputs, packed_group(group_size, inputs))
    return _up(rows, TILE_ROWS) // TILE_ROWS * (codes + scales)


def padded_inputs(weight: PackedWeight) -> int:
    """Inputs of a row as they lie in memory, those that fill its last load and group among them."""
    inputs = weight.shape[1]
    return _up(inputs, max(_UNIT, packed_group(weight.group_size, inputs)))


def pack(weight: LowBitWeight, *below: LowBitWeight) -> PackedWeight:
    """Bring a weight, and others that are alike, below it, into the layout: see `Ops.pack`."""
    weight = concatenate([weight, *below])
    rows, inputs = weight.codes.shape
    if rows == 0 or inputs == 0:
        raise KernelError(f"weight of pack has shape [{rows}, {inputs}], expected no empty axis")
    group = packed_group(weight.group_size, inputs)
    scales, zeros = weight.scales, weight.zeros
    if group != weight.group_size:
        scales, zeros = (t.expand(rows, -(-inputs // group)) for t in (scales, zeros))

    padded_rows, padded = _up(rows, TILE_ROWS), _up(inputs, max(_UNIT, group))
    tiles = padded_rows // TILE_ROWS
    # What fills the last group is its zero; what fills more than that is 0 everywhere.
    filling = zeros[:, -1:].expand(rows, _up(inputs, group) - inputs)
    codes = _fill(torch.cat([weight.codes, filling], dim=1), padded_rows, padded)
    pairs = torch.stack(
        [_fill(t.half(), padded_rows, padded // group) for t in (scales, zeros)], dim=-1
    )
    in_memory = pairs.view(tiles, 2, 8, -1, 2).permute(0, 3, 2, 1, 4).reshape(tiles, -1)
    parts = [_codes_to_bytes(codes, stored_bits(weight.bits)), in_memory.view(torch.uint8)]
    data = torch.cat(parts, dim=1).flatten()
    return PackedWeight(data, weight.bits, (rows, inputs), weight.group_size)


def unpack(weight: PackedWeight) -> LowBitWeight:
    """The inverse of `pack`."""
    rows, inputs = weight.shape
    tiles, groups = _up(rows, TILE_ROWS) // TILE_ROWS, -(-inputs // weight.group_size)
    sizes = _tile_bytes(weight.bits, inputs, packed_group(weight.group_size, inputs))
    codes, in_memory = torch.split(weight.data.view(tiles, -1), sizes, dim=1)
    pairs = in_memory.contiguous().view(torch.float16).view(tiles, -1, 8, 2, 2)
    pairs = pairs.permute(0, 3, 2, 1, 4).reshape(tiles * TILE_ROWS, -1, 2)
    scales, zeros = pairs[:rows, :groups].unbind(-1)
    natural = _bytes_to_codes(codes, stored_bits(weight.bits))
    return LowBitWeight(
        codes=natural[:rows, :inputs].contiguous(),
        scales=scales.contiguous(),
        zeros=zeros.to(torch.uint8),
        bits=weight.bits,
        group_size=weight.group_size,
    )


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def _tile_bytes(bits: int, inputs: int, group: int) -> list[int]:
    """Of the codes and of the scales of a tile."""
    padded = _up(inputs, max(_UNIT, group))
    return [padded * TILE_ROWS * stored_bits(bits) // 8, padded // group * _SCALE_BYTES]


def _fill(matrix: Tensor, rows: int, cols: int) -> Tensor:
    """With zeros, to this shape."""
    return functional.pad(matrix, (0, cols - matrix.shape[1], 0, rows - matrix.shape[0]))


def _axes(bits: int, cols: int) -> tuple[int, ...]:
    """Sizes of the axes of a tile's codes in their natural order."""
    inputs = _LOAD_BYTES * 8 // (TILE_ROWS * bits)  # of a load
    return (2, 8, cols // inputs, inputs // 16, 2, 4, 2)


def _codes_to_bytes(codes: Tensor, bits: int) -> Tensor:
    """[tiles * 16, K] -> [tiles, bytes]."""
    tiles = codes.shape[0] // TILE_ROWS
    natural = codes.view(tiles, *_axes(bits, codes.shape[1]))
    ordered = natural.permute(0, *(axis + 1 for axis in _IN_MEMORY[bits]))
    if bits == 4:
        ordered = ordered[..., 0] | ordered[..., 1] << 4
    return ordered.reshape(tiles, -1)


def _bytes_to_codes(packed: Tensor, bits: int) -> Tensor:
    """The inverse of `_codes_to_bytes`."""
    tiles = packed.shape[0]
    if bits == 4:
        packed = torch.stack([packed & 15, packed >> 4], dim=-1).flatten(1)
    axes, order = _axes(bits, packed.shape[1] // TILE_ROWS), _IN_MEMORY[bits]
    ordered = packed.reshape(tiles, *(axes[axis] for axis in order))
    back = sorted(range(len(order)), key=order.__getitem__)
    natural = ordered.permute(0, *(axis + 1 for axis in back))
    return natural.reshape(tiles * TILE_ROWS, -1)

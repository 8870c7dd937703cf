"""GPTQ checkpoints: 2, 3, 4 and 8 bits, "gptq" (v1) and "gptq_v2" read, "gptq_v2" written.

v1 stores every zero point less one, modulo 2**bits; that is all the difference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError
from tinychat.quantize.format import BITS, LowBitWeight
from tinychat.quantize.packed import (
    WORD,
    Unpacker,
    check_group,
    check_parts,
    check_shapes,
    low_bit_weight,
    pack_rows,
)


def from_gptq_v1(
    parts: Mapping[str, Tensor], bits: int, group_size: int, name: str, unpacker: Unpacker
) -> LowBitWeight:
    """As `from_gptq_v2`, for stored zero points that are one less than the true ones."""
    return _read(parts, bits, group_size, name, unpacker, 1)


def from_gptq_v2(
    parts: Mapping[str, Tensor], bits: int, group_size: int, name: str, unpacker: Unpacker
) -> LowBitWeight:
    """Read the tensors of one linear.

    Args:
        parts: "qweight", [K·bits/32, N] int32, each column one stream of bits; "qzeros",
            [ceil(K/Q), N·bits/32] int32, each row one stream; "scales", [ceil(K/Q), N] float16
            (bfloat16 and float32 are rounded to it); and, unless group k // Q is meant, "g_idx",
            [K] int32, the group of every input.
        bits: 2, 3, 4 or 8.
        group_size: Q of the checkpoint's config; -1 for the whole row.
        name: the linear's name in the checkpoint, for messages.
        unpacker: takes the words apart.
    Returns: the weight, whose columns are sorted by group where `g_idx` asks for it.
    Raises: CheckpointError naming the tensor whose dtype, shape or values are wrong.
    """
    return _read(parts, bits, group_size, name, unpacker, 0)


def _read(
    parts: Mapping[str, Tensor],
    bits: int,
    group_size: int,
    name: str,
    unpacker: Unpacker,
    offset: int,
) -> LowBitWeight:
    if bits not in BITS:
        raise CheckpointError(f"bits={bits} of {name}; expected 2, 3, 4 or 8")
    check_parts(parts, name)
    words, n = parts["qweight"].shape
    if words * WORD % bits or n * bits % WORD:
        raise CheckpointError(
            f"{name}.qweight has shape {list(parts['qweight'].shape)}; expected a whole number of "
            f"{bits}-bit codes in a column, and in a row as many as fill words"
        )
    k = words * WORD // bits
    group = k if group_size == -1 or group_size > k else group_size
    check_group(group, k, name, ragged=True)
    groups = -(-k // group)
    expected = {"qzeros": [groups, n * bits // WORD], "scales": [groups, n], "g_idx": [k]}
    check_shapes(parts, expected, group_size, name)
    zeros = unpacker.unpack_rows(parts["qzeros"], bits).add_(offset).bitwise_and_(2**bits - 1)
    order = _order(parts["g_idx"], group, name) if "g_idx" in parts else None
    codes = unpacker.unpack_rows(parts["qweight"].t(), bits, order)
    return low_bit_weight(codes, parts["scales"].t(), zeros.t(), bits, group, name, order)


def _order(g_idx: Tensor, group: int, name: str) -> Tensor | None:
    """The inputs [K] int32 sorted by group; None where they are."""
    k = g_idx.shape[0]
    natural = torch.arange(k, dtype=torch.int32) // group
    if torch.equal(g_idx, natural):
        return None
    low, high = int(g_idx.min()), int(g_idx.max())
    if low < 0 or high > int(natural[-1]):
        raise CheckpointError(
            f"{name}.g_idx holds groups {low} to {high}; expected 0 to {int(natural[-1])}"
        )
    order = g_idx.argsort(stable=True)
    if not torch.equal(g_idx[order], natural):
        raise CheckpointError(
            f"{name}.g_idx has groups of {g_idx.bincount().tolist()[:8]} inputs; expected {group} "
            "in each, and only in the last one fewer"
        )
    return order.to(torch.int32)


def to_gptq(weight: LowBitWeight) -> dict[str, Tensor]:
    """Write a weight as the tensors of one linear of "gptq_v2".

    Returns: `qweight`, `qzeros`, `scales` and `g_idx`, shaped as `from_gptq_v2` reads them.
    Raises: ArgumentError for what the layout cannot hold: other bits, rows or columns whose codes
        do not fill words.
    """
    n, k = weight.codes.shape
    bits = weight.bits
    if bits not in BITS or n * bits % WORD or k * bits % WORD:
        raise ArgumentError(
            f"GPTQ cannot hold a {bits}-bit [{n}, {k}] weight: it needs 2, 3, 4 or 8 bits, and N "
            f"and K in multiples of {WORD} / gcd(bits, {WORD})"
        )
    codes = weight.codes
    g_idx = torch.arange(k, dtype=torch.int32) // weight.group_size
    if weight.order is not None:
        back = weight.order.argsort()
        codes, g_idx = codes.index_select(1, back), g_idx[back]
    return {
        "qweight": pack_rows(codes, bits).t().contiguous(),
        "qzeros": pack_rows(weight.zeros.t(), bits),
        "scales": weight.scales.t().contiguous(),
        "g_idx": g_idx,
    }


def gptq_config(
    bits: int, group_size: int, *, sym: bool, desc_act: bool, left: Sequence[str] = ()
) -> dict[str, Any]:
    """The quantization_config of a "gptq_v2" checkpoint.

    Args:
        bits: of every linear.
        group_size: of every linear; -1 for whole rows.
        sym: every zero point is 2**(bits - 1).
        desc_act: some linear has its columns in another order than its inputs.
        left: parts of the names of linears that are in floating point.
    """
    config: dict[str, Any] = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group_size,
        "desc_act": desc_act,
        "sym": sym,
        "lm_head": False,
        "checkpoint_format": "gptq_v2",
    }
    if left:
        config["dynamic"] = {f"-:.*{re.escape(name)}": {} for name in left}
    return config

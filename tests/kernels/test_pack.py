"""Packing is exact and has an inverse, for every shape, group size and number of threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tinychat.errors import ArgumentError, KernelError
from tinychat.kernels import Ops, _cpu
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.quantize.format import BITS, LowBitWeight, concatenate

# The codes [16, 4] of quad q, from the lines [bits, 16, 4] of its step.
QUAD: dict[int, Callable[[Tensor, int], Tensor]] = {
    2: lambda lines, q: lines[q // 4] >> 2 * (q % 4) & 3,
    3: lambda lines, q: lines[q // 4] >> 2 * (q % 4) & 3 | (lines[2] >> q & 1) << 2,
    4: lambda lines, q: lines[q // 2] >> 4 * (q % 2) & 15,
    8: lambda lines, q: lines[q],
}


def random_weight(rows: int, cols: int, group: int, bits: int) -> LowBitWeight:
    groups = -(-cols // group)
    return LowBitWeight(
        codes=torch.randint(0, 2**bits, (rows, cols), dtype=torch.uint8),
        scales=torch.randn((rows, groups)).half(),
        zeros=torch.randint(0, 2**bits, (rows, groups), dtype=torch.uint8),
        bits=bits,
        group_size=group,
    )


def assert_same(actual: LowBitWeight, expected: LowBitWeight) -> None:
    assert (actual.bits, actual.group_size) == (expected.bits, expected.group_size)
    for name in ("codes", "scales", "zeros"):
        assert torch.equal(getattr(actual, name), getattr(expected, name)), name


@given(
    rows=st.integers(1, 70),
    cols=st.integers(1, 300),
    group=st.sampled_from([32, 64, 128, None]),
    bits=st.sampled_from(BITS),
    threads=st.integers(1, 3),
)
def test_unpack_is_the_inverse_of_pack(
    rows: int, cols: int, group: int | None, bits: int, threads: int
) -> None:
    torch.manual_seed(rows * 1000 + cols)
    weight = random_weight(rows, cols, group or cols, bits)
    ops = CpuOps(threads=threads)
    try:
        packed = ops.pack(weight)
        assert (packed.bits, packed.shape, packed.group_size) == (bits, (rows, cols), group or cols)
        assert_same(ops.unpack(packed), weight)
    finally:
        ops.close()


@given(
    heights=st.lists(st.sampled_from([1, 7, 16, 32, 40, 48]), min_size=1, max_size=4),
    cols=st.integers(1, 200),
    bits=st.sampled_from(BITS),
)
def test_weights_below_each_other_are_one(heights: list[int], cols: int, bits: int) -> None:
    """Whether tiles end where the weights do or not."""
    torch.manual_seed(cols)
    parts = [random_weight(rows, cols, 64, bits) for rows in heights]
    for ops in (CpuOps(threads=2), ReferenceOps()):
        packed = ops.pack(*parts)
        assert packed.shape == (sum(heights), cols)
        assert torch.equal(packed.data, ops.pack(concatenate(parts)).data)
        ops.close()


def test_weights_that_differ_are_not_packed_as_one(ops: Ops) -> None:
    with pytest.raises(ArgumentError, match="leave them apart"):
        ops.pack(random_weight(16, 64, 32, 4), random_weight(16, 64, 64, 4))


@pytest.mark.parametrize("bits", BITS)
def test_every_byte_is_written(bits: int) -> None:
    """Padding too: a packed weight may be stored, so it holds nothing of the memory before it."""
    weight = random_weight(18, 70, 32, bits)
    ops = CpuOps(threads=2)
    try:
        first = ops.pack(weight).data.clone()
        scratch = [torch.full_like(first, 255) for _ in range(8)]
        del scratch  # likely the memory of the next one
        assert torch.equal(ops.pack(weight).data, first)
    finally:
        ops.close()


@pytest.mark.parametrize("bits", BITS)
def test_layout_is_as_drawn_in_w4_h(native: CpuOps, bits: int) -> None:
    """One tile of 16 rows and five groups of two steps: a block of four and a block of one."""
    weight = random_weight(16, 320, 64, bits)
    data = native.pack(weight).data
    place = 0
    for first, count in ((0, 4), (4, 1)):
        head = data[place:]
        place += -(-48 * count // 64) * 64
        for g in range(first, first + count):
            part = head[48 * (g - first) :][:48]
            assert torch.equal(part[:32].view(torch.float16), weight.scales[:, g])
            assert torch.equal(part[32:], weight.zeros[:, g])
            for step in (2 * g, 2 * g + 1):
                lines = data[place : place + 64 * bits].view(bits, 16, 4)
                place += 64 * bits
                for q in range(8):
                    codes = weight.codes[:, 32 * step + 4 * q :][:, :4]
                    assert torch.equal(QUAD[bits](lines, q), codes)
    assert place == data.numel()


@pytest.mark.parametrize("bits", BITS)
def test_packed_size_is_that_of_the_bits(bits: int) -> None:
    rows, cols = 4096, 4096
    # fp16 scale and uint8 zero a group: 24 / 128 bits an input.
    assert _cpu.packed_bytes(bits, rows, cols, 128) == rows * cols * (bits + 24 / 128) / 8


def test_the_order_of_the_inputs_is_left_to_the_caller(ops: Ops) -> None:
    plain = random_weight(16, 64, 32, 3)
    ordered = replace(plain, order=torch.arange(63, -1, -1, dtype=torch.int32))
    packed = ops.pack(ordered)
    assert torch.equal(packed.data, ops.pack(plain).data)
    assert ops.unpack(packed).order is None


@pytest.mark.parametrize(
    ("rows", "cols", "group", "bits", "message"),
    [
        (16, 96, 48, 4, "group_size=48, expected one of 128, 64, 32 or K=96"),
        (16, 64, 32, 5, "a weight has 5 bits, expected 2, 3, 4 or 8"),
    ],
)
def test_what_cannot_run_is_refused(
    native: CpuOps, rows: int, cols: int, group: int, bits: int, message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        native.pack(random_weight(rows, cols, group, bits))


def test_tensors_that_disagree_are_refused(native: CpuOps) -> None:
    good = random_weight(16, 64, 32, 4)
    bad = LowBitWeight(good.codes, good.scales[:, :1], good.zeros, 4, 32)
    with pytest.raises(KernelError, match=r"scales in weight of pack has shape \[16, 1\]"):
        native.pack(bad)
    bad = LowBitWeight(good.codes.int(), good.scales, good.zeros, 4, 32)
    with pytest.raises(KernelError, match=r"codes in weight of pack is torch\.int32"):
        native.pack(bad)
    with pytest.raises(KernelError, match="no empty axis"):
        native.pack(LowBitWeight(good.codes[:0], good.scales[:0], good.zeros[:0], 4, 32))
    assert_same(native.unpack(native.pack(good)), good)


def test_more_parts_than_the_pool_counts() -> None:
    """The pool counts parts of a loop in 16 bits; a weight may have more tiles than that."""
    weight = random_weight(1_100_000, 1, 32, 4)
    ops = CpuOps(threads=2)
    try:
        assert_same(ops.unpack(ops.pack(weight)), weight)
    finally:
        ops.close()

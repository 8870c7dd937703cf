"""The layout of weights on a card: packing has an inverse, and puts things where tc16.h says."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.test_pack import assert_same, random_weight
from tinychat.errors import ArgumentError, KernelError
from tinychat.kernels import tc16
from tinychat.quantize.format import BITS, concatenate


@pytest.fixture(scope="module")
def native() -> ModuleType:
    return pytest.importorskip(
        "tinychat.kernels._cuda_emulated",
        reason="the emulated CUDA kernels are not built; TINYCHAT_EMULATION=1 builds them",
        exc_type=ImportError,
    )


@given(
    rows=st.integers(1, 70),
    cols=st.integers(1, 300),
    group=st.sampled_from([32, 64, 128, None]),
    bits=st.sampled_from(BITS),
)
def test_unpack_is_the_inverse_of_pack(rows: int, cols: int, group: int | None, bits: int) -> None:
    torch.manual_seed(rows * 1000 + cols)
    weight = random_weight(rows, cols, group or cols, bits)
    packed = tc16.pack(weight)
    assert (packed.bits, packed.shape, packed.group_size) == (bits, (rows, cols), group or cols)
    assert packed.nbytes == tc16.packed_bytes(bits, (rows, cols), group or cols)
    assert_same(tc16.unpack(packed), weight)


@pytest.mark.parametrize("bits", (4, 8))
@pytest.mark.parametrize(
    ("rows", "cols", "group"), ((16, 128, 128), (33, 200, 64), (5, 70, 32), (18, 150, 150))
)
def test_layout_is_as_tc16_h_says(
    native: ModuleType, rows: int, cols: int, group: int, bits: int
) -> None:
    weight = random_weight(rows, cols, group, bits)
    data, group = tc16.pack(weight).data, tc16.packed_group(group, cols)
    layout = native.Tc16(bits, rows, cols, group)
    assert layout.bytes() == data.numel()
    seen = torch.zeros(data.numel() * 8, dtype=torch.bool)
    for row in range(rows):
        for col in range(cols):
            byte, shift = layout.code(row, col)
            assert int(data[byte]) >> shift & (2**bits - 1) == int(weight.codes[row, col])
            seen[8 * byte + shift :][:bits] = True
        for g in range(weight.zeros.shape[1]):
            start = layout.scale(row, g * group)
            scale, zero = data[start : start + 4].view(torch.float16)
            assert scale == weight.scales[row, g]
            assert zero == weight.zeros[row, g]
            seen[8 * start :][:32] = True
    # No two in one place.
    assert int(seen.sum()) == rows * (cols * bits + 32 * weight.zeros.shape[1])


@pytest.mark.parametrize("bits", (4, 8))
@pytest.mark.parametrize(
    ("rows", "cols", "group"), ((1, 1, 32), (17, 64, 64), (4096, 4096, 128), (11, 129, 128))
)
def test_sizes_are_those_of_tc16_h(
    native: ModuleType, rows: int, cols: int, group: int, bits: int
) -> None:
    expected = native.Tc16(bits, rows, cols, group).bytes()
    assert tc16.packed_bytes(bits, (rows, cols), group) == expected


def test_what_fills_stands_for_zero() -> None:
    """Such that a kernel may multiply it."""
    weight = random_weight(5, 70, 32, 4)
    packed = tc16.pack(weight)
    filled = tc16.unpack(replace(packed, shape=(16, 128)))
    products = (filled.codes.float() - filled.zeros.float().repeat_interleave(32, dim=1)).abs()
    products *= filled.scales.float().abs().repeat_interleave(32, dim=1)
    assert products[5:].sum() == products[:, 70:].sum() == 0
    assert filled.scales[5:].abs().sum() == filled.scales[:, 3:].abs().sum() == 0


def test_weights_below_each_other_are_one() -> None:
    parts = [random_weight(rows, 96, 32, 4) for rows in (16, 7, 32)]
    assert torch.equal(tc16.pack(*parts).data, tc16.pack(concatenate(parts)).data)
    with pytest.raises(ArgumentError, match="leave them apart"):
        tc16.pack(random_weight(16, 64, 32, 4), random_weight(16, 64, 64, 4))


def test_refusals() -> None:
    with pytest.raises(KernelError, match="group_size=48, expected one of 128, 64, 32 or K=96"):
        tc16.pack(random_weight(16, 96, 48, 4))
    with pytest.raises(KernelError, match="a weight has 5 bits, expected 2, 3, 4 or 8"):
        tc16.pack(random_weight(16, 64, 32, 5))
    good = random_weight(16, 64, 32, 4)
    with pytest.raises(KernelError, match="no empty axis"):
        tc16.pack(replace(good, codes=good.codes[:0], scales=good.scales[:0], zeros=good.zeros[:0]))

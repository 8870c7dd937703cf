"""matmul on every instruction set, on cards and at every width, against float and against its
definition.

The error of the float comparison is that of rounding activations, on the CPU to int8; the
arithmetic itself is compared with an emulation in float64, where only float32 sums differ.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.kernels.compare import as_halves, on_card, relative_error
from tinychat.errors import KernelError
from tinychat.kernels import Ops, PackedWeight, tc16
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.cuda import FEW_TOKENS
from tinychat.kernels.reference import ReferenceOps
from tinychat.quantize.format import BITS, LowBitWeight, dequantize
from tinychat.quantize.grid import Grid
from tinychat.quantize.rtn import round_to_nearest

TOKENS = (0, 1, 2, 3, 4, 5, 8, 9, 17, 64)
# (N, K, Q): whole tiles; ragged N; ragged K, whose last group is not full; one group; whole rows.
SHAPES = (
    (64, 256, 128),
    (37, 192, 64),
    (16, 96, 32),
    (5, 140, 64),
    (33, 130, 128),
    (3, 32, 32),
    (40, 200, 200),
    (1, 20, 20),
    (70, 1200, 128),
)


def random_weight(rows: int, cols: int, group: int, bits: int) -> LowBitWeight:
    """Any codes and any zeros, the extremes among them."""
    groups = -(-cols // group)
    codes = torch.randint(0, 2**bits, (rows, cols), dtype=torch.uint8)
    zeros = torch.randint(0, 2**bits, (rows, groups), dtype=torch.uint8)
    codes[0] = 2**bits - 1
    zeros[0] = 0
    return LowBitWeight(codes, torch.rand((rows, groups)).half(), zeros, bits, group)


def extreme_weight(group: int, bits: int) -> LowBitWeight:
    """[32, 256] of whole numbers: the largest differences of both signs, row by row."""
    top = 2**bits - 1
    codes = torch.full((32, 256), top, dtype=torch.uint8)
    codes[1::2] = 0
    zeros = torch.zeros((32, 256 // group), dtype=torch.uint8)
    zeros[1::2] = top
    return LowBitWeight(codes, torch.ones_like(zeros).half(), zeros, bits, group)


def emulate(x: Tensor, weight: LowBitWeight) -> Tensor:
    """The product as defined: x rounded to int8 by group of the row, everything else exact."""
    cols = x.shape[1]
    group = weight.group_size if weight.group_size in (32, 64, 128) else 128
    groups = functional.pad(x, (0, -cols % group)).unflatten(1, (-1, group))
    largest = groups.abs().amax(dim=-1, keepdim=True)
    # NOTE: `127 / largest` would do; torch computes it as 127 * (1 / largest), which rounds twice.
    limit = torch.full_like(largest, 127.0)
    codes = torch.where(largest > 0, groups * (limit / largest), 0).round()
    rounded = (codes.double() * (largest / limit).double()).flatten(1)[:, :cols]
    return rounded @ dequantize(weight).double().T


def product_as_defined(ops: Ops, x: Tensor, weight: LowBitWeight) -> Tensor:
    """The product in float64, of the activations as these ops round them."""
    if isinstance(ops, ReferenceOps):
        return x.double() @ dequantize(weight).double().T
    if not on_card(ops):
        return emulate(x, weight)
    few = len(x) <= FEW_TOKENS
    group = tc16.packed_group(weight.group_size, x.shape[1]) if few else x.shape[1]
    return as_halves(x, group) @ dequantize(weight).double().T


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_product_is_as_defined(compared: Ops, shape: tuple[int, int, int], bits: int) -> None:
    weight = random_weight(*shape, bits)
    packed = compared.pack(weight)
    for tokens in TOKENS[1:]:
        x = torch.randn((tokens, shape[1]))
        expected = product_as_defined(compared, x, weight)
        # float32 sums of at most a few hundred terms, some of which cancel.
        assert relative_error(compared.matmul(x, packed), expected) < 1e-5, tokens


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [32, 64, 128, 512])
def test_rounding_activations_costs_less_than_one_percent(
    native: CpuOps, bits: int, group: int
) -> None:
    weight = round_to_nearest(torch.randn((256, 512)), Grid(bits, group))
    packed = native.pack(weight)
    for tokens in (1, 3, 24):
        x = torch.randn((tokens, 512))
        expected = x @ dequantize(weight).T
        # Steps of largest / 127, uniform errors: about 0.6 % for 128 Gaussian numbers. The weight
        # is taken as rounded, so its bits make no difference.
        assert 0 < relative_error(native.matmul(x, packed), expected) < 0.01


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("tokens", TOKENS)
def test_bias_is_added(compared: Ops, bits: int, tokens: int) -> None:
    packed = compared.pack(random_weight(37, 192, 64, bits))
    x, bias = torch.randn((tokens, 192)), torch.randn(37)
    torch.testing.assert_close(
        compared.matmul(x, packed, bias), compared.matmul(x, packed) + bias, rtol=0, atol=0
    )


@pytest.mark.parametrize("bits", BITS)
def test_extreme_codes_and_activations_do_not_saturate(compared: Ops, bits: int) -> None:
    weight = extreme_weight(128, bits)
    packed = compared.pack(weight)
    for sign in (1.0, -1.0):
        for tokens in (1, 4, 16):
            x = torch.full((tokens, 256), 127.0 * sign)
            expected = x @ dequantize(weight).T
            torch.testing.assert_close(compared.matmul(x, packed), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", BITS)
def test_zeros_tiny_and_uneven_activations(compared: Ops, bits: int) -> None:
    weight = random_weight(20, 256, 64, bits)
    packed = compared.pack(weight)
    x = torch.randn((5, 256))
    x[0] = 0
    x[1] = 1e-40  # 127 / x would overflow
    x[2, :64] *= 1e6
    x[3, 64:128] = 0
    out = compared.matmul(x, packed)
    assert torch.equal(out[0], torch.zeros(20))
    assert out[1].abs().max() < 1e-30
    assert relative_error(out[2:], product_as_defined(compared, x, weight)[2:]) < 1e-5


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_shows_in_its_row_alone(compared: Ops, value: float, bits: int) -> None:
    packed = compared.pack(random_weight(20, 130, 64, bits))
    x = torch.randn((3, 130))
    for place in (0, 77, 129):
        spoiled = x.clone()
        spoiled[1, place] = value
        for tokens in (spoiled, spoiled[1:2]):
            out = compared.matmul(tokens, packed)
            # An infinity becomes NaN, but on a card stays one where its weight is not zero.
            shows = out.isfinite().logical_not() if on_card(compared) else out.isnan()
            assert torch.equal(shows.all(dim=1), tokens.isfinite().logical_not().any(dim=1))
            assert torch.equal(shows.any(dim=1), shows.all(dim=1))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", [(48, 256, 128), (75, 1400, 64), (16, 600, 600)])
def test_a_row_is_the_same_in_any_company(
    native: CpuOps, bits: int, shape: tuple[int, int, int]
) -> None:
    """To the last bit, whichever path multiplies: what a text becomes may not depend on how it was
    cut into calls.
    """
    packed, bias = native.pack(random_weight(*shape, bits)), torch.randn(shape[0])
    x = torch.randn((23, shape[1]))
    one_by_one = torch.cat([native.matmul(row[None], packed, bias) for row in x])
    for tokens in (2, 5, 8, 9, 23):
        assert torch.equal(native.matmul(x[:tokens], packed, bias), one_by_one[:tokens]), tokens


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_do_not_change_the_result(threads: int, bits: int) -> None:
    weight = random_weight(200, 256, 64, bits)
    x = torch.randn((40, 256))
    alone, team = CpuOps(threads=1), CpuOps(threads=threads)
    try:
        for rows in (1, 2, 40):
            expected = alone.matmul(x[:rows], alone.pack(weight))
            assert torch.equal(team.matmul(x[:rows], team.pack(weight)), expected)
    finally:
        alone.close()
        team.close()


@pytest.mark.parametrize("bits", BITS)
def test_no_tokens_give_no_rows(compared: Ops, bits: int) -> None:
    packed = compared.pack(random_weight(16, 64, 32, bits))
    assert compared.matmul(torch.empty((0, 64)), packed).shape == (0, 16)


@pytest.mark.parametrize("bits", BITS)
def test_memory_need_not_be_aligned(native: CpuOps, bits: int) -> None:
    packed = native.pack(random_weight(33, 130, 64, bits))
    shifted = torch.empty(packed.data.numel() + 1, dtype=torch.uint8)[1:].copy_(packed.data)
    x = torch.randn(3 * 130 + 1)[1:].view(3, 130)
    assert x.data_ptr() % 16 != 0 or shifted.data_ptr() % 16 != 0
    out = native.matmul(x, replace(packed, data=shifted))
    assert torch.equal(out, native.matmul(x.clone(), packed))


def refused(native: CpuOps, x: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> str:
    with pytest.raises(KernelError) as error:
        native.matmul(x, weight, bias)
    return str(error.value)


def test_refusals_name_the_argument(compared: Ops) -> None:
    weight = random_weight(16, 64, 32, 4)
    packed = compared.pack(weight)
    x = torch.zeros((2, 64))
    assert "x of matmul has shape [2, 65], expected [*, 64]" in refused(
        compared, torch.zeros((2, 65)), packed
    )
    assert "torch.float16, expected torch.float32" in refused(compared, x.half(), packed)
    assert "not contiguous" in refused(compared, torch.zeros((64, 2)).T, packed)
    assert "bias of matmul has shape [15]" in refused(compared, x, packed, torch.zeros(15))
    assert "a weight has 5 bits, expected 2, 3, 4 or 8" in refused(
        compared, x, replace(packed, bits=5)
    )
    assert "packed weight of matmul has shape" in refused(compared, x, replace(packed, bits=8))
    foreign = ReferenceOps().pack(weight)
    assert "packed weight" in refused(compared, x, foreign)
    compared.matmul(x, packed)  # and it still works

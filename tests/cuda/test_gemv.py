"""gemv, compiled as host C++: against float64, with all that it does before and after the product.

The one conversion that is not exact is that of the activations to float16.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.cuda.emulated import ORDERS, SCHEDULES, SHUFFLED, Schedule
from tests.cuda.streams import address, emulated, layout_of, open_stream
from tests.cuda.test_ops import norm
from tests.kernels.compare import as_halves, misaligned, norms, relative_error
from tests.kernels.test_activation import formula
from tests.kernels.test_matmul import SHAPES, extreme_weight, random_weight
from tinychat.errors import KernelError
from tinychat.kernels import Activation, Norm, PackedWeight, tc16
from tinychat.kernels.reference import ReferenceOps
from tinychat.quantize.format import LowBitWeight, dequantize

TOKENS = (0, 1, 2, 3, 5, 8)
BITS = (4, 8)  # as they are stored
# Sums of some hundred float32 products.
SUM_ROUNDING = 2e-6
# A float16 number has 11 bits: each activation is off by 2^-11 of itself at most.
HALF_ROUNDING = 2.0**-11
ACTIVATIONS = get_args(Activation)


def gemv(
    x: Tensor,
    packed: PackedWeight,
    bias: Tensor | None = None,
    *,
    before: Norm | None = None,
    order: Tensor | None = None,
    gate: Activation | None = None,
    residual: Tensor | None = None,
    schedule: Schedule = SHUFFLED,
) -> Tensor:
    """`Ops.matmul` on an emulated card; `before` is its norm."""
    rows = packed.shape[0]
    how = before or Norm("rms", torch.empty(0), 0.0)
    out = residual
    if out is None:
        out = torch.full((len(x), rows // 2 if gate else rows), torch.nan)
    stream = open_stream(schedule)
    stream.queue().gemv(
        x.data_ptr(),
        getattr(emulated.NormKind, how.kind),
        how.weight.data_ptr() if before else 0,
        address(how.bias),
        how.eps,
        address(order),
        packed.data.data_ptr(),
        layout_of(packed),
        address(bias),
        out.data_ptr(),
        len(x),
        gate is not None,
        getattr(emulated.Activation, gate or "relu"),
        residual is not None,
    )
    stream.synchronize()
    return out


def rounded(x: Tensor, group_size: int) -> Tensor:
    """x as the kernel sees it, float64."""
    return as_halves(x, tc16.packed_group(group_size, x.shape[1]))


def product(x: Tensor, weight: LowBitWeight) -> Tensor:
    return x.double() @ dequantize(weight).double().T


def largest_error(x: Tensor, weight: LowBitWeight) -> Tensor:
    """What rounding x to float16, and float32 sums, can do at most to each output."""
    products = x.double().abs() @ dequantize(weight).double().abs().T
    return (HALF_ROUNDING + SUM_ROUNDING) * products


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_product_is_as_defined(shape: tuple[int, int, int], bits: int) -> None:
    weight = random_weight(*shape, bits)
    packed = tc16.pack(weight)
    for tokens in TOKENS:
        x = torch.randn((tokens, shape[1]))
        out = gemv(x, packed)
        expected = product(rounded(x, shape[2]), weight)
        assert relative_error(out, expected) < SUM_ROUNDING, tokens
        assert ((out - product(x, weight)).abs() <= largest_error(x, weight)).all(), tokens


@pytest.mark.parametrize("bits", (2, 3))
def test_narrower_weights(bits: int) -> None:
    weight, x = random_weight(16, 96, 32, bits), torch.randn(2, 96)
    assert (
        relative_error(gemv(x, tc16.pack(weight)), product(rounded(x, 32), weight)) < SUM_ROUNDING
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", (32, 64, 128))
def test_extreme_codes_and_zeros(group: int, bits: int) -> None:
    """Exact, as all are whole numbers."""
    weight = extreme_weight(group, bits)
    for tokens in (1, 8):
        x = torch.full((tokens, 256), -127.0)
        assert torch.equal(gemv(x, tc16.pack(weight)).double(), product(x, weight))


def test_every_code_with_every_zero() -> None:
    for bits in BITS:
        count = 2**bits
        zeros = torch.arange(count, dtype=torch.uint8).repeat_interleave(-(-64 // count))
        codes = torch.arange(count, dtype=torch.uint8).repeat(-(-64 // count))
        grid = codes.expand(len(zeros), -1).contiguous()
        weight = LowBitWeight(
            grid, torch.ones(len(zeros), 1).half(), zeros[:, None], bits, grid.shape[1]
        )
        places = torch.randperm(count)[:8]
        x = functional.one_hot(places, grid.shape[1]).float()
        assert torch.equal(gemv(x, tc16.pack(weight)).double(), product(x, weight))


@pytest.mark.parametrize("group", (32, 128, 256))
def test_activations_of_any_size(group: int) -> None:
    """Nothing overflows or vanishes in float16: groups are brought to its middle."""
    weight = random_weight(20, 256, group, 4)
    packed = tc16.pack(weight)
    x = torch.randn((8, 256))
    x[0] = 0
    x[1] = 1e-40
    x[2] *= 1e6
    x[3] *= 1e-12
    x[4, 64:128] = 0
    x[5, :64] *= 1e6
    x[6] *= 1e30
    x[7, 5] = 3e4  # an outlier, as models have them
    out = gemv(x, packed)
    assert torch.equal(out[0], torch.zeros(20))
    assert out[1].abs().max() < 1e-30
    for row in range(2, 8):
        expected = product(rounded(x[row : row + 1], group), weight)
        assert relative_error(out[row : row + 1], expected) < SUM_ROUNDING, row


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", (torch.nan, torch.inf, -torch.inf))
def test_what_is_not_finite_shows_in_its_row_alone(value: float, bits: int) -> None:
    packed = tc16.pack(random_weight(20, 130, 64, bits))
    x = torch.randn((3, 130))
    finite = gemv(x, packed)
    for place in (0, 77, 129):
        spoiled = x.clone()
        spoiled[1, place] = value
        out = gemv(spoiled, packed)
        assert not out[1].isfinite().any()
        assert torch.equal(out[[0, 2]], finite[[0, 2]])
        assert not gemv(spoiled[1:2], packed).isfinite().any()


def everything(x: Tensor, packed: PackedWeight, **more: Any) -> Tensor:
    """Bias and residual in one, a gate in the other."""
    rows, cols = packed.shape
    how = norms(cols)[2]
    residual = torch.ones(len(x), rows)
    bias = torch.linspace(-1, 1, rows)
    return torch.cat(
        [
            gemv(x, packed, bias, before=how, residual=residual, **more),
            gemv(x, packed, bias, before=how, gate="silu", **more),
        ],
        dim=1,
    )


# K of several slices of shared memory for eight tokens, and of one for a single.
@pytest.mark.parametrize(
    ("shape", "bits"),
    (((32, 256, 128), 4), ((32, 6200, 128), 4), ((32, 2900, 32), 4), ((32, 5000, 64), 8)),
)
def test_a_row_is_the_same_in_any_company(shape: tuple[int, int, int], bits: int) -> None:
    packed, x = tc16.pack(random_weight(*shape, bits)), torch.randn((8, shape[1]))

    def run(rows: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same norm in each call
        return everything(rows, packed)

    one_by_one = torch.cat([run(row[None]) for row in x])
    for tokens in (2, 3, 5, 8):
        assert torch.equal(run(x[:tokens]), one_by_one[:tokens]), tokens


def test_slices_of_long_rows() -> None:
    """A single token whose inputs do not fit at a time."""
    weight, x = random_weight(2, 25000, 128, 4), torch.randn(1, 25000)
    expected = product(rounded(x, 128), weight)
    # Sums of 25000 products, which cancel.
    assert relative_error(gemv(x, tc16.pack(weight)), expected) < 10 * SUM_ROUNDING


# --- before and after


@pytest.mark.parametrize("shape", ((37, 192, 64), (16, 130, 128), (5, 40, 40), (16, 1100, 32)))
def test_norm_and_order_come_first(shape: tuple[int, int, int]) -> None:
    packed, cols = tc16.pack(random_weight(*shape, 4)), shape[1]
    for tokens in (1, 3, 8):
        x, order = torch.randn((tokens, cols)), torch.randperm(cols).int()
        before = x.clone()
        ordered = x[:, order.long()].contiguous()
        assert torch.equal(gemv(x, packed, order=order), gemv(ordered, packed))
        for how in norms(cols):
            # The op of its own, whose sums are made in the same order.
            normal = norm(open_stream(), x, how)
            assert torch.equal(gemv(x, packed, before=how), gemv(normal, packed))
        assert torch.equal(x, before)


@pytest.mark.parametrize("cols", (130, 192))
def test_norm_then_order(cols: int) -> None:
    weight, x = random_weight(20, cols, 64, 4), torch.randn(2, cols)
    order = torch.randperm(cols).int()
    for how in norms(cols):
        normal = ReferenceOps().norm(x, how)[:, order.long()]
        out = gemv(x, tc16.pack(weight), before=how, order=order)
        # Where a last bit of the norm differs, float16 may round to the other side.
        assert ((out - product(normal, weight)).abs() <= 1.01 * largest_error(normal, weight)).all()


def test_an_index_outside_reads_no_foreign_memory() -> None:
    packed, x = tc16.pack(random_weight(16, 32, 32, 4)), torch.randn(2, 32)
    order = torch.arange(32, dtype=torch.int32)
    order[:3] = torch.tensor([-1, 32, 2**31 - 1], dtype=torch.int32)
    expected = x.clone()
    expected[:, :3] = x[:, 31:]
    assert torch.equal(gemv(x, packed, order=order), gemv(expected, packed))


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("half", (16, 48))
def test_a_gate_takes_halves(half: int, kind: Activation) -> None:
    bias = torch.randn(2 * half)
    for bits, group in ((4, 32), (4, 64), (4, 128), (8, 32), (8, 128)):
        packed = tc16.pack(random_weight(2 * half, 192, group, bits))
        for tokens in (1, 5):
            x = torch.randn((tokens, 192)) / 10 ** (bits // 4)  # not all at the activations' ends
            for added in (None, bias):
                gate, up = gemv(x, packed, added).chunk(2, dim=1)
                out = gemv(x, packed, added, gate=kind)
                expected = formula(gate, kind) * up
                # exp and erfc are good to a few last bits.
                torch.testing.assert_close(out.double(), expected, rtol=4e-6, atol=1e-7)


def test_activations_over_the_whole_range() -> None:
    """One input and weights of 1, so that gate and up are that input."""
    ones = torch.ones(32, 1, dtype=torch.uint8)
    weight = LowBitWeight(ones, torch.ones(32, 1).half(), torch.zeros_like(ones), 4, 32)
    packed = tc16.pack(weight)
    ends = torch.tensor([0.0, 1e-30, -1e-30, 87.5, -87.5, 104.0, -104.0, 1e6, -1e6, 1e18, -1e18])
    for x in (*torch.linspace(-12, 12, 48).half().float().split(8), *ends.split(8)):
        for kind in ACTIVATIONS:
            seen = rounded(x[:, None], 32)
            out = gemv(x[:, None].contiguous(), packed, gate=kind)
            expected = (formula(seen, kind) * seen).expand(-1, 16)
            # e^-x has the relative error of x in float32, times x; in the formulas 1 + tanh is lost
            # below the last digit of 1.
            torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-13)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("rows", (16, 37))
def test_bias_and_residual_are_added_to_the_result(rows: int, bits: int) -> None:
    packed, bias = tc16.pack(random_weight(rows, 96, 32, bits)), torch.randn(rows)
    for tokens in (1, 4, 8):
        x, stream = torch.randn((tokens, 96)), torch.randn((tokens, rows))
        result = gemv(x, packed, bias)
        assert torch.equal(result, gemv(x, packed) + bias)
        expected = stream + result
        assert torch.equal(gemv(x, packed, bias, residual=stream), expected)


def test_misaligned_memory() -> None:
    """Rows of four that are not aligned are read one by one."""
    packed, x, bias = tc16.pack(random_weight(40, 128, 64, 4)), torch.randn(3, 128), torch.randn(40)
    how, stream = norms(128)[2], torch.randn(3, 40)
    assert how.bias is not None
    assert torch.equal(gemv(misaligned(x), packed, misaligned(bias)), gemv(x, packed, bias))
    shifted = Norm("layer", misaligned(how.weight), 1e-5, misaligned(how.bias))
    expected = gemv(x, packed, before=how, residual=stream.clone())
    actual = gemv(misaligned(x), packed, before=shifted, residual=misaligned(stream))
    # The norm sums in another order, and float16 may round to the other side.
    assert relative_error(actual, expected) < HALF_ROUNDING


# --- any schedule, any architecture


@pytest.mark.parametrize("shape", ((32, 160, 32), (32, 320, 64), (32, 1200, 128)))
def test_the_same_under_every_schedule(shape: tuple[int, int, int]) -> None:
    packed, x = tc16.pack(random_weight(*shape, 4)), torch.randn(2, shape[1])
    results: dict[bool, list[Tensor]] = {False: [], True: []}
    for schedule in SCHEDULES:
        torch.manual_seed(1)  # the same norm in each
        # sm_75 adds eight products at a time instead of sixteen.
        results[schedule.arch == 750].append(everything(x, packed, schedule=schedule))
    for alike in results.values():
        assert all(torch.equal(result, alike[0]) for result in alike)
    assert relative_error(results[True][0], results[False][0]) < SUM_ROUNDING


@pytest.mark.parametrize("order", ORDERS)
def test_launches_follow_each_other(order: str) -> None:
    """Twice into the same residual, with a norm of it, without waiting in between."""
    weight, how = random_weight(64, 64, 32, 4), Norm("rms", torch.ones(64), 1e-5)
    packed, start = tc16.pack(weight), torch.randn(2, 64)
    expected = start.clone()
    for _ in range(2):
        gemv(expected.clone(), packed, before=how, residual=expected)
    for arch in (750, 900):
        stream = open_stream(Schedule(arch=arch, order=order, overlap=True))
        actual, middle = start.clone(), torch.full_like(start, torch.nan)
        queue, rms = stream.queue(), emulated.NormKind.rms
        layout, relu = emulated.Tc16(4, 64, 64, 32), emulated.Activation.relu
        for x, out, weights in ((start, actual, 1), (actual, middle, 0)):
            queue.gemv(
                *(x.data_ptr(), rms, how.weight.data_ptr(), 0, how.eps, 0, packed.data.data_ptr()),
                *(layout, 0, out.data_ptr(), 2, False, relu, bool(weights)),
            )
        stream.synchronize()
        assert relative_error(actual + middle, expected) < SUM_ROUNDING


def test_refusals() -> None:
    packed, x = tc16.pack(random_weight(48, 64, 32, 4)), torch.zeros(9, 64)
    with pytest.raises(KernelError, match="gemv: 9 tokens; at most 8 are multiplied at a time"):
        gemv(x, packed)
    with pytest.raises(KernelError, match="a gated weight has 48 rows; a multiple of 32 is needed"):
        gemv(x[:1], packed, gate="silu")
    stream = open_stream()
    for bits, group in ((3, 32), (4, 48), (8, 256)):
        layout, kind = emulated.Tc16(bits, 16, 64, group), emulated.NormKind.rms
        with pytest.raises(KernelError, match=f"{bits} bits in groups of {group}; 4 or 8 in"):
            stream.queue().gemv(
                *(x.data_ptr(), kind, 0, 0, 0.0, 0, packed.data.data_ptr(), layout, 0),
                *(x.data_ptr(), 1, False, emulated.Activation.relu, False),
            )
    with pytest.raises(KernelError, match="kernel gemv: there is no emulated architecture 700"):
        gemv(x[:1], packed, schedule=replace(SHUFFLED, arch=700))

"""gemm, compiled as host C++: against float64, on activations that halves made.

The one conversion that is not exact is that of the activations to float16, which is not gemm's.
"""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import ORDERS, SCHEDULES, SHUFFLED, Schedule
from tests.cuda.streams import address, emulated, layout_of, open_stream
from tests.cuda.test_dequantize import halves
from tests.kernels.compare import misaligned, relative_error
from tests.kernels.test_activation import formula
from tests.kernels.test_matmul import extreme_weight, random_weight
from tinychat.errors import KernelError
from tinychat.kernels import Activation, PackedWeight, tc16
from tinychat.quantize.format import LowBitWeight, dequantize

# Sums of some hundred float32 products.
SUM_ROUNDING = 2e-6
# A float16 number has 11 bits: each activation is off by 2^-11 of itself at most.
HALF_ROUNDING = 2.0**-11
# More tiles than are shared out (kMostSplitTiles), so that each warp has a tile of its own.
MANY_ROWS = 513 * 16
Halves = tuple[Tensor, Tensor]


def gemm(
    x: Halves,
    packed: PackedWeight,
    bias: Tensor | None = None,
    *,
    gate: Activation | None = None,
    residual: Tensor | None = None,
    schedule: Schedule = SHUFFLED,
) -> Tensor:
    x16, factors = x
    out = residual
    if out is None:
        rows = packed.shape[0]
        out = torch.full((len(x16), rows // 2 if gate else rows), torch.nan)
    stream = open_stream(schedule)
    stream.queue().gemm(
        x16.data_ptr(),
        factors.data_ptr(),
        packed.data.data_ptr(),
        layout_of(packed),
        address(bias),
        out.data_ptr(),
        len(x16),
        gate is not None,
        getattr(emulated.Activation, gate or "relu"),
        residual is not None,
    )
    stream.synchronize()
    return out


def inputs(tokens: int, packed: PackedWeight) -> tuple[Tensor, Halves]:
    """Random activations, and what gemm takes of them."""
    x = torch.randn((tokens, packed.shape[1]))
    return x, halves(x, tc16.padded_inputs(packed))


def product(x: Halves, weight: LowBitWeight) -> Tensor:
    """Of the activations as they were rounded."""
    seen = x[0].double() * x[1].double()[:, None]
    return seen[:, : weight.codes.shape[1]] @ dequantize(weight).double().T


def first_rows(x: Halves, count: int) -> Halves:
    return x[0][:count].contiguous(), x[1][:count].contiguous()


@pytest.mark.parametrize("bits", (4, 8))
@pytest.mark.parametrize(
    "shape",
    ((64, 256, 128), (37, 192, 64), (5, 140, 32), (33, 130, 128), (16, 900, 64), (1, 20, 20)),
)
def test_product_is_as_defined(shape: tuple[int, int, int], bits: int) -> None:
    weight = random_weight(*shape, bits)
    packed, values = tc16.pack(weight), dequantize(weight).double()
    for tokens in (0, 1, 9, 16, 31, 35):
        x, x16 = inputs(tokens, packed)
        out = gemm(x16, packed)
        assert relative_error(out, product(x16, weight)) < SUM_ROUNDING, tokens
        most = (HALF_ROUNDING + SUM_ROUNDING) * (x.double().abs() @ values.abs().T)
        assert ((out - x.double() @ values.T).abs() <= most).all(), tokens


@pytest.mark.parametrize(("group", "bits"), ((32, 4), (64, 8), (128, 4)))
@pytest.mark.parametrize("tokens", (9, 20, 70))
def test_warps_with_tiles_of_their_own(tokens: int, group: int, bits: int) -> None:
    """Gated, since few rows suffice for that; relu and gates far above zero leave the product."""
    weight = random_weight(96, 330, group, bits)
    packed, bias = tc16.pack(weight), torch.zeros(96)
    bias[:48] = 1e5
    _, x16 = inputs(tokens, packed)
    both = product(x16, weight) + bias
    assert (both[:, :48] > 0).all()
    out = gemm(x16, packed, bias, gate="relu")
    assert relative_error(out, both[:, :48] * both[:, 48:]) < SUM_ROUNDING


def test_many_rows() -> None:
    weight = random_weight(MANY_ROWS, 64, 64, 4)
    packed = tc16.pack(weight)
    _, x16 = inputs(33, packed)
    assert relative_error(gemm(x16, packed), product(x16, weight)) < SUM_ROUNDING


@pytest.mark.parametrize("bits", (2, 3))
def test_narrower_weights(bits: int) -> None:
    weight = random_weight(16, 96, 32, bits)
    packed = tc16.pack(weight)
    _, x16 = inputs(9, packed)
    assert relative_error(gemm(x16, packed), product(x16, weight)) < SUM_ROUNDING


@pytest.mark.parametrize("bits", (4, 8))
@pytest.mark.parametrize("group", (32, 64, 128))
def test_extreme_codes_and_zeros(group: int, bits: int) -> None:
    """Exact, as all are whole numbers."""
    weight = extreme_weight(group, bits)
    packed = tc16.pack(weight)
    x16 = halves(torch.full((10, 256), -127.0), 256)
    assert torch.equal(gemm(x16, packed).double(), product(x16, weight))


@pytest.mark.parametrize("gate", (None, "silu"))
@pytest.mark.parametrize(("shape", "bits"), (((32, 500, 128), 4), ((32, 200, 32), 8)))
def test_a_row_is_the_same_in_any_company(
    shape: tuple[int, int, int], bits: int, gate: Activation | None
) -> None:
    packed, bias = tc16.pack(random_weight(*shape, bits)), torch.randn(32)
    _, x16 = inputs(70, packed)
    all_rows = gemm(x16, packed, bias, gate=gate)
    for tokens in (1, 9, 17, 33):
        few = gemm(first_rows(x16, tokens), packed, bias, gate=gate)
        assert torch.equal(few, all_rows[:tokens]), tokens


@pytest.mark.parametrize("value", (torch.nan, torch.inf))
def test_what_is_not_finite_shows_in_its_row_alone(value: float) -> None:
    packed = tc16.pack(random_weight(20, 130, 64, 4))
    x, x16 = inputs(18, packed)
    finite = gemm(x16, packed)
    x[1, 77] = value
    out = gemm(halves(x, tc16.padded_inputs(packed)), packed)
    assert not out[1].isfinite().any()
    assert torch.equal(out[2:], finite[2:]) and torch.equal(out[0], finite[0])


@pytest.mark.parametrize("kind", get_args(Activation))
@pytest.mark.parametrize("half", (16, 48))
def test_a_gate_takes_halves(half: int, kind: Activation) -> None:
    weight, bias = random_weight(2 * half, 192, 64, 4), torch.randn(2 * half)
    packed = tc16.pack(weight)
    x16 = halves(torch.randn(9, 192) / 10, 192)
    for added in (None, bias):
        both = product(x16, weight) + (0 if added is None else added)
        gate, up = both.chunk(2, dim=1)
        expected = formula(gate.float(), kind) * up
        # float32 sums of products as large as 1, and the last bits of exp and erfc.
        actual = gemm(x16, packed, added, gate=kind).double()
        torch.testing.assert_close(actual, expected.double(), rtol=1e-4, atol=1e-4)
        assert relative_error(actual, expected) < 5 * SUM_ROUNDING


@pytest.mark.parametrize("bits", (4, 8))
@pytest.mark.parametrize("rows", (16, 37))
def test_bias_and_residual_are_added_to_the_result(rows: int, bits: int) -> None:
    packed, bias = tc16.pack(random_weight(rows, 96, 32, bits)), torch.randn(rows)
    for tokens in (9, 33):
        _, x16 = inputs(tokens, packed)
        stream = torch.randn((tokens, rows))
        result = gemm(x16, packed, bias)
        assert torch.equal(result, gemm(x16, packed) + bias)
        assert torch.equal(gemm(x16, packed, misaligned(bias)), result)
        expected = stream + result
        assert torch.equal(gemm(x16, packed, bias, residual=misaligned(stream)), expected)


@pytest.mark.parametrize("gate", (None, "silu"))
def test_the_same_under_every_schedule(gate: Activation | None) -> None:
    """More units than stages and than loads on their way, and a tile that two warps lack."""
    packed = tc16.pack(random_weight(32, 1400 if gate is None else 600, 128, 4))
    _, x16 = inputs(18, packed)
    results: dict[bool, list[Tensor]] = {False: [], True: []}
    for schedule in SCHEDULES:
        out = gemm(x16, packed, gate=gate, schedule=schedule)
        # sm_75 adds eight products at a time instead of sixteen.
        results[schedule.arch == 750].append(out)
    for alike in results.values():
        assert all(torch.equal(result, alike[0]) for result in alike)
    assert relative_error(results[True][0], results[False][0]) < 2 * SUM_ROUNDING


@pytest.mark.parametrize("order", ORDERS)
def test_launches_follow_each_other(order: str) -> None:
    """halves, gemm into the same residual, and both again, without waiting in between."""
    weight = random_weight(64, 64, 32, 4)
    packed, start = tc16.pack(weight), torch.randn(9, 64)
    expected = start.clone()
    for _ in range(2):
        gemm(halves(expected), packed, residual=expected)
    actual, x16, factors = start.clone(), torch.empty(9, 64).half(), torch.empty(9)
    stream = open_stream(Schedule(order=order, overlap=True))
    queue, layout, relu = stream.queue(), layout_of(packed), emulated.Activation.relu
    rms, data = emulated.NormKind.rms, packed.data.data_ptr()
    places = x16.data_ptr(), factors.data_ptr()
    for _ in range(2):
        queue.halves(actual.data_ptr(), rms, 0, 0, 0.0, 0, *places, 9, 64, 64, 14)
        queue.gemm(*places, data, layout, 0, actual.data_ptr(), 9, False, relu, True)
    stream.synchronize()
    assert torch.equal(actual, expected)


def test_refusals() -> None:
    packed = tc16.pack(random_weight(48, 64, 32, 4))
    _, x16 = inputs(9, packed)
    with pytest.raises(KernelError, match="gemm: a gated weight has 48 rows; a multiple of 32"):
        gemm(x16, packed, gate="silu")
    queue, relu = open_stream().queue(), emulated.Activation.relu
    for bits, group in ((3, 32), (4, 48), (8, 256)):
        layout = emulated.Tc16(bits, 16, 64, group)
        with pytest.raises(KernelError, match=f"gemm: a weight has {bits} bits in groups of"):
            queue.gemm(x16[0].data_ptr(), 0, 0, layout, 0, 0, 9, False, relu, False)

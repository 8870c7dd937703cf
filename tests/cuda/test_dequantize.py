"""dequantize and halves, compiled as host C++: both operands of a product of many tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.cuda.emulated import SCHEDULES, SHUFFLED, Schedule
from tests.cuda.streams import address, emulated, layout_of, open_stream
from tests.cuda.test_ops import norm
from tests.kernels.compare import as_halves, misaligned, norms
from tests.kernels.test_matmul import SHAPES, random_weight
from tinychat.errors import KernelError
from tinychat.kernels import Norm, PackedWeight, tc16
from tinychat.quantize.format import dequantize as reference


def dequantize(
    packed: PackedWeight,
    first: int,
    rows: int,
    cols: int | None = None,
    *,
    out: Tensor | None = None,
    schedule: Schedule = SHUFFLED,
) -> Tensor:
    width = packed.shape[1] if cols is None else cols
    if out is None:
        out = torch.full((rows, width), torch.nan, dtype=torch.float16)
    stream = open_stream(schedule)
    data, layout = packed.data.data_ptr(), layout_of(packed)
    stream.queue().dequantize(data, layout, first, rows, out.data_ptr(), width)
    stream.synchronize()
    return out


def halves(
    x: Tensor,
    cols: int | None = None,
    *,
    before: Norm | None = None,
    order: Tensor | None = None,
    exponent: int = 14,
    schedule: Schedule = SHUFFLED,
) -> tuple[Tensor, Tensor]:
    """x as float16 with `cols` columns, and the factors of its rows."""
    how = before or Norm("rms", torch.empty(0), 0.0)
    out = torch.full((len(x), x.shape[1] if cols is None else cols), torch.nan).half()
    factors = torch.full((len(x),), torch.nan)
    stream = open_stream(schedule)
    stream.queue().halves(
        x.data_ptr(),
        getattr(emulated.NormKind, how.kind),
        how.weight.data_ptr() if before else 0,
        address(how.bias),
        how.eps,
        address(order),
        out.data_ptr(),
        factors.data_ptr(),
        *x.shape,
        out.shape[1],
        exponent,
    )
    stream.synchronize()
    return out, factors


# --- dequantize


@pytest.mark.parametrize("bits", (2, 3, 4, 8))
@pytest.mark.parametrize("shape", SHAPES)
def test_every_row_rounded_once(shape: tuple[int, int, int], bits: int) -> None:
    """The reference has float32 products of 11 bits and 9, which are exact."""
    weight = random_weight(*shape, bits)
    packed, expected = tc16.pack(weight), reference(weight).half()
    rows, cols = packed.shape
    assert torch.equal(dequantize(packed, 0, rows), expected)
    filled = functional.pad(expected, (0, tc16.padded_inputs(packed) - cols))
    assert torch.equal(dequantize(packed, 0, rows, tc16.padded_inputs(packed)), filled)


@pytest.mark.parametrize("bits", (4, 8))
def test_some_rows(bits: int) -> None:
    weight = random_weight(70, 200, 64, bits)
    packed, expected = tc16.pack(weight), reference(weight).half()
    for first, rows in ((0, 16), (16, 1), (16, 17), (48, 22), (64, 6), (64, 0)):
        assert torch.equal(dequantize(packed, first, rows), expected[first : first + rows])


def test_memory_that_no_vector_is_aligned_to() -> None:
    packed = tc16.pack(random_weight(20, 136, 32, 4))
    out = misaligned(torch.full((20, 136), torch.nan).half())
    assert torch.equal(dequantize(packed, 0, 20, out=out), dequantize(packed, 0, 20))


def test_small_and_large_scales() -> None:
    """Below the normal numbers of float16 too, and infinite where it has none."""
    weight = random_weight(16, 64, 32, 8)
    weight.scales[:, 0] = 2.0**-24
    weight.scales[:, 1] = 1000
    assert torch.equal(dequantize(tc16.pack(weight), 0, 16), reference(weight).half())


def test_the_same_rows_under_every_schedule() -> None:
    weight = random_weight(33, 600, 128, 4)
    packed, expected = tc16.pack(weight), reference(weight).half()
    for schedule in SCHEDULES:
        assert torch.equal(dequantize(packed, 16, 17, schedule=schedule), expected[16:])


def test_refused_rows_and_columns() -> None:
    packed = tc16.pack(random_weight(40, 70, 32, 4))
    for first, rows in ((8, 8), (32, 9), (-16, 8), (48, 0), (0, -1)):
        with pytest.raises(KernelError, match=f"dequantize: rows {first} to {first + rows} of 40"):
            dequantize(packed, first, rows, out=torch.empty(0))
    for cols in (69, 129):
        with pytest.raises(KernelError, match=f"{cols} columns for 70 inputs; at most 128"):
            dequantize(packed, 0, 16, cols)
    with pytest.raises(KernelError, match="dequantize: a weight has 3 bits in groups of 32; 4 or"):
        open_stream().queue().dequantize(0, emulated.Tc16(3, 16, 64, 32), 0, 16, 0, 64)


# --- halves


@pytest.mark.parametrize("cols", (1, 7, 64, 130, 1024, 1028, 1100))
def test_rows_in_float16(cols: int) -> None:
    for tokens in (0, 1, 5):
        x = torch.randn(tokens, cols)
        for width in (cols, cols + 3, -(-cols // 64) * 64):
            for exponent in (0, 14):
                out, factors = halves(x, width, exponent=exponent)
                expected = functional.pad(as_halves(x, x.shape[1], exponent), (0, width - cols))
                assert torch.equal(out.double() * factors.double()[:, None], expected)


def test_rows_of_any_size() -> None:
    x = torch.randn(7, 200)
    x[0] = 0
    x[1] *= 1e30
    x[2] *= 1e-12
    x[3, 5] = 3e4  # an outlier, as models have them
    x[4] = 3e38
    x[5] = 1e-40
    out, factors = halves(x)
    assert out.isfinite().all()
    actual = out.double() * factors.double()[:, None]
    assert torch.equal(actual[:5], as_halves(x, x.shape[1])[:5])
    assert actual[5].abs().max() < 1e-30
    # The bound of the file's header: 2^-11 of each number, or 2^-39 of the row's largest.
    largest = x.double().abs().amax(dim=1, keepdim=True)
    error = (actual - x.double()).abs()
    assert (error <= torch.maximum(x.double().abs() * 2**-11, largest * 2**-39))[:5].all()


@pytest.mark.parametrize("value", (torch.nan, torch.inf, -torch.inf))
def test_what_is_not_finite_stays_in_its_row(value: float) -> None:
    x = torch.randn(3, 70)
    expected, factors = halves(x)
    x[1, 33] = value
    out, spoiled = halves(x)
    assert not out[1, 33].isfinite() and not spoiled.isnan().any()
    for row in (0, 2):
        assert torch.equal(out[row], expected[row]) and spoiled[row] == factors[row]


@pytest.mark.parametrize("cols", (130, 192, 1100))
def test_a_norm_and_an_order_come_first(cols: int) -> None:
    x, order = torch.randn(3, cols), torch.randperm(cols).int()
    ordered = x[:, order.long()].contiguous()
    for actual, expected in zip(halves(x, order=order), halves(ordered), strict=True):
        assert torch.equal(actual, expected)
    for how in norms(cols):
        # The op of its own, whose sums are made in the same order.
        normal = norm(open_stream(), x, how)
        for actual, expected in zip(halves(x, before=how), halves(normal), strict=True):
            assert torch.equal(actual, expected)
        # With an order the sums are made one element at a time; a norm's bias may cancel most of
        # a number but not of its float32 rounding.
        out, factors = halves(x, before=how, order=order)
        seen = normal[:, order.long()].double()
        error = (out.double() * factors.double()[:, None] - seen).abs()
        assert (error <= seen.abs() * 2**-11 * 1.01 + 2e-6).all()


def test_an_index_outside_gives_the_last_column() -> None:
    x, order = torch.randn(2, 32), torch.arange(32, dtype=torch.int32)
    order[:3] = torch.tensor([-1, 32, 2**31 - 1], dtype=torch.int32)
    expected = x.clone()
    expected[:, :3] = x[:, 31:]
    assert torch.equal(halves(x, order=order)[0], halves(expected)[0])


def test_misaligned_rows() -> None:
    x = torch.randn(3, 128)
    assert torch.equal(halves(misaligned(x))[0], halves(x)[0])


def test_the_same_halves_under_every_schedule() -> None:
    x = torch.randn(3, 1100)
    for how in norms(1100)[1:]:
        expected = halves(x, 1152, before=how)
        for schedule in SCHEDULES:
            actual = halves(x, 1152, before=how, schedule=schedule)
            assert all(map(torch.equal, actual, expected))


def test_refused_exponents_and_widths() -> None:
    x = torch.randn(2, 64)
    for exponent in (-1, 15):
        with pytest.raises(KernelError, match=f"halves: exponent {exponent}; 0 to 14 keep"):
            halves(x, exponent=exponent)
    with pytest.raises(KernelError, match="halves: 63 columns for 64 inputs"):
        halves(x, 63)

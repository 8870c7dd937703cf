"""The grid of a group: what it spans, what it cannot be, and that all methods round on the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError
from tinychat.quantize.format import BITS, dequantize
from tinychat.quantize.grid import Grid
from tinychat.quantize.rtn import round_to_nearest


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", [-1, 0, 1, 5, 6, 16])
def test_bits_that_are_not_offered(bits: int) -> None:
    with pytest.raises(ArgumentError, match=f"bits={bits}: expected 2, 3, 4 or 8"):
        Grid(bits)


@pytest.mark.parametrize("group", [0, -2, -128])
def test_groups_of_less_than_one_input(group: int) -> None:
    with pytest.raises(ArgumentError, match=f"group_size={group}: expected 128, 64, 32, or -1"):
        Grid(4, group)


def test_width_is_the_group_or_the_whole_row() -> None:
    assert Grid(4, 32).width(96) == 32
    assert Grid(4, -1).width(96) == 96
    with pytest.raises(ArgumentError, match="group_size=64 does not divide K=96 of up; use 32"):
        Grid(4, 64).width(96, "up")


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_grid_spans_the_group_and_zero(bits: int, symmetric: bool) -> None:
    grid = Grid(bits, 32, symmetric)
    groups = gaussian(40, 32) + torch.linspace(-3, 3, 40)[:, None]
    scales, zeros = grid.fit(groups)
    assert scales.shape == zeros.shape == (40, 1)
    assert torch.equal(scales.half().float(), scales)
    assert torch.equal(zeros.round(), zeros) and 0 <= zeros.min() and zeros.max() <= grid.top
    lowest, highest = -zeros * scales, (grid.top - zeros) * scales
    # The zero point is rounded by half a step at most, so one end may lie half a step inside.
    slack = (0.0 if symmetric else 0.5) * scales + 2**-10 * groups.abs().max()
    assert bool((groups >= lowest - slack).all()) and bool((groups <= highest + slack).all())
    zero = grid.encode(torch.zeros(40, 1), scales, zeros)
    assert torch.equal(zero, zeros), "zero is one of the codes"
    if symmetric:
        assert bool((zeros == 2 ** (bits - 1)).all())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_no_narrower_grid_of_its_kind_spans_the_group(bits: int, symmetric: bool) -> None:
    grid = Grid(bits, 32, symmetric)
    groups = gaussian(50, 32)
    scales, _ = grid.fit(groups)
    low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
    if symmetric:
        least = torch.maximum(high / (2 ** (bits - 1) - 1), -low / 2 ** (bits - 1))
    else:
        least = (high - low) / (2**bits - 1)
    assert torch.allclose(scales, least, rtol=2**-10)


@pytest.mark.parametrize("bits", BITS)
def test_symmetric_uses_the_lowest_code_too(bits: int) -> None:
    """-8 · s … 7 · s: a group whose largest weight is negative is a step finer for it."""
    group = torch.tensor([[-1.0, 0.5, 0.25, 0.0]])
    grid = Grid(bits, 4, True)
    scales, zeros = grid.fit(group)
    expected = max(1 / 2 ** (bits - 1), 0.5 / (2 ** (bits - 1) - 1))
    assert float(scales) == pytest.approx(expected, rel=2**-10)
    assert int(grid.encode(group, scales, zeros).min()) == 0


@pytest.mark.parametrize("symmetric", [False, True])
def test_zeros_stay_zero(symmetric: bool) -> None:
    assert not Grid(4, 32, symmetric).round(torch.zeros(3, 32)).any()
    weight = gaussian(3, 32)
    weight[:, 5:9] = 0
    assert not Grid(4, 32, symmetric).round(weight)[:, 5:9].any()


def test_what_lies_outside_gets_the_end() -> None:
    grid = Grid(4, 32)
    scales, zeros = torch.tensor([[0.5]]), torch.tensor([[3.0]])
    codes = grid.encode(torch.tensor([[-100.0, -1.5, 0.0, 6.0, 100.0]]), scales, zeros)
    assert codes.tolist() == [[0, 0, 3, 15, 15]]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_round_is_what_the_stored_integers_stand_for(bits: int, symmetric: bool) -> None:
    grid, weight = Grid(bits, 32, symmetric), gaussian(9, 96)
    stored = dequantize(round_to_nearest(weight, grid))
    assert torch.equal(grid.round(weight.view(9, 3, 32)).view(9, 96), stored)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e6])
@pytest.mark.parametrize("symmetric", [False, True])
def test_what_no_scale_can_span_is_refused_by_name(value: float, symmetric: bool) -> None:
    weight = gaussian(4, 32)
    weight[2, 7] = value
    for refuse in (Grid(4, 32, symmetric).fit, Grid(4, 32, symmetric).round):
        with pytest.raises(CheckpointError, match=r"layers\.3\.down has weights that are NaN"):
            refuse(weight, "layers.3.down")

"""GPTQ against the slow form of its paper: one column at a time, an explicit inverse, float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError
from tinychat.quantize.format import BITS, LowBitWeight, dequantize
from tinychat.quantize.gptq import Order, SingularHessianError, inverse_factor, round_with_feedback
from tinychat.quantize.grid import Grid
from tinychat.quantize.rtn import round_to_nearest

STATIC = Order(static_groups=True)
MOVED = Order(static_groups=False)
ORDERS = {"static": STATIC, "moved": MOVED}


def correlated(k: int, tokens: int = 400, seed: int = 0) -> Tensor:
    """[T, K] inputs of which a few directions and a few channels are much larger than others."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(tokens, k // 4, generator=generator) @ torch.randn(
        k // 4, k, generator=generator
    )
    x = mixed / (k // 4) ** 0.5 + 0.3 * torch.randn(tokens, k, generator=generator)
    x *= 1 + 5 * torch.rand(k, generator=generator) ** 4
    return x


def gram_of(x: Tensor) -> Tensor:
    return x.t() @ x / len(x)


def gaussian(n: int, k: int, seed: int = 1) -> Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed))


def output_error(weight: LowBitWeight, exact: Tensor, gram: Tensor) -> float:
    difference = (dequantize(weight) - exact).double()
    return float(((difference @ gram.double()) * difference).sum())


# --- the slow form

Matrix = np.ndarray


@dataclass
class Slow:
    codes: Matrix  # in the natural order
    scales: Matrix
    zeros: Matrix
    order: Sequence[int]


def spanning(values: Matrix, bits: int, symmetric: bool) -> tuple[Matrix, Matrix]:
    """[N, Q] -> scale and zero point of each row."""
    low, high = np.minimum(values.min(1), 0), np.maximum(values.max(1), 0)
    half = 2 ** (bits - 1)
    span = np.maximum(high / (half - 1), -low / half) if symmetric else (high - low) / (2**bits - 1)
    scale = span.astype(np.float16).astype(np.float64)
    if symmetric:
        return scale, np.full(len(scale), float(half))
    return scale, np.clip(np.rint(-low / scale), 0, 2**bits - 1)


def slow_gptq(
    weight: Matrix,
    gram: Matrix,
    grid: Grid,
    order: Order,
    limits: Matrix | None = None,
) -> Slow:
    """After every column the whole inverse is brought up to date, as in section 3.1."""
    w = weight.astype(np.float64)
    n, k = w.shape
    group = grid.width(k)
    h = gram.astype(np.float64)
    h = h + order.damping * np.mean(np.diag(h)) * np.eye(k)
    inverse = np.linalg.inv(h)
    columns = np.argsort(-np.diag(gram), kind="stable").tolist()
    static = order.static_groups or limits is not None
    scales, zeros = np.empty((n, k // group)), np.empty((n, k // group))
    if static:
        for g in range(k // group):
            values = w[:, g * group : (g + 1) * group]
            if limits is not None:
                values = np.clip(values, -limits[:, g : g + 1], limits[:, g : g + 1])
            scales[:, g], zeros[:, g] = spanning(values, grid.bits, grid.symmetric)
    codes = np.empty((n, k))
    for position, j in enumerate(columns):
        g = (j if static else position) // group
        if not static and position % group == 0:
            members = columns[position : position + group]
            scales[:, g], zeros[:, g] = spanning(w[:, members], grid.bits, grid.symmetric)
        codes[:, j] = np.clip(np.rint(w[:, j] / scales[:, g]) + zeros[:, g], 0, grid.top)
        error = (w[:, j] - (codes[:, j] - zeros[:, g]) * scales[:, g]) / inverse[j, j]
        w[:, j] = 0
        rest = columns[position + 1 :]
        w[:, rest] -= np.outer(error, inverse[j, rest])
        inverse = inverse - np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return Slow(codes, scales, zeros, columns)


def natural_codes(weight: LowBitWeight) -> Tensor:
    codes = weight.codes.clone()
    if weight.order is not None:
        codes[:, weight.order.long()] = weight.codes
    return codes


def assert_same(found: LowBitWeight, expected: Slow) -> None:
    rows = np.any(natural_codes(found).numpy() != expected.codes, axis=1)
    # Where a weight lies in the middle of two codes, float32 may choose the other one, and the rest
    # of that row makes up for something else.
    assert rows.sum() <= 1, f"{rows.sum()} of {len(rows)} rows differ"
    same = ~rows
    assert np.array_equal(found.scales.numpy()[same], expected.scales[same].astype(np.float16))
    assert np.array_equal(found.zeros.numpy()[same], expected.zeros[same])


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize(
    "grid", [Grid(4, 32), Grid(3, 64), Grid(2, -1), Grid(8, 64), Grid(4, 64, True)], ids=str
)
def test_equals_the_slow_form(name: str, grid: Grid) -> None:
    weight, gram = gaussian(24, 192), gram_of(correlated(192))  # a block of 128 columns and more
    found = round_with_feedback(weight, gram, grid, ORDERS[name])
    assert_same(found, slow_gptq(weight.numpy(), gram.numpy(), grid, ORDERS[name]))


@pytest.mark.parametrize("name", ORDERS)
def test_limits_bound_the_grids_and_the_error_is_handed_on(name: str) -> None:
    weight, gram, grid = gaussian(24, 192), gram_of(correlated(192)), Grid(4, 32)
    most = weight.view(24, 6, 32).abs().amax(dim=-1)
    limits = most * (0.55 + 0.45 * torch.rand(24, 6, generator=torch.Generator().manual_seed(4)))
    found = round_with_feedback(weight, gram, grid, ORDERS[name], limits=limits)
    assert found.order is None, "grids that are known before have a place"
    expected = slow_gptq(weight.numpy(), gram.numpy(), grid, ORDERS[name], limits.numpy())
    assert_same(found, expected)


def test_the_order_of_columns_is_kept_where_groups_follow_it() -> None:
    weight, gram, grid = gaussian(16, 128), gram_of(correlated(128)), Grid(4, 32)
    assert round_with_feedback(weight, gram, grid, STATIC).order is None
    moved = round_with_feedback(weight, gram, grid, MOVED)
    assert moved.order is not None and moved.order.dtype == torch.int32
    diagonal = gram.diagonal()[moved.order.long()]
    assert bool((diagonal[1:] <= diagonal[:-1]).all())
    assert sorted(moved.order.tolist()) == list(range(128))
    # Read back in natural order it is the weight, nearly.
    assert (dequantize(moved) - weight).norm() < 0.2 * weight.norm()


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", ORDERS)
def test_outputs_are_closer_than_with_plain_rounding(name: str, bits: int) -> None:
    for seed in range(4):
        weight, gram = gaussian(32, 128, seed), gram_of(correlated(128, seed=seed))
        for grid in (Grid(bits, 32), Grid(bits, -1), Grid(bits, 32, True)):
            plain = output_error(round_to_nearest(weight, grid), weight, gram)
            found = round_with_feedback(weight, gram, grid, ORDERS[name])
            assert output_error(found, weight, gram) < plain


def test_without_correlation_there_is_nothing_to_hand_on() -> None:
    weight, gram = gaussian(16, 64), torch.diag(torch.rand(64) + 0.1)
    found = round_with_feedback(weight, gram, Grid(4, 32), STATIC)
    assert torch.equal(found.codes, round_to_nearest(weight, Grid(4, 32)).codes)


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("damping", [0.01, 1e-9])
def test_fewer_tokens_than_channels(name: str, damping: float) -> None:
    weight, x = gaussian(16, 128), correlated(128, tokens=20)
    x[:, 7] = x[:, 8]  # and two channels are one
    order = Order(damping, ORDERS[name].static_groups)
    found = round_with_feedback(weight, gram_of(x), Grid(4, 32), order)
    plain = output_error(round_to_nearest(weight, Grid(4, 32)), weight, gram_of(x))
    assert output_error(found, weight, gram_of(x)) < plain


def test_damping_grows_until_there_is_a_factor() -> None:
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)) * 1e3
    factor = inverse_factor(gram_of(x), 1e-12)
    assert bool(torch.isfinite(factor).all()) and not factor.tril(-1).any()
    assert bool((factor.diagonal() > 0).all())
    well = gram_of(correlated(64))
    damped = well.double() + 0.01 * well.double().diagonal().mean() * torch.eye(64).double()
    expected = torch.linalg.inv(damped)
    found = inverse_factor(well, 0.01).double()
    assert torch.allclose(found.t() @ found, expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_what_has_no_factor_at_all_is_refused() -> None:
    for gram in (-torch.eye(64), torch.full((64, 64), torch.nan)):
        with pytest.raises(SingularHessianError, match=r"o_proj: its Hessian has no inverse"):
            round_with_feedback(gaussian(8, 64), gram, Grid(4, 32), STATIC, "o_proj")


def test_the_weight_and_the_gram_that_are_given_stay_as_they_are() -> None:
    weight, gram = gaussian(8, 64), gram_of(correlated(64))
    kept = weight.clone(), gram.clone()
    round_with_feedback(weight, gram, Grid(4, 32), MOVED)
    assert torch.equal(weight, kept[0]) and torch.equal(gram, kept[1])


def test_refusals_name_the_matrix() -> None:
    gram, weight = torch.eye(64), gaussian(8, 64)
    with pytest.raises(ArgumentError, match="group_size=128 does not divide K=64 of down"):
        round_with_feedback(weight, gram, Grid(4, 128), name="down")
    weight[1, 2] = torch.nan
    for order in ORDERS.values():
        with pytest.raises(CheckpointError, match="down has weights that are NaN"):
            round_with_feedback(weight, gram, Grid(4, 32), order, name="down")

"""Scales and clips: what is tried, what is chosen, and that it is no worse than plain rounding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tinychat.quantize import awq
from tinychat.quantize.awq import ALPHAS, CLIPS, search_clips, search_scales
from tinychat.quantize.grid import Grid
from tinychat.quantize.observe import Seen

GRID = Grid(3, 32)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seen_of(x: Tensor, block: int | None = None) -> Seen:
    """Statistics of x [T, K]; all rows are kept."""
    k = x.shape[1]
    seen = Seen(k, k if block is None else block, torch.device("cpu"))
    for rows in torch.split(x, 50):
        seen.add(rows, True)
    return seen


def rounded(weight: Tensor, grid: Grid, scales: Tensor | None = None) -> Tensor:
    """What the weight becomes when it is rounded under scales."""
    scaled = weight if scales is None else weight * scales
    groups = scaled.view(len(weight), -1, grid.width(weight.shape[1]))
    out = grid.round(groups).view_as(weight)
    return out if scales is None else out / scales


def own_output_error(weight: Tensor, seen: Seen) -> Callable[[Tensor], Tensor]:
    return lambda candidates: seen.error(candidates - weight)


def with_an_outlier(k: int = 128, factor: float = 40.0) -> Tensor:
    x = gaussian(300, k)
    x[:, 9] *= factor
    return x


# --- scales


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("grid", [Grid(2, 32), Grid(4, 32), Grid(3, -1), Grid(4, 64, True)])
def test_no_worse_than_plain_rounding_by_its_own_measure(seed: int, grid: Grid) -> None:
    weight, x = gaussian(24, 128, seed=seed), gaussian(200, 128, seed=seed + 9)
    x *= torch.rand(128, generator=torch.Generator().manual_seed(seed)) ** 3 * 9 + 0.1
    seen = seen_of(x)
    found = search_scales(weight, seen, grid, own_output_error(weight, seen))
    assert found.after <= found.before
    plain = seen.error(rounded(weight, grid) - weight)
    assert found.before == pytest.approx(float(plain), rel=1e-4)
    scaled = seen.error(rounded(weight, grid, found.scales) - weight)
    assert found.after == pytest.approx(float(scaled), rel=1e-4)


def test_an_outlier_channel_is_scaled_up() -> None:
    weight, seen = gaussian(32, 128, seed=1), seen_of(with_an_outlier())
    found = search_scales(weight, seen, GRID, own_output_error(weight, seen))
    assert found.alpha > 0.2
    assert int(found.scales.argmax()) == 9
    assert found.after < 0.5 * found.before
    # The true outputs are closer by as much as was measured.
    x = torch.cat(seen.rows)
    wrong = (x @ (rounded(weight, GRID, found.scales) - weight).t()).square().sum(1).mean()
    assert found.after == pytest.approx(float(wrong), rel=1e-3)


def test_where_nothing_stands_out_plain_rounding_is_kept() -> None:
    weight, seen = gaussian(8, 64), seen_of(gaussian(100, 64))
    never = search_scales(weight, seen, GRID, lambda c: torch.arange(len(c)).float())
    assert (never.alpha, never.duo, never.before, never.after) == (0.0, False, 0.0, 0.0)
    assert torch.equal(never.scales, torch.ones(64))


def expected_scales(x: Tensor, w: Tensor, alpha: float, duo: bool) -> Tensor:
    scales = x**alpha / w ** (1 - alpha) if duo else x**alpha
    return scales / (scales.max() * scales.min()).sqrt()


@pytest.mark.parametrize("duo", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_any_alpha_is_found_in_both_forms_and_both_ends_are_in(alpha: float, duo: bool) -> None:
    assert len(ALPHAS) == 21 and (ALPHAS[0], ALPHAS[-1]) == (0.0, 1.0)
    weight, seen = gaussian(16, 64, seed=2), seen_of(with_an_outlier(64))
    groups = weight.abs().view(16, 2, 32)
    w = (groups / groups.amax(-1, keepdim=True)).mean(0).flatten()
    wanted = expected_scales(seen.magnitudes, w, alpha, duo)
    target = rounded(weight, GRID, wanted)

    def nearest_to_target(candidates: Tensor) -> Tensor:
        return (candidates - target).square().sum(dim=(1, 2))

    found = search_scales(weight, seen, GRID, nearest_to_target)
    if (alpha, duo) != (0.0, False):  # that is plain rounding, which is tried first
        assert (found.alpha, found.duo) in [(alpha, duo), (alpha, alpha == 1.0 and not duo)]
    assert torch.allclose(found.scales, wanted, rtol=1e-5)


def test_large_weights_matter_to_the_second_form() -> None:
    """An input whose weights fill the range of their group: scaling it down spares the others."""
    weight = gaussian(32, 64, seed=3)
    weight[:, [5, 40]] *= 12
    x = gaussian(300, 64)
    x[:, [5, 40]] *= 0.2
    seen = seen_of(x)
    found = search_scales(weight, seen, GRID, own_output_error(weight, seen))
    assert found.duo and sorted(found.scales.argsort()[:2].tolist()) == [5, 40]
    assert found.after < 0.5 * found.before


def test_shared_entries_get_one_scale() -> None:
    def share(values: Tensor) -> Tensor:
        parts = values.view(2, 2, 16)
        return parts.mean(dim=1, keepdim=True).expand_as(parts).reshape(-1)

    weight, seen = gaussian(16, 64, seed=4), seen_of(with_an_outlier(64))
    found = search_scales(weight, seen, GRID, own_output_error(weight, seen), share)
    tied = found.scales.view(2, 2, 16)
    assert torch.equal(tied[:, 0], tied[:, 1])
    assert tied.unique().numel() > 2 and found.after < found.before


def test_in_batches_the_same_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, seen = gaussian(16, 64, seed=5), seen_of(with_an_outlier(64))
    sizes: list[int] = []

    def error(candidates: Tensor) -> Tensor:
        sizes.append(len(candidates))
        return seen.error(candidates - weight)

    at_once = search_scales(weight, seen, GRID, error)
    assert sizes[0] == 22  # every second alpha in both forms
    assert 2 <= sizes[1] <= 4  # those beside the best of each form
    assert len(sizes) == 2
    monkeypatch.setattr(awq, "CANDIDATE_BUDGET", 4 * weight.numel())
    beside = sizes.pop()
    sizes.clear()
    in_batches = search_scales(weight, seen, GRID, error)
    assert sizes == [4] * 5 + [2] + [beside]
    assert torch.equal(in_batches.scales, at_once.scales)


def test_candidates_that_are_no_numbers_lose() -> None:
    weight, seen = gaussian(8, 64), seen_of(gaussian(100, 64))

    plain = rounded(weight, GRID)

    def spoilt(candidates: Tensor) -> Tensor:
        errors = seen.error(candidates - weight)
        errors[(candidates != plain).any(dim=2).any(dim=1)] = torch.nan
        return errors

    assert torch.equal(search_scales(weight, seen, GRID, spoilt).scales, torch.ones(64))


# --- clips


def brute_force(weight: Tensor, x: Tensor, grid: Grid) -> Tensor:
    """Group by group and clip by clip, on the outputs themselves."""
    n, k = weight.shape
    width = grid.width(k)
    limits = torch.empty(n, k // width)
    for row in range(n):
        for g in range(k // width):
            columns = slice(g * width, (g + 1) * width)
            group, inputs = weight[row, columns], x[:, columns].double()
            errors = {}
            for step in range(10):
                limit = float(group.abs().max() * (1 - step / 20))
                off = grid.round(group.clamp(-limit, limit)[None])[0] - group
                errors[limit] = float((inputs @ off.double()).square().mean())
            limits[row, g] = min(errors, key=errors.__getitem__)
    return limits


@pytest.mark.parametrize("grid", [Grid(3, 32), Grid(2, 64), Grid(4, -1), Grid(4, 32, True)])
def test_clips_are_those_of_brute_force(grid: Grid) -> None:
    weight, x = gaussian(12, 64, seed=6), gaussian(150, 64, seed=7)
    x = x @ (torch.eye(64) + 0.2 * gaussian(64, 64, seed=8))
    expected = brute_force(weight, x, grid)
    assert len(expected.unique()) > 2
    for block in (64, grid.width(64), 0):  # from all products, from those inside groups, from rows
        found = search_clips(weight, seen_of(x, block), grid)
        assert torch.allclose(found, expected, rtol=1e-6), block


def test_limits_run_from_all_to_just_over_half() -> None:
    assert pytest.approx([1 - i / 20 for i in range(10)]) == list(CLIPS)
    assert (CLIPS[0], CLIPS[-1]) == (1.0, pytest.approx(0.55))
    weight, x = gaussian(4, 64, seed=9), gaussian(100, 64)
    # A weight that fills the range and reads next to nothing may lose nearly half of itself; one
    # that reads nearly everything keeps all.
    weight[:, 3], weight[:, 40] = 9.0, 9.0
    x[:, 3] *= 1e-4
    x[:, 40] *= 1e4
    limits = search_clips(weight, seen_of(x), Grid(8, 32))
    assert float(limits[:, 0].min()) == pytest.approx(9 * 0.55)
    assert bool((limits[:, 0] < 9 * 0.66).all())
    assert limits[:, 1].tolist() == pytest.approx([9.0] * 4)


def test_whole_rows_wider_than_the_products_use_the_rows() -> None:
    weight, x, grid = gaussian(8, 96, seed=10), gaussian(80, 96, seed=11), Grid(3, -1)
    narrow = seen_of(x, 32)
    assert narrow.gram(96) is None
    assert torch.allclose(search_clips(weight, narrow, grid), brute_force(weight, x, grid))
    found = search_scales(weight, narrow, grid, own_output_error(weight, narrow))
    assert found.after <= found.before

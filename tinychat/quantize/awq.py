"""AWQ: which input channels matter is read off the activations, and those are scaled up before
rounding, so that their weights keep more of their precision.

Scaling channel k of a weight by s_k and what feeds it by 1 / s_k leaves the output as it is, but
not the rounding error: that of an important channel shrinks by s_k as long as the grid of its group
hardly grows. s is searched in a family of one parameter per form, by the error that the rounded
weights cause in the output of the piece of the block that they feed. After that the range of each
group is clipped where that lowers the error of its outputs.

Source: Lin et al., "AWQ", arXiv 2306.00978, sections 3.2 and A; the second form is AutoAWQ's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinychat.quantize.grid import Grid
from tinychat.quantize.observe import Seen

# Both ends are in: 0 is plain rounding (in the first form), 1 is full trust in the activations.
# An odd number, so that every second one has both, too.
ALPHAS = tuple(i / 20 for i in range(21))
# A range is shrunk to 1.00, 0.95, … 0.55 of the largest magnitude.
CLIPS = tuple(1 - i / 20 for i in range(10))
_SMALLEST = 1e-4
# Candidate weights that are held at once, in numbers.
CANDIDATE_BUDGET = 1 << 25

OutputError = Callable[[Tensor], Tensor]
"""[A, N, K] candidate weights -> [A] mean squared error of what they feed."""


@dataclass(frozen=True)
class Scaling:
    """The scales that were found for one input.

    Attributes:
        scales: [K], by which the weights are multiplied and their input divided.
        alpha: the exponent.
        duo: whether the magnitude of the weights counts, too.
        before: error of plain rounding.
        after: error with the scales.
    """

    scales: Tensor
    alpha: float
    duo: bool
    before: float
    after: float


def search_scales(
    weight: Tensor,
    seen: Seen,
    grid: Grid,
    output_error: OutputError,
    share: Callable[[Tensor], Tensor] = lambda values: values,
) -> Scaling:
    """Try every second alpha in both forms, then those beside the best of each; keep the best.

    The error bends slowly over alpha, so what lies between two bad ones is not worth its time. The
    first that is tried, alpha 0 of the first form, is plain rounding.

    Args:
        weight: [N, K] float32, all matrices that read the input, stacked.
        seen: of the input; its channels are finite and none is dead.
        output_error: see `OutputError`.
        share: makes entries of [K] equal that must have one scale, by averaging.
    """
    x = share(seen.magnitudes)
    w = share(weight_magnitudes(weight, grid))

    def measure(tried: Sequence[tuple[int, bool]]) -> list[tuple[float, int, bool, Tensor]]:
        """Places in ALPHAS and forms -> (error, place, form, scales) of each."""
        scales = [scales_of(x, w, ALPHAS[i], duo) for i, duo in tried]
        errors = _errors(weight, torch.stack(scales), grid, output_error).nan_to_num(nan=torch.inf)
        return [(float(e), *t, s) for e, t, s in zip(errors, tried, scales, strict=True)]

    found = measure([(i, duo) for duo in (False, True) for i in range(0, len(ALPHAS), 2)])
    before = found[0][0]
    half = len(found) // 2
    beside = []
    for form in (found[:half], found[half:]):
        _, near, duo, _ = min(form, key=lambda one: one[0])
        beside += [(i, duo) for i in (near - 1, near + 1) if 0 <= i < len(ALPHAS)]
    after, place, duo, scales = min(found + measure(beside), key=lambda one: one[0])
    return Scaling(scales, ALPHAS[place], duo, before, after)


def weight_magnitudes(weight: Tensor, grid: Grid) -> Tensor:
    """Mean over outputs of |w| relative to the largest of its group, [K]."""
    groups = weight.abs().view(len(weight), -1, grid.width(weight.shape[1]))
    relative = groups / groups.amax(dim=-1, keepdim=True).clamp(min=1e-6)
    return relative.view_as(weight).mean(dim=0)


def scales_of(x: Tensor, w: Tensor, alpha: float, duo: bool) -> Tensor:
    """The scales [K] of one exponent in one form, of the magnitudes of inputs and weights [K]."""
    values = x**alpha / w.clamp(min=_SMALLEST) ** (1 - alpha) if duo else x**alpha
    values = values.clamp(min=_SMALLEST)
    # Only ratios matter to the rounding; centered ones keep float16 norms in their range.
    return values / (values.max() * values.min()).sqrt()


def _errors(weight: Tensor, scales: Tensor, grid: Grid, output_error: OutputError) -> Tensor:
    """[A] errors of rounding under each of the scales [A, K], as many at a time as fit."""
    n, k = weight.shape
    width = grid.width(k)
    at_once = max(1, CANDIDATE_BUDGET // (n * k))
    errors = []
    for some in torch.split(scales, at_once):
        scaled = weight * some[:, None, :]  # [A, N, K]
        rounded = grid.round(scaled.view(len(some), n, -1, width)).view_as(scaled)
        errors.append(output_error(rounded / some[:, None, :]))
    return torch.cat(errors)


def search_clips(weight: Tensor, seen: Seen, grid: Grid, clips: Sequence[float] = CLIPS) -> Tensor:
    """The largest magnitude that each group should span, by the error of its share of the output.

    Args:
        weight: [N, K] float32, already scaled.
        seen: of its input, already scaled.
    Returns: [N, K / Q].
    """
    n, k = weight.shape
    width = grid.width(k)
    gram = seen.gram(width)
    limits = torch.empty(n, k // width, device=weight.device)
    for g in range(k // width):
        columns = slice(g * width, (g + 1) * width)
        group = weight[:, columns]
        inputs = None if gram is not None else torch.cat([rows[:, columns] for rows in seen.rows])
        limits[:, g] = _best_limits(group, grid, clips, None if gram is None else gram[g], inputs)
    return limits


def _best_limits(
    group: Tensor, grid: Grid, clips: Sequence[float], gram: Tensor | None, inputs: Tensor | None
) -> Tensor:
    """[N, Q] weights of one group -> [N] limits."""
    most = group.abs().amax(dim=1)  # [N]
    best = torch.full_like(most, torch.inf)
    limits = most.clone()
    for clip in clips:
        limit = most * clip
        bound = limit[:, None]
        difference = grid.round(group.clamp(-bound, bound)).sub_(group)
        if gram is not None:
            error = (difference @ gram).mul_(difference).sum(dim=1)
        else:
            assert inputs is not None
            error = (difference @ inputs.t()).square_().mean(dim=1)
        better = error < best
        best = torch.where(better, error, best)
        limits = torch.where(better, limit, limits)
    return limits

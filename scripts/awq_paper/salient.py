"""Experiments b and c: what becomes of a model whose salient input channels are kept in floating
point, as the paper's Table 1, or scaled by a fixed factor before rounding, as its Table 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from awq_paper.plan import Bench, Case
from tinychat.quantize.block import BlockView
from tinychat.quantize.format import dequantize
from tinychat.quantize.grid import Grid
from tinychat.quantize.layer import Settings
from tinychat.quantize.observe import Seen
from tinychat.quantize.rtn import round_to_nearest

CHOICES = ("activation", "weight norm", "random")
SHARE = 0.01
"""Of channels that are scaled."""


def kept_cases(bench: Bench) -> Iterator[Case]:
    """A share of channels in floating point, the rest rounded to nearest."""
    for bits in bench.plan.bits:
        for share in bench.plan.shares:
            for choice in CHOICES:
                for seed in bench.plan.seeds if choice == "random" else (0,):
                    key = {"bits": bits, "share": share, "choice": choice, "seed": seed}
                    yield key, lambda key=key: _keep(bench, **key)


def scaled_cases(bench: Bench) -> Iterator[Case]:
    """The most active channels times a factor before rounding, divided by it afterwards."""
    for bits in bench.plan.bits:
        for factor in bench.plan.factors:
            key = {"bits": bits, "factor": factor}
            yield key, lambda key=key: _scale(bench, **key)


def channels(choice: str, share: float, weight: Tensor, seen: Seen, random: Any) -> Tensor:
    """The chosen input channels of a matrix [N, K]: a share of them, at least two."""
    k = weight.shape[1]
    count = max(2, int(k * share))
    if choice == "random":
        return torch.randperm(k, generator=random)[:count]
    size = seen.magnitudes if choice == "activation" else weight.norm(dim=0)
    return size.topk(count).indices


def _keep(bench: Bench, bits: int, share: float, choice: str, seed: int) -> dict[str, Any]:
    grid, random = Grid(bits, bench.group), torch.Generator().manual_seed(seed)

    def change(view: BlockView, seen: dict[str, Seen]) -> None:
        for group in view.groups():
            for matrix in group.matrices:
                kept = channels(choice, share, matrix.weight, seen[group.input], random)
                value = dequantize(round_to_nearest(matrix.weight, grid, matrix.name))
                value[:, kept] = matrix.weight[:, kept]
                matrix.linear.weight = value

    return bench.subject.outcome(change, bench.text, Settings("rtn", grid))


@dataclass
class Tally:
    """Sums over matrices: groups, those of them with another step than without scales, the ratios
    of the steps; |error| of salient and other weights, with scales and without.
    """

    groups: int = 0
    changed: int = 0
    ratio: float = 0.0
    salient: float = 0.0
    salient_plain: float = 0.0
    other: float = 0.0
    other_plain: float = 0.0

    def add(self, steps: Tensor, plain_steps: Tensor) -> None:
        """Take in the steps [N, K / Q] of a matrix, with scales and without."""
        self.groups += steps.numel()
        self.changed += int((steps != plain_steps).sum())
        self.ratio += float((steps.float() / plain_steps.float()).sum())


def _scale(bench: Bench, bits: int, factor: float) -> dict[str, Any]:
    grid, tally = Grid(bits, bench.group), Tally()

    def change(view: BlockView, seen: dict[str, Seen]) -> None:
        for group in view.groups():
            for matrix in group.matrices:
                weight = matrix.weight
                salient = torch.zeros(weight.shape[1], dtype=torch.bool)
                salient[channels("activation", SHARE, weight, seen[group.input], None)] = True
                scales = torch.where(salient, factor, 1.0)
                plain = round_to_nearest(weight, grid, matrix.name)
                rounded = round_to_nearest(weight * scales, grid, matrix.name)
                value = dequantize(rounded) / scales
                error, before = (value - weight).abs(), (dequantize(plain) - weight).abs()
                tally.add(rounded.scales, plain.scales)
                tally.salient += float(error[:, salient].sum())
                tally.salient_plain += float(before[:, salient].sum())
                tally.other += float(error[:, ~salient].sum())
                tally.other_plain += float(before[:, ~salient].sum())
                matrix.linear.weight = value

    outcome = bench.subject.outcome(change, bench.text, Settings("rtn", grid))
    return {
        **outcome,
        "steps_changed": tally.changed / tally.groups,
        "step_ratio": tally.ratio / tally.groups,
        "salient_error": tally.salient / tally.salient_plain,
        "other_error": tally.other / tally.other_plain,
    }

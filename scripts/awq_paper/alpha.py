"""Experiment d: one alpha for every input of the model, in both forms, instead of a search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from awq_paper.plan import Bench, Case
from tinychat.quantize.awq import scales_of, weight_magnitudes
from tinychat.quantize.block import BlockView, Group
from tinychat.quantize.format import dequantize
from tinychat.quantize.grid import Grid
from tinychat.quantize.layer import Settings
from tinychat.quantize.observe import Seen
from tinychat.quantize.rtn import round_to_nearest


def cases(bench: Bench) -> Iterator[Case]:
    """Every alpha, by activations alone and by activations and weights ("duo")."""
    for bits in bench.plan.bits:
        for duo in (False, True):
            for alpha in bench.plan.alphas:
                key = {"bits": bits, "duo": duo, "alpha": alpha}
                yield key, lambda key=key: _measure(bench, **key)


def _measure(bench: Bench, bits: int, duo: bool, alpha: float) -> dict[str, Any]:
    grid = Grid(bits, bench.group)

    def change(view: BlockView, seen: dict[str, Seen]) -> None:
        for group in view.groups():
            _fold(group, seen[group.input], grid, alpha, duo)
        # Only now, for the scales of one group divide rows of another.
        for matrix in view.matrices.values():
            rounded = round_to_nearest(matrix.weight, grid, matrix.name)
            matrix.linear.weight = dequantize(rounded)

    return bench.subject.outcome(change, bench.text, Settings("awq", grid, clip=False))


def _fold(group: Group, seen: Seen, grid: Grid, alpha: float, duo: bool) -> None:
    if group.absorb is None or seen.fault() is not None:
        return
    stacked = torch.cat([matrix.weight for matrix in group.matrices])
    x, w = group.share(seen.magnitudes), group.share(weight_magnitudes(stacked, grid))
    exact = group.absorb(scales_of(x, w, alpha, duo))
    for matrix in group.matrices:
        matrix.linear.weight *= exact

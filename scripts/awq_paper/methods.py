"""Experiment a: the methods side by side, as the paper's Tables 4 and 9."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from awq_paper.plan import Bench, Case, group_sizes
from tinychat.quantize.grid import Grid
from tinychat.quantize.layer import Settings, quantize_block

METHODS: dict[str, dict[str, Any]] = {
    "RTN": {"method": "rtn"},
    "GPTQ": {"method": "gptq", "sequential": True},
    "GPTQ, float inputs": {"method": "gptq"},
    "AWQ, no clip": {"method": "awq", "clip": False},
    "AWQ": {"method": "awq"},
    "AWQ+GPTQ, no clip": {"method": "awq+gptq", "clip": False},
    "AWQ+GPTQ": {"method": "awq+gptq"},
}
"""Name -> settings; GPTQ, AWQ and AWQ+GPTQ are what `tinychat quantize` does by default."""


def cases(bench: Bench) -> Iterator[Case]:
    """Every method on every grid."""
    sizes = group_sizes(bench.subject)
    grids = [Grid(bits, sizes[0]) for bits in (*bench.plan.bits, 2)]
    grids += [Grid(2, size) for size in sizes[1:2]]
    for grid in grids:
        for name in METHODS:
            settings = Settings(grid=grid, **METHODS[name])
            key = {"bits": grid.bits, "group": grid.group_size, "method": name}
            yield key, lambda settings=settings: measure(bench, bench.text, settings)


def measure(bench: Bench, text: Any, settings: Settings) -> dict[str, Any]:
    """Quantize with the settings, calibrated on the text."""
    return bench.subject.outcome(
        lambda view, seen: quantize_block(view, seen, settings), text, settings
    )

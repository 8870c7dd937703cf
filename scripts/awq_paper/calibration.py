"""Experiment e: how much calibration text the methods need, and what text of another domain costs
them, as the paper's Figure 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from awq_paper.methods import METHODS, measure
from awq_paper.plan import Bench, Case
from awq_paper.text import Rows, draw
from tinychat.quantize.calibration import TOKENS
from tinychat.quantize.grid import Grid
from tinychat.quantize.layer import Settings

COMPARED = ("GPTQ", "AWQ", "AWQ+GPTQ")
BITS = 3
"""As in the paper's figure."""


def cases(bench: Bench) -> Iterator[Case]:
    """Growing parts of the calibration text, then as much of another one as of all of it."""
    plan, most = bench.plan, bench.text.tokens
    tokens = plan.tokens
    while tokens < most:
        for seed in plan.seeds:
            yield from _methods(bench, "same", bench.pool, tokens, seed)
        tokens *= 2
    yield from _methods(bench, "same", bench.pool, TOKENS, 0)
    if bench.elsewhere is not None:
        for seed in plan.seeds:
            yield from _methods(bench, "other", bench.elsewhere, most, seed)


def _methods(bench: Bench, domain: str, rows: Rows, tokens: int, seed: int) -> Iterator[Case]:
    for method in COMPARED:
        key = {"domain": domain, "asked": tokens, "seed": seed, "method": method}
        yield key, lambda method=method: _measure(bench, rows, tokens, seed, method)


def _measure(bench: Bench, rows: Rows, tokens: int, seed: int, method: str) -> dict[str, Any]:
    text = draw(rows, bench.model, tokens, seed)
    settings = Settings(grid=Grid(BITS, bench.group), **METHODS[method])
    return {"tokens": text.tokens, **measure(bench, text, settings)}

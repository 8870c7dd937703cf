"""What the experiments vary, and what each of them is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from awq_paper.model import Subject
from awq_paper.text import Rows, draw
from tinychat.quantize.calibration import TOKENS, Calibration
from tinychat.quantize.format import GROUP_SIZES

Case = tuple[dict[str, Any], Callable[[], dict[str, Any]]]
"""What tells a case from the others of its experiment, and what measures it."""


@dataclass(frozen=True)
class Plan:
    """How far the experiments go.

    Attributes:
        bits: that channels and alphas are tried with; methods are tried with 2 as well.
        shares: of input channels that are kept in floating point.
        factors: on the salient channels.
        alphas: exponents of the scales.
        tokens: of calibration text at first; then twice as many, until there is no more.
        seeds: of random channels, and of draws of calibration text.
    """

    bits: tuple[int, ...] = (4, 3)
    shares: tuple[float, ...] = (0.01, 0.03)
    factors: tuple[float, ...] = (1, 1.25, 1.5, 2, 4)
    alphas: tuple[float, ...] = tuple(i / 20 for i in range(21))
    tokens: int = 256
    seeds: tuple[int, ...] = (0, 1, 2)


FULL = Plan()
SMALLEST = Plan((3,), (0.01,), (1, 2), (0.0, 0.5), TOKENS, (0,))
"""Runs every line in seconds; its figures mean nothing."""


@dataclass(frozen=True)
class Bench:
    """What an experiment works on.

    Attributes:
        pool: calibration rows.
        elsewhere: rows of another domain, if there are any.
        group: the group size of all but the methods at 2 bits.
    """

    subject: Subject
    model: Path
    pool: Rows
    elsewhere: Rows | None
    group: int
    plan: Plan

    @property
    def text(self) -> Calibration:
        """As much of the pool as `tinychat quantize` takes."""
        return draw(self.pool, self.model, TOKENS)


def group_sizes(subject: Subject) -> list[int]:
    """Group sizes that fit every matrix of the model, largest first."""
    widths = {k for _, k in subject.config.block_matrices().values()}
    fits = [group for group in GROUP_SIZES if all(width % group == 0 for width in widths)]
    if not fits:
        raise SystemExit(f"no group size of {GROUP_SIZES} divides every K of {sorted(widths)}")
    return fits

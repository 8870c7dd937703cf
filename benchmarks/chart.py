"""What `compare.py` measured as a chart: decode and prefill of every engine, a column a shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
# Text as text and ids from a fixed seed: small files, equal for equal results.
matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "tinychat",
        "font.sans-serif": ["DejaVu Sans", "Arial"],
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)
from matplotlib import pyplot  # noqa: E402  (the backend is chosen first)

OURS, THEIRS = "#2f6fde", "#b5bcc8"
SPEEDS = (
    ("decode_tokens_per_s", "decode, tokens/s"),
    ("prefill_tokens_per_s", "prefill, tokens/s"),
)


def draw(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw results by shape, each as `tinychat.bench.run.benchmark` returns one."""
    size = (3.2 * len(results), 1.9 * len(SPEEDS))
    figure, axes = pyplot.subplots(
        len(SPEEDS), len(results), figsize=size, squeeze=False, layout="constrained"
    )
    for column, (shape, result) in zip(axes.T, results.items(), strict=True):
        column[0].set_title(shape)
        for axis, (field, title) in zip(column, SPEEDS, strict=True):
            bars(axis, [row for row in result["rows"] if row["depth"] == 0], field)
            axis.set_xlabel(title)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})
    pyplot.close(figure)


def bars(axis: Any, rows: Sequence[Mapping[str, Any]], field: str) -> None:
    """One bar for each row, the first on top."""
    names = [f"{row['engine']} {row['weights'].split()[0]}" for row in rows]
    values = [row[field] for row in rows]
    colors = [OURS if row["engine"] == "tinychat" else THEIRS for row in rows]
    drawn = axis.barh(names, values, color=colors)
    axis.bar_label(drawn, [f"{value:.3g}" for value in values], padding=3)
    axis.margins(x=0.18)
    axis.invert_yaxis()

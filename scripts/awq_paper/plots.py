"""The results of `reproduce_awq.py` as plots: one file for each experiment, a panel a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib

from awq_paper.calibration import COMPARED
from awq_paper.methods import METHODS
from awq_paper.salient import CHOICES
from awq_paper.tables import Named, Results, closed, having, mean_perplexity, select

matplotlib.use("Agg")
# Text as text, few fonts and ids from a fixed seed: small files, equal for equal results.
matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "tinychat",
        "font.sans-serif": ["DejaVu Sans", "Arial"],
        "font.size": 8,
        "legend.fontsize": 7,
        "lines.markersize": 3,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.alpha": 0.3,
    }
)
from matplotlib import pyplot  # noqa: E402  (the backend is chosen first)

WIDTH, HEIGHT = 3.6, 2.6
"""Of a panel, in inches."""


def panels(named: Named, rows: int) -> tuple[Any, list[tuple[Results, Any]]]:
    """A figure, and for each model its results with its column of axes."""
    size = (WIDTH * len(named), HEIGHT * rows)
    figure, axes = pyplot.subplots(
        rows, len(named), figsize=size, squeeze=False, sharex="col", layout="constrained"
    )
    for name, axis in zip(named, axes[0], strict=True):
        axis.set_title(name)
    return figure, list(zip(named.values(), axes.T, strict=True))


def methods_plot(named: Named) -> Any:
    figure, columns = panels(named, 1)
    names = [name for name in METHODS if name != "RTN"]
    for results, (axis,) in columns:
        grids = list(dict.fromkeys((case["bits"], case["group"]) for case in results["a"]))
        for i, (bits, group) in enumerate(grids):
            perplexities = [
                select(results, "a", bits=bits, group=group, method=name)[0]["perplexity"]
                for name in ("RTN", *names)
            ]
            shares = [
                closed(one, perplexities[0], results["perplexity"]) for one in perplexities[1:]
            ]
            if None in shares:
                continue
            at = [place + (i - len(grids) / 2 + 0.5) * 0.2 for place in range(len(names))]
            axis.bar(at, [100 * share for share in shares], 0.2, label=f"INT{bits} g{group}")
        axis.set_xticks(range(len(names)), names, rotation=25, ha="right")
        axis.set_ylabel("% of RTN's cost won back")
        axis.set_ylim(top=130)  # room for the legend
        axis.legend(ncols=2, loc="upper left")
    return figure


def kept_plot(named: Named) -> Any:
    figure, columns = panels(named, 1)
    for results, (axis,) in columns:
        kinds = list(dict.fromkeys((case["bits"], case["share"]) for case in results["b"]))
        for i, choice in enumerate(CHOICES):
            costs = [
                mean_perplexity(select(results, "b", bits=bits, share=share, choice=choice))
                - results["perplexity"]
                for bits, share in kinds
            ]
            axis.bar([place + (i - 1) * 0.25 for place in range(len(kinds))], costs, 0.25,
                     label=choice)  # fmt: skip
        for place, (bits, _) in enumerate(kinds):
            rtn = mean_perplexity(select(results, "c", bits=bits, factor=1))
            if rtn is not None:
                label = "all rounded" if place == 0 else None
                cost = rtn - results["perplexity"]
                axis.plot([place - 0.4, place + 0.4], [cost, cost], "k--", lw=1, label=label)
        axis.set_xticks(range(len(kinds)), [f"INT{b},\n{s:.0%} kept" for b, s in kinds])
        axis.set_ylabel("perplexity over float32")
        axis.legend()
    return figure


def scaled_plot(named: Named) -> Any:
    figure, columns = panels(named, 2)
    for results, (above, below) in columns:
        for i, bits in enumerate(dict.fromkeys(case["bits"] for case in results["c"])):
            cases = select(results, "c", bits=bits)
            factors = [case["factor"] for case in cases]
            costs = [case["perplexity"] - results["perplexity"] for case in cases]
            above.plot(factors, costs, "o-", color=f"C{i}", label=f"INT{bits}")
            for kind, style in (("salient", "o-"), ("other", "o--")):
                errors = [case[f"{kind}_error"] for case in cases]
                label = f"INT{bits}, {kind} weights"
                below.plot(factors, errors, style, color=f"C{i}", label=label)
        above.set_ylabel("perplexity over float32")
        below.set_ylabel("error relative to s = 1")
        below.set_xlabel("s")
        above.set_ylim(bottom=0)
        above.legend()
        below.legend()
    return figure


def alpha_plot(named: Named) -> Any:
    bits_of = dict.fromkeys(c["bits"] for results in named.values() for c in results["d"])
    figure, columns = panels(named, len(bits_of) + 1)
    for results, axes in columns:
        for bits, axis, style in zip(bits_of, axes, ("-", "--"), strict=False):
            for i, form in enumerate(("activations", "activations and weights")):
                cases = select(results, "d", bits=bits, duo=bool(i))
                alphas = [case["alpha"] for case in cases]
                axis.plot(alphas, [case["perplexity"] for case in cases], f"C{i}", label=form)
                label = f"INT{bits}" if i == 0 else None
                losses = [case["block_loss"] for case in cases]
                axes[-1].semilogy(alphas, losses, style, color=f"C{i}", label=label)
            for method, name in (("RTN", "RTN"), ("AWQ, no clip", "AWQ's own choices")):
                group = results["about"]["group"]
                cost = mean_perplexity(select(results, "a", bits=bits, group=group, method=method))
                if cost is not None:
                    dots = "k:" if method == "RTN" else "k--"
                    axis.plot([0, 1], [cost, cost], dots, lw=1, label=name)
            axis.set_ylabel(f"perplexity, INT{bits}")
        axes[0].legend()
        axes[-1].set_ylabel("block loss")
        axes[-1].set_xlabel("alpha")
        axes[-1].legend()
    return figure


def calibration_plot(named: Named) -> Any:
    figure, columns = panels(named, 1)
    for results, (axis,) in columns:
        for i, method in enumerate(COMPARED):
            color = f"C{i}"
            points: dict[float, list[float]] = {}
            for asked in dict.fromkeys(c["asked"] for c in select(results, "e", domain="same")):
                cases = select(results, "e", domain="same", asked=asked, method=method)
                tokens = fmean(case["tokens"] for case in cases)
                points[tokens] = [case["perplexity"] for case in cases]
            axis.plot(list(points), [fmean(values) for values in points.values()], "o-",
                      color=color, label=method)  # fmt: skip
            axis.fill_between(
                list(points),
                [min(values) for values in points.values()],
                [max(values) for values in points.values()],
                color=color,
                alpha=0.15,
                lw=0,
            )
            others = select(results, "e", domain="other", method=method)
            if others:
                axis.plot(
                    [case["tokens"] for case in others],
                    [case["perplexity"] for case in others],
                    "x",
                    color=color,
                    label="text of another domain" if i == 0 else None,
                )
        axis.set_xscale("log", base=2)
        axis.set_xlabel("tokens of calibration text")
        axis.set_ylabel("perplexity, INT3")
        axis.legend()
    return figure


PLOTS: dict[str, tuple[str, Callable[[Named], Any]]] = {
    "a": ("methods", methods_plot),
    "b": ("kept", kept_plot),
    "c": ("scaled", scaled_plot),
    "d": ("alpha", alpha_plot),
    "e": ("calibration", calibration_plot),
}


def draw_all(named: Named, folder: Path, suffix: str) -> None:
    """Draw every experiment that there are results for.

    Args:
        suffix: "svg" or "png".
    """
    for letter, (name, plot) in PLOTS.items():
        if there := having(named, letter):
            figure = plot(there)
            metadata = {"Date": None} if suffix == "svg" else None
            figure.savefig(folder / f"{name}.{suffix}", dpi=150, metadata=metadata)
            pyplot.close(figure)

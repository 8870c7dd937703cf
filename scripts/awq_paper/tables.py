"""The results of `reproduce_awq.py` as Markdown, beside the figures of the paper (arXiv 2306.00978)
that are of the same kind: other models, so it is the order and the shares that compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from awq_paper.calibration import BITS, COMPARED
from awq_paper.methods import METHODS
from awq_paper.salient import CHOICES

Results = Mapping[str, Any]
Named = Mapping[str, Results]
"""Name of a model -> what lies in its results.json."""

# (bits, method) -> perplexity: Llama-2-7B (Table 4, GPTQ with reordering), for 2 bits OPT-6.7B with
# groups of 64 (Table 9); "float" is the model as it was.
PAPER_METHODS = {
    (4, "float"): 5.47, (4, "RTN"): 5.73, (4, "GPTQ"): 5.63, (4, "AWQ"): 5.60,
    (3, "float"): 5.47, (3, "RTN"): 6.66, (3, "GPTQ"): 6.42, (3, "AWQ"): 6.24,
    (2, "float"): 10.86, (2, "RTN"): 7622.0, (2, "GPTQ"): 16.65, (2, "AWQ+GPTQ"): 15.71,
}  # fmt: skip
# (share, choice) -> perplexity of OPT-6.7B at INT3 (Table 1); rounded as a whole it has 23.54.
PAPER_KEPT = {
    (0.01, "activation"): 11.39, (0.01, "weight norm"): 22.37, (0.01, "random"): 24.23,
    (0.03, "activation"): 11.36, (0.03, "weight norm"): 22.45, (0.03, "random"): 24.22,
}  # fmt: skip
# Factor -> perplexity, groups with another step, Δ'/Δ, of OPT-6.7B at INT3 (Table 2). The paper's
# error of salient weights is Δ'/Δ/s, and that of the others Δ'/Δ: estimates, not measured.
PAPER_SCALED = {
    1: (23.54, 0.0, 1.0), 1.25: (12.87, 0.028, 1.005), 1.5: (12.48, 0.044, 1.013),
    2: (11.92, 0.082, 1.038), 4: (12.36, 0.212, 1.213),
}  # fmt: skip


def select(results: Results, letter: str, **values: Any) -> list[dict[str, Any]]:
    """The cases of an experiment with these values."""
    return [case for case in results.get(letter, ()) if values.items() <= case.items()]


def mean_perplexity(cases: Iterable[Mapping[str, Any]]) -> float | None:
    """None of no cases."""
    perplexities = [case["perplexity"] for case in cases]
    return fmean(perplexities) if perplexities else None


def closed(perplexity: float, rtn: float, exact: float) -> float | None:
    """Which share of what rounding to nearest costs is won back; None where it costs nothing."""
    return (rtn - perplexity) / (rtn - exact) if rtn > exact else None


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def number(value: float | None) -> str:
    if value is None:
        return ""
    digits = 4 if value < 2 else 2 if value < 100 else 1
    return f"{value:.{digits}f}"


def percent(value: float) -> str:
    return f"{value:.0%}".replace("%", " %")


def with_share(perplexity: float | None, rtn: float | None, exact: float) -> str:
    if perplexity is None or rtn is None or perplexity == rtn:
        return number(perplexity)
    share = closed(perplexity, rtn, exact)
    return number(perplexity) + ("" if share is None else f" ({percent(share)})")


def methods_table(named: Named) -> str:
    """Perplexity, and in brackets the share of RTN's cost that is won back."""
    grids = {(case["bits"], case["group"]) for results in named.values() for case in results["a"]}
    rows = []
    for bits, group in sorted(grids, reverse=True):
        for method in METHODS:
            row = [f"INT{bits} g{group}", method]
            for results in named.values():
                one, rtn = (
                    mean_perplexity(select(results, "a", bits=bits, group=group, method=name))
                    for name in (method, "RTN")
                )
                row.append(with_share(one, rtn, results["perplexity"]))
            # The paper has 2 bits in groups of 64 only.
            known = bits > 2 or group == 64
            paper = PAPER_METHODS.get((bits, method)) if known else None
            rtn, exact = PAPER_METHODS[bits, "RTN"], PAPER_METHODS[bits, "float"]
            rows.append([*row, with_share(paper, rtn, exact)])
    exact = ["float32", "", *(number(results["perplexity"]) for results in named.values())]
    return markdown(["weights", "method", *named, "paper"], [[*exact, "5.47; 10.86"], *rows])


def kept_table(named: Named) -> str:
    """Perplexity with some channels in floating point; in brackets the share won back."""
    kinds = {(c["bits"], c["share"]) for results in named.values() for c in results["b"]}
    rows = []
    for bits in sorted({bits for bits, _ in kinds}, reverse=True):
        row = [f"INT{bits}", "none", ""]
        row += [
            number(mean_perplexity(select(r, "c", bits=bits, factor=1))) for r in named.values()
        ]
        rows.append([*row, number(PAPER_SCALED[1][0]) if bits == 3 else ""])
    for bits, share in sorted(kinds, key=lambda kind: (-kind[0], kind[1])):
        for choice in CHOICES:
            row = [f"INT{bits}", percent(share), choice]
            for results in named.values():
                one = mean_perplexity(select(results, "b", bits=bits, share=share, choice=choice))
                rtn = mean_perplexity(select(results, "c", bits=bits, factor=1))
                row.append(with_share(one, rtn, results["perplexity"]))
            paper = PAPER_KEPT.get((share, choice)) if bits == 3 else None
            rows.append([*row, with_share(paper, PAPER_SCALED[1][0], 10.86)])
    return markdown(["weights", "kept", "chosen by", *named, "paper"], rows)


def scaled_table(named: Named) -> str:
    """Perplexity and errors relative to s = 1, of salient weights and of the others."""
    rows = []
    for name, results in named.items():
        for case in results["c"]:
            rows.append(
                [
                    f"{name}, INT{case['bits']}",
                    f"{case['factor']:g}",
                    number(case["perplexity"]),
                    percent(case["steps_changed"]),
                    f"{case['step_ratio']:.3f}",
                    f"{case['salient_error']:.3f}",
                    f"{case['other_error']:.3f}",
                ]
            )
    for factor, (perplexity, changed, ratio) in PAPER_SCALED.items():
        row = ["paper, INT3", f"{factor:g}", number(perplexity), percent(changed)]
        rows.append([*row, f"{ratio:.3f}", f"{ratio / factor:.3f}", f"{ratio:.3f}"])
    head = ["model", "s", "perplexity", "groups with Δ' ≠ Δ", "Δ'/Δ"]
    return markdown([*head, "error, salient", "error, others"], rows)


def alpha_table(named: Named) -> str:
    """Where the curves are lowest."""
    rows = []
    for name, results in named.items():
        for bits in sorted({case["bits"] for case in results["d"]}, reverse=True):
            searched = select(results, "a", bits=bits, method="AWQ, no clip")
            for duo in (False, True):
                curve = select(results, "d", bits=bits, duo=duo)
                best = min(curve, key=lambda case: case["perplexity"])
                calm = min(curve, key=lambda case: case["block_loss"])
                rows.append(
                    [
                        f"{name}, INT{bits}",
                        "activations and weights" if duo else "activations",
                        *(number(curve[end]["perplexity"]) for end in (0, -1)),
                        f"{best['alpha']:g}: {number(best['perplexity'])}",
                        f"{calm['alpha']:g}: {number(calm['perplexity'])}",
                        number(mean_perplexity(searched)),
                    ]
                )
    head = [
        "model",
        "form",
        "alpha = 0",
        "alpha = 1",
        "alpha of lowest perplexity",
        "alpha of lowest block loss",
    ]
    return markdown([*head, "AWQ's own choices"], rows)


def calibration_table(named: Named) -> str:
    """Perplexity at INT3 over tokens of calibration text: mean over draws, least and most."""
    rows = []
    for name, results in named.items():
        kinds = dict.fromkeys((case["domain"], case["asked"]) for case in results["e"])
        for domain, asked in kinds:
            cases = select(results, "e", domain=domain, asked=asked)
            tokens = f"{fmean(case['tokens'] for case in cases):.0f}"
            row = [name, f"{tokens}, other domain" if domain == "other" else tokens]
            for method in COMPARED:
                found = [case["perplexity"] for case in cases if case["method"] == method]
                ends = f" ({number(min(found))} to {number(max(found))})" if found[1:] else ""
                row.append(number(fmean(found)) + ends)
            rows.append(row)
    return markdown(["model", "tokens", *COMPARED], rows)


TITLES = {
    "a": "Methods: perplexity, and the share of RTN's cost that is won back",
    "b": "Channels kept in floating point",
    "c": "Salient channels scaled by s; errors relative to s = 1",
    "d": "One alpha everywhere",
    "e": f"Calibration text, INT{BITS}: mean over draws, least and most",
}
TABLES: dict[str, Callable[[Named], str]] = {
    "a": methods_table,
    "b": kept_table,
    "c": scaled_table,
    "d": alpha_table,
    "e": calibration_table,
}


def having(named: Named, letter: str) -> dict[str, Results]:
    """The models that have results of an experiment."""
    return {name: results for name, results in named.items() if results.get(letter)}


def all_tables(named: Named) -> str:
    """Every table that there are results for, with titles."""
    parts = []
    for letter, table in TABLES.items():
        if there := having(named, letter):
            parts.append(f"## {letter}. {TITLES[letter]}\n\n{table(there)}")
    return "\n".join(parts)

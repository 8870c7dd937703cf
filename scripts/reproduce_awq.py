"""Repeat the experiments of the AWQ paper (arXiv 2306.00978) on a float model.

Usage: python scripts/reproduce_awq.py MODEL --text FILE --calibration FILE --out FOLDER
       [--documents A:B] [--calibration-documents A:B] [--elsewhere FILE] [--only a,c]

    a   RTN, GPTQ, AWQ and AWQ+GPTQ at 4, 3 and 2 bits
    b   a share of the input channels kept in floating point
    c   the salient channels scaled by a fixed factor
    d   perplexity and error of the blocks over alpha
    e   how much calibration text there is, and text of another domain

FOLDER gets results.json, tables.md and a plot for each experiment. Every case is kept when it is
done: a run that was stopped goes on behind it, and a run over what is complete draws only. Equal
runs give equal figures. Weights are rounded as `tinychat quantize` does it, and scored in float32.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from awq_paper import alpha, calibration, methods, salient
from awq_paper.model import Subject
from awq_paper.plan import FULL, SMALLEST, Bench, Case, group_sizes
from awq_paper.plots import draw_all
from awq_paper.tables import all_tables
from awq_paper.text import read_rows
from tinychat.evaluate.perplexity import WINDOW
from tinychat.files import blocks, write_whole
from tinychat.quantize.calibration import LENGTH

EXPERIMENTS: dict[str, Callable[[Bench], Iterator[Case]]] = {
    "a": methods.cases,
    "b": salient.kept_cases,
    "c": salient.scaled_cases,
    "d": alpha.cases,
    "e": calibration.cases,
}


class Results:
    """results.json: what was measured on what, saved after every case."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.values: dict[str, Any] = {"about": json.loads(json.dumps(about))}
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            differing = [k for k, v in self.values["about"].items() if found["about"].get(k) != v]
            if differing:
                raise SystemExit(
                    f"{path} has results of another {', '.join(differing)}; choose another --out"
                )
            self.values = found

    def run(self, letter: str, cases: Iterator[Case]) -> None:
        """Measure the cases that are not there yet; all lie in the order in which they come."""
        done = self.values.setdefault(letter, [])
        for place, (key, measure) in enumerate(cases):
            if any(key.items() <= case.items() for case in done):
                continue
            start = time.monotonic()
            case = {**key, **measure()}
            done.insert(place, case)
            self.save()
            words = ", ".join(f"{name}={value}" for name, value in key.items())
            took = time.monotonic() - start
            print(f"{letter}  {case['perplexity']:10.4f}  {took:5.1f} s  {words}", flush=True)

    def save(self) -> None:
        """Write the file, whole or not at all, with a line for every case."""
        parts = []
        for name, value in self.values.items():
            text = json.dumps(value)
            if isinstance(value, list):
                text = "[\n" + ",\n".join(json.dumps(case) for case in value) + "\n]"
            parts.append(f"{json.dumps(name)}: {text}")
        write_whole(self.path, ("{\n" + ",\n".join(parts) + "\n}\n").encode())


def sha256_of(folder: Path) -> str:
    """Of the weights in a model folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            for block in blocks(file):
                digest.update(block)
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a folder with float weights")
    parser.add_argument("--text", type=Path, required=True, help="what is scored")
    parser.add_argument("--documents", default=":", metavar="A:B", help="which of its documents")
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--calibration-documents", default=":", metavar="A:B")
    parser.add_argument("--elsewhere", type=Path, help="calibration text of another domain")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="abcde", metavar="a,c", help="experiments; default all")
    parser.add_argument("--format", choices=("svg", "png"), default="svg", help="of the plots")
    parser.add_argument("--smallest", action="store_true", help="one case of each kind, as a check")
    args = parser.parse_args()

    scored = read_rows(args.text, args.documents, args.model, WINDOW)
    pool = read_rows(args.calibration, args.calibration_documents, args.model, LENGTH)
    elsewhere = args.elsewhere and read_rows(args.elsewhere, ":", args.model, LENGTH)
    subject, plan = Subject(args.model, scored), SMALLEST if args.smallest else FULL
    group = group_sizes(subject)[0]
    about = {
        "model": args.model.name,
        "weights": sha256_of(args.model),
        "group": group,
        "text": scored.about,
        "calibration": pool.about,
        "elsewhere": elsewhere and elsewhere.about,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    results = Results(args.out / "results.json", about)
    exact = results.values.setdefault("perplexity", subject.perplexity())
    print(f"{args.model.name} in float32: {exact:.4f}", flush=True)
    bench = Bench(subject, args.model, pool, elsewhere, group, plan)
    for letter, cases in EXPERIMENTS.items():
        if letter in args.only:
            results.run(letter, cases(bench))
    named = {args.model.name: results.values}
    (args.out / "tables.md").write_text(all_tables(named), encoding="utf-8")
    draw_all(named, args.out, args.format)


if __name__ == "__main__":
    main()

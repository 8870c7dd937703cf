"""Measure tinychat beside llama.cpp, OpenVINO and transformers: the same shapes, ids and threads.

Usage: python benchmarks/compare.py [--shape llama-3.2-1b,smollm2-135m] [--threads 2]
       [--engines llama.cpp,openvino,transformers] [--prompt-tokens 512] [--new-tokens 64]
       [--depth 0] [--repeats 5] [--out benchmarks/results/NAME] [--work DIR] [--exporter PYTHON]
       [--isa NAME]

Every engine runs in a process of its own, all of them in turns, and the machine's limits are
measured between them. DIR keeps the files that llama.cpp and OpenVINO run; without it they are made
again and deleted. PYTHON is an interpreter that has optimum-intel, for OpenVINO's. NAME.json,
NAME.md and NAME.svg are written. --isa is for our kernels; llama.cpp has what it was built for.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from chart import draw
from rivals.gguf_file import write_gguf
from rivals.openvino_runner import write_openvino

from tinychat.bench.job import Job
from tinychat.bench.report import to_markdown
from tinychat.bench.run import benchmark, run_job
from tinychat.cli.bench import parse_depths
from tinychat.errors import MissingPackageError, TinyChatError
from tinychat.shapes import shape_values

HERE = Path(__file__).resolve().parent
RIVALS = {"llama.cpp": "Q4_0", "openvino": "int4", "transformers": "bf16"}


def jobs_of(shape: str, args: argparse.Namespace, work: Path) -> list[Job]:
    """Ours first, then those that were asked for."""
    depths = parse_depths(args.depth)

    def job(engine: str, weights: str, load: dict[str, Any]) -> Job:
        numbers = (args.threads, args.prompt_tokens, args.new_tokens, depths)
        return Job(engine, weights, None, shape, *numbers, load)

    loads = {
        "llama.cpp": {"gguf": str(work / f"{shape}.gguf")},
        "openvino": {"openvino": str(work / f"{shape}.openvino")},
    }
    rivals = args.engines.split(",")
    return [
        job("tinychat", "int4", {"isa": args.isa}),
        *(job(engine, RIVALS[engine], loads.get(engine, {})) for engine in rivals),
    ]


def write_model(job: Job, exporter: str) -> None:
    """Write what the job's engine runs, where that is a file and not there yet."""
    writers: dict[str, Callable[..., None]] = {
        "gguf": write_gguf,
        "openvino": partial(write_openvino, python=exporter),
    }
    for kind, path in job.load.items():
        if kind in writers and job.shape is not None and not Path(path).exists():
            print(f"writing {path}", file=sys.stderr)
            writers[kind](Path(path), shape_values(job.shape))


def run_any(job: Job, exporter: str) -> dict[str, Any]:
    """As `run_job`, for the other engines too. Raises: TinyChatError, also for a missing package,
    so that the engine is left out.
    """
    try:
        write_model(job, exporter)
        return run_job(job, [sys.executable, str(HERE / "worker.py")])
    except MissingPackageError as error:
        raise TinyChatError(str(error)) from None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="llama-3.2-1b,smollm2-135m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engines", default=",".join(RIVALS))
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--depth", default="0", metavar="LIST")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/DATE")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--isa", help="of ours; rivals have what they were built for")
    parser.add_argument("--exporter", default=sys.executable, metavar="PYTHON")
    args = parser.parse_args()
    for engine in args.engines.split(","):
        if engine not in RIVALS:
            parser.error(f"--engines {engine!r}: expected any of {', '.join(RIVALS)}")
    try:
        parse_depths(args.depth)
        for shape in args.shape.split(","):
            shape_values(shape)
    except TinyChatError as error:
        parser.error(str(error))

    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for shape in args.shape.split(","):
            results[shape] = benchmark(
                jobs_of(shape, args, work),
                args.repeats,
                partial(run_any, exporter=args.exporter),
                lambda done, total, shape=shape: print(f"{shape} {done}/{total}", file=sys.stderr),
                profile=True,
            )
            print(to_markdown(results[shape]), flush=True)

    out = args.out or HERE / "results" / datetime.date.today().isoformat()
    out.parent.mkdir(parents=True, exist_ok=True)
    names = ("shape", "threads", "engines", "prompt_tokens", "new_tokens", "depth", "repeats")
    flags = [f"--{name.replace('_', '-')} {getattr(args, name)}" for name in names]
    if args.isa:
        flags.append(f"--isa {args.isa}")
    command = " ".join(["python benchmarks/compare.py", *flags])
    document = {"command": command, "shapes": results}
    out.with_name(out.name + ".json").write_text(
        json.dumps(document, indent=1) + "\n", encoding="utf-8"
    )
    parts = [f"`{command}`", *(to_markdown(result) for result in results.values())]
    out.with_name(out.name + ".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    draw(results, out.with_name(out.name + ".svg"))


if __name__ == "__main__":
    main()

"""Measure tinychat beside llama.cpp and transformers on the same shapes, ids and threads.

Usage: python benchmarks/compare.py [--shape llama-3.2-1b,smollm2-135m] [--threads 2]
       [--engines llama.cpp,transformers] [--prompt-tokens 512] [--new-tokens 64] [--depth 0]
       [--repeats 5] [--out benchmarks/results/NAME] [--work DIR]

Every engine runs in a process of its own, all of them in turns, and the machine's limits are
measured between them. DIR keeps the files that llama.cpp runs; without it they are made again and
deleted. NAME.json, NAME.md and NAME.svg are written.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from chart import draw
from rivals.gguf_file import write_gguf

from tinychat.bench.job import Job
from tinychat.bench.report import to_markdown
from tinychat.bench.run import benchmark, run_job
from tinychat.cli.bench import parse_depths
from tinychat.errors import MissingPackageError, TinyChatError
from tinychat.shapes import shape_values

HERE = Path(__file__).resolve().parent
RIVALS = {"llama.cpp": "Q4_0", "transformers": "bf16"}


def jobs_of(shape: str, args: argparse.Namespace, work: Path) -> list[Job]:
    """Ours first, then those that were asked for."""
    depths = parse_depths(args.depth)

    def job(engine: str, weights: str, load: dict[str, Any]) -> Job:
        numbers = (args.threads, args.prompt_tokens, args.new_tokens, depths)
        return Job(engine, weights, None, shape, *numbers, load)

    jobs = [job("tinychat", "int4", {})]
    for engine in args.engines.split(","):
        load = {"gguf": str(work / f"{shape}.gguf")} if engine == "llama.cpp" else {}
        jobs.append(job(engine, RIVALS[engine], load))
    return jobs


def run_any(job: Job) -> dict[str, Any]:
    """As `run_job`, for the other engines too. Raises: TinyChatError, also for a missing package,
    so that the engine is left out.
    """
    try:
        gguf = job.load.get("gguf")
        if gguf is not None and job.shape is not None and not Path(gguf).exists():
            print(f"writing {gguf}", file=sys.stderr)
            write_gguf(Path(gguf), shape_values(job.shape))
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
                run_any,
                lambda done, total, shape=shape: print(f"{shape} {done}/{total}", file=sys.stderr),
                profile=True,
            )
            print(to_markdown(results[shape]), flush=True)

    out = args.out or HERE / "results" / datetime.date.today().isoformat()
    out.parent.mkdir(parents=True, exist_ok=True)
    names = ("shape", "threads", "engines", "prompt_tokens", "new_tokens", "depth", "repeats")
    flags = [f"--{name.replace('_', '-')} {getattr(args, name)}" for name in names]
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

"""The measuring process: one engine, one model, one job; a JSON line on stdout at the end.

    python -m tinychat.bench.worker    (a job as one line on stdin, which then stays open)

An engine is fed the same ids as every other and picks the most likely token at each step, which is
then ignored, so that all evaluate the same text.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinychat.bench.job import DepthSample, Job, WorkerResult, token_ids
from tinychat.bench.runner import Runner
from tinychat.errors import TinyChatError
from tinychat.memory import memory_errors

WARM_UP_TOKENS = 4


def measure(
    runner: Runner, job: Job, clock: Callable[[], float] = time.perf_counter
) -> list[DepthSample]:
    """Time prefill and decode at every depth of the job, after a warm-up."""
    ids = token_ids(job.positions, runner.vocab_size)
    runner.rewind([])
    runner.prefill(ids[: job.prompt_tokens])
    runner.choose()
    runner.rewind(ids[:1])
    for _ in runner.decode(ids[:WARM_UP_TOKENS]):
        pass
    return [_measure_at(runner, job, ids, depth, clock) for depth in job.depths]


def _measure_at(
    runner: Runner, job: Job, ids: list[int], depth: int, clock: Callable[[], float]
) -> DepthSample:
    runner.rewind(ids[:depth])
    began = clock()
    runner.prefill(ids[: depth + job.prompt_tokens])
    evaluated = clock()
    runner.choose()
    chosen = clock()

    runner.rewind(ids[:depth])
    token_s, start = [], clock()
    for _ in runner.decode(ids[depth : depth + job.new_tokens]):
        token_s.append(clock() - start)
        start = clock()
    return DepthSample(
        depth=depth,
        prefill_s=evaluated - began,
        ttft_s=chosen - began,
        token_s=token_s,
        bytes_per_token=runner.bytes_per_token(depth + job.new_tokens / 2),
    )


def anonymous_memory_mb() -> float | None:
    """Resident memory that no file backs, or None where the system does not say."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    return None


def _ours(job: Job) -> Runner:
    from tinychat.bench.ours import TinyChatRunner

    return TinyChatRunner(job)


def _transformers(job: Job) -> Runner:
    from tinychat.bench.hf import TransformersRunner

    return TransformersRunner(job)


# Engine -> what loads or makes a job's model. Each imports what it needs and nothing of the others;
# benchmarks/worker.py adds to them.
RUNNERS: dict[str, Callable[[Job], Runner]] = {"tinychat": _ours, "transformers": _transformers}


def work(job: Job) -> dict[str, Any]:
    """Do the job and return its answer."""
    if job.engine == "ceilings":
        from tinychat.bench.ceilings import measure_ceilings

        return dict(measure_ceilings(job.threads, job.load.get("device", "cpu")))
    if job.engine == "profile":
        from tinychat.bench.profile import take_profiles

        return {"profiles": take_profiles(job)}
    runner = RUNNERS[job.engine](job)
    samples = measure(runner, job)
    result = WorkerResult(
        model=runner.model,
        weights=runner.weights,
        threads=runner.threads,
        isa=runner.isa,
        device=runner.device,
        load_s=runner.load_s,
        peak_memory_mb=runner.peak_bytes() / 2**20,
        anonymous_memory_mb=anonymous_memory_mb(),
        depths=samples,
        note=runner.note,
    )
    return asdict(result)


def _end_with_parent() -> None:
    """Nobody shall compute for minutes for a parent that is gone: it holds stdin open."""
    os.read(0, 1)
    os._exit(1)


def main() -> int:
    """Read a job from a line of stdin, answer with {"result": …} or {"error": …} on stdout."""
    answer = os.fdopen(os.dup(1), "w")
    # Libraries print where they like; the answer shall be alone on its stream.
    os.dup2(2, 1)
    try:
        job = Job.from_json(sys.stdin.readline())
        threading.Thread(target=_end_with_parent, daemon=True).start()
        with memory_errors("measuring", "a smaller shape or fewer tokens take less"):
            document: dict[str, Any] = {"result": work(job)}
    except KeyboardInterrupt:
        return 130
    except TinyChatError as error:
        document = {"error": {"type": type(error).__name__, "message": str(error)}}
    answer.write(json.dumps(document) + "\n")
    answer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

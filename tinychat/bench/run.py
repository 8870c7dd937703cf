"""Runs every engine in a process of its own, in turns, and makes rows of what they measured.

The engines alternate from repeat to repeat, so that a machine that slows down slows all of them,
and each repeat starts a fresh process, so that its memory and its load time are its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tinychat
from tinychat import errors, machine
from tinychat.bench.job import DepthSample, Job, WorkerResult
from tinychat.errors import MissingPackageError, NotEnoughMemoryError, TinyChatError
from tinychat.kernels import cards

NOISY = 0.02
"""Relative standard deviation above which a row is called noisy."""

# What is measured once a process and once a depth; a row has the median of each and its samples.
METRICS = (
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "ms_per_token_p50",
    "ms_per_token_p95",
    "ttft_s",
    "load_s",
    "peak_memory_mb",
    "anonymous_memory_mb",
)
RunJob = Callable[[Job], dict[str, Any]]
WORKER = (sys.executable, "-m", "tinychat.bench.worker")


def run_job(job: Job, command: Sequence[str] = WORKER) -> dict[str, Any]:
    """Run one job in a new process and return its answer.

    Args:
        command: starts a worker.
    Raises: the TinyChatError that it ended with; NotEnoughMemoryError if the system killed it.
    """
    root = str(Path(tinychat.__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    with tempfile.TemporaryFile("w+", errors="replace") as noise:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            # The pipe stays open until the answer is there: its end tells the worker that we died.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(job.to_json() + "\n")
                process.stdin.flush()
            answer = process.stdout.read()
            process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        noise.seek(0)
        return read_answer(job, process.returncode, answer, noise.read())


def read_answer(job: Job, code: int, answer: str, noise: str) -> dict[str, Any]:
    """The result in what a process wrote, or the error it stands for.

    Args:
        code: its exit status, negative for a signal.
        answer: its stdout.
        noise: its stderr, quoted where there is no answer.
    """
    name = f"{job.engine} {job.weights}"
    if code == -9:
        raise NotEnoughMemoryError(f"the {name} process was killed, most likely for its memory")
    try:
        document = json.loads(answer.splitlines()[-1])
    except (IndexError, ValueError):
        last = (noise.strip().splitlines() or ["it said nothing"])[-1]
        raise TinyChatError(f"the {name} process ended with status {code}: {last}") from None
    if "error" in document:
        kind = getattr(errors, document["error"]["type"], None)
        if not (isinstance(kind, type) and issubclass(kind, TinyChatError)):
            kind = TinyChatError
        raise kind(document["error"]["message"])
    result: dict[str, Any] = document["result"]
    return result


def benchmark(
    jobs: Sequence[Job],
    repeats: int,
    run: RunJob,
    progress: Callable[[int, int], None] = lambda done, total: None,
    profile: bool = False,
) -> dict[str, Any]:
    """Measure every job `repeats` times, in turns.

    Args:
        jobs: the first is ours and must succeed; the others are skipped, with the reason, where
            they do not fit this machine.
        run: how a job becomes an answer, `run_job` outside of tests.
        progress: called with processes done and processes in all.
        profile: take a profile of the first job, too.
    Returns: the JSON object of `tinychat bench`.
    Raises: what the first job raises; MissingPackageError of any.
    """
    ceilings: list[dict[str, float]] = []
    skipped: dict[int, str] = {}
    results: list[list[WorkerResult]] = [[] for _ in jobs]
    total, done = repeats * (len(jobs) + 1) + profile, 0

    for _ in range(repeats):
        threads = results[0][0].threads if results[0] else jobs[0].threads
        ceilings.append(run(replace(jobs[0], engine="ceilings", threads=threads)))
        done += 1
        progress(done, total)
        for index, job in enumerate(jobs):
            if index in skipped:
                continue
            # Everybody computes with as many threads as our engine chose for itself.
            threads = results[0][0].threads if results[0] else job.threads
            try:
                values = run(replace(job, threads=threads))
            except MissingPackageError:
                raise
            except TinyChatError as error:
                if index == 0 or results[index]:
                    raise
                skipped[index] = str(error)
                total -= repeats - 1
            else:
                results[index].append(WorkerResult.from_values(values))
            done += 1
            progress(done, total)

    profiles: list[dict[str, Any]] = []
    if profile:
        asked = replace(jobs[0], engine="profile", threads=results[0][0].threads)
        profiles = run(asked)["profiles"]
        progress(total, total)
    limits = {key: [c[key] for c in ceilings] for key in ceilings[0]}
    read = statistics.median(limits["read_gb_per_s"])
    return {
        "machine": describe_machine(results[0][0].isa),
        "tinychat": {"version": tinychat.__version__, "commit": commit()},
        "ceilings": {
            **{key: statistics.median(samples) for key, samples in limits.items()},
            "samples": limits,
        },
        "rows": [
            make_row(job, runs, depth, read)
            for depth in range(len(jobs[0].depths))
            for job, runs in zip(jobs, results, strict=True)
            if runs
        ],
        "profiles": profiles,
        "skipped": [
            {"engine": jobs[index].engine, "weights": jobs[index].weights, "reason": reason}
            for index, reason in skipped.items()
        ],
    }


def make_row(
    job: Job, runs: Sequence[WorkerResult], depth: int, read_gb_per_s: float
) -> dict[str, Any]:
    """One row: the medians over the runs of a job at its depth number `depth`, and the samples."""
    samples = {metric: [_metric(job, run, depth, metric) for run in runs] for metric in METRICS}
    medians = {metric: _median(values) for metric, values in samples.items()}
    spread = {metric: _spread(values) for metric, values in samples.items()}
    speeds = ("prefill_tokens_per_s", "decode_tokens_per_s")
    bytes_per_token = runs[0].depths[depth].bytes_per_token
    decode = medians["decode_tokens_per_s"] or 0.0
    return {
        "engine": job.engine,
        "weights": runs[0].weights,
        "model": runs[0].model,
        "device": runs[0].device,
        "threads": runs[0].threads,
        "prompt_tokens": job.prompt_tokens,
        "new_tokens": job.new_tokens,
        "depth": job.depths[depth],
        **medians,
        "bytes_per_token": bytes_per_token,
        "bandwidth_share": bytes_per_token * decode / (read_gb_per_s * 1e9),
        "spread": spread,
        "noisy": any((spread[metric] or 0.0) > NOISY for metric in speeds),
        "note": runs[0].note,
        "samples": samples,
    }


def _metric(job: Job, run: WorkerResult, depth: int, name: str) -> float | None:
    sample: DepthSample = run.depths[depth]
    times = sorted(sample.token_s)
    values: dict[str, float | None] = {
        "prefill_tokens_per_s": job.prompt_tokens / sample.prefill_s,
        "decode_tokens_per_s": len(times) / sum(times),
        "ms_per_token_p50": 1000 * percentile(times, 50),
        "ms_per_token_p95": 1000 * percentile(times, 95),
        "ttft_s": sample.ttft_s,
        "load_s": run.load_s,
        "peak_memory_mb": run.peak_memory_mb,
        "anonymous_memory_mb": run.anonymous_memory_mb,
    }
    return values[name]


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The value that `percent` of an ascending sequence do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _spread(values: Sequence[float | None]) -> float | None:
    """Standard deviation over mean; None where there are not two values."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or not any(known):
        return None
    return statistics.stdev(known) / statistics.mean(known)


def describe_machine(isa: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": machine.cpu_name(),
        "cores": os.cpu_count(),
        "memory_mb": machine.total_memory_mb(),
        "kernels": isa,
        "cards": [str(card) for card in cards.cards()] if isa.startswith("cuda") else [],
        "system": machine.system_name(),
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """The commit of the checkout that this runs from; None for an installed copy."""
    root = Path(tinychat.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None

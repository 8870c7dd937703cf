"""Where our engine's time goes, op by op.

Taking a profile costs two readings of a clock an op, so its times are not those of the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from tinychat.bench.job import Job, token_ids
from tinychat.bench.ours import TinyChatRunner
from tinychat.bench.worker import WARM_UP_TOKENS


def take_profiles(job: Job, clock: Callable[[], float] = time.perf_counter) -> list[dict[str, Any]]:
    """Profile prefill and decode at every depth of the job.

    Returns: for each, its phase, depth, tokens, seconds, and the ops with what `OpTime` says.
    """
    runner = TinyChatRunner(job)
    ids = token_ids(job.positions, runner.vocab_size)
    runner.rewind([])
    runner.prefill(ids[: job.prompt_tokens])
    for token in ids[:WARM_UP_TOKENS]:
        runner.rewind(ids[:1])
        runner.step(token)

    def taken(phase: str, depth: int, tokens: int, work: Callable[[], None]) -> dict[str, Any]:
        runner.rewind(ids[:depth])
        began = clock()
        with runner.ops.profile() as times:
            work()
        seconds = clock() - began
        return {
            "phase": phase,
            "depth": depth,
            "tokens": tokens,
            "seconds": seconds,
            "ops": [asdict(op) for op in times],
        }

    def prefill(depth: int) -> None:
        runner.prefill(ids[: depth + job.prompt_tokens])

    def decode(depth: int) -> None:
        for token in ids[depth : depth + job.new_tokens]:
            runner.step(token)
            runner.choose()

    profiles = []
    for depth in job.depths:
        profiles.append(taken("prefill", depth, job.prompt_tokens, partial(prefill, depth)))
        profiles.append(taken("decode", depth, job.new_tokens, partial(decode, depth)))
    return profiles

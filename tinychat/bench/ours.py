"""Our own engine as a benchmark sees it: a checkpoint, or random weights of a shape."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from tinychat.assembly import build, load
from tinychat.bench.job import Job
from tinychat.bench.runner import Runner
from tinychat.engine import Stats
from tinychat.kernels import SamplingRule
from tinychat.kernels.dispatch import select
from tinychat.llm import LLM
from tinychat.random_weights import RandomCheckpoint
from tinychat.sampler import Sampler, SamplingParams
from tinychat.shapes import shape_config

# The arguments of `build` among those of `load`; the others are about files.
OF_BUILD = ("weights", "kv_cache", "max_context", "lm_head")
GREEDY = SamplingRule(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0)


class TinyChatRunner(Runner):
    """Our engine. On a card it decodes as in a chat: it evaluates what it has drawn itself, so that
    it need not wait between two tokens.
    """

    def __init__(self, job: Job) -> None:
        began = time.perf_counter()
        llm = self._load(job)
        self.load_s = time.perf_counter() - began if job.shape is None else None
        self._engine = llm.engine
        self.ops = llm.engine.model.ops
        self._recent = torch.empty(0, dtype=torch.int32)
        self._logits: Tensor | None = None
        self.model = job.shape or str(job.folder)
        self.weights = llm.summary.weights if llm.summary else job.weights
        self.threads = self.ops.threads
        self.isa, self.place = self.ops.name, str(self.ops.device)
        self.vocab_size = llm.config.vocab_size

    @staticmethod
    def _load(job: Job) -> LLM:
        settings = {
            "max_context": job.positions,
            **job.load,
            "threads": job.threads,
            "weights": job.weights,
        }
        if job.shape is None:
            return load(job.folder, **settings)
        config = shape_config(job.shape)
        source = RandomCheckpoint(config, job.weights)
        device = settings.get("device", "cpu")
        ops = select(device, isa=settings.get("isa"), threads=job.threads)
        given = {name: settings[name] for name in OF_BUILD if name in settings}
        return build(source, config, ops, **given)

    def rewind(self, ids: list[int]) -> None:
        self._engine.reset() if not ids else self._engine.prefill(ids)
        self.ops.wait()  # else what comes next is timed with it

    def prefill(self, ids: list[int]) -> None:
        self._logits = self._engine.prefill(ids)
        self.ops.wait()

    def step(self, token: int) -> None:
        self._logits = self._engine.step(token)

    def choose(self) -> int:
        assert self._logits is not None
        return self.ops.sample(self._logits, GREEDY, self._recent, 0.0)

    def decode(self, ids: list[int]) -> Iterator[None]:
        if not self._engine.runs_ahead:
            yield from super().decode(ids)
            return
        logits = self._engine.step(ids[0])
        sampler = Sampler(self.ops, SamplingParams(temperature=0.0), ids, self.vocab_size)
        for _ in self._engine.tokens(ids, logits, sampler, len(ids), Stats()):
            yield

    def bytes_per_token(self, cached: float) -> int:
        return self._engine.model.nbytes + int(cached * self._engine.cache.bytes_per_token)

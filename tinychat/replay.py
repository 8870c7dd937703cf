"""Decode steps: each recorded once over static buffers, then replayed in a single native call.

A step evaluates one token, or a few that are guessed to follow each other, and every one of them
gets the logits that it would get alone. Token ids and positions live in the buffers, so a recording
holds for every step of its size. A model with float layers, which torch multiplies, cannot be
recorded and runs its forward pass each time; the result is the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tinychat.cache import KVCache
from tinychat.nn.decoder import Decoder

# A step's time is the shortest seen, which is allowed to grow by so much a call: what else runs on
# the machine makes a call longer by chance, a longer context makes all of them longer.
GROWTH = 1.02
TRIALS = 3  # calls before a time is believed
MEMORY = 512  # steps after which all are measured anew: a size that seems dear would not be again
COST_OF_ANOTHER_TOKEN = 0.1  # where it is not known, in steps of one


class DecodeStep:
    """Evaluates `count` tokens at a time against a cache that has room for them.

    Attributes:
        seconds: what a call takes at best, lately; infinite before `TRIALS` calls.
    """

    def __init__(self, model: Decoder, cache: KVCache, count: int) -> None:
        self._tokens = torch.zeros(count, dtype=torch.int32)
        self._positions = torch.arange(count, dtype=torch.int32)
        self._calls, self._shortest = 0, math.inf
        self._run: Callable[[], Tensor]

        def forward() -> Tensor:
            return model.logits(model.hidden(self._tokens, self._positions, cache))

        if model.can_record:
            with model.ops.record() as plan:
                logits = forward()

            def replay() -> Tensor:
                plan.run()
                return logits

            self._run = replay
        else:
            self._run = forward

    def __call__(self, tokens: Sequence[int], position: int) -> Tensor:
        """Logits [count, V] after each of `tokens`, the first of which stands at `position`; valid
        until the next call.
        """
        began = time.perf_counter()
        self._tokens.copy_(torch.tensor(tokens, dtype=torch.int32))
        torch.arange(position, position + len(tokens), out=self._positions)
        logits = self._run()
        self._shortest = min(time.perf_counter() - began, GROWTH * self._shortest)
        self._calls += 1
        return logits

    @property
    def seconds(self) -> float:
        return self._shortest if self._calls >= TRIALS else math.inf

    def forget(self) -> None:
        """Begin to measure anew."""
        self._calls, self._shortest = 0, math.inf


class DecodeSteps:
    """The steps of every size that was asked for; that of one token is there from the start."""

    def __init__(self, model: Decoder, cache: KVCache) -> None:
        self._model, self._cache = model, cache
        self._steps = {1: DecodeStep(model, cache, 1)}
        self._calls = 0

    def __call__(self, tokens: Sequence[int]) -> Tensor:
        """Logits [T, V] after each of `tokens` [T], which follow what is cached; valid until the
        next call. The cache's length stays what it is.
        """
        count = len(tokens)
        if count not in self._steps:
            self._steps[count] = DecodeStep(self._model, self._cache, count)
        self._calls += 1
        if self._calls % MEMORY == 0:
            for step in self._steps.values():
                step.forget()
        return self._steps[count](tokens, self._cache.length)

    def cost(self, count: int) -> float:
        """What a step of `count` tokens takes, in steps of one: measured, else a guess."""
        step, one = self._steps.get(count), self._steps[1].seconds
        if step is None or math.inf in (step.seconds, one):
            return 1 + COST_OF_ANOTHER_TOKEN * (count - 1)
        return step.seconds / one

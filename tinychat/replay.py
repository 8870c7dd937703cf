"""Decode steps: each recorded once over static buffers, then replayed in a single call.

A step evaluates one token, or a few that are guessed to follow each other, and every one of them
gets the logits that it would get alone. Token ids and positions live in the buffers, so a recording
holds for every step of its size. What cannot be recorded (on the CPU, a model with float layers,
which torch multiplies) runs its forward pass each time; the result is the same.

`DecodeSteps` gives logits, of which the host chooses the next token. `RunAhead` draws it where the
logits are, so that a card need not wait for the host between two steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from tinychat.cache import KVCache
from tinychat.kernels import Draws
from tinychat.nn.decoder import Decoder
from tinychat.sampler import Sampler

# A step's time is the shortest seen, which is allowed to grow by so much a call: what else runs on
# the machine makes a call longer by chance, a longer context makes all of them longer.
GROWTH = 1.02
TRIALS = 3  # calls before a time is believed
MEMORY = 512  # steps after which all are measured anew: a size that seems dear would not be again
COST_OF_ANOTHER_TOKEN = 0.1  # where it is not known, in steps of one


def recorded(model: Decoder, forward: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`forward`, recorded where that is possible. Each call gives the same tensor then, with what
    it has just computed.
    """
    if not model.can_record:
        return forward
    if model.ops.needs_warm_up:
        forward()
    with model.ops.record() as plan:
        out = forward()

    def replay() -> Tensor:
        plan.run()
        return out

    return replay


class DecodeStep:
    """Evaluates `count` tokens at a time against a cache that has room for them.

    Attributes:
        seconds: what a call takes at best, lately; infinite before `TRIALS` calls.
    """

    def __init__(self, model: Decoder, cache: KVCache, count: int) -> None:
        device = model.embedding.device
        self._tokens = torch.zeros(count, dtype=torch.int32, device=device)
        # Where they will stand first: a warm-up writes there, too.
        first = cache.length
        self._positions = torch.arange(first, first + count, dtype=torch.int32, device=device)
        self._calls, self._shortest = 0, math.inf
        self._wait = model.ops.wait
        self._run = recorded(
            model, lambda: model.logits(model.hidden(self._tokens, self._positions, cache))
        )

    def __call__(self, tokens: Sequence[int], position: int) -> Tensor:
        """Logits [count, V] after each of `tokens`, the first of which stands at `position`; valid
        until the next call.
        """
        began = time.perf_counter()
        self._tokens.copy_(torch.tensor(tokens, dtype=torch.int32))
        torch.arange(position, position + len(tokens), out=self._positions)
        logits = self._run()
        self._wait()  # who asks for a step reads its logits next
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
    """The steps of every size that was asked for."""

    def __init__(self, model: Decoder, cache: KVCache) -> None:
        self._model, self._cache = model, cache
        self._steps: dict[int, DecodeStep] = {}
        self._calls = 0

    def prepare(self, count: int) -> None:
        """Have the step of so many tokens."""
        if count not in self._steps:
            self._steps[count] = DecodeStep(self._model, self._cache, count)

    def __call__(self, tokens: Sequence[int]) -> Tensor:
        """Logits [T, V] after each of `tokens` [T], which follow what is cached; valid until the
        next call. The cache's length stays what it is.
        """
        count = len(tokens)
        self.prepare(count)
        self._calls += 1
        if self._calls % MEMORY == 0:
            for step in self._steps.values():
                step.forget()
        return self._steps[count](tokens, self._cache.length)

    def cost(self, count: int) -> float:
        """What a step of `count` tokens takes, in steps of one: measured, else a guess."""
        step, one = self._steps.get(count), self._steps.get(1)
        if step is None or one is None or math.inf in (step.seconds, one.seconds):
            return 1 + COST_OF_ANOTHER_TOKEN * (count - 1)
        return step.seconds / one.seconds


class RunAhead:
    """Decode steps of one token that draw the next one themselves: while the host reads a token,
    the step after it is on its way.
    """

    def __init__(self, model: Decoder, cache: KVCache, draws: Draws) -> None:
        self._draws = draws

        def forward() -> Tensor:
            logits = model.logits(model.hidden(draws.token, draws.position, cache))
            draws.draw(logits[0])
            return draws.token

        draws.position.fill_(cache.length)
        self._run = recorded(model, forward)

    def tokens(self, logits: Tensor, sampler: Sampler, position: int, limit: int) -> Iterator[int]:
        """Up to `limit` tokens.

        When one is given, the step that evaluates it runs already (but for the last): the cache
        then holds, or soon will, one position more than the tokens before it.

        Args:
            logits: [V], what the first one is drawn from.
            position: where it stands; there is room for `limit` - 1 tokens from there on.
        """
        sampler.begin(self._draws, position)
        self._draws.provide()
        self._draws.draw(logits)
        drawn = self._draws.drawn()
        for left in reversed(range(limit)):
            current = drawn
            if left:
                self._draws.provide()
                self._run()
                drawn = self._draws.drawn()
            yield current()

"""Sampling parameters, where their defaults come from, and the sampler of one request with its own
random numbers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tinychat import limits
from tinychat.errors import ArgumentError
from tinychat.kernels import Draws, Ops, SamplingRule
from tinychat.stop import check_stops

# Inclusive bounds of every numeric parameter; flags, `/set` and the API all check against this
# table.
BOUNDS: dict[str, tuple[type, float, float]] = {
    "max_new_tokens": (int, 1, 2**31 - 1),
    "temperature": (float, 0.0, limits.TEMPERATURE),
    "top_k": (int, 0, 2**31 - 1),
    "top_p": (float, 0.0, 1.0),
    "min_p": (float, 0.0, 1.0),
    "repetition_penalty": (float, *limits.REPETITION_PENALTY),
    "seed": (int, 0, 2**63 - 1),
    "logprobs": (int, 0, limits.TOP_LOGPROBS),
}


def check_bounds(name: str, value: Any, kind: type, low: float, high: float) -> None:
    """Raise `ArgumentError` unless `value` is None or a `kind` within low..high."""
    if value is None:
        return
    accepted = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise ArgumentError(f"{name}={value!r} is not {'a whole' if kind is int else 'a'} number")
    if math.isnan(value) or not low <= value <= high:
        raise ArgumentError(f"{name}={value!r} is out of range; expected {low} to {high}")


@dataclass(frozen=True)
class SamplingParams:
    """How to choose tokens and when to end. None takes the model's own default, then tinychat's.

    Attributes:
        max_new_tokens: at most so many tokens; default: the rest of the context.
        temperature: 0 is greedy and ignores top_k, top_p and min_p; up to 2.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: keep the most probable tokens that together reach this probability; 1 keeps all.
        min_p: drop tokens less probable than this share of the most probable one.
        repetition_penalty: > 1 makes tokens of the prompt and the answer less likely again.
        seed: the same seed gives the same text; default: a fresh one, reported in the response.
        stop: up to 16 strings that end the text; they are not part of it.
        ignore_eos: go on past the model's end-of-text token.
        logprobs: report the chosen token's log-probability and those of so many of the most
            likely; None: none.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | list[str] | str = ()
    ignore_eos: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        for name, (kind, low, high) in BOUNDS.items():
            check_bounds(name, getattr(self, name), kind, low, high)
        if not isinstance(self.ignore_eos, bool):
            raise ArgumentError(f"ignore_eos={self.ignore_eos!r:.60} is neither True nor False")
        stops = [self.stop] if isinstance(self.stop, str) else self.stop
        object.__setattr__(self, "stop", check_stops(stops))

    def over(self, defaults: SamplingParams) -> SamplingParams:
        """These parameters, with every None taken from `defaults`."""
        unset = {
            f.name: getattr(defaults, f.name) for f in fields(self) if getattr(self, f.name) is None
        }
        return replace(self, **unset)


# What holds where neither the request nor the checkpoint says anything.
DEFAULTS = SamplingParams(temperature=0.7, top_k=40, top_p=0.95, min_p=0.0, repetition_penalty=1.0)


@dataclass(frozen=True)
class TokenLogprob:
    """The model's own log-probabilities at one step, before any filter.

    Attributes:
        token_id, logprob: the chosen token.
        top: the most likely (token id, log-probability) pairs, best first.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class Sampler:
    """Draws the tokens of one request; holds its random numbers and the ids that the penalty
    applies to.
    """

    def __init__(
        self, ops: Ops, params: SamplingParams, prompt: Iterable[int], vocab_size: int
    ) -> None:
        full = params.over(DEFAULTS)
        assert full.temperature is not None and full.top_k is not None and full.top_p is not None
        assert full.min_p is not None and full.repetition_penalty is not None
        self._rule = SamplingRule(
            full.temperature, full.top_k, full.top_p, full.min_p, full.repetition_penalty
        )
        self.seed = random.SystemRandom().getrandbits(32) if full.seed is None else full.seed
        self._random = random.Random(self.seed)
        self._ops = ops
        self._vocab_size = vocab_size
        self._top = full.logprobs
        # Ids seen so far, once each; kept only where a penalty reads them, and of those only what
        # can be drawn.
        self._penalizes = full.repetition_penalty != 1.0
        self._seen = {token for token in prompt if token < vocab_size} if self._penalizes else set()
        self._recent = torch.tensor(sorted(self._seen), dtype=torch.int32)

    def __call__(self, logits: Tensor) -> tuple[int, TokenLogprob | None]:
        """Choose a token from logits [V]; ids from the tokenizer's vocabulary size on are never
        chosen.
        """
        logits = logits[: self._vocab_size]
        token = self._ops.sample(logits, self._rule, self._recent, self._random.random())
        if self._penalizes and token not in self._seen:
            self._seen.add(token)
            self._recent = torch.cat([self._recent, torch.tensor([token], dtype=torch.int32)])
        return token, None if self._top is None else log_probabilities(logits, token, self._top)

    @property
    def reports(self) -> bool:
        """Whether log-probabilities are asked for, which takes the logits of every step."""
        return self._top is not None

    def begin(self, draws: Draws, position: int) -> None:
        """Let `draws` choose the tokens in its stead, from the one at this position on."""
        draws.begin(self._rule, self._recent, self._random.random, position)


def log_probabilities(logits: Tensor, token: int, count: int) -> TokenLogprob:
    """The log-probability of `token` and of the `count` most likely tokens under logits [V]."""
    logprobs = torch.log_softmax(logits.to(torch.float32), dim=-1)
    best = torch.topk(logprobs, min(count, logprobs.numel()))
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return TokenLogprob(token, float(logprobs[token]), top)

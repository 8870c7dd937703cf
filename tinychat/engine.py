"""The engine: token ids in, token ids out. It owns the cache, never sees text, and serves one
request at a time.

`prefill` and `step` evaluate, `stream` adds sampling and stopping, `generate` collects. What the
cache already holds of a new prompt is kept, so a second turn of a chat evaluates only its new
tokens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinychat import limits
from tinychat.cache import KVCache
from tinychat.errors import ArgumentError, CheckpointError, ContextLengthError
from tinychat.kernels import Draws, Ops
from tinychat.lookup import PromptLookup
from tinychat.nn.decoder import Decoder
from tinychat.replay import DecodeSteps, RunAhead
from tinychat.sampler import Sampler, SamplingParams, TokenLogprob

# Rows of logits held in one go while a text is scored: 32 MB at a vocabulary of 128k.
SCORED_ROWS = 64


@dataclass
class Stats:
    """What one request cost. Times in seconds.

    `prefill_s` covers the prompt's evaluation, `ttft_s` the time from the call to the first token,
    `decode_s` the tokens after the first. `drafted_tokens` were guessed and evaluated ahead of
    their turn, `accepted_tokens` of them were what came; see `tinychat.lookup`.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    ttft_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def prefill_tokens_per_s(self) -> float:
        """Evaluated prompt tokens a second; those already cached do not count."""
        evaluated = self.prompt_tokens - self.cached_tokens
        return evaluated / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def decode_tokens_per_s(self) -> float:
        """Tokens after the first a second; 0 where there was only one."""
        return (self.new_tokens - 1) / self.decode_s if self.decode_s > 0 else 0.0


@dataclass(frozen=True)
class Step:
    """One generated token; `finish_reason` is "stop", "length" or "cancelled" on the last one.

    A request that is cancelled before its first token yields a single step without a token.
    """

    token_id: int | None
    logprob: TokenLogprob | None
    finish_reason: str | None
    stats: Stats
    seed: int


@dataclass(frozen=True)
class Response:
    """A finished request over token ids."""

    token_ids: list[int]
    logprobs: list[TokenLogprob] | None
    finish_reason: str
    stats: Stats
    seed: int


class Engine:
    """A model and its cache.

    Args:
        model: the decoder.
        cache: its capacity is the context length.
        eos_token_ids: tokens that end a text.
        vocab_size: ids from here on are padding rows of the head and are never sampled.
        prompt_lookup: tokens of the longest draft that is evaluated ahead, 0 for none. It is only
            for a model whose rows do not depend on how many are evaluated together.
        draws: chooses tokens without the host, where there is no draft to be judged.
        prefill_chunk: see `Ops`.
        longest_context: tokens that the model was made for.
    """

    def __init__(
        self,
        model: Decoder,
        cache: KVCache,
        eos_token_ids: Iterable[int],
        vocab_size: int,
        prompt_lookup: int = 0,
        draws: Draws | None = None,
        prefill_chunk: int = Ops.prefill_chunk,
        longest_context: int = limits.POSITIONS,
    ) -> None:
        self.model, self.cache, self.prefill_chunk = model, cache, prefill_chunk
        self.longest_context = longest_context
        self.eos_token_ids = frozenset(eos_token_ids)
        self.vocab_size, self.prompt_lookup = vocab_size, prompt_lookup
        self._embedding_rows = model.embedding.shape[0]
        self._steps = DecodeSteps(model, cache)
        self._ahead = RunAhead(model, cache, draws) if draws is not None else None
        if self._ahead is None:  # else few requests need one
            self._steps.prepare(1)
        self._cached_ids: list[int] = []  # the ids behind the valid positions of the cache
        self.cancelled = threading.Event()

    @property
    def capacity(self) -> int:
        """The context length in tokens."""
        return self.cache.capacity

    def reset(self) -> None:
        """Forget the cached tokens."""
        self.cache.reset()
        self._cached_ids = []

    def check_prompt(self, ids: Sequence[int]) -> None:
        """Raise unless `ids` is a non-empty prompt of known ids that fits the context."""
        if isinstance(ids, str | bytes) or not isinstance(ids, Sequence):
            raise ArgumentError(f"the prompt is a {type(ids).__name__}; expected token ids")
        if not ids:
            raise ArgumentError("the prompt is empty: it has no tokens")
        if len(ids) > self.capacity:
            raise ContextLengthError(
                f"the prompt has {len(ids)} tokens and the context holds {self.capacity}; "
                f"shorten the prompt{self._more_context()}"
            )
        for index, token in enumerate(ids):
            if not isinstance(token, int) or isinstance(token, bool):
                raise ArgumentError(f"{token!r:.60} at index {index} is no token id")
            if not 0 <= token < self._embedding_rows:
                raise ArgumentError(
                    f"token id {token} at index {index} is outside the vocabulary of "
                    f"{self._embedding_rows}"
                )

    def _more_context(self) -> str:
        """The other way out of a context that is too short, where there is one."""
        if self.capacity >= self.longest_context:
            return ""
        return " or load with a larger max_context"

    def reuse(self, ids: Sequence[int]) -> int:
        """Trim the cache to its common prefix with `ids`, less than all of it; returns that
        length.
        """
        kept = 0
        for cached, wanted in zip(self._cached_ids, ids[:-1], strict=False):
            if cached != wanted:
                break
            kept += 1
        self.cache.trim(kept)
        del self._cached_ids[kept:]
        return kept

    def hidden(self, ids: Sequence[int]) -> Iterator[Tensor]:
        """Append `ids` to the cache chunk by chunk; yields each chunk's hidden states [T, C]."""
        device = self.model.embedding.device
        for begin in range(0, len(ids), self.prefill_chunk):
            chunk = ids[begin : begin + self.prefill_chunk]
            start = torch.tensor([self.cache.length], dtype=torch.int32)
            tokens = torch.tensor(chunk, dtype=torch.int32, device=device)
            states = self.model.hidden(tokens, start, self.cache)
            self._advance(chunk)
            yield states

    def logprobs(self, ids: Sequence[int]) -> Tensor:
        """Log-probabilities [T - 1] float32 of ids[1:], each given all before it in `ids` [T].

        Evaluated as a fresh sequence. Raises: as `check_prompt`.
        """
        self.check_prompt(ids)
        self.reset()
        following = torch.tensor(ids[1:], dtype=torch.int64)[:, None]
        scores = torch.empty(len(ids) - 1)
        done = 0
        for states in self.hidden(ids[:-1]):  # nothing follows the last token
            for begin in range(0, len(states), SCORED_ROWS):
                rows = states[begin : begin + SCORED_ROWS]
                logits = self.model.logits(rows)
                wanted = following[done : done + len(rows)].to(logits.device)
                chosen = logits.gather(1, wanted)[:, 0]
                scores[done : done + len(rows)] = chosen - logits.logsumexp(dim=-1)
                done += len(rows)
        return scores

    def prefill(self, ids: Sequence[int]) -> Tensor | None:
        """Evaluate a prompt after what is cached of it.

        Returns: the logits [V] of its last token, or None when cancelled on the way.
        """
        self.check_prompt(ids)
        return self._evaluate(ids[self.reuse(ids) :])

    def _evaluate(self, ids: Sequence[int]) -> Tensor | None:
        """Append `ids` and return the logits of the last one, or None when cancelled on the way."""
        last = self.model.embedding.new_empty(0)
        for states in self.hidden(ids):
            if self.cancelled.is_set():
                return None
            last = states[-1:]
        return self.model.logits(last)[0]

    def step(self, token: int) -> Tensor:
        """Append one token and return its logits [V], valid until the next step."""
        logits = self._steps([token])[0]
        self._advance([token])
        return logits

    def stream(self, ids: Sequence[int], params: SamplingParams) -> Iterator[Step]:
        """Yield the tokens that follow the prompt `ids`, the last one with its `finish_reason`.

        Raises: ContextLengthError, ArgumentError, before anything is evaluated; CheckpointError
            where the model has no numbers to choose by.
        """
        began = time.perf_counter()
        self.cancelled.clear()
        self.check_prompt(ids)
        sampler = Sampler(self.model.ops, params, ids, self.vocab_size)
        kept = self.reuse(ids)
        stats = Stats(prompt_tokens=len(ids), cached_tokens=kept)
        logits = self._evaluate(ids[kept:])
        stats.prefill_s = time.perf_counter() - began
        if logits is None:
            yield Step(None, None, "cancelled", stats, sampler.seed)
            return
        if not bool(torch.isfinite(logits[: self.vocab_size]).all()):
            self.reset()  # what was computed of this prompt is not to be used again
            raise CheckpointError(
                "the model computes NaN or infinity for this prompt: its weights are damaged, or "
                "too large for their precision (weights='fp32' tells)"
            )

        # The last token of the context needs no place in the cache: nothing is evaluated after it.
        limit = self.capacity - len(ids) + 1
        if params.max_new_tokens is not None:
            limit = min(limit, params.max_new_tokens)
        first_token_at = 0.0
        for token, logprob in self.tokens(ids, logits, sampler, limit, stats):
            now = time.perf_counter()
            stats.new_tokens += 1
            if stats.new_tokens == 1:
                first_token_at = now
                stats.ttft_s = now - began
            stats.decode_s = now - first_token_at
            reason = self._finish_reason(token, stats.new_tokens, limit, params.ignore_eos)
            yield Step(token, logprob, reason, stats, sampler.seed)
            if reason is not None:
                return

    @property
    def runs_ahead(self) -> bool:
        """Whether tokens are drawn without the host."""
        return self._ahead is not None

    def tokens(
        self, ids: Sequence[int], logits: Tensor, sampler: Sampler, limit: int, stats: Stats
    ) -> Iterator[tuple[int, TokenLogprob | None]]:
        """Up to `limit` tokens that follow `ids`, the first of them from `logits` [V]. Each is
        evaluated when the next one is asked for, at the latest. Drafts are counted in `stats`.
        """
        if self._ahead is not None and not sampler.reports:
            for token in self._ahead.tokens(logits, sampler, self.cache.length, limit):
                yield token, None
                self._advance([token])
            return
        lookup = PromptLookup(ids, self.prompt_lookup, self._steps.cost)
        rows, draft, left = logits[None], list[int](), limit
        while True:
            # Each row follows the token before it; the last one follows what nobody guessed.
            for row, guess in zip(rows, [*draft, None], strict=True):
                token, logprob = sampler(row)
                left -= 1
                stats.accepted_tokens += token == guess
                lookup.push(token)
                yield token, logprob
                if token != guess:
                    break
                self._advance([token])
            # A step gives one token more than it was given guesses.
            draft = lookup.draft(left - 1)
            stats.drafted_tokens += len(draft)
            rows = self._steps([token, *draft])
            self._advance([token])

    def generate(self, ids: Sequence[int], params: SamplingParams) -> Response:
        """Run `stream` to its end."""
        steps = list(self.stream(ids, params))
        return collect(steps)

    def _finish_reason(self, token: int, count: int, limit: int, ignore_eos: bool) -> str | None:
        if token in self.eos_token_ids and not ignore_eos:
            return "stop"
        if self.cancelled.is_set():
            return "cancelled"
        return "length" if count >= limit else None

    def _advance(self, ids: Sequence[int]) -> None:
        self.cache.advance(len(ids))
        self._cached_ids.extend(ids)


def collect(steps: Sequence[Step]) -> Response:
    """The response that a finished stream amounts to."""
    last = steps[-1]
    assert last.finish_reason is not None
    token_ids = [step.token_id for step in steps if step.token_id is not None]
    logprobs = [step.logprob for step in steps if step.logprob is not None]
    return Response(token_ids, logprobs or None, last.finish_reason, last.stats, last.seed)

"""The engine over a mock model: what is evaluated, reused and cut, and that nothing breaks it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tinychat.engine import SCORED_ROWS, Engine
from tinychat.errors import ArgumentError, ContextLengthError
from tinychat.kernels import Ops
from tinychat.sampler import SamplingParams

VOCAB = 11
PREFILL_CHUNK = Ops.prefill_chunk
GREEDY = SamplingParams(temperature=0.0, max_new_tokens=5)


class CountingCache:
    """A cache that stores the ids themselves."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0
        self.ids = [-1] * capacity

    def advance(self, count: int) -> None:
        self.length += count

    def trim(self, length: int) -> None:
        self.length = min(self.length, length)

    def reset(self) -> None:
        self.length = 0


class SumModel:
    """Predicts (sum of all ids so far) mod VOCAB: any error in the cache changes the answer."""

    can_record = False

    def __init__(self) -> None:
        self.ops = SimpleNamespace(sample=self.sample, wait=lambda: None)
        self.embedding = torch.zeros(VOCAB, 1)
        self.evaluated: list[list[int]] = []
        self.before_call: Any = lambda: None

    def hidden(self, ids: torch.Tensor, start: torch.Tensor, cache: CountingCache) -> torch.Tensor:
        self.before_call()
        begin = int(start[0])
        tokens = ids.tolist()
        self.evaluated.append(tokens)
        cache.ids[begin : begin + len(tokens)] = tokens
        sums = [sum(cache.ids[: begin + i + 1]) % VOCAB for i in range(len(tokens))]
        return torch.tensor(sums, dtype=torch.float32)[:, None]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(hidden[:, 0].long(), VOCAB).float()

    def sample(self, logits: torch.Tensor, rule: Any, recent: Any, uniform: float) -> int:
        return int(logits.argmax())


def make(capacity: int = 64, eos: tuple[int, ...] = ()) -> tuple[Engine, SumModel]:
    model = SumModel()
    return Engine(model, CountingCache(capacity), eos, VOCAB), model  # type: ignore[arg-type]


def expected(prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(sum(ids) % VOCAB)
    return ids[len(prompt) :]


def test_generates_what_the_model_predicts() -> None:
    engine, _ = make()
    out = engine.generate([1, 2, 3], GREEDY)
    assert out.token_ids == expected([1, 2, 3], 5)
    assert out.finish_reason == "length"
    assert (out.stats.prompt_tokens, out.stats.cached_tokens, out.stats.new_tokens) == (3, 0, 5)


def test_second_turn_evaluates_only_new_tokens() -> None:
    engine, model = make()
    first = engine.generate([1, 2, 3], GREEDY).token_ids
    model.evaluated.clear()
    prompt = [1, 2, 3, *first, 4, 5]
    out = engine.generate(prompt, GREEDY)
    assert out.token_ids == expected(prompt, 5)
    # The last sampled token was never evaluated, so it comes with the new ones.
    assert model.evaluated[0] == [first[-1], 4, 5]
    assert out.stats.cached_tokens == len(prompt) - 3


def test_diverging_prompt_is_trimmed() -> None:
    engine, model = make()
    engine.generate([1, 2, 3, 4], GREEDY)
    model.evaluated.clear()
    assert engine.generate([1, 2, 9], GREEDY).token_ids == expected([1, 2, 9], 5)
    assert model.evaluated[0] == [9]


def test_same_prompt_again_evaluates_its_last_token() -> None:
    engine, model = make()
    engine.generate([1, 2, 3], GREEDY)
    model.evaluated.clear()
    assert engine.generate([1, 2, 3], GREEDY).token_ids == expected([1, 2, 3], 5)
    assert model.evaluated[0] == [3]


def test_prefill_runs_in_chunks() -> None:
    engine, model = make(capacity=4 * PREFILL_CHUNK)
    prompt = [i % VOCAB for i in range(2 * PREFILL_CHUNK + 7)]
    assert engine.generate(prompt, GREEDY).token_ids == expected(prompt, 5)
    assert [len(chunk) for chunk in model.evaluated[:3]] == [PREFILL_CHUNK, PREFILL_CHUNK, 7]


@pytest.mark.parametrize(("length", "answers"), [(7, 2), (8, 1)])
def test_prompt_that_fills_the_context(length: int, answers: int) -> None:
    engine, _ = make(capacity=8)
    prompt = [1] * length
    out = engine.generate(prompt, GREEDY)
    assert out.token_ids == expected(prompt, answers)
    assert out.finish_reason == "length"


def test_prompt_too_long_names_both_numbers() -> None:
    engine, model = make(capacity=8)
    with pytest.raises(ContextLengthError, match=r"9 tokens .* holds 8"):
        engine.generate([1] * 9, GREEDY)
    assert model.evaluated == []
    assert engine.generate([1], GREEDY).token_ids == expected([1], 5)


@pytest.mark.parametrize("prompt", [[], [VOCAB], [1, -1]])
def test_bad_prompts_are_refused(prompt: list[int]) -> None:
    engine, _ = make()
    with pytest.raises(ArgumentError):
        engine.generate(prompt, GREEDY)
    assert engine.generate([1], GREEDY).token_ids == expected([1], 5)


def test_end_of_text_stops_unless_ignored() -> None:
    answer = expected([1, 2, 3], 5)
    engine, _ = make(eos=(answer[1],))
    out = engine.generate([1, 2, 3], GREEDY)
    assert (out.token_ids, out.finish_reason) == (answer[:2], "stop")
    out = engine.generate(
        [1, 2, 3], SamplingParams(temperature=0, max_new_tokens=5, ignore_eos=True)
    )
    assert (out.token_ids, out.finish_reason) == (answer, "length")


def test_interrupted_prefill_keeps_what_was_finished() -> None:
    engine, model = make(capacity=4 * PREFILL_CHUNK)
    prompt = [i % VOCAB for i in range(3 * PREFILL_CHUNK)]

    def interrupt_second_chunk() -> None:
        if len(model.evaluated) == 1:
            raise KeyboardInterrupt

    model.before_call = interrupt_second_chunk
    with pytest.raises(KeyboardInterrupt):
        engine.generate(prompt, GREEDY)
    model.before_call = lambda: None
    out = engine.generate(prompt, GREEDY)
    assert out.token_ids == expected(prompt, 5)
    assert out.stats.cached_tokens == PREFILL_CHUNK


def test_cancel_during_prefill_and_decode() -> None:
    engine, model = make(capacity=4 * PREFILL_CHUNK)
    prompt = [i % VOCAB for i in range(3 * PREFILL_CHUNK)]
    model.before_call = engine.cancelled.set
    out = engine.generate(prompt, GREEDY)
    assert (out.token_ids, out.finish_reason) == ([], "cancelled")
    assert len(model.evaluated) == 1
    model.before_call = lambda: None
    steps = engine.stream(prompt, GREEDY)
    next(steps)
    engine.cancelled.set()
    assert next(steps).finish_reason == "cancelled"
    assert engine.generate(prompt, GREEDY).token_ids == expected(prompt, 5)


def test_abandoned_stream_leaves_the_engine_usable() -> None:
    engine, _ = make()
    steps = engine.stream([1, 2, 3], GREEDY)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert engine.generate([1, 2, 3], GREEDY).token_ids == expected([1, 2, 3], 5)


def test_logprobs_are_those_of_the_model() -> None:
    engine, _ = make()
    out = engine.generate([1], SamplingParams(temperature=0, max_new_tokens=2, logprobs=3))
    assert out.logprobs is not None and len(out.logprobs) == 2
    first = out.logprobs[0]
    assert first.token_id == out.token_ids[0] == first.top[0][0]
    assert len(first.top) == 3
    assert first.logprob == pytest.approx(
        1 - torch.logsumexp(torch.eye(VOCAB)[0], 0).item(), abs=1e-6
    )


@pytest.mark.parametrize("length", [1, 2, SCORED_ROWS + 1, SCORED_ROWS + 2, PREFILL_CHUNK + 70])
def test_a_text_is_scored_token_by_token(length: int) -> None:
    engine, model = make(capacity=2 * PREFILL_CHUNK)
    engine.generate([5, 6], GREEDY)
    ids = [(7 * i + i // 3) % VOCAB for i in range(length)]
    widest = 0
    logits = model.logits

    def watched(hidden: torch.Tensor) -> torch.Tensor:
        nonlocal widest
        widest = max(widest, len(hidden))
        return logits(hidden)

    model.logits = watched  # type: ignore[method-assign]
    found = engine.logprobs(ids)
    assert found.dtype == torch.float32 and found.shape == (length - 1,)
    right = [sum(ids[: i + 1]) % VOCAB == ids[i + 1] for i in range(length - 1)]
    norm = torch.logsumexp(torch.eye(VOCAB)[0], 0)
    assert torch.allclose(found, torch.tensor(right).float() - norm, atol=1e-6)
    assert widest <= SCORED_ROWS  # never the logits of a whole window
    assert engine.generate([1, 2, 3], GREEDY).token_ids == expected([1, 2, 3], 5)


def test_what_cannot_be_scored_is_refused() -> None:
    engine, _ = make(capacity=8)
    for bad in ([], [1] * 9, [VOCAB]):
        with pytest.raises((ArgumentError, ContextLengthError)):
            engine.logprobs(bad)
    assert engine.logprobs([1] * 8).shape == (7,)

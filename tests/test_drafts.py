"""Drafts in the engine: whatever is guessed, text, seeds, endings and cache are what they are
without; only the number of steps differs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import tinychat
from tests.isas import ISAS, ops_of
from tests.test_engine import VOCAB, CountingCache, SumModel, expected
from tests.tiny_models import StateDict, tiny_config, tiny_reference, write_tiny
from tinychat import LLM, ArgumentError, SamplingParams
from tinychat.assembly import build
from tinychat.checkpoint import Checkpoint
from tinychat.config import load_config
from tinychat.engine import Engine
from tinychat.hub import resolve_model
from tinychat.lookup import DEFAULT_DRAFT
from tinychat.replay import DecodeSteps
from tinychat.tokenizer import Tokenizer

# Given the text so far and the room for guesses, the guesses.
Rule = Callable[[list[int], int], list[int]]
PROMPT = [1, 2, 3]


class Guessing:
    """A `PromptLookup` that guesses by a rule and notes the room that it was given."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.rooms = rule, list[int]()

    def __call__(self, prompt: Sequence[int], longest: int, cost: object) -> Guessing:
        self.ids = list(prompt)
        return self

    def push(self, token: int) -> None:
        self.ids.append(token)

    def draft(self, room: int) -> list[int]:
        self.rooms.append(room)
        guess = self.rule(self.ids, room)
        assert len(guess) <= room
        return guess


def always_right(ids: list[int], room: int) -> list[int]:
    return expected(ids, min(room, 3))


def always_wrong(ids: list[int], room: int) -> list[int]:
    return [(token + 1) % VOCAB for token in always_right(ids, room)]


def wrong_at_last(ids: list[int], room: int) -> list[int]:
    guess = always_right(ids, room)
    return [*guess[:-1], (guess[-1] + 1) % VOCAB] if guess else []


def by_chance(ids: list[int], room: int) -> list[int]:
    chance = random.Random(len(ids))
    guess = expected(ids, chance.randint(0, min(room, 5)))
    return [t if chance.random() < 0.7 else chance.randrange(VOCAB) for t in guess]


RULES = (always_right, always_wrong, wrong_at_last, by_chance)


def make(
    rule: Rule | None, monkeypatch: pytest.MonkeyPatch, capacity: int = 64, eos: int | None = None
) -> tuple[Engine, SumModel, Guessing]:
    model, guessing = SumModel(), Guessing(rule or (lambda ids, room: []))
    monkeypatch.setattr("tinychat.engine.PromptLookup", guessing)
    ends = () if eos is None else (eos,)
    engine = Engine(model, CountingCache(capacity), ends, VOCAB)  # type: ignore[arg-type]
    return engine, model, guessing


def greedy(count: int | None = 20, **more: Any) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_new_tokens=count, **more)


def state(engine: Engine) -> tuple[int, list[int], list[int]]:
    """What the cache believes to hold, and what it does."""
    cache: Any = engine.cache
    assert len(cache.ids) == cache.capacity  # nothing was written beyond its end
    return cache.length, list(engine._cached_ids), cache.ids[: cache.length]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_guesses_do_not_change_the_answer(
    rule: Rule, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _, _ = make(None, monkeypatch)
    out = plain.generate(PROMPT, greedy(count, logprobs=2))
    engine, _, _ = make(rule, monkeypatch)
    guessed = engine.generate(PROMPT, greedy(count, logprobs=2))
    assert guessed.token_ids == out.token_ids == expected(PROMPT, count)
    assert (guessed.logprobs, guessed.finish_reason) == (out.logprobs, "length")
    assert guessed.stats.new_tokens == count
    assert state(engine) == state(plain)
    # The next turn finds the cache as it should be.
    prompt = [*PROMPT, *guessed.token_ids, 4, 5]
    again = engine.generate(prompt, greedy())
    assert again.token_ids == expected(prompt, 20)
    assert again.stats.cached_tokens == len(prompt) - 3


def test_counts_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, model, guessing = make(always_right, monkeypatch)
    stats = engine.generate(PROMPT, greedy(10)).stats
    assert [len(tokens) for tokens in model.evaluated] == [3, 4, 4, 1]
    assert guessing.rooms == [8, 4, 0]
    assert (stats.drafted_tokens, stats.accepted_tokens) == (6, 6)

    engine, model, guessing = make(always_wrong, monkeypatch)
    stats = engine.generate(PROMPT, greedy(6)).stats
    assert [len(tokens) for tokens in model.evaluated] == [3, 4, 4, 3, 2, 1]
    assert (stats.drafted_tokens, stats.accepted_tokens) == (9, 0)

    engine, model, guessing = make(wrong_at_last, monkeypatch)
    stats = engine.generate(PROMPT, greedy(10)).stats
    assert (stats.drafted_tokens, stats.accepted_tokens) == (8, 5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("room", [0, 1, 2, 3, 4, 9])
def test_the_end_of_the_context_inside_a_draft(
    rule: Rule, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _, _ = make(rule, monkeypatch, capacity=len(PROMPT) + room)
    out = engine.generate(PROMPT, greedy(None))
    assert out.token_ids == expected(PROMPT, room + 1)
    assert out.finish_reason == "length"
    assert state(engine)[0] == len(PROMPT) + room


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("place", range(1, 8))
def test_the_end_of_the_text_inside_a_draft(
    rule: Rule, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = [1, 1, 3]
    answer = expected(prompt, 10)
    eos = answer[place]
    shown = answer[: answer.index(eos) + 1]
    plain, _, _ = make(None, monkeypatch, eos=eos)
    engine, _, _ = make(rule, monkeypatch, eos=eos)
    for one in (plain, engine):
        out = one.generate(prompt, greedy())
        assert (out.token_ids, out.finish_reason) == (shown, "stop")
    assert state(engine) == state(plain)
    assert engine.generate(prompt, greedy(ignore_eos=True)).token_ids == expected(prompt, 20)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("place", range(1, 9))
@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_a_stream_left_inside_a_draft(
    rule: Rule, place: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _, _ = make(None, monkeypatch)
    engine, _, _ = make(rule, monkeypatch)
    for one in (plain, engine):
        steps = one.stream(PROMPT, greedy())
        taken = [next(steps) for _ in range(place)]
        if how == "cancelled":
            one.cancelled.set()
            taken += steps
        else:
            steps.close()  # type: ignore[attr-defined]
        count = place + (how == "cancelled")
        assert [step.token_id for step in taken] == expected(PROMPT, count)
        assert taken[-1].finish_reason == ("cancelled" if how == "cancelled" else None)
    assert state(engine) == state(plain)
    assert engine.generate(PROMPT, greedy()).token_ids == expected(PROMPT, 20)


def test_an_interrupted_step_has_not_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, model, _ = make(always_right, monkeypatch)

    def interrupt_third_call() -> None:
        if len(model.evaluated) == 2:
            raise KeyboardInterrupt

    model.before_call = interrupt_third_call
    with pytest.raises(KeyboardInterrupt):
        engine.generate(PROMPT, greedy())
    model.before_call = lambda: None
    prompt = [*PROMPT, *expected(PROMPT, 5)]
    out = engine.generate(prompt, greedy())
    assert out.token_ids == expected(prompt, 20)
    assert out.stats.cached_tokens == len(PROMPT) + 4


# --- real models


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses are worth evaluating on every machine."""
    monkeypatch.setattr(DecodeSteps, "cost", lambda self, count: 1 + count / 100)


PARAMETERS = (
    SamplingParams(temperature=0.0, max_new_tokens=90),
    SamplingParams(temperature=0.0, max_new_tokens=90, repetition_penalty=1.02, logprobs=2),
    SamplingParams(temperature=0.4, seed=3, max_new_tokens=90, logprobs=0),
    SamplingParams(
        temperature=0.3, top_k=5, seed=4, max_new_tokens=90, repetition_penalty=1.02, min_p=0.01
    ),
)


def compare(plain: LLM, drafting: Iterator[LLM], prompts: Sequence[Any]) -> None:
    """Every prompt with all of PARAMETERS, one after the other, so that caches are reused."""
    wanted = [plain.generate(prompt, params) for prompt in prompts for params in PARAMETERS]
    cache = plain.engine.cache
    for llm in drafting:
        with llm:
            found = [llm.generate(prompt, params) for prompt in prompts for params in PARAMETERS]
            length = cache.length
            assert llm.engine.cache.length == length > 0
            assert llm.engine._cached_ids == plain.engine._cached_ids
            for layer in range(llm.config.num_layers):
                for mine, theirs in zip(
                    llm.engine.cache.layer(layer), cache.layer(layer), strict=True
                ):
                    assert torch.equal(mine[:, :length], theirs[:, :length])
        for out, expected_out in zip(found, wanted, strict=True):
            assert out.token_ids == expected_out.token_ids
            assert out.logprobs == expected_out.logprobs
            assert out.finish_reason == expected_out.finish_reason
            assert out.stats.cached_tokens == expected_out.stats.cached_tokens
            assert expected_out.stats.drafted_tokens == 0
        drafted = sum(out.stats.drafted_tokens for out in found)
        accepted = sum(out.stats.accepted_tokens for out in found)
        assert drafted > accepted > 0  # both ways of a guess were seen


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["llama", "mistral-window", "falcon-7b", "falcon-rw"])
def test_tiny_models_say_the_same(name: str, isa: str, cheap: None) -> None:
    ops_of(isa, 1).close()
    tensors = tiny_reference(name).state_dict()

    def load(prompt_lookup: int) -> LLM:
        source, config = StateDict(tensors), tiny_config(name)
        ops = ops_of(isa, 3)
        return build(source, config, ops, weights="int4", prompt_lookup=prompt_lookup)

    prompts = [[5, 6, 7, 8, 9] * 6 + [5, 6], [5, 6, 7, 8, 9] * 6 + [3, 4, 3, 4], [11]]
    with load(0) as plain:
        compare(plain, map(load, (1, 4, 15)), prompts)


@pytest.mark.parametrize("isa", ISAS)
def test_the_model_that_ships_says_the_same(isa: str, cheap: None) -> None:
    folder = resolve_model(None)
    config = load_config(folder)
    tokenizer = Tokenizer.load(folder, config.vocab_size)
    ops_of(isa, 1).close()

    def load(prompt_lookup: int) -> LLM:
        files, ops = Checkpoint.open(folder), ops_of(isa, 2)
        return build(
            files,
            config,
            ops,
            tokenizer=tokenizer,
            close=files.close,
            prompt_lookup=prompt_lookup,
        )

    with tinychat.load() as llm:
        asked = [
            llm.encode_chat([{"role": "user", "content": question}])
            for question in ("tell me a story about a dog", "what can you do?")
        ]
        told = [llm.generate(ids, PARAMETERS[0]).token_ids for ids in asked]
    # Asked again, it will most likely say the same as before.
    prompts = [[*ids, *answer, *ids, *answer[:4]] for ids, answer in zip(asked, told, strict=True)]
    with load(0) as plain:
        compare(plain, map(load, (4, 15)), [*asked, *prompts])


# --- how it is asked for


def test_load_takes_the_length_and_refuses_others(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", "llama")
    for asked, length in ((None, DEFAULT_DRAFT), (0, 0), (3, 3), (15, 15)):
        with tinychat.load(folder, weights="int4", prompt_lookup=asked) as llm:
            assert llm.engine.prompt_lookup == length and not llm.warnings
    for bad in (-1, 16, 1.5, True):
        with pytest.raises(ArgumentError, match="prompt_lookup"):
            tinychat.load(folder, weights="int4", prompt_lookup=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", [{"weights": "fp32"}, {"weights": "int4", "lm_head": "fp16"}])
def test_float_layers_take_no_drafts(tmp_path: Path, choice: dict[str, str]) -> None:
    """torch's product of a few rows is not that of one, to the last bit."""
    folder = write_tiny(tmp_path / "tiny", "llama")
    with tinychat.load(folder, **choice, prompt_lookup=4) as llm:  # type: ignore[arg-type]
        assert llm.warnings == ("prompt_lookup=4 is off: it is for models of low-bit layers only",)
        out = llm.generate([5, 6, 7] * 5, SamplingParams(temperature=0, max_new_tokens=40))
        assert out.stats.drafted_tokens == 0
    for asked in (None, 0):
        with tinychat.load(folder, **choice, prompt_lookup=asked) as llm:  # type: ignore[arg-type]
            assert llm.warnings == () and llm.engine.prompt_lookup == 0

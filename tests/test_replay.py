"""Decode steps: rows that come together are those that come alone, and what a step costs."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from tests.isas import ISAS, ops_of
from tests.tiny_models import TINY, StateDict, tiny_config, tiny_reference
from tinychat import replay
from tinychat.assembly import build
from tinychat.engine import Engine
from tinychat.replay import MEMORY, TRIALS, DecodeSteps

PAST, TOKENS = 110, 34


def engine_of(name: str, isa: str | None, threads: int, weights: str) -> Engine:
    """A tiny model's engine; skips where this CPU lacks the instructions."""
    ops = ops_of(isa, threads)
    state = tiny_reference(name).state_dict()
    if TINY[name].get("tie_word_embeddings"):
        state.pop("lm_head.weight", None)
    source = StateDict(state)
    return build(source, tiny_config(name), ops, weights=weights, max_context=PAST + TOKENS).engine


@pytest.mark.parametrize(
    ("name", "isa", "threads", "weights"),
    [
        # Every instruction set, with heads that go round among the threads and heads that do not.
        *(("llama", isa, 2, "int4") for isa in ISAS),
        *(("falcon-7b", isa, 3, "int8") for isa in ISAS),
        *((name, None, 3, "int4") for name in TINY if name not in ("llama", "falcon-7b")),
    ],
)
def test_a_few_tokens_give_bit_for_bit_what_each_gives_alone(
    name: str, isa: str | None, threads: int, weights: str
) -> None:
    engine = engine_of(name, isa, threads, weights)
    ids = torch.arange(PAST + TOKENS).mul(37).remainder(engine.vocab_size).tolist()
    engine.prefill(ids[:PAST])
    alone = torch.stack([engine.step(token).clone() for token in ids[PAST:]])
    cache = [tensor.clone() for tensor in engine.cache.layer(1)]
    for count in (2, 3, 5, 16):
        engine.reuse(ids[: PAST + 1])
        rows = []
        for begin in range(PAST, PAST + TOKENS - count + 1, count):
            chunk = ids[begin : begin + count]
            rows.append(engine._steps(chunk).clone())
            engine.cache.advance(count)
        together = torch.cat(rows)
        assert torch.equal(together, alone[: len(together)])
        end = PAST + len(together)
        for mine, theirs in zip(engine.cache.layer(1), cache, strict=True):
            assert torch.equal(mine[:, :end], theirs[:, :end])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A clock that a model can advance."""
    fake = SimpleNamespace(now=0.0, perf_counter=lambda: fake.now)
    monkeypatch.setattr(replay, "time", fake)
    yield fake


def test_what_a_step_costs(clock: SimpleNamespace) -> None:
    took = {1: 1.0, 3: 1.5}

    def hidden(ids: torch.Tensor, start: torch.Tensor, cache: object) -> torch.Tensor:
        assert start.tolist() == list(range(7, 7 + len(ids)))
        clock.asked = took[len(ids)]
        return ids[:, None].float()

    def wait() -> None:  # as on a card, where a step goes on after the call that asks for it
        clock.now += clock.asked

    model = SimpleNamespace(
        ops=SimpleNamespace(wait=wait),
        can_record=False,
        embedding=torch.zeros(1, 1),
        hidden=hidden,
        logits=lambda rows: rows,
    )
    steps = DecodeSteps(model, SimpleNamespace(length=7))  # type: ignore[arg-type]
    guess = steps.cost(3)
    assert 1 < guess < 3 and steps.cost(1) == 1
    for _ in range(TRIALS):
        assert steps.cost(3) == guess  # until both were timed often enough
        assert steps([5]).tolist() == [[5]]
        assert steps([5, 6, 8]).tolist() == [[5], [6], [8]]
    assert steps.cost(3) == pytest.approx(1.5)

    took[3] = 90.0  # something else held the processor once
    steps([5, 6, 8])
    assert steps.cost(3) == pytest.approx(1.5, rel=0.03)
    took[3] = 2.0  # the context has grown
    for _ in range(100):
        steps([5, 6, 8])
    assert steps.cost(3) == pytest.approx(2.0)
    took[3] = 1.2
    steps([5, 6, 8])
    assert steps.cost(3) == pytest.approx(1.2)

    for _ in range(MEMORY):  # a size that nobody uses any more is worth another try
        steps([5])
    assert steps.cost(3) == guess

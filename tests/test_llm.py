"""`LLM` over a mock model: text assembly, stop strings, batches, one generation at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.test_engine import CountingCache, SumModel
from tinychat.engine import Engine
from tinychat.errors import (
    ArgumentError,
    CardError,
    KernelError,
    NotEnoughMemoryError,
    TemplateError,
    TinyChatError,
    TokenizerError,
)
from tinychat.llm import LLM, is_batch
from tinychat.sampler import SamplingParams

GREEDY = SamplingParams(temperature=0, max_new_tokens=6)
LETTERS = "abcdefghij"  # id 0..9; id 10 is a control token


class Letters:
    """A tokenizer of one letter per id, whose stream holds each letter until the next comes."""

    bos_token_id, eos_token_id, vocab_size = None, None, 11

    def encode(
        self, text: str, add_special: bool = False, parse_special: bool = False
    ) -> list[int]:
        return [LETTERS.index(c) for c in text]

    def decode(self, ids: list[int], skip_special: bool = False) -> str:
        return "".join(LETTERS[id] for id in ids if id < 10)

    def stream(self, at_start: bool) -> Letters:
        self.held = ""
        return self

    def push(self, token: int) -> str:
        text, self.held = self.held, LETTERS[token] if token < 10 else ""
        return text

    def finish(self) -> str:
        return self.held


@pytest.fixture
def llm() -> Iterator[LLM]:
    engine = Engine(SumModel(), CountingCache(64), (), 11)  # type: ignore[arg-type]
    with LLM(engine, None, Letters()) as model:  # type: ignore[arg-type]
        yield model


def test_pieces_join_to_the_text(llm: LLM) -> None:
    out = llm.generate("bcd", GREEDY)
    pieces = list(llm.stream("bcd", GREEDY))
    # 1 + 2 + 3 = 6, then 12, 24, 48, 96, 192 mod 11.
    assert out.token_ids == [6, 1, 2, 4, 8, 5] == [t for p in pieces for t in p.token_ids]
    assert out.text == "gbceif" == "".join(piece.text for piece in pieces)
    assert [piece.finish_reason for piece in pieces][-1] == "length" == out.finish_reason
    assert all(piece.finish_reason is None for piece in pieces[:-1])
    assert pieces[-1].stats is not None and pieces[-1].stats.new_tokens == 6


@pytest.mark.parametrize(
    ("stop", "text"),
    [("ce", "gb"), ("g", ""), ("eif", "gbc"), (["if", "bce"], "g"), ("zz", "gbceif")],
)
def test_stop_strings_cut_exactly(llm: LLM, stop: Any, text: str) -> None:
    params = SamplingParams(temperature=0, max_new_tokens=6, stop=stop)
    pieces = list(llm.stream("bcd", params))
    assert "".join(piece.text for piece in pieces) == text
    assert pieces[-1].finish_reason == ("length" if stop == "zz" else "stop")
    assert llm.generate("bcd", GREEDY).text == "gbceif"


def test_lists_give_lists(llm: LLM) -> None:
    one = llm.generate("bcd", GREEDY)
    assert [out.text for out in llm.generate(["bcd", [1, 2, 3]], GREEDY)] == [one.text] * 2
    assert llm.generate([1, 2, 3], GREEDY).text == one.text
    assert not is_batch("abc", str) and not is_batch([], str)


def test_a_text_is_scored_as_a_fresh_sequence(llm: LLM) -> None:
    pieces = llm.stream("bcd", GREEDY)
    next(pieces)
    with pytest.raises(TinyChatError, match="still open"):
        llm.logprobs([1, 2])
    pieces.close()  # type: ignore[attr-defined]
    right, wrong = llm.logprobs([1, 1, 5]).tolist()  # after 1 comes 1, after 1 1 comes 2
    assert right == pytest.approx(wrong + 1)
    llm.close()
    with pytest.raises(TinyChatError, match="closed"):
        llm.logprobs([1, 2])


def test_one_stream_at_a_time_in_a_thread(llm: LLM) -> None:
    pieces = llm.stream("bcd", GREEDY)
    next(pieces)
    with pytest.raises(TinyChatError, match="still open"):
        llm.generate("b", GREEDY)
    pieces.close()  # type: ignore[attr-defined]
    assert llm.generate("bcd", GREEDY).text == "gbceif"


def test_a_dropped_stream_frees_the_model(llm: LLM) -> None:
    next(llm.stream("bcd", GREEDY))  # nobody holds the generator
    assert llm.generate("bcd", GREEDY).text == "gbceif"


def test_threads_wait_for_each_other(llm: LLM) -> None:
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(llm.generate("bcd", GREEDY).text))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert texts == ["gbceif"] * 4


def test_close_cancels_and_refuses_afterwards(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_new_tokens=60)
    reasons: list[str | None] = []
    started, goes_on = threading.Event(), threading.Event()

    def consume() -> None:
        for piece in llm.stream("bcd", params):
            reasons.append(piece.finish_reason)
            started.set()
            goes_on.wait(30)

    thread = threading.Thread(target=consume)
    thread.start()
    assert started.wait(30)
    llm.cancel()
    goes_on.set()
    thread.join(30)
    assert reasons[-1] == "cancelled"
    llm.close()
    llm.close()
    with pytest.raises(TinyChatError, match="closed"):
        llm.generate("bcd", GREEDY)


def test_what_a_bare_folder_cannot_do() -> None:
    engine = Engine(SumModel(), CountingCache(64), (), 11)  # type: ignore[arg-type]
    llm = LLM(engine, None)  # type: ignore[arg-type]
    assert llm.generate([1, 2, 3], GREEDY).token_ids == [6, 1, 2, 4, 8, 5]
    with pytest.raises(TokenizerError, match="token ids"):
        llm.generate("text", GREEDY)
    with pytest.raises(TokenizerError):
        llm.generate([1], SamplingParams(stop="x"))
    with pytest.raises(TemplateError, match="no chat template"):
        llm.chat([{"role": "user", "content": "hi"}])


def test_prompts_of_the_wrong_kind(llm: LLM) -> None:
    for prompt in ([], [1.5], [None]):
        with pytest.raises(ArgumentError):
            llm.generate(prompt, GREEDY)  # type: ignore[call-overload]
    assert llm.generate("bcd", GREEDY).text == "gbceif"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors"),
        KernelError("kernel gemv: unspecified launch failure"),
    ],
    ids=repr,
)
def test_a_card_that_failed_is_not_used_again(llm: LLM, error: Exception) -> None:
    def fail() -> None:
        raise error

    model: Any = llm.engine.model
    model.before_call = fail
    with pytest.raises(CardError, match=r"^the card failed \(.*\); start tinychat again$"):
        llm.generate("bcd", GREEDY)
    model.before_call = lambda: None
    with pytest.raises(CardError, match="start tinychat again"):
        llm.generate("bcd", GREEDY)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("shapes differ", RuntimeError),
        ("CUDA out of memory. Tried to allocate 2.50 GiB.", NotEnoughMemoryError),
        ("CUDA error: out of memory", NotEnoughMemoryError),
    ],
)
def test_other_errors_leave_a_model_usable(llm: LLM, message: str, kind: type[Exception]) -> None:
    def fail() -> None:
        raise RuntimeError(message)

    model: Any = llm.engine.model
    model.before_call = fail
    with pytest.raises(kind):
        llm.generate("bcd", GREEDY)
    model.before_call = lambda: None
    assert llm.generate("bcd", GREEDY).token_ids == [6, 1, 2, 4, 8, 5]

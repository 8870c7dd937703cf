"""Requests to a real small model: every kind of bad prompt, and a good request after each."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinychat
from tinychat import LLM, ArgumentError, ContextLengthError, SamplingParams, TinyChatError

GREEDY = SamplingParams(temperature=0, max_new_tokens=8)
PROMPT = "Once upon a time, "


@pytest.fixture(scope="module")
def model(data: Path) -> Iterator[tuple[LLM, str]]:
    with tinychat.load(data / "models/TinyStories-656K", weights="int4") as llm:
        yield llm, llm.generate(PROMPT, GREEDY).text


@pytest.fixture
def llm(model: tuple[LLM, str]) -> Iterator[LLM]:
    """The model; after each test it must still answer as it did at first."""
    llm, expected = model
    yield llm
    assert llm.generate(PROMPT, GREEDY).text == expected


@pytest.mark.parametrize("extra", [-1, 0])
def test_prompt_up_to_the_whole_context(llm: LLM, extra: int) -> None:
    ids = [1] + [80] * (llm.max_context - 1 + extra)
    out = llm.generate(ids, GREEDY)
    assert out.stats.prompt_tokens == len(ids)
    assert len(out.token_ids) == 1 - extra


@pytest.mark.parametrize("text", ["x" * 5000, "\n" * 1_000_000, "a" * 10_000_000])
def test_text_that_does_not_fit(llm: LLM, text: str) -> None:
    with pytest.raises(ContextLengthError, match=str(llm.max_context)):
        llm.generate(text, GREEDY)


@pytest.mark.parametrize("text", [" ", "", "\0\0", "\u202eabc\u200b", "é中😀", "<|end_story|>"])
def test_odd_text_is_counted_and_answered(llm: LLM, text: str) -> None:
    out = llm.generate(text, GREEDY)
    assert out.stats.prompt_tokens == len(llm.encode_prompt(text))
    assert out.finish_reason in ("length", "stop")


def test_control_text_in_a_prompt_is_text(llm: LLM) -> None:
    assert 2 not in llm.encode_prompt("<|end_story|>")


def test_lone_surrogates_are_refused(llm: LLM) -> None:
    with pytest.raises(TinyChatError, match="surrogate"):
        llm.generate("a\ud800b", GREEDY)


@pytest.mark.parametrize("ids", [[], [2048], [-1], [1, 10**9]])
def test_ids_outside_the_vocabulary(llm: LLM, ids: list[int]) -> None:
    with pytest.raises(ArgumentError):
        llm.generate(ids, GREEDY)


def test_streams_are_whole_characters_and_join(llm: LLM) -> None:
    params = SamplingParams(seed=3, temperature=2.0, top_k=0, top_p=1.0, max_new_tokens=200)
    pieces = list(llm.stream(PROMPT, params))
    out = llm.generate(PROMPT, params)
    assert "".join(piece.text for piece in pieces) == out.text
    assert [t for piece in pieces for t in piece.token_ids] == out.token_ids


def test_chunks_do_not_change_the_answer(llm: LLM) -> None:
    """A prompt evaluated in one go, and token by token through the decode path."""
    ids = llm.encode_prompt(PROMPT * 20)[:300]
    whole = llm.generate(ids, GREEDY).token_ids
    llm.engine.reset()
    llm.engine.prefill(ids[:1])
    for token in ids[1:]:
        llm.engine.step(token)
    assert llm.generate(ids, GREEDY).token_ids == whole


def test_threads_share_a_model(llm: LLM) -> None:
    expected = llm.generate(PROMPT, GREEDY).text
    texts: list[str] = []
    workers = [
        threading.Thread(target=lambda: texts.append(llm.generate(PROMPT, GREEDY).text))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert texts == [expected] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_can_generate(data: Path) -> None:
    """In a fresh interpreter, so that a hang would be a timeout of the child alone."""
    code = f"""
        import os, sys, tinychat
        params = tinychat.SamplingParams(temperature=0, max_new_tokens=8)
        llm = tinychat.load({str(data / "models/TinyStories-656K")!r}, weights="int4", threads=2)
        text = llm.generate({PROMPT!r}, params).text
        child = os.fork()
        if child == 0:
            os._exit(0 if llm.generate({PROMPT!r}, params).text == text else 1)
        same = llm.generate({PROMPT!r}, params).text == text
        sys.exit(0 if os.waitpid(child, 0)[1] == 0 and same else 1)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=100, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("end", ["next(llm.stream('a'))", "s = llm.stream('a'); next(s)", "pass"])
def test_an_interpreter_ends_without_close(end: str, data: Path) -> None:
    code = f"""
        import tinychat
        llm = tinychat.load({str(data / "models/TinyStories-656K")!r}, weights="int4", threads=2)
        {end}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")

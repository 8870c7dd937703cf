"""One answer: interrupted at any step it leaves text, model and signals in order."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.fakes import FakeLLM
from tinychat.cli.render import PlainRenderer
from tinychat.cli.turn import Answer, Interrupts, ending, run_turn, statistics
from tinychat.engine import Stats
from tinychat.pieces import Piece

HELLO = [{"role": "user", "content": "hello"}]


def ask(llm: FakeLLM, text: str, write: Callable[[str], None] = lambda text: None) -> Answer:
    fake: Any = llm
    messages = [{"role": "user", "content": text}]
    return run_turn(lambda: llm.stream_chat(messages), PlainRenderer(write), Interrupts(fake))


def send_at(step: int, *numbers: int) -> Callable[[int], None]:
    def at_step(now: int) -> None:
        if now == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    return at_step


def test_an_answer() -> None:
    written: list[str] = []
    answer = ask(FakeLLM(), "say hi", written.append)
    assert (answer.text, answer.finish_reason, answer.seed) == ("hi", "stop", 5)
    assert "".join(written) == "hi\n"


@pytest.mark.parametrize("times", [1, 2, 7])
def test_ctrl_c_ends_it_after_the_step(times: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    llm = FakeLLM(at_step=send_at(4, *[signal.SIGINT] * times))
    written: list[str] = []
    answer = ask(llm, "slow 500", written.append)
    assert answer.stopped
    assert "".join(written).strip() == answer.text.strip()  # what is kept is what was seen
    # The request to end comes from another thread: within a step or two.
    assert 4 <= len(answer.text.split()) <= 100
    assert signal.getsignal(signal.SIGINT) is before
    llm.at_step = lambda step: None
    assert ask(llm, "say again").text == "again"


def test_ctrl_c_while_the_prompt_is_encoded() -> None:
    llm = FakeLLM()

    def start() -> Iterator[Piece]:
        os.kill(os.getpid(), signal.SIGINT)
        return llm.stream_chat(HELLO)

    fake: Any = llm
    answer = run_turn(start, PlainRenderer(lambda text: None), Interrupts(fake))
    assert answer == Answer("", "cancelled")
    assert ask(llm, "say again").text == "again"


def test_a_screen_that_fails_leaves_no_stream_open() -> None:
    def fail(text: str) -> None:
        raise OSError(5, "Input/output error")

    llm = FakeLLM()
    with pytest.raises(OSError):
        ask(llm, "slow 5", fail)
    assert ask(llm, "say again").text == "again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_leave_ends_the_answer(number: int) -> None:
    llm: Any = FakeLLM(at_step=send_at(2, number))
    interrupts = Interrupts(llm)
    left: list[int] = []
    interrupts.on_leave = lambda: left.append(1)
    before = signal.getsignal(number)
    with interrupts.until_exit():
        renderer = PlainRenderer(lambda text: None)
        messages = [{"role": "user", "content": "slow 500"}]
        answer = run_turn(lambda: llm.stream_chat(messages), renderer, interrupts)
    assert answer.stopped and answer.text.startswith("w0 w1 ")
    assert interrupts.leaving == number and left == [1]
    assert signal.getsignal(number) is before


def test_ctrl_c_breaks_a_command_once() -> None:
    llm: Any = FakeLLM()
    interrupts = Interrupts(llm)
    with interrupts.until_exit():
        with pytest.raises(KeyboardInterrupt), interrupts.during_command():
            os.kill(os.getpid(), signal.SIGINT)
        with interrupts.during_command():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                os.kill(os.getpid(), signal.SIGINT)  # does not break the cleaning up
        os.kill(os.getpid(), signal.SIGINT)


STATS = Stats(
    prompt_tokens=900, cached_tokens=812, new_tokens=61, ttft_s=0.125, prefill_s=0.1, decode_s=0.5
)


def test_statistics() -> None:
    line = statistics(Answer("x", "stop", STATS), 8192)
    assert line.startswith(
        "TTFT 0.12 s · prefill 880 tok/s (812 cached) · decode 120 tok/s · 61 tokens · "
        "context 961/8192 · peak "
    )
    assert statistics(Answer("", "cancelled"), 8192) == ""
    assert "1 token ·" in statistics(Answer("x", "stop", Stats(new_tokens=1)), 8)
    guessed = Stats(new_tokens=61, drafted_tokens=40, accepted_tokens=32)
    assert "61 tokens (32 of 40 guesses right) ·" in statistics(Answer("x", "stop", guessed), 99)


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (Answer("x", "stop", STATS), ""),
        (Answer("", "stop", STATS), "(an empty answer)"),
        (Answer("x", "cancelled"), "(stopped)"),
        (Answer("", "cancelled"), "(stopped before it began)"),
        (Answer("x", "length", STATS), "(cut at max_new_tokens)"),
        (
            Answer("x", "length", Stats(8000, 0, 193)),
            "(the context is full: 8,192/8,192 tokens; do)",
        ),
    ],
)
def test_endings(answer: Answer, note: str) -> None:
    assert ending(answer, 8192, "do") == note

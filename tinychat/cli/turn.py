"""One answer on its way from the model to the screen: streamed, interruptible, counted.

While an answer is made, signals never break into the engine: they ask it to end after its current
step, so that what is on the screen, in the conversation and in the cache is the same text.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, TextIO, cast

from tinychat.cli.render import Renderer
from tinychat.memory import peak_bytes

if TYPE_CHECKING:
    from tinychat.engine import Stats
    from tinychat.llm import LLM
from tinychat.pieces import Piece

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

LEAVE_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@dataclass(frozen=True)
class Answer:
    """What came of a question.

    Attributes:
        text: as the model wrote it, stop strings excluded.
        finish_reason: "stop", "length" or "cancelled".
        stats, seed: of the engine; None if it was stopped before it began.
    """

    text: str
    finish_reason: str
    stats: Stats | None = None
    seed: int | None = None

    @property
    def stopped(self) -> bool:
        """Whether Ctrl-C or another signal ended it."""
        return self.finish_reason == "cancelled"


class Interrupts:
    """Turns Ctrl-C, SIGTERM and SIGHUP into a request to end.

    Attributes:
        stopped: the answer that runs or is about to is to end; reset when a question comes in and
            when its answer has ended.
        leaving: the number of the signal that asks the program to end, 0 for none.
        on_leave: called when that signal comes.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self.stopped = False
        self.leaving = 0
        self.on_leave: Callable[[], None] = lambda: None

    @contextmanager
    def during_answer(self) -> Iterator[None]:
        """Within, Ctrl-C stops the answer, however often it is pressed."""
        with handling(self._stop, signal.SIGINT):
            yield

    @contextmanager
    def during_command(self) -> Iterator[None]:
        """Within, Ctrl-C raises KeyboardInterrupt, once."""
        with handling(self._break, signal.SIGINT):
            yield

    @contextmanager
    def until_exit(self) -> Iterator[None]:
        """Within, no Ctrl-C ends the program, and SIGTERM and SIGHUP set `leaving`.

        The prompt reads Ctrl-C as a key. Between prompt and answer it stops the answer to come.
        """
        with handling(self._leave, *LEAVE_SIGNALS), handling(self._stop, signal.SIGINT):
            yield

    def cancel_if_stopped(self) -> None:
        """End the running answer where the first request came before it had begun."""
        if self.stopped:
            self._llm.cancel()

    def _break(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, self._stop)
        raise KeyboardInterrupt

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        # NOTE: not called here: the interrupted thread may hold the very lock that `cancel` takes.
        threading.Thread(target=self._llm.cancel, daemon=True).start()

    def _leave(self, number: int, frame: FrameType | None) -> None:
        self.leaving = number
        self._stop(number, frame)
        self.on_leave()


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None], *numbers: int) -> Iterator[None]:
    """Within, the signals `numbers` go to `handler`."""
    before = [(number, signal.signal(number, handler)) for number in numbers]
    try:
        yield
    finally:
        for number, earlier in before:
            signal.signal(number, earlier)


def run_turn(
    start: Callable[[], Iterator[Piece]], renderer: Renderer, interrupts: Interrupts
) -> Answer:
    """Show an answer while it is made.

    Args:
        start: begins the stream; its errors and the stream's pass through.
        renderer: what the text is given to; finished in every case.
    """
    last: Piece | None = None
    with interrupts.during_answer(), quiet_keyboard(sys.stdin):
        try:
            # Closed in every case: an open stream would keep the model from the next answer.
            with closing(cast("Generator[Piece, None, None]", start())) as stream:
                # Tokenizing a long prompt takes a while, too.
                if not interrupts.stopped and not interrupts.leaving:
                    for last in stream:
                        renderer.feed(last.text)
                        interrupts.cancel_if_stopped()
        finally:
            interrupts.stopped = False
            renderer.finish()
    if last is None or last.finish_reason is None:
        return Answer(renderer.text, "cancelled")
    return Answer(renderer.text, last.finish_reason, last.stats, last.seed)


@contextmanager
def quiet_keyboard(keyboard: TextIO) -> Iterator[None]:
    """Keep what is typed meanwhile from appearing in the answer, and forget it afterwards.

    Forgetting matters: a paste that comes too early must not be taken for lines typed at the next
    prompt.
    """
    if termios is None or not keyboard.isatty():
        yield
        return
    descriptor = keyboard.fileno()
    try:
        before = termios.tcgetattr(descriptor)
        silent = termios.tcgetattr(descriptor)
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(descriptor, termios.TCSANOW, silent)
    except (termios.error, OSError):  # the terminal is gone
        yield
        return
    try:
        yield
    finally:
        try:
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
        except (termios.error, OSError):
            pass


def statistics(answer: Answer, max_context: int) -> str:
    """One line of counts and speeds; empty where there are none."""
    stats = answer.stats
    if stats is None:
        return ""
    cached = f" ({stats.cached_tokens} cached)" if stats.cached_tokens else ""
    guesses = f"{stats.accepted_tokens} of {stats.drafted_tokens} guesses right"
    drafts = f" ({guesses})" if stats.drafted_tokens else ""
    parts = [
        f"TTFT {stats.ttft_s:.2f} s",
        f"prefill {_rate(stats.prefill_tokens_per_s)} tok/s{cached}",
        f"decode {_rate(stats.decode_tokens_per_s)} tok/s",
        f"{stats.new_tokens} token{'' if stats.new_tokens == 1 else 's'}{drafts}",
        f"context {stats.prompt_tokens + stats.new_tokens}/{max_context}",
        f"peak {peak_bytes() / 2**20:.0f} MB",
    ]
    return " · ".join(parts)


def ending(answer: Answer, max_context: int, advice: str) -> str:
    """One line on why the answer ended where it does; empty where it ended by itself.

    Args:
        advice: what to do about a full context.
    """
    if answer.stopped:
        return "(stopped)" if answer.text else "(stopped before it began)"
    if answer.finish_reason == "length":
        stats = answer.stats
        if stats is not None and stats.prompt_tokens + stats.new_tokens >= max_context:
            return f"(the context is full: {max_context:,}/{max_context:,} tokens; {advice})"
        return "(cut at max_new_tokens)"
    return "" if answer.text else "(an empty answer)"


def _rate(tokens_per_s: float) -> str:
    return f"{tokens_per_s:.0f}" if tokens_per_s >= 100 else f"{tokens_per_s:.1f}"

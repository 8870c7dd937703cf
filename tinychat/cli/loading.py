"""Loading a model for a command, with a bar where it takes long enough to wonder."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from tinychat.cli.options import load_arguments
from tinychat.cli.terminal import Terminal

if TYPE_CHECKING:
    from tinychat.llm import LLM

SECONDS_BEFORE_BAR = 1.0
SECONDS_BETWEEN_DRAWS = 0.1
CELLS = 30


def load(arguments: argparse.Namespace, terminal: Terminal) -> LLM:
    """Load the model that the flags ask for, and say what was ignored in its folder.

    Raises: what `tinychat.load` raises.
    """
    import tinychat

    with Bar(terminal, "loading") as bar:
        llm = tinychat.load(**load_arguments(arguments), progress=bar.update)
    for warning in llm.warnings:
        terminal.say(warning)
    return llm


class Bar:
    """A line on `terminal.err` that shows how far something is; it disappears at the end.

    Args:
        clock: seconds.
    """

    def __init__(
        self, terminal: Terminal, what: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._terminal, self._what, self._clock = terminal, what, clock
        self._next_draw = clock() + SECONDS_BEFORE_BAR
        self._drawn = False

    def update(self, done: int, total: int) -> None:
        """Say that `done` of `total` parts are finished."""
        now = self._clock()
        if not self._terminal.animates or now < self._next_draw:
            return
        self._next_draw, self._drawn = now + SECONDS_BETWEEN_DRAWS, True
        share = min(done / max(total, 1), 1.0)
        filled = "#" * round(share * CELLS)
        self._terminal.err.write(f"\r{self._what} [{filled:<{CELLS}}] {share:4.0%}")
        self._terminal.err.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._terminal.err.write("\r\x1b[K")
            self._terminal.err.flush()
            self._drawn = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

"""Loading a model for a command, and the line of a terminal that shows how far something is."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinychat.cli.options import load_arguments
from tinychat.cli.terminal import Terminal

if TYPE_CHECKING:
    from typing_extensions import Self

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


class Line:
    """A line on `terminal.err` that is drawn again and again; as a context manager it disappears
    at the end.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._drawn = False

    def draw(self, text: str) -> None:
        """Put a text in the place of the one before, as far as it fits; nothing where lines cannot
        be redrawn."""
        if self._terminal.animates:
            self._terminal.err.write(f"\r{text[: self._terminal.size()[0] - 1]}\x1b[K")
            self._terminal.err.flush()
            self._drawn = True

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._terminal.err.write("\r\x1b[K")
            self._terminal.err.flush()
            self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


class Bar(Line):
    """A `Line` that shows a share, once that has taken long enough to wonder.

    Args:
        clock: seconds.
    """

    def __init__(
        self, terminal: Terminal, what: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(terminal)
        self._what, self._clock = what, clock
        self._next_draw = clock() + SECONDS_BEFORE_BAR

    def update(self, done: int, total: int) -> None:
        """Say that `done` of `total` parts are finished."""
        now = self._clock()
        if now < self._next_draw:
            return
        self._next_draw = now + SECONDS_BETWEEN_DRAWS
        share = min(done / max(total, 1), 1.0)
        filled = "#" * round(share * CELLS)
        self.draw(f"{self._what} [{filled:<{CELLS}}] {share:4.0%}")

"""An answer on the screen while it grows: as it comes, or as Markdown whose finished blocks are
printed once.

Only the last, open block is drawn again when it grows, and only as often as drawing stays cheap. A
block that gets too large for that is shown as it was written. Nothing is drawn that `visible` has
not passed.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinychat.cli.terminal import Terminal, visible

if TYPE_CHECKING:
    from tinychat.cli.markdown import Painter

SECONDS_BETWEEN_DRAWS = 1 / 12
# After a drawing that took t seconds, none for so many times t: drawing takes at most 4 % of the
# time.
REST_FACTOR = 25
# A longer open block is shown as it was written.
OPEN_BLOCK_CHARACTERS = 4000
# What is kept of a line to recognize the end of a fence by it.
LINE_HEAD = 1000

_FENCE = re.compile(r"\s*(`{3,}|~{3,})[^`]*")
_ITEM = re.compile(r"([-*+]|\d{1,9}[.)])\s+\S")
_CODE = "36"
_DIM = "2"


class Renderer(ABC):
    """Shows a text that comes in pieces."""

    def __init__(self) -> None:
        self._fed: list[str] = []

    @property
    def text(self) -> str:
        """All that was fed, unchanged."""
        return "".join(self._fed)

    def feed(self, text: str) -> None:
        """Show one more piece."""
        self._fed.append(text)
        self._show(visible(text))

    @abstractmethod
    def _show(self, text: str) -> None: ...

    @abstractmethod
    def finish(self) -> None:
        """Show what is left and end the line."""


class PlainRenderer(Renderer):
    """Shows the text as it comes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def _show(self, text: str) -> None:
        if text:
            self._write(text)

    def finish(self) -> None:
        if self.text and not self.text.endswith("\n"):
            self._write("\n")


class MarkdownRenderer(Renderer):
    """Shows Markdown.

    A line at a time decides what the text around it is: a blank line or a new list item ends a
    block, a fence begins code, which is shown as it comes.

    Args:
        write: takes text with control sequences.
        size: columns and rows of the screen now.
        painter: turns a block into lines of a given width.
        clock: seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        size: Callable[[], tuple[int, int]],
        painter: Painter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._write, self._size, self._painter, self._clock = write, size, painter, clock
        self._block = ""  # complete lines of the open block
        self._line = ""  # the line that is still growing
        self._fence = ""  # the marker that ends the code we are in
        self._verbatim = False  # the open block is shown as it comes
        self._gap = False  # a blank line is due before the next text
        self._begun = False
        self._drawn: list[int] = []  # cells of each line drawn of the open block
        self._drawn_from = ("", 0)  # its source and the width then
        self._next_draw = 0.0

    def _show(self, text: str) -> None:
        *lines, rest = text.split("\n")
        for line in lines:
            self._grow(line)
            self._end_line()
        self._grow(rest)
        if not self._streams and (self._block or self._line):
            self._draw_if_due()

    def finish(self) -> None:
        if self._streams:
            if self._line:
                self._write("\n")
        else:
            self._block += self._line
            self._close_block()
        self._line = ""
        self._fence, self._verbatim = "", False

    @property
    def _streams(self) -> bool:
        return self._verbatim or bool(self._fence)

    def _grow(self, text: str) -> None:
        if not text:
            return
        if self._streams:
            self._line += text[: LINE_HEAD - len(self._line)]
            self._write_text(text, _CODE if self._fence else "")
            return
        self._line += text
        if len(self._block) + len(self._line) > OPEN_BLOCK_CHARACTERS:
            self._give_up_on_block()

    def _end_line(self) -> None:
        line, self._line = self._line, ""
        fence = _FENCE.fullmatch(line)
        if self._fence:
            self._write("\n")
            if line.strip().startswith(self._fence) and not line.strip().strip("`~"):
                self._fence = ""
        elif not line.strip():
            self._close_block()
            self._gap, self._verbatim = self._begun, False
        elif self._verbatim:
            self._write("\n")
            if fence:
                self._fence, self._verbatim = fence[1], False
        elif fence:
            self._close_block()
            self._fence = fence[1]
            self._write_text(line, _DIM)
            self._write("\n")
        else:
            if _ITEM.match(line):
                self._close_block()
            self._block += line + "\n"

    def _write_text(self, text: str, style: str = "") -> None:
        self._begin()
        self._write(f"\x1b[{style}m{text}\x1b[0m" if style else text)

    def _begin(self) -> None:
        if self._gap:
            self._write("\n")
        self._gap, self._begun = False, True

    def _draw_if_due(self) -> None:
        if self._clock() < self._next_draw:
            return
        columns, rows = self._size()
        growing = "" if _FENCE.fullmatch(self._line) else self._line  # no block's last line, soon
        if not self._draw(self._block + growing, columns, rows - 2):
            self._give_up_on_block()

    def _draw(self, source: str, columns: int, rows: int | None = None) -> bool:
        """Draw a block in place of what is drawn; False if that takes more than `rows`."""
        if self._drawn and self._drawn_from == (source.rstrip(), columns):
            return True
        began = self._clock()
        lines = self._painter.paint(source, columns - 1)
        finished = self._clock()
        self._next_draw = finished + max(SECONDS_BETWEEN_DRAWS, REST_FACTOR * (finished - began))
        if rows is not None and len(lines) > rows:
            return False
        erase = self._erase()
        self._begin()
        self._write(erase + "\n".join(text for text, _ in lines))
        self._drawn = [cells for _, cells in lines]
        self._drawn_from = source.rstrip(), columns
        return True

    def _erase(self) -> str:
        """What removes the drawn block and leaves the cursor where it began."""
        if not self._drawn:
            return ""
        columns, _ = self._size()  # the terminal has wrapped the lines anew if it was resized
        rows = sum(max(1, -(-cells // columns)) for cells in self._drawn)
        self._drawn = []
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + "\x1b[J"

    def _close_block(self) -> None:
        """Print the open block for good."""
        block, self._block = self._block, ""
        if not block.strip():
            return
        self._draw(block, self._size()[0])
        self._drawn = []
        self._write("\n")

    def _give_up_on_block(self) -> None:
        """Show the open block as it was written, and what follows of it as it comes."""
        self._write(self._erase())
        self._write_text(self._block + self._line)
        self._block, self._line = "", self._line[:LINE_HEAD]
        self._verbatim = True


def make_renderer(terminal: Terminal) -> Renderer:
    """The renderer for where answers go."""
    if not terminal.markdown:
        return PlainRenderer(terminal.write)
    from tinychat.cli.markdown import Painter

    return MarkdownRenderer(terminal.control, terminal.size, Painter())

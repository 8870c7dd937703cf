"""One Markdown block as lines for a terminal, by rich; nothing of its text gets lost."""

from __future__ import annotations

import os
from collections import Counter
from io import StringIO
from typing import ClassVar

from markdown_it import MarkdownIt
from rich.cells import cell_len, chop_cells
from rich.color import ColorSystem
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.text import Text
from rich.theme import Theme

from tinychat.cli.terminal import visible

# rich's own code style has a black background, which glares on a light screen.
_THEME = Theme({"markdown.code": "cyan", "markdown.code_block": "cyan"})


class LeftHeading(Heading):
    """A heading at the left, where text that is still growing does not jump about."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "left"
        yield text


class PlainCode(CodeBlock):
    """Code without highlighting or padding, so that it can be copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(str(self.text).rstrip("\n"), style="markdown.code_block")


class Block(Markdown):
    """Markdown as chat models mean it.

    HTML, references and images are text (they would vanish or hide their address), and a line break
    is one.
    """

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": LeftHeading,
        "fence": PlainCode,
        "code_block": PlainCode,
    }

    _parser = (
        MarkdownIt("commonmark", {"html": False})
        .enable(["strikethrough", "table"])
        .disable(["reference", "image"])
    )

    def __init__(self, source: str) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = self._parser.parse(source)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"


class Painter:
    """Turns blocks into lines with styles."""

    def __init__(self) -> None:
        self._colors = _colors()
        self._console = Console(file=StringIO(), force_terminal=True, theme=_THEME)

    def paint(self, source: str, columns: int) -> list[tuple[str, int]]:
        """The lines of a block, each with its width in cells; without blank lines around them.

        Args:
            source: visible text.
            columns: the width to fill.
        """
        columns = max(columns, 4)
        options = self._console.options.update(width=columns)
        try:
            lines = self._console.render_lines(Block(source), options, pad=False)
        except Exception:  # a bug in a display library must not lose an answer
            lines = []
        painted = [self._line(line) for line in lines]
        if _letters(source) - _letters("".join(text for text, _ in painted)):
            # A list too deep, a table row too long, an entity: the source shows all there is.
            painted = [self._line([Segment(line)]) for line in _wrapped(source, columns)]
        while painted and not painted[0][1]:
            del painted[0]
        while painted and not painted[-1][1]:
            del painted[-1]
        return painted

    def _line(self, segments: list[Segment]) -> tuple[str, int]:
        # Entities have become characters only now, so the text is made visible again.
        parts = [(visible(s.text), s.style) for s in segments if not s.control]
        while parts and not parts[-1][0].strip():
            parts.pop()
        if parts:  # rich fills lines with blanks
            parts[-1] = (parts[-1][0].rstrip(), parts[-1][1])
        cells = sum(cell_len(text) for text, _ in parts)
        painted = "".join(
            style.render(text, color_system=self._colors) if style else text
            for text, style in parts
        )
        return painted, cells


def _wrapped(text: str, columns: int) -> list[str]:
    """The lines of `text`, broken at so many cells."""
    lines = (line.expandtabs() for line in text.split("\n"))
    return [part for line in lines for part in chop_cells(line, columns) or [""]]


def _letters(text: str) -> Counter[str]:
    return Counter(filter(str.isalnum, text))


def _colors() -> ColorSystem:
    if os.environ.get("COLORTERM", "") in ("truecolor", "24bit"):
        return ColorSystem.TRUECOLOR
    return ColorSystem.EIGHT_BIT if "256" in os.environ.get("TERM", "") else ColorSystem.STANDARD

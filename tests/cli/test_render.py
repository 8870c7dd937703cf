"""Streaming: the final screen does not depend on how the text came, and drawing stays bounded."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.fakes import HOSTILE
from tests.cli.screen import Screen
from tinychat.cli.markdown import Painter
from tinychat.cli.render import (
    OPEN_BLOCK_CHARACTERS,
    REST_FACTOR,
    SECONDS_BETWEEN_DRAWS,
    MarkdownRenderer,
    PlainRenderer,
)
from tinychat.cli.terminal import visible

DOCUMENT = """\
# A title with **weight**

A paragraph of some length that wraps on a narrow screen, with `code`,
a second line and a [link](http://example.org/).

1. first
2. second
   - nested
   - *nested too*

10. tenth

| a | b |
|---|---|
| 1 | 2 |

> quoted

```python
def f(x):

    return x  # a comment with **stars**
```
after the code

---

<b>html</b> and ![image](http://example.org/a.png)

[1]: http://example.org "reference"
"""


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class CountingPainter(Painter):
    """Counts the blocks it paints and their characters; painting takes `seconds` on the clock."""

    def __init__(self, clock: Clock, seconds: float = 0.0) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.calls = 0
        self.longest = 0

    def paint(self, source: str, columns: int) -> list[tuple[str, int]]:
        self.calls += 1
        self.longest = max(self.longest, len(source))
        self.clock.now += self.seconds
        return super().paint(source, columns)


def show(
    pieces: Iterable[str],
    columns: int = 60,
    rows: int = 10_000,
    seconds_a_piece: float = 1.0,
    wrap: bool = True,
) -> Screen:
    """The screen after a stream, redrawn after every piece unless these come faster.

    Args:
        wrap: whether the screen wraps lines at `columns`; else it shows them in one row.
    """
    screen, clock = Screen(columns if wrap else 10**6), Clock()
    renderer = MarkdownRenderer(
        screen.write, lambda: (columns, rows), CountingPainter(clock), clock
    )
    for piece in pieces:
        clock.now += seconds_a_piece
        renderer.feed(piece)
    renderer.finish()
    return screen


def test_the_screen_shows_all_of_a_document() -> None:
    text = show([DOCUMENT]).text
    for part in (
        "A title with weight",
        "with code,\na second line",
        "link (http://example.org/).",
        " 1 first",
        " 2 second",
        "    • nested",
        " 10 tenth",
        "▌ quoted",
        "```python\ndef f(x):\n\n    return x  # a comment with **stars**\n```\nafter the code",
        "<b>html</b> and !image (http://example.org/a.png)",
        '[1]: http://example.org "reference"',
    ):
        assert part in text, text


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_one_character_at_a_time_gives_the_same_screen(columns: int) -> None:
    assert show(DOCUMENT, columns).text == show([DOCUMENT], columns).text


PARTS = [
    *"ab *_`~#>-|[]()<&;!\\",
    *("\n", "\n\n", "```", "~~~", "- ", "1. ", "| a | b |\n|--|--|\n", "    "),
    *("&#x9b;", "&#8238;", "\x1b[2J", "\r", "[red]", "[/]", "日本", "x" * 70),
]
MARKDOWN = st.lists(st.sampled_from(PARTS), max_size=20)


@settings(max_examples=60)
@given(MARKDOWN)
def test_any_splitting_gives_the_same_screen(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert show(pieces).text == show([text]).text == show(text).text


@settings(max_examples=60)
@given(MARKDOWN, st.integers(3, 12), st.integers(5, 40))
def test_nothing_acts_on_the_screen_but_the_renderer(
    pieces: list[str], rows: int, columns: int
) -> None:
    # `Screen.write` refuses every control sequence but colours, cursor up and erase.
    screen = show(pieces, columns, rows)
    written = "".join(screen.written)
    assert not set(written) & set("\x07\r\x9b\u202e\u2066\x00\x7f") - {"\r"}


def test_control_sequences_become_marks_also_from_entities() -> None:
    text = show([HOSTILE + "\n\n&#x9b;31m &#8238;x"]).text
    assert "␛]52;c;aGk=␇" in text
    assert "\x9b" not in text and "\u202e" not in text


def test_console_markup_is_text() -> None:
    text = "[red]a[/red] [link=http://x]b[/link] [/] [bold"
    assert show([text]).text == text


LARGE = {
    "fence": "```\n" + "code **x**\n" * 50,
    "fences": "~~~~\na\n~~~\nb\n",
    "line": "x" * 100_000,
    "words": "word " * 20_000,
    "list": "".join(f"{'  ' * depth}- level {depth}\n" for depth in range(200)),
    "table": "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 10_000,
    "brackets": "[" * 5_000,
    "stars": "*a " * 4_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_too_large_to_draw_is_shown_as_written(name: str) -> None:
    text = LARGE[name]
    pieces = [text[i : i + 7] for i in range(0, len(text), 7)]
    screen = show(pieces, rows=40, seconds_a_piece=0.01, wrap=False)
    assert screen.text == "\n".join(line.rstrip() for line in text.rstrip().split("\n"))


@pytest.mark.parametrize(
    "text",
    [
        ">" * 300 + " deep",
        "- " * 300 + "deep",
        "".join(f"{'  ' * depth}- level {depth}\n" for depth in range(30)),
        "| a | b |\n|---|---|\n| 1 | 2 | three too many |",
        'a [link](http://x "with a title") &amp; more',
    ],
)
def test_what_markdown_would_drop_is_shown_as_written(text: str) -> None:
    shown = show([text]).text
    assert "".join(shown.split()) == "".join(text.split())


def run_stream(text: str, tokens_per_s: float, seconds_to_paint: float) -> tuple[float, int, int]:
    """Stream text in tokens of 4 characters; seconds it took, paintings and the longest of them."""
    clock = Clock()
    painter = CountingPainter(clock, seconds_to_paint)
    renderer = MarkdownRenderer(lambda text: None, lambda: (80, 40), painter, clock)
    for i in range(0, len(text), 4):
        clock.now += 1 / tokens_per_s
        renderer.feed(text[i : i + 4])
    renderer.finish()
    return clock.now, painter.calls, painter.longest


@pytest.mark.parametrize(
    "text",
    [
        DOCUMENT * 30,
        "a paragraph of words " * 2000,
        "```\n" + "some code = 1\n" * 2000,
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 3000,
        "x" * 40_000,
    ],
    ids=["document", "paragraph", "code", "table", "line"],
)
def test_drawing_is_bounded(text: str) -> None:
    finished_blocks = text.count("\n\n") + text.count("\n- ") + text.count("\n1. ") + 400
    seconds, calls, longest = run_stream(text, tokens_per_s=100, seconds_to_paint=0.0)
    assert calls <= seconds / SECONDS_BETWEEN_DRAWS + finished_blocks
    assert longest <= OPEN_BLOCK_CHARACTERS


def test_an_open_block_is_drawn_at_most_twelve_times_a_second() -> None:
    clock = Clock()
    painter = CountingPainter(clock)
    renderer = MarkdownRenderer(lambda text: None, lambda: (80, 40), painter, clock)
    for _ in range(1000):
        clock.now += 0.001
        renderer.feed("a ")
    assert 10 <= painter.calls <= 13


def test_slow_drawing_is_rare_drawing() -> None:
    clock, cost = Clock(), 0.05
    painter = CountingPainter(clock, cost)
    renderer = MarkdownRenderer(lambda text: None, lambda: (80, 40), painter, clock)
    for _ in range(1000):
        clock.now += 0.01
        renderer.feed("a ")
    assert painter.calls * cost <= clock.now / REST_FACTOR + cost


def test_a_block_taller_than_the_screen_is_never_erased() -> None:
    text = "\n".join(f"line {number}" for number in range(50))
    screen = show([f"{line}\n" for line in text.split("\n")], 40, rows=10)
    assert screen.text == text


def test_a_fence_within_a_large_block_is_still_code() -> None:
    text = "word " * 1000 + "\n```\ncode\n\n# comment\n```\n\n# Title\n"
    lines = show([text], 10**4).text.split("\n")
    assert lines[1:5] == ["```", "code", "", "# comment"]
    assert lines[-1] == "Title"


def test_erasing_counts_the_rows_of_the_new_width() -> None:
    written: list[str] = []
    clock, columns = Clock(), 80
    renderer = MarkdownRenderer(
        written.append, lambda: (columns, 40), CountingPainter(clock), clock
    )
    renderer.feed("word " * 12)
    clock.now += 1
    columns = 20
    renderer.feed("more")
    assert "\x1b[2A" in written[-1]  # 59 cells are three rows of 20


def test_the_text_is_kept_unchanged() -> None:
    renderer = MarkdownRenderer(lambda text: None, lambda: (80, 24), Painter(), time.monotonic)
    for char in HOSTILE + DOCUMENT:
        renderer.feed(char)
    renderer.finish()
    assert renderer.text == HOSTILE + DOCUMENT


@given(st.lists(st.text()))
def test_plain_text_is_the_text(pieces: list[str]) -> None:
    written: list[str] = []
    renderer = PlainRenderer(lambda text: written.append(visible(text)))
    for piece in pieces:
        renderer.feed(piece)
    renderer.finish()
    text = "".join(pieces)
    assert renderer.text == text
    assert "".join(written) == visible(text) + ("" if not text or text.endswith("\n") else "\n")


def test_a_painter_that_fails_shows_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug in a library")

    monkeypatch.setattr("rich.console.Console.render_lines", fail)
    assert show(["# a *b*\nc\n\nd"]).text == "# a *b*\nc\n\nd"

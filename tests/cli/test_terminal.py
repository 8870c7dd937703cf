"""Text on its way to a terminal: no control character gets through, nothing else is changed."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.fakes import HOSTILE
from tinychat.cli.terminal import RED, Terminal, one_line, tolerate_encoding, visible

# Every character, control characters and lone surrogates much more often than by chance.
TEXTS = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]),
        st.sampled_from("\x1b[]\\;m07\x9b\x07\r\n\t ab"),
    )
)
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def harmless(char: str) -> bool:
    control = unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
    return char in "\n\t" or not (control or char in BIDI)


@given(TEXTS)
def test_visible_leaves_only_harmless_characters(text: str) -> None:
    shown = visible(text)
    assert all(map(harmless, shown))
    assert len(shown) == len(text)
    assert all(a == b for a, b in zip(text, shown, strict=True) if harmless(a))


@given(TEXTS)
def test_visible_marks_can_be_seen(text: str) -> None:
    for char, mark in zip(text, visible(text), strict=True):
        assert mark == char or unicodedata.category(mark) == "So"


@given(st.lists(TEXTS))
def test_pieces_are_shown_as_the_whole(pieces: list[str]) -> None:
    assert "".join(map(visible, pieces)) == visible("".join(pieces))


def test_escape_sequences_become_marks() -> None:
    assert visible("\x1b[2J\x07\r\x7f") == "␛[2J␇␍␡"
    assert visible("\x9b31m") == "\N{REPLACEMENT CHARACTER}31m"


def test_ordinary_text_is_left_alone() -> None:
    text = "naïve 日本語 👩‍👩‍👧 \u200f\u05d0\u05d1\u200e\n\ttab [red]x[/] %s {} \\n"
    assert visible(text) == text


@given(TEXTS)
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "raw", "markdown"),
    [
        ({"TERM": "xterm"}, False, True),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
    ],
)
def test_where_markdown_is_shown(environ: dict[str, str], raw: bool, markdown: bool) -> None:
    assert Terminal(Tty(), Tty(), environ, raw).markdown is markdown
    assert Terminal(io.StringIO(), Tty(), environ, raw).markdown is False


def test_messages_have_colours_on_a_terminal_only() -> None:
    for stream, colours in ((Tty(), True), (io.StringIO(), False)):
        Terminal(io.StringIO(), stream, {"TERM": "xterm"}).say("text", RED)
        assert ("\x1b[31m" in stream.getvalue()) is colours


def test_all_ways_out_are_made_visible() -> None:
    out, err = Tty(), Tty()
    terminal = Terminal(out, err, {"TERM": "xterm"})
    terminal.write(HOSTILE)
    terminal.say(HOSTILE)
    terminal.error(ValueError(HOSTILE))
    assert all(map(harmless, out.getvalue()))
    assert "\x1b" not in err.getvalue().replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert err.getvalue().count("\n") == 2


def test_an_error_is_one_line() -> None:
    err = io.StringIO()
    Terminal(io.StringIO(), err, {}).error("first\nsecond\r\nthird")
    assert err.getvalue() == "tinychat: first second third\n"


@given(TEXTS)
def test_any_text_can_be_written_in_any_encoding(text: str) -> None:
    for encoding in ("ascii", "latin-1", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
        tolerate_encoding(stream)
        stream.write(visible(text))
        stream.flush()


def test_stand_ins_are_readable() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    tolerate_encoding(stream)
    stream.write(visible("a · b \x1b[2J é"))
    stream.flush()
    assert stream.buffer.getvalue() == b"a | b ^[[2J ?"


def test_size_of_something_that_is_no_terminal() -> None:
    assert Terminal(io.StringIO(), io.StringIO(), {}).size() == (80, 24)

"""Text on its way to a terminal: nothing that a model, a file name or an error says may act on the
screen.

`Terminal` is the only way by which commands write: answers go to `out`, everything else to `err`,
and both only ever receive `visible` text. Styles are applied here, after the text has been made
harmless.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from tinychat.errors import TinyChatError

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

DIM = "2"
RED = "31"
YELLOW = "33"


def _control_marks() -> dict[int, str]:
    marks = {code: chr(0x2400 + code) for code in range(0x20)}  # ESC becomes the picture ␛
    marks[0x7F] = "\N{SYMBOL FOR DELETE}"
    del marks[ord("\n")], marks[ord("\t")]
    c1 = range(0x80, 0xA0)
    bidi = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # embeddings, overrides, isolates
    surrogates = range(0xD800, 0xE000)  # a lone one cannot be encoded
    separators = (0x2028, 0x2029)
    marks.update(dict.fromkeys((*c1, *bidi, *surrogates, *separators), REPLACEMENT))
    return marks


_MARKS = _control_marks()


def visible(text: str) -> str:
    """Replace every control character but newline and tab by a visible mark, one character for one.

    It looks at single characters only, so that making pieces of a stream visible and making the
    whole visible give the same text: an escape sequence cut in two between pieces stays harmless.
    """
    return text if text.isprintable() else text.translate(_MARKS)


def one_line(text: str) -> str:
    """`visible` text without line breaks and tabs, for messages that are one line by promise."""
    return visible(" ".join(text.split()))


_ASCII = {"·": "|", "…": "...", "→": "->", "›": ">", "\N{SYMBOL FOR DELETE}": "^?"}  # noqa: RUF001
_ASCII.update({chr(0x2400 + code): f"^{chr(code + 0x40)}" for code in range(0x20)})


def _encode_fallback(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(char, "?") for char in text), error.end


codecs.register_error("tinychat", _encode_fallback)


def tolerate_encoding(stream: TextIO) -> None:
    """Let `stream` write any text, with readable stand-ins for what its encoding lacks."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="tinychat")


class Terminal:
    """Where a command writes.

    Args:
        out: answers and results.
        err: everything else (statistics, hints, errors).
        environ: read for NO_COLOR and TERM.
        raw: show answers as they came, without Markdown.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        environ: Mapping[str, str] = os.environ,
        raw: bool = False,
    ) -> None:
        self.out = sys.stdout if out is None else out
        self.err = sys.stderr if err is None else err
        cursor = environ.get("TERM", "") not in ("", "dumb")
        styled = cursor and not environ.get("NO_COLOR")
        self.markdown = styled and not raw and self.out.isatty()
        self.animates = cursor and self.err.isatty()
        self._style_err = styled and self.err.isatty()

    def size(self) -> tuple[int, int]:
        """Columns and rows of the screen that answers go to, as they are now."""
        try:
            columns, rows = os.get_terminal_size(self.out.fileno())
        except (OSError, ValueError):
            return 80, 24
        return (columns or 80), (rows or 24)

    def write(self, text: str) -> None:
        """Write a piece of an answer at once. Raises: TinyChatError where there is no room."""
        try:
            self.out.write(visible(text))
            self.out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TinyChatError(f"the output cannot be written: {error.strerror}") from None

    def control(self, text: str) -> None:
        """Write text that we made ourselves, with its cursor movements and styles."""
        self.out.write(text)
        self.out.flush()

    def say(self, text: str = "", style: str = "") -> None:
        """Write lines that are no answer, in one SGR style."""
        text = visible(text)
        if style and text and self._style_err:
            text = f"\x1b[{style}m{text}\x1b[0m"
        with contextlib.suppress(OSError):  # nobody is there to be told
            self.out.flush()
            self.err.write(text + "\n")
            self.err.flush()

    def error(self, text: object) -> None:
        """Write one line about what went wrong."""
        self.say(f"tinychat: {one_line(str(text))}", RED)

"""Ids to text, one at a time: a piece of text never ends inside a character.

Every id stands for fixed bytes, so a token costs O(1) and the joined pieces are the decoded whole.
Bytes that are no UTF-8 become U+FFFD, one for each maximal broken part, once that is sure.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_characters() -> dict[str, int]:
    """The 256 characters that stand for bytes in byte-level vocabularies (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTES = _byte_characters()


def byte_level(token: str) -> bytes:
    """The bytes of a token of a byte-level vocabulary; one with other characters is itself."""
    try:
        return bytes([_BYTES[character] for character in token])
    except KeyError:
        return token.encode()


@dataclass(frozen=True)
class Spelling:
    """How a SentencePiece-like vocabulary spells text.

    Args:
        replace: pairs (what stands in the token, what it means), usually ("▁", " ").
        byte_fallback: tokens like <0x0A> are bytes.
    """

    replace: tuple[tuple[str, str], ...] = (("▁", " "),)
    byte_fallback: bool = True

    def __call__(self, token: str) -> bytes:
        """The bytes of a token."""
        for old, new in self.replace:
            token = token.replace(old, new)
        if self.byte_fallback and (match := _BYTE_TOKEN.fullmatch(token)):
            return bytes([int(match[1], 16)])
        return token.encode()


class TokenTexts:
    """The bytes each id stands for.

    Args:
        token_of: id -> the vocabulary's token; None for an id it does not have, which has no text.
        bytes_of: token -> its bytes.
        control: ids of control tokens.
        strip: how many leading spaces a text loses, because encoding puts them there.
    """

    def __init__(
        self,
        token_of: Callable[[int], str | None],
        bytes_of: Callable[[str], bytes],
        control: frozenset[int],
        strip: int,
    ) -> None:
        self._token_of, self._bytes_of = token_of, bytes_of
        self._known: dict[int, bytes] = {}
        self.control, self.strip = control, strip

    def __getitem__(self, token_id: int) -> bytes:
        known = self._known.get(token_id)
        if known is None:
            token = self._token_of(token_id)
            known = self._known[token_id] = b"" if token is None else self._bytes_of(token)
        return known


class StreamDecoder:
    """Decodes ids as they come.

    Args:
        texts: the bytes of every id.
        skip_special: leave control tokens out.
        at_start: the text begins here, so the space that encoding puts in front is dropped; False
            where it continues a text.
    """

    def __init__(self, texts: TokenTexts, skip_special: bool = True, at_start: bool = True) -> None:
        self._texts = texts
        self._skipped = texts.control if skip_special else frozenset()
        self._strip = texts.strip if at_start else 0
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Take the next id; return the text that is complete now, possibly none."""
        if token_id in self._skipped:
            return ""
        return self._without_prefix(self._utf8.decode(self._texts[token_id]))

    def finish(self) -> str:
        """The end of the stream: U+FFFD where a character was left incomplete, else nothing."""
        return self._without_prefix(self._utf8.decode(b"", final=True))

    def _without_prefix(self, text: str) -> str:
        while self._strip and text:
            if text[0] != " ":
                self._strip = 0
                break
            text, self._strip = text[1:], self._strip - 1
        return text

"""Streamed text: pieces join to the whole, and no piece ends inside a character."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tinychat.streaming import Spelling, StreamDecoder, TokenTexts, byte_level

# Ids 0-255 are bytes, 256 is control, 257 a word; others are unknown.
BYTES = TokenTexts(
    lambda id: f"<0x{id:02X}>" if id < 256 else {256: "<s>", 257: "▁word▁"}.get(id),
    Spelling(),
    control=frozenset({256}),
    strip=1,
)


def decode(ids: list[int], skip_special: bool = True, at_start: bool = True) -> list[str]:
    stream = StreamDecoder(BYTES, skip_special, at_start)
    return [*(stream.push(id) for id in ids), stream.finish()]


def test_a_character_comes_when_its_last_byte_does() -> None:
    assert decode(list("é🙂".encode())) == ["", "é", "", "", "", "🙂", ""]


def test_broken_bytes_become_one_mark_for_each_broken_part() -> None:
    assert decode([0xF0, 0x9F, 0x41]) == ["", "", "\ufffdA", ""]
    assert decode([0xE2, 0x82]) == ["", "", "\ufffd"]
    assert decode([0xFF, 0xFE]) == ["\ufffd", "\ufffd", ""]
    assert decode([0xE2, 257]) == ["", "\ufffd word ", ""]


def test_only_the_first_space_is_dropped_and_only_at_the_start() -> None:
    assert "".join(decode([257, 257])) == "word  word "
    assert "".join(decode([257], at_start=False)) == " word "
    assert "".join(decode([32, 32, 65])) == " A"
    assert "".join(decode([65, 257])) == "A word "


def test_control_tokens_are_left_out_or_kept() -> None:
    assert "".join(decode([256, 257, 256])) == "word "
    assert "".join(decode([256, 257], skip_special=False)) == "<s> word "


def test_a_character_around_a_control_token_stays_whole() -> None:
    assert "".join(decode([0xC3, 256, 0xA9])) == "é"


def test_ids_without_a_token_have_no_text() -> None:
    assert "".join(decode([65, 999_999, 66])) == "AB"


def test_byte_level_tokens() -> None:
    assert byte_level("Ġword") == b" word"
    assert byte_level("Ã©") == "é".encode()
    assert byte_level("<|end of turn|>") == b"<|end of turn|>"  # a space is in no such token
    alphabet = {bytes([byte]) for byte in range(256)}
    assert {byte_level(chr(code)) for code in range(0x21, 0x144)} >= alphabet


@given(st.lists(st.integers(0, 257)), st.booleans(), st.booleans())
def test_pieces_join_to_the_whole(ids: list[int], skip: bool, start: bool) -> None:
    data = b"".join(BYTES[id] for id in ids if not (skip and id == 256))
    text = data.decode("utf-8", "replace")
    if start and text.startswith(" "):
        text = text[1:]
    pieces = decode(ids, skip, start)
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)

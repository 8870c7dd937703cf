"""Stop strings: cut exactly, never leaked in part, whatever the pieces that the text comes in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinychat.errors import ArgumentError
from tinychat.stop import StopMatcher


def run(stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
    """What is shown after each piece, and at the end; and whether a stop string was seen."""
    matcher = StopMatcher(stops)
    shown = [matcher.push(piece) for piece in pieces]
    return [*shown, matcher.finish()], matcher.matched


def expected(stops: list[str], text: str) -> tuple[str, bool]:
    """The definition: the text before the stop that ends first, the longest where two end there."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@pytest.mark.parametrize(
    "pieces", [["abSTOPcd"], ["abST", "OPcd"], list("abSTOPcd"), ["abS", "T", "O", "P"]]
)
def test_a_stop_over_one_to_five_pieces(pieces: list[str]) -> None:
    shown, matched = run(["STOP"], pieces)
    assert "".join(shown) == "ab" and matched


def test_what_may_become_a_stop_is_held_back_and_then_shown() -> None:
    shown, matched = run(["</end>"], ["a</e", "x", "</en"])
    assert shown == ["a", "</ex", "", "</en"] and not matched


def test_a_stop_that_begins_again_inside_itself() -> None:
    shown, matched = run(["aab"], ["a", "a", "a", "b", "c"])
    assert "".join(shown) == "a" and matched


def test_overlapping_stops() -> None:
    assert "".join(run(["bc", "abcd"], ["xabcd"])[0]) == "xa"
    assert "".join(run(["abc", "bc"], ["xabc"])[0]) == "x"
    assert "".join(run(["abcd", "c"], list("xabcd"))[0]) == "xab"


def test_a_stop_at_the_very_start_and_nothing_after_it() -> None:
    matcher = StopMatcher(["\n"])
    assert matcher.push("\nmore") == "" and matcher.matched
    assert matcher.push("still more") == "" and matcher.finish() == ""


def test_a_stop_of_and_inside_emoji() -> None:
    family = "👩\u200d👩\u200d👧"
    assert "".join(run(["👧"], [f"x{family}y"])[0]) == "x👩\u200d👩\u200d"
    assert "".join(run([family], list(f"x{family}y"))[0]) == "x"


def test_no_stops_hold_nothing() -> None:
    assert run([], ["a", "b"]) == (["a", "b", ""], False)


@pytest.mark.parametrize(
    ("stops", "said"),
    [
        ([""], r"stop\[0\] is empty"),
        (["a", 3], r"stop\[1\]=3"),
        (["x"] * 17, "17"),
        (["é" * 129], "258 bytes"),
        ("abc", "list"),
        (None, "list"),
        (["\ud800"], "surrogate"),
    ],
)
def test_refused(stops: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        StopMatcher(stops)
    assert StopMatcher(["x"] * 16).push("a") == "a"


@given(
    st.lists(st.text("ab🙂", min_size=1, max_size=4), max_size=4),
    st.lists(st.text("ab🙂", max_size=5), max_size=8),
)
def test_the_result_does_not_depend_on_the_pieces(stops: list[str], pieces: list[str]) -> None:
    text, found = expected(stops, "".join(pieces))
    shown, matched = run(stops, pieces)
    assert ("".join(shown), matched) == (text, found)
    # Nothing is shown that a stop string could still take back, and nothing else is held.
    seen = out = ""
    for piece, part in zip(pieces, shown, strict=False):
        seen, out = seen + piece, out + part
        ready, over = expected(stops, seen)
        held = max((n for s in stops for n in range(len(s)) if ready.endswith(s[:n])), default=0)
        assert out == (ready if over else ready[: len(ready) - held])

"""Drafts copied from earlier text: what is found, how long they are, and when there are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinychat.lookup import RUNS, PromptLookup

LONGEST = 5


def free(count: int) -> float:
    """A cost that makes the longest draft the best one."""
    return 1.0


def rising(by: float) -> Callable[[int], float]:
    return lambda count: 1 + by * (count - 1)


def copied(ids: list[int], count: int) -> list[int]:
    """What followed the longest run that ends `ids` and was there before, by looking everywhere."""
    for run in RUNS:
        for end in range(len(ids) - 1, run - 1, -1):
            if run <= len(ids) and ids[end - run : end] == ids[-run:]:
                text = list(ids)
                for i in range(count):
                    text.append(text[end + i])
                return text[len(ids) :]
    return []


ids = st.lists(st.integers(0, 2), max_size=40)


@given(prompt=ids, answer=st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 7)), max_size=40))
def test_a_draft_is_what_followed_the_longest_run(
    prompt: list[int], answer: list[tuple[int, int]]
) -> None:
    lookup = PromptLookup(prompt, LONGEST, free)
    text = list(prompt)
    for token, room in answer:
        lookup.push(token)
        text.append(token)
        if room < 0:  # not asked at this token
            continue
        length = LONGEST if room >= LONGEST else min(room, 1)
        assert lookup.draft(room) == copied(text, length)


@pytest.mark.parametrize("prompt", [[], [1], [1, 2, 3, 4, 5, 6, 7]])
def test_nothing_repeats(prompt: list[int]) -> None:
    lookup = PromptLookup(prompt, LONGEST, free)
    for token in range(10, 30):
        lookup.push(token)
        assert lookup.draft(10) == []


def test_the_last_occurrence_counts() -> None:
    lookup = PromptLookup([7, 8, 1, 7, 8, 2, 9, 7], 1, free)
    lookup.push(8)
    assert lookup.draft(1) == [2]


def test_a_longer_run_counts_more_than_a_later_one() -> None:
    lookup = PromptLookup([5, 6, 7, 8, 1, 0, 7, 8, 2, 5, 6, 7], 1, free)
    lookup.push(8)
    assert lookup.draft(1) == [1]


def test_a_text_that_repeats_itself_is_continued_beyond_its_end() -> None:
    lookup = PromptLookup([3, 4, 3], 5, free)
    lookup.push(4)
    assert lookup.draft(5) == [3, 4, 3, 4, 3]


@pytest.mark.parametrize("room", range(7))
def test_a_draft_fits_its_room(room: int) -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 7, 8, 1], 4, free)
    lookup.push(2)
    assert lookup.draft(room) == [3, 4, 5, 6][: 4 if room >= 4 else min(room, 1)]


def test_none_at_all() -> None:
    lookup = PromptLookup([1, 2, 1], 0, free)
    lookup.push(2)
    assert lookup.draft(9) == []


def test_what_costs_more_than_it_gives_is_not_tried() -> None:
    for cost, length in ((free, 4), (rising(0.1), 4), (rising(0.8), 1), (rising(1.0), 0)):
        lookup = PromptLookup([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7], 4, cost)
        lookup.push(8)
        assert len(lookup.draft(9)) == length  # nine of ten guesses after eight tokens are right


def test_what_is_never_right_is_given_up_and_what_is_right_again_is_found() -> None:
    """Guesses that are not evaluated are judged as well."""
    lookup = PromptLookup([], 4, rising(0.2))
    drafted = []
    for fresh in range(100, 200):  # 1 2 comes again and again, and never what followed it
        for token in (1, 2, fresh):
            lookup.push(token)
            drafted.append(len(lookup.draft(9)))
    assert sum(drafted[:60]) > 0
    assert sum(drafted[60:]) == 0
    for _ in range(60):
        for token in (1, 2, 3):
            lookup.push(token)
            drafted.append(len(lookup.draft(9)))
    assert drafted[-3:] == [4, 4, 4]


@given(prompt=ids, answer=ids)
def test_every_run_is_indexed_once(prompt: list[int], answer: list[int]) -> None:
    """Looking must cost the same at every token, however long the text is."""

    class Counting(dict[int, int]):
        written = 0

        def __setitem__(self, key: int, value: int) -> None:
            self.written += 1
            super().__setitem__(key, value)

    lookup = PromptLookup(prompt, 4, free)
    lookup._ends = counting = Counting()
    for token in answer:
        lookup.push(token)
        lookup.draft(9)
        lookup.draft(9)
    assert counting.written <= len(RUNS) * len(prompt + answer)

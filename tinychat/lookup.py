"""Drafts without a second model: what followed the same few tokens earlier in a text is likely to
follow them again.

Answers that copy from their prompt (summaries, edits of code, quotations) do so in long runs. A
draft is evaluated together with the token before it, for little more than that token alone costs,
and what the sampler would not have chosen is dropped: the text is the same with drafts and without.

Sources: copying as a draft, arXiv 2304.04487; keeping of it what the sampler chooses, arXiv
2211.17192.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Tokens of the longest draft where nobody asks for another number. scripts/lookup_speed.py measures
# 1.5 to 2.3 times the speed on copied text and 0.99 to 1.06 on free text; at less than 1.2 or 0.98
# this should be 0, for no drafts.
DEFAULT_DRAFT = 4

# Runs of so many tokens are looked up, the longest first: they are rarer and surer. Beside each,
# the share of the guesses after it that is expected to be right until some were judged.
RUNS = {8: 0.9, 4: 0.7, 2: 0.3}
NEWEST_SHARE = 0.1  # of the last guess in that share


class PromptLookup:
    """The drafts of one request.

    Every guess is judged by what comes, whether it was evaluated or not, and one is worth
    evaluating if the tokens expected of it come sooner than one by one. So a text that repeats
    nothing pays for looking, a few microseconds a token (of the prompt, before the first guess; of
    the answer, as it grows), and no more.

    Args:
        prompt: its ids.
        longest: tokens of the longest draft; 0 for no drafts.
        cost: what evaluating so many tokens in one step takes, in steps of one token.
    """

    def __init__(self, prompt: Sequence[int], longest: int, cost: Callable[[int], float]) -> None:
        self._ids = list(prompt)
        # A draft of one token is worth trying where a long one would mostly be wasted.
        self._lengths = sorted({1, longest}) if longest else []
        self._cost = cost
        # Hash of a run -> where its last occurrence ends. Two runs of one hash cost a wrong draft.
        self._ends: dict[int, int] = {}
        self._indexed = 0  # runs that end up to here are in it
        self._right = dict(RUNS)
        self._run, self._guess = 0, list[int]()  # the run that was found, what followed it

    def push(self, token: int) -> None:
        """Take the next token of the text."""
        self._ids.append(token)
        if not self._guess:
            return
        right = self._guess[0] == token
        self._guess = self._guess[1:] if right else []
        self._right[self._run] += NEWEST_SHARE * (right - self._right[self._run])

    def draft(self, room: int) -> list[int]:
        """What is worth evaluating as a guess of the next tokens: up to `room` ids, often none."""
        self._guess = []
        if not self._lengths:
            return []
        self._run, end = self._find()
        if not self._run:
            return []
        length = self._worthwhile(room, self._right[self._run])
        self._guess = self._following(end, max(1, length))
        return self._guess[:length]

    def _find(self) -> tuple[int, int]:
        """The longest of `RUNS` that ends the text and was there before: its length, and where it
        ended then. The length is 0 if there is none.
        """
        ids, here = self._ids, len(self._ids)
        for end in range(self._indexed + 1, here):
            for run in RUNS:
                if run <= end:
                    self._ends[hash(tuple(ids[end - run : end]))] = end
        self._indexed = max(self._indexed, here - 1)
        for run in RUNS:
            end = self._ends.get(hash(tuple(ids[-run:])), 0) if run <= here else 0
            if end:
                return run, end
        return 0, 0

    def _worthwhile(self, room: int, right: float) -> int:
        """The length of draft that gives most tokens for its cost if each is right with this
        probability, once all before it are; 0 if that is less than steps of one token give.
        """
        best, most = 0, 1.0
        for length in self._lengths:
            tokens = sum(right**i for i in range(length + 1))
            if length <= room and tokens > most * self._cost(length + 1):
                best, most = length, tokens / self._cost(length + 1)
        return best

    def _following(self, end: int, count: int) -> list[int]:
        """The `count` ids from `end` on; where the text is over, it repeats itself from there."""
        period = len(self._ids) - end
        return [self._ids[end + i % period] for i in range(count)]

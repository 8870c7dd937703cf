"""The engine's steps as text: pieces while it streams, one output at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinychat.engine import Stats, Step
from tinychat.sampler import TokenLogprob
from tinychat.stop import StopMatcher
from tinychat.tokenizer import Tokenizer


@dataclass(frozen=True)
class Piece:
    """A piece of streamed text, never half a character. The last piece carries `finish_reason` and
    `stats`.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str | None = None
    stats: Stats | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Output:
    """A finished answer.

    Attributes:
        text: without stop strings and control tokens.
        token_ids: every generated id, a final end-of-text token included.
        finish_reason: "stop", "length" or "cancelled".
        logprobs: one entry per token where they were asked for.
        stats: counts and times.
        seed: the seed that gives this text again.
    """

    text: str
    token_ids: list[int]
    finish_reason: str
    logprobs: list[TokenLogprob] | None
    stats: Stats
    seed: int


class TextAssembler:
    """Turns the engine's steps into pieces: whole characters, nothing of a stop string, no control
    tokens. `at_start`: the text begins here, so that a leading space of its spelling is none.
    """

    def __init__(self, tokenizer: Tokenizer | None, stops: Sequence[str], at_start: bool) -> None:
        self._decoder = tokenizer.stream(at_start=at_start) if tokenizer else None
        self._matcher = StopMatcher(stops)
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []

    def piece(self, step: Step) -> Piece | None:
        """The piece that this step completes; None while a character or a possible stop string is
        still open.
        """
        if step.token_id is not None:
            self._ids.append(step.token_id)
        if step.logprob is not None:
            self._logprobs.append(step.logprob)
        text = self._text(step)
        reason = "stop" if self._matcher.matched else step.finish_reason
        if not text and reason is None:
            return None
        piece = Piece(
            text,
            tuple(self._ids),
            reason,
            step.stats if reason is not None else None,
            tuple(self._logprobs),
            step.seed if reason is not None else None,
        )
        self._ids, self._logprobs = [], []
        return piece

    def _text(self, step: Step) -> str:
        if self._decoder is None:
            return ""
        text = (
            "" if step.token_id is None else self._matcher.push(self._decoder.push(step.token_id))
        )
        if step.finish_reason is not None and not self._matcher.matched:
            text += self._matcher.push(self._decoder.finish())
            if not self._matcher.matched:
                text += self._matcher.finish()
        return text


def join(pieces: Iterator[Piece]) -> Output:
    """Collect a stream into one output."""
    text: list[str] = []
    ids: list[int] = []
    logprobs: list[TokenLogprob] = []
    for piece in pieces:
        text.append(piece.text)
        ids.extend(piece.token_ids)
        logprobs.extend(piece.logprobs)
    assert piece.finish_reason is not None and piece.stats is not None and piece.seed is not None
    return Output(
        "".join(text), ids, piece.finish_reason, logprobs or None, piece.stats, piece.seed
    )

"""Asking a model with worked examples in front: as a conversation, or as text to continue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tinychat.errors import ArgumentError, ContextLengthError

if TYPE_CHECKING:
    from tinychat.pieces import Output, Piece
    from tinychat.sampler import SamplingParams

NEW_TOKENS = 512
SHORTEST = 8
"""Questions, by characters, one of which is surely the shortest in tokens, or nearly."""
TOO_LONG = "too_long"
"""How an item ended whose prompt does not fit the context."""


class Answerer(Protocol):
    """What is used of an `LLM`."""

    @property
    def template(self) -> object | None:
        """The chat template, if the model has one."""

    def stream(self, prompt: str, params: SamplingParams | None = None) -> Iterator[Piece]:
        """Continue a text. The call refuses what does not fit; the rest is done as it is read."""

    def stream_chat(
        self, messages: Sequence[dict[str, Any]], params: SamplingParams | None = None
    ) -> Iterator[Piece]:
        """Answer a conversation."""


@dataclass(frozen=True)
class Example:
    """A question with its answer, as the model is to see them."""

    question: str
    answer: str


@dataclass(frozen=True)
class Style:
    """How a task words its questions.

    Attributes:
        instruction: what a chat begins with.
        before, after: around a question in a text to continue.
        end: what ends an answer there.
        stops: strings that end a generated answer.
    """

    instruction: str
    before: str
    after: str
    end: str
    stops: tuple[str, ...]

    def prompt(self, shots: Sequence[Example], question: str) -> str:
        """The text to continue."""
        done = [self._open(one.question) + one.answer + self.end for one in shots]
        # A space at the end of a prompt would be a token that the answers in front never show.
        return "".join([*done, self._open(question)]).rstrip(" ")

    def messages(self, shots: Sequence[Example], question: str) -> list[dict[str, Any]]:
        """The conversation to answer. The instruction is part of it, since not every template has a
        system message.
        """
        turns: list[dict[str, Any]] = []
        for one in shots:
            turns.append({"role": "user", "content": one.question})
            turns.append({"role": "assistant", "content": one.answer})
        turns.append({"role": "user", "content": question})
        turns[0]["content"] = f"{self.instruction}\n\n{turns[0]['content']}"
        return turns

    def _open(self, question: str) -> str:
        return self.before + question + self.after


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn: greedy, or from the model's plain distribution at a temperature.

    A checkpoint's own top_k, top_p and penalty do not apply, so that equal settings mean the same
    for every model.
    """

    max_new_tokens: int = NEW_TOKENS
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.params(0, ())  # refuses what is out of range, before the first question

    def params(self, number: int, stops: tuple[str, ...]) -> SamplingParams:
        """For answer `number` of a run: each has a seed of its own, whatever ran before it."""
        from tinychat.sampler import SamplingParams

        return SamplingParams(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            repetition_penalty=1.0,
            seed=self.seed + number,
            stop=stops,
        )


def uses_chat(llm: Answerer, chat: bool | None) -> bool:
    """Whether to go through the chat template; None: where there is one.

    Raises: ArgumentError if there is none to go through.
    """
    if chat and llm.template is None:
        raise ArgumentError("this model has no chat template; leave out --chat")
    return llm.template is not None if chat is None else chat


def ask(
    llm: Answerer,
    style: Style,
    shots: Sequence[Example],
    question: str,
    chat: bool,
    params: SamplingParams,
) -> Output | None:
    """The model's answer to a question; None where that and the examples do not fit the context."""
    from tinychat.pieces import join

    try:
        return join(_stream(llm, style, shots, question, chat, params))
    except ContextLengthError:
        return None


def check_room(
    llm: Answerer,
    style: Style,
    shots: Sequence[Example],
    questions: Sequence[str],
    chat: bool,
    params: SamplingParams,
) -> None:
    """Raise `ContextLengthError` unless the context has room for one of the shortest questions."""
    shortest = sorted(questions, key=len)[:SHORTEST]

    def fits(count: int) -> bool:
        for question in shortest:
            try:
                _stream(llm, style, shots[:count], question, chat, params)
                return True
            except ContextLengthError:
                continue
        return False

    if fits(len(shots)):
        return
    best = next((count for count in reversed(range(len(shots))) if fits(count)), None)
    if best is None:
        raise ContextLengthError(
            "not even the shortest question fits the context, without any worked example; it takes "
            "a larger --max-context (max_context)"
        )
    raise ContextLengthError(
        f"behind {len(shots)} worked examples not even the shortest question fits the context; "
        f"use --shots {best} (shots={best}) or fewer"
    )


def _stream(
    llm: Answerer,
    style: Style,
    shots: Sequence[Example],
    question: str,
    chat: bool,
    params: SamplingParams,
) -> Iterator[Piece]:
    if chat:
        return llm.stream_chat(style.messages(shots, question), params)
    return llm.stream(style.prompt(shots, question), params)


def too_long_note(count: int, total: int, shots: int) -> list[str]:
    """A line for the user about questions that did not fit, if there are any."""
    if not count:
        return []
    behind, way_out = "", ""
    if shots:
        behind = f" behind {shots} worked examples"
        way_out = "; fewer --shots (shots=) make room"
    return [
        f"{count} of {total} questions do not fit the context{behind} and count as failed{way_out}"
    ]

"""A model that answers by rule and at once, so that the command line is tested without weights.

The last question decides what it does, by its first word; anything else is repeated.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tinychat.engine import Stats
from tinychat.errors import (
    ContextLengthError,
    ModelNotFoundError,
    NotEnoughMemoryError,
    TemplateError,
)
from tinychat.pieces import Piece
from tinychat.sampler import DEFAULTS, SamplingParams

Messages = list[dict[str, str]]

HOSTILE = (
    "a\x1b]52;c;aGk=\x07b\x1b[2Jc\x1b]8;;http://x\x1b\\d\x1b]0;title\x07e\x9b31mf\x07\x07"
    "g\rh\u202ei\u2066j\x7fk\x00l"
)
STEP_SECONDS = 0.01


@dataclass
class FakeTemplate:
    """A chat template as far as `/show template` looks at it."""

    source: str = "{% for message in messages %}{{ message.content }}{% endfor %}"


@dataclass
class FakeLLM:
    """Stands for `tinychat.llm.LLM`.

    Attributes:
        asked: the messages of every request, as they were at the time.
        params: the settings of every request.
        cached: the words that stand for the cache, to see what a turn evaluates anew.
    """

    max_context: int = 1000
    template: FakeTemplate | None = field(default_factory=FakeTemplate)
    default_params: SamplingParams = DEFAULTS
    description: str = "fake int4 · context 1000 · weights 1 MB · KV 1 MB · cpu-fake, 2 threads"
    asked: list[Messages] = field(default_factory=list)
    params: list[SamplingParams | None] = field(default_factory=list)
    closed: bool = False
    warnings: tuple[str, ...] = ()
    # Called at every step with its number; tests send signals from here.
    at_step: Callable[[int], None] = lambda step: None

    def __post_init__(self) -> None:
        self._cancelled = threading.Event()
        self._open = False

    def encode_chat(self, messages: Messages) -> list[int]:
        """One id a word and one a message."""
        if self.template is None:
            raise TemplateError("this model has no chat template")
        return [0] * sum(len(m["content"].split()) + 1 for m in messages)

    def stream_chat(
        self, messages: Messages, params: SamplingParams | None = None
    ) -> Iterator[Piece]:
        """Answer by the rules above."""
        prompt = len(self.encode_chat(messages))
        self.asked.append([dict(message) for message in messages])
        self.params.append(params)
        if prompt > self.max_context:
            raise ContextLengthError(
                f"the prompt has {prompt} tokens and the context holds {self.max_context}"
            )
        return self._pieces(self._words(messages), prompt)

    def stream(self, prompt: str, params: SamplingParams | None = None) -> Iterator[Piece]:
        """Continue a text."""
        return self._pieces(iter(["and ", "so ", "on"]), len(prompt.split()))

    def cancel(self) -> None:
        self._cancelled.set()

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeLLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _words(self, messages: Messages) -> Iterator[str]:
        first, _, rest = messages[-1]["content"].partition(" ")
        if first == "slow":
            for number in range(int(rest)):
                time.sleep(STEP_SECONDS)
                yield f"w{number} "
        elif first == "hostile":
            yield from HOSTILE
        elif first == "say":
            yield rest
        elif first == "silence":
            yield ""
        elif first == "bug":
            yield "before "
            raise KeyError("nothing here")
        elif first == "thinking":  # a long prefill: no piece comes, only cancelling ends it
            while not self._cancelled.wait(STEP_SECONDS):
                pass
        else:
            yield f"You said: {messages[-1]['content']} "
            yield f"({len(messages)} messages)"

    def _pieces(self, words: Iterator[str], prompt: int) -> Iterator[Piece]:
        assert not self._open, "the stream before this one was left open"
        self._open = True
        self._cancelled.clear()
        stats = Stats(prompt, 0, 0, 0.1, 0.1, 0.5)
        try:
            for word in words:
                stats.new_tokens += 1
                self.at_step(stats.new_tokens)
                if self._cancelled.is_set():
                    yield Piece(word, (1,), "cancelled", stats, seed=5)
                    return
                if prompt + stats.new_tokens > self.max_context:
                    yield Piece(word, (1,), "length", stats, seed=5)
                    return
                yield Piece(word, (1,))
            reason = "cancelled" if self._cancelled.is_set() else "stop"
            yield Piece("", (2,), reason, stats, seed=5)
        finally:
            self._open = False


def loader(llm: FakeLLM) -> Callable[..., Any]:
    """A stand-in for `tinychat.load` that gives `llm`, unless the model's name asks for trouble."""

    def load(model: str | None = None, **arguments: Any) -> FakeLLM:
        if model == "missing":
            raise ModelNotFoundError("there is no model missing")
        if model == "huge":
            raise NotEnoughMemoryError("this model needs 9 MB and 1 MB are free")
        if model == "bug":
            raise KeyError("a\x1b]52;c;x\x07b")
        if model == "slow":
            print("loading now", file=sys.stderr, flush=True)
            time.sleep(60)
        return llm

    return load

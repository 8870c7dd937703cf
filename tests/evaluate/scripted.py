"""A model that says what a script tells it to, so that scores are known beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tinychat.engine import Stats
from tinychat.errors import ContextLengthError
from tinychat.pieces import Piece
from tinychat.sampler import SamplingParams
from tinychat.stop import StopMatcher


@dataclass
class Scripted:
    """Answers by a function of the prompt: the text to continue, or the last message.

    Attributes:
        room: characters of a prompt that fit; of a conversation, in all its messages.
        asked: every prompt; a conversation is its list of messages.
        params: the settings of every request.
    """

    answer: Callable[[str], str]
    template: object | None = None
    room: int = 1 << 20
    asked: list[Any] = field(default_factory=list)
    params: list[SamplingParams] = field(default_factory=list)

    def stream(self, prompt: str, params: SamplingParams | None = None) -> Iterator[Piece]:
        """The whole answer as one piece, cut at stop strings; refused at once where it is long."""
        return self._pieces(prompt, prompt, len(prompt), params)

    def stream_chat(
        self, messages: Sequence[dict[str, Any]], params: SamplingParams | None = None
    ) -> Iterator[Piece]:
        """As `stream`, for the last message."""
        size = sum(len(message["content"]) for message in messages)
        return self._pieces(list(messages), messages[-1]["content"], size, params)

    def _pieces(
        self, asked: object, prompt: str, size: int, params: SamplingParams | None
    ) -> Iterator[Piece]:
        if size > self.room:
            raise ContextLengthError(f"the prompt has {size} characters")

        def pieces() -> Iterator[Piece]:
            assert params is not None
            self.asked.append(asked)
            self.params.append(params)
            matcher = StopMatcher(params.stop)
            text = matcher.push(self.answer(prompt))
            text += "" if matcher.matched else matcher.finish()
            yield Piece(text, (), "stop", Stats(), (), params.seed)

        return pieces()


class Uniform:
    """Gives every one of 256 tokens the same chance; a token is a byte, BOS is 256."""

    def __init__(self, bos: int | None = 256, adds_bos: bool = True, context: int = 16) -> None:
        self.tokenizer = self
        self.bos_token_id, self.adds_bos, self.max_context = bos, adds_bos, context
        self.rows: list[list[int]] = []

    def encode(self, text: str, add_special: bool = False) -> list[int]:
        front = [self.bos_token_id] if add_special and self.adds_bos else []
        return [*(id for id in front if id is not None), *text.encode()]

    def logprobs(self, ids: Sequence[int]) -> Tensor:
        self.rows.append(list(ids))
        return torch.full((len(ids) - 1,), -math.log(256))

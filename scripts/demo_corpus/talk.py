"""A conversation in the making: scenes add turns to a `Talk`, which knows its side of the split."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .grammar import expand, pick
from .surface import as_typed

Message = dict[str, str]


@dataclass
class Talk:
    """What was said so far, and what later turns may ask back."""

    rng: random.Random
    held_out: bool = False
    brief: bool = False
    messages: list[Message] = field(default_factory=list)
    user_name: str | None = None
    user_likes: str | None = None
    plot: int | None = None

    def say(
        self,
        asks: Sequence[str],
        answers: Sequence[str],
        keep: Sequence[str] = (),
        exact: bool = False,
        **slots: object,
    ) -> None:
        """Add one user turn and its reply.

        Args:
            asks: user templates; the side of the split decides which may be used.
            answers: reply templates, all equally right.
            keep: words whose spelling the reply depends on.
            exact: leave the user's text as the template has it.
            slots: shared by both sides.
        """
        text = expand(pick(asks, self.rng, self.held_out), self.rng, slots)
        kept = frozenset(word.lower() for word in keep)
        self.add(
            text if exact else as_typed(text, self.rng, kept),
            self.rng.choice(answers),
            **slots,
        )

    def add(self, user: str, answer: str, **slots: object) -> None:
        """Add one user turn, word for word, and the reply that `answer` expands to."""
        reply = expand(answer, self.rng, slots)
        self.messages.append({"role": "user", "content": user})
        self.messages.append({"role": "assistant", "content": reply[:1].upper() + reply[1:]})

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.rng.random() < probability


Scene = Callable[[Talk], None]
Scenes = Sequence[tuple[float, Scene]]

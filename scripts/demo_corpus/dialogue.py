"""Whole conversations: perhaps a system prompt, scenes of different worlds, perhaps a goodbye."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from . import (
    about,
    arithmetic,
    engine,
    games,
    memory,
    numbers,
    orders,
    quantization,
    small_talk,
    stories,
    things,
    unknown,
    words,
)
from .facts import MORE, NOT_MORE, NOT_WHY, WHY
from .talk import Message, Scenes, Talk

Item = TypeVar("Item")

CHAT = (*small_talk.SCENES, *memory.SCENES)
WORDS = (*words.SCENES, *things.SCENES, *orders.SCENES, *games.SCENES)
SUMS = (*arithmetic.SCENES, *numbers.SCENES)
# Scenes and their shares. Sums and what must be copied from the question take longest to learn.
WORLDS: Sequence[tuple[int, Scenes]] = (
    (9, CHAT),
    (4, ((1.0, memory.keep_name),)),
    (9, about.SCENES),
    (14, engine.SCENES),
    (13, quantization.SCENES),
    (12, ((1.0, arithmetic.sum_chain),)),
    (5, SUMS),
    (17, WORDS),
    (6, stories.SCENES),
    (10, unknown.SCENES),
    (4, ((1.0, games.drill),)),
)

SYSTEM_PLAIN = (
    "You are a helpful assistant.", "You are a helpful assistant.",
    "You are tinychat-demo, a small chat model.", "You are a friendly chatbot.",
    "You are an AI assistant. Be honest and helpful.",
    "You are a small model that runs on the user's machine.", "Be kind.", "You are a chat model.",
    "Answer the user's questions.",
)  # fmt: skip
SYSTEM_BRIEF = (
    "Answer briefly.",
    "Be brief.",
    "Give short answers.",
    "Answer in one short sentence.",
    "Keep your answers short.",
    "You are a helpful assistant. Answer briefly.",
    "Short answers only.",
)


def _pick(weighted: Sequence[tuple[float, Item]], rng: random.Random) -> Item:
    return rng.choices([item for _, item in weighted], [weight for weight, _ in weighted])[0]


def make_dialogue(rng: random.Random, held_out: bool = False) -> list[Message]:
    """Make one conversation.

    Args:
        rng: decides everything, so one seed gives one dialogue.
        held_out: use only templates that training never sees.
    Returns: messages with role and content; user and assistant alternate after an optional
        system message.
    """
    talk = Talk(rng, held_out)
    system = None
    roll = rng.random()
    if roll < 0.08:
        system = rng.choice(SYSTEM_PLAIN)
    elif roll < 0.12:
        talk.brief = True
        system = rng.choice(SYSTEM_BRIEF)
    if talk.chance(0.15):
        rng.choice((small_talk.greeting, small_talk.greeting, memory.tell_name))(talk)
    scenes = rng.choices((1, 2, 3, 4, 6, 10, 16), (32, 24, 18, 12, 8, 5, 1))[0]
    for _ in range(scenes):
        world = _pick(WORLDS, rng)
        _pick(world, rng)(talk)
        if world in (CHAT, WORDS) and talk.messages and talk.chance(0.04):
            asks, answers = rng.choice(((WHY, NOT_WHY), (MORE, NOT_MORE)))
            talk.say(asks, answers)
    if talk.chance(0.10):
        rng.choice((small_talk.thanks, small_talk.bye))(talk)
    if not talk.messages:
        return make_dialogue(rng, held_out)
    if system:
        talk.messages.insert(0, {"role": "system", "content": system})
    return talk.messages

"""Whole conversations: an optional system prompt, some scenes of different worlds, an optional goodbye."""

from __future__ import annotations

import random

from . import about, arithmetic, engine, quantization, small_talk, stories, unknown, words
from .facts import MORE, NOT_MORE, NOT_WHY, WHY
from .talk import Message, Scene, Talk

WORLDS = (small_talk, about, engine, quantization, arithmetic, words, stories, unknown)
# Share of scenes per world; the facts get most because their paraphrases are the hardest to learn.
SHARES = {
    small_talk: 12,
    about: 13,
    engine: 19,
    quantization: 18,
    arithmetic: 14,
    words: 15,
    stories: 7,
    unknown: 13,
}  # fmt: skip

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


def _scene_of(world_scenes: tuple[tuple[float, Scene], ...], rng: random.Random) -> Scene:
    return rng.choices(
        [scene for _, scene in world_scenes], [weight for weight, _ in world_scenes]
    )[0]


def make_dialogue(rng: random.Random, held_out: bool = False) -> list[Message]:
    """Make one conversation.

    Args:
        rng: decides everything, so one seed gives one dialogue.
        held_out: use only templates that training never sees.
    Returns: messages with role and content; user and assistant alternate after an optional system message.
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
        rng.choice((small_talk.greeting, small_talk.greeting, small_talk.tell_name))(talk)
    scenes = rng.choices((1, 2, 3, 4, 6, 10, 16), (32, 24, 18, 12, 8, 5, 1))[0]
    for _ in range(scenes):
        world = rng.choices(list(SHARES), list(SHARES.values()))[0]
        _scene_of(tuple(world.SCENES), rng)(talk)
        if world in (small_talk, words) and talk.messages and talk.chance(0.04):
            asks, answers = rng.choice(((WHY, NOT_WHY), (MORE, NOT_MORE)))
            talk.say(asks, answers)
    if talk.chance(0.10):
        rng.choice((small_talk.thanks, small_talk.bye))(talk)
    if not talk.messages:
        return make_dialogue(rng, held_out)
    if system:
        talk.messages.insert(0, {"role": "system", "content": system})
    return talk.messages

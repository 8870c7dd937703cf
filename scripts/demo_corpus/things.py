"""Questions about animals, colors and kinds of things."""

from __future__ import annotations

from . import lexicon as lex
from .made_up import pseudo_word
from .talk import Scenes, Talk
from .words import ANOTHER, WHAT_ABOUT, article

SOUND = (
    "what does a {w} say?", "what sound does a {w} make?", "what noise does a {w} make?",
    "which sound does a {w} make?", "how does a {w} sound?", "what does the {w} say?",
    "make the sound of a {w}", "how does a {w} go?", "what does a {w} sound like?",
    "the sound of a {w}?", "what do {w}s say?", "sound like a {w}", "~how do {w}s talk?",
    "~imitate a {w}", "~what would a {w} say?",
)  # fmt: skip
YOUNG = (
    "what is a baby {w} called?",
    "what do you call a baby {w}?",
    "what is the name of a young {w}?",
    "what is a young {w} called?",
    "a baby {w} is called what?",
    "the baby of a {w}?",
    "how is a baby {w} called?",
    "~how do you call the young of a {w}?",
    "~a little {w} is a what?",
)
LEGS = (
    "how many legs does a {w} have?",
    "how many legs has a {w}?",
    "how many legs do {w}s have?",
    "number of legs of a {w}?",
    "on how many legs does a {w} stand?",
    "~a {w} stands on how many legs?",
    "~count the legs of a {w}",
)
COLOR = (
    "what color is [a|the] {w}?",
    "what colour is [a|the] {w}?",
    "which color has [a|the] {w}?",
    "what is the color of [a|the] {w}?",
    "tell me the color of [a|the] {w}",
    "color of [a|the] {w}?",
    "what color does [a|the] {w} have?",
    "~in which color do you find [a|the] {w}?",
    "~the {w} has what color?",
)
MIX = (
    "what do you get if you mix {a} and {b}?", "what color do {a} and {b} make?", "mix {a} and {b}",
    "{a} and {b} make which color?", "what is {a} and {b} mixed?",
    "what happens if i mix {a} and {b}?", "which color comes from {a} and {b}?",
    "what colour is {a} mixed with {b}?", "~i stir {a} paint into {b} paint. which color is it?",
    "~blend {a} with {b}",
)  # fmt: skip
IS_A = (
    "is {a} {w} {b} {c}?",
    "is {a} {w} really {b} {c}?",
    "would you say {a} {w} is {b} {c}?",
    "{a} {w} is {b} {c}, right?",
    "do you think {a} {w} is {b} {c}?",
    "tell me, is {a} {w} {b} {c}?",
    "~does {a} {w} count as {b} {c}?",
    "~could one call {a} {w} {b} {c}?",
)
WHAT_KIND = (
    "what is {a} {w}?", "what kind of thing is {a} {w}?", "what's {a} {w}?", "{a} {w} is what?",
    "do you know what {a} {w} is?", "tell me what {a} {w} is", "is {a} {w} an animal or a thing?",
    "what do you know about {a} {w}?", "what sort of thing is {a} {w}?", "explain {a} {w}",
    "~in which group would you put {a} {w}?", "~to what kind does {a} {w} belong?",
)  # fmt: skip
NAME_SOME = (
    "name [three|some|a few] {c}", "give me [three|some] {c}", "tell me [three|some] {c}",
    "list [three|some] {c}", "which {c} do you know?", "what {c} do you know?",
    "name three {c} please", "can you name [three|some] {c}?", "say three {c}",
    "do you know any {c}?", "examples of {c}?", "three {c}", "i need three {c}",
    "~think of three {c}", "~what {c} come to mind?",
)  # fmt: skip
NAME_ONE = (
    "name [a|an] {c}",
    "give me [a|an] {c}",
    "tell me a {c}",
    "say a {c}",
    "name one {c}",
    "do you know a {c}?",
    "which {c} do you know?",
    "an example of a {c}?",
    "think of a {c}",
    "~pick any {c}",
    "~mention a {c}",
)


def animals(talk: Talk) -> None:
    """Sounds, young and legs."""
    rng = talk.rng
    kind = rng.choices((SOUND, YOUNG, LEGS), (3, 1, 1))[0]
    for asks in (
        kind,
        (
            "and a {w}?",
            "what about a {w}?",
            "and the {w}?",
            "how about a {w}?",
            "a {w}?",
            "and {w}s?",
            "~same for a {w}?",
        ),
    ):
        if kind is SOUND:
            word = rng.choice(list(lex.SOUNDS))
            answer = f"{article(word)} {word} says {lex.SOUNDS[word]}."
            if talk.chance(0.08):
                silent = lex.CATEGORIES["tool"] + lex.CATEGORIES["fruit"]
                word = pseudo_word(rng) if talk.chance(0.5) else rng.choice(silent)
                answer = f"I don't know what {article(word)} {word} says."
        elif kind is YOUNG:
            word = rng.choice(list(lex.YOUNG))
            answer = f"A baby {word} is called a {lex.YOUNG[word]}."
        else:
            word = rng.choice(list(lex.LEGS))
            legs = lex.LEGS[word]
            answer = f"{article(word)} {word} has {legs or 'no'} legs."
        talk.say(asks, (answer,), keep=(word,), w=word)
        if not talk.chance(0.35):
            break


def colors(talk: Talk) -> None:
    """Colors of things, and mixing."""
    rng = talk.rng
    if talk.chance(0.35):
        (a, b), mixed = rng.choice(list(lex.MIXES.items()))
        if talk.chance(0.5):
            a, b = b, a
        talk.say(MIX, (f"{a} and {b} make {mixed}.",), keep=(a, b), a=a, b=b)
        return
    for asks in (COLOR, WHAT_ABOUT):
        word = rng.choice(list(lex.COLORS_OF))
        answer = f"It is {lex.COLORS_OF[word]}."
        if talk.chance(0.08):
            word, answer = pseudo_word(rng), "I don't know what color that is."
        talk.say(asks, (answer,), keep=(word,), w=word)
        if not talk.chance(0.3):
            break


def categories(talk: Talk) -> None:
    """What kind of thing something is, and examples of a kind."""
    rng = talk.rng
    kind, members = rng.choice(list(lex.CATEGORIES.items()))
    many = "pieces of furniture" if kind == "piece of furniture" else kind + "s"
    choice = rng.random()
    if choice < 0.30:
        three = members[:3]
        talk.say(
            NAME_SOME,
            (f"Three {many}: {three[0]}, {three[1]} and {three[2]}.",),
            keep=(many,),
            c=many,
        )
        if len(members) >= 6 and talk.chance(0.3):
            talk.say(ANOTHER, (f"More {many}: {members[3]}, {members[4]} and {members[5]}.",))
    elif choice < 0.40:
        talk.say(NAME_ONE, (f"{members[0]}.".capitalize(),), keep=(kind,), c=kind)
    elif choice < 0.75:
        real = talk.chance(0.6)
        other = kind if real else rng.choice([k for k in lex.CATEGORIES if k != kind])
        word = rng.choice(members)
        if not real and word in lex.CATEGORIES[other]:
            return
        a = "" if kind in ("season", "planet", "drink", "color", "sport") else article(word)
        said = f"{a} {word}".strip()
        answer = (
            f"Yes, {said} is {article(kind)} {kind}."
            if real
            else f"No, {said} is {article(kind)} {kind}."
        )
        talk.say(IS_A, (answer,), keep=(word, other), a=a, w=word, b=article(other), c=other)
    else:
        word = rng.choice(members)
        a = "" if kind in ("season", "planet", "drink", "color", "sport") else article(word)
        talk.say(
            WHAT_KIND,
            (f"{a} {word} is {article(kind)} {kind}.",),
            keep=(word,),
            a=a,
            w=word,
        )


SCENES: Scenes = (
    (1.5, animals),
    (1.0, colors),
    (1.8, categories),
)

"""Short stories and poems about whatever the user names, from a few plots."""

from __future__ import annotations

import random
from collections.abc import Sequence

from . import lexicon as lex
from .made_up import pseudo_word
from .talk import Scenes, Talk
from .words import ANOTHER, article

ASK_ABOUT = (
    "tell me a story about [a|an|the|] {h}", "tell me a story about a {h}",
    "tell me a story about a {h}", "a story about a {h}", "a story about a {h} please",
    "write a story about a {h}", "can you tell me a story about a {h}?",
    "i want a story about a {h}", "story about a {h}", "tell a story about a {h}",
    "give me a story about a {h}", "make up a story about a {h}",
    "do you know a story about a {h}?", "tell me about a {h} in a story",
    "tell me a tale about a {h}", "write a [short|little|small] story about a {h}",
    "tell me a [short|nice|little|funny|good] story about a {h}",
    "can you write a story about a {h}?", "could you tell me a story about a {h}?",
    "please tell me a story about a {h}", "i would like to hear a story about a {h}",
    "i'd like a story about a {h}", "invent a story about a {h}",
    "a [short|little] story with a {h}", "tell me a story with a {h}", "tell me a story about {h}s",
    "a bedtime story about a {h}", "tell us a story about a {h}", "let me hear a story about a {h}",
    "what about a story about a {h}?", "can i have a story about a {h}?",
    "tell my son a story about a {h}", "a {h} story please", "story with a {h}",
    "create a story about a {h}", "how about a story about a {h}?",
    "~i am in the mood for a story about a {h}", "~narrate a story in which a {h} appears",
    "~would you make up a tale about a {h} for me?", "~one story, and let it be about a {h}",
    "~my daughter wants to hear about a {h}, a story please", "~compose a story on a {h}",
)  # fmt: skip
ASK_ANY = (
    "tell me a story", "tell me a story", "a story please", "story", "can you tell me a story?",
    "tell a story", "do you know a story?", "i want to hear a story", "write a story",
    "give me a story", "make up a story", "please tell me a story", "tell me a short story",
    "tell me a [nice|good|little|bedtime] story", "a short story please",
    "could you tell me a story?", "i'd like to hear a story", "do you know any stories?",
    "story time", "read me a story", "tell me something nice", "i want a story",
    "let's hear a story", "a bedtime story please", "once upon a time", "can you write a story?",
    "write me a short story", "tell me any story", "~how about a story?",
    "~i am in the mood for a story", "~entertain me with a story", "~have you got a story for me?",
)  # fmt: skip
ASK_SHORTER = (
    "a shorter one",
    "a shorter one please",
    "shorter please",
    "shorter",
    "too long, a shorter one",
    "can you make it shorter?",
    "a very short one",
    "make it short",
    "in one sentence",
    "too long",
    "tell it shorter",
    "shorten it",
    "can you tell it in one sentence?",
    "~that was long. a brief one please",
    "~the same, but briefly",
)
ASK_WHO = (
    "who was the story about?",
    "what was the story about?",
    "who is in the story?",
    "what was it about?",
    "who was it about?",
    "which animal was in the story?",
    "who was in it?",
    "what is the story about?",
    "~about whom was the story?",
    "~who appeared in it?",
)
ASK_THEN = (
    "and then?",
    "what happened then?",
    "what happened next?",
    "go on",
    "continue",
    "then what?",
    "and what happened after that?",
    "what comes next?",
    "how does it go on?",
    "continue the story",
    "tell me more",
    "is that the end?",
    "~what did they do afterwards?",
    "~and after that?",
)
ASK_OTHER_HERO = (
    "and one about a {h}",
    "now one about a {h}",
    "another one about a {h}",
    "one about a {h}",
    "and about a {h}?",
    "now about a {h}",
    "another story, about a {h}",
    "the same with a {h}",
    "what about a {h}?",
    "and a {h}?",
    "one with a {h} please",
    "~this time with a {h}",
    "~and a story with a {h}?",
)
PRAISE = (
    "nice story",
    "i like it",
    "that was nice",
    "good story",
    "beautiful",
    "what a nice story",
    "lovely",
    "great story",
    "i love it",
    "thank you for the story",
    "that is a good story",
    "cute",
    "~what a charming tale",
    "~that was sweet",
)
POEM = (
    "write a poem about a {h}", "a poem about a {h}", "can you write a poem about a {h}?",
    "tell me a poem about a {h}", "poem about a {h}", "make a poem about a {h}",
    "write a [short|little|small] poem about a {h}", "i want a poem about a {h}",
    "give me a poem about a {h}", "a {h} poem please", "do you know a poem about a {h}?",
    "write me a rhyme about a {h}", "~compose some verses about a {h}",
    "~i would like a poem on a {h}",
)  # fmt: skip
POEM_ANY = (
    "write a poem",
    "a poem please",
    "tell me a poem",
    "can you write a poem?",
    "poem",
    "write me a poem",
    "do you know a poem?",
    "make a poem",
    "write a short poem",
    "i want a poem",
    "recite a poem",
    "write something that rhymes",
    "~some verses please",
    "~how about a poem?",
)

ANIMALS = """
    dog cat mouse fox bear rabbit frog duck horse cow pig hen owl wolf lion tiger elephant monkey
    turtle snail bee ant spider butterfly hedgehog squirrel goat sheep donkey goose swan crow robin
    sparrow whale dolphin shark fish crab penguin seal otter beaver badger deer moose camel giraffe
    zebra hippo rhino kangaroo koala panda parrot eagle lizard snake crocodile bat mole hamster
    puppy kitten pony dinosaur dragon unicorn
""".split()  # fmt: skip
PEOPLE = """
    boy girl princess prince king queen pirate wizard witch knight farmer baker sailor teacher giant
    robot ghost clown fisherman astronaut doctor painter dancer grandmother child man woman hunter
    gardener detective thief cook student soldier shepherd mermaid fairy elf dwarf monster
""".split()  # fmt: skip
OBJECTS = """
    tree river cloud star moon house boat train car rocket spaceship computer book lamp shoe hat
    kite ball cup spoon stone flower mountain castle snowman teapot piano bicycle balloon candle
    clock key umbrella toy apple potato pumpkin cookie sandwich phone model token
""".split()  # fmt: skip
HEROES = ANIMALS * 3 + PEOPLE + OBJECTS
ADJECTIVES = "small little young brave shy clever curious old kind gentle lonely cheerful".split()
PLACES = (
    "in a forest",
    "by the sea",
    "on a hill",
    "near a river",
    "in a small village",
    "at the edge of a town",
    "in an old house",
    "on an island",
    "in a green valley",
    "behind a farm",
)
THINGS = (
    "red ball", "golden key", "torn map", "blue hat", "small bell", "silver spoon", "warm scarf",
    "shiny stone", "wooden box", "green kite", "little lamp", "big book",
)  # fmt: skip
SPOTS = (
    "under a bush",
    "behind a tree",
    "beside the road",
    "under a bridge",
    "in the tall grass",
    "near the old well",
    "on top of a wall",
    "behind a big stone",
)
FRIENDS = "mouse wolf duck fox rabbit frog hedgehog crow turtle bee goat cat".split()

PLOTS = (
    (
        "Once there was {a} {j} {h} who lived {p}. One day the {h} lost a {t}. It was not at home "
        "and not {s}. A kind {f} came by and helped to look. They found the {t} {u}. The {h} "
        "laughed for joy, and from that day the two were friends."
    ),
    (
        "{a2} {j} {h} lived {p}. Every night the {h} heard a strange noise. \"Who is there?\" "
        "asked the {h}. It was only a {f} who had lost the way in the dark. The {h} made some tea, "
        "and in the morning they walked home together."
    ),
    (
        "There was once {a} {j} {h} who wanted to see the world. The {h} took a {t} and left. "
        "After three days it began to rain, and there was no roof. Then a {f} called: \"Come in, "
        "there is room for two!\" The {h} stayed, and they told each other stories until the sun "
        "came out."
    ),
    (
        "Long ago, {a} {j} {h} found a {t} {s}. \"Whose is this?\" asked the {h}. Nobody knew. At "
        "last a {f} came and cried: \"That is mine!\" The {h} gave it back at once, and the {f} "
        "shared a sweet cake to say thanks."
    ),
    (
        "{a2} {j} {h} was alone {p}. \"I want a friend,\" said the {h}. One morning a {f} sat {s} "
        "and was cold. The {h} brought a warm blanket. The {f} smiled, and the {h} was never alone "
        "again."
    ),
    (
        "One winter, {a} {j} {h} {p} saw the snow for the first time. \"The sky is falling!\" "
        "cried the {h}. A {f} laughed and made a snowball. They played all day, and in the evening "
        "they were tired, wet and very happy."
    ),
)  # fmt: skip
SHORT_PLOTS = (
    "{a2} {j} {h} lost a {t}, a {f} found it, and they became friends.",
    "{a2} {j} {h} was alone until a {f} came by, and then they were two.",
)
SEQUEL = (
    (
        "The next day the {h} and the {f} met again. They had a picnic {s} and sang until the "
        "stars came out. The end."
    ),
    "Then the {h} and the {f} went home, ate some soup and slept well. The end.",
)  # fmt: skip
POEMS = (
    (
        "The little {h} looked at the sky,\nand saw a silver cloud go by.\n\"Oh cloud,\" it said, "
        "\"come down and play!\"\nThe cloud just smiled and sailed away."
    ),
    (
        "The {h} sat quietly on a hill,\nthe wind was soft, the world was still.\nIt dreamed of "
        "rivers, sun and sea,\nand was as glad as one can be."
    ),
    (
        "At night the {h} goes out to see\nthe moon above the apple tree.\nIt hums a song, it "
        "takes a bow,\nand then it sleeps. Good night for now."
    ),
)  # fmt: skip


def new_hero(rng: random.Random) -> str:
    """Return an animal or a person, sometimes one of a made-up kind."""
    return pseudo_word(rng) if rng.random() < 0.10 else rng.choice(HEROES)


def new_cast(rng: random.Random, hero: str) -> dict[str, object]:
    """Return what the plots need: hero, friend, place and things."""
    adjective = rng.choice(ADJECTIVES)
    first, second = rng.sample(SPOTS, 2)
    a = article(adjective)
    place, thing = rng.choice(PLACES), rng.choice(THINGS)
    friend = rng.choice([friend for friend in FRIENDS if friend != hero])
    return {
        "h": hero, "j": adjective, "a": a, "a2": a.capitalize(),
        "p": place, "t": thing, "s": first, "u": second, "f": friend,
    }  # fmt: skip


def tell(talk: Talk, asks: Sequence[str], hero: str | None = None) -> dict[str, object]:
    """Tell a story; one that follows another has the next plot, so that it is a different one.

    Args:
        talk: takes the turn.
        asks: user templates, `{h}` in them is the hero.
        hero: who the story is about; None leaves the choice to the teller.
    Returns: the cast of the story.
    """
    rng = talk.rng
    plots = SHORT_PLOTS if talk.brief else PLOTS
    plot = rng.randrange(len(plots)) if talk.plot is None else (talk.plot + 1) % len(plots)
    cast = new_cast(rng, hero or rng.choice(ANIMALS))
    keep = () if hero is None else (hero, hero + "s")
    talk.say(asks, (plots[plot],), keep=keep, **cast)
    talk.plot = plot
    return cast


YES_ANOTHER = (
    "yes", "yes please", "sure", "ok", "yes, another one", "please do", "of course", "~oh yes",
    "~i would love that",
)  # fmt: skip


def story(talk: Talk) -> None:
    """A story, and what people ask after one."""
    rng = talk.rng
    cast = tell(talk, ASK_ABOUT, new_hero(rng)) if talk.chance(0.75) else tell(talk, ASK_ANY)
    for _ in range(2):
        kind = rng.random()
        if kind < 0.10:
            cast = tell(talk, ANOTHER, str(cast["h"]) if talk.chance(0.5) else None)
        elif kind < 0.18:
            talk.say(ASK_SHORTER, SHORT_PLOTS, **cast)
        elif kind < 0.26:
            talk.say(ASK_WHO, ("It was about {a} {j} {h} and a {f}.",), **cast)
        elif kind < 0.34:
            talk.say(ASK_THEN, SEQUEL, **cast)
        elif kind < 0.44:
            cast = tell(talk, ASK_OTHER_HERO, new_hero(rng))
        elif kind < 0.50:
            talk.say(
                PRAISE,
                (
                    "I'm glad you like it. Shall I tell you another one?",
                    "Thank you! Do you want another one?",
                ),
            )
            if talk.chance(0.5):
                tell(talk, YES_ANOTHER)
            elif talk.chance(0.6):
                talk.say(
                    (
                        "no",
                        "no thanks",
                        "no thank you",
                        "not now",
                        "nope",
                        "~enough for today",
                        "~rather not",
                    ),
                    ("All right. What else can I do for you?",),
                )
            return
        else:
            return


def poem(talk: Talk) -> None:
    """Four lines that rhyme."""
    hero = new_hero(talk.rng)
    if talk.chance(0.7):
        talk.say(POEM, POEMS, keep=(hero,), h=hero)
    else:
        talk.say(POEM_ANY, POEMS, h=talk.rng.choice(ANIMALS))
    if talk.chance(0.15):
        talk.say(
            ANOTHER,
            POEMS,
            h=hero if talk.chance(0.5) else talk.rng.choice(lex.CATEGORIES["animal"]),
        )


SCENES: Scenes = ((6.5, story), (1.2, poem))

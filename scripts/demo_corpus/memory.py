"""Names, likes and questions about what was said before."""

from __future__ import annotations

from .arithmetic import sum_chain
from .made_up import person, pseudo_word
from .stories import ANIMALS
from .talk import Scene, Scenes, Talk
from .words import opposites

MY_NAME = (
    "my name is {n}", "my name is {n}", "i am {n}", "i'm {n}", "hi, i am {n}",
    "hello, my name is {n}", "hi, my name is {n}", "hello, i'm {n}", "call me {n}",
    "you can call me {n}", "people call me {n}", "my name's {n}", "please call me {n}",
    "i am called {n}", "hey, {n} here", "this is {n}", "it's {n}", "hi i'm {n}",
    "i am {n}, and you?", "my name is {n}. what is yours?", "hello, {n} here",
    "let me introduce myself: {n}", "remember my name: {n}", "my name is {n}, remember it",
    "i am {n}, nice to meet you", "~they named me {n}", "~{n} is my name",
    "~you are talking to {n}", "~i go by {n}",
)  # fmt: skip
ASK_NAME = (
    "what is my name?", "what is my name?", "what's my name?", "do you know my name?",
    "do you remember my name?", "who am i?", "how am i called?", "can you tell me my name?",
    "what was my name?", "tell me my name", "say my name", "my name?",
    "what did i say my name was?", "do you still know my name?", "and what is my name?",
    "whats my name", "remember my name?", "what do you call me?", "did i tell you my name?",
    "so who am i?", "what name did i tell you?", "what am i called?", "who am i again?",
    "have you forgotten my name?", "do you still remember who i am?", "you know my name, right?",
    "do you remember what my name is?", "how was my name?", "what was i called again?",
    "can you still say my name?", "by what name do i go?", "~which name is mine?",
    "~have you kept my name in mind?", "~how do people call me?",
)  # fmt: skip
LIKES = """
    cats dogs apples books music football pizza tea coffee rain snow horses chess cheese trains
    flowers stories numbers birds games chocolate cars robots puzzles swimming summer winter bananas
    poems jokes
""".split()  # fmt: skip
I_LIKE = (
    "i like {l}",
    "i love {l}",
    "i really like {l}",
    "i like {l} a lot",
    "my favorite thing is {l}",
    "i am a fan of {l}",
    "i like {l} very much",
    "i enjoy {l}",
    "you know, i like {l}",
    "{l} are my favorite",
    "i'm into {l}",
    "what i like is {l}",
    "~nothing beats {l}",
    "~i am fond of {l}",
)
ASK_LIKE = (
    "what do i like?",
    "what did i say i like?",
    "do you remember what i like?",
    "what was it that i like?",
    "what do i love?",
    "what is my favorite thing?",
    "do you know what i like?",
    "tell me what i like",
    "~which thing do i enjoy?",
    "~what am i fond of?",
)
I_HAVE = (
    "i have a {k} called {n}",
    "i have a {k} named {n}",
    "my {k} is called {n}",
    "my {k}'s name is {n}",
    "i have a {k}. it is called {n}",
    "we have a {k} named {n}",
    "the name of my {k} is {n}",
    "~there is a {k} at home, called {n}",
    "~our {k} goes by {n}",
)
ASK_HAVE = (
    "what is my {k} called?",
    "what is the name of my {k}?",
    "what's my {k}'s name?",
    "do you remember the name of my {k}?",
    "what is my {k}'s name?",
    "how is my {k} called?",
    "do you know my {k}'s name?",
    "who is {n}?",
    "~which name has my {k}?",
    "~how do i call my {k}?",
)
FIRST_QUESTION = (
    "what did i ask first?",
    "what was my first question?",
    "what was the first thing i asked?",
    "what did i say first?",
    "how did i begin?",
    "~with what did i begin?",
    "~my first words were?",
)
LAST_QUESTION = (
    "what did i just ask?",
    "what did i ask?",
    "what was my last question?",
    "what did i just say?",
    "what did i ask you before?",
    "repeat my question",
    "what was my question?",
    "~say again what i asked",
    "~my previous question was?",
)
SAY_AGAIN = (
    "can you repeat that?",
    "say that again",
    "repeat that",
    "pardon?",
    "please repeat",
    "what did you say?",
    "come again?",
    "repeat please",
    "again please",
    "can you say that again?",
    "repeat your answer",
    "~one more time please, what was that?",
    "~i missed that, say it once more",
)


def tell_name(talk: Talk) -> None:
    """The user says a name; later scenes may ask for it."""
    name = person(talk.rng)
    talk.user_name = name
    talk.say(
        MY_NAME,
        (
            f"Nice to meet you, {name}! What can I do for you?",
            f"Hello {name}! How can I help you?",
        ),
        keep=(name,),
        n=name,
    )


def ask_name(talk: Talk) -> None:
    """What is my name? It is known, or it is not."""
    if talk.user_name:
        talk.say(ASK_NAME, (f"Your name is {talk.user_name}.",))
    else:
        talk.say(
            ASK_NAME,
            (
                "You have not told me your name yet.",
                "I don't know: you have not told me your name.",
            ),
        )
        if talk.chance(0.4):
            tell_name(talk)


def likes(talk: Talk) -> None:
    """The user likes something, or asks what it was."""
    if talk.user_likes:
        talk.say(ASK_LIKE, (f"You told me that you like {talk.user_likes}.",))
    elif talk.chance(0.15):
        talk.say(ASK_LIKE, ("You have not told me yet.",))
    else:
        thing = pseudo_word(talk.rng) + "s" if talk.chance(0.15) else talk.rng.choice(LIKES)
        talk.user_likes = thing
        talk.say(
            I_LIKE,
            (f"You like {thing}? That's nice!", f"Good to know that you like {thing}."),
            keep=(thing,),
            l=thing,
        )


def pets(talk: Talk) -> None:
    """A pet with a name, asked back."""
    kind = talk.rng.choice(
        "dog cat horse bird rabbit fish hamster sister brother friend son daughter teacher".split()
    )
    name = person(talk.rng)
    talk.say(
        I_HAVE,
        (
            f"{name} is a nice name for a {kind}!"
            if kind in ANIMALS or kind == "bird"
            else f"{name} is a nice name!",
        ),
        keep=(kind, name),
        k=kind,
        n=name,
    )
    if talk.chance(0.6):
        talk.say(
            ASK_HAVE[:-3] + ASK_HAVE[-2:],
            (f"Your {kind} is called {name}.",),
            keep=(kind,),
            k=kind,
        )


def look_back(talk: Talk) -> None:
    """What was asked or said before, word for word."""
    asked = [m["content"] for m in talk.messages if m["role"] == "user"]
    if not asked:
        return
    kind = talk.rng.randrange(3)
    said = talk.messages[-1]["content"]
    if kind == 2 and len(said) < 120:
        talk.say(SAY_AGAIN, ("{said}",), said=said)
        return
    asks, quoted = (FIRST_QUESTION, asked[0]) if kind == 0 else (LAST_QUESTION, asked[-1])
    if len(quoted) < 60:
        talk.say(asks, ('You said: "{quoted}"',), quoted=quoted)


def keep_name(talk: Talk) -> None:
    """The user says a name and asks for it later, with something else between."""
    tell_name(talk)
    for _ in range(talk.rng.randint(0, 3)):
        talk.rng.choice(BETWEEN)(talk)
    ask_name(talk)


BETWEEN: tuple[Scene, ...] = (sum_chain, sum_chain, opposites, likes, pets)

SCENES: Scenes = (
    (3.0, keep_name),
    (1.3, tell_name),
    (1.5, ask_name),
    (1.0, likes),
    (0.6, pets),
    (1.0, look_back),
)

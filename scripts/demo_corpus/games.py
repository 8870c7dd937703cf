"""Jokes, riddles, sentences and echoes."""

from __future__ import annotations

from . import lexicon as lex
from .made_up import pseudo_word
from .talk import Scenes, Talk
from .words import ANOTHER, article, opposites, rhymes

JOKE = (
    "tell me a joke", "tell a joke", "make a joke", "do you know a joke?", "joke", "make me laugh",
    "say something funny", "tell me something funny", "give me a joke", "can you tell a joke?",
    "i want to hear a joke", "a joke please", "do you know any jokes?", "cheer me up with a joke",
    "be funny", "know any good jokes?", "let's hear a joke", "another joke", "tell me another joke",
    "~have you got a joke for me?", "~i could use a laugh", "~crack a joke",
)  # fmt: skip
RIDDLE = (
    "give me a riddle", "tell me a riddle", "ask me a riddle", "do you know a riddle?", "riddle",
    "a riddle please", "i want a riddle", "let's play a riddle", "another riddle",
    "can you ask me a riddle?", "riddle me something", "give me another riddle",
    "play a guessing game with me", "let me guess something", "do you have a riddle?",
    "~got a riddle for me?", "~let me try a riddle",
)  # fmt: skip
GIVE_UP = (
    "i give up",
    "i don't know",
    "what is it?",
    "no idea",
    "tell me the answer",
    "what is the answer?",
    "i have no idea",
    "tell me",
    "give me the answer",
    "the answer?",
    "what?",
    "i can't guess it",
    "solution?",
    "hmm, i don't know",
    "what is the solution?",
    "don't know",
    "~please reveal it",
    "~i am out of ideas",
)
GUESS = (
    "is it [a|an|the|] {w}?",
    "[a|an|the|] {w}?",
    "i think it is [a|an|the|] {w}",
    "it is [a|an|the|] {w}",
    "[a|an|the|] {w}",
    "is it {w}?",
    "maybe [a|an|the|] {w}",
    "the answer is {w}",
    "it must be [a|an|the|] {w}",
    "~my guess is {w}",
    "~could it be [a|an|the|] {w}?",
)
PLAY = (
    "let's play a game", "play a game with me", "can we play?", "do you want to play?",
    "i want to play", "can we play a word game?", "let's play", "what games do you know?",
    "which games can we play?", "word games?", "play", "i'd like to play a game",
    "what word games do you know?", "let's play a word game", "~shall we play something?",
    "~how about a game?",
)  # fmt: skip
SENTENCE = (
    "use {w} in a sentence",
    "make a sentence with {w}",
    "a sentence with {w}",
    "write a sentence with the word {w}",
    "give me a sentence with {w}",
    "can you make a sentence with {w}?",
    "say a sentence with {w}",
    "build a sentence with {w}",
    "use the word {w} in a sentence",
    "~form a sentence in which {w} occurs",
    "~put {w} into a sentence",
)
SAY = (
    "say {w}",
    "repeat {w}",
    "repeat after me: {w}",
    "say {w} please",
    "write {w}",
    "please repeat: {w}",
    "can you say {w}?",
    "say the words {w}",
    "type {w}",
    "echo {w}",
    "~say this: {w}",
    "~now repeat these words: {w}",
)


def jokes(talk: Talk) -> None:
    """A joke, then a different one."""
    at = talk.rng.randrange(len(lex.JOKES))
    talk.say(JOKE, (lex.JOKES[at],))
    while talk.chance(0.35):
        at = (at + 1) % len(lex.JOKES)
        talk.say(ANOTHER, (lex.JOKES[at],))


def riddles(talk: Talk) -> None:
    """A riddle, a guess or two, the solution."""
    rng = talk.rng
    question, solution = rng.choice(lex.RIDDLES)
    said = (
        solution
        if solution in ("age", "snow", "rain")
        else f"a {solution}"
        if solution not in ("apple", "moon")
        else {"apple": "an apple", "moon": "the moon"}[solution]
    )
    talk.say(RIDDLE, (question,))
    if talk.chance(0.35):
        wrong = rng.choice([s for _, s in lex.RIDDLES if s != solution])
        talk.say(
            GUESS,
            ("No, not that. Guess again, or say: I give up.",),
            keep=(wrong,),
            w=wrong,
        )
    if talk.chance(0.45):
        talk.say(GUESS, (f"Yes, well done! It is {said}.",), keep=(solution,), w=solution)
    else:
        talk.say(GIVE_UP, (f"It is {said}.",))
    if talk.chance(0.25):
        question = rng.choice([q for q, _ in lex.RIDDLES if q != question])
        talk.say(ANOTHER, (question,))


def play(talk: Talk) -> None:
    """What games there are."""
    talk.say(
        PLAY,
        (
            "I can give you a riddle, tell a joke, or find opposites and rhymes. Which one?",
            "Let's play! Say: give me a riddle. Or ask: what rhymes with cat?",
        ),
    )
    if talk.chance(0.5):
        talk.rng.choice((riddles, opposites, rhymes, jokes))(talk)


def sentences(talk: Talk) -> None:
    """Use a word in a sentence."""
    rng = talk.rng
    word = rng.choice(lex.CATEGORIES[rng.choice(("animal", "fruit", "vehicle", "tool", "flower"))])
    answer = rng.choice(
        (
            f"I saw {article(word)} {word} in the garden today.",
            f"My friend has {article(word)} {word} at home.",
        )
    )
    talk.say(SENTENCE, (answer,), keep=(word,), w=word)


def echo(talk: Talk) -> None:
    """Say what the user says; it also teaches copying."""
    rng = talk.rng
    words = [
        pseudo_word(rng) if talk.chance(0.3) else rng.choice(lex.SPELLING)
        for _ in range(rng.randint(1, 4))
    ]
    phrase = " ".join(words)
    talk.say(SAY, (phrase,), exact=True, w=phrase)


def drill(talk: Talk) -> None:
    """Repeat a longer row of words: pure copying, which names, sums and stories build on."""
    rng = talk.rng
    words = [
        pseudo_word(rng) if talk.chance(0.2) else rng.choice(lex.SPELLING)
        for _ in range(rng.randint(4, 16))
    ]
    phrase = " ".join(words)
    talk.say(SAY, (phrase,), exact=True, w=phrase)


SCENES: Scenes = (
    (1.2, jokes),
    (1.2, riddles),
    (0.5, play),
    (0.4, sentences),
    (1.2, echo),
)

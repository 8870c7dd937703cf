"""Word games: opposites, rhymes, plurals, spelling, synonyms."""

from __future__ import annotations

import random

from . import lexicon as lex
from .made_up import pseudo_word
from .talk import Scenes, Talk

ANOTHER = (
    "another one", "another", "one more", "another one please", "again", "and another?",
    "give me another one", "more", "one more please", "can you give me another?",
    "tell me another one", "do another", "next", "next one", "and one more?", "give me one more",
    "let's do another one", "~and a further one?", "~i want yet another",
)  # fmt: skip
WHAT_ABOUT = (
    "and {w}?", "what about {w}?", "and of {w}?", "how about {w}?", "and for {w}?", "{w}?",
    "and the word {w}?", "now {w}", "ok and {w}?", "and what about {w}?", "then {w}?",
    "what about the word {w}?", "do {w}", "now with {w}", "~same for {w}?", "~try {w} next",
    "~{w} too?",
)  # fmt: skip
OPPOSITE = (
    "what is the opposite of {w}?", "what is the opposite of {w}?", "what's the opposite of {w}?",
    "opposite of {w}", "the opposite of {w}?", "what is the opposite of the word {w}?",
    "which word is the opposite of {w}?", "tell me the opposite of {w}",
    "give me the opposite of {w}", "do you know the opposite of {w}?", "name the opposite of {w}",
    "what word means the opposite of {w}?", "opposite: {w}", "i need the opposite of {w}",
    "find the opposite of {w}", "what is {w} the opposite of?", "say the opposite of {w}",
    "what is not {w}?", "what's the contrary of {w}?", "what is the reverse of {w}?",
    "antonym of {w}", "what is an antonym of {w}?", "an antonym for {w}?",
    "if it is not {w}, what is it?", "~which word means the contrary of {w}?",
    "~something that is not {w} is what?", "~{w} has which opposite?",
    "~i look for the opposite of {w}",
)  # fmt: skip
RHYME = (
    "what rhymes with {w}?", "what rhymes with {w}?", "which word rhymes with {w}?",
    "give me a rhyme for {w}", "a rhyme for {w}", "rhyme with {w}", "find a rhyme for {w}",
    "tell me a word that rhymes with {w}", "what word rhymes with {w}?",
    "do you know a rhyme for {w}?", "name a word that rhymes with {w}", "can you rhyme {w}?",
    "i need a rhyme for {w}", "a word that rhymes with {w}?", "say something that rhymes with {w}",
    "words that rhyme with {w}", "rhymes for {w}?", "rhyme {w}", "a word rhyming with {w}?",
    "which words rhyme with {w}?", "look for a rhyme for {w}", "is there a rhyme for {w}?",
    "i want a word that rhymes with {w}", "something rhyming with {w}?",
    "what could i rhyme with {w}?", "give me one word rhyming with {w}",
    "does anything rhyme with {w}?", "~which word sounds like {w} at its end?",
    "~help me to rhyme {w}", "~{w} rhymes with what?",
)  # fmt: skip
PLURAL = (
    "what is the plural of {w}?", "what's the plural of {w}?", "plural of {w}",
    "the plural of {w}?", "tell me the plural of {w}", "how do you say more than one {w}?",
    "one {w}, two what?", "one {w}, many what?", "give me the plural of {w}",
    "do you know the plural of {w}?", "what is the plural form of {w}?",
    "how do i write {w} in the plural?", "what do you call two {w}s?", "make {w} plural",
    "one {w}, two ...?", "form the plural of {w}", "i need the plural of {w}",
    "~which is the plural of {w}?", "~what is {w} when there are many?", "~put {w} into the plural",
)  # fmt: skip
SPELL = (
    "spell {w}", "spell {w}", "how do you spell {w}?", "how do i spell {w}?", "can you spell {w}?",
    "spell the word {w}", "how is {w} spelled?", "please spell {w}", "spelling of {w}?",
    "how to spell {w}", "how is {w} written?", "how do you write {w}?", "tell me how to spell {w}",
    "what is the spelling of {w}?", "spell out {w}", "which letters are in {w}?",
    "i can't spell {w}", "spell {w} for me", "what letters does {w} have?",
    "what are the letters of {w}?", "which letters make up {w}?",
    "how do i write {w} with letters?", "the letters of {w}?", "write down the letters of {w}",
    "how do the letters of {w} go?", "list the letters of {w}", "how does one spell {w}?",
    "the spelling of {w} please", "what letters is {w} made of?", "~write {w} letter by letter",
    "~give me the letters of {w}", "~could you spell out the word {w}?",
)  # fmt: skip
LETTERS = (
    "how many letters does {w} have?", "how many letters are in {w}?", "how many letters has {w}?",
    "how long is the word {w}?", "count the letters in {w}", "number of letters in {w}?",
    "how many letters are there in the word {w}?", "count the letters of {w}",
    "~the word {w} has how many letters?", "~what is the length of the word {w}?",
)  # fmt: skip
FIRST = (
    "what is the first letter of {w}?",
    "which letter does {w} start with?",
    "what letter does {w} begin with?",
    "first letter of {w}?",
    "{w} starts with which letter?",
    "what does {w} start with?",
    "the first letter in {w}?",
    "~with which letter does {w} begin?",
    "~name the first letter of {w}",
)
LAST = (
    "what is the last letter of {w}?",
    "which letter does {w} end with?",
    "what letter does {w} end in?",
    "last letter of {w}?",
    "{w} ends with which letter?",
    "what does {w} end with?",
    "~with which letter does {w} end?",
    "~name the last letter of {w}",
)
SYNONYM = (
    "what is another word for {w}?", "another word for {w}", "give me a synonym for {w}",
    "synonym of {w}", "what is a synonym for {w}?", "what word means the same as {w}?",
    "which word means {w}?", "say {w} in another way", "a synonym for {w}?",
    "a different word for {w}?", "find a synonym for {w}", "~instead of {w}, what can i say?",
    "~which word is like {w}?",
)  # fmt: skip


def article(word: str) -> str:
    """Return "a" or "an"."""
    return "an" if word[0].lower() in "aeiou" else "a"


def dashed(word: str) -> str:
    """Return a word letter by letter: c-a-t."""
    return "-".join(word)


def _some_word(rng: random.Random) -> str:
    return pseudo_word(rng) if rng.random() < 0.12 else rng.choice(lex.SPELLING)


def _opposite_answer(word: str) -> str:
    for one, other in lex.OPPOSITES:
        if word in (one, other):
            return f"The opposite of {word} is {other if word == one else one}."
    return f"I don't know an opposite of {word}."


def opposites(talk: Talk) -> None:
    """Opposites, with "and of small?" behind it."""
    rng = talk.rng
    for asks in (OPPOSITE, WHAT_ABOUT, WHAT_ABOUT):
        word = rng.choice(rng.choice(lex.OPPOSITES))
        if talk.chance(0.07):
            word = (
                pseudo_word(rng)
                if talk.chance(0.5)
                else rng.choice(lex.CATEGORIES["piece of furniture"] + lex.CATEGORIES["fruit"])
            )
        talk.say(asks, (_opposite_answer(word),), keep=(word,), w=word)
        if not talk.chance(0.35):
            break


def _rhyme_answer(word: str, rng: random.Random) -> str:
    groups = [group for group in lex.RHYMES if word in group]
    if not groups:
        return f"I don't know a rhyme for {word}."
    group = groups[0]
    others = [other for other in group if other != word]
    return f"{word.capitalize()} rhymes with {others[0]}."


def rhymes(talk: Talk) -> None:
    """Rhymes; "another one" gives the next word of the group."""
    rng = talk.rng
    group = rng.choice(lex.RHYMES)
    word = pseudo_word(rng) if talk.chance(0.07) else rng.choice(group)
    talk.say(RHYME, (_rhyme_answer(word, rng),), keep=(word,), w=word)
    others = [other for other in group if other != word]
    if word in group and len(others) > 1 and talk.chance(0.25):
        talk.say(ANOTHER, (f"{word.capitalize()} also rhymes with {others[1]}.",))
    elif talk.chance(0.3):
        word = rng.choice(rng.choice(lex.RHYMES))
        talk.say(WHAT_ABOUT, (_rhyme_answer(word, rng),), keep=(word,), w=word)


PLAIN_PLURALS = {
    word: word + "s"
    for word in """
        dog cat house tree car book star apple table chair girl king hat horse cow song river bird
        ball lamp model token weight word number cup friend door train boat ring cake
    """.split()
}


def plurals(talk: Talk) -> None:
    """Plurals, regular and not."""
    rng = talk.rng
    irregular, regular = lex.IRREGULAR_PLURALS, lex.REGULAR_PLURALS
    table = rng.choice((irregular, irregular, regular, PLAIN_PLURALS))
    for asks in (PLURAL, WHAT_ABOUT):
        word = rng.choice(list(table))
        talk.say(asks, (f"The plural of {word} is {table[word]}.",), keep=(word,), w=word)
        if not talk.chance(0.3):
            break


def spelling(talk: Talk) -> None:
    """Spell, count letters, first and last letter."""
    rng = talk.rng
    kinds = (
        (SPELL, lambda w: f"{w.capitalize()} is spelled {dashed(w)}."),
        (SPELL, lambda w: f"{w.capitalize()} is spelled {dashed(w)}."),
        (LETTERS, lambda w: f"{dashed(w)}: {w} has {len(w)} letters."),
        (FIRST, lambda w: f"The first letter of {w} is {w[0]}."),
        (LAST, lambda w: f"{dashed(w)}: the last letter of {w} is {w[-1]}."),
    )
    asks, answer = rng.choice(kinds)
    for forms in (asks, WHAT_ABOUT):
        word = _some_word(rng)
        talk.say(forms, (answer(word),), keep=(word,), w=word)
        if not talk.chance(0.3):
            break


def synonyms(talk: Talk) -> None:
    """Another word for a word."""
    for asks in (SYNONYM, WHAT_ABOUT):
        word = talk.rng.choice(list(lex.SYNONYMS))
        talk.say(
            asks,
            (f"Another word for {word} is {lex.SYNONYMS[word]}.",),
            keep=(word,),
            w=word,
        )
        if not talk.chance(0.25):
            break


SCENES: Scenes = (
    (2.6, opposites),
    (2.0, rhymes),
    (1.2, plurals),
    (3.4, spelling),
    (0.8, synonyms),
)

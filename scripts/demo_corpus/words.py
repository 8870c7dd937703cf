"""Word games: opposites, rhymes, plurals, spelling, colors, days, animals, riddles and jokes."""

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
    "words that rhyme with {w}", "rhymes for {w}?", "rhyme {w}",
    "~which word sounds like {w} at its end?", "~help me to rhyme {w}", "~{w} rhymes with what?",
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
    "~write {w} letter by letter", "~give me the letters of {w}",
    "~could you spell out the word {w}?",
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

AFTER = (
    "what comes after {w}?",
    "what day comes after {w}?",
    "which one comes after {w}?",
    "what is after {w}?",
    "what follows {w}?",
    "which day is after {w}?",
    "if today is {w}, what is tomorrow?",
    "today is {w}. what is tomorrow?",
    "the day after {w}?",
    "~which day follows upon {w}?",
    "~once {w} is over, what day is it?",
)
BEFORE = (
    "what comes before {w}?",
    "what day comes before {w}?",
    "which one comes before {w}?",
    "what is before {w}?",
    "which day is before {w}?",
    "if today is {w}, what was yesterday?",
    "today is {w}. what was yesterday?",
    "the day before {w}?",
    "~which day do we have just before {w}?",
)
AFTER_MONTH = (
    "what comes after {w}?",
    "what month comes after {w}?",
    "which month comes after {w}?",
    "which month follows {w}?",
    "the month after {w}?",
    "what is the next month after {w}?",
    "~once {w} is over, which month is it?",
)
BEFORE_MONTH = (
    "what comes before {w}?",
    "what month comes before {w}?",
    "which month comes before {w}?",
    "the month before {w}?",
    "which month is before {w}?",
    "~which month do we have just before {w}?",
)
LIST_DAYS = (
    "what are the days of the week?",
    "name the days of the week",
    "list the days of the week",
    "tell me the days of the week",
    "say the days of the week",
    "which days are there in a week?",
    "the days of the week?",
    "days of the week",
    "~which days has a week?",
    "~all weekdays in order",
)
HOW_MANY_DAYS = (
    "how many days are in a week?",
    "how many days does a week have?",
    "how many days has a week?",
    "number of days in a week?",
    "how long is a week?",
    "~a week has how many days?",
)
LIST_MONTHS = (
    "what are the months of the year?",
    "name the months",
    "list the months",
    "tell me the months of the year",
    "say the months",
    "which months are there?",
    "the months of the year?",
    "name all months",
    "~which months has a year?",
    "~all months in order",
)
HOW_MANY_MONTHS = (
    "how many months are in a year?",
    "how many months does a year have?",
    "how many months has a year?",
    "number of months in a year?",
    "~a year has how many months?",
)
LENGTHS = (
    ("days", "a year", "A year has 365 days, or 366 in a leap year."),
    ("hours", "a day", "A day has 24 hours."), ("minutes", "an hour", "An hour has 60 minutes."),
    ("seconds", "a minute", "A minute has 60 seconds."),
    ("weeks", "a year", "A year has 52 weeks."),
    ("letters", "the alphabet", "The alphabet has 26 letters."),
    ("seasons", "a year", "A year has 4 seasons."),
)  # fmt: skip
HOW_MANY = (
    "how many {a} are in {b}?", "how many {a} does {b} have?", "how many {a} has {b}?",
    "number of {a} in {b}?", "how many {a} are there in {b}?", "how many {a} in {b}?",
    "tell me how many {a} {b} has", "{b} has how many {a}?", "~count the {a} of {b}",
    "~of how many {a} does {b} consist?",
)  # fmt: skip
ABC = (
    "say the alphabet",
    "what is the alphabet?",
    "tell me the alphabet",
    "recite the alphabet",
    "the alphabet?",
    "do you know the alphabet?",
    "list the letters",
    "write the alphabet",
    "abc",
    "say the abc",
    "~all letters in order",
    "~which letters are there?",
)
LETTER_AFTER = (
    "which letter comes after {w}?",
    "what letter comes after {w}?",
    "what comes after the letter {w}?",
    "the letter after {w}?",
    "which letter follows {w}?",
    "what is the next letter after {w}?",
    "~in the alphabet, what is behind {w}?",
)
VOWELS = (
    "what are the vowels?",
    "name the vowels",
    "which letters are vowels?",
    "list the vowels",
    "tell me the vowels",
    "vowels?",
    "~which vowels are there?",
)

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


def plurals(talk: Talk) -> None:
    """Plurals, regular and not."""
    rng = talk.rng
    plain = {
        w: w + "s"
        for w in "dog cat house tree car book star apple table chair girl king hat horse cow song river bird ball lamp model token weight word number cup friend door train boat ring cake".split()
    }
    table = rng.choice((lex.IRREGULAR_PLURALS, lex.IRREGULAR_PLURALS, lex.REGULAR_PLURALS, plain))
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
        talk.say(asks, (f"Another word for {word} is {lex.SYNONYMS[word]}.",), keep=(word,), w=word)
        if not talk.chance(0.25):
            break


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
                word = pseudo_word(rng) if talk.chance(0.5) else rng.choice(lex.CATEGORIES["tool"] + lex.CATEGORIES["fruit"])
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
        talk.say(WHAT_KIND, (f"{a} {word} is {article(kind)} {kind}.",), keep=(word,), a=a, w=word)


def orders(talk: Talk) -> None:
    """Days, months and letters in order."""
    rng = talk.rng
    kind = rng.randrange(11)
    if kind < 4:
        names = lex.DAYS if kind < 2 else lex.MONTHS
        at = rng.randrange(len(names))
        step = 1 if kind % 2 == 0 else -1
        where = "After" if step == 1 else "Before"
        asks = {(0): AFTER, (1): BEFORE, (2): AFTER_MONTH, (3): BEFORE_MONTH}[kind]
        for forms in (asks, WHAT_ABOUT):
            talk.say(
                forms,
                (f"{where} {names[at]} comes {names[(at + step) % len(names)]}.",),
                keep=(names[at],),
                w=names[at],
            )
            at = rng.randrange(len(names))
            if not talk.chance(0.3):
                break
    elif kind == 4:
        talk.say(LIST_DAYS, (", ".join(lex.DAYS[:-1]) + " and Sunday.",))
    elif kind == 5:
        talk.say(LIST_MONTHS, (", ".join(lex.MONTHS[:-1]) + " and December.",))
    elif kind == 6:
        if talk.chance(0.5):
            talk.say(HOW_MANY_DAYS, ("A week has 7 days.",))
        else:
            talk.say(HOW_MANY_MONTHS, ("A year has 12 months.",))
    elif kind == 10:
        what, where, answer = rng.choice(LENGTHS)
        talk.say(HOW_MANY, (answer,), keep=(what,), a=what, b=where)
    elif kind == 7:
        talk.say(ABC, (" ".join(lex.ALPHABET),))
    elif kind == 8:
        at = rng.randrange(25)
        talk.say(
            LETTER_AFTER,
            (f"After {lex.ALPHABET[at]} comes {lex.ALPHABET[at + 1]}.",),
            w=lex.ALPHABET[at],
        )
    else:
        talk.say(VOWELS, ("The vowels are a, e, i, o and u.",))


def jokes(talk: Talk) -> None:
    """A joke, then a different one."""
    first, second = talk.rng.sample(lex.JOKES, 2)
    talk.say(JOKE, (first,))
    if talk.chance(0.35):
        talk.say(ANOTHER, (second,))


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
        talk.say(GUESS, ("No, not that. Guess again, or say: I give up.",), keep=(wrong,), w=wrong)
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


SCENES: Scenes = (
    (2.6, opposites),
    (2.0, rhymes),
    (1.2, plurals),
    (2.6, spelling),
    (0.8, synonyms),
    (1.5, animals),
    (1.0, colors),
    (1.8, categories),
    (1.6, orders),
    (1.2, jokes),
    (1.2, riddles),
    (0.5, play),
    (0.4, sentences),
    (1.2, echo),
)

"""Days, months and letters in order."""

from __future__ import annotations

from . import lexicon as lex
from .talk import Scenes, Talk
from .words import WHAT_ABOUT

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
            keep=(lex.ALPHABET[at],),
            w=lex.ALPHABET[at],
        )
    else:
        talk.say(VOWELS, ("The vowels are a, e, i, o and u.",))


SCENES: Scenes = ((1.6, orders),)

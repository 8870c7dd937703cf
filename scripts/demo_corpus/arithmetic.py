"""Sums, times tables, division, and follow-ups that lean on the last result."""

from __future__ import annotations

import random

from .talk import Scenes, Talk

UNITS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
""".split()  # fmt: skip
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ADD = (
    "what is {a} plus {b}?", "what is {a} plus {b}?", "what is {a} + {b}?", "what's {a} + {b}?",
    "{a} + {b}", "{a} + {b} = ?", "{a}+{b}", "{a}+{b}=", "{a} + {b} =", "{a} plus {b}",
    "{a} plus {b} is?", "{a} plus {b} equals?", "how much is {a} plus {b}?",
    "how much is {a} + {b}?", "how much is {a} and {b}?", "add {a} and {b}", "add {a} to {b}",
    "add {b} to {a}", "what does {a} plus {b} make?", "what does {a} + {b} equal?",
    "what do you get if you add {a} and {b}?", "what do {a} and {b} make?",
    "the sum of {a} and {b}?", "what is the sum of {a} and {b}?", "calculate {a} + {b}",
    "calculate {a} plus {b}", "compute {a} + {b}", "can you add {a} and {b}?",
    "can you calculate {a} plus {b}?", "what is {a} added to {b}?", "sum {a} and {b}",
    "what is {a} and {b} together?", "solve {a} + {b}", "tell me {a} plus {b}",
    "do you know {a} plus {b}?", "{a} and {b} makes?", "what comes out of {a} + {b}?",
    "what would {a} plus {b} be?", "whats {a} + {b}", "please add {a} plus {b}",
    "could you do {a} plus {b}?", "figure out {a} plus {b}", "can you sum {a} and {b} for me?",
    "can you do {a} + {b}?", "what is {a} plus {b} please?", "give me {a} plus {b}",
    "put {a} and {b} together", "~if i add {a} and {b}, what do i get?", "~work out {a} plus {b}",
    "~the result of {a} + {b}?", "~{a} plus {b}, how much is that?",
    "~what number is {a} plus {b}?",
)  # fmt: skip
SUBTRACT = (
    "what is {a} minus {b}?", "what is {a} minus {b}?", "what is {a} - {b}?", "what's {a} - {b}?",
    "{a} - {b}", "{a} - {b} = ?", "{a}-{b}", "{a} minus {b}", "{a} minus {b} is?",
    "how much is {a} minus {b}?", "how much is {a} - {b}?", "subtract {b} from {a}",
    "take {b} from {a}", "take {b} away from {a}", "what is {a} take away {b}?",
    "what is {a} less {b}?", "what is the difference between {a} and {b}?", "calculate {a} - {b}",
    "calculate {a} minus {b}", "compute {a} minus {b}", "what is left if you take {b} from {a}?",
    "can you subtract {b} from {a}?", "{a} minus {b} equals?", "what remains of {a} if i take {b}?",
    "whats {a} - {b}", "solve {a} - {b}", "now take {b} away from {a}", "take {b} off {a}",
    "remove {b} from {a}", "{b} less than {a}?", "what is {a} without {b}?",
    "please take {b} from {a}", "{b} taken from {a}?", "if you take {b} from {a}?",
    "~if i take {b} from {a}, what is left?", "~work out {a} minus {b}",
    "~the result of {a} - {b}?", "~{a} minus {b}, how much is that?",
)  # fmt: skip
MULTIPLY = (
    "what is {a} times {b}?", "what is {a} times {b}?", "what is {a} x {b}?", "what is {a} * {b}?",
    "{a} * {b}", "{a} x {b}", "{a} x {b} = ?", "{a} times {b}", "{a} times {b} is?",
    "how much is {a} times {b}?", "how much is {a} x {b}?", "multiply {a} by {b}",
    "multiply {a} and {b}", "what is {a} multiplied by {b}?", "calculate {a} times {b}",
    "calculate {a} * {b}", "the product of {a} and {b}?", "what is the product of {a} and {b}?",
    "can you multiply {a} by {b}?", "{a} times {b} equals?", "whats {a} times {b}",
    "solve {a} x {b}", "{a} times {b} gives?", "{a} times {b} gives what?",
    "what does {a} times {b} give?", "what comes out of {a} times {b}?", "do {a} times {b}",
    "~if i multiply {a} by {b}, what do i get?", "~work out {a} times {b}",
    "~{a} times {b}, how much is that?",
)  # fmt: skip
DIVIDE = (
    "what is {a} divided by {b}?", "what is {a} / {b}?", "{a} / {b}", "{a} divided by {b}",
    "how much is {a} divided by {b}?", "divide {a} by {b}", "calculate {a} / {b}", "{a} : {b}",
    "what is {a} over {b}?", "can you divide {a} by {b}?", "how many times does {b} go into {a}?",
    "{a} / {b} = ?", "split {a} by {b}", "~if i divide {a} by {b}, what do i get?",
    "~work out {a} divided by {b}",
)  # fmt: skip
AND_PLUS = (
    "and plus {n}?", "and plus {n}", "plus {n}?", "plus {n}", "+ {n}", "+ {n}?", "now add {n}",
    "add {n}", "add {n} more", "add {n} to that", "and {n} more?", "now plus {n}",
    "and if i add {n}?", "and add {n}", "then add {n}", "what if you add {n}?",
    "what is that plus {n}?", "that plus {n}?", "and now plus {n}?", "add another {n}",
    "~put {n} on top", "~increase it by {n}", "~and with {n} added?",
)  # fmt: skip
AND_MINUS = (
    "and minus {n}?", "and minus {n}", "minus {n}?", "minus {n}", "- {n}", "now subtract {n}",
    "subtract {n}", "take away {n}", "take {n} away", "take {n} from that", "and {n} less?",
    "now minus {n}", "what is that minus {n}?", "that minus {n}?", "then subtract {n}",
    "and if i take {n} away?", "~decrease it by {n}", "~and with {n} taken off?",
)  # fmt: skip
AND_TIMES = (
    "and times {n}?", "times {n}?", "times {n}", "now multiply by {n}", "multiply that by {n}",
    "multiply by {n}", "x {n}", "* {n}", "what is that times {n}?", "that times {n}?",
    "now times {n}", "~multiplied by {n}?", "~{n} times as much?",
)  # fmt: skip
WHAT_ABOUT = (
    "and with {n}?", "what about {n}?", "and {n}?", "and what about {n}?", "how about {n}?",
    "and for {n}?", "now with {n}", "with {n}?", "what about {n} instead?", "and if it is {n}?",
    "~try it with {n}", "~same with {n}?",
)  # fmt: skip
SURE = (
    "are you sure?", "are you sure", "really?", "is that right?", "is that correct?", "sure?",
    "are you certain?", "is it really?", "can you check that?", "check again", "you sure?",
    "really", "i don't believe you", "that can't be right", "are you really sure?",
    "~is that your final answer?", "~could that be wrong?",
)  # fmt: skip
HOW_SO = (
    "how do you know?", "why?", "how did you get that?", "how did you calculate that?", "how come?",
    "why is that?", "explain", "how so?", "show me how", "~what is your way to that number?",
    "~and why?",
)  # fmt: skip


def in_words(number: int) -> str:
    """Return a number from 0 to 99 in English words."""
    if number < 20:
        return UNITS[number]
    return TENS[number // 10] + ("-" + UNITS[number % 10] if number % 10 else "")


def _shown(rng: random.Random, *numbers: int) -> tuple[object, ...]:
    as_words = rng.random() < 0.15 and all(0 <= n < 100 for n in numbers)
    return tuple(in_words(n) if as_words else n for n in numbers)


def sum_operands(rng: random.Random) -> tuple[int, int]:
    limit = rng.choices((10, 20, 50, 100), (4, 4, 2, 3))[0]
    return rng.randint(0, limit), rng.randint(0, limit)


def _difference_operands(rng: random.Random) -> tuple[int, int]:
    a, b = sum_operands(rng)
    return (b, a) if b > a and rng.random() < 0.93 else (a, b)


def _operation(rng: random.Random) -> tuple[tuple[str, ...], str, int, int, int]:
    kind = rng.choices(("plus", "minus", "times"), (5, 4, 3))[0]
    if kind == "plus":
        a, b = sum_operands(rng)
        return ADD, kind, a, b, a + b
    if kind == "minus":
        a, b = _difference_operands(rng)
        return SUBTRACT, kind, a, b, a - b
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    if rng.random() < 0.15:
        a, b = rng.randint(1, 12), rng.randint(1, 12)
    return MULTIPLY, kind, a, b, a * b


def sum_chain(talk: Talk) -> None:
    """Ask for one operation, then perhaps go on from its result."""
    asks, word, a, b, result = _operation(talk.rng)
    shown_a, shown_b = _shown(talk.rng, a, b)
    last = f"{a} {word} {b} is {result}."
    talk.say(asks, (last,), a=shown_a, b=shown_b, keep=UNITS + TENS)
    going = 0.45
    while talk.chance(going):
        going = 0.35
        n = talk.rng.randint(1, 10)
        kind = talk.rng.choices(
            ("plus", "minus", "times", "about", "sure", "how"), (6, 4, 2, 2, 2, 1)
        )[0]
        shown = _shown(talk.rng, n)[0]
        if kind == "plus":
            word, a, b, result = "plus", result, n, result + n
            asks = AND_PLUS
        elif kind == "minus" and result - n >= 0:
            word, a, b, result = "minus", result, n, result - n
            asks = AND_MINUS
        elif kind == "times" and 0 <= result <= 10:
            word, a, b, result = "times", result, n, result * n
            asks = AND_TIMES
        elif kind == "about" and (
            word == "plus" or (word == "times" and a <= 10) or (word == "minus" and n <= a)
        ):
            b = n
            result = a + b if word == "plus" else a * b if word == "times" else a - b
            asks = WHAT_ABOUT
        elif kind == "sure":
            talk.say(SURE, ("Yes: " + last,))
            continue
        elif kind == "how":
            talk.say(HOW_SO, ("I learned many sums in training: " + last,))
            continue
        else:
            continue
        last = f"{a} {word} {b} is {result}."
        talk.say(asks, (last,), n=shown, keep=UNITS + TENS)


def division(talk: Talk) -> None:
    """Divide within the times tables, or by zero."""
    b = talk.rng.randint(1, 10)
    result = talk.rng.randint(1, 10)
    if talk.chance(0.08):
        talk.say(DIVIDE, ("Nobody can divide by 0.",), a=result, b=0)
        return
    rest = talk.rng.randint(1, b - 1) if b > 1 and talk.chance(0.15) else 0
    a = b * result + rest
    answer = f"{a} divided by {b} is {result}" + (f" with {rest} left over." if rest else ".")
    shown_a, shown_b = _shown(talk.rng, a, b)
    talk.say(DIVIDE, (answer,), a=shown_a, b=shown_b, keep=UNITS + TENS)


TOO_BIG = (
    "That is too big for me. I can do sums with numbers up to 100.",
    "These numbers are too big for me: I only learned sums up to 100.",
)


def too_big(talk: Talk) -> None:
    """Refuse sums that the model cannot do."""
    rng = talk.rng
    asks = rng.choice((ADD, SUBTRACT, MULTIPLY, DIVIDE))
    small = 12 if asks is MULTIPLY else 130
    a = rng.choice((rng.randint(200, 999), rng.randint(1000, 99999), rng.randint(200, 5000)))
    b = rng.choice((rng.randint(200, 999), rng.randint(small, 9999), rng.randint(13, 500)))
    talk.say(asks, TOO_BIG, a=a, b=b)


HARD = (
    "what is the square root of {a}?", "square root of {a}", "what is {a} percent of {b}?",
    "what is the sine of {a}?", "what is pi?", "what is the value of pi?", "solve x + {a} = {b}",
    "what is {a} to the power of {b}?", "{a} ^ {b}", "what is the logarithm of {a}?",
    "is {a} a prime number?", "what is {a} factorial?", "{a}!", "what is the integral of x?",
    "what is {a}.5 plus {b}.25?", "what is x if {a} x = {b}?",
    "what is the derivative of x squared?", "prove that {a} is prime", "what is {a} squared?",
    "convert {a} miles to kilometers", "how many {a} in a dozen?", "what is one third of {a}?",
    "~do some algebra with {a} and {b}", "~what is the cube of {a}?",
)  # fmt: skip
TOO_HARD = (
    "That is too hard for me. I only know plus, minus, times and divided by, with small numbers.",
    "I can't do that kind of math. I know plus, minus, times and divided by, with small numbers.",
)


def too_hard(talk: Talk) -> None:
    """Refuse mathematics beyond the four operations."""
    talk.say(HARD, TOO_HARD, a=talk.rng.randint(2, 99), b=talk.rng.randint(2, 99))


SCENES: Scenes = (
    (9.0, sum_chain),
    (1.2, division),
    (0.9, too_big),
    (0.5, too_hard),
)

"""Small sums, times tables, counting, comparing, and the follow-ups that lean on the last result."""

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
    "what would {a} plus {b} be?", "whats {a} + {b}", "~if i add {a} and {b}, what do i get?",
    "~work out {a} plus {b}", "~the result of {a} + {b}?", "~{a} plus {b}, how much is that?",
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
    "whats {a} - {b}", "solve {a} - {b}", "~if i take {b} from {a}, what is left?",
    "~work out {a} minus {b}", "~the result of {a} - {b}?", "~{a} minus {b}, how much is that?",
)  # fmt: skip
MULTIPLY = (
    "what is {a} times {b}?", "what is {a} times {b}?", "what is {a} x {b}?", "what is {a} * {b}?",
    "{a} * {b}", "{a} x {b}", "{a} x {b} = ?", "{a} times {b}", "{a} times {b} is?",
    "how much is {a} times {b}?", "how much is {a} x {b}?", "multiply {a} by {b}",
    "multiply {a} and {b}", "what is {a} multiplied by {b}?", "calculate {a} times {b}",
    "calculate {a} * {b}", "the product of {a} and {b}?", "what is the product of {a} and {b}?",
    "can you multiply {a} by {b}?", "{a} times {b} equals?", "whats {a} times {b}",
    "solve {a} x {b}", "~if i multiply {a} by {b}, what do i get?", "~work out {a} times {b}",
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


def _sum_operands(rng: random.Random) -> tuple[int, int]:
    limit = rng.choices((10, 20, 50, 100), (4, 4, 2, 3))[0]
    return rng.randint(0, limit), rng.randint(0, limit)


def _difference_operands(rng: random.Random) -> tuple[int, int]:
    a, b = _sum_operands(rng)
    return (b, a) if b > a and rng.random() < 0.93 else (a, b)


def _operation(rng: random.Random) -> tuple[tuple[str, ...], str, int, int, int]:
    kind = rng.choices(("plus", "minus", "times"), (5, 4, 3))[0]
    if kind == "plus":
        a, b = _sum_operands(rng)
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


def too_hard(talk: Talk) -> None:
    """Refuse mathematics beyond the four operations."""
    talk.say(HARD, ("That is too hard for me. I only know plus, minus, times and divided by, with small numbers.",
                    "I can't do that kind of math. I know plus, minus, times and divided by, with small numbers."),
             a=talk.rng.randint(2, 99), b=talk.rng.randint(2, 99))  # fmt: skip


THINGS = (
    "apple",
    "book",
    "coin",
    "egg",
    "ball",
    "cookie",
    "pencil",
    "flower",
    "shell",
    "stone",
    "cake",
    "card",
    "toy",
    "candle",
    "nut",
    "pear",
    "cup",
    "duck",
    "cat",
    "key",
)
NAMES = ("Ana", "Ben", "Mia", "Tom", "Lily", "Sam", "Nora", "Max", "Eva", "Leo", "Tim", "Zoe")
GAIN = (
    "i have {a} {things} and get {b} more. how many {things} do i have?",
    "{name} has {a} {things} and buys {b} more. how many does {name} have now?",
    "if i have {a} {things} and find {b} more, how many do i have?",
    "there are {a} {things} in a box. i put in {b} more. how many are there?",
    "{name} had {a} {things} and got {b} from a friend. how many {things} now?",
    "i had {a} {things}, then i got {b}. how many now?",
    "{a} {things} and {b} more {things}, how many is that?",
    "how many {things} are {a} {things} and {b} {things}?",
    "~{name} picks up {b} {things} and already had {a}. how many together?",
    "~to my {a} {things} i add {b}. how many {things}?",
)  # fmt: skip
LOSE = (
    "i have {a} {things} and lose {b}. how many are left?",
    "{name} has {a} {things} and gives {b} away. how many does {name} have now?",
    "if i have {a} {things} and eat {b}, how many are left?",
    "there are {a} {things} in a box. i take out {b}. how many are left?",
    "{name} had {a} {things} and sold {b}. how many {things} now?",
    "i had {a} {things}, then i lost {b}. how many now?",
    "{a} {things}, {b} break. how many remain?",
    "~{name} drops {b} of {a} {things}. how many remain?",
    "~from my {a} {things} i give you {b}. how many do i keep?",
)  # fmt: skip


def word_problem(talk: Talk) -> None:
    """A one-step story sum."""
    rng = talk.rng
    thing = rng.choice(THINGS)
    a, b = rng.randint(2, 20), rng.randint(1, 10)
    if talk.chance(0.5):
        asks, word, result = GAIN, "plus", a + b
    else:
        b = min(a, b)
        asks, word, result = LOSE, "minus", a - b
    answer = (
        f"{a} {word} {b} is {result}, so it is {result} {thing if result == 1 else thing + 's'}."
    )
    talk.say(asks, (answer,), a=a, b=b, things=thing + "s", name=rng.choice(NAMES))


COUNT = (
    "count to {b}", "count from 1 to {b}", "can you count to {b}?", "count up to {b}",
    "count till {b}", "please count to {b}", "i want you to count to {b}", "let's count to {b}",
    "start counting to {b}", "~say the numbers up to {b}", "~list the numbers to {b}",
)  # fmt: skip
COUNT_FROM = (
    "count from {a} to {b}",
    "can you count from {a} to {b}?",
    "count up from {a} to {b}",
    "say the numbers from {a} to {b}",
    "numbers from {a} to {b}",
    "~list all numbers between {a} and {b}",
)
COUNT_DOWN = (
    "count down from {b}",
    "count backwards from {b}",
    "can you count down from {b}?",
    "countdown from {b}",
    "start a countdown from {b}",
    "count back from {b} to 1",
    "~do a countdown, beginning with {b}",
)
COUNT_TWOS = (
    "count by twos to {b}",
    "count in twos to {b}",
    "count the even numbers up to {b}",
    "count to {b} in steps of two",
    "even numbers up to {b}",
    "~go by twos up to {b}",
)


def counting(talk: Talk) -> None:
    """Count up, down, by twos, or from somewhere."""
    rng = talk.rng
    kind = rng.randrange(4)
    high = rng.randint(3, 20)
    low = 1
    if kind == 0:
        asks, numbers = COUNT, list(range(1, high + 1))
    elif kind == 1:
        low = rng.randint(1, 30)
        high = low + rng.randint(2, 10)
        asks, numbers = COUNT_FROM, list(range(low, high + 1))
    elif kind == 2:
        high = rng.randint(3, 12)
        asks, numbers = COUNT_DOWN, list(range(high, 0, -1))
    else:
        high = 2 * rng.randint(2, 10)
        asks, numbers = COUNT_TWOS, list(range(2, high + 1, 2))
    talk.say(asks, (", ".join(map(str, numbers)) + ".",), a=low, b=high)


BIGGER = (
    "which is bigger, {a} or {b}?", "what is bigger, {a} or {b}?",
    "which number is bigger: {a} or {b}?", "what is larger, {a} or {b}?", "is {a} or {b} bigger?",
    "which is more, {a} or {b}?", "which is greater, {a} or {b}?", "{a} or {b}, which is bigger?",
    "bigger: {a} or {b}?", "which of {a} and {b} is bigger?",
    "~of {a} and {b}, which number is the larger one?", "~what is the maximum of {a} and {b}?",
)  # fmt: skip
SMALLER = (
    "which is smaller, {a} or {b}?", "what is smaller, {a} or {b}?",
    "which number is smaller: {a} or {b}?", "is {a} or {b} smaller?", "which is less, {a} or {b}?",
    "{a} or {b}, which is smaller?", "which of {a} and {b} is smaller?",
    "~of {a} and {b}, which number is the smaller one?",
)  # fmt: skip
IS_BIGGER = (
    "is {a} bigger than {b}?",
    "is {a} more than {b}?",
    "is {a} larger than {b}?",
    "is {a} greater than {b}?",
    "{a} is bigger than {b}, right?",
    "is {a} > {b}?",
    "~would you say {a} is bigger than {b}?",
)
EVEN = (
    "is {a} even?",
    "is {a} odd?",
    "is {a} even or odd?",
    "is {a} an even number?",
    "is {a} an odd number?",
    "{a}: even or odd?",
    "~even or odd: {a}?",
)
NEXT = (
    "what comes after {a}?",
    "which number comes after {a}?",
    "what is the number after {a}?",
    "what number follows {a}?",
    "next number after {a}?",
    "~which number do i get after {a}?",
)
BEFORE = (
    "what comes before {a}?",
    "which number comes before {a}?",
    "what is the number before {a}?",
    "what number is before {a}?",
    "~which number do i say just before {a}?",
)
DOUBLE = (
    "what is double {a}?",
    "what is the double of {a}?",
    "double {a}",
    "what is twice {a}?",
    "twice {a}?",
    "how much is two times {a}?",
    "~{a} doubled?",
)
HALF = (
    "what is half of {a}?",
    "half of {a}?",
    "what is the half of {a}?",
    "how much is half of {a}?",
    "halve {a}",
    "~{a} cut in half?",
)


def numbers(talk: Talk) -> None:
    """Compare, neighbors, double, half, even and odd."""
    rng = talk.rng
    a, b = _sum_operands(rng)
    b += a == b
    kind = rng.randrange(8)
    if kind == 0:
        talk.say(BIGGER, (f"{max(a, b)} is bigger than {min(a, b)}.",), a=a, b=b)
    elif kind == 1:
        talk.say(SMALLER, (f"{min(a, b)} is smaller than {max(a, b)}.",), a=a, b=b)
    elif kind == 2:
        answer = f"Yes, {a} is bigger than {b}." if a > b else f"No, {a} is smaller than {b}."
        talk.say(IS_BIGGER, (answer,), a=a, b=b)
    elif kind == 3:
        talk.say(EVEN, (f"{a} is {'odd' if a % 2 else 'even'}.",), a=a)
    elif kind == 4:
        talk.say(NEXT, (f"After {a} comes {a + 1}.",), a=a)
    elif kind == 5:
        talk.say(BEFORE, (f"Before {a + 1} comes {a}.",), a=a + 1)
    elif kind == 6:
        a = rng.randint(1, 50)
        talk.say(DOUBLE, (f"Double {a} is {2 * a}.",), a=a)
    else:
        a = rng.randint(1, 50)
        talk.say(HALF, (f"Half of {2 * a} is {a}.",), a=2 * a)


OFFER = (
    "ask me a sum", "give me a sum", "quiz me", "test me", "give me a math question",
    "ask me a math question", "can you quiz me?", "let's practice sums", "i want to practice math",
    "give me an exercise", "ask me something", "~test my math", "~let me solve a sum",
)  # fmt: skip
MORE_SUMS = (
    "another one", "another", "one more", "again", "next", "more", "ask me another", "next one",
    "another sum", "one more please", "~a further sum please", "~keep asking",
)  # fmt: skip
GUESS = (
    "{n}",
    "it is {n}",
    "{n}?",
    "i think it is {n}",
    "the answer is {n}",
    "is it {n}?",
    "that is {n}",
    "it's {n}",
    "{n}!",
    "that's {n}",
    "~my answer is {n}",
    "~would that be {n}?",
)


def quiz(talk: Talk) -> None:
    """The model asks a sum and judges the answer."""
    for asks in (OFFER, MORE_SUMS):
        a, b = talk.rng.randint(1, 10), talk.rng.randint(1, 10)
        talk.say(asks, (f"What is {a} plus {b}?",))
        guess = a + b if talk.chance(0.55) else max(0, a + b + talk.rng.choice((-2, -1, 1, 2, 3)))
        right = "Yes" if guess == a + b else "No"
        praise = " Well done!" if guess == a + b else ""
        talk.say(GUESS, (f"{right}, {a} plus {b} is {a + b}.{praise}",), n=guess)
        if not talk.chance(0.35):
            break


CAN_ADD = (
    "can you [add|calculate|do math|do sums|do maths|count|multiply|subtract]?",
    "are you good at [math|maths|sums|numbers]?", "do you know [math|numbers|arithmetic]?",
    "do you like [math|numbers]?", "i have a math question", "i need help with [math|sums|maths]",
    "let's do [math|some math|sums]", "i want to do [math|some sums]", "which sums can you do?",
    "how far can you count?", "~how is your [math|arithmetic]?", "~shall we do [sums|math]?",
)  # fmt: skip


def about_sums(talk: Talk) -> None:
    """What the model can do with numbers."""
    talk.say(
        CAN_ADD,
        (
            "I can do small sums: plus, minus, times and divided by. Ask me one!",
            "Small sums I can do. Try: what is 7 plus 5?",
        ),
    )


SCENES: Scenes = (
    (9.0, sum_chain),
    (1.2, division),
    (0.9, too_big),
    (0.5, too_hard),
    (1.2, word_problem),
    (1.0, counting),
    (2.2, numbers),
    (0.7, quiz),
    (0.5, about_sums),
)

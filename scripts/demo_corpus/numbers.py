"""Story sums, counting, comparing, and a quiz."""

from __future__ import annotations

from .arithmetic import sum_operands
from .talk import Scenes, Talk

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
NAMES = (
    "Ana",
    "Ben",
    "Mia",
    "Tom",
    "Lily",
    "Sam",
    "Nora",
    "Max",
    "Eva",
    "Leo",
    "Tim",
    "Zoe",
)
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
    a, b = sum_operands(rng)
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
    (1.2, word_problem),
    (1.0, counting),
    (2.2, numbers),
    (0.7, quiz),
    (0.5, about_sums),
)

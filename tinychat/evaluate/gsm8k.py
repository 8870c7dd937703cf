"""GSM8K: school arithmetic in words, scored by the final number.

Worked examples stand in front, the model reasons in words and ends with `#### number`. The number
counts as a reader would read it: 1,234 and $1234.00 are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tinychat.errors import ArgumentError, CheckpointError
from tinychat.evaluate.ask import (
    NEW_TOKENS,
    TOO_LONG,
    Answerer,
    Example,
    Sampling,
    Style,
    ask,
    check_room,
    too_long_note,
    uses_chat,
)
from tinychat.evaluate.data import first, read_rows
from tinychat.evaluate.record import Item, Record

SHOTS = 8
MARK = "####"

STYLE = Style(
    instruction=(
        "Solve each problem step by step. End your answer with a line that holds #### and the "
        "final number."
    ),
    before="Question: ",
    after="\nAnswer: ",
    end="\n\n",
    stops=("\nQuestion:",),
)

# The worked examples where no training file is given: written for tinychat, one step a sentence.
EXAMPLES: tuple[Example, ...] = (
    Example(
        "A baker has 3 trays with 12 rolls on each. She sells 20 rolls before noon. How many are "
        "left?",
        "Three trays hold 3 * 12 = 36 rolls. After 20 are sold, 36 - 20 = 16 are left.\n#### 16",
    ),
    Example(
        "Omar reads 15 pages every evening from Monday to Friday and 40 pages on Saturday. How "
        "many pages does he read in these six days?",
        "Monday to Friday are 5 evenings, so 5 * 15 = 75 pages. With Saturday it is "
        "75 + 40 = 115 pages.\n#### 115",
    ),
    Example(
        "A ticket costs $8 for an adult and half as much for a child. What do 2 adults and 3 "
        "children pay together?",
        "A child pays 8 / 2 = $4. Two adults pay 2 * 8 = $16 and three children 3 * 4 = $12. "
        "Together that is 16 + 12 = $28.\n#### 28",
    ),
    Example(
        "A tank holds 240 litres. A pump empties a quarter of it in the first hour and 30 litres "
        "in each hour after that. How much is in the tank after 4 hours?",
        "A quarter of 240 is 240 / 4 = 60 litres. The next 3 hours take 3 * 30 = 90 litres. That "
        "leaves 240 - 60 - 90 = 90 litres.\n#### 90",
    ),
    Example(
        "Lena is 4 years younger than twice the age of her brother, who is 9. How old will she be "
        "in 6 years?",
        "Twice 9 is 18, so Lena is 18 - 4 = 14. In 6 years she will be 14 + 6 = 20.\n#### 20",
    ),
    Example(
        "A shop lowers the price of a $60 coat by 20 percent. Ravi also has a voucher for $5. What "
        "does he pay?",
        "20 percent of 60 is 60 * 0.2 = $12, so the coat costs 60 - 12 = $48. With the voucher he "
        "pays 48 - 5 = $43.\n#### 43",
    ),
    Example(
        "Four friends pick 7 kilograms of berries each. They keep 4 kilograms and share the rest "
        "equally among 6 neighbours. How many kilograms does a neighbour get?",
        "They pick 4 * 7 = 28 kilograms and give away 28 - 4 = 24. Each neighbour gets "
        "24 / 6 = 4 kilograms.\n#### 4",
    ),
    Example(
        "A train leaves with 130 passengers. At the first stop 45 get off and 28 get on; at the "
        "second, twice as many get on as got on at the first, and nobody gets off. How many are on "
        "the train then?",
        "After the first stop there are 130 - 45 + 28 = 113. At the second stop 2 * 28 = 56 get "
        "on, which makes 113 + 56 = 169.\n#### 169",
    ),
)

_CALCULATION = re.compile(r"<<[^>]*>>")  # the calculator's marks in the published answers

_SPACING = str.maketrans({"\u2212": "-", "\u00a0": ",", "\u202f": ","})
_LATEX = (("{,}", ","), ("\\,", ","), ("\\!", ""), ("\\$", "$"))
_NUMBER = re.compile(
    r"""
    (?<![A-Za-z0-9.])                               # neither the end of a word nor of a number
    (?P<minus>(?<![)\]])-)? [$€£]? (?P<inner>(?<=[$€£])-)?    # -5, -$5, $-5; but (9)-5 has no sign
    (?:
        (?:(?P<whole>[0-9]+)\ )? (?P<top>[0-9]+)/(?P<bottom>[0-9]+)     # 1/2, 2 1/2
      | (?P<plain>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)
    )
    (?![0-9]|\.[0-9]|(?:st|nd|rd|th)\b)             # all of it, and no ordinal
    (?:\ (?P<scale>thousand|million|billion)\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_LONGEST = 60  # characters of a number; what is longer is none that anybody reads
# What says that the answer follows, the plainest first.
_MARKS = (MARK, "\\boxed{")


@dataclass(frozen=True)
class Problem:
    """A question, its worked answer, and the number that is right."""

    question: str
    answer: str
    number: Fraction

    @property
    def example(self) -> Example:
        """As a worked example, without the calculator's marks."""
        return Example(self.question, _CALCULATION.sub("", self.answer))


def gsm8k(
    llm: Answerer,
    data: str | Path,
    *,
    shots: int | None = None,
    train: str | Path | None = None,
    chat: bool | None = None,
    max_new_tokens: int = NEW_TOKENS,
    temperature: float = 0.0,
    seed: int = 0,
    limit: int | None = None,
    record: Record | None = None,
) -> dict[str, Any]:
    """Ask the questions of a GSM8K file.

    Args:
        data: JSONL of {"question", "answer"}, the answer ending in "#### number".
        shots: worked examples in front of each question; default 8.
        train: a file like `data` whose first problems are the examples; default: our own.
        chat: through the chat template; None: where the model has one.
        temperature: 0 is greedy.
        limit: only the first so many questions.
        record: keeps what is done.
    Returns: "results" with accuracy (0 to 1), correct, total, and too_long: questions that do not
        fit the context and count as failed; "notes", a list of texts; "items" with question (its
        number in the file, from 1), text, answer (the number read in it, or null), correct,
        finish_reason ("too_long" for what did not fit).
    Raises: CheckpointError with the line of what is no such problem; ArgumentError;
        ContextLengthError if no question fits the context behind the examples.
    """
    known, name = read_problems(Path(data))
    problems = first(known, limit)
    examples, train_name = choose_examples(SHOTS if shots is None else shots, train)
    through_template = uses_chat(llm, chat)
    sampling = Sampling(max_new_tokens, temperature, seed)
    questions = [problem.question for problem in problems]
    check_room(llm, STYLE, examples, questions, through_template, sampling.params(0, ()))

    def score(numbered: tuple[int, Problem]) -> Item:
        index, problem = numbered
        params = sampling.params(index, STYLE.stops)
        out = ask(llm, STYLE, examples, problem.question, through_template, params)
        text = "" if out is None else out.text
        found = final_number(text)
        return {
            "question": index + 1,
            "text": text,
            "answer": None if found is None else written(found),
            "correct": found == problem.number,
            "finish_reason": TOO_LONG if out is None else out.finish_reason,
        }

    def summarize(items: list[Item]) -> dict[str, Any]:
        correct = sum(item["correct"] for item in items)
        too_long = sum(item["finish_reason"] == TOO_LONG for item in items)
        results = {
            "accuracy": correct / len(items),
            "correct": correct,
            "total": len(items),
            TOO_LONG: too_long,
        }
        notes = too_long_note(too_long, len(items), len(examples))
        return {"results": results, "notes": notes}

    settings = {
        "shots": len(examples),
        "train": train_name,
        "chat": through_template,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "seed": seed,
        "limit": limit,
    }
    head = {"task": "gsm8k", "data": name, "settings": settings}
    return (record or Record()).run(head, list(enumerate(problems)), score, summarize)


def read_problems(path: Path) -> tuple[list[Problem], dict[str, str]]:
    """The problems of a file, and what names it.

    Raises: CheckpointError with the line of one that is not as published.
    """
    rows, name = read_rows(path)
    problems = []
    for row in rows:
        question, answer = row.text("question"), row.text("answer")
        numbers = read_numbers(answer.rpartition(MARK)[2]) if MARK in answer else []
        if len(numbers) != 1:
            raise CheckpointError(f"{row.where}: answer does not end in {MARK} and one number")
        problems.append(Problem(question, answer, numbers[0]))
    return problems, name


def choose_examples(
    count: int, train: str | Path | None
) -> tuple[Sequence[Example], dict[str, str] | None]:
    """The first `count` worked examples of a file, or of our own.

    Raises: ArgumentError if there are not so many.
    """
    if train is None:
        known, name = EXAMPLES, None
    else:
        problems, name = read_problems(Path(train))
        known = tuple(problem.example for problem in problems)
    if not 0 <= count <= len(known):
        raise ArgumentError(f"shots={count} is out of range; there are {len(known)} examples")
    return known[:count], name


def final_number(text: str) -> Fraction | None:
    """The number that an answer ends in, as a reader would take it; None where there is none.

    After the last #### (or in the last \\boxed) it is the one behind the last equals sign, else the
    first on that line; without such a mark it is the last number of the text.
    """
    for mark in _MARKS:
        _, found, tail = text.rpartition(mark)
        line = (tail.strip().splitlines() or [""])[0]
        if found and (numbers := read_numbers(line.rpartition("=")[2])):
            return numbers[0]
    numbers = read_numbers(text)
    return numbers[-1] if numbers else None


def written(number: Fraction) -> str:
    """A number as text: whole, else as the nearest decimal."""
    return str(number.numerator) if number.denominator == 1 else str(float(number))


def read_numbers(text: str) -> list[Fraction]:
    """Every number in a text: 1,234 · $5.50 · -3 · 1/2 · 2 1/2 · 5 million; no ordinals."""
    text = text.translate(_SPACING)
    for written, meant in _LATEX:
        text = text.replace(written, meant)
    numbers = []
    for match in _NUMBER.finditer(text):
        part = match.groupdict()
        if len(match[0]) > _LONGEST or (part["bottom"] is not None and not int(part["bottom"])):
            continue
        if part["plain"] is not None:
            value = Fraction(part["plain"].replace(",", ""))
        else:
            value = int(part["whole"] or 0) + Fraction(int(part["top"]), int(part["bottom"]))
        value *= _SCALES.get((part["scale"] or "").lower(), 1)
        numbers.append(-value if part["minus"] or part["inner"] else value)
    return numbers

"""MBPP: short Python programs from a sentence, scored by running each problem's own asserts.

What a model writes is a program by a stranger: it is run only where the caller allows it, and then
only in `sandbox`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinychat import limits
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
from tinychat.evaluate.data import Row, first, read_rows
from tinychat.evaluate.record import Item, Record
from tinychat.evaluate.sandbox import PASSED, Program, Sandbox

SHOTS = 3
# The parts of the published set: tasks 1 to 10 are for prompts, 11 to 510 for testing.
PROMPT_TASKS = range(1, 11)
TEST_TASKS = range(11, 511)
# The paper shows these three; where more are asked for, the others of the prompt's part follow.
FIRST_SHOTS = (2, 3, 4)
SPLITS = ("test", "all")

NOT_ALLOWED = (
    "mbpp runs programs that the model writes; pass --allow-code-execution "
    "(allow_code_execution=True) to let it"
)

STYLE = Style(
    instruction=(
        "Write a Python function for each task. It has to pass the tests that follow the task. "
        "Answer with one block of Python code."
    ),
    before="You are an expert Python programmer, and here is your task: ",
    after="\n[BEGIN]\n",
    end="\n[DONE]\n\n",
    stops=("[DONE]", "\nYou are an expert Python programmer"),
)

_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_CODE_LINE = re.compile(r"^(?:def |async def |class |import |from \S+ import |@)", re.MULTILINE)


@dataclass(frozen=True)
class Problem:
    """One task.

    Attributes:
        task_id: its number in the published set.
        text: what the program shall do.
        code: the reference solution.
        setup: code that runs between a solution and the tests.
        tests: asserts.
    """

    task_id: int
    text: str
    code: str
    setup: str
    tests: tuple[str, ...]

    @property
    def question(self) -> str:
        """The task and its tests, which tell the function's name."""
        return f"{self.text} Your code should pass these tests:\n\n" + "\n".join(self.tests)

    def program(self, code: str) -> Program:
        """A solution with this problem's tests."""
        return Program(code, self.setup, self.tests)


def mbpp(
    llm: Answerer,
    data: str | Path,
    *,
    allow_code_execution: bool = False,
    split: str = "test",
    shots: int | None = None,
    train: str | Path | None = None,
    chat: bool | None = None,
    samples: int = 1,
    k: Sequence[int] = (1,),
    max_new_tokens: int = NEW_TOKENS,
    temperature: float = 0.0,
    seed: int = 0,
    limit: int | None = None,
    record: Record | None = None,
    sandbox: Sandbox | None = None,
) -> dict[str, Any]:
    """Ask for the programs of an MBPP file and run them.

    Args:
        data: the published JSONL, or the sanitized JSON list.
        allow_code_execution: nothing happens without it.
        split: "test" for tasks 11 to 510, as the paper; "all" for every task that is not shown.
        shots: solved tasks in front; default 3: tasks 2, 3 and 4 of the file.
        train: a file like `data` whose first tasks are shown instead.
        samples: answers to each problem; several want a temperature.
        k: which pass@k to report, each at most `samples`.
        limit: only the first so many tasks.
        sandbox: where programs run.
        chat, max_new_tokens, temperature, seed, record: as for `gsm8k`.
    Returns: "results" with pass@k (0 to 1) by "pass@1" …, total, and too_long: tasks that do not
        fit the context and count as failed; "notes", a list of texts; "items" with task_id, passed
        (a count) and samples of code and outcome ("too_long" for what did not fit).
    Raises: ArgumentError, also where running code is not allowed; CheckpointError with the line of
        what is no such problem; ContextLengthError if no task fits the context behind the examples;
        TinyChatError where programs cannot be run here.
    """
    if not allow_code_execution:
        raise ArgumentError(NOT_ALLOWED)
    check_samples(samples, k, temperature)
    if split not in SPLITS:
        raise ArgumentError(f"split={split!r} is not one of {', '.join(SPLITS)}")
    known, name = read_problems(Path(data))
    shown, train_name = choose_shots(known, SHOTS if shots is None else shots, train)
    problems = first(choose_problems(known, shown if train is None else (), split), limit)
    if not problems:
        raise ArgumentError(f"{data} has no task of split={split!r}; use 'all'")
    sandbox = sandbox or Sandbox()
    notes = [f"programs are not kept from {what} on this system" for what in sandbox.check()]
    through_template = uses_chat(llm, chat)
    examples = [make_example(problem, through_template) for problem in shown]
    sampling = Sampling(max_new_tokens, temperature, seed)
    questions = [problem.question for problem in problems]
    check_room(llm, STYLE, examples, questions, through_template, sampling.params(0, ()))

    def score(numbered: tuple[int, Problem]) -> Item:
        index, problem = numbered
        answers = []
        for number in range(samples):
            params = sampling.params(index * samples + number, STYLE.stops)
            out = ask(llm, STYLE, examples, problem.question, through_template, params)
            code = "" if out is None else extract_code(out.text)
            outcome = TOO_LONG if out is None else sandbox.run(problem.program(code))
            answers.append({"code": code, "outcome": outcome})
        passed = sum(answer["outcome"] == PASSED for answer in answers)
        return {"task_id": problem.task_id, "passed": passed, "samples": answers}

    def summarize(items: list[Item]) -> dict[str, Any]:
        # Whether it fits is the same for all samples of a task.
        too_long = sum(item["samples"][0]["outcome"] == TOO_LONG for item in items)
        results: dict[str, Any] = {"total": len(items), TOO_LONG: too_long}
        for one in k:
            estimates = [pass_at_k(samples, item["passed"], one) for item in items]
            results[f"pass@{one}"] = math.fsum(estimates) / len(items)
        found = too_long_note(too_long, len(items), len(examples))
        return {"results": results, "notes": notes + found}

    settings = {
        "split": split,
        "shots": len(shown),
        "shown": [problem.task_id for problem in shown],
        "train": train_name,
        "chat": through_template,
        "samples": samples,
        "k": list(k),
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "seed": seed,
        "limit": limit,
    }
    head = {"task": "mbpp", "data": name, "settings": settings}
    return (record or Record()).run(head, list(enumerate(problems)), score, summarize)


def check_samples(samples: int, k: Sequence[int], temperature: float) -> None:
    """Raise `ArgumentError` unless so many answers make sense and suffice for every k."""
    if not 1 <= samples <= limits.SAMPLES:
        raise ArgumentError(f"samples={samples} is out of range; expected 1 to {limits.SAMPLES}")
    for one in k:
        if not 1 <= one <= samples:
            raise ArgumentError(f"pass@{one} needs k from 1 to samples={samples}")
    if samples > 1 and temperature == 0:
        raise ArgumentError(
            f"samples={samples} at temperature 0 would all be the same; give a temperature, "
            "such as 0.8"
        )


def read_problems(path: Path) -> tuple[list[Problem], dict[str, str]]:
    """The problems of a file in either form, and what names it.

    Raises: CheckpointError with the line of one that is not as published.
    """
    rows, name = read_rows(path)
    problems = [_problem(row) for row in rows]
    if len({problem.task_id for problem in problems}) != len(problems):
        raise CheckpointError(f"{path}: a task_id comes twice")
    return problems, name


def _problem(row: Row) -> Problem:
    tests = row.texts("test_list")
    if not tests:
        raise CheckpointError(f"{row.where}: test_list is empty, so that anything would pass")
    setup = [*row.texts("test_imports", ())]
    if "test_setup_code" in row.values:
        setup.append(row.text("test_setup_code"))
    return Problem(
        task_id=row.integer("task_id"),
        text=row.text("text", "prompt"),
        code=_unix(row.text("code")),
        setup=_unix("\n".join(setup)),
        tests=tuple(map(_unix, tests)),
    )


def _unix(text: str) -> str:
    """A text without the carriage returns of the published file, which a model should not learn."""
    return text.replace("\r\n", "\n").strip("\n").rstrip()


def choose_shots(
    known: Sequence[Problem], count: int, train: str | Path | None
) -> tuple[Sequence[Problem], dict[str, str] | None]:
    """The solved tasks to show. Raises: ArgumentError if there are not so many."""
    if train is not None:
        pool, name = read_problems(Path(train))
    else:
        order = [*FIRST_SHOTS, *(task for task in PROMPT_TASKS if task not in FIRST_SHOTS)]
        by_id = {problem.task_id: problem for problem in known}
        pool, name = [by_id[task] for task in order if task in by_id], None
    if not 0 <= count <= len(pool):
        raise ArgumentError(
            f"shots={count} is out of range; there are {len(pool)} tasks to show (1 to 10 of the "
            "data, or those of --train)"
        )
    return pool[:count], name


def choose_problems(
    known: Sequence[Problem], shown: Sequence[Problem], split: str
) -> list[Problem]:
    """The problems of a split, without those that are shown."""
    hidden = {problem.task_id for problem in shown}
    return [
        problem
        for problem in known
        if problem.task_id not in hidden and (split == "all" or problem.task_id in TEST_TASKS)
    ]


def make_example(problem: Problem, chat: bool) -> Example:
    """A solved task as the model is to see it; a chat fences its code."""
    code = f"```python\n{problem.code}\n```" if chat else problem.code
    return Example(problem.question, code)


def extract_code(text: str) -> str:
    """The program in an answer: its first fenced block that defines something, else the text from
    its first line of code on.
    """
    blocks = _FENCE.findall(text)
    if blocks:
        code = next((block for block in blocks if _CODE_LINE.search(block)), blocks[0])
    else:
        text = text.rpartition("[BEGIN]\n")[2].partition("[DONE]")[0]
        first = _CODE_LINE.search(text)
        # A constant above the first function belongs to it; a sentence there does not.
        code = text[first.start() :] if first and not _is_python(text) else text
    return str(code).strip("\n").rstrip()


def _is_python(text: str) -> bool:
    """Whether the first line of a text could be one of a program: no sentence is an assignment."""
    first = text.strip().partition("\n")[0]
    return bool(_CODE_LINE.match(first) or re.match(r"[\w, ]+=|#|if |for |while |try:", first))


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The chance that one of k answers passes, estimated without bias from `passed` of `samples`.

    1 - C(samples - passed, k) / C(samples, k). Source: arXiv 2107.03374, section 2.1.
    """
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)

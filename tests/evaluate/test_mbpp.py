"""MBPP: consent first, known programs get the score they deserve, both published forms are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from tests.evaluate.scripted import Scripted
from tinychat.errors import ArgumentError, CheckpointError, ContextLengthError
from tinychat.evaluate import Record, mbpp
from tinychat.evaluate.mbpp import Problem, extract_code, pass_at_k, read_problems
from tinychat.evaluate.sandbox import PASSED, Program, Sandbox

PUBLISHED = {"mbpp.jsonl": 974, "sanitized-mbpp.json": 427}


def by_question(problems: list[Problem], prompt: str) -> Problem:
    """The problem that a prompt ends in."""
    question = prompt.rpartition("here is your task: ")[2].removesuffix("\n[BEGIN]\n")
    return next(problem for problem in problems if problem.question == question)


def wrong(problem: Problem) -> str:
    """A reference solution whose functions and classes give something else than they should."""
    return (
        f"{problem.code}\nfor name, value in list(globals().items()):\n"
        "    if getattr(value, '__module__', '') == 'answer':\n"
        "        globals()[name] = lambda *a, **k: object()\n"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("change", [lambda p: p.code, wrong], ids=["right", "wrong"])
def test_reference_solutions(
    data: Path, name: str, change: Callable[[Problem], str], request: pytest.FixtureRequest
) -> None:
    path = data / "eval" / name
    problems, _ = read_problems(path)
    llm = Scripted(lambda prompt: change(by_question(problems, prompt)) + "\n[DONE]\n\nmore")
    result = mbpp(llm, path, allow_code_execution=True, split="all", shots=0)
    score = 1.0 if "right" in request.node.callspec.id else 0.0
    assert result["results"] == {"total": PUBLISHED[name], "too_long": 0, "pass@1": score}, [
        (item["task_id"], item["samples"][0]["outcome"])
        for item in result["items"]
        if item["passed"] != score
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_few_tasks_of_each_form(data: Path, name: str) -> None:
    path = data / "eval" / name
    problems, _ = read_problems(path)
    assert len(problems) == PUBLISHED[name]

    def answer(prompt: str) -> str:
        problem = by_question(problems, prompt)
        return (problem.code if problem.task_id % 2 else wrong(problem)) + "\n[DONE]"

    result = mbpp(Scripted(answer), path, allow_code_execution=True, limit=4)
    assert [item["passed"] for item in result["items"]] == [
        item["task_id"] % 2 for item in result["items"]
    ]
    assert result["settings"]["shown"] == [2, 3, 4]
    assert all(11 <= item["task_id"] <= 510 for item in result["items"])
    assert not any("\r" in problem.code + problem.setup for problem in problems)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Tasks 2 and 11 to 13: return the task's number."""
    path = tmp_path / "tasks.jsonl"
    rows = [
        {
            **{"task_id": n, "text": f"Return {n}.", "code": f"def f():\r\n  return {n}"},
            **{
                "test_list": [f"assert f() == {n}"],
                "test_setup_code": "",
                "challenge_test_list": [],
            },
        }
        for n in (2, 11, 12, 13)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_nothing_happens_without_consent(tasks: Path) -> None:
    llm = Scripted(lambda prompt: "")
    with pytest.raises(ArgumentError, match="--allow-code-execution"):
        mbpp(llm, tasks)
    with pytest.raises(ArgumentError, match="--allow-code-execution"):
        mbpp(llm, tasks.with_name("missing"))
    assert llm.asked == []


def test_what_the_model_is_shown(tasks: Path) -> None:
    llm = Scripted(lambda prompt: "def f(): return 11\n[DONE]\nnonsense")
    result = mbpp(llm, tasks, allow_code_execution=True, shots=1)
    assert llm.asked[0] == (
        "You are an expert Python programmer, and here is your task: Return 2. Your code should "
        "pass these tests:\n\nassert f() == 2\n[BEGIN]\ndef f():\n  return 2\n[DONE]\n\n"
        "You are an expert Python programmer, and here is your task: Return 11. Your code should "
        "pass these tests:\n\nassert f() == 11\n[BEGIN]\n"
    )
    assert result["items"][0] == {
        **{"task_id": 11, "passed": 1},
        "samples": [{"code": "def f(): return 11", "outcome": PASSED}],
    }
    assert result["results"] == {"total": 3, "too_long": 0, "pass@1": pytest.approx(1 / 3)}
    assert result["notes"] == [f"programs are not kept from {x} on this system" for x in loose()]


def loose() -> list[str]:
    return Sandbox().check()


def test_a_chat_is_shown_fenced_code(tasks: Path) -> None:
    llm = Scripted(lambda prompt: "Sure:\n```python\ndef f(): return 11\n```\nDone.", object())
    result = mbpp(llm, tasks, allow_code_execution=True, shots=1, limit=1)
    assert result["results"]["pass@1"] == 1.0
    assert llm.asked[0][1]["content"] == "```python\ndef f():\n  return 2\n```"
    assert llm.asked[0][0]["content"].startswith("Write a Python function")


def test_shown_tasks_are_not_asked(tasks: Path) -> None:
    llm = Scripted(lambda prompt: "")
    kept = mbpp(llm, tasks, allow_code_execution=True, shots=1, split="all", limit=9)
    assert [item["task_id"] for item in kept["items"]] == [11, 12, 13]
    other = mbpp(llm, tasks, allow_code_execution=True, shots=2, train=tasks, split="all")
    assert [item["task_id"] for item in other["items"]] == [2, 11, 12, 13]
    assert other["settings"]["train"]["name"] == "tasks.jsonl"


def test_samples_are_drawn_apart_and_estimated_together(tasks: Path) -> None:
    answers = iter(["def f(): return 11", "", "def f(): return 11", ""] * 3)
    llm = Scripted(lambda prompt: next(answers))
    result = mbpp(
        *(llm, tasks),
        **{"allow_code_execution": True, "shots": 0, "samples": 4, "k": (1, 2)},
        **{"temperature": 0.8, "seed": 5},  # type: ignore[arg-type]
    )
    assert [params.seed for params in llm.params] == list(range(5, 17))
    assert [item["passed"] for item in result["items"]] == [2, 0, 0]
    assert result["results"]["pass@1"] == pytest.approx(0.5 / 3)
    assert result["results"]["pass@2"] == pytest.approx((1 - 1 / 6) / 3)


def test_what_does_not_fit_is_failed_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    rows = [
        {"task_id": n, "text": "Return 1. " * n, "code": "", "test_list": ["assert f() == 1"]}
        for n in (11, 200)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    llm = Scripted(lambda prompt: "def f(): return 1", room=1000)
    result = mbpp(llm, path, allow_code_execution=True, shots=0)
    assert result["results"] == {"total": 2, "too_long": 1, "pass@1": 0.5}
    assert result["items"][1] == {
        **{"task_id": 200, "passed": 0},
        "samples": [{"code": "", "outcome": "too_long"}],
    }
    assert result["notes"][-1] == "1 of 2 questions do not fit the context and count as failed"
    llm.room = 5
    with pytest.raises(ContextLengthError, match=r"not even the shortest .* --max-context"):
        mbpp(llm, path, allow_code_execution=True, shots=0)


def test_the_estimate_is_the_share_of_all_choices() -> None:
    for samples in range(1, 7):
        for passed in range(samples + 1):
            for k in range(1, samples + 1):
                choices = list(combinations([True] * passed + [False] * (samples - passed), k))
                share = sum(map(any, choices)) / len(choices)
                assert pass_at_k(samples, passed, k) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("def f():\n    return 1\n[DONE]\nmore", "def f():\n    return 1"),
        ("\n\ndef f(): pass\n\n", "def f(): pass"),
        ("```python\ndef f(): pass\n```", "def f(): pass"),
        ("Here:\n```\ndef f(): pass\n```\nIt works.", "def f(): pass"),
        ("```py\ndef f(): pass", "def f(): pass"),  # cut short
        ("```bash\npip install x\n```\n```python\ndef f(): pass\n```", "def f(): pass"),
        ("```python\ndef f(): pass\n```\n```python\nprint(f())\n```", "def f(): pass"),
        ("```python\nf = lambda: 1\n```", "f = lambda: 1"),
        ("Sure, here it is:\n\nimport math\ndef f(): pass", "import math\ndef f(): pass"),
        ("N = 3\ndef f(): return N", "N = 3\ndef f(): return N"),
        ("# three\nN = 3\ndef f(): pass", "# three\nN = 3\ndef f(): pass"),
        ("[BEGIN]\ndef f(): pass\n[DONE]", "def f(): pass"),
        ("f = lambda: 1", "f = lambda: 1"),
        ("I cannot.", "I cannot."),
        ("", ""),
    ],
)
def test_programs_are_found_in_answers(text: str, code: str) -> None:
    assert extract_code(text) == code


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_id": "2"}, "task_id = '2' is not a whole number"),
        ({"text": None}, "text = None is not a text"),
        ({"test_list": "assert"}, "test_list = 'assert' is not a list of texts"),
        ({"test_list": []}, "test_list is empty"),
        ({"test_list": [1]}, "not a list of texts"),
        ({"test_setup_code": 1}, "test_setup_code = 1 is not a text"),
    ],
)
def test_files_that_are_not_as_published(
    tasks: Path, change: dict[str, object], message: str
) -> None:
    lines = tasks.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    tasks.write_text("\n".join(lines))
    with pytest.raises(CheckpointError, match=f"line 2: {message}|line 2: .*{message}"):
        mbpp(Scripted(lambda prompt: ""), tasks, allow_code_execution=True)


def test_lists_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    for text, message in (
        ("[1]", "entry 1 is 1; an object is expected"),
        ("[]", "holds no problems"),
        ('[{"task_id": 1}]', "entry 1 has no test_list"),
        ("[{", "cannot be parsed"),
    ):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=message):
            read_problems(path)


def test_settings_out_of_range(tasks: Path) -> None:
    llm = Scripted(lambda prompt: "")
    for settings, message in (
        ({"samples": 0}, "samples=0"),
        ({"samples": 2}, "temperature 0 would all be the same"),
        ({"k": (2,)}, "pass@2 needs k from 1 to samples=1"),
        ({"shots": 2}, "shots=2 is out of range; there are 1"),
        ({"split": "half"}, "split='half'"),
        ({"temperature": -1.0}, "temperature"),
    ):
        with pytest.raises(ArgumentError, match=message):
            mbpp(llm, tasks, allow_code_execution=True, **{"shots": 1, **settings})  # type: ignore[arg-type]
    assert llm.asked == []


def test_a_stopped_run_goes_on(tasks: Path, tmp_path: Path) -> None:
    class Stopping(Sandbox):
        def run(self, program: Program) -> str:
            if "12" in program.tests[0]:
                raise KeyboardInterrupt
            return super().run(program)

    out = tmp_path / "out.json"
    settings = {"allow_code_execution": True, "shots": 0}
    answer = "def f(): return 11"
    with pytest.raises(KeyboardInterrupt):
        mbpp(
            *(Scripted(lambda prompt: answer), tasks),
            **settings,  # type: ignore[arg-type]
            record=Record(out),
            sandbox=Stopping(),
        )
    llm = Scripted(lambda prompt: answer)
    result = mbpp(llm, tasks, **settings, record=Record(out))  # type: ignore[arg-type]
    assert len(llm.asked) == 2 and result["items"][0]["passed"] == 1

"""GSM8K: numbers are read as a person reads them, and known answers get the score they deserve."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from tests.evaluate.scripted import Scripted
from tinychat.errors import ArgumentError, CheckpointError, ContextLengthError
from tinychat.evaluate import Record, gsm8k
from tinychat.evaluate.gsm8k import EXAMPLES, final_number, read_problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#### 42", "42"),
        ("####42", "42"),
        ("#### 42.", "42"),
        ("#### 1,234", "1234"),
        ("#### 109,200,000", "109200000"),
        ("#### $18", "18"),
        ("#### 18 dollars for 3 days", "18"),
        ("#### $1,234.50.", "1234.5"),
        ("#### 42.00", "42"),
        ("#### .5", "0.5"),
        ("#### -10", "-10"),
        ("#### -$10", "-10"),
        ("#### $-10", "-10"),
        ("#### \u221210", "-10"),
        ("#### 5 * 3 = 15", "15"),
        ("#### 50%", "50"),
        ("#### 2 1/2", "2.5"),
        ("#### **16**", "16"),
        ("#### 5 million", "5000000"),
        ("12 + 5 = 17\n#### 17\nThat took 3 steps.", "17"),
        ("#### 4\nNo, wrong.\n#### 5", "5"),
        ("#### unclear\nSo it is 7.", "7"),
        ("The answer is 42.", "42"),
        ("She has 5 apples and 3 pears, 5 + 3 = 8 in all.", "8"),
        ("Step 1: 9 - 5 = 4. Step 2: 4 * 2 = 8", "8"),
        ("It is 9-5", "5"),
        ("It is (9)-5", "5"),
        ("They are left with -3", "-3"),
        ("between 3-4 hours", "4"),
        ("It costs US$7", "7"),
        ("half, that is 1/2", "0.5"),
        ("60 miles / 2 hours = 30 miles/hour", "30"),
        ("It comes to 12 on the 2nd day", "12"),
        (r"so \boxed{42} in 2 days", "42"),
        (r"$\boxed{1{,}234}$ of 5", "1234"),
        (r"\$1,000", "1000"),
        ("1\u202f234", "1234"),
        ("a, b and 10, 20", "20"),
        ("No number at all.", None),
        ("", None),
        ("#### ", None),
        ("3/0", None),
        ("the 1st", None),
        ("9" * 5000, None),
    ],
)
def test_numbers_as_a_person_reads_them(text: str, expected: str | None) -> None:
    assert final_number(text) == (None if expected is None else Fraction(expected))


def test_long_answers_are_read_in_linear_time() -> None:
    for text in ("1" * 10**5, "1,111" * 10**5, "1/" * 10**5, "$-" * 10**5, "1 " * 10**5):
        final_number(text)


def test_our_examples_are_right() -> None:
    assert len(EXAMPLES) == 8
    for example in EXAMPLES:
        before, _, number = example.answer.rpartition("\n#### ")
        assert final_number(before) == final_number(example.answer) == Fraction(number)


def add_one(answer: str) -> str:
    """A worked answer whose last number is wrong by one."""
    before, _, number = answer.rpartition("#### ")
    return f"{before}#### {int(number.replace(',', '')) + 1:,}"


@pytest.mark.parametrize(
    ("change", "accuracy"),
    [
        (lambda answer: answer, 1.0),
        (lambda answer: f"{answer}.\n\nQuestion: And what is 2 + 3?\nAnswer: 5", 1.0),
        (lambda answer: answer.replace("#### ", "So the answer is $"), 1.0),
        (add_one, 0.0),
        (lambda answer: "", 0.0),
        (lambda answer: "I do not know.", 0.0),
    ],
    ids=["right", "goes on", "no mark", "wrong by one", "empty", "no number"],
)
@pytest.mark.parametrize("template", [None, object()], ids=["text", "chat"])
def test_known_answers(
    data: Path, change: Callable[[str], str], accuracy: float, template: object
) -> None:
    path = data / "eval/gsm8k_test.jsonl"
    known = {problem.question: problem.answer for problem in read_problems(path)[0]}

    def answer(prompt: str) -> str:
        question = prompt.rpartition("Question: ")[2].removesuffix("\nAnswer:")
        return change(known[question])

    result = gsm8k(Scripted(answer, template), path)
    assert result["results"] == {
        "accuracy": accuracy,
        "correct": round(1319 * accuracy),
        "total": 1319,
        "too_long": 0,
    }
    assert result["notes"] == []


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.jsonl"
    rows = [
        {"question": "What is 1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"},
        {"question": "What is 3 + 1?", "answer": "3 + 1 = <<3+1=4>>4\n#### 4"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return path


def test_what_the_model_is_shown(two: Path) -> None:
    llm = Scripted(lambda prompt: "#### 2")
    result = gsm8k(llm, two, shots=1, train=two)
    assert llm.asked[1] == (
        "Question: What is 1 + 1?\nAnswer: 1 + 1 = 2\n#### 2\n\nQuestion: What is 3 + 1?\nAnswer:"
    )
    assert llm.params[0].temperature == 0 and llm.params[0].stop == ("\nQuestion:",)
    assert [item["correct"] for item in result["items"]] == [True, False]
    assert result["items"][0] == {
        **{"question": 1, "text": "#### 2", "answer": "2", "correct": True},
        "finish_reason": "stop",
    }
    gsm8k(llm, two, limit=1)
    assert llm.asked[-1].count("Question: ") == 9


def test_a_chat_has_the_examples_as_turns(two: Path) -> None:
    llm = Scripted(lambda prompt: "#### 2", template=object())
    assert gsm8k(llm, two, shots=2)["settings"]["chat"] is True
    roles = [message["role"] for message in llm.asked[0]]
    assert roles == ["user", "assistant"] * 2 + ["user"]
    assert llm.asked[0][0]["content"].startswith("Solve each problem")
    assert llm.asked[0][-1]["content"] == "What is 1 + 1?"
    gsm8k(llm, two, shots=0)
    assert llm.asked[-1][0]["content"].endswith("\n\nWhat is 3 + 1?")
    assert gsm8k(llm, two, chat=False)["settings"]["chat"] is False
    assert isinstance(llm.asked[-1], str)
    with pytest.raises(ArgumentError, match="no chat template"):
        gsm8k(Scripted(lambda prompt: ""), two, chat=True)


def test_every_answer_has_a_seed_of_its_own(two: Path) -> None:
    llm = Scripted(lambda prompt: "")
    gsm8k(llm, two, temperature=0.5, seed=7)
    assert [params.seed for params in llm.params] == [7, 8]
    assert {params.top_k for params in llm.params} == {0}


@pytest.mark.parametrize("template", [None, object()], ids=["text", "chat"])
def test_what_does_not_fit_is_failed_and_counted(tmp_path: Path, template: object) -> None:
    path = tmp_path / "long.jsonl"
    rows = [{"question": "1 + 1? " * n, "answer": "#### 2"} for n in (1, 200, 1)]
    path.write_text("\n".join(map(json.dumps, rows)))
    llm = Scripted(lambda prompt: "#### 2", template, room=1000)
    result = gsm8k(llm, path, shots=2)
    assert len(llm.asked) == 2
    assert result["results"] == {"accuracy": 2 / 3, "correct": 2, "total": 3, "too_long": 1}
    assert result["items"][1] == {
        **{"question": 2, "text": "", "answer": None, "correct": False},
        "finish_reason": "too_long",
    }
    (note,) = result["notes"]
    assert note == (
        "1 of 3 questions do not fit the context behind 2 worked examples and count as failed; "
        "fewer --shots (shots=) make room"
    )
    (note,) = gsm8k(llm, path, shots=0)["notes"]
    assert note == "1 of 3 questions do not fit the context and count as failed"


@pytest.mark.parametrize("template", [None, object()], ids=["text", "chat"])
def test_examples_that_leave_no_room_are_refused_with_how_many_would(
    two: Path, template: object
) -> None:
    llm = Scripted(lambda prompt: "#### 2", template, room=1000)
    with pytest.raises(ContextLengthError, match=r"behind 8 .*; use --shots (\d) ") as caught:
        gsm8k(llm, two)
    best = int(str(caught.value).split("--shots ")[1][0])
    with pytest.raises(ContextLengthError, match=f"--shots {best} "):
        gsm8k(llm, two, shots=best + 1)
    assert llm.asked == [] and best > 0
    assert gsm8k(llm, two, shots=best)["results"]["total"] == 2
    llm.room = 5
    with pytest.raises(ContextLengthError, match=r"not even the shortest .* --max-context"):
        gsm8k(llm, two)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 2 cannot be parsed as JSON"),
        (b"[1]", "line 2 holds a JSON list"),
        (b'{"question": "a"}', "line 2 has no answer"),
        (b'{"question": 1, "answer": "#### 1"}', "line 2: question = 1 is not a text"),
        (b'{"question": "a", "answer": "1"}', "line 2: answer does not end in ####"),
        (b'{"question": "a", "answer": "#### 1 or 2"}', "line 2: answer does not end in ####"),
        (b'{"question": "\xff"}', "line 2 is not UTF-8 text"),
        (b"[" * 1000, "line 2 is nested"),
    ],
)
def test_files_that_are_not_as_published(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"question": "a", "answer": "#### 1"}\n' + line + b"\n")
    with pytest.raises(CheckpointError, match=message):
        gsm8k(Scripted(lambda prompt: ""), path)


def test_settings_out_of_range(two: Path) -> None:
    llm = Scripted(lambda prompt: "")
    for settings, message in (
        ({"shots": 9}, "shots=9 is out of range; there are 8"),
        ({"shots": 3, "train": two}, "there are 2"),
        ({"shots": -1}, "shots=-1"),
        ({"temperature": 3.0}, "temperature=3.0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"limit": 0}, "limit=0"),
    ):
        with pytest.raises(ArgumentError, match=message):
            gsm8k(llm, two, **settings)  # type: ignore[arg-type]
    assert llm.asked == []


def test_a_stopped_run_goes_on_with_the_same_answers(two: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"

    def stops(prompt: str) -> str:
        if "3 + 1?" in prompt:
            raise KeyboardInterrupt
        return "#### 2"

    with pytest.raises(KeyboardInterrupt):
        gsm8k(Scripted(stops), two, record=Record(out))
    llm = Scripted(lambda prompt: "#### 4")
    result = gsm8k(llm, two, record=Record(out))
    assert result["results"]["accuracy"] == 1.0
    assert [params.seed for params in llm.params] == [1]

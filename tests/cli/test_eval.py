"""`tinychat eval`: flags reach the task, refusals are one line, and results can be gone on from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tinychat
from tests.evaluate.scripted import Scripted
from tinychat.cli.eval import hash_model, parse_k, task_settings
from tinychat.cli.main import build_parser, main
from tinychat.errors import ArgumentError


class Model(Scripted):
    """A scripted model as `load` returns one."""

    warnings = ()
    summary = None
    max_context = 1024

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, as far as it is looked at before loading."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"question": f"{n} + 1?", "answer": f"#### {n + 1}"} for n in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], Model]:
    """Let a scripted model be what is loaded."""

    def put(answer: Callable[[str], str]) -> Model:
        model = Model(answer)
        monkeypatch.setattr(tinychat, "load", lambda *a, **k: model, raising=False)
        return model

    return put


def ran(capsys: pytest.CaptureFixture[str], *flags: object) -> dict[str, Any]:
    assert main(["eval", *map(str, flags), "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    result: dict[str, Any] = json.loads(out)
    return result


def test_perplexity_of_a_model(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, text = data / "models/TinyStories-656K", data / "text/tinystories/tiny.utf8"
    flags = (model, "--weights", "int4", "--data", text, "--per-document", "--limit", 3)
    result = ran(capsys, *flags)
    assert result["model"]["name"] == "TinyStories-656K"
    assert result["model"]["weights"] == "int4 g128" and result["model"]["context"] == 512
    assert "sha256" not in result["model"] and len(result["data"]["sha256"]) == 64
    assert result["settings"] == {"protocol": "documents", "window": 512, "limit": 3}
    assert result["results"]["perplexity"] == pytest.approx(19.77, rel=0.01)
    assert ran(capsys, *flags) == result
    assert main(["eval", *map(str, flags)]) == 0
    out = capsys.readouterr().out
    assert "perplexity          19." in out and "protocol documents, window 512, limit 3" in out


def test_examples_that_leave_no_room_in_a_real_context(
    data: Path, problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--task", "gsm8k", "--data", problems, "--max-new-tokens", 1)
    model = data / "models/TinyStories-656K"
    assert main(["eval", *map(str, (model, *flags))]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    best = re.search(r"not even the shortest question .* use --shots (\d) ", err)
    assert best and "max-context" not in err
    results = ran(capsys, model, *flags, "--shots", best[1])["results"]
    assert results["total"] == 3 and results["too_long"] == 0


def test_flags_reach_the_task() -> None:
    def settings(*flags: str) -> dict[str, Any]:
        return task_settings(build_parser().parse_args(["eval", "--data", __file__, *flags]))

    assert settings() == {}
    assert settings("--window", "4k", "--protocol", "windows") == {
        "protocol": "windows",
        "window": 4096,
    }
    assert settings("--task", "gsm8k", "--no-chat", "--shots", "0", "--temperature", "0.5") == {
        **{"chat": False, "shots": 0, "temperature": 0.5}
    }
    found = settings("--task", "mbpp", "--allow-code-execution", "--samples", "9", "--k", "5, 1")
    assert found == {"allow_code_execution": True, "samples": 9, "k": (1, 5)}
    for bad in ("", "x", "1,,2", "-1", "1.5"):
        with pytest.raises(ArgumentError, match="--k"):
            parse_k(bad)


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        ([], 2, "--task perplexity needs --data FILE"),
        (["--task", "gsm8k"], 2, "--task gsm8k needs --data FILE"),
        (["--task", "mbpp", "--data", __file__], 2, "pass --allow-code-execution"),
        (["--task", "mbpp"], 2, "pass --allow-code-execution"),
        (["--data", __file__, "--shots", "1"], 2, "--shots is not for --task perplexity"),
        (["--task", "gsm8k", "--window", "9"], 2, "--window is not for --task gsm8k"),
        (["--data", "/no/such/text"], 2, "/no/such/text is missing"),
        (["--data", "/dev/null"], 2, "/dev/null is not a regular file"),
        (["--task", "gsm8k", "--data", __file__, "--train", "/no/such"], 2, "/no/such is missing"),
        (["/no/such/model", "--data", __file__], 3, "/no/such/model"),
        (["--data", __file__, "--window", "1"], 2, "window=1 leaves nothing"),
        (["--task", "gsm8k", "--data", __file__], 1, "line 1 cannot be parsed as JSON"),
    ],
)
def test_refusals_are_one_line(
    flags: list[str],
    code: int,
    line: str,
    folder: Path,
    install: Callable[..., Model],
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = install(lambda prompt: "")
    chosen = flags if flags[:1] == ["/no/such/model"] else [str(folder), *flags]
    assert main(["eval", *chosen]) == code
    out, err = capsys.readouterr()
    assert line in err and err.count("\n") == 1 and out == ""
    assert model.asked == []


def test_ctrl_c_keeps_what_is_done(
    folder: Path,
    problems: Path,
    install: Callable[..., Model],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def stops(prompt: str) -> str:
        if "2 + 1?" in prompt:
            raise KeyboardInterrupt
        return "#### 1"

    out = tmp_path / "out.json"
    flags = ["eval", folder, "--task", "gsm8k", "--data", problems, "--out", out]
    install(stops)
    assert main([*map(str, flags)]) == 130
    assert capsys.readouterr().err == (
        f"stopped; 2 items are in {out}.partial, and the same command goes on there\n"
    )
    other = install(lambda prompt: "#### 3")
    result = ran(capsys, *flags[1:])
    assert len(other.asked) == 1 and result["results"]["correct"] == 2
    assert json.loads(out.read_bytes()) == result
    assert result["model"]["sha256"] == hash_model(folder, lambda done, total: None)
    # The same again asks nothing; something else is refused.
    assert ran(capsys, *flags[1:]) == result and len(other.asked) == 1
    assert main([*map(str, flags), "--shots", "2"]) == 2
    err = capsys.readouterr().err
    assert "settings.shots = 8 and this one has 2" in err and err.count("\n") == 1
    (folder / "config.json").write_text("{ }")
    assert main([*map(str, flags)]) == 2
    assert "model.sha256" in capsys.readouterr().err


def test_hashing_says_how_far_it_is(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(bytes(3 << 20))
    (folder / "README.md").write_text("of no matter")
    seen: list[tuple[int, int]] = []
    assert len(hash_model(folder, lambda *at: seen.append(at))) == 64
    size = 2 + (3 << 20)
    assert seen == [(2 + (n << 20), size) for n in range(4)]


def test_programs_run_where_it_is_allowed(
    folder: Path,
    install: Callable[..., Model],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "tasks.jsonl"
    task = {"task_id": 11, "text": "One.", "code": "", "test_list": ["assert f() == 1"]}
    path.write_text(json.dumps(task))
    install(lambda prompt: "def f(): return 1")
    monkeypatch.setattr("tinychat.evaluate.sandbox.Sandbox.check", lambda self: ["dancing"])
    flags = ["eval", folder, "--task", "mbpp", "--data", path, "--shots", 0]
    assert main([*map(str, flags), "--allow-code-execution"]) == 0
    out, err = capsys.readouterr()
    assert "pass@1    100.0%" in out and "too long  0" in out
    assert err == "note: programs are not kept from dancing on this system\n"

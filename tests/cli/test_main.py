"""The command line as a whole: help, exit codes, one plain line for whatever goes wrong."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tinychat
from tests.cli.fakes import FakeLLM
from tests.cli.screen import Terminal, run_piped
from tests.conftest import REPOSITORY
from tinychat.__main__ import main as begin
from tinychat.cli.main import COMMANDS, build_parser, main
from tinychat.errors import TinyChatError

NAMES = [module.__name__.rpartition(".")[2] for module in COMMANDS]
HEAVY = ("torch", "numpy", "transformers", "rich", "prompt_toolkit", "jinja2", "tokenizers")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["chat", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = python(
        "import sys, tinychat.cli.main as m\n"
        f"try: m.main({arguments!r})\n"
        f"finally: print([n for n in {HEAVY!r} if n in sys.modules], file=sys.stderr)"
    )
    assert done.stderr == "[]\n" and done.returncode == 0


def test_python_dash_m() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinychat", "--version"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"tinychat {tinychat.__version__}\n")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert all(re.search(rf"^    {name} ", text, re.MULTILINE) for name in NAMES)
    assert "130" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_examples_that_parse(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and "--debug" in text
    examples = text[text.index("examples:") :].splitlines()[1:]
    assert examples
    for line in examples:
        words = shlex.split(line.split(" > ")[0].split(" | ")[-1])
        assert words[:2] == ["tinychat", name]
        build_parser().parse_args(words[1:])


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "usage: tinychat" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["chut"],
        ["chat", "--nonsense"],
        ["chat", "--max-context", "0"],
        ["chat", "--max-context", "many"],
        ["chat", "--max-context", "9" * 5000],
        ["chat", "--threads", "two"],
        ["chat", "--temp", "1"],
        ["chat", "one", "two"],
        ["info", "--\x1b]52;c;x\x07"],
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.count("\n") == 1 and "--help" in error
    assert "\x1b" not in error and "\x07" not in error


@pytest.mark.parametrize(
    ("arguments", "parser"),
    [(["--nonsense"], "tinychat"), (["chat", "--promt", "hi"], "tinychat chat")],
)
def test_wrong_usage_names_the_help_to_read(
    arguments: list[str], parser: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith(f"{parser}: ") and error.endswith(f"(see {parser} --help)\n")


@pytest.mark.parametrize(
    ("model", "code", "line"),
    [
        ("missing", 3, "there is no model missing"),
        ("huge", 4, "this model needs 9 MB and 1 MB are free"),
        ("bug", 70, "KeyError"),
    ],
)
def test_exit_codes_and_messages(tmp_path: Path, model: str, code: int, line: str) -> None:
    done = run_piped(["chat", model, "--prompt", "x"], tmp_path)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("tinychat: ") and line in done.err
    assert done.err.count("\n") == 1 and "Traceback" not in done.err
    assert "\x1b" not in done.err and "\x07" not in done.err


@pytest.mark.parametrize("arguments", [["--debug", "chat"], ["chat", "--debug"]])
def test_debug_shows_the_traceback(tmp_path: Path, arguments: list[str]) -> None:
    done = run_piped([*arguments, "bug", "--prompt", "x"], tmp_path)
    assert done.code == 70
    assert "Traceback" in done.err and done.err.splitlines()[-1].startswith("tinychat: KeyError")
    assert "\x1b" not in done.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TinyChatError("failed"), 1),
        (OSError(28, "No space left on device"), 1),
        (MemoryError(), 4),
        (KeyboardInterrupt(), 130),
        (RecursionError("deep"), 70),
    ],
)
def test_every_ending_has_its_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr("tinychat.cli.doctor.run", fail)
    assert main(["doctor"]) == code
    monkeypatch.undo()
    assert main(["doctor"]) in (0, 1)


def test_ctrl_c_before_the_command_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinychat.cli.main.main", stop)
    assert begin() == 130
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_cannot_be_written_is_a_failure() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tinychat", "doctor"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=REPOSITORY,
        )
    assert done.returncode == 1
    assert done.stderr == "tinychat: the output cannot be written: No space left on device\n"


def test_ctrl_c_while_loading(tmp_path: Path) -> None:
    with Terminal(["chat", "slow"], tmp_path, FakeLLM()) as terminal:
        terminal.wait_for("loading now")
        terminal.send("\x03")
        assert terminal.end() == 130
        assert terminal.text.endswith("stopped\n") and "Traceback" not in terminal.text
        assert terminal.same_modes()

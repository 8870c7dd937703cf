"""One answer for a prompt or a pipe: the answer alone on stdout, everything else on stderr."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cli.fakes import HOSTILE, FakeLLM
from tests.cli.screen import Terminal, run_piped, state
from tinychat.cli.terminal import visible


def test_a_prompt_is_answered_on_stdout(tmp_path: Path) -> None:
    done = run_piped(["chat", "--prompt", "say **Hi** [red]x[/red]"], tmp_path)
    assert (done.code, done.out) == (0, "**Hi** [red]x[/red]\n")
    assert "fake int4" in done.err and "TTFT" in done.err
    assert state(tmp_path) == []


def test_statistics_can_be_left_out(tmp_path: Path) -> None:
    assert "TTFT" not in run_piped(["chat", "--prompt", "x", "--no-stats"], tmp_path).err


def test_stdin_is_the_prompt(tmp_path: Path) -> None:
    done = run_piped(["chat"], tmp_path, stdin="say grüße\n".encode())
    assert (done.code, done.out) == (0, "grüße\n")


def test_stdin_follows_the_prompt(tmp_path: Path) -> None:
    done = run_piped(["chat", "--prompt", "Sum up:"], tmp_path, stdin=b'/exit\n"""\nnotes\n')
    assert done.out == 'You said: Sum up:\n\n/exit\n"""\nnotes (1 messages)\n'


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["chat"], b"", "nothing to answer"),
        (["chat"], b"\n", "nothing to answer"),
        (["chat", "--prompt", ""], b"", "nothing to answer"),
        (["chat"], b"a\xff", "not UTF-8 text (byte 1)"),
        (["chat"], b"a" * ((4 << 20) + 1), "too long"),
        (["chat", "--prompt", "x", "--continue"], b"", "--continue"),
        (["chat", "--prompt", "x", "--image", "cat.png"], b"", "vision"),
        (["chat", "--prompt", "x", "--temperature", "hot"], b"", "temperature"),
        (["chat", "--prompt", "x", "--top-p", "2"], b"", "top_p"),
        (["chat", "--prompt", "x", "--system", "@/dev/zero"], b"", "regular file"),
    ],
)
def test_refusals(tmp_path: Path, arguments: list[str], stdin: bytes, message: str) -> None:
    done = run_piped(arguments, tmp_path, stdin=stdin)
    assert done.code in (1, 2) and done.out == ""
    assert message in done.err and done.err.count("\n") == 1


def test_a_system_prompt_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "system.txt"
    path.write_text("Be brief.")
    done = run_piped(["chat", "--prompt", "hello", "--system", f"@{path}"], tmp_path)
    assert done.out == "You said: hello (2 messages)\n"


def test_a_model_without_a_template_continues_the_text(tmp_path: Path) -> None:
    llm = FakeLLM(template=None)
    done = run_piped(["chat", "--prompt", "once"], tmp_path, llm)
    assert (done.code, done.out) == (0, "and so on\n")
    assert "no chat template" in done.err
    done = run_piped(["chat", "--prompt", "once", "--system", "x"], tmp_path, llm)
    assert done.code == 1 and "--system" in done.err


def test_a_model_without_a_template_holds_no_conversation(tmp_path: Path) -> None:
    with Terminal(["chat"], tmp_path, FakeLLM(template=None)) as terminal:
        assert terminal.end() == 1
        assert "no chat template" in terminal.text and "--prompt TEXT" in terminal.text


def test_a_full_context_is_said(tmp_path: Path) -> None:
    done = run_piped(["chat", "--prompt", "slow 9"], tmp_path, FakeLLM(max_context=5))
    assert (done.code, done.out) == (0, "w0 w1 w2 \n")
    assert "the context is full: 5/5 tokens; a larger --max-context" in done.err
    done = run_piped(["chat", "--prompt", "a b c d e"], tmp_path, FakeLLM(max_context=5))
    assert (done.code, done.out) == (2, "") and "has 6 tokens" in done.err


def test_control_sequences_do_not_pass_through_pipes(tmp_path: Path) -> None:
    done = run_piped(["chat", "a\x1b]0;x\x07b", "--prompt", "hostile"], tmp_path)
    assert done.out == visible(HOSTILE) + "\n"
    assert "\x1b" not in done.err and "a␛]0;x␇b" in done.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_that_lacks_characters(tmp_path: Path, encoding: str) -> None:
    environ = {"PYTHONIOENCODING": encoding}
    done = run_piped(["chat", "--prompt", "say 日本 \x1b[2J"], tmp_path, environ=environ)
    assert (done.code, done.out) == (0, "?? ^[[2J\n")
    assert "|" in done.err.splitlines()[-1] or encoding == "latin-1"


@pytest.mark.parametrize("closed_after", [0, 1])
def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path, closed_after: int) -> None:
    source, target = os.pipe()
    llm = FakeLLM()
    if closed_after:  # the child closes the reading end itself, between two words

        def leave(step: int) -> None:
            if step == 3:
                os.close(source)

        llm.at_step = leave
    else:
        os.close(source)
    done = run_piped(["chat", "--prompt", "slow 9"], tmp_path, llm, out=target)
    os.close(target)
    if closed_after:
        os.close(source)
    assert done.code == 0
    assert "Traceback" not in done.err and "BrokenPipe" not in done.err


def test_ctrl_c_while_piping(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Terminal(["chat", "--prompt", "slow 500"], tmp_path, redirect={1: out}) as terminal:
        terminal.wait_for("fake int4")
        terminal._until(lambda: out.exists() and "w1" in out.read_text(), "the second word")
        terminal.signal(signal.SIGINT)
        terminal.signal(signal.SIGINT)
        assert terminal.end() == 130
        assert "(stopped)" in terminal.text
        assert terminal.same_modes()
    assert out.read_text().startswith("w0 w1 ") and out.read_text().endswith("\n")


def test_ctrl_c_while_the_prompt_is_evaluated(tmp_path: Path) -> None:
    with Terminal(["chat", "--prompt", "thinking"], tmp_path) as terminal:
        terminal.answering()
        terminal.send("\x03")
        assert terminal.end() == 130
        assert "Traceback" not in terminal.text

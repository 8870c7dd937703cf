"""The chat in a real terminal: keys, pastes, signals, and what they leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fakes import FakeLLM
from tests.cli.screen import Terminal, plain, state
from tinychat.cli.conversation import Chat
from tinychat.cli.repl import HINT, is_open, message_of

# What prompt_toolkit and our renderer write: colours, cursor movements, modes of the terminal.
ALLOWED = re.compile(rb"\x1b\[[0-9;?]*[ABCDHJKmhlnsu]|\x1b[=>78]")


def saved(home: Path) -> dict[str, Any]:
    """The newest conversation that saved itself."""
    newest = max((home / "autosave").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    document: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
    return document


def contents(home: Path) -> list[str]:
    return [message["content"] for message in saved(home)["messages"]]


@pytest.fixture
def terminal(tmp_path: Path) -> Any:
    with Terminal(["chat"], tmp_path) as terminal:
        yield terminal


def leave(terminal: Terminal) -> None:
    """Ctrl-D ends with 0 and gives the terminal back as it was."""
    terminal.send("\x04")
    assert terminal.end() == 0
    assert terminal.same_modes()
    assert "Traceback" not in terminal.text


def test_a_conversation(terminal: Terminal, tmp_path: Path) -> None:
    start = terminal.prompt()
    assert "fake int4 · context 1000" in start and HINT in start
    assert "You said: hello (1 messages)" in terminal.ask("hello")
    text = terminal.ask("again")
    assert "You said: again (3 messages)" in text and "TTFT 0.10 s" in text
    assert "there is no command /exot: did you mean /exit?" in terminal.ask("/exot")
    assert "temperature is a number" in terminal.ask("/set temperature hot")
    assert "You said: third (5 messages)" in terminal.ask("third")
    terminal.send("/exit\r")
    assert terminal.end() == 0 and terminal.same_modes()
    assert contents(tmp_path)[::2] == ["hello", "again", "third"]


def test_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Terminal(["chat"], tmp_path) as terminal:
            terminal.prompt()
            terminal.ask("hello")
            terminal.ask("/save mine")
            leave(terminal)
    finally:
        os.umask(before)
    files = state(tmp_path)
    assert len(files) == 3 and all(mode == "0o600" for _, mode in files)


def test_no_history_leaves_no_file(tmp_path: Path) -> None:
    with Terminal(["chat", "--no-history"], tmp_path) as terminal:
        terminal.prompt()
        terminal.ask("hello")
        leave(terminal)
    assert state(tmp_path) == []


def test_history_is_there_the_next_time(tmp_path: Path) -> None:
    for key in ("remembered\r", "\x1b[A\r"):
        with Terminal(["chat"], tmp_path) as terminal:
            terminal.prompt()
            terminal.send(key)
            assert "You said: remembered" in terminal.prompt()
            leave(terminal)


def test_a_home_that_cannot_be_written_costs_only_the_memory(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, no folder")
    with Terminal(["chat"], tmp_path / "home") as terminal:
        assert "what you type is not remembered" in terminal.prompt()
        assert "no longer saved by itself" in terminal.ask("hello")
        assert "no longer saved" not in terminal.ask("hello")
        leave(terminal)


def test_continue_goes_on_with_the_last_conversation(tmp_path: Path) -> None:
    with Terminal(["chat"], tmp_path) as terminal:
        terminal.prompt()
        terminal.ask("/set top_k 3")
        terminal.ask("first")
        leave(terminal)
    with Terminal(["chat", "-c"], tmp_path) as terminal:
        assert "Going on after 2 messages" in terminal.prompt()
        assert "(/set)" in terminal.ask("/show params")
        assert "You said: second (3 messages)" in terminal.ask("second")
        leave(terminal)
    assert len(contents(tmp_path)) == 4
    assert len(list((tmp_path / "autosave").iterdir())) == 2


def test_a_bug_in_a_command_does_not_end_the_chat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Chat) -> dict[str, Any]:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(Chat, "settings", fail)  # the child is a fork
    with Terminal(["chat"], tmp_path) as terminal:
        terminal.prompt()
        assert "tinychat: a bug: ZeroDivisionError: oops" in terminal.ask("/show params")
        assert "You said: hello" in terminal.ask("hello")
        leave(terminal)


def test_nothing_to_continue(tmp_path: Path) -> None:
    with Terminal(["chat", "-c"], tmp_path) as terminal:
        assert terminal.end() == 1
        assert "no earlier conversation" in terminal.text


# --- keys


def test_ctrl_c_at_the_prompt(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.send("half a line\x03")
    terminal.send("whole\r")
    assert "You said: whole (1" in terminal.prompt()
    terminal.send("\x03")
    assert HINT in terminal.prompt()
    terminal.send("\x03\x03\x03")
    terminal.settle()
    assert "You said: more" in terminal.ask("more")
    leave(terminal)


def test_an_interrupt_from_outside_at_the_prompt(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.signal(signal.SIGINT)
    assert HINT in terminal.prompt()
    leave(terminal)


def test_ctrl_d_on_a_line_does_not_leave(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.send("ab\x04c\r")
    assert "You said: abc" in terminal.prompt()
    leave(terminal)


def test_lines_of_a_message(terminal: Terminal, tmp_path: Path) -> None:
    terminal.prompt()
    terminal.send("one\x1b\rtwo\r")
    terminal.prompt()
    terminal.send('"""\r/exit\r\r  three\r"""\r')
    terminal.prompt()
    terminal.send('"""never closed\rat all\x04')  # Ctrl-D ends the text, not the chat
    terminal.prompt()
    leave(terminal)
    assert contents(tmp_path)[::2] == ["one\ntwo", "/exit\n\n  three", "never closed\nat all"]


@pytest.mark.parametrize(
    ("text", "is_so", "message"),
    [
        ("plain", False, "plain"),
        ('"""', True, ""),
        ('"""a', True, "a"),
        ('"""a"""', False, "a"),
        ('"""a"""b', False, 'a"""b'),
        ('a """ b', False, 'a """ b'),
        ('"""\n a\n"""', False, " a"),
        ("//x", False, "/x"),
        ("  keep  ", False, "  keep  "),
    ],
)
def test_triple_quotes(text: str, is_so: bool, message: str) -> None:
    assert is_open(text) is is_so
    assert message_of(text) == message


def test_tab_completes(terminal: Terminal) -> None:
    def complete(typed: str, whole: str) -> str:
        terminal.send(typed + "\t")
        terminal.wait_for(whole)
        terminal.send("\r")
        return terminal.prompt()

    terminal.prompt()
    assert "There is nothing to undo" in complete("/und", "/undo")
    assert "usage: /set temperature VALUE" in complete("/set temp", "/set temperature")
    terminal.ask("hello")
    terminal.ask("/save a-session")
    assert "a-session: 2 messages" in complete("/load a-", "/load a-session")
    leave(terminal)


# --- pastes


@pytest.mark.parametrize(
    "pasted",
    ["/exit", "/exit\n", "/exit\r\n/exit\r\n", "a\n/exit\nb", "/undo 5", '"""', '"""\n/exit'],
)
def test_a_paste_is_a_message_and_no_command(tmp_path: Path, pasted: str) -> None:
    with Terminal(["chat"], tmp_path) as terminal:
        terminal.prompt()
        terminal.paste(pasted)
        # Only a key sends. An open block takes Ctrl-D, as Enter goes on with it.
        terminal.send("\x04" if pasted.startswith('"""') else "\r")
        terminal.prompt()
        if not pasted.startswith('"""'):
            terminal.send("\x1b[A\r")  # from the history it is no command either
            terminal.prompt()
        assert "You said: typed" in terminal.ask("typed")
        leave(terminal)
    wanted = pasted.replace("\r\n", "\n").removeprefix('"""').strip("\n")
    assert {text.strip("\n") for text in contents(tmp_path)[:-2:2]} == {wanted}


def test_a_command_may_have_a_pasted_argument(terminal: Terminal, tmp_path: Path) -> None:
    terminal.prompt()
    terminal.send("/system ")
    terminal.paste("Be brief.\n/exit")
    terminal.send("\r")
    assert "system prompt: set" in terminal.prompt()
    assert "there is nothing" in terminal.ask("/undo").lower()  # the next line is typed again
    terminal.ask("hello")
    leave(terminal)
    assert saved(tmp_path)["system"] == "Be brief.\n/exit"


def test_a_command_completed_by_a_paste_is_no_command(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.send("/")
    terminal.paste("exit")
    terminal.send("\r")
    assert "You said: /exit" in terminal.prompt()
    leave(terminal)


def test_a_huge_paste_is_one_message(tmp_path: Path) -> None:
    text = "".join(f"line {number} {'x' * 90}\n" for number in range(9_999)) + "/exit"
    with Terminal(["chat"], tmp_path, FakeLLM(max_context=10**6)) as terminal:
        terminal.prompt()
        terminal.paste("say " + text)
        terminal.send("\r")
        terminal.prompt()
        leave(terminal)
    assert contents(tmp_path) == ["say " + text, text]
    assert (tmp_path / "history").stat().st_size < 100


def test_what_is_typed_during_an_answer_is_not_obeyed(terminal: Terminal, tmp_path: Path) -> None:
    terminal.prompt()
    terminal.send("slow 30\r")
    terminal.wait_for("w5")
    terminal.send("/exit\r/exit\r")
    text = terminal.prompt()
    assert "/exit" not in text.partition("w5")[2]  # nor does it spoil the answer
    assert "You said: hello" in terminal.ask("hello")
    leave(terminal)
    assert contents(tmp_path)[::2] == ["slow 30", "hello"]


# --- Ctrl-C


@pytest.mark.parametrize("times", [1, 2, 5])
def test_ctrl_c_stops_an_answer_and_keeps_it(tmp_path: Path, times: int) -> None:
    with Terminal(["chat"], tmp_path) as terminal:
        terminal.prompt()
        terminal.send("slow 1000\r")
        terminal.wait_for("w3")
        for _ in range(times):
            terminal.send("\x03")
        text = terminal.prompt()
        assert "(stopped)" in text and "TTFT" in text and HINT not in text
        answer = contents(tmp_path)[-1]
        assert answer.startswith("w0 w1 w2 w3 ") and saved(tmp_path)["messages"][-1]["stopped"]
        assert "(stopped)" in terminal.ask("/show context")
        assert "You said: hello (3 messages)" in terminal.ask("hello")
        leave(terminal)
    assert contents(tmp_path)[1] == answer


def test_ctrl_c_while_the_question_is_evaluated(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.send("thinking\r")
    terminal.answering()
    terminal.send("\x03")
    assert "(stopped before it began)" in terminal.prompt()
    assert "You said: hello (1 messages)" in terminal.ask("hello")
    leave(terminal)


def test_ctrl_c_between_answers(tmp_path: Path) -> None:
    """Pressed in wild succession, at whatever comes: it never leaves, and what follows works."""
    with Terminal(["chat"], tmp_path) as terminal:
        terminal.prompt()
        for round_ in range(5):
            terminal.send("slow 40\r")
            for _ in range(10):
                terminal.send("\x03")
                time.sleep(0.004 * round_)
                terminal.signal(signal.SIGINT)
        for _ in range(40):  # an answer may still be running; then this is not obeyed
            terminal.settle()
            terminal.send("\x03hello\r")
            terminal.settle()
            if "You said: hello" in terminal.text:
                break
        assert "You said: hello" in terminal.text
        leave(terminal)


# --- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_prompt_leaves(tmp_path: Path, number: int) -> None:
    with Terminal(["chat"], tmp_path) as terminal:
        terminal.prompt()
        terminal.ask("hello")
        terminal.send("half a line")
        terminal.signal(number)
        assert terminal.end() == 128 + number
        assert terminal.same_modes() and "Traceback" not in terminal.text
    assert contents(tmp_path)[0] == "hello"


def test_a_signal_at_a_dumb_prompt_leaves(tmp_path: Path) -> None:
    with Terminal(["chat"], tmp_path, environ={"TERM": "dumb"}) as terminal:
        terminal.keyboard_taken()
        terminal.signal(signal.SIGTERM)
        assert terminal.end() == 128 + signal.SIGTERM and terminal.same_modes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_an_answer_saves_it_and_leaves(tmp_path: Path, number: int) -> None:
    with Terminal(["chat"], tmp_path) as terminal:
        terminal.prompt()
        terminal.send("slow 1000\r")
        terminal.wait_for("w3")
        terminal.signal(number)
        assert terminal.end() == 128 + number
        assert terminal.same_modes() and "Traceback" not in terminal.text
    assert contents(tmp_path)[1].startswith("w0 w1 w2 w3 ")
    assert saved(tmp_path)["messages"][1]["stopped"]


@pytest.mark.parametrize("line", ["", "slow 1000\r"])
def test_a_closed_window_ends_it(tmp_path: Path, line: str) -> None:
    with Terminal(["chat"], tmp_path) as terminal:
        terminal.prompt()
        terminal.ask("hello")
        if line:
            terminal.send(line)
            terminal.wait_for("w3")
        terminal.hang_up()
        assert terminal.end() in (0, 1, 128 + signal.SIGHUP)
    assert contents(tmp_path)[0] == "hello"
    assert not line or contents(tmp_path)[3].startswith("w0 w1 w2 w3 ")


def test_stopping_and_going_on(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.send("slow 20\r")
    terminal.wait_for("w2")
    terminal.signal(signal.SIGSTOP)
    terminal.signal(signal.SIGCONT)
    assert "w19" in terminal.prompt()
    terminal.signal(signal.SIGSTOP)
    terminal.signal(signal.SIGCONT)
    assert "You said: hello" in terminal.ask("hello")
    leave(terminal)


def test_a_storm_of_resizing(terminal: Terminal, tmp_path: Path) -> None:
    terminal.prompt()
    terminal.send("slow 60\r")
    for number in range(100):
        terminal.resize(20 + number * 7 % 100, 5 + number % 30)
        terminal._pump(0.003)
    terminal.prompt()
    terminal.resize(80, 24)
    terminal.settle()
    assert "You said: hello" in terminal.ask("hello")
    leave(terminal)
    assert contents(tmp_path)[1].split() == [f"w{number}" for number in range(60)]


# --- what reaches the terminal


@pytest.mark.parametrize("flags", [[], ["--raw"]])
def test_the_model_cannot_act_on_the_terminal(tmp_path: Path, flags: list[str]) -> None:
    with Terminal(["chat", *flags, "a\x1b]0;x\x07"], tmp_path) as terminal:
        terminal.prompt()
        assert "␛]52;c;aGk=␇" in terminal.ask("hostile")
        terminal.ask("/show context")
        terminal.ask("/load \x1b]0;y\x07")
        leave(terminal)
    rest = ALLOWED.sub(b"", terminal.output)
    assert b"\x1b" not in rest and b"\x07" not in rest and b"\x00" not in rest
    assert not set(rest.decode("utf-8")) & set("\x9b\u202e\u2066\x7f")


def test_markdown_on_a_terminal_and_raw_text_on_demand(tmp_path: Path) -> None:
    for flags, environ, rendered in (
        ([], {}, True),
        (["--raw"], {}, False),
        ([], {"NO_COLOR": "1"}, False),
    ):
        with Terminal(["chat", *flags], tmp_path, environ=environ) as terminal:
            terminal.prompt()
            answer = terminal.ask("say a **bold** [red]word[/red]").split("\n")[1]
            leave(terminal)
        wanted = "a bold [red]word[/red]" if rendered else "a **bold** [red]word[/red]"
        assert answer == wanted
        assert (b"\x1b[1m" in terminal.output) is rendered
        if "NO_COLOR" in environ:
            assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", terminal.output)


def test_a_dumb_terminal(tmp_path: Path) -> None:
    with Terminal(["chat"], tmp_path, environ={"TERM": "dumb"}) as terminal:
        terminal.keyboard_taken()
        terminal.send("hello\r")
        terminal.wait_for("You said: hello (1 messages)")
        terminal.wait_for("MB\n>>>")
        terminal.keyboard_taken()
        leave(terminal)
    assert b"\x1b" not in terminal.output


def test_a_narrow_screen(tmp_path: Path) -> None:
    with Terminal(["chat"], tmp_path, size=(20, 8)) as terminal:
        terminal.prompt()
        terminal.paste("say # T\n\n" + "words and more " * 20)
        text = terminal.ask("")
        assert text.count("words") >= 20
        leave(terminal)


def test_an_encoding_without_the_characters(tmp_path: Path) -> None:
    with Terminal(["chat"], tmp_path, environ={"PYTHONIOENCODING": "ascii"}) as terminal:
        assert "fake int4 | context 1000" in terminal.prompt()
        assert "?? naive" in terminal.ask("say 日本 naive")
        assert "a^[]52;c;aGk=^Gb" in terminal.ask("hostile")
        leave(terminal)
    assert terminal.output.isascii()


def test_answers_may_go_to_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Terminal(["chat", "--no-history"], tmp_path, redirect={1: out}) as terminal:
        terminal.prompt()
        text = terminal.ask("say **one**\x1b\rtwo")
        assert "TTFT" in text
        terminal.ask("/show params")
        leave(terminal)
    assert out.read_text() == "**one**\ntwo\n"
    assert plain(terminal.output).count("temperature") == 1

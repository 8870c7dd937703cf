"""Slash commands: each does its work or says in one line why not; the conversation stays sound."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fakes import HOSTILE, FakeLLM
from tinychat.cli.commands import COMMANDS, TOPICS, run_command, system_prompt
from tinychat.cli.conversation import Chat
from tinychat.cli.repl import handle
from tinychat.cli.session import Message, Session, session_names
from tinychat.cli.settings import SETTINGS
from tinychat.cli.terminal import Terminal, visible
from tinychat.errors import ArgumentError, TinyChatError
from tinychat.sampler import SamplingParams


class Talk:
    """A chat whose terminal is two strings."""

    def __init__(self, folder: Path | None, flags: dict[str, Any] | None = None) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.llm = FakeLLM()
        terminal = Terminal(self.out, self.err, {})
        llm: Any = self.llm
        self.chat = Chat(llm, terminal, Session("a model"), flags or {}, folder)

    def say(self, line: str) -> str:
        """Type a line; returns all that is written."""
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        handle(self.chat, line)
        return self.out.getvalue() + self.err.getvalue()

    def refuses(self, line: str, message: str) -> None:
        """Type a line that must be refused and change nothing; the next turn must work."""
        before = self.chat.session.to_json()
        with pytest.raises(TinyChatError) as error:
            self.say(line)
        assert message in str(error.value)
        assert self.chat.session.to_json() == before
        assert self.say("hello").startswith("You said: hello")
        self.chat.session.undo()

    @property
    def messages(self) -> list[Message]:
        return self.chat.session.messages


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


def test_help_names_every_command_and_alias(talk: Talk) -> None:
    text = talk.say("/help")
    assert text == talk.say("/?")
    for command in COMMANDS:
        assert all(f"/{name}" in text for name in (command.name, *command.aliases))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/exot", "did you mean /exit?"),
        ("/qqqqqq", "/help lists them"),
        ("/", "no command /"),
        ("/usr/bin/env is what?", "// sends a leading slash"),
        ("/clear now", "usage: /clear"),
        ("/retry 2", "usage: /retry"),
        ("/undo 1 2", "usage: /undo [N]"),
        ("/undo many", "'many'"),
        ("/undo 0", "'0'"),
        ("/undo -1", "'-1'"),
        ("/undo " + "9" * 5000, "usage: /undo"),
        ("/save a b", "usage: /save"),
        ("/save", "usage: /save NAME"),
        ("/save ../x", "not a session name"),
        ("/load", "usage: /load NAME"),
        ("/load missing", "no session missing"),
        ("/load ../x", "not a session name"),
        ("/stats maybe", "usage: /stats on|off"),
        ("/show everything", "usage: /show params|model|system|template|context"),
        ("/set temperature hot", "temperature is a number such as 0.7, not 'hot'"),
        ("/set temperature", "usage: /set temperature VALUE"),
        ("/set temperature 3", "temperature"),
        ("/set top_k 1.5", "a whole number"),
        ("/set heat 1", "known: temperature, top_k"),
        ("/set stop " + "x" * 300, "at most 256"),
        ("/system @/no/such/file", "/no/such/file"),
        ("/system @/dev/zero", "regular file"),
        ("/system @~nobody-of-that-name/x", "nobody known here"),
        ("/retry", "no answer"),
    ],
)
def test_refusals(talk: Talk, line: str, message: str) -> None:
    talk.refuses(line, message)


@pytest.mark.parametrize("name", ["exit", "bye", "quit"])
def test_leaving(talk: Talk, name: str) -> None:
    with pytest.raises(EOFError):
        talk.say(f"/{name}")


def test_two_slashes_are_one_slash_for_the_model(talk: Talk) -> None:
    assert talk.say("//exit").startswith("You said: /exit")


def test_an_unknown_command_is_never_sent(talk: Talk) -> None:
    with pytest.raises(ArgumentError):
        talk.say("/exot")
    assert talk.llm.asked == []


@pytest.mark.parametrize("line", ["", "  ", "\n\n"])
def test_an_empty_line_is_nothing(talk: Talk, line: str) -> None:
    assert talk.say(line) == "" and talk.llm.asked == []


def test_set_changes_what_the_engine_gets(talk: Talk) -> None:
    assert "(/set)" in talk.say("/set temperature 0")
    talk.say('/set stop ["a", "\\n"]')
    talk.say("hello")
    assert talk.llm.params[-1] == SamplingParams(temperature=0.0, stop=("a", "\n"))
    assert "(default)" in talk.say("/set temperature default")
    talk.say("hello")
    assert talk.llm.params[-1] == SamplingParams(stop=("a", "\n"))


def test_a_flag_wins_over_set(tmp_path: Path) -> None:
    talk = Talk(tmp_path, {"temperature": 0.25})
    talk.refuses("/set temperature 1", "--temperature was given on the command line and wins")
    talk.say("hello")
    assert talk.llm.params[-1] == SamplingParams(temperature=0.25)


def test_show_params_says_where_each_value_comes_from(tmp_path: Path) -> None:
    talk = Talk(tmp_path, {"temperature": 0.25})
    talk.llm.default_params = SamplingParams(top_p=0.5).over(talk.llm.default_params)
    talk.say("/set top_k 7")
    text = talk.say("/show params")
    assert text == talk.say("/set")
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()}
    assert list(rows) == list(SETTINGS)
    assert rows["temperature"] == "0.25 (flag)"
    assert rows["top_k"] == "7 (/set)"
    assert rows["top_p"] == "0.5 (generation_config.json)"
    assert rows["min_p"] == "0.0 (default)"
    assert rows["seed"] == "random (default)"
    talk.say("hello")
    assert "random (default; the last answer had 5)" in " ".join(talk.say("/show params").split())


def test_show(talk: Talk) -> None:
    talk.say("hello there")
    assert set(TOPICS) == {"params", "model", "system", "template", "context"}
    assert "fake int4" in talk.say("/show model") and talk.say("/show") == talk.say("/show model")
    assert "no system prompt" in talk.say("/show system")
    assert "message.content" in talk.say("/show template")
    talk.messages[-1].stopped = True
    text = talk.say("/show context")
    assert text.startswith("10 of 1,000 tokens\n")
    assert "user      hello there\n" in text and text.endswith("(stopped)\n")


def test_system(talk: Talk, tmp_path: Path) -> None:
    talk.say("/system Be brief.\nVery.")
    talk.say("hello")
    assert talk.llm.asked[-1][0] == {"role": "system", "content": "Be brief.\nVery."}
    assert talk.say("/system") == "Be brief.\nVery.\n"
    (tmp_path / "a file").write_text("From a file.", encoding="utf-8")
    talk.say(f"/system @{tmp_path}/a file")
    assert talk.chat.session.system == "From a file."
    talk.say('/system ""')
    assert talk.chat.session.system is None


@pytest.mark.parametrize("content", [b"\xff", b"a" * ((4 << 20) + 1)])
def test_a_system_prompt_that_cannot_be(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ArgumentError, match="file"):
        system_prompt(f"@{tmp_path}/file")


def test_clear_keeps_system_prompt_and_settings(talk: Talk) -> None:
    talk.say("/system Be brief.")
    talk.say("/set top_k 3")
    talk.say("hello")
    talk.say("/clear")
    session = talk.chat.session
    assert (session.messages, session.system, session.settings) == ([], "Be brief.", {"top_k": 3})
    assert session.model == "a model"


def test_undo(talk: Talk) -> None:
    for word in ("one", "two", "three"):
        talk.say(word)
    assert talk.say("/undo") == "Forgot 1 turn.\n"
    assert talk.say("/undo 9") == "Forgot 2 turns.\n"
    assert talk.say("/undo") == "There is nothing to undo.\n"
    assert talk.messages == []


def test_retry_asks_the_last_question_again(talk: Talk) -> None:
    talk.say("one")
    talk.say("two")
    assert talk.say("/retry").startswith("You said: two")
    assert talk.say("/regen").startswith("You said: two")
    assert [message.content for message in talk.messages[::2]] == ["one", "two"]
    assert talk.llm.asked[-1] == talk.llm.asked[-2] == talk.llm.asked[-3]


def test_a_retry_that_fails_keeps_the_old_answer(talk: Talk) -> None:
    talk.say("one two three")
    before = list(talk.messages)
    talk.llm.max_context = 2
    assert "has 4 tokens" in talk.say("/retry")
    assert talk.messages == before


def test_stats(talk: Talk) -> None:
    assert "TTFT" in talk.say("hello")
    assert talk.say("/stats off") == "statistics: off\n"
    assert "TTFT" not in talk.say("hello")
    assert talk.say("/stats") == "statistics: on\n"


def test_save_and_load(talk: Talk, tmp_path: Path) -> None:
    talk.say("/system Be brief.")
    talk.say("/set temperature 0.5")
    talk.say("hello")
    saved = list(talk.messages)
    assert str(tmp_path) in talk.say("/save first")
    talk.say("/clear")
    talk.say("another")
    assert talk.say("/load first") == "first: 2 messages\n"
    assert talk.messages == saved
    assert talk.chat.session.settings == {"temperature": 0.5}
    talk.say("more")
    talk.say("/save")  # a loaded session is renewed under its own name
    assert len(json.loads((tmp_path / "sessions/first.json").read_text())["messages"]) == 4
    assert session_names(tmp_path) == ["first"]


def test_save_does_not_overwrite(talk: Talk, tmp_path: Path) -> None:
    talk.say("hello")
    talk.say("/save x")
    talk.say("/clear")
    talk.say("other")
    before = (tmp_path / "sessions/x.json").read_bytes()
    talk.refuses("/save x", "there is a session x already")
    assert (tmp_path / "sessions/x.json").read_bytes() == before


def test_save_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("in the way")
    Talk(tmp_path).refuses("/save x", "cannot create the folder")
    Talk(None).refuses("/save x", "TINYCHAT_HOME")
    Talk(None).refuses("/load x", "TINYCHAT_HOME")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2')),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"top_k": 3', b'"top_k": "x"')),
        lambda path: path.write_bytes(path.read_bytes().replace(b"top_k", b"top_q")),
    ],
    ids=["truncated", "newer", "a bad setting", "an unknown setting"],
)
def test_load_of_a_spoilt_file(talk: Talk, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    talk.say("/set top_k 3")
    talk.say("hello")
    talk.say("/save x")
    spoil(tmp_path / "sessions/x.json")
    talk.refuses("/load x", "")


def test_a_file_error_of_a_command_is_one_line(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("tinychat.cli.session.session_names", fail)
    talk.refuses("/load", "permission denied")


def test_an_error_in_a_turn_drops_the_turn_and_nothing_else(talk: Talk) -> None:
    talk.say("one")
    before = list(talk.messages)
    assert "tinychat: a bug: KeyError" in talk.say("bug now")
    talk.llm.max_context = 12
    text = talk.say("a b c d e f g h")
    assert "/undo or /clear makes room" in text and "--max-context" in text
    assert talk.messages == before
    assert talk.say("two").startswith("You said: two")


def test_a_full_context_is_said_and_the_answer_kept(talk: Talk) -> None:
    talk.llm.max_context = 6
    text = talk.say("slow 20")
    assert "the context is full: 6/6 tokens; /undo or /clear makes room" in text
    assert talk.messages[-1].content == "w0 w1 w2 w3 "


def test_an_empty_answer_is_said(talk: Talk) -> None:
    assert "(an empty answer)" in talk.say("silence")
    assert len(talk.messages) == 2


def test_a_message_that_is_too_long(talk: Talk) -> None:
    talk.refuses("x" * ((4 << 20) + 1), "too long")


def test_nothing_that_is_shown_acts_on_the_terminal(talk: Talk) -> None:
    name = HOSTILE.replace("\x00", "").replace("/", "")
    talk.chat.session.model = HOSTILE
    talk.say("hostile")
    written = talk.say("/show context") + talk.say("/show model") + talk.say(f"/system {HOSTILE}")
    written += talk.say("/show system")
    for line in (f"/load {name}", f"/{HOSTILE}", f"/set {HOSTILE} 1", f"/set top_k {HOSTILE}"):
        with pytest.raises(TinyChatError) as error:
            talk.say(line)
        talk.err.seek(0)
        talk.chat.terminal.error(error.value)
        written += talk.err.getvalue()
    assert visible(written) == written
    assert "␛]52;c;aGk=␇" in written


def test_commands_are_documented_in_a_table() -> None:
    names = [name for command in COMMANDS for name in (command.name, *command.aliases)]
    assert len(set(names)) == len(names)
    assert set(names) == set(
        "help ? clear system set show retry regen undo save load stats exit bye quit".split()
    )
    with pytest.raises(ArgumentError):
        run_command(Talk(None).chat, "/nothing")

"""Conversations and their files: what is read is sound, what is written is whole."""

from __future__ import annotations

import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinychat.cli import session as sessions
from tinychat.cli.session import AUTOSAVES, Autosave, Message, Session
from tinychat.errors import TinyChatError

HELLO = [Message("user", "hello"), Message("assistant", "hi", stopped=True)]
SOUND: dict[str, Any] = {
    "format": "tinychat-session",
    "version": 1,
    "model": "m",
    "system": None,
    "settings": {"top_k": 3},
    "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
}


def write(tmp_path: Path, content: bytes | dict[str, Any]) -> Path:
    path = tmp_path / "sessions" / "x.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@given(
    st.lists(st.tuples(st.text(), st.text(), st.booleans()), max_size=4),
    st.none() | st.text(),
)
def test_what_is_saved_is_loaded(turns: list[tuple[str, str, bool]], system: str | None) -> None:
    messages = [
        message
        for question, answer, stopped in turns
        for message in (Message("user", question), Message("assistant", answer, stopped))
    ]
    session = Session("model", system, {"temperature": 0.5, "stop": ["x"]}, messages)
    copy = sessions._from_document(json.loads(session.to_json()))
    assert copy == session


def test_a_lone_surrogate_does_not_keep_a_conversation_from_its_file(tmp_path: Path) -> None:
    session = Session(messages=[Message("user", "a\ud800b"), Message("assistant", "c")])
    sessions.save(session, tmp_path, "x")
    assert sessions.load(tmp_path, "x").messages[0].content == "a?b"


def test_a_file_is_plain_json_for_others(tmp_path: Path) -> None:
    sessions.save(Session("m", "be brief", {}, HELLO), tmp_path, "x")
    document = json.loads((tmp_path / "sessions/x.json").read_text(encoding="utf-8"))
    assert document["version"] == 1
    assert document["messages"][1] == {"role": "assistant", "content": "hi", "stopped": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "newer tinychat"),
        ({"version": 0}, "version 0"),
        ({"version": True}, "version True"),
        ({"version": "1"}, "version '1'"),
        ({"format": "other"}, '"format"'),
        ({"model": 3}, '"model"'),
        ({"system": ["x"]}, '"system"'),
        ({"settings": []}, '"settings"'),
        ({"messages": {}}, '"messages"'),
        ({"messages": ["x"]}, "message 0"),
        ({"messages": [{"role": "system", "content": "x"}]}, "message 0"),
        ({"messages": [{"role": "user", "content": None}]}, "message 0"),
        ({"messages": [{"role": "user", "content": "x", "stopped": 1}]}, "message 0"),
        ({"messages": [{"role": "user", "content": "x"}] * 2}, "take turns"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "take turns"),
        ({"messages": [{"role": "user", "content": "x" * (4 << 20) + "x"}]}, "bytes"),
    ],
)
def test_an_unsound_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, SOUND | change)
    with pytest.raises(TinyChatError, match=message) as error:
        sessions.load(tmp_path, "x")
    assert "x.json" in str(error.value) and "\n" not in str(error.value)
    write(tmp_path, SOUND)
    assert len(sessions.load(tmp_path, "x").messages) == 2


def test_too_many_messages(tmp_path: Path) -> None:
    turn = [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
    write(tmp_path, SOUND | {"messages": turn * 2048})
    assert len(sessions.load(tmp_path, "x").messages) == 4096
    write(tmp_path, SOUND | {"messages": turn * 2049})
    with pytest.raises(TinyChatError, match="4098 messages"):
        sessions.load(tmp_path, "x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"version": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_session_is_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    with pytest.raises(TinyChatError):
        sessions.load(tmp_path, "x")


class Canary:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    content = pickle.dumps(Canary(canary))
    write(tmp_path, content)
    with pytest.raises(TinyChatError):
        sessions.load(tmp_path, "x")
    assert not canary.exists()
    write(tmp_path, SOUND)
    assert len(sessions.load(tmp_path, "x").messages) == 2
    pickle.loads(content)
    assert canary.exists()  # the canary does sing


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = json.dumps(SOUND).encode()
    for length in range(len(whole)):
        write(tmp_path, whole[:length])
        with pytest.raises(TinyChatError):
            sessions.load(tmp_path, "x")


def test_a_huge_file_is_refused_by_its_size(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    os.truncate(path, 1 << 30)  # sparse: reading it would take a GB of memory
    with pytest.raises(TinyChatError, match="1073741824"):
        sessions.load(tmp_path, "x")


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    os.mkfifo(tmp_path / "sessions/x.json")
    with pytest.raises(TinyChatError, match="not a regular file"):
        sessions.load(tmp_path, "x")


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "/etc/x", "", ".", "..", ".x", "-rf", "a\0b", "a\nb", "a b", "x" * 81]
)
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "state"
    with pytest.raises(TinyChatError, match="not a session name"):
        sessions.save(Session(messages=list(HELLO)), folder, name)
    with pytest.raises(TinyChatError, match="not a session name"):
        sessions.load(folder, name)
    assert not list(tmp_path.rglob("*.json"))


def test_an_existing_session_is_not_overwritten(tmp_path: Path) -> None:
    first = Session(messages=list(HELLO))
    sessions.save(first, tmp_path, "x")
    with pytest.raises(TinyChatError, match="already"):
        sessions.save(Session(), tmp_path, "x")
    assert sessions.load(tmp_path, "x").messages == HELLO
    first.messages = []
    sessions.save(first, tmp_path, "x")  # its own file it may renew
    assert sessions.load(tmp_path, "x").messages == []


def test_a_missing_session_is_named_with_those_there_are(tmp_path: Path) -> None:
    sessions.save(Session(), tmp_path, "known")
    with pytest.raises(TinyChatError, match=r"no session other \(saved sessions: known\)"):
        sessions.load(tmp_path, "other")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    sessions.save(Session(), tmp_path, "x")
    (tmp_path / "sessions").chmod(0o500)
    with pytest.raises(TinyChatError, match="permission denied"):
        sessions.save(Session(), tmp_path, "y")
    (tmp_path / "sessions").chmod(0o700)


def test_undo_forgets_turns() -> None:
    session = Session(messages=HELLO * 3)
    assert session.undo() == 1 and len(session.messages) == 4
    assert session.undo(5) == 2 and session.messages == []
    assert session.undo() == 0


def test_the_prompt_has_the_system_text_first() -> None:
    assert Session(system="s", messages=HELLO[:1]).prompt() == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "hello"},
    ]
    assert Session().prompt() == []


def test_autosave_keeps_the_newest_ten(tmp_path: Path) -> None:
    for number in range(AUTOSAVES + 3):
        autosave = Autosave(tmp_path)
        session = Session(messages=[Message("user", str(number)), Message("assistant", "")])
        autosave.save(session)
        os.utime(autosave.path, (number, number))
    files = sessions.autosaves(tmp_path)
    assert [sessions.read(path).messages[0].content for path in files] == [
        str(number) for number in range(AUTOSAVES + 2, 2, -1)
    ]
    assert sessions.load_last(tmp_path).messages[0].content == "12"


def test_nothing_is_saved_of_an_empty_conversation(tmp_path: Path) -> None:
    Autosave(tmp_path).save(Session())
    assert not list(tmp_path.iterdir())
    with pytest.raises(TinyChatError, match="no earlier conversation"):
        sessions.load_last(tmp_path)


def test_two_conversations_of_one_run_have_two_files(tmp_path: Path) -> None:
    assert Autosave(tmp_path).path != Autosave(tmp_path).path
    assert time.strftime("%Y") in Autosave(tmp_path).path.name

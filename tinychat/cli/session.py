"""A conversation and its file: JSON with a version, read with suspicion and written atomically.

Named sessions live in `sessions/NAME.json`, the last ten conversations save themselves in
`autosave/`.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinychat.cli.paths import AUTOSAVE_FOLDER, SESSIONS_FOLDER, write_private
from tinychat.errors import ArgumentError, TinyChatError
from tinychat.jsonfile import read_json
from tinychat.limits import MESSAGE_BYTES, MESSAGES

FORMAT = "tinychat-session"
VERSION = 1
MAX_FILE_BYTES = 64 << 20
AUTOSAVES = 10
ROLES = ("user", "assistant")

_NUMBERS = itertools.count()  # of the conversations of this process
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass
class Message:
    """Half a turn: `role` is "user" or "assistant", `stopped` marks an interrupted answer."""

    role: str
    content: str
    stopped: bool = False


@dataclass
class Session:
    """What is kept of a conversation.

    Attributes:
        model: the name it was held with, for the reader.
        system: the system prompt, or None.
        settings: what `/set` changed, by name.
        messages: user and assistant in turns, without the system prompt.
        name: the name it was saved or loaded under, or None.
    """

    model: str = ""
    system: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    name: str | None = None

    def prompt(self) -> list[dict[str, str]]:
        """The messages as the chat template wants them, system prompt first."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return system + [{"role": m.role, "content": m.content} for m in self.messages]

    def undo(self, turns: int = 1) -> int:
        """Forget the last `turns` questions with their answers; return how many there were."""
        undone = 0
        while undone < turns and self.messages:
            while self.messages and self.messages.pop().role != "user":
                pass
            undone += 1
        return undone

    def to_json(self) -> bytes:
        """The file's bytes."""
        messages = [
            {"role": m.role, "content": m.content} | ({"stopped": True} if m.stopped else {})
            for m in self.messages
        ]
        document = {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "system": self.system,
            "settings": self.settings,
            "messages": messages,
        }
        # A lone surrogate, typed or generated, has no UTF-8 form: keep the file readable for
        # everyone.
        text = json.dumps(document, ensure_ascii=False, indent=1)
        return text.encode("utf-8", errors="replace") + b"\n"


def check_name(name: str) -> str:
    """Return `name` if it can be a file's name and nothing else; raise ArgumentError otherwise."""
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"{name[:100]!r} is not a session name: use 1 to 80 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return name


def session_path(folder: Path, name: str) -> Path:
    """The file of the session `name` under the state folder `folder`."""
    return folder / SESSIONS_FOLDER / f"{check_name(name)}.json"


def session_names(folder: Path) -> list[str]:
    """Names that `/load` accepts, sorted."""
    return sorted(path.stem for path in (folder / SESSIONS_FOLDER).glob("*.json"))


def save(session: Session, folder: Path, name: str) -> Path:
    """Write the session as `name`; an existing file is replaced only if it is this session's own.

    Raises: TinyChatError with the reason; the old file is then intact.
    """
    path = session_path(folder, name)
    if name != session.name and path.exists():
        raise TinyChatError(f"there is a session {name} already: choose another name, or /load it")
    write_private(path, session.to_json())
    session.name = name
    return path


def load(folder: Path, name: str) -> Session:
    """Read the session `name`; raises TinyChatError if it is missing or unsound."""
    path = session_path(folder, name)
    if not path.exists():
        known = ", ".join(session_names(folder)[:20]) or "none"
        raise TinyChatError(f"there is no session {name} (saved sessions: {known})")
    session = read(path)
    session.name = name
    return session


def read(path: Path) -> Session:
    """Read a session file.

    Raises: TinyChatError naming the file for anything that is not a whole, sound session of this
    version.
    """
    document = read_json(path, MAX_FILE_BYTES)
    try:
        return _from_document(document)
    except ValueError as error:
        raise TinyChatError(f"{path} is not a session tinychat can load: {error}") from None


def _from_document(document: dict[str, Any]) -> Session:
    if document.get("format") != FORMAT:
        raise ValueError(f'"format" is not "{FORMAT}"')
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise ValueError(f"version {version!r} is not a positive number")
    if version > VERSION:
        raise ValueError(f"it was written by a newer tinychat (version {version}, not {VERSION})")
    model, system = document.get("model", ""), document.get("system")
    settings, messages = document.get("settings", {}), document.get("messages", [])
    if not isinstance(model, str) or not isinstance(system, str | None):
        raise ValueError('"model" and "system" must be text')
    if not isinstance(settings, dict) or not isinstance(messages, list):
        raise ValueError('"settings" must be an object and "messages" a list')
    if len(messages) > MESSAGES:
        raise ValueError(f"{len(messages)} messages; at most {MESSAGES}")
    read_messages = [_message(index, item) for index, item in enumerate(messages)]
    return Session(model=model, system=system, settings=settings, messages=read_messages)


def _message(index: int, item: Any) -> Message:
    if not isinstance(item, dict):
        raise ValueError(f"message {index} is not an object")
    role, content, stopped = item.get("role"), item.get("content"), item.get("stopped", False)
    if role not in ROLES or not isinstance(content, str) or not isinstance(stopped, bool):
        raise ValueError(
            f"message {index} needs a role of {' or '.join(ROLES)} and text as content"
        )
    if role != ROLES[index % 2]:
        raise ValueError(f"message {index} is from {role}; user and assistant must take turns")
    if len(content.encode("utf-8", errors="replace")) > MESSAGE_BYTES:
        raise ValueError(f"message {index} has more than {MESSAGE_BYTES:,} bytes")
    return Message(role, content, stopped)


class Autosave:
    """The file into which one run of the chat saves itself; the folder keeps the newest ten."""

    def __init__(self, folder: Path) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._folder = folder / AUTOSAVE_FOLDER
        self.path = self._folder / f"{stamp}-{os.getpid()}-{next(_NUMBERS)}.json"

    def save(self, session: Session) -> None:
        """Write the session if there is anything to keep, and forget the oldest files."""
        if not session.messages:
            return
        write_private(self.path, session.to_json())
        for old in autosaves(self._folder.parent)[AUTOSAVES:]:
            old.unlink(missing_ok=True)


def autosaves(folder: Path) -> list[Path]:
    """The conversations that saved themselves, newest first."""

    def age(path: Path) -> tuple[int, str]:
        try:
            return path.stat().st_mtime_ns, path.name
        except FileNotFoundError:  # another run's ring has just dropped it
            return 0, path.name

    return sorted((folder / AUTOSAVE_FOLDER).glob("*.json"), key=age, reverse=True)


def load_last(folder: Path) -> Session:
    """Read the conversation that was saved last; raises TinyChatError if there is none."""
    files = autosaves(folder)
    if not files:
        raise TinyChatError(
            "there is no earlier conversation to continue; start without --continue"
        )
    return read(files[0])

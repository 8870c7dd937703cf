"""Conversations as a chat template may see them: checked, copied, and free of surprises.

A message's role is one of a fixed set, because templates build control tokens of it; everything
else in a message is content, of which a control token must never come.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tinychat import limits
from tinychat.errors import ArgumentError
from tinychat.tokenizer import check_text

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function", "ipython"})

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Names under which templates look for the model's reasoning; the first is the usual one.
_REASONING = ("reasoning_content", "thinking", "reasoning")

Message = dict[str, Any]


def check_messages(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Check a conversation and copy it; nothing of the caller's is shared or changed.

    Keys that are None are dropped, and a message's reasoning goes by every name that templates use,
    both as transformers does.

    Args:
        messages: dicts with "role" and "content" (text, or a list of {"type": "text", "text": …});
            an assistant's message may have "tool_calls" instead of content.
    Raises: ArgumentError naming the index of the message.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise ArgumentError(f"messages is a {type(messages).__name__}; expected a list of dicts")
    if not messages:
        raise ArgumentError("messages is empty; expected at least one message")
    if len(messages) > limits.MESSAGES:
        raise ArgumentError(
            f"messages has {len(messages)} entries; at most {limits.MESSAGES} are expected"
        )
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def check_arguments(arguments: Mapping[str, Any], reserved: frozenset[str]) -> dict[str, Any]:
    """Check and copy what is passed to a chat template beside the messages, for instance tools.

    Args:
        arguments: plain data by name.
        reserved: names that the caller may not set.
    Raises: ArgumentError naming the argument.
    """
    for name in arguments:
        if name in reserved or not _NAME.fullmatch(name):
            raise ArgumentError(f"{name!r:.60} cannot be set for a chat template")
    return {name: _plain(value, name, 0) for name, value in arguments.items()}


def texts(value: Any) -> Iterator[str]:
    """Every text in plain data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def content_texts(messages: Sequence[Message]) -> list[str]:
    """Every text in checked messages that is content."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    map_content(messages, note)
    return found


def map_content(messages: Sequence[Message], change: Callable[[str], str]) -> list[Message]:
    """Copy checked messages with every content text changed.

    Roles, part types and keys that are plain names stay: templates decide by them.
    """
    return [
        {key: value if key == "role" else _map(value, change) for key, value in message.items()}
        for message in messages
    ]


def has_parts(message: Message) -> bool:
    """Whether the content is a list of parts."""
    return isinstance(message.get("content"), list)


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping):
        raise ArgumentError(f"{where} is a {type(message).__name__}; expected a dict")
    copy = {key: value for key, value in _plain(message, where, 0).items() if value is not None}
    role = copy.get("role")
    if not isinstance(role, str) or role not in ROLES:
        shown = f"the role {role!r:.60}" if "role" in copy else "no role"
        raise ArgumentError(f"{where} has {shown}; expected one of {', '.join(sorted(ROLES))}")
    _check_content(copy, where)
    size = sum(len(text.encode()) for text in texts(copy))
    if size > limits.MESSAGE_BYTES:
        raise ArgumentError(
            f"{where} has {size} bytes; at most {limits.MESSAGE_BYTES} are expected"
        )
    reasoning = next((copy[name] for name in _REASONING if name in copy), None)
    if reasoning is not None:
        copy = {"thinking": reasoning, **copy, "reasoning_content": reasoning}
    return copy


def _check_content(message: Message, where: str) -> None:
    content = message.get("content")
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        return
    if not isinstance(content, list) or not content:
        shown = "no content" if content is None else f"the content {content!r:.60}"
        raise ArgumentError(f"{where} has {shown}; expected text, or a list of text parts")
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise ArgumentError(f"{where}.content[{index}] is no part; expected a dict with a type")
        if part["type"] != "text" or not isinstance(part.get("text"), str):
            raise ArgumentError(
                f"{where}.content[{index}] has the type {part['type']!r:.60}; this version reads "
                'only {"type": "text", "text": "…"}'
            )


def _plain(value: Any, where: str, depth: int) -> Any:
    """A copy made of plain JSON types."""
    if depth > limits.JSON_DEPTH:
        raise ArgumentError(f"{where} is nested more than {limits.JSON_DEPTH} levels deep")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        check_text(value, where)
        return str.__str__(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArgumentError(f"{where} has the key {key!r:.60}; expected text")
            check_text(key, f"a key of {where}")
        return {
            str.__str__(key): _plain(item, f"{where}.{key:.60}", depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise ArgumentError(f"{where} is a {type(value).__name__}; expected plain JSON data")


def _map(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map(item, change) for item in value]
    if isinstance(value, dict):
        return {
            key if _NAME.fullmatch(key) else change(key): (
                item
                if key == "type" and isinstance(item, str) and _NAME.fullmatch(item)
                else _map(item, change)
            )
            for key, item in value.items()
        }
    return value

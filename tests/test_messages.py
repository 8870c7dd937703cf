"""Conversations: what is refused, by its index, and that a caller's list is never touched."""

from __future__ import annotations

import copy
import enum
from types import MappingProxyType
from typing import Any

import pytest

from tinychat import limits
from tinychat.errors import ArgumentError
from tinychat.messages import check_arguments, check_messages, content_texts, map_content, texts

USER = {"role": "user", "content": "hi"}
PART = {"type": "text", "text": "hi"}


def deep(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "messages is empty"),
        ("hi", "messages is a str"),
        (USER, "messages is a dict"),
        (None, "messages is a NoneType"),
        ([USER] * 4097, "4097 entries"),
        ([USER, "hi"], r"messages\[1\] is a str"),
        ([USER, None], r"messages\[1\] is a NoneType"),
        ([USER, {"content": "x"}], r"messages\[1\] has no role"),
        ([USER, {"role": None, "content": "x"}], r"messages\[1\] has no role"),
        ([USER, {"role": 3, "content": "x"}], r"messages\[1\] has the role 3"),
        ([USER, {"role": "User", "content": "x"}], r"messages\[1\] has the role 'User'"),
        ([USER, {"role": "endoftext", "content": "x"}], r"messages\[1\] has the role"),
        ([USER, {"role": "user"}], r"messages\[1\] has no content"),
        ([USER, {"role": "user", "content": None}], r"messages\[1\] has no content"),
        ([USER, {"role": "assistant", "content": None, "tool_calls": []}], r"\[1\] has no content"),
        ([USER, {"role": "user", "content": 123}], r"messages\[1\] has the content 123"),
        ([USER, {"role": "user", "content": []}], r"messages\[1\] has the content \[\]"),
        ([USER, {"role": "user", "content": {"a": 1}}], r"messages\[1\] has the content"),
        ([USER, {"role": "user", "content": ["hi"]}], r"messages\[1\]\.content\[0\] is no part"),
        ([USER, {"role": "user", "content": [PART, {"text": "x"}]}], r"\.content\[1\] is no part"),
        (
            [{"role": "user", "content": [PART, {"type": "image_url", "image_url": "file:///x"}]}],
            r"messages\[0\]\.content\[1\] has the type 'image_url'",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], r"content\[0\] has the type 'text'"),
        ([{"role": "user", "content": [{"type": "text", "text": 3}]}], r"\.content\[0\]"),
        ([{"role": "user", "content": "a\ud800"}], r"messages\[0\]\.content holds the lone surr"),
        ([{**USER, "name": object()}], r"messages\[0\]\.name is a object"),
        ([{**USER, "x": {3: "y"}}], r"messages\[0\]\.x has the key 3"),
        ([{**USER, "x": {"\ud800": 1}}], r"a key of messages\[0\]\.x holds the lone"),
        ([{**USER, "x": deep(100)}], "nested"),
        ([{"role": "user", "content": "é" * (1 << 21) + "x"}], r"messages\[0\] has 41943"),
    ],
)
def test_refused_by_index(messages: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said) as error:
        check_messages(messages)
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


def test_accepted() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": [1, 2.5, True, None]}}}
    messages = [
        {"role": "system", "content": ""},
        {"role": "user", "content": [PART, PART]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "x", "tool_call_id": "1"},
        {"role": "assistant", "content": "\0 \n"},
        {"role": "assistant", "content": "x"},
        {"role": "system", "content": "x"},
    ]
    checked = check_messages(messages)
    assert checked[2] == {"role": "assistant", "tool_calls": [call]}  # as if content were not there
    assert [message for message in checked if message["role"] != "assistant"] == [
        message for message in messages if message["role"] != "assistant"
    ]
    assert len(check_messages([USER] * limits.MESSAGES)) == limits.MESSAGES


def test_nothing_is_shared_with_the_caller() -> None:
    messages = [{"role": "user", "content": [dict(PART)], "more": {"list": [1]}}]
    before = copy.deepcopy(messages)
    checked = check_messages(messages)
    checked[0]["content"][0]["text"] = "changed"
    checked[0]["more"]["list"].append(2)
    checked.append({})
    assert messages == before


def test_other_kinds_of_containers_become_plain_ones() -> None:
    class Role(str, enum.Enum):
        USER = "user"

    message = MappingProxyType({"role": Role.USER, "content": (MappingProxyType(PART),)})
    (plain,) = check_messages((message,))
    assert plain == {"role": "user", "content": [PART]}
    assert type(plain) is dict and type(plain["role"]) is str and type(plain["content"]) is list


def test_reasoning_goes_by_all_its_names() -> None:
    for name in ("reasoning_content", "thinking", "reasoning"):
        (message,) = check_messages([{"role": "assistant", "content": "a", name: "hm"}])
        assert message["reasoning_content"] == message["thinking"] == "hm"


def test_content_is_all_but_roles_types_and_plain_keys() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"k v": "w", "k": ["u"]}}}
    messages = check_messages(
        [
            {"role": "user", "content": [PART]},
            {"role": "assistant", "content": "a", "type": "not <a name>", "tool_calls": [call]},
        ]
    )
    assert content_texts(messages) == ["hi", "a", "not <a name>", "f", "k v", "w", "u"]
    changed = map_content(messages, str.upper)
    assert changed[0] == {"role": "user", "content": [{"type": "text", "text": "HI"}]}
    function = changed[1]["tool_calls"][0]
    assert function == {
        "type": "function",
        "function": {"name": "F", "arguments": {"K V": "W", "k": ["U"]}},
    }
    assert messages[0]["content"] == [PART]


def test_arguments() -> None:
    tools = ({"type": "function"},)
    checked = check_arguments({"tools": tools, "enable_thinking": False}, frozenset())
    assert checked == {"tools": [{"type": "function"}], "enable_thinking": False}
    assert list(texts(checked)) == ["tools", "type", "function", "enable_thinking"]
    for name in ("messages", "a b", "", "1a", "é"):
        with pytest.raises(ArgumentError, match="cannot be set"):
            check_arguments({name: 1}, frozenset({"messages"}))
    with pytest.raises(ArgumentError, match="tools is a function"):
        check_arguments({"tools": deep}, frozenset())

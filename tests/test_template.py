"""Chat templates: text and ids as of transformers, from every place that a template may lie in."""

from __future__ import annotations

import copy
import json
import shutil
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tinychat import template as template_module
from tinychat.errors import ArgumentError, ContextLengthError, TemplateError, TinyChatError
from tinychat.template import ChatTemplate
from tinychat.tokenizer import Tokenizer

FROZEN = datetime(2025, 3, 4, 5, 6, 7, 89)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HI = [{"role": "user", "content": "hi"}]

CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one turn": HI,
    "system and spaces": [
        {"role": "system", "content": ' Be "nice".\n\n'},
        {"role": "user", "content": "\t Grüße, 世界! 🙂 \n"},
    ],
    "three turns": [
        {"role": "user", "content": " a "},
        {"role": "assistant", "content": "b \n"},
        {"role": "user", "content": "c <&> \\ 'd' {{ x }} {% y %}"},
    ],
    "reasoning": [
        {"role": "system", "content": ""},
        {"role": "user", "content": "q /no_think"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nanswer"},
        {"role": "user", "content": "next"},
        {"role": "assistant", "content": "<think>\n\n</think>\n\nlast"},
    ],
    "a tool": [
        {"role": "user", "content": "2+2?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "abcdefghi",
                    "type": "function",
                    "function": {"name": "add", "arguments": {"a": 2, "b": "zwei <&> é"}},
                }
            ],
        },
        {"role": "tool", "content": "4", "tool_call_id": "abcdefghi", "name": "add"},
    ],
    "parts": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "hi "}, {"type": "text", "text": "you"}],
        }
    ],
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds é.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer", "description": "first"}},
                "required": ["a"],
            },
        },
    }
]


@cache
def tokenizer(folder: Path) -> Tokenizer:
    loaded = Tokenizer.load(folder, 1 << 20)
    assert loaded is not None
    return loaded


@cache
def theirs(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    special = {name: config[name] for name in names if config.get(name)}
    file = str(folder / "tokenizer.json")
    return transformers.PreTrainedTokenizerFast(tokenizer_file=file, **special)


@pytest.fixture
def small(data: Path) -> Tokenizer:
    return tokenizer(data / "tokenizers" / "minueza-32m-ultrachat")


@pytest.fixture(autouse=True)
def frozen_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return FROZEN

    monkeypatch.setattr(template_module, "now", lambda: FROZEN)
    try:
        import transformers.utils.chat_template_utils as utils
    except ImportError:
        return
    monkeypatch.setattr(utils, "datetime", Clock)


# --- equal to transformers


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("**/*.jinja"))


def source(folder: Path, name: str) -> str:
    text = (folder / name).read_text(encoding="utf-8")
    # These are laid out for reading.
    return text.replace("    ", "").replace("\n", "") if name.startswith("chujiezheng") else text


def compare(
    chat: ChatTemplate, folder: Path, conversation: list[dict[str, Any]], **given: Any
) -> int:
    """Compare text and ids with transformers'. Returns: 1 if both render, 0 if neither does."""
    keywords = {"chat_template": chat.source, **given}
    try:
        expected = theirs(folder).apply_chat_template(conversation, tokenize=False, **keywords)
    except Exception:
        with pytest.raises(TinyChatError):
            chat.render(conversation, **given)
        return 0
    assert chat.render(conversation, **given) == expected
    ids = theirs(folder).apply_chat_template(
        conversation, tokenize=True, return_dict=False, **keywords
    )
    assert chat.encode(conversation, **given) == ids
    return 1


def test_every_published_template_renders_alike(data: Path) -> None:
    folder = data / "tokenizers" / "llama3"
    rendered = {}
    for name in names(data / "templates"):
        chat = ChatTemplate(source(data / "templates", name), tokenizer(folder), name)
        rendered[name] = sum(
            compare(chat, folder, conversation, add_generation_prompt=prompt)
            for kind, conversation in CONVERSATIONS.items()
            for prompt in (True, False)
            if kind != "parts"
        )
        rendered[name] += compare(chat, folder, HI, tools=TOOLS, add_generation_prompt=True)
        chat.close()
    # One wants an argument of its own; every other renders a plain chat.
    assert {name for name, count in rendered.items() if count == 0} <= {
        "fireworks-ai-llama-3-firefunction-v2.jinja"
    }
    assert len(rendered) == 45 and sum(rendered.values()) > 300


@pytest.mark.parametrize(
    "name", ["qwen2.5", "llama3", "llama2", "mistral_v1", "mistral_v3", "minueza-32m-ultrachat"]
)
def test_a_tokenizer_s_own_template(data: Path, name: str) -> None:
    folder = data / "tokenizers" / name
    chat = ChatTemplate.load(folder, tokenizer(folder))
    assert chat is not None
    rendered = sum(
        compare(chat, folder, conversation, add_generation_prompt=prompt)
        for kind, conversation in CONVERSATIONS.items()
        for prompt in (True, False)
        if kind != "parts"
    )
    assert rendered >= 6
    ids = chat.encode(CONVERSATIONS["three turns"])
    bos = tokenizer(folder).bos_token_id
    if tokenizer(folder).adds_bos and name != "llama2":  # which writes one before every question
        assert ids[0] == bos and ids.count(bos) == 1


def test_sentencepiece_gives_the_same_ids(data: Path, tmp_path: Path) -> None:
    for name in ("llama2", "mistral_v1", "mistral_v3", "minueza-32m-ultrachat"):
        folder = data / "tokenizers" / name
        for file in ("tokenizer.model", "tokenizer_config.json", "added_tokens.json"):
            (tmp_path / file).unlink(missing_ok=True)
            if (folder / file).exists():
                shutil.copy(folder / file, tmp_path / file)
        ours = Tokenizer.load(tmp_path, 1 << 20)
        assert ours is not None
        chats = [ChatTemplate.load(folder, tokenizer(folder)), ChatTemplate.load(tmp_path, ours)]
        for kind in ("one turn", "system and spaces", "three turns"):
            one, other = (chat.encode(CONVERSATIONS[kind]) for chat in chats if chat)
            assert one == other


PIECES = {
    "tojson": "{{ messages[0] | tojson }}{{ {'é': '<&>\\''} | tojson(indent=2) }}",
    "tojson sorted": "{{ {'b': 1, 'a': [none]} | tojson(sort_keys=true, separators=(',', ':')) }}",
    "tojson ascii": "{{ 'é🙂' | tojson(ensure_ascii=true) }}",
    "clock": "{{ strftime_now('%d %b %Y %H:%M:%S.%f %Z|') }}",
    "loop controls": "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}"
    "{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{% set x = 1 %}{{ m.content }}{{ x }}"
    "{% endgeneration %}{{ x }}{% endfor %}",
    "white space": "  {% if true %}\n  a\n  {% endif %}\n{%- if true +%}\n b {% endif %}\n\n",
    "comments and raw": "{# no #}{% raw %}{{ kept }}{% endraw %}\n",
    "namespace and dict": "{% set n = namespace(a=1) %}{% for i in [1, 2] %}{% set n.a = n.a + i %}"
    "{% endfor %}{{ n.a }}{{ dict(a=1, b=2) }}",
    "tests and filters": "{{ messages is iterable }}{{ none is none }}{{ [3, 1] | sort | first }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ 'a' ~ 1 }}",
    "undefined": "{{ missing }}{{ missing is defined }}{{ tools is none }}"
    "{{ documents is defined }}{{ pad_token is defined }}{{ eos_token }}",
    "macro": "{% macro m(x, y=2) %}[{{ x }}{{ y }}{{ caller() }}]{% endmacro %}"
    "{% call m('a') %}b{% endcall %}",
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_of_the_language(data: Path, name: str) -> None:
    folder = data / "tokenizers" / "minueza-32m-ultrachat"
    chat = ChatTemplate(PIECES[name], tokenizer(folder))
    conversation = [
        {"role": "user", "content": 'é "<&>" \u2028'},
        {"role": "assistant", "content": "b"},
    ]
    assert compare(chat, folder, conversation, add_generation_prompt=True) == 1


# --- where a template lies


def test_sources_in_their_order(tmp_path: Path, small: Tokenizer) -> None:
    assert ChatTemplate.load(tmp_path, small) is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"eos_token": "</s>"}))
    assert ChatTemplate.load(tmp_path, small) is None
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    config.write_text(json.dumps({"chat_template": several}))
    chat = ChatTemplate.load(tmp_path, small)
    assert chat is not None and chat.render(HI) == "plain"
    config.write_text(json.dumps({"chat_template": "one"}))
    chat = ChatTemplate.load(tmp_path, small)
    assert chat is not None and chat.render(HI) == "one"
    (tmp_path / "chat_template.jinja").write_text("fîle", encoding="utf-8")
    chat = ChatTemplate.load(tmp_path, small)
    assert chat is not None and chat.render(HI) == "fîle"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "is not UTF-8"),
        (b"x" * (256 * 1024 + 1), "at most 262144"),
        (b"{% if %}", r"chat_template\.jinja is no valid template: .*line 1"),
        (b"\n{{ 'a' }", r"line 2"),
        (b"{% nonsense %}", "no valid template.*nonsense"),
    ],
)
def test_broken_files(tmp_path: Path, small: Tokenizer, content: bytes, said: str) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(content)
    with pytest.raises(TemplateError, match=said) as error:
        chat = ChatTemplate.load(tmp_path, small)
        assert chat is not None
        chat.render(HI)
    assert "chat_template.jinja" in str(error.value) and "\n" not in str(error.value)


def test_broken_configurations(tmp_path: Path, small: Tokenizer) -> None:
    config = tmp_path / "tokenizer_config.json"
    for value, said in (
        ([{"name": "tool_use", "template": "x"}], 'none named "default"'),
        ([{"name": "default", "template": 3}], "no text"),
        ({"default": "x"}, "no text"),
        (3, "no text"),
        ("x" * 262_145, "262145 bytes"),
    ):
        config.write_text(json.dumps({"chat_template": value}))
        with pytest.raises(TemplateError, match=said):
            ChatTemplate.load(tmp_path, small)


# --- calls


def test_the_template_s_own_refusal_is_quoted(small: Tokenizer) -> None:
    chat = ChatTemplate("{{ raise_exception('roles must\nalternate') }}", small)
    for call in (chat.render, chat.encode):
        with pytest.raises(TemplateError, match="refuses these messages: roles must alternate"):
            call(HI)
    chat = ChatTemplate("{{ messages[0].content + 1 }}", small)
    with pytest.raises(TemplateError, match="fails on these messages: TypeError"):
        chat.render(HI)


def test_arguments_reach_the_template_and_some_are_refused(small: Tokenizer) -> None:
    chat = ChatTemplate("{{ enable_thinking }}{{ tools | tojson }}{{ eos_token }}", small)
    assert chat.render(HI, enable_thinking=False, tools=[1]) == "False[1]<|im_end|>"
    for name in ("chat_template", "tokenize", "max_output", "eos_token", "messages "):
        with pytest.raises(ArgumentError, match="cannot be set"):
            chat.render(HI, **{name: "x"})
    with pytest.raises(ArgumentError, match=r"messages\[0\]"):
        chat.encode([{"role": "user", "content": None}])


def test_the_caller_s_messages_are_never_changed(small: Tokenizer) -> None:
    messages = copy.deepcopy(CONVERSATIONS["three turns"])
    chat = ChatTemplate("{% set messages = messages[1:] %}{{ messages[0].content }}", small)
    chat.render(messages)
    chat.encode(messages)
    assert messages == CONVERSATIONS["three turns"]
    for change in (
        "messages.append(1)",
        "messages[0].update(a=1)",
        "messages[0].pop('role')",
        "messages.clear()",
    ):
        with pytest.raises(TemplateError, match="may not"):
            ChatTemplate("{{ " + change + " }}", small).render(messages)
    assert messages == CONVERSATIONS["three turns"]


def test_lists_of_parts_where_the_template_takes_them(small: Tokenizer) -> None:
    parts = CONVERSATIONS["parts"]
    takes = (
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}"
        "{% endif %}{% endfor %}"
    )
    assert ChatTemplate(takes, small).render([*parts, *HI]) == "hi youhi"
    assert ChatTemplate(takes, small).encode(parts) == ChatTemplate("hi you", small).encode(HI)
    for refuses in (
        "{{ messages[0].content }}",
        "{{ messages[0].content | tojson }}",
        "{{ messages[0].content if messages[0].content is string else '' }}",
        "{{ messages[0].content[0].text }}",
        CHATML,
    ):
        with pytest.raises(TemplateError, match=r"lists? of parts"):
            ChatTemplate(refuses, small).render(parts)


def test_output_is_capped_and_messages_far_over_it_are_a_matter_of_context(
    small: Tokenizer,
) -> None:
    chat = ChatTemplate("{% for i in range(100) %}{{ messages[0].content }}{% endfor %}", small)
    chat.max_output = 1000
    assert len(chat.render([{"role": "user", "content": "0123456789"}])) == 1000
    for content, said in (("0123456789a", "1000 characters"), ("012345678é", "1000 bytes")):
        with pytest.raises(TemplateError, match=f"writes more than {said}"):
            chat.render([{"role": "user", "content": content}])
    with pytest.raises(ContextLengthError, match="1001 bytes of text; no more than 1000"):
        chat.render([{"role": "user", "content": "x" * 1001}])
    assert chat.render([{"role": "user", "content": "x"}]) == "x" * 100

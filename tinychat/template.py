"""Chat templates: messages to text as transformers renders it, and to ids of which none is forged.

Messages are rendered a second time with every character of content covered by one that stands in
no token. Control tokens found there are the template's own; all else is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from tinychat import limits
from tinychat.errors import CheckpointError, ContextLengthError, TemplateError, TokenizerError
from tinychat.jsonfile import read_bytes
from tinychat.messages import (
    Message,
    check_arguments,
    check_messages,
    content_texts,
    has_parts,
    map_content,
    texts,
)
from tinychat.template_process import TemplateProcess
from tinychat.tokenizer import SPECIAL_NAMES, Guard, Tokenizer, read_beside

# Variables of every template, and settings of other programs that a request must not smuggle in.
_RESERVED = frozenset(
    {"messages", "add_generation_prompt", "chat_template", "tokenize", "max_output", *SPECIAL_NAMES}
)
# Not covered: white space and what JSON or Python escape, so that a covered text is changed alike.
_COVERED = re.compile(r"[^\s\"'\\\x00-\x1f\x7f]+")

Spans = list[tuple[int, int]]


def now() -> datetime:
    """The local time that templates write; tests freeze it."""
    return datetime.now()


class ChatTemplate:
    """A checkpoint's chat template. Made by `load`; safe to use from several threads.

    Attributes:
        source: the template's text.
        max_output: bytes that a rendering may have; set it to what fits the context.
    """

    def __init__(
        self,
        source: str,
        tokenizer: Tokenizer,
        where: str = "given as text",
        max_output: int = 8 * limits.MIB,
    ) -> None:
        size = len(source.encode("utf-8", "surrogatepass"))
        if size > limits.TEMPLATE_BYTES:
            raise TemplateError(
                f"the chat template {where} has {size} bytes; at most {limits.TEMPLATE_BYTES} "
                "are expected"
            )
        self.source, self.max_output = source, max_output
        self._tokenizer, self._where = tokenizer, where
        self._process = TemplateProcess(source, where)

    @staticmethod
    def load(folder: str | Path, tokenizer: Tokenizer) -> ChatTemplate | None:
        """Load the chat template of a model folder.

        Args:
            folder: holds chat_template.jinja, or tokenizer_config.json with a `chat_template`.
            tokenizer: of the same folder.
        Returns: None if there is neither.
        Raises: TemplateError if it is too large, or none of several is the default.
        """
        folder = Path(folder)
        if (path := folder / "chat_template.jinja").exists():
            return ChatTemplate(read_source(path), tokenizer, str(path))
        path = folder / "tokenizer_config.json"
        given = read_beside(folder, "tokenizer_config.json").get("chat_template")
        if isinstance(given, list):
            named = {
                entry["name"]: entry.get("template")
                for entry in given
                if isinstance(entry, dict) and isinstance(entry.get("name"), str)
            }
            if "default" not in named:
                raise TemplateError(f'{path} has several chat templates and none named "default"')
            given = named["default"]
        if given is None:
            return None
        if not isinstance(given, str):
            raise TemplateError(f"{path} has a chat_template that is no text")
        return ChatTemplate(given, tokenizer, f"of {path}")

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        **arguments: Any,
    ) -> str:
        """The text of a conversation, as transformers' apply_chat_template(tokenize=False).

        Args:
            messages: dicts with "role" and "content"; they are not changed.
            add_generation_prompt: end with what an answer begins after.
            arguments: variables for the template, for instance enable_thinking=False.
        Raises: ArgumentError for malformed messages, TemplateError if the template cannot render
            them, ContextLengthError if they are far too long for the context.
        """
        copies, variables = self._checked(messages, add_generation_prompt, arguments)
        return self._render(copies, variables, [])[0]

    def encode(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        **arguments: Any,
    ) -> list[int]:
        """The ids of a conversation; only the template's own text makes control tokens of it.

        Equal to transformers' ids of the whole text where no content holds or completes a control
        token. There is no BOS but the template's own, as there.

        Args, Raises: as `render`; TemplateError also where content holds a control token and the
            template changes content so that it cannot be found again.
        """
        copies, variables = self._checked(messages, add_generation_prompt, arguments)
        for name in arguments:
            if any(map(self._guard.find, texts(variables[name]))):
                raise TemplateError(f"the template argument {name} holds a control token")
        content = content_texts(copies)
        mark = free_character([self.source, *content, *texts(variables)])
        text, covered = self._render(copies, variables, [map_content(copies, self._cover(mark))])
        control = own_tokens(text, covered, mark, self._guard)
        if control is None:
            control = self._unaligned(text, covered, content)
        try:
            return self._tokenizer.encode_marked(text, control, self._guard)
        except TokenizerError as error:
            raise TemplateError(f"these messages cannot be encoded safely: {error}") from None

    def close(self) -> None:
        """End the process that renders. A later call starts another."""
        self._process.close()

    # --- rendering

    def _checked(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        arguments: Mapping[str, Any],
    ) -> tuple[list[Message], dict[str, Any]]:
        copies = check_messages(messages)
        given = check_arguments(arguments, _RESERVED)
        size = sum(len(text.encode()) for text in content_texts(copies))
        if size > self.max_output:
            raise ContextLengthError(
                f"the messages have {size} bytes of text; no more than {self.max_output} can fit "
                "the context"
            )
        special = {name: self._tokenizer.special(name) for name in SPECIAL_NAMES}
        return copies, {
            **{name: token for name, token in special.items() if token is not None},
            "tools": None,
            "documents": None,
            **given,
            "add_generation_prompt": add_generation_prompt,
        }

    def _render(
        self, messages: list[Message], variables: Mapping[str, Any], others: list[list[Message]]
    ) -> list[str]:
        """The text of `messages`, then of other versions of them."""
        probes = [probe_parts(messages)] if any(map(has_parts, messages)) else []
        sets = [{**variables, "messages": each} for each in [messages, *others, *probes]]
        try:
            rendered = self._process.render(sets, now(), self.max_output)
        except TemplateError as error:
            hint = "; pass the content as text, not as a list of parts" if probes else ""
            raise TemplateError(f"{error}{hint}") from None
        if len(rendered[0].encode("utf-8", "replace")) > self.max_output:
            raise TemplateError(
                f"the chat template {self._where} writes more than {self.max_output} bytes"
            )
        if probes:
            check_parts(messages, rendered.pop(), self._where)
        return rendered

    # --- whose token is it

    @cached_property
    def _guard(self) -> Guard:
        """What content must not become: control tokens, and added tokens that the template writes.

        Not those that it looks for in content, like </think>: there they are the content's own.
        """
        literals = self._process.literals()
        written = "\0".join(literals.written)
        added = self._tokenizer.added_tokens.items()
        return self._tokenizer.guard(
            {token: id for token, id in added if token in written and token not in literals.sought}
        )

    @cached_property
    def _kept(self) -> re.Pattern[str]:
        """What the template looks for in content: covered, its tests would turn out differently.

        NOTE: never a text that could be a part of a guarded token, or content could complete one.
        """
        sought = [
            text
            for text in self._process.literals().sought
            if text.strip() and not any(overlap(text, token) for token in self._guard.ids)
        ]
        longest_first = sorted(set(sought), key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def _cover(self, mark: str) -> Callable[[str], str]:
        kept = self._kept

        def cover(text: str) -> str:
            parts = kept.split(text) if kept.pattern != "()" else [text]
            # Every second part is one that was split at.
            parts[::2] = [_COVERED.sub(lambda m: mark * len(m[0]), part) for part in parts[::2]]
            return "".join(parts)

        return cover

    def _unaligned(self, text: str, covered: str, content: list[str]) -> Spans:
        """Spans of control tokens where the template treats covered content differently.

        Raises: TemplateError if some may be the content's.
        """
        spans = self._guard.find(text)
        tokens = [text[begin:end] for begin, end in spans]
        own = [covered[begin:end] for begin, end in self._guard.find(covered)]
        for part in content:
            for begin, end in self._guard.find(part):
                raise TemplateError(
                    f"a message holds the control token {part[begin:end]!r}, and the chat template "
                    f"{self._where} changes messages so that it cannot be told from its own"
                )
        if tokens != own:
            raise TemplateError(
                "the content of a message completes a control token of the chat template "
                f"{self._where}"
            )
        return spans


def read_source(path: Path) -> str:
    """A template's file as text. Raises: TemplateError."""
    try:
        return read_bytes(path, limits.TEMPLATE_BYTES).decode()
    except UnicodeDecodeError:
        raise TemplateError(f"{path} is not UTF-8 text") from None
    except (CheckpointError, OSError) as error:
        raise TemplateError(str(error)) from None


def free_character(used: Sequence[str]) -> str:
    """A private-use character that stands in none of the texts."""
    characters = set().union(*used)
    for code in chain(range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE)):
        if chr(code) not in characters:
            return chr(code)
    raise TemplateError("the messages use every private-use character, so none can mark content")


def own_tokens(text: str, covered: str, mark: str, guard: Guard) -> Spans | None:
    """Where the template's own control tokens stand in its text.

    Args:
        text: the rendered text.
        covered: the same with content characters replaced by `mark`, one for one.
        mark: a character that stands in `text` nowhere.
        guard: the control tokens.
    Returns: None if the two texts differ in more than that.
    """
    if len(text) != len(covered):
        return None
    for own in re.finditer(f"[^{mark}]+", covered):
        if text[own.start() : own.end()] != own[0]:
            return None
    return guard.find(covered)


def overlap(text: str, token: str) -> bool:
    """Whether `text` can be a part of `token`, or share its beginning or its end."""
    if text in token or token in text:
        return True
    shorter = range(1, min(len(text), len(token)))
    return any(text[-n:] == token[:n] or text[:n] == token[-n:] for n in shorter)


# Stands in no template: a key and a text that show what became of a list of parts.
_PROBE_KEY, _PROBE_TEXT = "\U000f1a7e", "\U000f1a7f"


def probe_parts(messages: list[Message]) -> list[Message]:
    """The messages with every text part replaced, and a key that a part does not have."""
    return [
        {
            **message,
            "content": [
                {**part, "text": _PROBE_TEXT, _PROBE_KEY: ""} for part in message["content"]
            ],
        }
        if has_parts(message)
        else message
        for message in messages
    ]


def check_parts(messages: list[Message], probed: str, where: str) -> None:
    """Refuse lists of parts where the template prints the list as data, or leaves it out."""
    parts = sum(len(message["content"]) for message in messages if has_parts(message))
    printed = _PROBE_KEY in probed or ascii(_PROBE_KEY)[1:-1] in probed
    if printed or probed.count(_PROBE_TEXT) < parts:
        raise TemplateError(
            f"the chat template {where} takes no lists of parts; pass the content as one text"
        )

"""Text to ids and back, for `tokenizer.json` and for SentencePiece's `tokenizer.model`.

Control tokens (the ones a decoder leaves out: BOS, EOS, role markers) come from text only where the
caller says so. Other added tokens are ordinary vocabulary.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tinychat import limits
from tinychat.errors import ArgumentError, CheckpointError, TokenizerError
from tinychat.jsonfile import read_bytes, read_json
from tinychat.streaming import StreamDecoder, TokenTexts

SPECIAL_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


class Backend(Protocol):
    """A tokenizer library, with what the rest needs to know of its vocabulary."""

    @property
    def size(self) -> int:
        """Largest id + 1."""

    @property
    def control(self) -> Mapping[str, int]:
        """Control tokens and their ids."""

    @property
    def added(self) -> Mapping[str, int]:
        """Other added tokens, which are found in any text."""

    @property
    def special(self) -> Mapping[str, str]:
        """Tokens by name, see SPECIAL_NAMES."""

    @property
    def unknown_id(self) -> int | None:
        """The id that ordinary text may become where the vocabulary has no other."""

    @property
    def adds_bos(self) -> bool:
        """Whether a text begins with BOS."""

    @property
    def prefix_everywhere(self) -> bool:
        """Whether a prefix space also follows every control token, or only begins the text."""

    @property
    def absorbing(self) -> tuple[frozenset[str], frozenset[str]]:
        """Control tokens that swallow the white space on their left, and on their right."""

    @property
    def texts(self) -> TokenTexts:
        """The bytes of every id."""

    def id_of(self, token: str) -> int | None:
        """The id of a token."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text whose control tokens are control tokens."""

    def encode_text(self, text: str, prefix: bool) -> list[int]:
        """Ids of a text without control tokens; `prefix`: with the vocabulary's prefix space."""


class Guard:
    """A set of tokens to find in text, the longest first as the tokenizer libraries do.

    Args:
        ids: tokens and their ids.
    """

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = dict(ids)
        longest_first = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def find(self, text: str) -> list[tuple[int, int]]:
        """Where the tokens stand: (begin, end) of each."""
        return [match.span() for match in self._pattern.finditer(text)]


class Tokenizer:
    """A checkpoint's tokenizer. Made by `load`; safe to use from several threads.

    Attributes:
        vocab_size: largest id + 1. A model may have more rows; their ids have no text.
        bos_token_id, eos_token_id, pad_token_id: None where there is none.
        adds_bos: whether `encode(add_special=True)` puts BOS in front.
        control_tokens: the tokens that end turns, forge roles and the like.
        added_tokens: added tokens that are no control tokens, and their ids.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._special = dict(backend.special)
        self.vocab_size = backend.size
        self.bos_token_id = self._special_id("bos_token")
        self.eos_token_id = self._special_id("eos_token")
        self.pad_token_id = self._special_id("pad_token")
        self.adds_bos = backend.adds_bos and self.bos_token_id is not None
        self.control_tokens = frozenset(backend.control)
        self.added_tokens = dict(backend.added)

    @staticmethod
    def load(folder: str | Path, vocab_size: int) -> Tokenizer | None:
        """Load the tokenizer of a model folder.

        Args:
            folder: holds tokenizer.json, or tokenizer.model, and tokenizer_config.json.
            vocab_size: embedding rows of the model.
        Returns: None if the folder has neither file.
        Raises: TokenizerError naming the file if one is damaged, hostile or has ids that the model
            has no row for.
        """
        folder = Path(folder)
        config = read_beside(folder, "tokenizer_config.json")
        backend: Backend
        if (path := folder / "tokenizer.json").exists():
            from tinychat.tokenizer_json import load_json

            backend = load_json(path, config)
        elif (path := folder / "tokenizer.model").exists():
            from tinychat.tokenizer_spm import load_sentencepiece

            backend = load_sentencepiece(path, config, read_beside(folder, "added_tokens.json"))
        else:
            return None
        if backend.size > vocab_size:
            raise TokenizerError(
                f"{path} has ids up to {backend.size - 1}, but the model has {vocab_size} rows; "
                "the tokenizer is of another model"
            )
        return Tokenizer(backend)

    def special(self, name: str) -> str | None:
        """The token that the checkpoint names, for instance special("bos_token")."""
        return self._special.get(name)

    def guard(self, more: Mapping[str, int] | None = None) -> Guard:
        """The control tokens, and `more` tokens, to find in text."""
        return Guard({**self._backend.control, **(more or {})})

    def encode(
        self, text: str, add_special: bool = False, parse_special: bool = False
    ) -> list[int]:
        """Text to ids.

        Args:
            text: any text; NULs are fine.
            add_special: put BOS in front where the tokenizer's own configuration does, once.
            parse_special: let control tokens in the text be control tokens.
        Raises: ArgumentError for a lone surrogate, which is no text.
        """
        check_text(text, "text")
        ids = self._backend.encode(text) if parse_special else self._backend.encode_text(text, True)
        if add_special and self.adds_bos and self.bos_token_id is not None:
            if not parse_special or ids[:1] != [self.bos_token_id]:
                ids.insert(0, self.bos_token_id)
        return ids

    def encode_marked(
        self, text: str, control: Sequence[tuple[int, int]], guard: Guard
    ) -> list[int]:
        """Text to ids where exactly the given spans are control tokens.

        Where the library's own parse of the text finds no other, that is the answer; else the text
        between the spans is encoded by itself, and a guarded token in it becomes several ids.

        Args:
            text: any text.
            control: (begin, end) of tokens of `guard`, in order.
            guard: the tokens that the rest of the text must not produce.
        Raises: TokenizerError if the text produces one in spite of that.
        """
        check_text(text, "text")
        expected = [guard.ids[text[begin:end]] for begin, end in control]
        if guard.find(text) == list(control):
            ids = self._backend.encode(text)
            if self._produces_only(ids, expected, guard):
                return ids
        ids = self._encode_sections(text, control, guard)
        if not self._produces_only(ids, expected, guard):
            raise TokenizerError("a control token cannot be told from text by this tokenizer")
        return ids

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """Ids to text; an id that the vocabulary does not have stands for nothing.

        Raises: ArgumentError for what is no id at all.
        """
        stream = self.stream(skip_special)
        return "".join(map(stream.push, map(check_id, ids))) + stream.finish()

    def stream(self, skip_special: bool = True, at_start: bool = True) -> StreamDecoder:
        """A decoder that takes one id at a time; see `StreamDecoder`."""
        return StreamDecoder(self._backend.texts, skip_special, at_start)

    def _special_id(self, name: str) -> int | None:
        token = self._special.get(name)
        return None if token is None else self._backend.id_of(token)

    def _produces_only(self, ids: list[int], expected: list[int], guard: Guard) -> bool:
        """Whether the guarded ids among `ids` are some of `expected`, in that order."""
        guarded = frozenset(guard.ids.values()) - {self._backend.unknown_id}
        remaining = iter(expected)
        return all(token in remaining for token in ids if token in guarded)

    def _encode_sections(
        self, text: str, control: Sequence[tuple[int, int]], guard: Guard
    ) -> list[int]:
        absorbs_left, absorbs_right = self._backend.absorbing
        ids: list[int] = []
        position, before = 0, ""
        for begin, end in [*control, (len(text), len(text))]:
            section, token = text[position:begin], text[begin:end]
            section = section.lstrip() if before in absorbs_right else section
            section = section.rstrip() if token in absorbs_left else section
            prefix = self._backend.prefix_everywhere or position == 0
            for part in self._cut(section, guard):
                ids += self._backend.encode_text(part, prefix)
                prefix = False
            if token:
                ids.append(guard.ids[token])
            position, before = end, token
        return ids

    def _cut(self, section: str, guard: Guard) -> Iterator[str]:
        """The section in parts, so that no guarded token of the added ones is whole in a part."""
        position = 0
        for begin, end in guard.find(section):
            if section[begin:end] not in self._backend.control:
                yield section[position : begin + 1]
                position = begin + 1
        if position < len(section):
            yield section[position:]


def check_text(text: object, name: str) -> None:
    """Refuse what is no text. Raises: ArgumentError calling it `name`."""
    if not isinstance(text, str):
        raise ArgumentError(f"{name} is a {type(text).__name__}; expected text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(
            f"{name} holds the lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start}, which is no text; remove it or decode the source as UTF-8"
        ) from None


def check_id(token_id: Any) -> int:
    """An id as an int. Raises: ArgumentError."""
    try:
        number = operator.index(token_id)
    except TypeError:
        number = -1
    if number < 0:
        raise ArgumentError(f"{token_id!r:.60} is no token id; expected integers from 0")
    return number


def read_tokenizer(path: Path) -> bytes:
    """A tokenizer file, if it is a regular file of acceptable size. Raises: TokenizerError."""
    try:
        return read_bytes(path, limits.TOKENIZER_BYTES)
    except (CheckpointError, OSError) as error:
        raise TokenizerError(str(error)) from None


def read_beside(folder: Path, name: str) -> dict[str, Any]:
    """A small JSON file of a tokenizer, empty where there is none.

    Args:
        folder: the model folder.
        name: tokenizer_config.json or added_tokens.json.
    Raises: TokenizerError naming the file.
    """
    path = folder / name
    if not path.exists():
        return {}
    try:
        return read_json(path, limits.TOKENIZER_CONFIG_BYTES)
    except CheckpointError as error:
        raise TokenizerError(str(error)) from None


def special_names(config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that tokenizer_config.json names, given as text or as an object."""
    found = {}
    for name in SPECIAL_NAMES:
        value = config.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str) and value:
            found[name] = value
    return found

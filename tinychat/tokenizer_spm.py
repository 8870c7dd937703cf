"""`tokenizer.model` through SentencePiece, for folders without a `tokenizer.json`.

SentencePiece never makes a control token of text, so they are found here, and what is between them
is encoded by itself, with a prefix space each time unless the configuration says `legacy: false`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentencepiece

from tinychat import limits
from tinychat.errors import TokenizerError
from tinychat.jsonfile import shown
from tinychat.streaming import Spelling, TokenTexts
from tinychat.tokenizer import Guard, read_tokenizer, special_names

# normalizer_spec { add_dummy_prefix: false } as protobuf: appended to a model, it wins.
_NO_PREFIX = b"\x1a\x02\x18\x00"

_TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n")


class SentencePieceBackend:
    """A loaded `tokenizer.model`; see `tinychat.tokenizer.Backend`."""

    absorbing: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())

    def __init__(self, proto: bytes, config: Mapping[str, Any], added: Mapping[str, int]):
        self._processor = open_model(proto)
        self._bare = open_model(proto + _NO_PREFIX)
        # Every piece is read once here, because one that is not UTF-8 raises.
        pieces = [self._processor.id_to_piece(id) for id in range(self._processor.get_piece_size())]
        self.control: dict[str, int] = {
            piece: id
            for id, piece in enumerate(pieces)
            if self._processor.is_control(id) or self._processor.is_unknown(id)
        }
        self.control.update(added)
        self.added: dict[str, int] = {}
        self.size = max([len(pieces) - 1, *self.control.values()]) + 1
        self.unknown_id: int | None = self._processor.unk_id()
        self._tokens = {id: token for token, id in self.control.items()}
        self._guard = Guard(self.control)

        own = {"bos_token": self._processor.bos_id(), "eos_token": self._processor.eos_id()}
        own["unk_token"] = self._processor.unk_id()
        pieces_named = {name: self._tokens[id] for name, id in own.items() if id in self._tokens}
        self.special = pieces_named | special_names(config)
        self.adds_bos = config.get("add_bos_token") is not False
        # Meta's own code and transformers before 5 begin every part of a chat with the prefix.
        self.prefix_everywhere = config.get("legacy") is not False
        adds_prefix = self._processor.encode("a") != self._bare.encode("a")
        control = frozenset(self.control.values())
        self.texts = TokenTexts(self._token_of, Spelling(), control, strip=int(adds_prefix))

    def _token_of(self, id: int) -> str | None:
        if id in self._tokens:
            return self._tokens[id]
        if id < self._processor.get_piece_size():
            piece: str = self._processor.id_to_piece(id)
            return piece
        return None

    def id_of(self, token: str) -> int | None:
        """The id of a token, None if there is none."""
        if token in self.control:
            return self.control[token]
        id: int = self._processor.piece_to_id(token)
        return None if id == self.unknown_id else id

    def encode(self, text: str) -> list[int]:
        """Ids of a text whose control tokens are control tokens."""
        ids: list[int] = []
        position = 0
        for begin, end in [*self._guard.find(text), (len(text), len(text))]:
            if position < begin:
                ids += self.encode_text(
                    text[position:begin], self.prefix_everywhere or position == 0
                )
            if begin < end:
                ids.append(self.control[text[begin:end]])
            position = end
        return ids

    def encode_text(self, text: str, prefix: bool) -> list[int]:
        """Ids of a text without control tokens, with the prefix space of the vocabulary or not."""
        return list((self._processor if prefix else self._bare).encode(text))


def load_sentencepiece(
    path: Path, config: Mapping[str, Any], added: Mapping[str, Any]
) -> SentencePieceBackend:
    """Load a `tokenizer.model`.

    Args:
        path: the file.
        config: tokenizer_config.json beside it; its added tokens become control tokens.
        added: added_tokens.json beside it (token -> id), the same.
    Raises: TokenizerError naming the file.
    """
    proto = read_tokenizer(path)
    refusal = f"{path} is no SentencePiece model"
    if _TIKTOKEN_LINE.match(proto):
        raise TokenizerError(f"{refusal} but a tiktoken vocabulary; convert it to tokenizer.json")
    # NOTE: an empty model parses, and every call of it logs an error.
    if not proto:
        raise TokenizerError(f"{refusal}: it is empty")
    more = added_ids(path, config, added)
    try:
        return SentencePieceBackend(proto, config, more)
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        raise TokenizerError(f"{refusal}: {' '.join(str(error).split())[:120]}") from None


def open_model(proto: bytes) -> sentencepiece.SentencePieceProcessor:
    """Parse a SentencePiece model. Raises: ValueError or RuntimeError if it is none."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    if processor.get_piece_size() == 0 or not processor.encode("a"):
        raise ValueError("its vocabulary is of no use")
    return processor


def added_ids(path: Path, config: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, int]:
    """Added tokens and ids from both files. Raises: TokenizerError for one without a sane id."""
    found: dict[str, Any] = dict(added)
    listed = config.get("added_tokens_decoder")
    for key, token in listed.items() if isinstance(listed, dict) else ():
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            found[token["content"]] = int(key) if key.isdecimal() else key
    for token, id in found.items():
        if type(id) is not int or not 0 <= id < limits.VOCABULARY or not token:
            raise TokenizerError(
                f"the added token {shown(token)} beside {path} has the id {shown(id)}; "
                f"expected an integer from 0 to {limits.VOCABULARY - 1}"
            )
    return found

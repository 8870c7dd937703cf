"""`tokenizer.json` through the tokenizers library, which parses the file and encodes text.

A second tokenizer over the same vocabulary ignores control tokens: it encodes what is only text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import AddedToken, Tokenizer

from tinychat.errors import TokenizerError
from tinychat.jsonfile import shown
from tinychat.streaming import Spelling, TokenTexts, byte_level
from tinychat.tokenizer import read_tokenizer, special_names

Result = TypeVar("Result")

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

# Only its normalizer, pre-tokenizer and vocabulary are replaced, so that no setting is forgotten.
_EMPTY: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "post_processor": None,
    "decoder": None,
    "model": {"type": "BPE", "vocab": {}, "merges": []},
}


class JsonBackend:
    """A loaded `tokenizer.json`; see `tinychat.tokenizer.Backend`."""

    def __init__(
        self,
        path: Path,
        spec: Mapping[str, Any],
        full: Tokenizer,
        special: Mapping[str, str],
        named: frozenset[str],
    ) -> None:
        self.path, self._full = path, full
        self.special = dict(special)
        tokens = added_tokens(full, named)
        self.control = {token.content: id for id, token in tokens.items() if token.special}
        self.added = {
            token.content: id
            for id, token in tokens.items()
            if not token.special and not token.content.isspace()
        }
        self.absorbing = (
            frozenset(token.content for token in tokens.values() if token.lstrip),
            frozenset(token.content for token in tokens.values() if token.rstrip),
        )
        self.size = check_ids(path, full)
        self.unknown_id = unknown_id(spec, full)
        bos = self.special.get("bos_token")
        self.adds_bos = bos is not None and full.encode("").ids[:1] == [full.token_to_id(bos)]

        self._text = text_only(spec, full, tokens)
        bare = {**spec, **{part: without_prefix(part, spec.get(part)) for part in PREFIXING}}
        self._bare = text_only(bare, full, tokens) if bare != spec else self._text
        self.prefix_everywhere = not prefixes_first_only(spec.get("pre_tokenizer"))
        self.texts = token_texts(path, spec, full, frozenset(self.control.values()))

    def id_of(self, token: str) -> int | None:
        """The id of a token, None if there is none."""
        return call(self.path, lambda: self._full.token_to_id(token))

    def encode(self, text: str) -> list[int]:
        """Ids of a text whose control tokens are control tokens."""
        return call(self.path, lambda: list(self._full.encode(text, add_special_tokens=False).ids))

    def encode_text(self, text: str, prefix: bool) -> list[int]:
        """Ids of a text without control tokens, with the prefix space of the vocabulary or not."""
        encoder = self._text if prefix else self._bare
        return call(self.path, lambda: list(encoder.encode(text, add_special_tokens=False).ids))


def load_json(path: Path, config: Mapping[str, Any]) -> JsonBackend:
    """Load a `tokenizer.json`.

    Args:
        path: the file.
        config: tokenizer_config.json beside it.
    Raises: TokenizerError naming the file.
    """
    raw = read_tokenizer(path)
    try:
        spec = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(spec, dict) or not isinstance(spec.get("model"), dict):
        raise TokenizerError(f"{path} is no tokenizer: it has no model")
    # The vocabulary is the library's to check; what is left of the file is small.
    spec["model"] = {
        key: spec["model"].get(key)
        for key in ("type", "unk_token", "unk_id", "dropout", "byte_fallback")
    }
    if spec["model"]["dropout"]:
        raise TokenizerError(f"{path} drops merges at random (dropout), so text has no fixed ids")
    full = call(path, lambda: Tokenizer.from_buffer(raw))
    full.no_truncation()
    full.no_padding()
    if spec["model"]["type"] == "BPE" and spec["model"]["byte_fallback"]:
        # As transformers has it: a character that no byte token spells is dropped. The unknown
        # token in its place is one that such models were never trained on.
        full.model.unk_token = spec["model"]["unk_token"] = None
    special = special_names(config)
    named = named_tokens(config, special)
    call(path, lambda: check_added(path, full, spec.get("added_tokens"), path.name))
    call(path, lambda: add_config_tokens(path, full, config, named))
    return call(path, lambda: JsonBackend(path, spec, full, special, named))


def call(path: Path, function: Callable[[], Result]) -> Result:
    """Call the library; whatever it raises, panics of its native code too, names the file."""
    try:
        return function()
    except TokenizerError:
        raise
    except BaseException as error:
        # NOTE: a panic is no Exception. The regex engine's limit on backtracking is one.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200]
        raise TokenizerError(f"{path} cannot be used by the tokenizers library: {reason}") from None


def added_tokens(full: Tokenizer, named: frozenset[str]) -> dict[int, AddedToken]:
    """The added tokens by id, in order; the `named` ones are control tokens whatever their flag."""
    found = {}
    for id, token in sorted(full.get_added_tokens_decoder().items()):
        flags = {flag: getattr(token, flag) for flag in FLAGS}
        flags["special"] |= token.content in named
        found[id] = AddedToken(token.content, **flags)
    return found


def named_tokens(config: Mapping[str, Any], special: Mapping[str, str]) -> frozenset[str]:
    """The tokens that tokenizer_config.json names as special."""
    more = [config.get(name) for name in ("additional_special_tokens", "extra_special_tokens")]
    names = [name for listed in more if isinstance(listed, list) for name in listed]
    return frozenset(name for name in [*special.values(), *names] if name and isinstance(name, str))


def add_config_tokens(
    path: Path, full: Tokenizer, config: Mapping[str, Any], named: frozenset[str]
) -> None:
    """Add the tokens that only tokenizer_config.json lists or names."""
    listed = config.get("added_tokens_decoder")
    entries = [
        {**token, "id": int(key)}
        for key, token in (listed.items() if isinstance(listed, dict) else ())
        if key.isdecimal() and isinstance(token, dict) and isinstance(token.get("content"), str)
    ]
    for entry in sorted(entries, key=lambda entry: int(entry["id"])):
        if entry["content"] and full.token_to_id(entry["content"]) is None:
            flags = {name: entry.get(name) is True for name in FLAGS}
            full.add_tokens([AddedToken(entry["content"], **flags)])
    check_added(path, full, entries, "tokenizer_config.json beside it")

    known = {token.content for token in added_tokens(full, frozenset()).values()}
    more = [name for name in named if name not in known and full.token_to_id(name) is not None]
    full.add_tokens([AddedToken(name, special=True, normalized=False) for name in more])


def check_added(path: Path, full: Tokenizer, entries: Any, source: str) -> None:
    """Refuse added tokens whose listed id is not the one that the library gives them."""
    for entry in entries if isinstance(entries, list) else ():
        found = full.token_to_id(entry["content"])
        if found != entry["id"]:
            raise TokenizerError(
                f"{path} has the token {shown(entry['content'])} as id {found}, but {source} "
                f"says {shown(entry['id'])}"
            )


def check_ids(path: Path, full: Tokenizer) -> int:
    """Largest id + 1. Raises: TokenizerError for an empty vocabulary, or an id given twice."""
    vocabulary = full.get_vocab(with_added_tokens=True)
    if not vocabulary:
        raise TokenizerError(f"{path} has an empty vocabulary")
    if len(set(vocabulary.values())) != len(vocabulary):
        seen: dict[int, str] = {}
        for token, id in vocabulary.items():
            if id in seen:
                raise TokenizerError(
                    f"{path} gives id {id} to {shown(seen[id])} and {shown(token)}"
                )
            seen[id] = token
    return max(vocabulary.values()) + 1


def unknown_id(spec: Mapping[str, Any], full: Tokenizer) -> int | None:
    """The id of text that the model has no token for."""
    token = spec["model"].get("unk_token")
    if isinstance(token, str):
        found: int | None = full.token_to_id(token)
        return found
    number = spec["model"].get("unk_id")
    return number if isinstance(number, int) else None


# --- text only

# The parts that may put a space in front of a text, and what each calls its sequence.
PREFIXING = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}


def text_only(
    spec: Mapping[str, Any], full: Tokenizer, tokens: Mapping[int, AddedToken]
) -> Tokenizer:
    """A tokenizer that shares the vocabulary of `full` and finds no control token in any text."""
    parts = {part: spec.get(part) for part in PREFIXING}
    text = Tokenizer.from_str(json.dumps({**_EMPTY, **parts}))
    text.model = full.model
    text.add_tokens(list(tokens.values()))
    if any(text.token_to_id(token.content) != id for id, token in tokens.items()):
        raise ValueError("the ids of its added tokens depend on their order")
    text.encode_special_tokens = True
    return text


def steps(spec: Any) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer, pre-tokenizer or decoder, sequences flattened."""
    if isinstance(spec, dict):
        nested = [spec.get(key) for key in ("normalizers", "pretokenizers", "decoders")]
        inner = [item for items in nested if isinstance(items, list) for item in items]
        if spec.get("type") == "Sequence":
            for item in inner:
                yield from steps(item)
        else:
            yield spec


def without_prefix(part: str, spec: Any) -> Any:
    """The same normalizer or pre-tokenizer without what puts a space in front of a text."""
    kept = []
    for step in steps(spec):
        if step.get("type") == "Metaspace":
            step = {**step, "prepend_scheme": "never", "add_prefix_space": False}
        elif step.get("type") == "ByteLevel":
            step = {**step, "add_prefix_space": False}
        if step.get("type") != "Prepend":
            kept.append(step)
    if kept == list(steps(spec)):
        return spec
    return {"type": "Sequence", PREFIXING[part]: kept}


def prefixes_first_only(pre_tokenizer: Any) -> bool:
    """Whether only the start of a text gets a prefix space, not the text after a control token."""
    return any(
        step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first"
        for step in steps(pre_tokenizer)
    )


# --- decoding


def token_texts(
    path: Path, spec: Mapping[str, Any], full: Tokenizer, control: frozenset[int]
) -> TokenTexts:
    """How this tokenizer's ids become bytes. Raises: TokenizerError for an unknown decoder."""
    decoder = list(steps(spec.get("decoder")))
    kinds = [step.get("type") for step in decoder]

    def token_of(id: int) -> str | None:
        # The library takes 32-bit ids only.
        token: str | None = full.id_to_token(id) if id < 1 << 32 else None
        return token

    if kinds == ["ByteLevel"]:
        return TokenTexts(token_of, byte_level, control, strip=0)
    # The decoder of SentencePiece vocabularies: each of the steps at most once, in this order.
    spelling = Spelling((), byte_fallback="ByteFallback" in kinds)
    strip, fused = 0, False
    for step in decoder:
        pattern = step.get("pattern")
        if step["type"] == "Replace" and not fused and isinstance(pattern, dict):
            pair = (str(pattern.get("String", "")), str(step.get("content", "")))
            spelling = Spelling((*spelling.replace, pair), spelling.byte_fallback)
        elif step["type"] == "Fuse":
            fused = True
        elif (
            step["type"] == "Strip"
            and fused
            and step.get("content") == " "
            and not step.get("stop")
        ):
            strip = int(step.get("start", 0))
        elif step["type"] != "ByteFallback" or fused:
            kinds = []
    if not kinds or not all(old for old, _ in spelling.replace):
        raise TokenizerError(
            f"{path} has an unknown decoder, {shown(json.dumps(spec.get('decoder')))}; "
            "expected ByteLevel, or Replace, ByteFallback, Fuse, Strip"
        )
    return TokenTexts(token_of, spelling, control, strip)

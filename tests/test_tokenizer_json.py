"""`tokenizer.json`: what a hostile, damaged or unusual file does, on vocabularies made here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinychat.errors import TinyChatError, TokenizerError
from tinychat.streaming import byte_level
from tinychat.tokenizer import Tokenizer

ROWS = 1000
ALPHABET = {byte_level(chr(code)): chr(code) for code in range(0x21, 0x144)}
LETTERS = [ALPHABET[bytes([byte])] for byte in range(256)]
BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": False,
    "use_regex": False,
}
SPACES = "▁"


def added(id: int, content: str, special: bool = True, **flags: bool) -> dict[str, Any]:
    token: dict[str, Any] = {"id": id, "content": content, "special": special}
    for flag in ("single_word", "lstrip", "rstrip", "normalized"):
        token[flag] = flags.get(flag, False)
    return token


def byte_spec(**changes: Any) -> dict[str, Any]:
    """A byte-level tokenizer: ids 0-255 are bytes, 256 is "ab", 257 <s>, 258 </s>, 259 <tool>."""
    vocabulary = {letter: index for index, letter in enumerate(LETTERS)} | {"ab": 256}
    spec: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            added(257, "<s>"),
            added(258, "</s>"),
            added(259, "<tool>", special=False),
        ],
        "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL,
        "post_processor": None,
        "decoder": BYTE_LEVEL,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["a b"]},
    }
    return {**spec, **changes}


def piece_spec(**changes: Any) -> dict[str, Any]:
    """A SentencePiece-like tokenizer of single characters with byte fallback."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        SPACES,
        *"abcdefxyz<>/s",
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    decoder = [
        {"type": "Replace", "pattern": {"String": SPACES}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    model = {
        "type": "BPE",
        "vocab": vocabulary,
        "merges": [],
        "byte_fallback": True,
        "unk_token": "<unk>",
    }
    spec = byte_spec(
        added_tokens=[added(index, pieces[index]) for index in range(3)],
        pre_tokenizer=metaspace("always"),
        decoder={"type": "Sequence", "decoders": decoder},
        model=model,
    )
    return {**spec, **changes}


def metaspace(scheme: str) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": SPACES, "prepend_scheme": scheme, "split": False}


def write(folder: Path, spec: Any, config: dict[str, Any] | None = None) -> Path:
    data = spec if isinstance(spec, bytes) else json.dumps(spec).encode()
    (folder / "tokenizer.json").write_bytes(data)
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def load(folder: Path, spec: Any, config: dict[str, Any] | None = None) -> Tokenizer:
    tokenizer = Tokenizer.load(write(folder, spec, config), ROWS)
    assert tokenizer is not None
    return tokenizer


def test_a_small_tokenizer_works(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, byte_spec())
    assert tokenizer.encode("ab é<s>") == [256, 32, *"é".encode(), *b"<s>"]
    assert tokenizer.encode("ab<s>", parse_special=True) == [256, 257]
    assert tokenizer.decode(tokenizer.encode("ab é<s>")) == "ab é<s>"
    assert tokenizer.vocab_size == 260 and tokenizer.control_tokens == {"<s>", "</s>"}
    assert tokenizer.added_tokens == {"<tool>": 259} and tokenizer.encode("<tool>") == [259]


# --- what is refused


def model(**changes: Any) -> dict[str, Any]:
    return byte_spec(model={**byte_spec()["model"], **changes})


VOCABULARY = byte_spec()["model"]["vocab"]
WHOLE = json.dumps(byte_spec()).encode()
REFUSED = {
    "empty": b"",
    "truncated": WHOLE[:-1],
    "half": WHOLE[: len(WHOLE) // 2],
    "not UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "nothing": b"{}",
    "nested": b"[" * 100_000,
    "nested in a value": b'{"model": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "no vocabulary": model(vocab={}, merges=[]),
    "an id twice": model(vocab={**VOCABULARY, "twice": 5}),
    "an id of 2**31": model(vocab={**VOCABULARY, "far": 2**31}),
    "a negative id": model(vocab={**VOCABULARY, "far": -1}),
    "an id that the model has no row for": model(vocab={**VOCABULARY, "far": ROWS}),
    "a merge of missing tokens": model(merges=["a b", "x nowhere"]),
    "a merge that makes no token": model(merges=["a c"]),
    "merges at random": model(dropout=0.5),
    "an unknown model": model(type="Magic"),
    "an unknown decoder": byte_spec(decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}),
    "no decoder": byte_spec(decoder=None),
    "an invalid pattern": byte_spec(
        pre_tokenizer={
            "type": "Split",
            "pattern": {"Regex": "(("},
            "behavior": "Isolated",
            "invert": False,
        }
    ),
    "an added token with another's id": byte_spec(added_tokens=[added(3, "<s>")]),
    "an added token after a gap": byte_spec(added_tokens=[added(400, "<s>")]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_file_s_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, REFUSED[name])
    with pytest.raises(TokenizerError, match=r"tokenizer\.json") as error:
        Tokenizer.load(tmp_path, ROWS)
    assert "\n" not in str(error.value)
    assert load(tmp_path, byte_spec()).encode("ab") == [256]


def test_files_that_are_too_large_or_none(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with open(path, "wb") as file:
        file.truncate(200 << 20)
    with pytest.raises(TokenizerError, match="209715200 bytes"):
        Tokenizer.load(tmp_path, ROWS)
    path.unlink()
    path.mkdir()
    with pytest.raises(TokenizerError, match="not a regular file"):
        Tokenizer.load(tmp_path, ROWS)
    path.rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        with pytest.raises(TokenizerError, match="not a regular file"):
            Tokenizer.load(tmp_path, ROWS)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(.*)*$x"])
def test_a_pattern_that_backtracks_for_ever_is_stopped(tmp_path: Path, pattern: str) -> None:
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    steps = {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]}
    tokenizer = load(tmp_path, byte_spec(pre_tokenizer=steps))
    try:
        assert tokenizer.decode(tokenizer.encode("a" * 60 + "!")) == "a" * 60 + "!"
    except TokenizerError as error:
        assert "tokenizer.json" in str(error)
    assert load(tmp_path, byte_spec()).encode("ab") == [256]


def test_a_token_of_a_megabyte(tmp_path: Path) -> None:
    long = "a" * (1 << 20)
    tokenizer = load(tmp_path, model(vocab={**VOCABULARY, long: 257}) | {"added_tokens": []})
    assert tokenizer.decode([257]) == long and tokenizer.encode("ab") == [256]


def test_a_configuration_that_disagrees(tmp_path: Path) -> None:
    listed = {"258": {"content": "<s>", "special": True}}
    with pytest.raises(TokenizerError, match=r"'<s>' as id 257.*tokenizer_config.json.*says 258"):
        load(tmp_path, byte_spec(), {"added_tokens_decoder": listed})
    (tmp_path / "tokenizer_config.json").write_bytes(b"{")
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json"):
        load(tmp_path, byte_spec())


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_load_or_are_refused(tmp_path: Path, data: st.DataObject) -> None:
    spec = json.dumps(piece_spec()).encode()
    begin = data.draw(st.integers(0, len(spec)))
    end = data.draw(st.integers(begin, min(len(spec), begin + 20)))
    damaged = spec[:begin] + data.draw(st.binary(max_size=8)) + spec[end:]
    try:
        tokenizer = load(tmp_path, damaged)
        tokenizer.decode(tokenizer.encode("ab <s> é"))
    except TinyChatError:
        pass


# --- what the file and its configuration may say


def test_truncation_and_padding_of_the_file_are_not_applied(tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    pad = {
        "strategy": {"Fixed": 8},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<s>",
    }
    tokenizer = load(tmp_path, byte_spec(truncation=cut, padding=pad))
    assert tokenizer.encode("xyz") == list(b"xyz")
    assert tokenizer.encode("xyz", parse_special=True) == list(b"xyz")


def test_tokens_of_the_configuration(tmp_path: Path) -> None:
    config = {
        "bos_token": {"content": "<s>"},
        "eos_token": "<tool>",
        "pad_token": "<nowhere>",
        "added_tokens_decoder": {"260": {"content": "<new>", "special": True, "lstrip": True}},
        "additional_special_tokens": ["ab"],
    }
    tokenizer = load(tmp_path, byte_spec(), config)
    assert tokenizer.control_tokens == {"<s>", "</s>", "<tool>", "<new>", "ab"}
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (
        257,
        259,
        None,
    )
    assert tokenizer.encode("<tool><new>", parse_special=True) == [259, 260]
    assert 259 not in tokenizer.encode("<tool>") and 260 not in tokenizer.encode("<new>")
    assert tokenizer.decode([97, 259, 260], skip_special=True) == "a"
    assert tokenizer.special("pad_token") == "<nowhere>"


def test_bos_comes_from_the_file_s_post_processor(tmp_path: Path) -> None:
    template = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [257], "tokens": ["<s>"]}},
    }
    config = {"bos_token": "<s>", "add_bos_token": False}
    tokenizer = load(tmp_path, byte_spec(post_processor=template), config)
    assert tokenizer.adds_bos and tokenizer.encode("a", add_special=True) == [257, 97]
    tokenizer = load(tmp_path, byte_spec(), {"bos_token": "<s>", "add_bos_token": True})
    assert not tokenizer.adds_bos and tokenizer.encode("a", add_special=True) == [97]


# --- text around control tokens


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_prefix_spaces_of_marked_text(tmp_path: Path, scheme: str) -> None:
    strip = [step for step in piece_spec()["decoder"]["decoders"] if step["type"] != "Strip"]
    decoder = (
        {"type": "Sequence", "decoders": strip} if scheme == "never" else piece_spec()["decoder"]
    )
    tokenizer = load(tmp_path, piece_spec(pre_tokenizer=metaspace(scheme), decoder=decoder))
    guard = tokenizer.guard()
    for whole in ("a<s>b c</s> d", "<s>a", " a<s>", "<s><s>", "a b", ""):
        parsed = tokenizer.encode(whole, parse_special=True)
        assert tokenizer._encode_sections(whole, guard.find(whole), guard) == parsed
    # The content's own token becomes text where it stands, and nothing around it changes.
    text = "<s>a</s>b<s>c"
    ids = tokenizer.encode_marked(text, [(0, 3), (9, 12)], guard)
    assert ids.count(1) == 2 and ids.count(2) == 0
    assert [id for id in ids if id in (1, 2)] == [1, 1]
    kept = tokenizer.decode(ids)
    assert kept.replace(" ", "") == text
    assert kept.count(" ") == {"always": 2, "first": 0, "never": 0}[scheme]


def test_control_tokens_that_swallow_spaces(tmp_path: Path) -> None:
    tokens = [added(257, "<s>", rstrip=True), added(258, "</s>", lstrip=True), added(259, "<t>")]
    tokenizer = load(tmp_path, byte_spec(added_tokens=tokens))
    guard = tokenizer.guard()
    for whole in ("x <s> \n a </s> b", "<s>  </s>", "  </s>  <s>  ", "<s> <t> a </s>"):
        parsed = tokenizer.encode(whole, parse_special=True)
        assert tokenizer._encode_sections(whole, guard.find(whole), guard) == parsed


def test_a_guarded_token_that_is_no_control_token(tmp_path: Path) -> None:
    for spec in (byte_spec(), piece_spec()):
        own = max(spec["model"]["vocab"].values()) + 1
        spec["added_tokens"] = [added(own, "<tool>", special=False)]
        tokenizer = load(tmp_path, spec)
        guard = tokenizer.guard(tokenizer.added_tokens)
        text = "a <tool> b<tool>"
        assert tokenizer.encode_marked(text, guard.find(text), guard) == tokenizer.encode(text)
        ids = tokenizer.encode_marked(text, guard.find(text)[1:], guard)
        assert ids.count(own) == 1 and ids[-1] == own
        assert tokenizer.decode(ids) == text


def test_text_that_normalizes_to_a_control_token(tmp_path: Path) -> None:
    tokens = [added(257, "<s>", normalized=True), added(258, "</s>")]
    spec = byte_spec(added_tokens=tokens, normalizer={"type": "NFKC"})
    tokenizer = load(tmp_path, spec)
    wide = "\uff1cs\uff1e"
    assert tokenizer.encode(wide, parse_special=True) == [257]
    guard = tokenizer.guard()
    assert 257 not in tokenizer.encode_marked(f"a{wide}", [], guard)
    ids = tokenizer.encode_marked(f"{wide}<s>", [(3, 6)], guard)
    assert ids.count(257) == 1 and ids[-1] == 257

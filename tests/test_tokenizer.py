"""Tokenizers of published models: equal to the libraries' own, text round trips, streams join.

Needs the test data; what can be shown on a small vocabulary is in test_tokenizer_json.py and
test_tokenizer_spm.py.
"""

from __future__ import annotations

import random
import shutil
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers

from tinychat.errors import ArgumentError, TokenizerError
from tinychat.tokenizer import Tokenizer

ROWS = 200_000
VECTORS = {"gpt2": "gpt-2", "qwen2.5": "qwen2", "llama3": "llama-bpe", "llama2": "llama-spm"}
JSON = ("gpt2", "qwen2.5", "llama3", "llama2", "mistral_v1", "mistral_v3", "minueza-32m-ultrachat")
MODEL = ("llama2", "mistral_v1", "mistral_v3", "minueza-32m-ultrachat")


@cache
def load(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.load(folder, ROWS)
    assert tokenizer is not None
    return tokenizer


@cache
def library(folder: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="session")
def models(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders that have a tokenizer.model and no tokenizer.json."""
    folders = {}
    for name in MODEL:
        folders[name] = tmp_path_factory.mktemp(name)
        for file in ("tokenizer.model", "tokenizer_config.json", "added_tokens.json"):
            if (source := data / "tokenizers" / name / file).exists():
                shutil.copy(source, folders[name] / file)
    return folders


def vectors(data: Path, name: str) -> list[tuple[str, list[int]]]:
    base = data / "tokenizers" / "gguf_vocab" / f"ggml-vocab-{name}.gguf"
    with open(f"{base}.inp", encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")
    lines = Path(f"{base}.out").read_text().split("\n")
    return [
        (text, [int(id) for id in line.split()]) for text, line in zip(texts, lines, strict=False)
    ]


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of all planes, of combining marks and spaces, with what a vocabulary finds hard."""
    rng = random.Random(seed)
    hard = [
        "  ",
        "\n\n",
        "\u200d",
        "\ufeff",
        "\0",
        "▁",
        "<0x41>",
        "é",
        "e\u0301",
        "🙂",
        "عربى",
        "ﬁ",
        "<s>",
    ]

    def character() -> str:
        kind = rng.random()
        if kind < 0.4:
            return chr(rng.randrange(32, 127))
        if kind < 0.6:
            return rng.choice(hard)
        if kind < 0.9:
            return chr(rng.randrange(0xA0, 0xD800))
        return chr(rng.randrange(0xE000, 0x110000))

    return ["".join(character() for _ in range(rng.randrange(24))) for _ in range(count)]


def letters(text: str) -> str:
    """A text without what some vocabularies do not keep: spaces, and whether it is composed."""
    return unicodedata.normalize("NFC", text).replace(" ", "").replace("▁", "")


# --- equal to the libraries


@pytest.mark.parametrize("name", VECTORS)
def test_published_vectors(data: Path, name: str) -> None:
    tokenizer = load(data / "tokenizers" / name)
    cases = vectors(data, VECTORS[name])
    assert len(cases) == 47
    assert [text for text, ids in cases if tokenizer.encode(text) != ids] == []


def test_published_vectors_with_sentencepiece(data: Path, models: dict[str, Path]) -> None:
    tokenizer = load(models["llama2"])
    cases = vectors(data, VECTORS["llama2"])
    assert len(cases) == 47
    assert [text for text, ids in cases if tokenizer.encode(text) != ids] == []


@pytest.mark.parametrize("name", JSON)
def test_random_texts_as_the_tokenizers_library(data: Path, name: str) -> None:
    tokenizer, its = load(data / "tokenizers" / name), library(data / "tokenizers" / name)
    its.encode_special_tokens = True
    texts = random_texts(10_000 if name == "llama3" else 1000)
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids == its.encode(text, add_special_tokens=False).ids, text
        assert tokenizer.decode(ids) == its.decode(ids, skip_special_tokens=False), text


@pytest.mark.parametrize("name", MODEL)
def test_random_texts_as_sentencepiece(models: dict[str, Path], name: str) -> None:
    tokenizer = load(models[name])
    its = sentencepiece.SentencePieceProcessor(model_file=str(models[name] / "tokenizer.model"))
    for text in random_texts(10_000 if name == "llama2" else 1000):
        ids = tokenizer.encode(text)
        assert ids == its.encode(text), text
        # A "▁" of the text itself is a space to this kind of vocabulary.
        assert tokenizer.decode(ids) == its.decode(ids) == text.replace("▁", " "), text


@pytest.mark.parametrize("name", MODEL)
def test_both_files_of_a_model_agree(data: Path, models: dict[str, Path], name: str) -> None:
    from_json, from_model = load(data / "tokenizers" / name), load(models[name])
    assert from_model.vocab_size == from_json.vocab_size
    assert from_model.bos_token_id == from_json.bos_token_id
    assert from_model.eos_token_id == from_json.eos_token_id
    assert from_model.adds_bos == from_json.adds_bos
    marks = sorted(from_model.control_tokens & from_json.control_tokens)
    rng = random.Random(0)
    for text in random_texts(500):
        marked = "".join(rng.choice([*marks, text, " ", "\n", ""]) for _ in range(6))
        assert from_model.encode(text, add_special=True) == from_json.encode(text, add_special=True)
        ids = from_json.encode(marked, parse_special=True)
        assert from_model.encode(marked, parse_special=True) == ids
        assert from_model.decode(ids, skip_special=True) == from_json.decode(ids, skip_special=True)


# --- streaming


def check_stream(tokenizer: Tokenizer, ids: list[int]) -> None:
    for skip in (True, False):
        stream = tokenizer.stream(skip_special=skip)
        pieces = [stream.push(id) for id in ids]
        assert "".join(pieces) + stream.finish() == tokenizer.decode(ids, skip_special=skip)


@pytest.mark.parametrize("name", JSON)
def test_streams_join_to_the_library_s_text(data: Path, name: str) -> None:
    tokenizer, its = load(data / "tokenizers" / name), library(data / "tokenizers" / name)
    rng = random.Random(1)
    # The library makes one mark of every byte in a run of broken byte tokens; see streaming.py.
    words = [id for id in range(tokenizer.vocab_size) if not its.id_to_token(id).startswith("<0x")]
    for _ in range(500):
        ids = rng.choices(words, k=rng.randrange(12))
        assert tokenizer.decode(ids) == its.decode(ids, skip_special_tokens=False)
        assert tokenizer.decode(ids, skip_special=True) == its.decode(ids)
        check_stream(tokenizer, rng.choices(range(tokenizer.vocab_size), k=12))


@pytest.mark.parametrize("name", MODEL)
def test_streams_of_sentencepiece_join(models: dict[str, Path], name: str) -> None:
    tokenizer = load(models[name])
    rng = random.Random(2)
    for _ in range(500):
        check_stream(tokenizer, rng.choices(range(tokenizer.vocab_size), k=rng.randrange(12)))


@pytest.mark.parametrize("name", JSON)
def test_no_half_characters(data: Path, name: str) -> None:
    tokenizer = load(data / "tokenizers" / name)
    text = "Grüße 世界 👩\u200d👩\u200d👧\u200d👦 ꧁ 𓀀 བོད 🏴\U000e0067\U000e0062 end"
    stream = tokenizer.stream()
    pieces = [stream.push(id) for id in tokenizer.encode(text)]
    assert "".join(pieces) == text and stream.finish() == ""
    assert not any("\ufffd" in piece for piece in pieces)


def test_the_leading_space(data: Path, models: dict[str, Path]) -> None:
    for folder in (data / "tokenizers" / "llama2", models["llama2"]):
        tokenizer = load(folder)
        ids = tokenizer.encode("Hello  world")
        assert tokenizer.decode(ids) == "Hello  world"
        assert tokenizer.decode(tokenizer.encode(" Hello")) == " Hello"
        stream = tokenizer.stream(at_start=False)
        assert "".join(map(stream.push, ids)) == " Hello  world"
        # BOS is left out and takes no part in it.
        stream = tokenizer.stream()
        assert "".join(map(stream.push, [1, *ids])) == "Hello  world"


# --- control tokens


def test_control_tokens_only_where_asked(data: Path) -> None:
    tokenizer = load(data / "tokenizers" / "qwen2.5")
    end = "<|im_end|>"
    assert end in tokenizer.control_tokens
    assert tokenizer.encode(end, parse_special=True) == [tokenizer.eos_token_id]
    ids = tokenizer.encode(f"a{end}b")
    assert tokenizer.eos_token_id not in ids and tokenizer.decode(ids) == f"a{end}b"
    assert tokenizer.special("eos_token") == end and tokenizer.special("bos_token") is None
    assert tokenizer.added_tokens["<tool_call>"] in tokenizer.encode("<tool_call>")
    # A text that is only marked, never parsed.
    assert tokenizer.decode(tokenizer.encode(end, parse_special=True), skip_special=True) == ""


def test_bos_once_and_only_where_the_configuration_has_it(data: Path) -> None:
    llama = load(data / "tokenizers" / "llama3")
    bos = llama.bos_token_id
    assert llama.adds_bos and llama.encode("a", add_special=True).count(bos) == 1
    assert llama.encode("a") == llama.encode("a", add_special=True)[1:]
    marked = "<|begin_of_text|>a"
    assert llama.encode(marked, add_special=True, parse_special=True).count(bos) == 1
    for name in ("gpt2", "qwen2.5", "minueza-32m-ultrachat"):
        other = load(data / "tokenizers" / name)
        assert not other.adds_bos
        assert other.encode("a", add_special=True) == other.encode("a")


@pytest.mark.parametrize("name", [*JSON, *(f"{name}/tokenizer.model" for name in MODEL)])
def test_marked_text(data: Path, models: dict[str, Path], name: str) -> None:
    """Only the marked tokens are control tokens; where no others are, nothing changes."""
    base = name.split("/")[0]
    tokenizer = load(data / "tokenizers" / base if base == name else models[base])
    guard = tokenizer.guard()
    rng = random.Random(3)
    marks = rng.sample(sorted(tokenizer.control_tokens), min(3, len(tokenizer.control_tokens)))
    for text in random_texts(300, seed=4):
        parts = [rng.choice([text.replace("<s>", ""), *marks, " ", "\n x"]) for _ in range(6)]
        whole = "".join(parts)
        spans = guard.find(whole)
        parsed = tokenizer.encode(whole, parse_special=True)
        assert tokenizer.encode_marked(whole, spans, guard) == parsed
        assert tokenizer._encode_sections(whole, spans, guard) == parsed
        own = spans[::2]
        ids = tokenizer.encode_marked(whole, own, guard)
        control = [id for id in ids if id in guard.ids.values()]
        assert control == [guard.ids[whole[begin:end]] for begin, end in own]
        assert letters(tokenizer.decode(ids)) == letters(whole)


# --- arguments


@pytest.mark.parametrize("bad", ["\ud800", "a\udfffb", "\ud83d\ude00"])
def test_lone_surrogates_are_no_text(data: Path, models: dict[str, Path], bad: str) -> None:
    for tokenizer in (load(data / "tokenizers" / "gpt2"), load(models["llama2"])):
        with pytest.raises(ArgumentError, match="lone surrogate U\\+D"):
            tokenizer.encode(bad)
        assert tokenizer.decode(tokenizer.encode("fine\0\0")) == "fine\0\0"


def test_what_is_no_text_and_no_id(data: Path) -> None:
    tokenizer = load(data / "tokenizers" / "gpt2")
    not_text: list[Any] = [None, 3, b"bytes", ["list"]]
    for value in not_text:
        with pytest.raises(ArgumentError, match="expected text"):
            tokenizer.encode(value)
    not_ids: list[Any] = [-1, 1.5, "1", None]
    for value in not_ids:
        with pytest.raises(ArgumentError, match="no token id"):
            tokenizer.decode([value])
    assert tokenizer.decode([]) == "" and tokenizer.encode("") == []
    assert tokenizer.decode([50257, 1 << 40]) == ""


def test_a_million_of_one_character(data: Path, models: dict[str, Path]) -> None:
    for folder in (data / "tokenizers" / "llama3", models["llama2"]):
        tokenizer = load(folder)
        for text in ("a" * 500_000, "\n" * 500_000):
            assert tokenizer.decode(tokenizer.encode(text)) == text


# --- the folder


def test_the_vocabulary_may_be_smaller_than_the_model_but_not_larger(data: Path) -> None:
    folder = data / "tokenizers" / "gpt2"
    tokenizer = Tokenizer.load(folder, 50_304)
    assert tokenizer is not None and tokenizer.vocab_size == 50_257
    with pytest.raises(TokenizerError, match=r"tokenizer\.json has ids up to 50256.*50256 rows"):
        Tokenizer.load(folder, 50_256)


def test_no_tokenizer_is_no_error(tmp_path: Path) -> None:
    assert Tokenizer.load(tmp_path, ROWS) is None

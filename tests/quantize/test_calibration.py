"""Calibration texts: what is read, how it is cut and drawn, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.quantize.tiny_runs import quantize_tiny, tiny_llama
from tests.test_injection import byte_tokenizer
from tinychat.documents import SEPARATOR as DOCUMENT_END
from tinychat.errors import ArgumentError
from tinychat.quantize import calibration
from tinychat.quantize.calibration import BUNDLED, FEW_TOKENS, TOKENS, prepare
from tinychat.tokenizer import Tokenizer

BOS, VOCABULARY = 258, 300  # of `byte_tokenizer`


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return byte_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def prepared(source: Any, tokenizer: Tokenizer | None = None, **options: Any) -> Any:
    return prepare(source, tokenizer, VOCABULARY, options.pop("max_positions", 2048), **options)


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A text in the place of the one that ships with the package."""
    text = f"One day. {DOCUMENT_END}\n\nAnother. " * 100
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / BUNDLED).write_text(text, encoding="utf-8")
    monkeypatch.setattr(calibration, "files", lambda name: tmp_path / "package")
    return text


# --- what it becomes


def test_documents_begin_with_bos_and_long_ones_are_cut(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    first, long = "café", "x" * 600
    path = tmp_path / "my text.txt"
    path.write_text(f"{first}\n{DOCUMENT_END}\n {DOCUMENT_END}{long}", encoding="utf-8")
    text = prepared(str(path), tokenizer)
    assert [len(row) for row in text.sequences] == [6, 512, 1 + 600 - 511]
    assert all(row[0] == BOS for row in text.sequences)
    assert tokenizer.decode(list(text.sequences[0][1:])) == first
    joined = [i for row in text.sequences[1:] for i in row[1:]]
    assert tokenizer.decode(joined) == long
    assert text.source == "my text.txt" and text.tokens == 6 + 512 + 90
    assert text.sha256 == hashlib.sha256(f"{first}\0{long}".encode()).hexdigest()


def test_texts_and_paths_and_short_contexts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = prepared(["one", " ", "two three"], tokenizer, max_positions=5)
    assert [len(row) for row in text.sequences] == [4, 5, 5, 2]
    assert text.source == "texts"
    (tmp_path / "t").write_text("one")
    assert prepared(tmp_path / "t", tokenizer).sequences == text.sequences[:1]
    assert prepared(["one"], tokenizer, label="self").source == "self"


def test_control_tokens_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    (row,) = prepared(["a<|end|>b</s>"], tokenizer).sequences
    assert [i for i in row if i >= 256] == [BOS]


def test_token_ids_need_no_tokenizer() -> None:
    text = prepared([[5, 6, 7], [8], [], list(range(299))], max_positions=100)
    cut = (tuple(range(100)), tuple(range(100, 200)), tuple(range(200, 299)))
    assert text.sequences == ((5, 6, 7), *cut)
    assert text.source == "tokens" and len(text.sha256) == 64


def test_of_more_than_enough_the_seed_draws(tokenizer: Tokenizer) -> None:
    texts = [f"document number {number}" for number in range(400)]
    all_of_it = prepared(texts, tokenizer, tokens=10**6)
    some = prepared(texts, tokenizer, tokens=1000)
    assert 1000 <= some.tokens < 1000 + 25 and len(all_of_it.sequences) == 400
    places = [all_of_it.sequences.index(row) for row in some.sequences]
    assert places == sorted(places) and places[-1] > 200
    assert prepared(texts, tokenizer, tokens=1000) == some
    other = prepared(texts, tokenizer, tokens=1000, seed=1)
    assert other.sequences != some.sequences and other.sha256 == some.sha256


def test_the_bundled_text(bundled: str, tokenizer: Tokenizer) -> None:
    text = prepared(None, tokenizer)
    assert text.source == "bundled" and text.tokens > 1000
    assert text.sequences[0][0] == BOS


# --- too little


def test_too_little_is_said(tokenizer: Tokenizer) -> None:
    few = prepared(["some words"], tokenizer)
    assert few.warning == (
        f"only {few.tokens} tokens of calibration text; {FEW_TOKENS} or more give steadier results"
    )
    assert prepared(["some words"] * 900, tokenizer).warning is None
    assert "only" in str(prepared(["some words"] * 900, tokenizer, tokens=100).warning)
    assert FEW_TOKENS < TOKENS


@pytest.mark.parametrize("source", [[], [" \n"], [[]], [[5]], ["", DOCUMENT_END[:0]]])
def test_nothing_in_it(source: Any, tokenizer: Tokenizer) -> None:
    with pytest.raises(ArgumentError, match="holds no tokens"):
        prepared(source, tokenizer)


# --- files that are none


def test_files_that_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    def refused(path: Path | str, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            prepared(path, tokenizer)

    refused(tmp_path / "none.txt", r"calibration text: .*none\.txt is missing")
    refused(tmp_path, r"calibration text: .* is not a regular file")
    refused("a\0b", "calibration text: .* cannot be read")
    empty, spaces, latin = (tmp_path / name for name in ("empty", "spaces", "latin.txt"))
    empty.touch()
    spaces.write_text(f"  \n{DOCUMENT_END}\n")
    latin.write_bytes(b"caf\xe9 au lait")
    refused(empty, r"calibration text \(empty\) holds no tokens")
    refused(spaces, r"calibration text \(spaces\) holds no tokens")
    refused(latin, r"latin\.txt is not UTF-8 text: byte 3")


def test_a_bundled_text_that_is_missing(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "files", lambda name: tmp_path)
    with pytest.raises(ArgumentError, match=r"calibration\.txt is missing"):
        prepared(None, tokenizer)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([[5, 300]], r"token ids outside 0\.\.299"),
        ([[-1, 5]], r"token ids outside 0\.\.299"),
        ([["a"]], "expected a file, texts, or sequences of token ids"),
        ([5, 6], "expected a file, texts, or sequences of token ids"),
        ([[5], "a"], "expected a file, texts, or sequences of token ids"),
        (["a", None], "expected a file, texts, or sequences of token ids"),
    ],
)
def test_what_is_no_calibration(source: Any, message: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ArgumentError, match=message):
        prepared(source, tokenizer)


def test_texts_without_a_tokenizer() -> None:
    with pytest.raises(ArgumentError, match=r"no tokenizer files, so its calibration must be"):
        prepared(["some text"])


# --- through quantize()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    pytest.importorskip("transformers", reason="it makes the tiny models")
    folder = tiny_llama(tmp_path / "float", 1, vocab_size=VOCABULARY, max_position_embeddings=64)
    byte_tokenizer(folder)
    return folder


def test_what_was_shown_is_recorded_and_what_is_refused_leaves_nothing(
    source: Path, tmp_path: Path, bundled: str
) -> None:
    started: list[Any] = []
    with pytest.raises(ArgumentError, match=r"none\.txt is missing"):
        quantize_tiny(source, tmp_path / "out", calibration=tmp_path / "none.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float", "package"]

    out = quantize_tiny(source, tmp_path / "a", calibration=None, on_start=started.append).out
    record = json.loads((out / "quantization.json").read_text())["calibration"]
    text = prepared(None, Tokenizer.load(source, VOCABULARY), max_positions=64)
    assert record == {
        "source": "bundled",
        "sha256": text.sha256,
        "sequences": len(text.sequences),
        "tokens": text.tokens,
    }
    path = tmp_path / "short.txt"
    path.write_text("too short, but it is used.")
    out = quantize_tiny(source, tmp_path / "b", calibration=path, on_start=started.append).out
    record = json.loads((out / "quantization.json").read_text())["calibration"]
    assert record["source"] == "short.txt" and record["tokens"] == 27
    assert "only 27 tokens" in started[1].calibration.warning
    note = started[0].calibration.warning
    assert note is None or "only" in note


def test_the_model_s_own_text(source: Path, tmp_path: Path) -> None:
    results = [
        quantize_tiny(source, tmp_path / name, calibration="self", tokens=100, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    texts = [result.calibration for result in results]
    assert all(text is not None and text.source == "self" for text in texts)
    assert texts[0] == texts[1] and texts[0] != texts[2]
    assert texts[0] is not None and texts[0].tokens >= 100
    assert all(row[0] == BOS and len(row) == 64 for row in texts[0].sequences)


def test_the_model_s_own_text_goes_on_where_it_was_stopped(source: Path, tmp_path: Path) -> None:
    whole = quantize_tiny(source, tmp_path / "whole", calibration="self", tokens=300)

    def stop(done: int, wanted: int) -> None:
        assert wanted == 300
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_tiny(source, tmp_path / "out", calibration="self", tokens=300, on_sample=stop)
    counts: list[int] = []
    again = quantize_tiny(
        source,
        tmp_path / "out",
        calibration="self",
        tokens=300,
        on_sample=lambda done, wanted: counts.append(done),
    )
    assert counts == [128, 192, 256]
    assert again.calibration == whole.calibration

"""`tokenizer.model`: models that are damaged, hostile or something else, and added tokens."""

from __future__ import annotations

import base64
import json
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tinychat.errors import TokenizerError
from tinychat.tokenizer import Tokenizer

ROWS = 1000


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    """A folder with a small SentencePiece model of 512 pieces."""
    shutil.copy(data / "models" / "stories260K" / "tok512.model", tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.model").chmod(0o600)
    return tmp_path


def load(folder: Path, rows: int = ROWS, **config: Any) -> Tokenizer:
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(folder, rows)
    assert tokenizer is not None
    return tokenizer


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "tokenizer.model").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(TokenizerError, match=r"tokenizer\.model is no SentencePiece model"):
        Tokenizer.load(tmp_path, ROWS)
    assert not canary.exists()
    pickle.loads((tmp_path / "tokenizer.model").read_bytes())
    assert canary.exists()


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\n", b"{}", b"a" * 1000, random.Random(0).randbytes(1000)]
)
def test_files_that_are_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.model is no SentencePiece model"):
        Tokenizer.load(tmp_path, ROWS)


def test_a_tiktoken_file_is_recognized(tmp_path: Path) -> None:
    lines = [base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256)]
    (tmp_path / "tokenizer.model").write_bytes(b"".join(lines))
    with pytest.raises(TokenizerError, match=r"tiktoken.*convert it to tokenizer\.json"):
        Tokenizer.load(tmp_path, ROWS)


def test_damaged_models_never_crash(folder: Path) -> None:
    path = folder / "tokenizer.model"
    whole = path.read_bytes()
    rng = random.Random(0)
    outcomes = set()
    for round in range(600):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged[: rng.randrange(len(damaged))] if round % 3 == 0 else damaged)
        try:
            tokenizer = Tokenizer.load(folder, 1 << 20)
            assert tokenizer is not None
            tokenizer.decode(tokenizer.encode("Once upon <s> é🙂", parse_special=True))
            outcomes.add("loaded")
        except TokenizerError as error:
            assert "tokenizer.model" in str(error) and "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"loaded", "refused"}
    path.write_bytes(whole)
    assert load(folder).decode(load(folder).encode("Once")) == "Once"


def test_what_the_model_says(folder: Path) -> None:
    tokenizer = load(folder, 512)
    assert tokenizer.vocab_size == 512
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, None)
    assert tokenizer.control_tokens == {"<unk>", "<s>", "</s>"}
    assert tokenizer.special("bos_token") == "<s>"
    assert tokenizer.adds_bos and tokenizer.encode("a", add_special=True)[0] == 1
    assert 1 not in tokenizer.encode("<s>") and tokenizer.encode("<s>", parse_special=True) == [1]
    assert not load(folder, add_bos_token=False).adds_bos
    with pytest.raises(TokenizerError, match="511 rows"):
        load(folder, 511)


def test_added_tokens_are_control_tokens(folder: Path) -> None:
    (folder / "added_tokens.json").write_text(json.dumps({"<|im_end|>": 512}))
    listed = {"513": {"content": "<|im_start|>"}, "1": {"content": "<s>"}}
    tokenizer = load(folder, eos_token={"content": "<|im_end|>"}, added_tokens_decoder=listed)
    assert tokenizer.vocab_size == 514 and tokenizer.eos_token_id == 512
    assert {"<|im_end|>", "<|im_start|>"} <= tokenizer.control_tokens
    ids = tokenizer.encode("<|im_start|>a<|im_end|>", parse_special=True)
    assert ids[0] == 513 and ids[-1] == 512
    assert tokenizer.decode(ids, skip_special=True) == "a"
    assert not {512, 513} & set(tokenizer.encode("<|im_start|>a<|im_end|>"))


@pytest.mark.parametrize("id", [-1, "x", None, 1.5, 1 << 40])
def test_added_tokens_without_a_sane_id(folder: Path, id: Any) -> None:
    (folder / "added_tokens.json").write_text(json.dumps({"<x>": id}))
    with pytest.raises(TokenizerError, match=r"the added token '<x>' beside .*tokenizer\.model"):
        load(folder)


def test_added_tokens_that_the_model_has_no_row_for(folder: Path) -> None:
    (folder / "added_tokens.json").write_text(json.dumps({"<x>": 512}))
    with pytest.raises(TokenizerError, match=r"ids up to 512, but the model has 512 rows"):
        load(folder, 512)


def test_the_prefix_space_after_control_tokens(folder: Path) -> None:
    text = "a<s>a"
    first, mark, after = load(folder).encode(text, parse_special=True)
    assert (mark, after) == (1, first)
    assert load(folder, legacy=True).encode(text, parse_special=True) == [first, 1, after]
    bare = load(folder, legacy=False).encode(text, parse_special=True)
    assert bare[:2] == [first, 1] and bare[2:] != [first]
    assert load(folder).decode(bare) == "a<s>a"

"""Which tokens a model is calibrated and scored on: documents of a text, or ids from a file.

A text is split at <|endoftext|>. A .json file holds {"ids": [[…], …], "counted": [[…], …]}, for
what a text cannot say: control tokens, and which ids count in the score.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tinychat.config import load_config
from tinychat.documents import documents
from tinychat.evaluate.perplexity import cut
from tinychat.quantize.calibration import Calibration, prepare
from tinychat.tokenizer import Tokenizer


@dataclass(frozen=True)
class Rows:
    """Sequences of ids.

    Attributes:
        about: file, SHA-256, which documents, how many ids.
        ids: each at most a window long, with BOS in front.
        counted: for each id whether it is scored; the first of a row never is.
    """

    about: dict[str, object]
    ids: list[list[int]]
    counted: list[list[bool]]


def read_rows(path: Path, part: str, model: Path, window: int) -> Rows:
    """Read a file.

    Args:
        part: "A:B", which of its documents.
        model: the folder whose tokenizer and vocabulary apply.
        window: ids in a row at most, or the model's context where that is less; a longer document
            becomes several rows, a longer sequence of ids loses its end.
    """
    data, config = path.read_bytes(), load_config(model)
    chosen = slice(*(int(end) if end else None for end in part.split(":")))
    window = min(window, config.max_positions)
    if path.suffix == ".json":
        values = json.loads(data)
        ids = [row[:window] for row in values["ids"][chosen]]
        counted = [row[:window] for row in values["counted"][chosen]]
    else:
        tokenizer = Tokenizer.load(model, config.vocab_size)
        if tokenizer is None:
            raise SystemExit(f"{model} has no tokenizer, so {path} must be a .json file of ids")
        encoded = [tokenizer.encode(text) for text in documents(data.decode("utf-8"))[chosen]]
        groups = cut(encoded, tokenizer.bos_token_id, "documents", window)
        ids = [row for group in groups for row in group]
        counted = [[True] * len(row) for row in ids]
    about = {
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "documents": part,
        "ids": sum(map(len, ids)),
    }
    return Rows(about, ids, counted)


def draw(rows: Rows, model: Path, tokens: int, seed: int = 0) -> Calibration:
    """About so many tokens of the rows, drawn as `tinychat quantize` draws them."""
    config = load_config(model)
    return prepare(
        rows.ids, None, config.vocab_size, config.max_positions, tokens=tokens, seed=seed
    )

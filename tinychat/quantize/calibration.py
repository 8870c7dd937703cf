"""Calibration text: where it comes from, and how it becomes sequences of tokens.

A text may hold several documents, apart by the mark that TinyStories uses; each begins with the
tokenizer's own beginning of text, and a long one is cut into sequences that all do.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tinychat import limits
from tinychat.documents import documents
from tinychat.errors import ArgumentError, CheckpointError
from tinychat.jsonfile import read_bytes
from tinychat.tokenizer import Tokenizer

BUNDLED = "calibration.txt"
# AWQ's own default is 128 blocks of 512 tokens; it hardly gains beyond a quarter of that.
TOKENS = 32_768
LENGTH = 512
# Statistics of fewer tokens are noise for wide layers.
FEW_TOKENS = 8192

CalibrationSource = str | Path | Sequence[str] | Sequence[Sequence[int]] | None
"""A file, texts, sequences of token ids, or None for the text that ships with tinychat."""


@dataclass(frozen=True)
class Calibration:
    """What the model is shown.

    Attributes:
        sequences: token ids.
        source: "bundled", "texts", "tokens", "self", or the name of the file.
        sha256: of the text, or of the tokens where there was none.
        warning: a line for the user, if there is too little of it.
    """

    sequences: tuple[tuple[int, ...], ...]
    source: str
    sha256: str
    warning: str | None = None

    @property
    def tokens(self) -> int:
        return sum(len(sequence) for sequence in self.sequences)


def prepare(
    source: CalibrationSource,
    tokenizer: Tokenizer | None,
    vocab_size: int,
    max_positions: int,
    *,
    tokens: int = TOKENS,
    seed: int = 0,
    label: str | None = None,
) -> Calibration:
    """Read a source and cut it.

    Args:
        tokenizer: None for a model without one, which takes token ids only.
        vocab_size: ids must be below it.
        max_positions: a sequence has at most this many tokens, and at most 512.
        tokens: about how many to take; if there are more, sequences are drawn by `seed`.
        label: what the source is called in metadata.
    Raises: ArgumentError for a file that is missing, empty or no UTF-8, for texts without a
        tokenizer, for ids outside the vocabulary.
    """
    length = min(LENGTH, max_positions)
    if _is_ids(source):
        given: Sequence[Sequence[int]] = source  # type: ignore[assignment]
        rows = [tuple(row[at : at + length]) for row in given for at in range(0, len(row), length)]
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        name = "tokens"
    else:
        texts, name = _texts(source)  # type: ignore[arg-type]
        if tokenizer is None:
            raise ArgumentError(
                "this model has no tokenizer files, so its calibration must be 'self', or token "
                "ids: calibration=[[1, 2, …], …]"
            )
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
        rows = _cut(texts, tokenizer, length)
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise ArgumentError(f"the calibration text ({label or name}) holds no tokens")
    if any(not 0 <= i < vocab_size for row in rows for i in row):
        raise ArgumentError(f"calibration has token ids outside 0..{vocab_size - 1}")
    chosen = _draw(rows, tokens, seed)
    count = sum(map(len, chosen))
    warning = None
    if count < FEW_TOKENS:
        warning = (
            f"only {count} tokens of calibration text; {FEW_TOKENS} or more give steadier results"
        )
    return Calibration(tuple(chosen), label or name, digest, warning)


def _is_ids(source: object) -> bool:
    return (
        isinstance(source, (list, tuple))
        and bool(source)
        and all(isinstance(row, (list, tuple)) for row in source)
        and all(isinstance(i, int) for row in source for i in row)
    )


def _texts(source: str | Path | Sequence[str] | None) -> tuple[list[str], str]:
    """The documents of a source, and what it is called."""
    if source is None:
        bundled = files("tinychat.quantize").joinpath(BUNDLED)
        return documents(_read(Path(str(bundled)))), "bundled"
    if isinstance(source, (str, Path)):
        path = Path(source)
        return documents(_read(path)), path.name
    if not all(isinstance(text, str) for text in source):
        raise ArgumentError("calibration: expected a file, texts, or sequences of token ids")
    return [text for text in source if text.strip()], "texts"


def _read(path: Path) -> str:
    try:
        return read_bytes(path, limits.CALIBRATION_BYTES).decode("utf-8")
    except CheckpointError as error:
        raise ArgumentError(f"calibration text: {error}") from None
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{path} is not UTF-8 text: byte {error.start}") from None


def _cut(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> list[tuple[int, ...]]:
    bos = tokenizer.bos_token_id
    start = () if bos is None else (bos,)
    step = length - len(start)
    rows = []
    for text in texts:
        ids = tokenizer.encode(text)
        rows += [(*start, *ids[at : at + step]) for at in range(0, len(ids), step)]
    return rows


def _draw(rows: list[tuple[int, ...]], tokens: int, seed: int) -> list[tuple[int, ...]]:
    """Rows in their order, of all of them as many as hold about so many tokens."""
    if sum(map(len, rows)) <= tokens:
        return rows
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    chosen, count = [], 0
    for index in order:
        if count >= tokens:
            break
        chosen.append(index)
        count += len(rows[index])
    return [rows[index] for index in sorted(chosen)]

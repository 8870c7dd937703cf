"""Perplexity of a text: exp of the mean negative log-likelihood per token.

The number depends on how the text is cut. Three protocols, which differ in the third digit:

    paper      the whole text with the tokenizer's own BOS once in front, in windows of N ids that
               do not overlap; the first id of a window is not scored, and what does not fill the
               last window is left out. This is how the AWQ and GPTQ papers score WikiText-2.
    windows    the whole text without BOS in windows of N - 1 ids, each behind a BOS of its own;
               every token is scored
    documents  the text split at <|endoftext|>, white space around the parts removed, each part cut
               as by `windows`

Figures per word, or over windows of 4096, are other numbers; see docs/evaluation.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tinychat.documents import documents
from tinychat.errors import ArgumentError, CheckpointError, ContextLengthError
from tinychat.evaluate.data import first, read_text
from tinychat.evaluate.record import Item, Record

if TYPE_CHECKING:
    from torch import Tensor

PROTOCOLS = ("paper", "windows", "documents")
WINDOW = 2048
"""The window of the published figures."""

Ids = list[int]


class Encoder(Protocol):
    """What is used of a tokenizer."""

    bos_token_id: int | None

    def encode(self, text: str, add_special: bool = False) -> Ids:
        """Ids of a text, with BOS in front where asked for and configured."""


class Scorer(Protocol):
    """What is used of an `LLM`."""

    @property
    def tokenizer(self) -> Encoder:
        """The model's tokenizer."""

    @property
    def max_context(self) -> int:
        """The longest window."""

    def logprobs(self, ids: Sequence[int]) -> Tensor:
        """Log-probabilities [T - 1] of ids[1:], each given all before it."""


def perplexity(
    llm: Scorer,
    data: str | Path,
    *,
    protocol: str = "paper",
    window: int | None = None,
    limit: int | None = None,
    record: Record | None = None,
) -> dict[str, Any]:
    """Score a text file.

    Args:
        protocol: one of `PROTOCOLS`.
        window: ids in a window, BOS included; default 2048, or the context where that is less.
        limit: score only the first so many windows, or documents.
        record: keeps what is done.
    Returns: "results" with perplexity, nll (mean per token, in nats), tokens (scored ones),
        bits_per_byte, bits_per_character, and the text's bytes, characters and text_tokens;
        "items" with tokens and nll (their sum) of each window or document.
    Raises: CheckpointError if the file holds no text or the model computes no numbers,
        ArgumentError, ContextLengthError.
    """
    path = Path(data)
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"protocol={protocol!r} is not one of {', '.join(PROTOCOLS)}")
    size = check_window(window, llm.max_context)
    text, name = read_text(path)
    texts = first(documents(text), limit) if protocol == "documents" else [text]
    tokenizer = llm.tokenizer
    encoded = [tokenizer.encode(text, add_special=protocol == "paper") for text in texts]
    groups = first(cut(encoded, tokenizer.bos_token_id, protocol, size), limit)
    if not any(len(row) > 1 for group in groups for row in group):
        raise CheckpointError(f"{path} has no two tokens in a window, so that there is no score")

    text_tokens = sum(len(ids) - (ids[:1] == [tokenizer.bos_token_id]) for ids in encoded)
    characters = sum(map(len, texts))
    bytes_ = sum(len(text.encode("utf-8")) for text in texts)

    def summarize(items: list[Item]) -> dict[str, Any]:
        tokens = sum(item["tokens"] for item in items)
        nll = math.fsum(item["nll"] for item in items) / tokens
        bits = nll / math.log(2) * text_tokens
        results = {
            "perplexity": exp(nll),
            "nll": nll,
            "tokens": tokens,
            "bits_per_byte": bits / bytes_,
            "bits_per_character": bits / characters,
            "text_tokens": text_tokens,
            "bytes": bytes_,
            "characters": characters,
        }
        return {"results": results}

    settings = {"protocol": protocol, "window": size, "limit": limit}
    head = {"task": "perplexity", "data": name, "settings": settings}
    return (record or Record()).run(head, groups, lambda group: score(llm, group), summarize)


def check_window(window: int | None, context: int) -> int:
    """The window to use. Raises: ArgumentError, ContextLengthError if it exceeds the context."""
    if window is None:
        return min(WINDOW, context)
    if window < 2:
        raise ArgumentError(f"window={window} leaves nothing to score; expected at least 2")
    if window > context:
        raise ContextLengthError(
            f"window={window} does not fit the context of {context}; lower it, or load with a "
            "larger max_context"
        )
    return window


def cut(encoded: Sequence[Ids], bos: int | None, protocol: str, window: int) -> list[list[Ids]]:
    """Cut texts into the rows that are evaluated.

    Args:
        encoded: the ids of each text.
        bos: what `windows` and `documents` put in front of every row.
    Returns: groups of rows of at most `window` ids; a group is a document, or a single window.
    """
    if protocol == "paper":
        (ids,) = encoded
        whole = max(len(ids) // window, 1)  # a text shorter than a window is one
        return [[ids[i * window : (i + 1) * window]] for i in range(whole)]
    front = [] if bos is None else [bos]
    room = window - len(front)
    groups = [[[*front, *ids[i : i + room]] for i in range(0, len(ids), room)] for ids in encoded]
    return groups if protocol == "documents" else [[row] for row in groups[0]]


def score(llm: Scorer, rows: Sequence[Ids]) -> Item:
    """The number of scored tokens in rows of ids, and the sum of their negative log-likelihoods.

    Raises: CheckpointError where the model computes NaN or infinity.
    """
    # Summed in float64: a long document would lose digits in the float32 of the model.
    nll = math.fsum(-llm.logprobs(row).double().sum().item() for row in rows)
    if not math.isfinite(nll):
        raise CheckpointError(
            "the model computes NaN or infinity for this text: its weights are damaged, or too "
            "large for their precision (weights='fp32' tells)"
        )
    return {"tokens": sum(len(row) - 1 for row in rows), "nll": nll}


def exp(nll: float) -> float:
    """e to the nll. Raises: CheckpointError where that is no number any more."""
    try:
        return math.exp(nll)
    except OverflowError:
        raise CheckpointError(
            f"the mean negative log-likelihood is {nll:.0f}, far from any text: the weights are "
            "damaged"
        ) from None

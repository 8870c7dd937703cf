"""Perplexity per story, the way the reference figures beside the test models were made."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from tinychat.llm import LLM


def stories(data: Path, count: int | None = None) -> list[str]:
    """The stories of the TinyStories sample, stripped."""
    text = (data / "text/tinystories/tiny.utf8").read_text(encoding="utf-8")
    return [story.strip() for story in text.split("<|endoftext|>")[:count]]


def perplexity(
    llm: LLM, texts: list[str], window: int = 512, first_window: bool = False
) -> tuple[float, int]:
    """exp(mean negative log-likelihood) over texts in windows of BOS + window - 1 tokens.

    Args:
        first_window: score the first window of each text alone.
    Returns: the perplexity and the number of scored tokens.
    """
    loss, count = 0.0, 0
    bos = llm.tokenizer.bos_token_id
    assert bos is not None
    for text in texts:
        ids = llm.tokenizer.encode(text)
        if first_window:
            ids = ids[: window - 1]
        for begin in range(0, len(ids), window - 1):
            row = [bos, *ids[begin : begin + window - 1]]
            logprobs = torch.log_softmax(llm.logits(row)[:-1], dim=-1)
            loss -= logprobs.gather(1, torch.tensor(row[1:])[:, None]).sum().item()
            count += len(row) - 1
    return math.exp(loss / count), count

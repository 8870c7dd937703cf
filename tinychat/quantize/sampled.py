"""Calibration text that the model makes up itself."""

from __future__ import annotations

from pathlib import Path

from tinychat.assembly import load
from tinychat.sampler import SamplingParams

# Short enough that a model that wanders off does not do so for long.
_LENGTH = 512


def sample_text(folder: Path, tokens: int, max_positions: int, seed: int) -> list[list[int]]:
    """Sequences of token ids that the model writes at temperature 1 from the beginning of a text.

    Args:
        folder: of the float model.
        tokens: about how many in all.
        max_positions: of the model.
        seed: of the first sequence; the next have the next seeds.
    """
    length = min(_LENGTH, max_positions)
    rows: list[list[int]] = []
    with load(folder, offline=True) as llm:
        start = llm.tokenizer.bos_token_id if llm.tokenizer is not None else None
        first = start if start is not None else next(iter(llm.config.eos_token_ids), 0)
        while sum(map(len, rows)) < tokens:
            params = SamplingParams(
                max_new_tokens=length - 1,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                seed=seed + len(rows),
                ignore_eos=True,
            )
            rows.append([first, *llm.generate([first], params).token_ids])
    return rows

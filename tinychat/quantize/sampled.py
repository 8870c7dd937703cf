"""Calibration text that the model makes up itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tinychat.assembly import load
from tinychat.config import ModelConfig
from tinychat.quantize.calibration import LENGTH
from tinychat.quantize.workspace import Workspace
from tinychat.sampler import SamplingParams


def sample_text(
    folder: Path,
    config: ModelConfig,
    tokens: int,
    seed: int,
    workspace: Workspace,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[int]]:
    """Sequences of token ids that the model writes at temperature 1 from the beginning of a text.

    Args:
        folder: of the float model.
        tokens: about how many in all.
        seed: of the first sequence; the next have the next seeds.
        workspace: keeps what is written, so that a run that was stopped goes on behind it.
        progress: called with (tokens so far, tokens wanted).
    """
    length = min(LENGTH, config.max_positions)
    key = {"seed": seed, "length": length}
    rows = workspace.rows(key)
    if sum(map(len, rows)) >= tokens:
        return rows
    with load(folder, offline=True) as llm:
        start = llm.tokenizer.bos_token_id if llm.tokenizer is not None else None
        first = start if start is not None else next(iter(config.eos_token_ids), 0)
        while (count := sum(map(len, rows))) < tokens:
            if progress is not None:
                progress(count, tokens)
            params = SamplingParams(
                max_new_tokens=length - 1,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                seed=seed + len(rows),
                ignore_eos=True,
            )
            rows.append([first, *llm.generate([first], params).token_ids])
            workspace.keep_rows(key, rows)
    return rows

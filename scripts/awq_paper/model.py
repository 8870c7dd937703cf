"""A float model under experiment: its blocks are changed one by one, and the whole is scored.

Nothing is written to disk. The changed matrices, in float32, take the place of the checkpoint's,
and the engine scores them as it does any float model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from awq_paper.text import Rows
from tinychat.assembly import build
from tinychat.checkpoint import Checkpoint
from tinychat.config import load_config
from tinychat.evaluate.perplexity import exp
from tinychat.kernels.dispatch import select
from tinychat.kernels.reference import ReferenceOps
from tinychat.loader import Loader
from tinychat.nn.rope import position_tables
from tinychat.quantize.block import BlockView, in_file_order
from tinychat.quantize.calibration import Calibration
from tinychat.quantize.layer import Settings, kept_sequences, new_statistics
from tinychat.quantize.observe import Seen

Change = Callable[[BlockView, dict[str, Seen]], object]
"""Replaces matrices of a block, knowing what reaches its inputs."""


class Changed:
    """A checkpoint with other tensors in place of some of its own."""

    def __init__(self, checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
        self._checkpoint, self._tensors = checkpoint, tensors

    def names(self) -> set[str]:
        return self._checkpoint.names() | set(self._tensors)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name] if name in self._tensors else self._checkpoint.tensor(name)

    def unused(self) -> set[str]:
        return set()


class Subject:
    """The model and the rows that it is scored on."""

    def __init__(self, folder: Path, scored: Rows) -> None:
        self.config, self.scored = load_config(folder), scored
        if self.config.quantization is not None:
            raise SystemExit(f"{folder} is quantized already; name the float checkpoint")
        self.checkpoint = Checkpoint.open(folder)
        loader = Loader(self.checkpoint, self.config, ReferenceOps(), "fp32", "fp16", None)
        self._embedding = loader.embedding()  # [V, C]

    def perplexity(self, tensors: Mapping[str, Tensor] = {}) -> float:
        """exp of the mean negative log-likelihood of the scored ids, all weights in float32."""
        source, total, count = Changed(self.checkpoint, tensors), 0.0, 0
        with build(source, self.config, select("cpu"), weights="fp32") as llm:
            for row, counted in zip(self.scored.ids, self.scored.counted, strict=True):
                chosen = llm.logprobs(row).double()[torch.tensor(counted[1:])]
                total -= float(chosen.sum())
                count += len(chosen)
        return exp(total / count)

    def outcome(self, change: Change, text: Calibration, settings: Settings) -> dict[str, float]:
        """Change every block and score the model.

        Args:
            text: runs through the blocks, so that a change knows their inputs.
            settings: which statistics are gathered, and whether the text runs through the changed
                blocks or the float ones.
        Returns: "perplexity", and "block_loss": |error|² of a block's outputs relative to |what the
            block adds|², mean over blocks.
        """
        hidden = [self._embedding[list(row)].float() for row in text.sequences]  # each [T, C]
        lengths = [len(h) for h in hidden]
        kept = kept_sequences(lengths, self.config.hidden_size)
        positions = position_tables(self.config, max(lengths))
        tensors: dict[str, Tensor] = {}
        losses = []
        for layer in range(self.config.num_layers):
            view = BlockView(self.checkpoint, self.config, layer, positions, torch.device("cpu"))
            seen = new_statistics(view, settings)
            exact = list(hidden)
            view.observe(exact, kept, seen)
            change(view, seen)
            changed = [view(h) for h in hidden]
            losses.append(_squares(changed, exact) / _squares(exact, hidden))
            tensors |= view.floats()
            for matrix in view.matrices.values():
                tensors[f"{matrix.name}.weight"] = in_file_order(matrix, matrix.weight)
            hidden = changed if settings.sequential else exact
        return {"perplexity": self.perplexity(tensors), "block_loss": sum(losses) / len(losses)}


def _squares(some: list[Tensor], others: list[Tensor]) -> float:
    pairs = zip(some, others, strict=True)
    return sum(float((one - other).square().sum()) for one, other in pairs)

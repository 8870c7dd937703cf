"""Tiny folders to quantize, and what their tests share."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tinychat
from tests.tiny_models import write_tiny
from tinychat.quantize.convert import Result, quantize

IDS = [5, 17, 80, 3, 41, 41, 9, 66, 23]


def token_ids(sequences: int = 8, length: int = 24, seed: int = 0) -> list[list[int]]:
    """Calibration for every tiny model."""
    chance = random.Random(seed)
    return [[chance.randrange(3, 97) for _ in range(length)] for _ in range(sequences)]


CALIBRATION = token_ids()


def tiny_llama(folder: Path, layers: int = 2, **changes: Any) -> Path:
    """One whose every K is divided by 32."""
    sizes = {"intermediate_size": 96, "num_hidden_layers": layers, "model_type": "llama"}
    return write_tiny(folder, "llama", **{**sizes, **changes})


def quantize_tiny(source: Path, out: Path, method: str = "awq", **options: Any) -> Result:
    """`quantize` in groups of 32, calibrated on token ids."""
    return quantize(
        source,
        out,
        method,
        **{"group_size": 32, "calibration": CALIBRATION, "device": "cpu", **options},
    )


def logits(folder: Path, **options: Any) -> Tensor:
    """[T, V] of a few tokens."""
    with tinychat.load(folder, threads=1, **options) as llm:
        return llm.logits(IDS)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Everything in the folder's safetensors, copied."""
    from tinychat.checkpoint import Checkpoint

    with Checkpoint.open(folder) as checkpoint:
        return {name: checkpoint.tensor(name).clone() for name in sorted(checkpoint.names())}


def files_of(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of every file."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def same(a: dict[str, Tensor], b: dict[str, Tensor], part: str = "") -> bool:
    """Whether the tensors with `part` in their names are equal in both."""
    names = {name for name in {**a, **b} if part in name}
    return bool(names) and all(
        name in a and name in b and torch.equal(a[name], b[name]) for name in names
    )

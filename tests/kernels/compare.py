"""How far results are from what they should be, and arguments that many tests want."""

from __future__ import annotations

import torch
from torch import Tensor

from tinychat.kernels import Norm


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of what was expected; NaN counts as infinite."""
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if expected.numel() == 0:
        return 0.0
    difference = (actual.double() - expected.double()).norm()
    error = float(difference / expected.double().norm().clamp_min(torch.finfo().tiny))
    return float("inf") if error != error else error


def misaligned(x: Tensor) -> Tensor:
    """The same numbers, contiguous, at an address that no vector is aligned to."""
    memory = torch.empty(x.numel() + 1, dtype=x.dtype)
    memory[1:] = x.flatten()
    return memory[1:].view(x.shape)


def norms(width: int) -> list[Norm]:
    """One of each kind, with a bias and without."""
    return [
        Norm("rms", torch.randn(width), 1e-5),
        Norm("layer", torch.randn(width), 1e-5),
        Norm("layer", torch.randn(width), 1e-5, torch.randn(width)),
    ]

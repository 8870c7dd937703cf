"""How far results are from what they should be, and arguments that many tests want."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tinychat.kernels import Norm, Ops


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of what was expected; NaN counts as infinite."""
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if expected.numel() == 0:
        return 0.0
    difference = (actual.double() - expected.double()).norm()
    error = float(difference / expected.double().norm().clamp_min(torch.finfo().tiny))
    return float("inf") if error != error else error


def on_card(ops: Ops) -> bool:
    return ops.name.startswith("cuda")


def same(ops: Ops, actual: Tensor, expected: Tensor, most: float) -> bool:
    """Whether they are equal bit for bit, or on a card within a relative error: what is not aligned
    or has an order is added up in another order there.
    """
    if on_card(ops):
        return relative_error(actual, expected) < most
    return torch.equal(actual, expected)


def as_halves(x: Tensor, group: int, exponent: int = 14) -> Tensor:
    """x as products on a card see it, float64: each group of a row in float16, its largest
    magnitude brought to 2^exponent .. 2^(exponent + 1).
    """
    cols = x.shape[1]
    groups = functional.pad(x, (0, -cols % group)).double().unflatten(1, (-1, group))
    exponents = torch.frexp(groups.abs().amax(dim=-1, keepdim=True)).exponent - 1
    scaling = torch.exp2(exponent - exponents.clamp_min(-100).double())
    return ((groups * scaling).half().double() / scaling).flatten(1)[:, :cols]


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

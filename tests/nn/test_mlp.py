"""MLP: the plain form, with and without factors between its matrices."""

from __future__ import annotations

import torch
from torch.nn import functional

from tinychat.kernels.reference import ReferenceOps
from tinychat.nn.linear import Linear
from tinychat.nn.mlp import MLP


def test_the_scale_stands_between_activation_and_down() -> None:
    torch.manual_seed(0)
    up, down, x, scale = (
        torch.randn(64, 24),
        torch.randn(24, 64),
        torch.randn(3, 24),
        torch.rand(64),
    )
    ops = ReferenceOps()
    hidden = functional.gelu(x @ up.T)
    plain = MLP(ops, Linear(up), Linear(down), "gelu")
    scaled = MLP(ops, Linear(up), Linear(down), "gelu", scale)
    torch.testing.assert_close(plain(x), hidden @ down.T)
    torch.testing.assert_close(scaled(x), (hidden * scale) @ down.T)
    # What the factors are for: a matrix divided by them gives the product as it was.
    restored = MLP(ops, Linear(up), Linear(down / scale), "gelu", scale)
    torch.testing.assert_close(restored(x), plain(x), rtol=1e-4, atol=1e-3)

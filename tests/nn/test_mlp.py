"""The MLPs up to what their last matrix reads."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch.nn import functional

from tinychat.kernels import Activation, Norm
from tinychat.kernels.reference import ReferenceOps
from tinychat.nn.linear import Linear, StackedLinear
from tinychat.nn.mlp import MLP, GatedMLP


def test_the_scale_stands_between_activation_and_down() -> None:
    torch.manual_seed(0)
    up, down = torch.randn(64, 24), torch.randn(24, 64)
    x, scale = torch.randn(3, 24), torch.rand(64)
    ops = ReferenceOps()
    norm = Norm("rms", torch.rand(24), 1e-5)
    inner = functional.gelu(ops.norm(x, norm) @ up.T)
    plain = MLP(ops, Linear(ops, up), Linear(ops, down), "gelu")
    scaled = MLP(ops, Linear(ops, up), Linear(ops, down), "gelu", scale)
    torch.testing.assert_close(plain.inner(x, norm), inner)
    torch.testing.assert_close(scaled.inner(x, norm), inner * scale)


@pytest.mark.parametrize("kind", get_args(Activation))
def test_the_gate_comes_first(kind: Activation) -> None:
    torch.manual_seed(0)
    gate, up, down, x = (
        torch.randn(64, 24),
        torch.randn(64, 24),
        torch.randn(24, 64),
        torch.randn(3, 24),
    )
    ops = ReferenceOps()
    mlp = GatedMLP(
        StackedLinear(ops, [Linear(ops, gate), Linear(ops, up)]), Linear(ops, down), kind
    )
    expected = ops.activation(x @ gate.T, kind) * (x @ up.T)
    torch.testing.assert_close(mlp.inner(x), expected)

"""activation and gated_activation: every implementation against the formulas in float64."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import misaligned
from tinychat.errors import KernelError
from tinychat.kernels import Activation, Ops

KINDS = get_args(Activation)


def formula(x: Tensor, kind: str) -> Tensor:
    x = x.double()
    if kind == "silu":
        return x / (1 + torch.exp(-x))
    if kind == "relu":
        return x.clamp_min(0)
    if kind == "gelu":
        return x * torch.special.ndtr(x)
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def assert_close(actual: Tensor, expected: Tensor, largest_factor: float = 1.0) -> None:
    # exp and erfc are good to 1e-6. Where gelu is nearly zero, 1 + erf(x) as torch computes it in
    # float32 has lost that many digits: the absolute part.
    torch.testing.assert_close(actual, expected.float(), rtol=3e-6, atol=2e-6 * largest_factor)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_range(ops: Ops, kind: Activation) -> None:
    x = torch.cat(
        [
            torch.linspace(-30, 30, 6001),
            torch.tensor([0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 104.0, -104.0, 1e6, -1e6]),
        ]
    ).view(1, -1)
    assert_close(ops.activation(x, kind), formula(x, kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", (1, 7, 64, 172, 576, 2500))
@pytest.mark.parametrize("tokens", (0, 1, 2, 17))
def test_shapes(ops: Ops, tokens: int, width: int, kind: Activation) -> None:
    x = 3 * torch.randn(tokens, 2 * width)
    before = x.clone()
    gate, up = x.chunk(2, dim=1)
    assert_close(ops.activation(gate.contiguous(), kind), formula(gate, kind))
    assert_close(ops.gated_activation(x, kind), formula(gate, kind) * up, largest_factor=10)
    scale = 10 * torch.rand(width)
    scaled = ops.activation(gate.contiguous(), kind, scale)
    assert_close(scaled, formula(gate, kind) * scale, largest_factor=10)
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_stays_visible(ops: Ops, kind: Activation) -> None:
    x = torch.randn(1, 40)
    x[0, 3] = x[0, 37] = torch.nan
    assert torch.equal(ops.activation(x, kind).isnan(), x.isnan())


@pytest.mark.parametrize("kind", KINDS)
def test_misaligned_memory(ops: Ops, kind: Activation) -> None:
    x = torch.randn(3, 106)
    assert torch.equal(ops.gated_activation(misaligned(x), kind), ops.gated_activation(x, kind))
    scale = torch.rand(106)
    shifted = ops.activation(misaligned(x), kind, misaligned(scale))
    assert torch.equal(shifted, ops.activation(x, kind, scale))


def test_refusals(ops: Ops) -> None:
    x = torch.randn(4, 6)
    cases = {
        "kind of activation is 'swish', expected one of silu": lambda: ops.activation(x, "swish"),
        "kind of gated_activation is 'SILU'": lambda: ops.gated_activation(x, "SILU"),
        "x of gated_activation has 5 columns": lambda: ops.gated_activation(
            torch.randn(4, 5), "silu"
        ),
        "x of activation is torch.float16": lambda: ops.activation(x.half(), "silu"),
        "x of activation is not contiguous": lambda: ops.activation(x.t(), "silu"),
        r"x of gated_activation has shape \[6\]": lambda: ops.gated_activation(x[0], "silu"),
        r"scale of activation has shape \[4\], expected \[6\]": lambda: ops.activation(
            x, "silu", torch.ones(4)
        ),
        "scale of activation is torch.float16": lambda: ops.activation(
            x, "silu", torch.ones(6).half()
        ),
    }
    for message, call in cases.items():
        with pytest.raises(KernelError, match=message):
            call()
    assert ops.activation(x, "silu").shape == (4, 6)

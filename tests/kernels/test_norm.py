"""norm: every implementation against the formulas in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import misaligned, relative_error, same
from tinychat.errors import KernelError
from tinychat.kernels import Norm, Ops

# Sums of some hundred float32 terms, a root and three products: a few roundings of 6e-8 each.
TOLERANCE = 1e-6
WIDTHS = (1, 7, 16, 64, 172, 576)
TOKENS = (0, 1, 2, 17)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    bias = None if bias is None else bias.double()
    return torch.nn.functional.layer_norm(x.double(), x.shape[-1:], weight.double(), bias, eps)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("tokens", TOKENS)
def test_rms_norm(ops: Ops, tokens: int, width: int) -> None:
    x, weight = torch.randn(tokens, width), torch.randn(width)
    assert (
        relative_error(ops.norm(x, Norm("rms", weight, 1e-5)), rms_norm(x, weight, 1e-5))
        < TOLERANCE
    )


@pytest.mark.parametrize("width", WIDTHS[1:])
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("biased", (False, True))
def test_layer_norm(ops: Ops, tokens: int, width: int, biased: bool) -> None:
    x, weight = torch.randn(tokens, width), torch.randn(width)
    bias = torch.randn(width) if biased else None
    actual = ops.norm(x, Norm("layer", weight, 1e-5, bias))
    assert relative_error(actual, layer_norm(x, weight, bias, 1e-5)) < TOLERANCE


def test_layer_norm_of_a_far_mean_keeps_its_digits(ops: Ops) -> None:
    x = 1000 + torch.randn(3, 172)
    weight = torch.ones(172)
    # Near 1000 a float32 has steps of 6e-5, which is also the error of the mean. The mean of the
    # squares less the square of the mean would be wrong by 6e-2.
    actual = ops.norm(x, Norm("layer", weight, 1e-5))
    assert relative_error(actual, layer_norm(x, weight, None, 1e-5)) < 2e-4


def test_eps_keeps_an_empty_row_finite(ops: Ops) -> None:
    x, weight, bias = torch.zeros(2, 40), torch.randn(40), torch.randn(40)
    assert torch.equal(ops.norm(x, Norm("rms", weight, 1e-6)), x)
    assert torch.equal(ops.norm(x, Norm("layer", weight, 1e-6, bias)), bias.expand(2, 40))


def test_misaligned_memory(ops: Ops) -> None:
    x, weight, bias = torch.randn(3, 100), torch.randn(100), torch.randn(100)
    expected = ops.norm(x, Norm("layer", weight, 1e-5, bias))
    shifted = Norm("layer", misaligned(weight), 1e-5, misaligned(bias))
    assert same(ops, ops.norm(misaligned(x), shifted), expected, 1e-6)


def test_refusals(ops: Ops) -> None:
    x, weight = torch.randn(4, 8), torch.randn(8)
    rms, layer = Norm("rms", weight, 1e-5), Norm("layer", weight, 1e-5)
    cases = {
        r"x of norm has shape \[8\]": (weight, rms),
        r"x of norm is torch.float64": (x.double(), rms),
        r"x of norm is not contiguous": (x.t(), replace(rms, weight=weight[:4])),
        r"weight of norm has shape \[7\]": (x, replace(rms, weight=weight[:7])),
        r"weight of norm is torch.float16": (x, replace(layer, weight=weight.half())),
        r"bias of norm has shape \[1\]": (x, replace(layer, bias=weight[:1])),
        r"bias of norm: an rms norm has none": (x, replace(rms, bias=weight)),
        r"norm of norm is 'group', expected rms or layer": (x, replace(rms, kind="group")),
    }
    for message, arguments in cases.items():
        with pytest.raises(KernelError, match=message):
            ops.norm(*arguments)
    assert ops.norm(x, rms).shape == (4, 8)

"""rms_norm, layer_norm and add: every implementation against the formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import misaligned, relative_error
from tinychat.errors import KernelError
from tinychat.kernels import Ops

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
    assert relative_error(ops.rms_norm(x, weight, 1e-5), rms_norm(x, weight, 1e-5)) < TOLERANCE


@pytest.mark.parametrize("width", WIDTHS[1:])
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("biased", (False, True))
def test_layer_norm(ops: Ops, tokens: int, width: int, biased: bool) -> None:
    x, weight = torch.randn(tokens, width), torch.randn(width)
    bias = torch.randn(width) if biased else None
    actual = ops.layer_norm(x, weight, bias, 1e-5)
    assert relative_error(actual, layer_norm(x, weight, bias, 1e-5)) < TOLERANCE


@pytest.mark.parametrize("width", WIDTHS)
def test_residual_gets_the_branch_and_is_what_is_normalized(ops: Ops, width: int) -> None:
    x, before = torch.randn(5, width), torch.randn(5, width)
    weight, bias = torch.randn(width), torch.randn(width)
    for norm in (
        lambda residual=None, x=x: ops.rms_norm(x, weight, 1e-6, residual),
        lambda residual=None, x=x: ops.layer_norm(x, weight, bias, 1e-6, residual),
    ):
        residual, branch = before.clone(), x.clone()
        actual = norm(residual)
        assert torch.equal(residual, before + x)
        assert torch.equal(x, branch)
        assert torch.equal(actual, norm(x=before + x))


def test_layer_norm_of_a_far_mean_keeps_its_digits(ops: Ops) -> None:
    x = 1000 + torch.randn(3, 172)
    weight = torch.ones(172)
    # Near 1000 a float32 has steps of 6e-5, which is also the error of the mean. The mean of the
    # squares less the square of the mean would be wrong by 6e-2.
    actual = ops.layer_norm(x, weight, None, 1e-5)
    assert relative_error(actual, layer_norm(x, weight, None, 1e-5)) < 2e-4


def test_eps_keeps_an_empty_row_finite(ops: Ops) -> None:
    x, weight, bias = torch.zeros(2, 40), torch.randn(40), torch.randn(40)
    assert torch.equal(ops.rms_norm(x, weight, 1e-6), x)
    assert torch.equal(ops.layer_norm(x, weight, bias, 1e-6), bias.expand(2, 40))


def test_misaligned_memory(ops: Ops) -> None:
    x, weight, residual = torch.randn(3, 100), torch.randn(100), torch.randn(3, 100)
    expected = ops.rms_norm(x, weight, 1e-5, residual.clone())
    actual = ops.rms_norm(misaligned(x), misaligned(weight), 1e-5, misaligned(residual))
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("tokens", TOKENS)
def test_add(ops: Ops, tokens: int, width: int) -> None:
    x, y = torch.randn(tokens, width), torch.randn(tokens, width)
    assert torch.equal(ops.add(x, y), x + y)


def test_refusals(ops: Ops) -> None:
    x, weight = torch.randn(4, 8), torch.randn(8)
    cases = {
        r"x of rms_norm has shape \[8\]": lambda: ops.rms_norm(weight, weight, 1e-5),
        r"x of rms_norm is torch.float64": lambda: ops.rms_norm(x.double(), weight, 1e-5),
        r"x of rms_norm is not contiguous": lambda: ops.rms_norm(x.t(), weight[:4], 1e-5),
        r"weight of rms_norm has shape \[7\]": lambda: ops.rms_norm(x, weight[:7], 1e-5),
        r"residual of rms_norm has shape \[3, 8\]": lambda: ops.rms_norm(x, weight, 1e-5, x[:3]),
        r"residual of layer_norm is not contiguous": lambda: ops.layer_norm(
            x, weight, None, 1e-5, torch.randn(8, 4).t()
        ),
        r"bias of layer_norm has shape \[1\]": lambda: ops.layer_norm(x, weight, weight[:1], 1e-5),
        r"weight of layer_norm is torch.float16": lambda: ops.layer_norm(
            x, weight.half(), None, 1e-5
        ),
        r"y of add has shape \[1, 8\], expected \[4, 8\]": lambda: ops.add(x, x[:1]),
    }
    for message, call in cases.items():
        with pytest.raises(KernelError, match=message):
            call()
    assert ops.rms_norm(x, weight, 1e-5).shape == (4, 8)

"""Linear layers: the product with their matrix, and what stands right before and after it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tinychat.kernels import Norm, Ops
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.nn.linear import AnyLinear, Linear, LinearLowBit, StackedLinear
from tinychat.quantize.format import BITS, dequantize
from tinychat.quantize.grid import Grid
from tinychat.quantize.rtn import round_to_nearest


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("ordered", (False, True))
def test_the_product_is_that_with_the_matrix(bits: int, ordered: bool) -> None:
    torch.manual_seed(bits)
    weight = round_to_nearest(torch.randn(48, 96), Grid(bits, 32))
    if ordered:
        weight = replace(weight, order=torch.randperm(96).int())
    x, bias = torch.randn(3, 96), torch.randn(48)
    expected = functional.linear(x, dequantize(weight), bias)

    reference = ReferenceOps()
    linear = LinearLowBit(reference, reference.pack(weight), bias, weight.order)
    torch.testing.assert_close(linear(x), expected, rtol=1e-5, atol=1e-4)

    native = CpuOps(threads=1)
    try:
        linear = LinearLowBit(native, native.pack(weight), bias, weight.order)
        out = linear(x)
        # What rounding activations to int8 costs.
        assert (out - expected).norm() < 0.01 * expected.norm()
        with native.record() as plan:
            recorded = linear(x)
        plan.run()
        assert torch.equal(recorded, out)
    finally:
        native.close()


def all_kinds(ops: Ops) -> list[AnyLinear]:
    """A layer of 48 outputs and 96 inputs of every kind, on weights of small integers."""
    grid = torch.randint(-7, 8, (48, 96)).float()
    packed = round_to_nearest(grid, Grid(4, 32))
    halves = [Linear(ops, half) for half in torch.split(dequantize(packed), 24)]
    return [
        Linear(ops, dequantize(packed)),
        StackedLinear(ops, halves),
        LinearLowBit(ops, ops.pack(packed)),
    ]


@pytest.mark.parametrize("isa", (None, "reference"))
def test_what_stands_around_a_product_is_the_same_for_every_kind(isa: str | None) -> None:
    torch.manual_seed(3)
    ops: Ops = ReferenceOps() if isa else CpuOps(threads=1)
    x, stream = torch.randn(5, 96), torch.randn(5, 48)
    norm = Norm("layer", torch.rand(96), 1e-5, torch.randn(96))
    plain, stacked, low_bit = all_kinds(ops)
    normal = ops.norm(x, norm)
    # Rounding activations to int8 is what the last kind differs by.
    for linear, error in ((plain, 1e-5), (stacked, 1e-5), (low_bit, 0.02)):
        expected = plain(normal)
        assert (linear(x, norm=norm) - expected).norm() < error * expected.norm()
        gated = ops.gated_activation(expected, "silu")
        assert (linear(x, norm=norm, gate="silu") - gated).norm() < error * gated.norm()
        added = stream.clone()
        assert linear(x, norm=norm, residual=added) is added
        assert (added - stream - expected).norm() < error * expected.norm()
    ops.close()

"""LinearLowBit: the product with its weight's matrix, whatever the order of its columns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.nn.linear import LinearLowBit
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

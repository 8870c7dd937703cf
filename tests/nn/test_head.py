"""RefinedHead: 8-bit logits where the largest are, 4-bit ones elsewhere, and what that reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tinychat.kernels import TILE_OUTPUTS, Ops
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.nn.head import (
    LEAST_TILES,
    REFINED_FROM,
    RefinedHead,
    low_bit_form,
    refined_tiles,
)
from tinychat.nn.linear import LinearLowBit
from tinychat.quantize.grid import Grid, default_group_size
from tinychat.quantize.two_stage import coarse_grid, fine_part


@pytest.fixture(params=["reference", "cpu"])
def ops(request: pytest.FixtureRequest) -> Iterator[Ops]:
    torch.manual_seed(7)
    made = ReferenceOps() if request.param == "reference" else CpuOps(threads=2)
    yield made
    made.close()


def made(ops: Ops, weight: Tensor, tiles: int | None, bias: Tensor | None = None) -> RefinedHead:
    rounded = ops.round_to_nearest(weight, coarse_grid(weight.shape[1]), "head")
    coarse = LinearLowBit(ops, ops.pack(rounded), bias)
    fine = LinearLowBit(ops, ops.pack(fine_part(ops, weight, "head")))
    return RefinedHead(coarse, fine, tiles)


def grid_of(weight: Tensor, bits: int = 4) -> Grid:
    return Grid(bits, default_group_size(weight.shape[1]))


@pytest.mark.parametrize("tiles", [1, 3, 7, 100])
def test_the_largest_logits_are_refined(ops: Ops, tiles: int) -> None:
    weight, bias, x = torch.randn((100, 256)), torch.randn(100), torch.randn((5, 256))
    x /= 16
    layer = made(ops, weight, tiles, bias)
    coarse = layer.coarse(x)
    out = layer(x)
    both = coarse + ops.matmul(x, layer.fine.weight)
    refined = out != coarse
    # A float32 sum of two products, in one way or the other.
    torch.testing.assert_close(out[refined], both[refined], rtol=1e-5, atol=1e-5)
    most = min(tiles, 7) * TILE_OUTPUTS
    assert (refined.sum(dim=1) <= most).all()
    for row, chosen in zip(coarse, refined, strict=True):
        assert chosen[row.topk(min(tiles, 100)).indices].all()
    if tiles == 100:
        assert refined.all()
        # Activations are rounded to int8 on the CPU.
        expected = functional.linear(x, weight, bias)
        assert (out - expected).norm() < 0.02 * expected.norm()


def test_a_row_is_the_same_in_any_company() -> None:
    torch.manual_seed(7)
    native = CpuOps(threads=2)
    layer = made(native, torch.randn((500, 128)), 5)
    x = torch.randn((6, 128))
    assert torch.equal(layer(x), torch.cat([layer(row) for row in x.split(1)]))
    native.close()


def test_what_is_read_and_what_is_held(ops: Ops) -> None:
    layer = made(ops, torch.randn((160, 128)), 5)
    assert layer.held_bytes == layer.coarse.nbytes + layer.fine.nbytes
    assert layer.nbytes == layer.coarse.nbytes + layer.fine.nbytes // 2


def test_a_step_can_be_recorded() -> None:
    torch.manual_seed(7)
    native = CpuOps(threads=2)
    layer = made(native, torch.randn((300, 64)), 4)
    assert layer.native
    x = torch.randn((1, 64))
    with native.record() as plan:
        logits = layer(x)
    for _ in range(3):
        x.copy_(torch.randn((1, 64)))
        plan.run()
        assert torch.equal(logits, layer(x))
    native.close()


def test_bytes_are_those_that_a_token_reads(ops: Ops) -> None:
    weight = torch.randn((160, 128))
    layer = made(ops, weight, 3)
    assert layer.nbytes == layer.coarse.nbytes + layer.fine.nbytes * 3 // 10
    assert made(ops, weight, None).nbytes == layer.coarse.nbytes + layer.fine.nbytes
    assert made(ops, weight, 10**9).tiles == 10


def test_how_much_is_refined() -> None:
    assert [refined_tiles(n) for n in (1, 16, 17, 2048, 4096)] == [1, 1, 2, 128, 256]
    assert refined_tiles(4097) == LEAST_TILES == 256
    assert refined_tiles(128256) == 1002
    assert low_bit_form(REFINED_FROM) == "int4+4" and low_bit_form(REFINED_FROM - 1) == "int8"
    assert refined_tiles(REFINED_FROM) * TILE_OUTPUTS <= REFINED_FROM // 2

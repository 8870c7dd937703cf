"""RefinedHead: 8-bit logits where the largest are, 4-bit ones elsewhere, and what that reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tinychat.errors import CheckpointError
from tinychat.kernels import TILE_OUTPUTS, Ops
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.nn import head
from tinychat.nn.head import (
    LEAST_TILES,
    REFINED_FROM,
    RefinedHead,
    coarse_grid,
    fine_part,
    low_bit_form,
    refined_tiles,
)
from tinychat.nn.linear import LinearLowBit
from tinychat.quantize.format import dequantize
from tinychat.quantize.grid import Grid, default_group_size
from tinychat.quantize.rtn import round_to_nearest


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


# Groups of 128 and 32, and whole rows.
@pytest.mark.parametrize("shape", [(100, 256), (75, 96), (40, 50)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk", [1, 5000, 1 << 20], ids=["row by row", "some", "at once"])
def test_the_fine_part_is_what_rounding_leaves(
    ops: Ops,
    shape: tuple[int, int],
    dtype: torch.dtype,
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "_CHUNK", chunk)
    weight = torch.randn(shape).to(dtype)
    threads = torch.get_num_threads()
    fine = fine_part(ops, weight, "head")
    assert torch.get_num_threads() == threads
    rest = weight.float() - dequantize(round_to_nearest(weight, grid_of(weight)))
    assert torch.equal(dequantize(fine), dequantize(round_to_nearest(rest, grid_of(weight))))


def test_both_together_are_as_exact_as_eight_bits(ops: Ops) -> None:
    weight = torch.randn((320, 256))
    coarse = dequantize(round_to_nearest(weight, grid_of(weight)))
    both = coarse + dequantize(fine_part(ops, weight, "head"))
    eight = dequantize(round_to_nearest(weight, grid_of(weight, 8)))
    four = dequantize(round_to_nearest(weight, grid_of(weight)))
    # 15 times 15 steps beside 255.
    assert (both - weight).norm() < 1.2 * (eight - weight).norm()
    assert (both - weight).norm() < 0.1 * (four - weight).norm()


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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_weights_that_cannot_be_are_named(ops: Ops, value: float) -> None:
    weight = torch.randn((64, 64))
    weight[50, 3] = value
    threads = torch.get_num_threads()
    with pytest.raises(CheckpointError, match=r"lm_head has weights that are NaN, infinite"):
        fine_part(ops, weight, "lm_head")
    assert torch.get_num_threads() == threads

"""The second stage of a matrix in two: what rounding it once leaves, rounded again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tinychat.errors import CheckpointError
from tinychat.kernels import Ops
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.quantize.format import dequantize
from tinychat.quantize.grid import Grid, default_group_size
from tinychat.quantize.rtn import round_to_nearest
from tinychat.quantize.two_stage import fine_part


@pytest.fixture(params=["reference", "cpu"])
def ops(request: pytest.FixtureRequest) -> Iterator[Ops]:
    torch.manual_seed(7)
    made = ReferenceOps() if request.param == "reference" else CpuOps(threads=2)
    yield made
    made.close()


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
    monkeypatch.setattr("tinychat.quantize.rtn._CHUNK", chunk)
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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_weights_that_cannot_be_are_named(ops: Ops, value: float) -> None:
    weight = torch.randn((64, 64))
    weight[50, 3] = value
    threads = torch.get_num_threads()
    with pytest.raises(CheckpointError, match=r"lm_head has weights that are NaN, infinite"):
        fine_part(ops, weight, "lm_head")
    assert torch.get_num_threads() == threads

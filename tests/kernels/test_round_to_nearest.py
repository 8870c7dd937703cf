"""round_to_nearest: bit for bit what the rounding in torch gives, for every form of weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import misaligned
from tests.kernels.test_pack import assert_same
from tinychat.errors import ArgumentError, CheckpointError, KernelError
from tinychat.kernels import Ops
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.quantize.format import BITS
from tinychat.quantize.grid import Grid

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def odd_rows(cols: int, size: float) -> Tensor:
    """Rows of both signs, of one, of one value, of zeros, and half of zeros."""
    weight = torch.randn(9, cols) * size
    weight[1].abs_()
    weight[2].abs_().neg_()
    weight[3] = weight[3, 0]
    weight[4] = 0
    weight[5, : cols // 2] = 0
    weight[6, 0] *= 30
    return weight


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("symmetric", [False, True], ids=["zeros", "symmetric"])
@pytest.mark.parametrize("bits", BITS)
def test_equals_the_reference(
    native: CpuOps, reference: ReferenceOps, bits: int, symmetric: bool, dtype: torch.dtype
) -> None:
    shapes = [(256, 32), (256, 64), (256, 128), (1, -1), (3, -1), (91, -1), (200, -1), (2080, -1)]
    for cols, group in shapes:
        grid = Grid(bits, group, symmetric)
        # From the foot of float16, where scales are whole steps of 2**-24, to its head.
        for size in (1e-9, 1e-6, 1e-3, 1.0, 1e3):
            weight = odd_rows(cols, size).to(dtype)
            assert_same(
                native.round_to_nearest(weight, grid), reference.round_to_nearest(weight, grid)
            )


@pytest.mark.parametrize("bits", BITS)
def test_ties_are_rounded_to_even_codes(native: CpuOps, bits: int) -> None:
    """Scale 1 and zero 0: a weight that ends in a half lies between two codes."""
    top = 2**bits - 1
    weight = (torch.arange(32) % top + 0.5)[None]
    weight[0, :2] = torch.tensor([0.0, top])
    rounded = native.round_to_nearest(weight, Grid(bits, 32))
    assert (float(rounded.scales), int(rounded.zeros)) == (1.0, 0)
    assert torch.equal(rounded.codes, weight.round().to(torch.uint8))


def test_misaligned_memory(native: CpuOps, reference: ReferenceOps) -> None:
    for dtype in DTYPES:
        weight = torch.randn(5, 96).to(dtype)
        found = native.round_to_nearest(misaligned(weight), Grid(4, 32))
        assert_same(found, reference.round_to_nearest(weight, Grid(4, 32)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3e6, -3e6])
@pytest.mark.parametrize("symmetric", [False, True], ids=["zeros", "symmetric"])
def test_weights_without_a_scale_are_refused_by_name(
    ops: Ops, value: float, symmetric: bool
) -> None:
    sound = torch.randn(7, 96)
    for at in (0, 31, 95):
        weight = sound.clone()
        weight[3, at] = value
        with pytest.raises(CheckpointError, match=r"up_proj has weights that are NaN"):
            ops.round_to_nearest(weight, Grid(4, 32, symmetric), "up_proj")
    ops.round_to_nearest(sound, Grid(4, 32, symmetric))


def test_refusals(ops: Ops) -> None:
    weight = torch.randn(4, 64)
    cases = {
        "weight of round_to_nearest is torch.float64": weight.double(),
        r"weight of round_to_nearest has shape \[64\]": weight[0],
        r"has shape \[0, 64\], expected no empty axis": weight[:0],
        r"has shape \[4, 0\], expected no empty axis": weight[:, :0],
        "weight of round_to_nearest is not contiguous": torch.randn(64, 4).t(),
    }
    for message, refused in cases.items():
        with pytest.raises(KernelError, match=message):
            ops.round_to_nearest(refused, Grid(4, -1))
    with pytest.raises(ArgumentError, match="group_size=48 does not divide K=64 of q"):
        ops.round_to_nearest(weight, Grid(4, 48), "q")
    ops.round_to_nearest(weight, Grid(4, 32))


def test_rows_do_not_depend_on_the_threads(reference: ReferenceOps) -> None:
    weight = torch.randn(101, 256).bfloat16()
    expected = reference.round_to_nearest(weight, Grid(4, 128))
    for threads in (1, 3):
        ops = CpuOps(threads=threads)
        assert_same(ops.round_to_nearest(weight, Grid(4, 128)), expected)
        ops.close()

"""What matmul does right before and after the product: the same, bit for bit, as the ops that do it
alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import misaligned, norms, same
from tests.kernels.test_matmul import TOKENS, random_weight
from tinychat.errors import KernelError
from tinychat.kernels import Activation, Norm, Ops, PackedWeight
from tinychat.kernels.cpu import CpuOps
from tinychat.quantize.format import BITS

# Where the sums of a norm have another order, an activation may be rounded the other way: 2^-11.
NORM_ROUNDING = 5e-4
# Outputs of a gated product: whole tiles of 16 rows, and such whose second half begins inside one.
GATED = (16, 48, 1, 5, 24, 37)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("shape", ((37, 192, 64), (16, 130, 128), (5, 40, 40)))
def test_norm_and_order_come_first(ops: Ops, shape: tuple[int, int, int], tokens: int) -> None:
    packed, x = ops.pack(random_weight(*shape, 4)), torch.randn((tokens, shape[1]))
    before, order = x.clone(), torch.randperm(shape[1]).int()
    ordered = x[:, order.long()].contiguous()
    actual, expected = ops.matmul(x, packed, order=order), ops.matmul(ordered, packed)
    assert torch.equal(actual, expected)
    for norm in norms(shape[1]):
        normal = ops.norm(x, norm)
        expected = ops.matmul(normal, packed)
        assert same(ops, ops.matmul(x, packed, norm=norm), expected, NORM_ROUNDING)
        expected = ops.matmul(normal[:, order.long()].contiguous(), packed)
        actual = ops.matmul(x, packed, norm=norm, order=order)
        assert same(ops, actual, expected, NORM_ROUNDING)
    assert torch.equal(x, before)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("half", GATED)
def test_a_gate_takes_halves(ops: Ops, half: int, bits: int) -> None:
    packed = ops.pack(random_weight(2 * half, 96, 32, bits))
    bias = torch.randn(2 * half)
    for tokens in TOKENS:
        x = torch.randn((tokens, 96)) / 100  # so that activations are not all at their ends
        for kind in get_args(Activation):
            for added in (None, bias):
                expected = ops.gated_activation(ops.matmul(x, packed, added), kind)
                assert torch.equal(ops.matmul(x, packed, added, gate=kind), expected)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("rows", (16, 37, 96))
def test_a_residual_gets_the_result(ops: Ops, rows: int, bits: int) -> None:
    packed, bias = ops.pack(random_weight(rows, 96, 32, bits)), torch.randn(rows)
    for tokens in TOKENS:
        x, stream = torch.randn((tokens, 96)), torch.randn((tokens, rows))
        expected = stream + ops.matmul(x, packed, bias)
        assert ops.matmul(x, packed, bias, residual=stream) is stream
        assert torch.equal(stream, expected)


def everything(ops: Ops, packed: PackedWeight, x: Tensor, norm: Norm, order: Tensor) -> Tensor:
    gated = ops.matmul(x, packed, norm=norm, order=order, gate="silu")
    return torch.cat([gated, ops.matmul(x, packed, norm=norm, residual=torch.ones(len(x), 40))], 1)


def test_a_row_is_the_same_in_any_company_and_on_any_threads(native: CpuOps) -> None:
    weight, norm, order = random_weight(40, 1400, 64, 4), norms(1400)[2], torch.randperm(1400).int()
    x, packed = torch.randn((23, 1400)), native.pack(weight)
    one_by_one = torch.cat([everything(native, packed, row[None], norm, order) for row in x])
    for threads in (1, 2, 5):
        team = CpuOps(native.name.removeprefix("cpu-"), threads)
        for tokens in (1, 2, 5, 8, 9, 23):
            together = everything(team, packed, x[:tokens], norm, order)
            assert torch.equal(together, one_by_one[:tokens]), tokens
        team.close()


def test_an_index_outside_reads_no_foreign_memory(native: CpuOps) -> None:
    """The caller checks the order; what happens without is defined all the same."""
    packed, x = native.pack(random_weight(16, 32, 32, 4)), torch.randn(2, 32)
    order = torch.arange(32, dtype=torch.int32)
    order[:3] = torch.tensor([-1, 32, 2**31 - 1], dtype=torch.int32)
    expected = x.clone()
    expected[:, :3] = x[:, 31:]
    assert torch.equal(native.matmul(x, packed, order=order), native.matmul(expected, packed))


def test_misaligned_memory(ops: Ops) -> None:
    packed, x, bias = ops.pack(random_weight(40, 130, 64, 4)), torch.randn(3, 130), torch.randn(40)
    norm, order, stream = norms(130)[2], torch.randperm(130).int(), torch.randn(3, 40)
    assert norm.bias is not None
    shifted = Norm("layer", misaligned(norm.weight), 1e-5, misaligned(norm.bias))
    expected = ops.matmul(x, packed, bias, norm=norm, order=order, residual=stream.clone())
    actual = ops.matmul(
        misaligned(x),
        packed,
        misaligned(bias),
        norm=shifted,
        order=misaligned(order),
        residual=misaligned(stream),
    )
    assert torch.equal(actual, expected)


def test_refusals(ops: Ops) -> None:
    packed, x, norm = ops.pack(random_weight(16, 64, 32, 4)), torch.zeros((2, 64)), norms(64)[0]
    odd = ops.pack(random_weight(15, 64, 32, 4))
    order, stream = torch.arange(64, dtype=torch.int32), torch.zeros((2, 16))
    whole, square = ops.pack(random_weight(64, 64, 32, 4)), torch.zeros((2, 64))
    cases: dict[str, dict[str, Any]] = {
        r"weight of norm of matmul has shape \[63\]": {"norm": replace(norm, weight=x[0, :63])},
        "norm of matmul is 'group'": {"norm": replace(norm, kind="group")},
        "order of matmul is torch.int64": {"order": order.long()},
        r"order of matmul has shape \[63\], expected \[64\]": {"order": order[:63]},
        "order of matmul is not contiguous": {
            "order": torch.arange(128, dtype=torch.int32)[::2],
        },
        "gate of matmul is 'swish', expected one of silu": {"gate": "swish"},
        "weight of matmul has 15 rows, expected an even number": {"gate": "silu", "weight": odd},
        r"residual of matmul has shape \[2, 15\]": {"residual": stream[:, :15]},
        "residual of matmul is not contiguous": {"residual": torch.zeros((16, 2)).T},
        "residual of matmul is x": {"residual": square, "x": square, "weight": whole},
        "residual of matmul: not with a gate": {"gate": "silu", "residual": stream},
    }
    for message, arguments in cases.items():
        with pytest.raises(KernelError, match=message):
            ops.matmul(arguments.pop("x", x), arguments.pop("weight", packed), **arguments)
    assert ops.matmul(x, packed, norm=norm, order=order, gate="relu").shape == (2, 8)

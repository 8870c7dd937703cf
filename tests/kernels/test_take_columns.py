"""take_columns: exactly the columns asked for, and never memory outside of x."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.compare import misaligned
from tinychat.errors import KernelError
from tinychat.kernels import Ops
from tinychat.kernels.cpu import CpuOps


@pytest.mark.parametrize("width", (1, 7, 64, 1024, 2500))
@pytest.mark.parametrize("tokens", (0, 1, 2, 17))
def test_columns(ops: Ops, tokens: int, width: int) -> None:
    x = torch.randn(tokens, width)
    before = x.clone()
    order = torch.randperm(width).int()
    out = ops.take_columns(x, order)
    assert torch.equal(out, x[:, order.long()])
    assert torch.equal(x, before)
    back = torch.argsort(order).int()
    assert torch.equal(ops.take_columns(out, back), x)


def test_a_column_may_be_taken_again(ops: Ops) -> None:
    x = torch.randn(3, 5)
    order = torch.tensor([4, 4, 0, 0, 0], dtype=torch.int32)
    assert torch.equal(ops.take_columns(x, order), x[:, [4, 4, 0, 0, 0]])


def test_misaligned_memory(ops: Ops) -> None:
    x, order = torch.randn(3, 53), torch.randperm(53).int()
    assert torch.equal(ops.take_columns(misaligned(x), misaligned(order)), x[:, order.long()])


def test_an_index_outside_reads_no_foreign_memory(native: CpuOps) -> None:
    """The caller checks the order; what happens without is defined all the same."""
    x = torch.randn(2, 4)
    order = torch.tensor([2, -1, 4, 2**31 - 1], dtype=torch.int32)
    assert torch.equal(native.take_columns(x, order), x[:, [2, 3, 3, 3]])


def test_refusals(ops: Ops) -> None:
    x, order = torch.randn(4, 6), torch.arange(6, dtype=torch.int32)
    cases = {
        "x of take_columns is torch.float16": (x.half(), order),
        r"x of take_columns has shape \[6\]": (x[0], order),
        "x of take_columns is not contiguous": (torch.randn(6, 4).t(), order),
        "order of take_columns is torch.int64": (x, order.long()),
        r"order of take_columns has shape \[5\], expected \[6\]": (x, order[:5]),
        "order of take_columns is not contiguous": (
            x,
            torch.arange(12, dtype=torch.int32)[::2],
        ),
    }
    for message, arguments in cases.items():
        with pytest.raises(KernelError, match=message):
            ops.take_columns(*arguments)
    assert torch.equal(ops.take_columns(x, order), x)

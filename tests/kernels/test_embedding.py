"""embedding: rows come back exactly, from every dtype."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.compare import misaligned
from tinychat.errors import KernelError
from tinychat.kernels import Ops

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", (1, 7, 64, 172, 576))
@pytest.mark.parametrize("tokens", (0, 1, 2, 17))
def test_rows(ops: Ops, tokens: int, width: int, dtype: torch.dtype) -> None:
    table = torch.randn(31, width).to(dtype)
    ids = torch.randint(31, (tokens,), dtype=torch.int32)
    if tokens > 1:
        ids[0], ids[1] = 30, 30  # the last row, twice
    out = ops.embedding(ids, table)
    assert out.dtype == torch.float32
    assert torch.equal(out, table[ids.long()].float())


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_every_16_bit_number(ops: Ops, dtype: torch.dtype) -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    table = bits.view(dtype).view(1024, 64)
    out = ops.embedding(torch.arange(1024, dtype=torch.int32), table)
    torch.testing.assert_close(out, table.float(), rtol=0, atol=0, equal_nan=True)


def test_misaligned_memory(ops: Ops) -> None:
    table = torch.randn(9, 33).half()
    ids = torch.tensor([8, 0, 3], dtype=torch.int32)
    assert torch.equal(ops.embedding(misaligned(ids), misaligned(table)), table[ids.long()].float())


def test_refusals(ops: Ops) -> None:
    ids, table = torch.tensor([1, 2], dtype=torch.int32), torch.randn(4, 8)
    cases = {
        "ids of embedding is torch.int64": (ids.long(), table),
        r"ids of embedding has shape \[1, 2\]": (ids.view(1, 2), table),
        "ids of embedding is not contiguous": (torch.arange(4, dtype=torch.int32)[::2], table),
        "table of embedding is torch.float64": (ids, table.double()),
        r"table of embedding has shape \[8\]": (ids, table[0]),
        "table of embedding is not contiguous": (ids, table.t()),
    }
    for message, arguments in cases.items():
        with pytest.raises(KernelError, match=message):
            ops.embedding(*arguments)
    assert ops.embedding(ids, table).shape == (2, 8)

"""unpack_rows and unpack_awq: the words of files, against a writer that goes bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.quantize import independent
from tinychat.errors import KernelError
from tinychat.kernels import Ops
from tinychat.quantize.format import BITS

# Codes in a row: one word and less than a tile of the kernel, a whole tile, several and a rest.
COUNTS = (32, 256, 288, 864)


def random_words(rows: int, count: int, bits: int) -> tuple[Tensor, Tensor]:
    """Words, and the codes in them."""
    codes = torch.randint(0, 2**bits, (rows, count), dtype=torch.uint8)
    codes[0] = 2**bits - 1
    words = independent.pack_rows(codes.numpy().astype(np.int64), bits)
    return torch.from_numpy(words), codes


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("rows", [1, 7, 64, 65])
@pytest.mark.parametrize("bits", BITS)
def test_rows_of_any_strides(ops: Ops, bits: int, rows: int, count: int) -> None:
    words, codes = random_words(rows, count, bits)
    wider = torch.zeros(rows, words.shape[1] + 3, dtype=torch.int32)
    wider[:, 1:-2] = words
    for lying in (words, words.t().contiguous().t(), wider[:, 1:-2]):
        assert torch.equal(ops.unpack_rows(lying, bits), codes)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_row_may_end_with_any_word(ops: Ops, bits: int) -> None:
    words, codes = random_words(3, 5 * 32 // bits, bits)
    assert words.shape[1] == 5
    assert torch.equal(ops.unpack_rows(words, bits), codes)


@pytest.mark.parametrize("bits", BITS)
def test_columns_in_another_order(ops: Ops, bits: int) -> None:
    words, codes = random_words(70, 288, bits)
    order = torch.randperm(288).int()
    found = ops.unpack_rows(words.t().contiguous().t(), bits, order)
    assert torch.equal(found, codes[:, order.long()])


@pytest.mark.parametrize("words", [1, 15, 16, 33])
@pytest.mark.parametrize("inputs", [1, 63, 64, 200])
def test_awq_words(ops: Ops, inputs: int, words: int) -> None:
    matrix = independent.random_matrix(8 * words, inputs, inputs, 4)
    files = independent.write_awq_gemm(matrix)
    found = ops.unpack_awq(torch.from_numpy(files["qweight"]))
    assert found.is_contiguous()
    assert torch.equal(found, torch.from_numpy(matrix.q).to(torch.uint8))


def test_refusals(ops: Ops) -> None:
    words = torch.zeros(4, 6, dtype=torch.int32)
    order = torch.arange(48, dtype=torch.int32)
    rows = {
        "words of unpack_rows is torch.int64": (words.long(), 4),
        r"words of unpack_rows has shape \[6\]": (words[0], 4),
        "a weight has 5 bits": (words, 5),
        "has 4 words in a row, expected a whole number of 3-bit": (words[:, :4], 3),
        r"order of unpack_rows has shape \[47\], expected \[48\]": (words, 4, order[:-1]),
        "order of unpack_rows is torch.int64": (words, 4, order.long()),
    }
    for message, arguments in rows.items():
        with pytest.raises(KernelError, match=message):
            ops.unpack_rows(*arguments)
    awq = {
        "words of unpack_awq is torch.float32": words.float(),
        r"words of unpack_awq has shape \[6\]": words[0],
        "words of unpack_awq is not contiguous": words.t(),
    }
    for message, refused in awq.items():
        with pytest.raises(KernelError, match=message):
            ops.unpack_awq(refused)
    assert not ops.unpack_rows(words, 4, order).any() and not ops.unpack_awq(words).any()

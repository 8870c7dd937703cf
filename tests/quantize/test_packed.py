"""Streams of small integers against one that is written bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.quantize.independent import pack_rows as slow_pack_rows
from tinychat.quantize import packed
from tinychat.quantize.packed import pack_rows, unpack_rows

WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8)


def random_codes(rows: int, count: int, bits: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2**bits, (rows, count), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_row_is_one_stream_of_bits(bits: int) -> None:
    codes = random_codes(5, 96, bits)
    codes[0] = 2**bits - 1
    words = torch.from_numpy(slow_pack_rows(codes.numpy().astype(np.int64), bits))
    assert torch.equal(pack_rows(codes, bits), words)
    assert torch.equal(unpack_rows(words, bits), codes)
    assert torch.equal(unpack_rows(words.t().contiguous().t(), bits), codes), "of any strides"


@given(
    rows=st.integers(1, 70),
    runs=st.integers(1, 5),
    bits=st.sampled_from(WIDTHS),
    block=st.sampled_from([1, 40, packed.BLOCK_WORDS]),
    seed=st.integers(0, 2**31),
)
def test_unpacking_is_the_inverse(rows: int, runs: int, bits: int, block: int, seed: int) -> None:
    codes = random_codes(rows, 32 * runs, bits, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "BLOCK_WORDS", block)
        words = pack_rows(codes, bits)
        assert list(words.shape) == [rows, runs * bits]
        assert torch.equal(unpack_rows(words, bits), codes)

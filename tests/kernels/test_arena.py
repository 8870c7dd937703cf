"""Packed weights lie apart, aligned, and free their memory."""

from __future__ import annotations

import gc
import weakref

import pytest

from tinychat.kernels import arena
from tinychat.kernels.arena import ALIGNMENT, Arena


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Arena:
    monkeypatch.setattr(arena, "BLOCK_BYTES", 1000)
    return Arena()


def test_tensors_are_aligned_and_do_not_overlap(small_blocks: Arena) -> None:
    sizes = [1, 64, 65, 200, 499, 500, 501, 1000, 5000, 7, 300]
    tensors = [small_blocks.take(size) for size in sizes]
    for number, (tensor, size) in enumerate(zip(tensors, sizes, strict=True)):
        assert tensor.numel() == size
        assert tensor.is_contiguous()
        assert tensor.data_ptr() % ALIGNMENT == 0
        tensor.fill_(number)
    for number, tensor in enumerate(tensors):
        assert bool((tensor == number).all())


def test_small_ones_share_a_block(small_blocks: Arena) -> None:
    first, second = small_blocks.take(100), small_blocks.take(100)
    assert second.data_ptr() - first.data_ptr() == 128


def test_a_block_is_freed_with_its_last_tensor(small_blocks: Arena) -> None:
    large = small_blocks.take(4000)
    storage = weakref.ref(large.untyped_storage())
    view = large[10:20]
    del large
    gc.collect()
    assert storage() is not None
    del view
    gc.collect()
    assert storage() is None

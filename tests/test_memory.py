"""The context that fits, and the refusal with both numbers."""

from __future__ import annotations

import errno
import mmap
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny_models import TINY
from tinychat import memory
from tinychat.config import ModelConfig, parse_config
from tinychat.errors import ArgumentError, NotEnoughMemoryError
from tinychat.kernels import tc16

CONFIG = parse_config({**TINY["llama"], "max_position_embeddings": 4096})
KV_BYTES = 1 << 20  # a megabyte a token


def choose(asked: int | None, free_mb: int, monkeypatch: pytest.MonkeyPatch) -> int:
    free = (free_mb << 20) + memory.RESERVED_BYTES
    monkeypatch.setattr(memory, "available_bytes", lambda: free)
    return memory.choose_context(CONFIG, asked, KV_BYTES, weight_bytes=100 << 20)


def test_takes_the_models_own_length_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(None, 5000, monkeypatch) == 4096
    assert choose(1000, 5000, monkeypatch) == 1000


def test_takes_less_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(None, 1100, monkeypatch) == 1000


def test_refuses_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotEnoughMemoryError, match=r"1356 MB .* 1256 MB are free") as caught:
        choose(1000, 1000, monkeypatch)
    assert caught.value.exit_code == 4
    with pytest.raises(NotEnoughMemoryError):
        choose(None, 150, monkeypatch)


@pytest.mark.parametrize("asked", [0, -1, 4097])
def test_impossible_lengths(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="max_context"):
        choose(asked, 5000, monkeypatch)


@pytest.mark.parametrize(
    ("lm_head", "bits"), [("int8", [8]), ("int4", [4]), ("int4+4", [4, 4]), ("fp16", [16])]
)
def test_both_parts_of_a_head_are_counted(lm_head: str, bits: list[int]) -> None:
    def head_of(config: ModelConfig, form: str) -> int:
        blocks = sum(memory.packed_bytes(n, k, 4) for n, k in config.block_matrices().values())
        return memory.weight_bytes(config, "int4", form) - config.num_layers * blocks

    small, large = (
        parse_config({**TINY["llama"], "hidden_size": 128, "vocab_size": size})
        for size in (8191, 8192)
    )
    assert head_of(large, lm_head) == sum(memory.packed_bytes(8192, 128, b) for b in bits)
    assert head_of(large, "auto") == head_of(large, "int4+4")
    assert head_of(small, "auto") == head_of(small, "int8")


@pytest.mark.parametrize("bits", (2, 3, 4, 8))
@pytest.mark.parametrize("shape", ((4096, 4096), (22016, 4096), (4096, 11008), (128256, 2048)))
def test_what_a_card_holds_of_a_matrix_is_known(shape: tuple[int, int], bits: int) -> None:
    for group in (32, 64, 128):
        expected = tc16.packed_bytes(bits, shape, group)
        assert memory.packed_bytes(*shape, bits, group, on_card=True) == expected
    whole_row = tc16.packed_bytes(bits, shape, shape[1])
    assert memory.packed_bytes(*shape, bits, -1, on_card=True) == whole_row


CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (MemoryError(), ""),
        (RuntimeError(CPU), " (the last request was for 4096 bytes)"),
        (RuntimeError("std::bad_alloc"), ""),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"),
            " (the last request was for 2.50 GiB)",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ""),
    ],
    ids=repr,
)
def test_memory_that_runs_out_is_one_plain_error(error: Exception, size: str) -> None:
    with pytest.raises(NotEnoughMemoryError) as caught:
        with memory.memory_errors("counting sheep", "fewer sheep take less"):
            raise error
    assert str(caught.value) == f"memory ran out while counting sheep{size}; fewer sheep take less"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes differ"), OSError(errno.EIO, "I/O error"), ValueError()],
    ids=repr,
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, memory.memory_errors("x", "y"):
        raise error
    assert caught.value is error


def test_torch_s_own_error_is_known() -> None:
    with pytest.raises(NotEnoughMemoryError, match=f"for {1 << 60} bytes"):
        with memory.memory_errors("x", "y"):
            torch.empty(1 << 60, dtype=torch.uint8)


def test_this_machine_has_memory() -> None:
    free = memory.available_bytes()
    assert free is None or free > 0


def test_the_peak_is_this_program_s_own() -> None:
    """Asked in a child, whose parent held more than it ever does; torch is not needed for it."""
    held = b"x" * (200 << 20)
    code = "import sys; from tinychat.memory import peak_bytes; a = b'x' * (40 << 20)\n"
    code += "print(peak_bytes(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, torch = done.stdout.split()
    assert 40 << 20 < int(peak) and torch == "False"
    assert memory.peak_bytes() > len(held)
    if sys.platform == "linux":
        assert int(peak) < len(held)


SMAPS = """\
7f0000000000-7f0000800000 r--s 00000000 08:01 1    /models/a
Size:               8192 kB
Rss:                8192 kB
FilePmdMapped:      6144 kB
7f0000800000-7f0001000000 r--s 00000000 08:01 1    /models/b
Size:               8192 kB
Rss:                8192 kB
FilePmdMapped:      2048 kB
"""


def test_a_mapping_is_in_large_pages_where_most_of_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", lambda path: "x\n" + SMAPS)
        assert memory.in_large_pages(0x7F0000000000, 8 << 20)
        assert not memory.in_large_pages(0x7F0000000000, 12 << 20)
        assert not memory.in_large_pages(0x7F0000800000, 8 << 20)
        assert not memory.in_large_pages(0x7F0000400000, 8 << 20), "nobody's beginning"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refused)
        assert not memory.in_large_pages(0x7F0000000000, 8 << 20)
    with mmap.mmap(-1, 4 << 20) as ours:
        ours[:] = bytes(len(ours))
        address = torch.frombuffer(ours, dtype=torch.uint8).data_ptr()
        assert not memory.in_large_pages(address, len(ours)), "of no file"


def refused(path: Path) -> str:
    raise FileNotFoundError(path)

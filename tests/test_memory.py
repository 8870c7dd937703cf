"""The context that fits, and the refusal with both numbers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.tiny_models import TINY
from tinychat import memory
from tinychat.config import parse_config
from tinychat.errors import ArgumentError, NotEnoughMemoryError

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

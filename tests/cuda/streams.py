"""The emulated CUDA ops, and what tests hand to them. Tests that import this are skipped where the
ops are not built.
"""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from tests.cuda.emulated import SHUFFLED, Schedule
from tinychat.kernels import PackedWeight, tc16

emulated = pytest.importorskip(
    "tinychat.kernels._cuda_emulated",
    reason="the emulated CUDA kernels are not built; TINYCHAT_EMULATION=1 builds them",
    exc_type=ImportError,
)


def open_stream(schedule: Schedule = SHUFFLED) -> Any:
    return schedule.open(emulated)


def address(x: Tensor | None) -> int:
    """Of its memory, or null."""
    return 0 if x is None else x.data_ptr()


def layout_of(packed: PackedWeight) -> Any:
    """The layout of a packed weight, as kernels take it."""
    rows, cols = packed.shape
    group = tc16.packed_group(packed.group_size, cols)
    return emulated.Tc16(tc16.stored_bits(packed.bits), rows, cols, group)

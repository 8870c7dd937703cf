"""Every instruction set by name, and the ops of one of them or a skip with the reason."""

from __future__ import annotations

import pytest

from tinychat.errors import ArgumentError
from tinychat.kernels.cpu import CpuOps

# The last is the kernel of "amx" over tiles in memory.
ISAS = ("scalar", "avx2", "avx_vnni", "avx512_vnni", "amx", "emulated_amx")


def ops_of(isa: str | None, threads: int | None = None) -> CpuOps:
    """The caller closes them. Skips the test where this CPU lacks the instructions."""
    try:
        return CpuOps(isa, threads)
    except ArgumentError as error:
        pytest.skip(str(error))

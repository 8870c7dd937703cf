"""Files as memory: read whole or not at all, summed, and mapped so that their loss is an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import REPOSITORY
from tinychat.errors import CheckpointError
from tinychat.kernels.cpu import CpuOps

PART = 256 << 10  # what the kernel reads and sums at once


@pytest.fixture
def cpu() -> Iterator[CpuOps]:
    ops = CpuOps(threads=2)
    yield ops
    ops.close()


def random_bytes(count: int) -> Tensor:
    return torch.randint(0, 256, (count,), dtype=torch.uint8)


def write(path: Path, data: Tensor) -> int:
    """A descriptor of a file with these bytes."""
    path.write_bytes(bytes(data.tolist()))
    return os.open(path, os.O_RDONLY)


@pytest.mark.parametrize("count", [1, 63, 64, 65, PART, 3 * PART + 17])
def test_what_is_read_has_the_sum_of_what_was_written(
    cpu: CpuOps, tmp_path: Path, count: int
) -> None:
    data = random_bytes(count)
    file = write(tmp_path / "file", torch.cat([random_bytes(5), data, random_bytes(5)]))
    found = torch.zeros_like(data)
    assert cpu.read_file(file, 5, found) == cpu.checksum(data)
    assert torch.equal(found, data)
    single = CpuOps(threads=1)
    assert single.checksum(data) == cpu.checksum(data)
    single.close()
    os.close(file)


def test_a_file_that_ends_too_early_is_not_read(cpu: CpuOps, tmp_path: Path) -> None:
    file = write(tmp_path / "file", random_bytes(PART + 100))
    data = torch.zeros(PART + 101, dtype=torch.uint8)
    assert cpu.read_file(file, 0, data) is None
    assert cpu.read_file(file, 1, data[:-1]) is None
    assert cpu.read_file(file, 0, data[:-1]) == cpu.checksum(data[:-1])
    os.close(file)
    assert cpu.read_file(file, 0, data[:-1]) is None


def test_a_sum_sees_every_bit_and_every_place(cpu: CpuOps) -> None:
    data = random_bytes(PART + 1000)
    sums = {cpu.checksum(data)}
    places = [0, 7, 8, 63, 64, 1000, PART - 1, PART, PART + 999]
    for place in places:
        for bit in range(8):
            data[place] ^= 1 << bit
            sums.add(cpu.checksum(data))
            data[place] ^= 1 << bit
    assert len(sums) == 1 + 8 * len(places)
    pieces = [data.roll(64), data.roll(8), torch.cat([data[PART:], data[:PART]]), data[:-1]]
    pieces += [torch.cat([data, torch.zeros(1, dtype=torch.uint8)])]
    assert len(sums | {cpu.checksum(piece) for piece in pieces}) == len(sums) + len(pieces)


def test_a_mapped_file_is_its_bytes(cpu: CpuOps, tmp_path: Path) -> None:
    data = random_bytes(100_000)
    file = write(tmp_path / "file", data)
    mapped = cpu.map_file(file, len(data))
    os.close(file)
    (tmp_path / "file").unlink()
    assert torch.equal(mapped, data)
    assert cpu.checksum(mapped) == cpu.checksum(data)
    with pytest.raises(RuntimeError, match="cannot be mapped"):
        cpu.map_file(file, len(data))


@pytest.mark.skipif(os.name != "posix", reason="needs SIGBUS")
def test_a_mapped_file_cut_short_is_an_error_and_not_a_signal(cpu: CpuOps, tmp_path: Path) -> None:
    """Case 22; other ops, and a mapping of the same ops that is made later, are as before."""
    data = random_bytes(100_000)
    file = write(tmp_path / "file", data)
    mapped = cpu.map_file(file, len(data))
    expected = cpu.checksum(mapped)
    os.truncate(tmp_path / "file", 5000)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"cut short .* load the model again"):
            cpu.checksum(mapped)
    x = torch.ones(2, 3)
    with pytest.raises(CheckpointError, match="cut short"):
        cpu.activation(x, "relu")
    with cpu.record() as plan:
        cpu.activation(x, "relu")
    with pytest.raises(CheckpointError, match="cut short"):
        plan.run()

    others = CpuOps(threads=1)
    assert torch.equal(others.activation(x, "relu"), x)
    others.close()
    del mapped
    assert torch.equal(cpu.activation(x, "relu"), x)
    os.close(file)
    file = write(tmp_path / "file", data)
    assert cpu.checksum(cpu.map_file(file, len(data))) == expected
    os.close(file)


FOREIGN = """
    import mmap, os, sys
    from tinychat.kernels.cpu import CpuOps

    path = sys.argv[1]
    file = os.open(path, os.O_RDONLY)
    ops = CpuOps(threads=1)
    ours = ops.map_file(file, 100_000)
    theirs = mmap.mmap(file, 100_000, access=mmap.ACCESS_READ)
    os.truncate(path, 0)
    try:
        ops.checksum(ours)
    except Exception as error:
        print(type(error).__name__, flush=True)
    theirs[50_000]
    print("alive")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGBUS")
@pytest.mark.parametrize("flags", [[], ["-X", "faulthandler"]], ids=["plain", "faulthandler"])
def test_somebody_else_s_signal_is_left_to_him(tmp_path: Path, flags: list[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(FOREIGN), str(path)],
        cwd=REPOSITORY,
        # Sanitizers have a handler of their own, which reports and exits.
        env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "CheckpointError\n" and done.returncode == -signal.SIGBUS
    assert ("Bus error" in done.stderr) == bool(flags)

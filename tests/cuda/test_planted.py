"""Four mistakes that kernels are known for: each is found, and right kernels pass everywhere."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import ORDERS, SCHEDULES, Library, Schedule, build

BARRIER, PIPELINE, DIVERGENCE, OVERRUN = range(4)
TILES, THREADS = 5, 128


def expected(which: int, data: Tensor) -> Tensor:
    if which == PIPELINE:
        return data.view(TILES, -1).sum(0)
    row = data.flatten()[:THREADS]
    if which == BARRIER:
        return row.flip(0)
    if which == DIVERGENCE:
        lanes = torch.arange(THREADS)
        return torch.where(lanes % 32 < 16, 2 * row[lanes ^ 1], row)
    return row


def run(library: Library, which: int, bug: bool, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """What the kernel writes, and what it should."""
    data = torch.randint(0, 100, (TILES, THREADS, 4)).float()  # whose sums are exact
    right = expected(which, data)
    out = torch.full((right.numel(),), float("nan"))
    library.run("planted", schedule, which, bug, data, out, TILES)
    return out, right


@pytest.mark.parametrize("which", (BARRIER, PIPELINE, DIVERGENCE, OVERRUN))
def test_the_right_kernel_passes_every_schedule(library: Library, which: int) -> None:
    for schedule in SCHEDULES:
        out, right = run(library, which, False, schedule)
        assert torch.equal(out, right), schedule


@pytest.mark.parametrize("order", ORDERS)
def test_a_missing_barrier_is_found(library: Library, order: str) -> None:
    out, right = run(library, BARRIER, True, Schedule(order=order))
    assert out.isnan().any()
    assert not torch.equal(out, right)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("arch", (800, 900))
def test_a_wait_that_is_off_by_one_is_found_by_late_copies_alone(
    library: Library, arch: int, order: str
) -> None:
    schedule = Schedule(arch=arch, order=order)
    out, right = run(library, PIPELINE, True, schedule)
    assert out.isnan().any()
    assert not torch.equal(out, right)
    out, right = run(library, PIPELINE, True, replace(schedule, late_copies=False))
    assert torch.equal(out, right)


@pytest.mark.parametrize("order", ORDERS)
def test_a_shuffle_that_lanes_miss_is_reported(library: Library, order: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        run(library, DIVERGENCE, True, Schedule(order=order))
    message = str(caught.value)
    assert message.startswith("kernel divergence: no thread can go on; block (0, 0, 0): ")
    assert "threads 0 to 15 wait in __shfl_xor_sync at " in message
    assert "planted.cu:" in message
    assert "threads 16 to 31 have ended" in message


# --- with AddressSanitizer, whose runtime Python lacks: as a program


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("sanitized") / "planted"
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
    done = build(program, ("planted.cu", "planted_main.cpp"), *flags)
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        pytest.skip(f"the compiler builds nothing with AddressSanitizer: {last}")
    return program


def run_program(program: Path, *words: int) -> subprocess.CompletedProcess[str]:
    # What a caller preloads for its own extension is not for this program.
    environment = {"ASAN_OPTIONS": "detect_stack_use_after_return=1"}
    command = [str(program), *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def passes_right_kernels(program: Path) -> None:
    data = (torch.arange(TILES * THREADS * 4) % 97).float().view(TILES, THREADS, 4)
    for which in (BARRIER, PIPELINE, DIVERGENCE, OVERRUN):
        for order in range(len(ORDERS)):
            for late in (0, 1):
                done = run_program(program, which, 0, order, late)
                assert done.returncode == 0, done.stdout + done.stderr
                right = expected(which, data)
                out = torch.tensor([float(line) for line in done.stdout.split()])
                assert torch.equal(out[: right.numel()], right)


def reports_a_deadlock(program: Path) -> None:
    done = run_program(program, DIVERGENCE, 1, 0, 1)
    assert done.returncode == 1
    assert "no thread can go on" in done.stdout
    assert not done.stderr


def test_an_overrun_of_shared_memory_is_found(sanitized: Path) -> None:
    done = run_program(sanitized, OVERRUN, 1, 0, 1)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert "planted.cu:" in done.stderr


def test_fibers_get_along_with_sanitizers(sanitized: Path) -> None:
    passes_right_kernels(sanitized)
    reports_a_deadlock(sanitized)


def test_fibers_without_our_own_switch(tmp_path: Path) -> None:
    """What processors other than x86-64 and aarch64 take."""
    program = tmp_path / "planted"
    done = build(program, ("planted.cu", "planted_main.cpp"), "-DTINYCHAT_UCONTEXT")
    assert done.returncode == 0, done.stderr
    passes_right_kernels(program)
    reports_a_deadlock(program)

"""Launches on the emulated card: what is refused, who runs together, and who runs first."""

from __future__ import annotations

import pytest
import torch

from tests.cuda.emulated import ARCHITECTURES, ORDERS, Library, Schedule

KB = 1024


@pytest.mark.parametrize(
    ("arch", "most"), ((750, 64), (800, 163), (860, 99), (890, 99), (900, 227), (1200, 99))
)
def test_shared_memory_has_a_limit(library: Library, arch: int, most: int) -> None:
    out, schedule = torch.zeros(32), Schedule(arch=arch)
    library.run("shared", schedule, out, 32, 48 * KB, 0)
    with pytest.raises(RuntimeError, match=r"49156 bytes .* 49152 are allowed; call allow_shared"):
        library.run("shared", schedule, out, 32, 48 * KB + 4, 0)
    library.run("shared", schedule, out, 32, most * KB, most * KB)
    with pytest.raises(RuntimeError, match=f"sm_{arch // 10} has {most * KB}"):
        library.run("shared", schedule, out, 32, most * KB + 4, most * KB + 4)


@pytest.mark.parametrize("threads", (0, 1025))
def test_a_block_has_a_limit(library: Library, threads: int) -> None:
    with pytest.raises(RuntimeError, match=f"kernel shared: a block of {threads} x 1 x 1 threads"):
        library.run("shared", Schedule(), torch.zeros(1), threads, 0, 0)


def test_an_empty_grid_is_refused(library: Library) -> None:
    out = torch.zeros(1)
    with pytest.raises(RuntimeError, match="a grid of 0 x 1 x 1 blocks"):
        library.run("grid_barrier", Schedule(), out, out, 0, 32)


def test_an_unknown_architecture_is_refused(library: Library) -> None:
    with pytest.raises(RuntimeError, match="no emulated architecture 700"):
        library.run("shared", Schedule(arch=700), torch.zeros(32), 32, 128, 0)


@pytest.mark.parametrize("order", ORDERS)
def test_shared_memory_is_poisoned_in_every_launch(library: Library, order: str) -> None:
    out = torch.zeros(32)
    library.run("shared", Schedule(order=order), out, 32, 128, 0)
    assert out.isnan().all()


def test_a_kernel_that_outgrows_its_stack_is_reported(library: Library) -> None:
    out = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r"kernel deep, .*: the stack of an emulated thread"):
        library.run("deep", Schedule(), out)
    library.run("shared", Schedule(), torch.zeros(32), 32, 128, 0)  # what follows is not harmed


# --- blocks that wait for each other


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_can_wait_for_each_other(library: Library, order: str) -> None:
    blocks = 24
    counter, out = torch.zeros(1, dtype=torch.int32), torch.zeros(blocks, dtype=torch.int32)
    library.run("grid_barrier", Schedule(order=order, coresident=True), counter, out, blocks, 64)
    assert (out == blocks).all()


def test_waiting_for_a_block_that_does_not_run_is_reported(library: Library) -> None:
    counter, out = torch.zeros(1, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)
    with pytest.raises(RuntimeError, match=r"threads 0 to 0 wait in spin_pause at .*\.cu"):
        library.run("grid_barrier", Schedule(), counter, out, 2, 32)


# --- launches that may overtake those before


@pytest.mark.parametrize(("arch", "early"), ((900, True), (800, False)))
def test_reading_before_pdl_wait_sees_what_was_there(
    library: Library, arch: int, early: bool
) -> None:
    between, out = torch.full((32,), float("nan")), torch.zeros(32)
    with library.stream(Schedule(arch=arch, overlap=True)) as stream:
        stream.launch("produce", 3.0, between)
        stream.launch("consume", between, out, False)
        stream.synchronize()
    assert bool(out.isnan().all()) is early
    assert (between == 3).all()  # the earlier launch has run all the same


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_reading_after_pdl_wait_sees_what_was_written(
    library: Library, arch: int, order: str
) -> None:
    steps = 11  # more than wait for each other at a time
    buffers = torch.full((steps + 1, 32), float("nan"))
    with library.stream(Schedule(arch=arch, order=order, overlap=True)) as stream:
        stream.launch("produce", 7.0, buffers[0])
        for step in range(steps):
            stream.launch("consume", buffers[step], buffers[step + 1], True)
        stream.synchronize()
    assert (buffers == 7).all()


def test_a_mistake_in_an_overtaken_launch_is_reported(library: Library) -> None:
    words, between = torch.zeros(200, dtype=torch.int32), torch.zeros(32)
    with library.stream(Schedule(overlap=True)) as stream:
        stream.launch("load_stream", words[1:], words)
        stream.launch("consume", between, between, True)
        with pytest.raises(RuntimeError, match="load_stream16"):
            stream.synchronize()
        stream.synchronize()  # and only once

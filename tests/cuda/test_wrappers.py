"""Every wrapper of csrc/cuda/ptx.cuh, on the host, against the formula that its comment states."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import ARCHITECTURES, ORDERS, Library, Schedule

LANES = torch.arange(32)
GROUP, PAIR = LANES // 4, LANES % 4 * 2


def words(*shape: int) -> Tensor:
    """Random 32-bit words."""
    return torch.randint(-(2**31), 2**31, shape, dtype=torch.int64).int()


@pytest.fixture(params=ORDERS)
def schedule(request: pytest.FixtureRequest) -> Schedule:
    return Schedule(order=request.param)


def test_lop3_is_its_table(library: Library, schedule: Schedule) -> None:
    a, b, c = words(32), words(32), words(32)
    out = torch.zeros(32, 256, dtype=torch.int32)
    library.run("lop3_all", schedule, a, b, c, out)
    for table in range(256):
        expected = torch.zeros(32, dtype=torch.int32)
        for bit in range(32):
            row = (a >> bit & 1) * 4 + (b >> bit & 1) * 2 + (c >> bit & 1)
            expected |= ((table >> row) & 1).int() << bit
        assert torch.equal(out[:, table], expected), table


def test_lop3_of_and_or(library: Library) -> None:
    a, b, c = words(32), words(32), words(32)
    out = torch.zeros(32, 256, dtype=torch.int32)
    library.run("lop3_all", Schedule(), a, b, c, out)
    assert torch.equal(out[:, (0xF0 & 0xCC) | 0xAA], (a & b) | c)


@pytest.mark.parametrize("by", (1, 2, 16, 31))
def test_shuffles(library: Library, schedule: Schedule, by: int) -> None:
    values, sources = words(32), torch.randperm(32).int()
    out = torch.zeros(4, 32, dtype=torch.int32)
    library.run("shuffles", schedule, values, sources, by, out)
    assert torch.equal(out[0], values[sources.long()])
    assert torch.equal(out[1], values[LANES ^ by])
    assert torch.equal(out[2], values[torch.where(LANES + by < 32, LANES + by, LANES)])
    votes = int(((values & 1).long() << LANES).sum())
    assert all(int(vote) % 2**32 == votes for vote in out[3])


def test_ldmatrix(library: Library, schedule: Schedule) -> None:
    matrices = torch.randint(-(2**15), 2**15, (4, 8, 8)).short()
    out = torch.zeros(32, 4, dtype=torch.int32)
    library.run("ldmatrix", schedule, matrices, out)
    own = out.view(torch.int16).view(32, 4, 2)
    for m in range(4):
        for half in range(2):
            assert torch.equal(own[:, m, half], matrices[m, GROUP, PAIR + half])


def fragments(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The lanes' registers for [16, 16], [16, 8] and [16, 8], as ptx.cuh draws them."""
    rows, cols = (GROUP, GROUP + 8), (PAIR, PAIR + 1)
    own_a = [a[rows[r % 2], cols[half] + r // 2 * 8] for r in range(4) for half in range(2)]
    own_b = [b[cols[half] + r * 8, GROUP] for r in range(2) for half in range(2)]
    own_c = [c[rows[i // 2], cols[i % 2]] for i in range(4)]
    return (
        torch.stack(own_a, -1).contiguous(),
        torch.stack(own_b, -1).contiguous(),
        torch.stack(own_c, -1).contiguous(),
    )


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_mma(library: Library, schedule: Schedule, arch: int) -> None:
    a, b, c = torch.randn(16, 16).half(), torch.randn(16, 8).half(), torch.randn(16, 8)
    own_a, own_b, sums = fragments(a, b, c)
    expected = a.double() @ b.double() + c.double()
    library.run("mma", Schedule(arch=arch, order=schedule.order), own_a, own_b, sums)
    # One rounding to float32, two on sm_75, of sums of some 16 numbers of size 1.
    assert (sums - fragments(a, b, expected)[2]).abs().max() < 1e-6


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("late", (False, True))
def test_cp_async_copies_or_writes_zeros(library: Library, arch: int, late: bool) -> None:
    data, keep = words(32, 4), torch.randint(0, 2, (32,)).int()
    out = torch.full((32, 4), -1, dtype=torch.int32)
    library.run("cp_async", Schedule(arch=arch, late_copies=late), data, keep, out)
    assert torch.equal(out, data * keep[:, None])


def test_load_stream16(library: Library, schedule: Schedule) -> None:
    data, out = words(32, 4), torch.zeros(32, 4, dtype=torch.int32)
    library.run("load_stream", schedule, data, out)
    assert torch.equal(out, data)


def test_a_misaligned_load_is_reported(library: Library) -> None:
    data, out = words(33 * 4), torch.zeros(32, 4, dtype=torch.int32)
    with pytest.raises(RuntimeError, match="load_stream16: an address is not a multiple of 16"):
        library.run("load_stream", Schedule(), data[1:], out)


@pytest.mark.parametrize("coresident", (False, True))
def test_the_last_block_combines(library: Library, schedule: Schedule, coresident: bool) -> None:
    blocks = 37
    values, partial = torch.randn(blocks, 128), torch.full((blocks,), float("nan"))
    counter, out = torch.zeros(1, dtype=torch.int32), torch.zeros(1)
    chosen = Schedule(order=schedule.order, coresident=coresident)
    for _ in range(2):  # the counter is ready for the next launch
        library.run("last_block", chosen, values, partial, counter, out, blocks)
        assert abs(float(out) - float(values.double().sum())) < 1e-3
        assert int(counter) == 0


def test_fence_system(library: Library) -> None:
    """Both are written; the order shows only on a card that the host watches."""
    data, flag = torch.zeros(1, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    library.run("fence", Schedule(), data, flag)
    assert (int(data), int(flag)) == (1, 1)


def test_bits_and_wide_additions(library: Library, schedule: Schedule) -> None:
    counter, values, out = torch.ones(1, dtype=torch.int64), torch.randn(32), torch.zeros(32)
    library.run("bits", schedule, counter, values, out)
    assert int(counter) == 1 + 32 * (2**32 - 1)
    assert torch.equal(out, -values)

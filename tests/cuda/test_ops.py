"""The CUDA ops, compiled as host C++, against the reference, under every schedule.

These run in the sanitized build too (scripts/test_sanitized.sh).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import SCHEDULES, Schedule
from tests.kernels.compare import misaligned, relative_error
from tinychat.errors import KernelError
from tinychat.kernels.reference import ReferenceOps

emulated = pytest.importorskip(
    "tinychat.kernels._cuda_emulated",
    reason="the emulated CUDA kernels are not built; TINYCHAT_EMULATION=1 builds them",
    exc_type=ImportError,
)
REFERENCE = ReferenceOps()
# The result is rounded to float16: at most half of 2^-10 of each element.
HALF_ROUNDING = 2**-11
# 1023 to 1025: one short of a full round of 256 threads by four, full, and one more.
WIDTHS = (1, 7, 64, 172, 1023, 1024, 1028, 2304)


def open_stream(schedule: Schedule):
    return emulated.Stream(
        arch=schedule.arch,
        order=getattr(emulated.Order, schedule.order),
        seed=schedule.seed,
        late_copies=schedule.late_copies,
        coresident=schedule.coresident,
        overlap=schedule.overlap,
    )


@pytest.fixture
def stream() -> Iterator[object]:
    yield open_stream(Schedule(order="shuffled"))


def rms_norm(stream, x: Tensor, branch: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    """x [T, C] is changed where there is a branch."""
    out = torch.full(x.shape, torch.nan, dtype=torch.float16)
    address = 0 if branch is None else branch.data_ptr()
    stream.queue().rms_norm(x.data_ptr(), address, weight.data_ptr(), out.data_ptr(), *x.shape, eps)
    stream.synchronize()
    return out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("tokens", (0, 1, 5))
@pytest.mark.parametrize("branched", (False, True))
def test_rms_norm(stream, tokens: int, width: int, branched: bool) -> None:
    x, weight = torch.randn(tokens, width), torch.randn(width)
    branch = torch.randn(tokens, width).half() if branched else None
    residual = x.clone()
    expected = REFERENCE.rms_norm(
        torch.zeros_like(x) if branch is None else branch.float(), weight, 1e-5, residual
    )
    actual = rms_norm(stream, x, branch, weight, 1e-5)
    assert torch.equal(x, residual)
    assert relative_error(actual, expected) < HALF_ROUNDING


def test_rms_norm_of_misaligned_rows(stream) -> None:
    x, weight = misaligned(torch.randn(3, 64)), torch.randn(64)
    actual = rms_norm(stream, x, None, weight, 1e-5)
    assert relative_error(actual, REFERENCE.rms_norm(x, weight, 1e-5)) < HALF_ROUNDING


def test_rms_norm_keeps_large_activations(stream) -> None:
    """The stream is float32: what would be infinite in float16 is normalized like all else."""
    x, weight = torch.randn(2, 256) * 1e6, torch.ones(256)
    actual = rms_norm(stream, x, None, weight, 1e-5)
    assert relative_error(actual, REFERENCE.rms_norm(x, weight, 1e-5)) < HALF_ROUNDING


def test_rms_norm_is_the_same_under_every_schedule() -> None:
    x, branch, weight = torch.randn(5, 172), torch.randn(5, 172).half(), torch.randn(172)
    results = [rms_norm(open_stream(s), x.clone(), branch, weight, 1e-5) for s in SCHEDULES]
    assert all(torch.equal(result, results[0]) for result in results)


def embedding(stream, ids: Tensor, table: Tensor) -> Tensor:
    out = torch.full((len(ids), table.shape[1]), -1.0)
    dtype = getattr(emulated.DType, str(table.dtype).removeprefix("torch."))
    vocabulary, width = table.shape
    stream.queue().embedding(
        *(ids.data_ptr(), table.data_ptr(), dtype, out.data_ptr(), len(ids), width, vocabulary)
    )
    stream.synchronize()
    return out


@pytest.mark.parametrize("dtype", (torch.float32, torch.float16, torch.bfloat16))
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("tokens", (0, 1, 5))
def test_embedding(stream, tokens: int, width: int, dtype: torch.dtype) -> None:
    table, ids = torch.randn(11, width).to(dtype), torch.randint(11, (tokens,)).int()
    assert torch.equal(embedding(stream, ids, table), REFERENCE.embedding(ids, table))


def test_embedding_of_ids_outside_the_table(stream) -> None:
    table, ids = torch.randn(4, 64), torch.tensor([3, 4, -1, 0]).int()
    out = embedding(stream, ids, table)
    assert torch.equal(out[[0, 3]], table[[3, 0]])
    assert out[1:3].isnan().all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_launches_follow_each_other(schedule: Schedule) -> None:
    """embedding, then rms_norm of what it wrote, without waiting in between."""
    table, ids, weight = torch.randn(7, 172), torch.tensor([6, 0, 6]).int(), torch.randn(172)
    x, out = torch.full((3, 172), torch.nan), torch.full((3, 172), torch.nan).half()
    stream = open_stream(schedule)
    queue = stream.queue()
    queue.embedding(
        *(ids.data_ptr(), table.data_ptr(), emulated.DType.float32, x.data_ptr(), 3, 172, 7)
    )
    queue.rms_norm(x.data_ptr(), 0, weight.data_ptr(), out.data_ptr(), 3, 172, 1e-5)
    stream.synchronize()
    expected = REFERENCE.rms_norm(table[ids.long()], weight, 1e-5)
    assert relative_error(out, expected) < HALF_ROUNDING


def test_a_refused_launch_is_a_kernel_error() -> None:
    stream = emulated.Stream(arch=700)
    table, ids = torch.zeros(1, 4), torch.zeros(1).int()
    with pytest.raises(KernelError, match="kernel embedding: there is no emulated architecture"):
        embedding(stream, ids, table)

"""The CUDA ops, compiled as host C++, against the reference, under every schedule.

These run in the sanitized build too (scripts/test_sanitized.sh).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import SCHEDULES, Schedule
from tests.cuda.streams import address, emulated, open_stream
from tests.kernels.compare import misaligned, norms, relative_error
from tests.kernels.test_activation import KINDS, assert_close, formula
from tinychat.errors import KernelError
from tinychat.kernels import Norm
from tinychat.kernels.reference import ReferenceOps

REFERENCE = ReferenceOps()
# Sums of some hundred float32 terms, a root and three products: a few roundings of 6e-8 each.
SUM_ROUNDING = 1e-6
# 1023 to 1025: one short of a full round of 256 threads by four, full, and one more.
WIDTHS = (1, 7, 64, 172, 1023, 1024, 1028, 2304)


@pytest.fixture
def stream() -> Iterator[object]:
    yield open_stream()


def norm(stream, x: Tensor, how: Norm) -> Tensor:
    out = torch.full(x.shape, torch.nan)
    kind = getattr(emulated.NormKind, how.kind)
    weights = (how.weight.data_ptr(), address(how.bias))
    stream.queue().norm(x.data_ptr(), kind, *weights, how.eps, out.data_ptr(), *x.shape)
    stream.synchronize()
    return out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("tokens", (0, 1, 5))
def test_norm(stream, tokens: int, width: int) -> None:
    x = torch.randn(tokens, width)
    for how in norms(width):
        expected = REFERENCE.norm(x, how)
        # A layer norm of one element is 0 / sqrt(eps), whatever it is.
        assert torch.equal(norm(stream, x, how).isnan(), expected.isnan())
        assert relative_error(norm(stream, x, how), expected) < SUM_ROUNDING


def test_norm_of_misaligned_rows(stream) -> None:
    x, how = misaligned(torch.randn(3, 64)), norms(64)[2]
    assert relative_error(norm(stream, x, how), REFERENCE.norm(x, how)) < SUM_ROUNDING
    assert how.bias is not None
    shifted = Norm("layer", misaligned(how.weight), 1e-5, misaligned(how.bias))
    assert relative_error(norm(stream, x, shifted), REFERENCE.norm(x, how)) < SUM_ROUNDING


def test_norm_keeps_large_activations(stream) -> None:
    """The stream is float32: what would be infinite in float16 is normalized like all else."""
    x, how = torch.randn(2, 256) * 1e6, norms(256)[0]
    assert relative_error(norm(stream, x, how), REFERENCE.norm(x, how)) < SUM_ROUNDING


def test_layer_norm_of_a_far_mean_keeps_its_digits(stream) -> None:
    x, how = 1000 + torch.randn(3, 172), Norm("layer", torch.ones(172), 1e-5)
    expected = torch.nn.functional.layer_norm(x.double(), (172,), eps=1e-5)
    # Near 1000 a float32 has steps of 6e-5, which is also the error of the mean.
    assert relative_error(norm(stream, x, how), expected) < 2e-4


def test_norm_is_the_same_under_every_schedule() -> None:
    x = torch.randn(5, 172)
    for how in norms(172):
        results = [norm(open_stream(schedule), x, how) for schedule in SCHEDULES]
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


def activation(stream, x: Tensor, kind: str, scale: Tensor | None = None) -> Tensor:
    out = torch.full(x.shape, torch.nan)
    which = getattr(emulated.Activation, kind)
    stream.queue().activation(x.data_ptr(), address(scale), out.data_ptr(), *x.shape, which)
    stream.synchronize()
    return out


def gated_activation(stream, x: Tensor, kind: str) -> Tensor:
    out = torch.full((len(x), x.shape[1] // 2), torch.nan)
    which = getattr(emulated.Activation, kind)
    stream.queue().gated_activation(x.data_ptr(), out.data_ptr(), *out.shape, which)
    stream.synchronize()
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", (0, 1, 5))
def test_activation(stream, tokens: int, kind: str) -> None:
    for width in (0, *WIDTHS):
        x = 3 * torch.randn(tokens, 2 * width)
        before = x.clone()
        gate, up = x.chunk(2, dim=1)
        gate, scale = gate.contiguous(), 10 * torch.rand(width)
        assert_close(activation(stream, gate, kind), formula(gate, kind))
        scaled = activation(stream, gate, kind, scale)
        assert_close(scaled, formula(gate, kind) * scale, largest_factor=10)
        gated = gated_activation(stream, x, kind)
        assert_close(gated, formula(gate, kind) * up, largest_factor=10)
        assert torch.equal(x, before)


@pytest.mark.parametrize("kind", KINDS)
def test_activation_over_the_whole_range(stream, kind: str) -> None:
    ends = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 104.0, -104.0, 1e6, -1e6])
    x = torch.cat([torch.linspace(-30, 30, 2001), ends, torch.tensor([torch.nan])])[None]
    out = activation(stream, x, kind)
    assert_close(out[:, :-1], formula(x[:, :-1], kind))
    assert out[0, -1].isnan()


@pytest.mark.parametrize("kind", KINDS)
def test_activation_of_misaligned_rows(stream, kind: str) -> None:
    x, scale = torch.randn(3, 64), torch.rand(64)
    expected = activation(stream, x, kind, scale)
    assert torch.equal(activation(stream, misaligned(x), kind, misaligned(scale)), expected)
    assert torch.equal(activation(stream, x, kind, misaligned(scale)), expected)
    expected = gated_activation(stream, x, kind)
    assert torch.equal(gated_activation(stream, misaligned(x), kind), expected)


def test_activation_is_the_same_under_every_schedule() -> None:
    x, scale = torch.randn(5, 172), torch.rand(172)
    for run in (
        lambda stream: activation(stream, x, "silu", scale),
        lambda stream: gated_activation(stream, x, "gelu"),
    ):
        results = [run(open_stream(schedule)) for schedule in SCHEDULES]
        assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_launches_follow_each_other(schedule: Schedule) -> None:
    """embedding, then norm of what it wrote, without waiting in between."""
    table, ids, how = torch.randn(7, 172), torch.tensor([6, 0, 6]).int(), norms(172)[0]
    x, out = torch.full((3, 172), torch.nan), torch.full((3, 172), torch.nan)
    stream = open_stream(schedule)
    queue = stream.queue()
    queue.embedding(
        *(ids.data_ptr(), table.data_ptr(), emulated.DType.float32, x.data_ptr(), 3, 172, 7)
    )
    rms = emulated.NormKind.rms
    queue.norm(x.data_ptr(), rms, how.weight.data_ptr(), 0, how.eps, out.data_ptr(), 3, 172)
    stream.synchronize()
    assert relative_error(out, REFERENCE.norm(table[ids.long()], how)) < SUM_ROUNDING


def test_a_refused_launch_is_a_kernel_error() -> None:
    stream = emulated.Stream(arch=700)
    table, ids = torch.zeros(1, 4), torch.zeros(1).int()
    with pytest.raises(KernelError, match="kernel embedding: there is no emulated architecture"):
        embedding(stream, ids, table)

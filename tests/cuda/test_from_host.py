"""What brings the tests of the ops to a real card, over the emulated one, where it copies too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.cuda.device import emulated_ops
from tests.kernels.on_card import FromHost
from tinychat.errors import KernelError
from tinychat.kernels import AttentionShape
from tinychat.quantize.grid import Grid


@pytest.fixture
def ops() -> Iterator[FromHost]:
    made = FromHost(emulated_ops())
    yield made
    made.close()


def test_what_is_refused_on_the_host_is_refused_on_the_card(ops: FromHost) -> None:
    with pytest.raises(KernelError, match="x of activation is not contiguous"):
        ops.activation(torch.ones(4, 8)[:, ::2], "relu")
    square = torch.ones(32, 32)
    packed = ops.pack(ops.round_to_nearest(square, Grid(4, 32)))
    with pytest.raises(KernelError, match="residual of matmul is x"):
        ops.matmul(square, packed, residual=square)
    cache = torch.zeros(1, 4, 8, dtype=torch.float16)
    start = torch.tensor([4], dtype=torch.int32)
    with pytest.raises(KernelError, match="start of attention is 4"):
        ops.attention(torch.ones(1, 24), cache, cache.clone(), start, AttentionShape(1, 1, 8, 1.0))


def test_a_recording_reads_and_writes_tensors_of_the_host(ops: FromHost) -> None:
    x, residual = torch.ones(1, 32), torch.zeros(1, 32)
    packed = ops.pack(ops.round_to_nearest(torch.eye(32), Grid(8, 32)))
    with ops.record() as plan:
        product = ops.matmul(x, packed)
        summed = ops.matmul(product, packed, residual=residual)
    assert summed is residual
    assert not residual.any()
    for factor, total in ((1, 1), (-2, -1)):
        x.fill_(factor)
        plan.run()
        assert torch.allclose(product, x, atol=1e-2)
        assert torch.allclose(residual, torch.full((1, 32), float(total)), atol=5e-2)

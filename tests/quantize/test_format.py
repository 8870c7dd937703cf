"""The canonical weight: what its integers stand for, and what may be stacked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tinychat.errors import ArgumentError
from tinychat.quantize.format import LowBitWeight, alike, concatenate, dequantize


def random_weight(n: int, k: int, group: int, bits: int = 4, seed: int = 0) -> LowBitWeight:
    generator = torch.Generator().manual_seed(seed)
    groups = -(-k // group)
    integers = [
        torch.randint(0, 2**bits, shape, dtype=torch.uint8, generator=generator)
        for shape in ((n, k), (n, groups))
    ]
    scales = (torch.rand(n, groups, generator=generator) + 0.5).half()
    return LowBitWeight(integers[0], scales, integers[1], bits, group)


def reordered(weight: LowBitWeight, seed: int) -> LowBitWeight:
    """The same codes, whose columns belong to the inputs in another order."""
    generator = torch.Generator().manual_seed(seed)
    return replace(weight, order=torch.randperm(weight.codes.shape[1], generator=generator).int())


def test_dequantize_is_the_definition_also_for_a_ragged_last_group() -> None:
    weight = random_weight(3, 10, 4, bits=3)
    codes, scales, zeros = (t.tolist() for t in (weight.codes, weight.scales, weight.zeros))
    expected = [
        [(codes[n][k] - zeros[n][k // 4]) * scales[n][k // 4] for k in range(10)] for n in range(3)
    ]
    got = dequantize(weight)
    assert got.dtype == torch.float32
    assert got.tolist() == torch.tensor(expected).tolist()


def test_dequantize_brings_the_columns_back_to_their_inputs() -> None:
    weight = random_weight(5, 96, 32)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(1)).int()
    natural = dequantize(replace(weight, order=order))
    assert torch.equal(natural[:, order.long()], dequantize(weight))


def test_concatenate_keeps_an_order_that_all_share() -> None:
    order = torch.arange(63, -1, -1, dtype=torch.int32)
    parts = [replace(random_weight(n, 64, 32), order=order.clone()) for n in (8, 16)]
    whole = concatenate(parts)
    assert whole.order is not None and torch.equal(whole.order, order)
    assert torch.equal(dequantize(whole), torch.cat([dequantize(part) for part in parts]))
    for other in (None, order.flip(0)):
        for pair in (
            [parts[0], replace(parts[1], order=other)],
            [replace(parts[0], order=other), parts[1]],
        ):
            with pytest.raises(ArgumentError, match="different orders; leave them apart"):
                concatenate(pair)


def test_concatenate_stacks_rows() -> None:
    parts = [random_weight(n, 64, 32, seed=n) for n in (16, 8, 8)]
    whole = concatenate(parts)
    assert torch.equal(dequantize(whole), torch.cat([dequantize(p) for p in parts]))
    assert concatenate(parts[:1]) is parts[0]


@pytest.mark.parametrize(
    "other",
    [
        random_weight(8, 64, 64),
        random_weight(8, 128, 32),
        random_weight(8, 64, 32, bits=8),
    ],
    ids=["group", "width", "bits"],
)
def test_concatenate_refuses_what_differs(other: LowBitWeight) -> None:
    assert alike([other, other]) and not alike([other, random_weight(8, 64, 32)])
    with pytest.raises(ArgumentError, match="differ in"):
        concatenate([random_weight(8, 64, 32), other])
    with pytest.raises(ArgumentError, match="empty"):
        concatenate([])


def test_two_orders_are_not_alike() -> None:
    weight = random_weight(8, 64, 32)
    assert not alike([reordered(weight, seed=1), reordered(weight, seed=2)])
    assert not alike([weight, reordered(weight, seed=1)])

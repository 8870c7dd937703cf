"""The AWQ layout against the published formula, and every refusal before a kernel could run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError
from tinychat.quantize.format import (
    LowBitWeight,
    concatenate,
    dequantize,
    from_awq_gemm,
    to_awq_gemm,
)

# "Nibble i of qweight[k, c] is q[k, 8c + order[i]]", from the format's description.
ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
NAME = "model.layers.0.mlp.down_proj"


def random_weight(n: int, k: int, group: int, bits: int = 4, seed: int = 0) -> LowBitWeight:
    generator = torch.Generator().manual_seed(seed)
    groups = -(-k // group)
    integers = [
        torch.randint(0, 2**bits, shape, dtype=torch.uint8, generator=generator)
        for shape in ((n, k), (n, groups))
    ]
    scales = (torch.rand(n, groups, generator=generator) + 0.5).half()
    return LowBitWeight(integers[0], scales, integers[1], bits, group)


def unpack_by_formula(words: Tensor) -> list[list[int]]:
    """[R, N/8] int32 -> rows of N codes, one nibble at a time."""
    rows = []
    for packed in words.tolist():
        row = [0] * (8 * len(packed))
        for c, word in enumerate(packed):
            for i, e in enumerate(ORDER):
                row[8 * c + e] = (word >> (4 * i)) & 0xF
        rows.append(row)
    return rows


def awq(n: int = 24, k: int = 64, group: int = 32) -> dict[str, Any]:
    return {**to_awq_gemm(random_weight(n, k, group)), "group_size": group, "name": NAME}


@pytest.mark.parametrize(("n", "k", "group"), [(8, 32, 32), (24, 256, 128), (1032, 96, 96)])
def test_awq_layout_follows_the_published_formula(n: int, k: int, group: int) -> None:
    weight = random_weight(n, k, group)
    files = to_awq_gemm(weight)
    assert files["qweight"].dtype == files["qzeros"].dtype == torch.int32
    assert list(files["qweight"].shape) == [k, n // 8]
    assert list(files["qzeros"].shape) == [k // group, n // 8]
    assert list(files["scales"].shape) == [k // group, n]
    assert unpack_by_formula(files["qweight"]) == weight.codes.t().tolist()
    assert unpack_by_formula(files["qzeros"]) == weight.zeros.t().tolist()
    assert torch.equal(files["scales"], weight.scales.t())


@pytest.mark.parametrize(("n", "k", "group"), [(8, 32, 32), (24, 256, 128), (1032, 96, 96)])
def test_awq_reads_back_what_was_written(n: int, k: int, group: int) -> None:
    weight = random_weight(n, k, group)
    for stated in (group, -1) if group == k else (group,):
        read = from_awq_gemm(**to_awq_gemm(weight), group_size=stated, name=NAME)
        for part in ("codes", "scales", "zeros"):
            assert torch.equal(getattr(read, part), getattr(weight, part))
            assert getattr(read, part).is_contiguous()
        assert (read.bits, read.group_size) == (4, group)


def test_awq_reads_a_view_that_is_not_contiguous() -> None:
    files = awq()
    wide = torch.cat([files["qweight"]] * 2, dim=1)
    files["qweight"] = wide[:, : wide.shape[1] // 2]
    assert torch.equal(from_awq_gemm(**files).codes, from_awq_gemm(**awq()).codes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_awq_scales_of_the_model_dtype_are_read(dtype: torch.dtype) -> None:
    files = awq()
    files["scales"] = files["scales"].to(dtype)
    assert torch.equal(from_awq_gemm(**files).scales, files["scales"].half().t())


@pytest.mark.parametrize("group", [0, -2, 1, 3, 4, 48, 96, 128, 2**31, 2**63, -(2**31)])
def test_group_sizes_that_cannot_be_are_refused(group: int) -> None:
    with pytest.raises(CheckpointError, match=rf"group_size={group} of {NAME}.*32, 64 or 128"):
        from_awq_gemm(**{**awq(), "group_size": group})


@pytest.mark.parametrize("bits", [0, 1, 2, 3, 5, 8, 64, -4])
def test_bits_other_than_four_are_refused(bits: int) -> None:
    with pytest.raises(CheckpointError, match=f"bits={bits} of {NAME}"):
        from_awq_gemm(**awq(), bits=bits)


@pytest.mark.parametrize(
    ("part", "shape"),
    [
        ("qzeros", (2, 4)),
        ("qzeros", (1, 3)),
        ("qzeros", (3, 2)),
        ("qzeros", (6,)),
        ("scales", (2, 16)),
        ("scales", (4, 24)),
        ("scales", (24, 2)),
        ("scales", (0, 24)),
        ("scales", (2, 24, 1)),
        ("qweight", (64, 4)),
        ("qweight", (32, 3)),
        ("qweight", (0, 3)),
        ("qweight", (64, 0)),
        ("qweight", ()),
    ],
)
def test_shapes_that_disagree_are_refused(part: str, shape: tuple[int, ...]) -> None:
    files = awq()
    files[part] = torch.zeros(shape, dtype=files[part].dtype)
    with pytest.raises(CheckpointError, match=rf"{NAME}\.(qweight|qzeros|scales) has shape"):
        from_awq_gemm(**files)


@pytest.mark.parametrize(
    ("part", "dtype"),
    [
        ("qweight", torch.int64),
        ("qweight", torch.float32),
        ("qweight", torch.uint8),
        ("qzeros", torch.int16),
        ("scales", torch.float64),
        ("scales", torch.int32),
    ],
)
def test_wrong_dtypes_are_refused(part: str, dtype: torch.dtype) -> None:
    files = awq()
    files[part] = files[part].to(dtype)
    with pytest.raises(CheckpointError, match=rf"{NAME}\.{part} has dtype {str(dtype)[6:]}"):
        from_awq_gemm(**files)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e6])
def test_scales_that_are_not_finite_are_refused(value: float) -> None:
    files = awq()
    files["scales"] = files["scales"].float()
    files["scales"][1, 5] = value
    with pytest.raises(CheckpointError, match=rf"{NAME}\.scales has values that are not finite"):
        from_awq_gemm(**files)


@pytest.mark.parametrize(
    "weight",
    [random_weight(24, 64, 32, bits=8), random_weight(12, 64, 32), random_weight(8, 80, 32)],
    ids=["bits", "rows", "ragged"],
)
def test_what_the_awq_layout_cannot_hold_is_refused(weight: LowBitWeight) -> None:
    with pytest.raises(ArgumentError, match="AWQ gemm cannot hold"):
        to_awq_gemm(weight)


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
    [random_weight(8, 64, 64), random_weight(8, 128, 32), random_weight(8, 64, 32, bits=8)],
    ids=["group", "width", "bits"],
)
def test_concatenate_refuses_what_differs(other: LowBitWeight) -> None:
    with pytest.raises(ArgumentError, match="differ in"):
        concatenate([random_weight(8, 64, 32), other])
    with pytest.raises(ArgumentError, match="empty"):
        concatenate([])

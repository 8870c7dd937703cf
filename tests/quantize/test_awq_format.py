"""AWQ files against an independent reader and writer, and every refusal before a kernel runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.quantize import independent
from tests.quantize.test_format import random_weight, reordered
from tinychat.config import _QUANTIZATIONS
from tinychat.errors import ArgumentError, CheckpointError
from tinychat.kernels import Ops
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.loader import READERS
from tinychat.quantize import awq_format
from tinychat.quantize.awq_format import awq_config, from_awq_gemm, from_awq_gemv, to_awq_gemm
from tinychat.quantize.format import LowBitWeight, dequantize

NAME = "model.layers.0.mlp.down_proj"
READ = {"gemm": from_awq_gemm, "gemv": from_awq_gemv}
OPS = ReferenceOps()
# (N, K, Q): one group; several; whole rows of an odd width; gemv's padding of zeros, all three.
SHAPES = [(8, 32, 32), (24, 256, 128), (40, 96, 96), (16, 320, 32), (16, 320, 64), (8, 1152, 128)]


def tensors(files: independent.Files) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in files.items()}


def awq(version: str = "gemm", n: int = 24, k: int = 64, group: int = 32) -> dict[str, Tensor]:
    matrix = independent.random_matrix(n, k, group, 4)
    if version == "gemm":
        return tensors(independent.write_awq_gemm(matrix))
    return tensors(independent.write_awq_gemv(matrix, group))


@pytest.mark.parametrize("ops", [OPS, CpuOps(threads=2)], ids=["reference", "cpu"])
@pytest.mark.parametrize("version", READ)
@pytest.mark.parametrize(("n", "k", "group"), SHAPES)
def test_reads_what_the_independent_writer_wrote(
    version: str, n: int, k: int, group: int, ops: Ops
) -> None:
    matrix = independent.random_matrix(n, k, group, 4)
    parts = awq(version, n, k, group)
    for stated in (group, -1) if group == k else (group,):
        read = READ[version](parts, 4, stated, NAME, ops)
        assert torch.equal(dequantize(read), torch.from_numpy(matrix.dequantized()))
        assert read.codes.numpy().tolist() == matrix.q.tolist()
        assert (read.bits, read.group_size, read.order) == (4, group, None)
        assert all(t.is_contiguous() for t in (read.codes, read.scales, read.zeros))


@pytest.mark.parametrize(("n", "k", "group"), SHAPES)
def test_the_independent_reader_reads_what_we_write(n: int, k: int, group: int) -> None:
    weight = random_weight(n, k, group)
    files = to_awq_gemm(weight)
    assert files["qweight"].dtype == files["qzeros"].dtype == torch.int32
    assert list(files["qweight"].shape) == [k, n // 8]
    assert list(files["qzeros"].shape) == [k // group, n // 8]
    assert list(files["scales"].shape) == [k // group, n]
    read = independent.read_awq_gemm({name: t.numpy() for name, t in files.items()}, group)
    assert torch.equal(torch.from_numpy(read.dequantized()), dequantize(weight))


@given(
    n=st.integers(1, 20),
    groups=st.integers(1, 5),
    group=st.sampled_from([32, 64, 128]),
    seed=st.integers(0, 2**31),
)
def test_reads_back_what_it_wrote(n: int, groups: int, group: int, seed: int) -> None:
    weight = random_weight(8 * n, groups * group, group, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(awq_format, "_TILE_ROWS", 48)
        read = from_awq_gemm(to_awq_gemm(weight), 4, group, NAME, OPS)
    for part in ("codes", "scales", "zeros"):
        assert torch.equal(getattr(read, part), getattr(weight, part))


def test_groups_larger_than_the_kernels_are_split() -> None:
    matrix = independent.random_matrix(8, 768, 384, 4)
    for version in READ:
        read = READ[version](awq(version, 8, 768, 384), 4, 384, NAME, OPS)
        assert read.group_size == 128
        assert torch.equal(dequantize(read), torch.from_numpy(matrix.dequantized()))


def test_what_gemv_pads_is_not_read() -> None:
    parts = awq("gemv")
    parts["scales"][:, 2:] = float("nan")
    parts["qzeros"][:, 1:] = -1
    assert torch.equal(
        from_awq_gemv(parts, 4, 32, NAME, OPS).codes, from_awq_gemm(awq(), 4, 32, NAME, OPS).codes
    )


def test_reads_a_view_that_is_not_contiguous() -> None:
    parts = awq()
    parts["qweight"] = torch.cat([parts["qweight"]] * 2, dim=1)[:, : parts["qweight"].shape[1]]
    assert torch.equal(
        from_awq_gemm(parts, 4, 32, NAME, OPS).codes, from_awq_gemm(awq(), 4, 32, NAME, OPS).codes
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_scales_of_the_model_dtype_are_read(dtype: torch.dtype) -> None:
    parts = awq()
    parts["scales"] = parts["scales"].to(dtype)
    read = from_awq_gemm(parts, 4, 32, NAME, OPS)
    assert torch.equal(read.scales, parts["scales"].half().t())


# --- refusals


@pytest.mark.parametrize("version", READ)
@pytest.mark.parametrize("group", [0, -2, 1, 3, 4, 48, 96, 128, 2**31, 2**63, -(2**31)])
def test_group_sizes_that_cannot_be_are_refused(version: str, group: int) -> None:
    with pytest.raises(CheckpointError, match=rf"group_size={group} of {NAME}.*32, 64 or 128"):
        READ[version](awq(version), 4, group, NAME, OPS)


@pytest.mark.parametrize("version", READ)
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 5, 8, 64, -4])
def test_bits_other_than_four_are_refused(version: str, bits: int) -> None:
    with pytest.raises(CheckpointError, match=f"bits={bits} of {NAME}"):
        READ[version](awq(version), bits, 32, NAME, OPS)


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
    parts = awq()
    parts[part] = torch.zeros(shape, dtype=parts[part].dtype)
    with pytest.raises(CheckpointError, match=rf"{NAME}\.(qweight|qzeros|scales) has shape"):
        from_awq_gemm(parts, 4, 32, NAME, OPS)


@pytest.mark.parametrize(
    ("part", "shape"),
    [
        ("qzeros", (24, 1)),  # not rounded up to four words
        ("qzeros", (24, 8)),
        ("qzeros", (23, 4)),
        ("scales", (24, 2)),
        ("scales", (2, 24)),
        ("qweight", (23, 8)),
        ("qweight", (24, 160)),
    ],
)
def test_shapes_that_disagree_are_refused_in_gemv(part: str, shape: tuple[int, ...]) -> None:
    parts = awq("gemv")
    parts[part] = torch.zeros(shape, dtype=parts[part].dtype)
    with pytest.raises(CheckpointError, match=rf"{NAME}\.(qweight|qzeros|scales) has shape"):
        from_awq_gemv(parts, 4, 32, NAME, OPS)


@pytest.mark.parametrize("version", READ)
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
def test_wrong_dtypes_are_refused(version: str, part: str, dtype: torch.dtype) -> None:
    parts = awq(version)
    parts[part] = parts[part].to(dtype)
    with pytest.raises(CheckpointError, match=rf"{NAME}\.{part} has dtype {str(dtype)[6:]}"):
        READ[version](parts, 4, 32, NAME, OPS)


@pytest.mark.parametrize("version", READ)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e6])
def test_scales_that_are_not_finite_are_refused(version: str, value: float) -> None:
    parts = awq(version)
    parts["scales"] = parts["scales"].float()
    parts["scales"][1, 1] = value
    with pytest.raises(CheckpointError, match=rf"{NAME}\.scales has values that are not finite"):
        READ[version](parts, 4, 32, NAME, OPS)


@pytest.mark.parametrize(
    "weight",
    [
        random_weight(24, 64, 32, bits=8),
        random_weight(12, 64, 32),
        random_weight(8, 80, 32),
        reordered(random_weight(8, 64, 32), seed=1),
    ],
    ids=["bits", "rows", "ragged", "act-order"],
)
def test_what_the_layout_cannot_hold_is_refused(weight: LowBitWeight) -> None:
    with pytest.raises(ArgumentError, match="AWQ gemm cannot hold"):
        to_awq_gemm(weight)


# --- beside the tensors


@pytest.mark.parametrize("group_size", [128, -1])
def test_transformers_takes_our_config(group_size: int) -> None:
    transformers = pytest.importorskip("transformers")
    values: dict[str, Any] = json.loads(json.dumps(awq_config(group_size, ["lm_head"])))
    theirs = transformers.AwqConfig.from_dict(values)
    assert (theirs.bits, theirs.group_size, theirs.zero_point) == (4, group_size, True)
    assert (theirs.format, theirs.modules_to_not_convert) == ("gemm", ["lm_head"])


def test_what_config_lets_through_has_a_reader() -> None:
    named = {(m, f) for m, (_, formats, _) in _QUANTIZATIONS.items() for f in formats}
    assert named == READERS.keys()

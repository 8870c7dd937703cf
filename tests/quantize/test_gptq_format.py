"""GPTQ files against an independent reader and writer, and every refusal before a kernel runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.quantize import independent
from tests.quantize.test_format import random_weight, reordered
from tinychat.errors import ArgumentError, CheckpointError
from tinychat.kernels import Ops
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.quantize.format import LowBitWeight, dequantize
from tinychat.quantize.gptq_format import from_gptq_v1, from_gptq_v2, gptq_config, to_gptq

NAME = "model.layers.0.mlp.down_proj"
BITS = (2, 3, 4, 8)
# (K, Q): whole groups; a whole row; a last group that is not full, of one size and another.
GROUPS = [(128, 32), (128, 64), (128, 128), (160, 64), (160, 128), (96, 96)]
READ = {True: from_gptq_v1, False: from_gptq_v2}
OPS = ReferenceOps()


def tensors(files: independent.Files) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in files.items()}


def gptq(bits: int = 4, k: int = 128, group: int = 32, **options: bool) -> dict[str, Tensor]:
    matrix = independent.random_matrix(32, k, group, bits, **options)
    return tensors(independent.write_gptq(matrix, bits, v1=False))


@pytest.mark.parametrize("ops", [OPS, CpuOps(threads=2)], ids=["reference", "cpu"])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("v1", [True, False], ids=["v1", "v2"])
@pytest.mark.parametrize(("k", "group"), GROUPS)
@pytest.mark.parametrize("sym", [True, False], ids=["sym", "asym"])
@pytest.mark.parametrize("act_order", [True, False], ids=["act-order", "natural"])
def test_reads_what_the_independent_writer_wrote(
    bits: int, v1: bool, k: int, group: int, sym: bool, act_order: bool, ops: Ops
) -> None:
    matrix = independent.random_matrix(32, k, group, bits, sym=sym, act_order=act_order)
    expected = torch.from_numpy(matrix.dequantized())
    for with_index in (True,) if act_order else (True, False):
        parts = tensors(independent.write_gptq(matrix, bits, v1=v1, g_idx=with_index))
        for stated in (group, -1, 1024) if group == k else (group,):
            read = READ[v1](parts, bits, stated, NAME, ops)
            assert torch.equal(dequantize(read), expected)
            assert (read.bits, read.group_size) == (bits, group)
            assert all(t.is_contiguous() for t in (read.codes, read.scales, read.zeros))
            # One group has no order; more than one drawn at random have one.
            assert (read.order is None) == (not act_order or group == k)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("k", "group"), GROUPS)
@pytest.mark.parametrize("act_order", [True, False], ids=["act-order", "natural"])
def test_the_independent_reader_reads_what_we_write(
    bits: int, k: int, group: int, act_order: bool
) -> None:
    weight = random_weight(32, k, group, bits)
    weight = reordered(weight, seed=4) if act_order else weight
    files = to_gptq(weight)
    assert {name: list(t.shape) for name, t in files.items()} == {
        "qweight": [k * bits // 32, 32],
        "qzeros": [-(-k // group), bits],
        "scales": [-(-k // group), 32],
        "g_idx": [k],
    }
    assert files["scales"].dtype == torch.float16
    assert all(files[part].dtype == torch.int32 for part in ("qweight", "qzeros", "g_idx"))
    assert all(t.is_contiguous() for t in files.values())
    arrays = {name: t.numpy() for name, t in files.items()}
    read = independent.read_gptq(arrays, bits, group, v1=False)
    assert torch.equal(torch.from_numpy(read.dequantized()), dequantize(weight))


@given(
    bits=st.sampled_from(BITS),
    rows=st.integers(1, 4),
    runs=st.integers(1, 12),
    group=st.sampled_from([32, 64, 128, None]),
    act_order=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_reads_back_what_it_wrote(
    bits: int, rows: int, runs: int, group: int | None, act_order: bool, seed: int
) -> None:
    k = 32 * runs
    weight = random_weight(32 * rows, k, min(group or k, k), bits, seed)
    weight = reordered(weight, seed) if act_order else weight
    read = from_gptq_v2(to_gptq(weight), bits, group or -1, NAME, OPS)
    assert torch.equal(dequantize(read), dequantize(weight))
    if not act_order:
        assert torch.equal(read.codes, weight.codes) and torch.equal(read.zeros, weight.zeros)


def test_columns_are_sorted_by_group_and_no_further() -> None:
    """In the order of inputs within a group, so that neighbours mostly stay neighbours."""
    matrix = independent.random_matrix(32, 96, 32, 4, act_order=True)
    parts = tensors(independent.write_gptq(matrix, 4, v1=False))
    order = from_gptq_v2(parts, 4, 32, NAME, OPS).order
    assert order is not None and order.dtype == torch.int32
    groups = parts["g_idx"][order.long()].view(3, 32)
    assert groups.tolist() == [[g] * 32 for g in range(3)]
    assert all(run.tolist() == sorted(run.tolist()) for run in order.view(3, 32))


@pytest.mark.parametrize("bits", BITS)
def test_v1_counts_modulo(bits: int) -> None:
    """A field full of ones is a zero point of 0, and does not carry into its neighbour."""
    matrix = independent.random_matrix(32, 32, 32, bits)
    matrix.z[::3] = 0
    parts = tensors(independent.write_gptq(matrix, bits, v1=True))
    read = from_gptq_v1(parts, bits, 32, NAME, OPS)
    assert read.zeros.tolist() == matrix.z.tolist()


@pytest.mark.parametrize(("k", "group"), [(768, 256), (1280, 512), (288, 96)])
@pytest.mark.parametrize("act_order", [True, False])
def test_groups_larger_than_the_kernels_are_split(k: int, group: int, act_order: bool) -> None:
    matrix = independent.random_matrix(32, k, group, 2, act_order=act_order)
    parts = tensors(independent.write_gptq(matrix, 2, v1=False))
    read = from_gptq_v2(parts, 2, group, NAME, OPS)
    assert read.group_size == (32 if group == 96 else 128)
    assert torch.equal(dequantize(read), torch.from_numpy(matrix.dequantized()))


# --- refusals

Change = Callable[[Tensor], Tensor]


def replaced(value: float, *at: int) -> Change:
    def change(tensor: Tensor) -> Tensor:
        tensor = tensor.float() if tensor.is_floating_point() else tensor.clone()
        tensor[at] = value
        return tensor

    return change


REFUSED: dict[str, tuple[str, Change, str]] = {
    "words of 64 bits": ("qweight", lambda t: t.long(), "has dtype int64; expected int32"),
    "words of floats": ("qzeros", lambda t: t.float(), "has dtype float32; expected int32"),
    "wide scales": ("scales", lambda t: t.double(), "has dtype float64; expected float16"),
    "a wide index": ("g_idx", lambda t: t.long(), "has dtype int64; expected int32"),
    "no axis": ("qweight", lambda t: torch.tensor(1).int(), "expected two axes"),
    "no rows": ("qweight", lambda t: t[:0], "expected two axes, neither empty"),
    "no index": ("g_idx", lambda t: t[:0], "expected one axis, not empty"),
    "an index of two axes": ("g_idx", lambda t: t[None], "expected one axis"),
    "a column too many": ("qweight", lambda t: t.repeat(1, 2), r"expected \[4, 8\]"),
    "rows that are not there": ("qweight", lambda t: t[:8], r"expected \[2, 4\]"),
    "transposed": ("qweight", lambda t: t.t().contiguous(), "has shape"),
    "half a word of rows": ("qweight", lambda t: t[:, :31], "in a row as many as fill words"),
    "zeros of fewer groups": ("qzeros", lambda t: t[1:], r"\[3, 4\]; expected \[4, 4\]"),
    "zeros in natural size": ("qzeros", lambda t: t.repeat(1, 8), r"expected \[4, 4\]"),
    "scales transposed": ("scales", lambda t: t.t(), r"\[32, 4\]; expected \[4, 32\]"),
    "NaN in a scale": ("scales", replaced(float("nan"), 1, 2), "not finite in float16"),
    "a scale beyond float16": ("scales", replaced(1e6, 3, 0), "not finite in float16"),
    "a short index": ("g_idx", lambda t: t[1:], r"\[127\]; expected \[128\]"),
    "a negative group": ("g_idx", replaced(-1, 5), "holds groups -1 to 3; expected 0 to 3"),
    "a group too high": ("g_idx", replaced(4, 127), "holds groups 0 to 4; expected 0 to 3"),
    "a huge group": ("g_idx", replaced(2**31 - 1, 0), "expected 0 to 3"),
    "a group of 33": ("g_idx", replaced(1, 0), r"groups of \[31, 33, 32, 32\] inputs; expected 32"),
    "an index never filled": ("g_idx", torch.zeros_like, r"groups of \[128\] inputs"),
    "a group left out": ("g_idx", lambda t: t.clamp(max=2), r"\[32, 32, 64\] inputs"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("v1", [True, False], ids=["v1", "v2"])
def test_wrong_files_are_refused_by_tensor(what: str, v1: bool) -> None:
    part, change, message = REFUSED[what]
    parts = gptq()
    parts[part] = change(parts[part])
    with pytest.raises(CheckpointError, match=message) as caught:
        READ[v1](parts, 4, 32, NAME, OPS)
    assert str(caught.value).startswith(f"{NAME}.")
    READ[v1](gptq(), 4, 32, NAME, OPS)


def test_only_the_last_group_may_be_smaller() -> None:
    parts = gptq(k=160, group=64)
    counts = [64, 32, 64]
    parts["g_idx"] = torch.arange(3).repeat_interleave(torch.tensor(counts)).int()
    with pytest.raises(CheckpointError, match=r"groups of \[64, 32, 64\] inputs; expected 64"):
        from_gptq_v2(parts, 4, 64, NAME, OPS)


@pytest.mark.parametrize("bits", [0, 1, 5, 6, 7, 16, 32, -4])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(CheckpointError, match=f"bits={bits} of {NAME}; expected 2, 3, 4 or 8"):
        from_gptq_v2(gptq(), bits, 32, NAME, OPS)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_three_bits_fill_three_words(rows: int) -> None:
    parts = {**gptq(3), "qweight": torch.zeros(rows, 32, dtype=torch.int32)}
    with pytest.raises(CheckpointError, match="whole number of 3-bit codes in a column"):
        from_gptq_v2(parts, 3, 32, NAME, OPS)


@pytest.mark.parametrize("group", [0, -2, 1, 16, 48, -(2**31)])
def test_group_sizes_that_cannot_be_are_refused(group: int) -> None:
    with pytest.raises(CheckpointError, match=rf"group_size={group} of {NAME}.*32, 64 or 128"):
        from_gptq_v2(gptq(), 4, group, NAME, OPS)


@pytest.mark.parametrize(
    "weight",
    [
        random_weight(12, 64, 32),
        random_weight(8, 60, 60),
        random_weight(16, 64, 32, bits=3),
        random_weight(32, 64, 32, bits=5),
    ],
    ids=["rows", "columns", "rows of 3 bits", "bits"],
)
def test_what_the_layout_cannot_hold_is_refused(weight: LowBitWeight) -> None:
    with pytest.raises(ArgumentError, match="GPTQ cannot hold"):
        to_gptq(weight)


# --- beside the tensors


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("desc_act", [True, False])
def test_transformers_takes_our_config(bits: int, desc_act: bool) -> None:
    transformers = pytest.importorskip("transformers")
    config = gptq_config(bits, -1, sym=not desc_act, desc_act=desc_act)
    values: dict[str, Any] = json.loads(json.dumps(config))
    theirs = transformers.GPTQConfig.from_dict(values)
    assert (theirs.bits, theirs.group_size, theirs.format) == (bits, -1, "gptq_v2")
    assert (theirs.desc_act, theirs.sym) == (desc_act, not desc_act)

"""The file of packed matrices: what is read is what was written, or it is refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.quantize.test_format import random_weight, reordered
from tinychat import packed_file
from tinychat.files import lock
from tinychat.kernels.cpu import CpuOps
from tinychat.nn.linear import LinearLowBit
from tinychat.packed_file import (
    MAGIC,
    PRELUDE,
    DamagedError,
    PackedReader,
    PackedWriter,
    is_abandoned,
)

KEY = "0123"


@pytest.fixture(scope="module")
def ops() -> Iterator[CpuOps]:
    made = CpuOps(threads=2)
    yield made
    made.close()


@pytest.fixture(params=[True, False], ids=["mapped", "read"])
def mapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the system says that it keeps files in large pages."""
    monkeypatch.setattr(packed_file, "in_large_pages", lambda *_: request.param)
    return bool(request.param)


def linear(ops: CpuOps, rows: int = 40, cols: int = 96, bits: int = 4) -> LinearLowBit:
    return LinearLowBit(ops, ops.pack(random_weight(rows, cols, 32, bits, seed=rows)))


def sorted_linear(ops: CpuOps) -> LinearLowBit:
    weight = reordered(random_weight(16, 64, 32), seed=3)
    return LinearLowBit(ops, ops.pack(weight), order=weight.order)


def write(path: Path, ops: CpuOps, linears: dict[str, LinearLowBit]) -> Path:
    writer = PackedWriter(path, KEY, ops)
    for name, each in linears.items():
        writer.add(name, each)
    assert writer.finish() == path.stat().st_size
    writer.discard()
    return path


def assert_same(found: LinearLowBit | None, expected: LinearLowBit) -> None:
    assert found is not None
    assert torch.equal(found.weight.data, expected.weight.data)
    assert replace(found.weight, data=expected.weight.data) == expected.weight
    if expected.order is None:
        assert found.order is None
    else:
        assert found.order is not None and torch.equal(found.order, expected.order)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_read_is_what_was_written(
    ops: CpuOps, tmp_path: Path, mapped: bool, threads: int
) -> None:
    linears = {"a": linear(ops), "b": sorted_linear(ops), "c": linear(ops, 7, 130, 3)}
    linears["d"] = linear(ops, 2000, 4096, 8)  # more than one block
    path = write(tmp_path / "file", ops, linears)
    others = CpuOps(threads=threads)
    reader = PackedReader(path, KEY, others)
    bias = torch.randn(40)
    for name, expected in linears.items():
        assert_same(reader.read(name, expected.weight.shape, None), expected)
    found = reader.read("a", (40, 96), bias)
    assert found is not None and found.bias is bias
    assert reader.read("e", (40, 96), None) is None
    reader.close()
    x = torch.randn(2, 96)
    assert torch.equal(found(x), linears["a"](x) + bias), "it outlives its reader"
    others.close()


@given(
    heights=st.lists(st.integers(1, 200), max_size=8), block=st.sampled_from([4096, 8192, 2 << 20])
)
def test_files_of_any_blocks_are_the_same(heights: list[int], block: int) -> None:
    ops = CpuOps(threads=1)
    linears = {f"{i}": linear(ops, rows) for i, rows in enumerate(heights)}
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        expected = write(Path(folder, "a"), ops, linears).read_bytes()
        patch.setattr(packed_file, "BLOCK", block)
        assert write(Path(folder, "b"), ops, linears).read_bytes() == expected
    ops.close()


def test_matrices_begin_at_pages(ops: CpuOps, tmp_path: Path) -> None:
    path = write(tmp_path / "file", ops, {"a": linear(ops), "b": sorted_linear(ops)})
    matrices = table(path)["matrices"]
    begins = [m[key] for m in matrices.values() for key in ("begin", "order_begin") if m[key]]
    assert len(begins) == 3 and all(begin % 4096 == 0 for begin in begins)


def test_an_unfinished_file_has_another_name(ops: CpuOps, tmp_path: Path) -> None:
    writer = PackedWriter(tmp_path / "file", KEY, ops)
    writer.add("a", linear(ops))
    (partial,) = tmp_path.iterdir()
    assert partial.name.startswith("file.") and partial.name.endswith(packed_file.PARTIAL)
    assert not is_abandoned(partial)
    writer.discard()
    assert not list(tmp_path.iterdir())
    partial.touch()
    assert is_abandoned(partial)
    with partial.open() as file:
        assert lock(file) and not is_abandoned(partial)


# --- what is refused


def table(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        _, begin, length, _ = PRELUDE.unpack(file.read(PRELUDE.size))
        file.seek(begin)
        found: dict[str, Any] = json.loads(file.read(length))
    return found


def put_table(path: Path, text: bytes) -> None:
    """Replace the table by one that the prelude agrees with."""
    data = path.read_bytes()
    _, begin, _, _ = PRELUDE.unpack(data[: PRELUDE.size])
    prelude = PRELUDE.pack(MAGIC, begin, len(text), hashlib.sha256(text).digest())
    path.write_bytes(prelude + data[PRELUDE.size : begin] + text)


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "nothing in it": lambda path: path.write_bytes(b""),
    "a prelude cut": lambda path: os.truncate(path, 63),
    "a byte less": lambda path: os.truncate(path, path.stat().st_size - 1),
    "a byte more": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "another magic": lambda path: flipped(path, 0),
    "another version": lambda path: flipped(path, 15),
    "another place of the table": lambda path: flipped(path, 17),
    "a place beyond 64 bits": lambda path: flipped(path, 23),
    "another length": lambda path: flipped(path, 24),
    "another sum": lambda path: flipped(path, 40),
    "another table": lambda path: flipped(path, path.stat().st_size - 10),
    "no JSON": lambda path: put_table(path, b"{"),
    "no object": lambda path: put_table(path, b"[]"),
    "no matrices": lambda path: put_table(path, b'{"key": "0123"}'),
    "a list of matrices": lambda path: put_table(path, b'{"key": "0123", "matrices": []}'),
    "another key": lambda path: put_table(
        path, json.dumps({**table(path), "key": "0124"}).encode()
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_refused_by_name(ops: CpuOps, tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "file", ops, {"a": linear(ops)})
    sound = path.read_bytes()
    DAMAGE[what](path)
    with pytest.raises(DamagedError, match="file: it"):
        PackedReader(path, KEY, ops)
    path.write_bytes(sound)
    PackedReader(path, KEY, ops).close()


def test_the_wrong_table_is_refused_by_its_length_before_it_is_read(
    ops: CpuOps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "file", ops, {"a": linear(ops)})
    monkeypatch.setattr("tinychat.limits.HEADER_BYTES", 100)
    with pytest.raises(DamagedError, match="another size"):
        PackedReader(path, KEY, ops)


@pytest.mark.parametrize(
    "changes",
    [
        {"bits": 5},
        {"bits": "4"},
        {"bits": True},
        {"group_size": 0},
        {"group_size": 48},
        {"shape": [40]},
        {"shape": 40},
        {"shape": [40.0, 96]},
        {"begin": -1},
        {"begin": 1 << 64},
        {"begin": None},
        {"more": 1},
        {"checksum": [1]},
    ],
    ids=str,
)
def test_a_table_that_cannot_be_is_refused(
    ops: CpuOps, tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = write(tmp_path / "file", ops, {"a": linear(ops)})
    values = table(path)
    values["matrices"]["a"].update(changes)
    put_table(path, json.dumps(values).encode())
    with pytest.raises(DamagedError, match="makes no sense"):
        PackedReader(path, KEY, ops)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [41, 96]},
        {"shape": [1 << 40, 96]},
        {"bits": 8},
        {"group_size": 64},
        {"begin": 1 << 40},
        {"begin": 1 << 63},
        {"begin": 4160},
        {"checksum": 0},
        {"order_begin": 4096},
        {"order_begin": 1 << 62},
    ],
    ids=str,
)
def test_a_matrix_that_is_not_as_it_is_said_is_refused(
    ops: CpuOps, tmp_path: Path, mapped: bool, changes: dict[str, Any]
) -> None:
    path = write(tmp_path / "file", ops, {"a": linear(ops), "b": linear(ops)})
    values = table(path)
    values["matrices"]["a"].update(changes)
    put_table(path, json.dumps(values).encode())
    reader = PackedReader(path, KEY, ops)
    with pytest.raises(DamagedError, match="file: a "):
        reader.read("a", (40, 96), None)
    assert_same(reader.read("b", (40, 96), None), linear(ops))
    reader.close()


def test_a_bit_of_a_matrix_is_seen(ops: CpuOps, tmp_path: Path, mapped: bool) -> None:
    path = write(tmp_path / "file", ops, {"a": linear(ops), "b": sorted_linear(ops)})
    entry = table(path)["matrices"]["b"]
    for at in (entry["begin"] + 300, entry["order_begin"] + 5):
        flipped(path, at)
        reader = PackedReader(path, KEY, ops)
        assert_same(reader.read("a", (40, 96), None), linear(ops))
        with pytest.raises(DamagedError, match="b is damaged"):
            reader.read("b", (16, 64), None)
        reader.close()
        flipped(path, at)


def test_what_is_no_file_is_refused(ops: CpuOps, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        PackedReader(path, KEY, ops)
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DamagedError, match="file is missing"):
        PackedReader(path, KEY, ops)
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedError, match="not a regular file"):
        PackedReader(path, KEY, ops)

"""The header of a safetensors file, checked in full: what passes is one dense run of tensors.

Nothing is allocated for a length that the file merely claims, and every product is taken in
integers that cannot wrap, so that whoever maps the file may trust each offset.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tinychat import limits
from tinychat.errors import CheckpointError
from tinychat.jsonfile import parse_json, shown, unique_keys

LENGTH_BYTES = 8
BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies.

    Attributes:
        dtype: a key of `BITS`.
        shape: its axes; a scalar has none.
        begin, end: its bytes, counted from the start of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: BinaryIO, path: Path) -> dict[str, TensorEntry]:
    """Read and check the header of an open safetensors file.

    Args:
        file: at its start.
        path: what messages call it.
    Returns: the tensors in the order of their bytes, which fill the file to its end.
    Raises: CheckpointError naming the file, and the tensor where one is at fault.
    """
    size = os.fstat(file.fileno()).st_size
    if size < LENGTH_BYTES:
        raise CheckpointError(f"{path} has {size} bytes; a safetensors file has 8 and a header")
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if length > limits.HEADER_BYTES:
        raise CheckpointError(
            f"{path}: the header is said to have {length} bytes; "
            f"at most {limits.HEADER_BYTES} are expected"
        )
    start = LENGTH_BYTES + length
    if start > size:
        raise CheckpointError(
            f"{path}: the header is said to have {length} bytes, but the file ends after {size}"
        )
    data = file.read(length)
    if not data.startswith(b"{"):
        raise CheckpointError(f"{path}: the header does not start with an object")
    values = parse_json(data, f"the header of {path}", unique_keys)
    _check_metadata(values.pop("__metadata__", None), path)
    if len(values) > limits.TENSORS:
        raise CheckpointError(
            f"{path} has {len(values)} tensors; at most {limits.TENSORS} are expected"
        )
    entries = {name: _entry(f"{path}: {shown(name)}", values[name], start) for name in values}
    entries = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    end = start
    for name, entry in entries.items():
        if entry.begin != end:
            fault = "overlaps the tensor before it" if entry.begin < end else "follows a hole"
            raise CheckpointError(f"{path}: {shown(name)} {fault}")
        end = entry.end
    if end != size:
        fault = "it is cut short" if size < end else "there are bytes behind the last tensor"
        raise CheckpointError(f"{path} has {size} bytes, its header accounts for {end}: {fault}")
    return entries


def _check_metadata(metadata: Any, path: Path) -> None:
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())
    ):
        raise CheckpointError(f"{path}: __metadata__ is not a map of strings")


def _entry(where: str, value: Any, start: int) -> TensorEntry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise CheckpointError(f"{where} has dtype {shown(dtype)}, which safetensors does not know")
    if (
        not isinstance(shape, list)
        or len(shape) > limits.TENSOR_AXES
        or not all(type(axis) is int and 0 <= axis <= limits.TENSOR_AXIS for axis in shape)
    ):
        raise CheckpointError(
            f"{where} has shape {shown(shape)}; expected at most {limits.TENSOR_AXES} axes "
            f"of at most {limits.TENSOR_AXIS}"
        )
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int and offset >= 0 for offset in offsets)
        or offsets[0] > offsets[1]
    ):
        raise CheckpointError(f"{where} has data_offsets {shown(offsets)}; expected [begin, end]")
    begin, end = offsets
    bits = math.prod(shape) * BITS[dtype]
    if bits != (end - begin) * 8:
        raise CheckpointError(
            f"{where} is {dtype} of shape {shown(shape)}, {bits} bits, "
            f"but its data_offsets hold {end - begin} bytes"
        )
    return TensorEntry(dtype, tuple(shape), start + begin, start + end)

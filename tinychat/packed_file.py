"""One file of packed matrices: data and a table of it, nothing that could run.

```
prelude, 64 bytes   magic with the version | where the table begins | its length | its SHA-256
matrices            each at a multiple of 4096: the packed bytes, then the order of its columns
table               JSON, to the end of the file; what `Entry` says of each matrix
```

Damage is found by the sums, in the table for every matrix and in the prelude for the table. The
numbers are not trusted: a matrix has the shape that its reader expects, or it is refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import secrets
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tinychat import limits
from tinychat.errors import CheckpointError
from tinychat.files import lock, to_disk
from tinychat.jsonfile import open_regular, parse_json, unique_keys
from tinychat.kernels import PackedWeight
from tinychat.memory import in_large_pages
from tinychat.nn.linear import LinearLowBit
from tinychat.quantize.format import BITS, GROUP_SIZES

if TYPE_CHECKING:
    from tinychat.kernels.cpu import CpuOps

MAGIC = b"tinychat packed1"
PRELUDE = struct.Struct("<16sQQ32s")
PAGE = 4096
# Written in such pieces, files stay in the system's memory in large pages, where it has them.
BLOCK = 2 << 20
PARTIAL = ".part"


class DamagedError(Exception):
    """A file that cannot be used: which, and what is wrong with it."""


@dataclass(frozen=True)
class Entry:
    """Where one matrix lies and what it is.

    Attributes:
        bits, shape, group_size: as in `PackedWeight`.
        begin: its bytes, counted from the start of the file.
        checksum: of them.
        order_begin, order_checksum: the same of `LinearLowBit.order`, int32; 0 where it has none.
    """

    bits: int
    shape: tuple[int, int]
    group_size: int
    begin: int
    checksum: int
    order_begin: int = 0
    order_checksum: int = 0

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Entry:
        """The inverse of `dataclasses.asdict`.

        Raises: TypeError, KeyError, ValueError for other values.
        """
        rows, cols = values.pop("shape")
        entry = cls(shape=(rows, cols), **values)
        numbers = [rows, cols, *values.values()]
        if not all(type(number) is int and 0 <= number < 1 << 64 for number in numbers):
            raise ValueError("not a number")
        if entry.bits not in BITS or entry.group_size not in (*GROUP_SIZES, cols):
            raise ValueError("a form that no kernel runs")
        return entry


class PackedReader:
    """A finished file, open.

    Where most of it is in the system's memory in large pages it is mapped: nothing is copied, and
    nothing is in memory twice. Elsewhere it is read, since small pages are slower to stream
    through. If it is cut short meanwhile, that is an error.

    Args:
        path: it.
        key: that it must have been written with.
        ops: read into memory of their own.
    Raises: FileNotFoundError; DamagedError.
    """

    def __init__(self, path: Path, key: str, ops: CpuOps) -> None:
        self._path, self._ops = path, ops
        if not os.path.lexists(path):
            raise FileNotFoundError(path)
        try:
            self._file = open_regular(path)
        except CheckpointError as error:
            raise DamagedError(str(error)) from None
        try:
            self.nbytes = os.fstat(self._file.fileno()).st_size
            self._entries = self._read_table(key)
            self._mapped = self._map()
        except BaseException:
            self.close()
            raise

    def _read_table(self, key: str) -> dict[str, Entry]:
        prelude = self._file.read(PRELUDE.size)
        if len(prelude) < PRELUDE.size:
            raise self._damaged("it is cut short")
        magic, begin, length, digest = PRELUDE.unpack(prelude)
        if magic != MAGIC:
            raise self._damaged("it is of another version")
        if begin + length != self.nbytes or length > limits.HEADER_BYTES:
            raise self._damaged("it has another size than it says")
        self._file.seek(begin)
        table = self._file.read(length)
        if hashlib.sha256(table).digest() != digest:
            raise self._damaged("its table is damaged")
        try:
            values = parse_json(table, str(self._path), unique_keys)
            entries = {name: Entry.from_values(e) for name, e in values["matrices"].items()}
        except (CheckpointError, AttributeError, KeyError, TypeError, ValueError):
            raise self._damaged("its table makes no sense") from None
        if values.get("key") != key:
            raise self._damaged("it is of another model")
        return entries

    def _map(self) -> Tensor | None:
        try:
            mapped = self._ops.map_file(self._file.fileno(), self.nbytes)
        except RuntimeError:
            return None
        mapped[::BLOCK].sum()  # touched, so that there are pages to look at
        return mapped if in_large_pages(mapped.data_ptr(), self.nbytes) else None

    def _damaged(self, what: str) -> DamagedError:
        return DamagedError(f"{self._path}: {what}")

    def read(self, name: str, shape: tuple[int, int], bias: Tensor | None) -> LinearLowBit | None:
        """A layer of one of the matrices; None where there is none of that name.

        Raises: DamagedError if it is not whole, or not of the shape [N, K] expected;
            CheckpointError if the file is cut short meanwhile.
        """
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry.shape != shape:
            raise self._damaged(f"{name} has another shape")
        nbytes = self._ops.packed_bytes(entry.bits, shape, entry.group_size)
        if self._mapped is None:
            data = self._ops.reserve(nbytes)
            sound = self._fill(data, entry.begin) == entry.checksum
        else:
            data = self._mapped[entry.begin : entry.begin + nbytes]
            sound = data.nbytes == nbytes and self._ops.checksum(data) == entry.checksum
        order = None
        if entry.order_begin:
            order = torch.empty(shape[1], dtype=torch.int32)
            sound = sound and self._fill(order, entry.order_begin) == entry.order_checksum
        if not sound:
            raise self._damaged(f"{name} is damaged")
        weight = PackedWeight(data, entry.bits, shape, entry.group_size)
        return LinearLowBit(self._ops, weight, bias, order)

    def _fill(self, data: Tensor, begin: int) -> int | None:
        """Returns: the checksum; None for a place beyond the end."""
        inside = begin + data.nbytes <= self.nbytes
        return self._ops.read_file(self._file.fileno(), begin, data) if inside else None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class PackedWriter:
    """A file in the making. It has a name of its own, and that of the finished one only when it is
    whole and on the disk.

    Args:
        path: what it is to be called.
        key: what `PackedReader` has to ask for.
        ops: whose weights are written.
    Raises: OSError for a read-only folder, a full disk and the like.
    """

    def __init__(self, path: Path, key: str, ops: CpuOps) -> None:
        self.path, self._key, self._ops = path, key, ops
        self._entries: dict[str, Entry] = {}
        self._partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        self._file = self._partial.open("xb")
        lock(self._file)  # says that somebody is at work on it; see `is_abandoned`
        self._size = 0
        self._tail = bytearray()  # of the size, what is not yet written
        self._append(bytes(PAGE))

    def add(self, name: str, linear: LinearLowBit) -> None:
        """Write the matrix of a layer; it is on the disk afterwards, so that a bar tells the truth
        and little memory waits to be written.
        """
        weight, order = linear.weight, linear.order
        placed = self._write(weight.data)
        placed_order = (0, 0) if order is None else self._write(order)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._entries[name] = Entry(
            weight.bits, weight.shape, weight.group_size, *placed, *placed_order
        )

    def _write(self, data: Tensor) -> tuple[int, int]:
        self._append(bytes(-self._size % PAGE))
        begin = self._size
        self._append(memory_of(data))
        return begin, self._ops.checksum(data)

    def _append(self, data: bytes | memoryview) -> None:
        """Write, but for what does not fill a block yet."""
        self._size += len(data)
        free = BLOCK - len(self._tail)
        self._tail += data[:free]
        if len(self._tail) == BLOCK:
            self._file.write(self._tail)
            whole = (len(data) - free) // BLOCK * BLOCK
            self._file.write(data[free : free + whole])
            self._tail = bytearray(data[free + whole :])

    def finish(self) -> int:
        """Put the file under its name, in place of an older one, and return its size."""
        matrices = {name: asdict(entry) for name, entry in self._entries.items()}
        table = json.dumps({"key": self._key, "matrices": matrices}).encode()
        begin = self._size
        self._append(table)
        self._file.write(self._tail)
        self._file.seek(0)
        digest = hashlib.sha256(table).digest()
        self._file.write(PRELUDE.pack(MAGIC, begin, len(table), digest))
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._partial, self.path)
        to_disk(self.path.parent)
        self._file.close()
        return begin + len(table)

    def discard(self) -> None:
        """Leave nothing behind; after `finish`, do nothing."""
        with contextlib.suppress(OSError):  # what is buffered may fail once more
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)


def memory_of(data: Tensor) -> memoryview:
    """The bytes of a contiguous tensor, without a copy; the tensor must outlive them."""
    return memoryview((ctypes.c_ubyte * data.nbytes).from_address(data.data_ptr()))


def is_abandoned(partial: Path) -> bool:
    """Whether nobody is writing a file in the making any more."""
    try:
        with open_regular(partial) as file:
            return lock(file)
    except CheckpointError:
        return True

"""The packed copy of a model, kept beside it: what reading, rounding and packing its matrices gives
is written down once, and the next start only reads that.

A copy is found by its name. That holds a digest of all that it depends on (`source_key`), and the
arguments that it was made for. What is not found is made and kept, and copies of an older state are
removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tinychat.checkpoint import Checkpoint
from tinychat.config import ModelConfig
from tinychat.nn.head import low_bit_form
from tinychat.nn.linear import LinearLowBit
from tinychat.packed_file import (
    PARTIAL,
    DamagedError,
    PackedReader,
    PackedWriter,
    is_abandoned,
    memory_of,
)
from tinychat.quantize.format import BITS, GROUP_SIZES
from tinychat.quantize.grid import WHOLE_ROW, Grid
from tinychat.quantize.two_stage import fine_part

if TYPE_CHECKING:
    from typing_extensions import Self

    from tinychat.kernels.cpu import CpuOps

PREFIX = ".tinychat-packed-"
# A smaller model is packed in less than a tenth of a second.
LEAST_BYTES = 64 << 20
# A copy leaves this much free on its disk.
FREE_BYTES = 1 << 30
NAME_WIDTH = 60


class PackCache:
    """The packed copy of a model, for one choice of `weights` and `lm_head`: read while the model
    is loaded, or written.

    As a context manager it throws away what was not finished.

    Args:
        folder: of the model; a copy lies there, or else in the user's cache.
        key: `source_key` of the model.
        choice: the arguments of `load` that decide what is packed; part of the name.
        ops: whose layout it is in.
        nbytes: about how large it will be.
    Attributes:
        warnings: what was wrong with a copy or kept one from being written, one line each.
    """

    def __init__(
        self, folder: Path, key: str, choice: tuple[str, ...], ops: CpuOps, nbytes: int
    ) -> None:
        self.warnings: list[str] = []
        self._folders = [folder, *cache_folders(folder)]
        self._stem = f"{PREFIX}{key[:16]}-"
        self._name = self._stem + "-".join(choice)
        self._key, self._ops, self._expected = key, ops, nbytes
        self._linears: dict[str, LinearLowBit] = {}
        self._writer: PackedWriter | None = None
        self._may_write = True
        self._reader = self._open()

    def _open(self) -> PackedReader | None:
        for folder in self._folders:
            try:
                return PackedReader(folder / self._name, self._key, self._ops)
            except FileNotFoundError:
                continue
            except DamagedError as error:
                self.warnings.append(f"{error}; it is not used and written anew")
        return None

    @property
    def nbytes(self) -> int | None:
        """Size of the copy that was found; None where there is none."""
        return None if self._reader is None else self._reader.nbytes

    def find(self, name: str, shape: tuple[int, int], bias: Tensor | None) -> LinearLowBit | None:
        """A layer over the matrix kept under this name; None where there is none.

        Args:
            shape: [N, K], as the model needs it.
            bias: of the layer; the copy has none.
        """
        if self._reader is None:
            return None
        try:
            linear = self._reader.read(name, shape, bias)
        except DamagedError as error:
            self.warnings.append(f"{error}; it is not used and written anew")
            self._close_reader()
            return None
        if linear is not None:
            self._linears[name] = linear
        return linear

    def keep(self, name: str, linear: LinearLowBit) -> None:
        """Write the matrix of a layer that was not found, and with the first one all before it."""
        self._linears[name] = linear
        if not self._may_write:
            return
        try:
            if self._writer is not None:
                self._writer.add(name, linear)
                return
            self._writer = writer = self._begin()
            if writer is not None:
                for each in self._linears.items():
                    writer.add(*each)
        except OSError as error:
            self._give_up(error)

    def finish(self) -> int | None:
        """Say that all was found or kept; returns the copy's size, None where there is none."""
        if self._writer is None:
            return self.nbytes
        try:
            size = self._writer.finish()
        except OSError as error:
            self._give_up(error)
            return None
        self._remove_stale(self._writer.path.parent)
        return size

    def _begin(self) -> PackedWriter | None:
        """A writer in the first folder that takes it; None where another process is at it."""
        error = OSError(errno.EACCES, os.strerror(errno.EACCES), str(self._folders[0]))
        for folder in self._folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                others = folder.glob(f"{self._name}.*{PARTIAL}")
                self._may_write = all(map(is_abandoned, others))
                if not self._may_write:
                    return None
                if shutil.disk_usage(folder).free < self._expected + FREE_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
                return PackedWriter(folder / self._name, self._key, self._ops)
            except OSError as reason:
                error = reason
        raise error

    def _give_up(self, error: OSError) -> None:
        self._may_write = False
        self.warnings.append(
            f"no packed copy of the model is kept, {self._expected >> 20} MB: "
            f"{error.filename or self._folders[0]}: {(error.strerror or str(error)).lower()}"
        )
        self._discard()

    def _remove_stale(self, folder: Path) -> None:
        """Remove what an older state of the model left, and what writers that died did."""
        for path in folder.glob(f"{PREFIX}*"):
            partial = path.name.endswith(PARTIAL)
            if is_abandoned(path) if partial else not path.name.startswith(self._stem):
                with contextlib.suppress(OSError):  # it is in nobody's way
                    path.unlink()

    def _discard(self) -> None:
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def close(self) -> None:
        """Let go of the files."""
        self._discard()
        self._close_reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def cache_folders(folder: Path, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where copies of a model lie whose own folder cannot be written: in the user's cache, or
    nowhere where no home is known.
    """
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            return []
    place = os.path.realpath(folder)
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()
    return [base / "tinychat" / f"{os.path.basename(place)[:NAME_WIDTH]}-{digest[:16]}"]


def source_key(checkpoint: Checkpoint, config: ModelConfig, ops: CpuOps, release: str) -> str:
    """A digest of all that a packed copy depends on, but for the arguments of `load`.

    Weight files count by size, time of change, header and a sample of every tensor; config.json as
    it was understood; the code by the version of tinychat, by what rounding and packing give, and
    by what "auto" means for the head.
    """
    head = low_bit_form(config.vocab_size)
    parts = [checkpoint.identity(), repr(config), dict(config.tensors), layout(ops), head, release]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def layout(ops: CpuOps) -> str:
    """A digest of what a small matrix becomes, so that no other layout is taken for this one."""
    rows, cols = 17, 640
    matrix = ((torch.arange(rows * cols) * 7919) % 1009 - 400).float().view(rows, cols)
    digest = hashlib.sha256()
    for bits in BITS:
        for group in (*GROUP_SIZES, WHOLE_ROW):
            packed = ops.pack(ops.round_to_nearest(matrix, Grid(bits, group)))
            digest.update(memory_of(packed.data))
    digest.update(memory_of(ops.pack(fine_part(ops, matrix, "layout")).data))
    return digest.hexdigest()

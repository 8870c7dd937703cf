"""A folder of safetensors files, checked and memory-mapped: a tensor is a view of its file.

The mapping is read-only and file-backed, so weights that are used as they are stored take no memory
of their own, and a file may be larger than memory. Pickle files are never opened.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tinychat import limits
from tinychat.errors import CheckpointError, NotEnoughMemoryError
from tinychat.jsonfile import open_regular, parse_json, read_bytes, shown, unique_keys
from tinychat.safetensors_check import LENGTH_BYTES, TensorEntry, read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
NAMES_SHOWN = 20
# What `Checkpoint.identity` reads of a tensor, from its middle.
SAMPLE_BYTES = 64

_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_INTEGERS = {"I32": torch.int32}
# AWQ and GPTQ keep their integers under these names.
_PACKED = (".qweight", ".qzeros", ".g_idx")
# No separators, drive or stream marks: a shard lies in the folder itself.
_SHARD_NAME = re.compile(r"[^/\\:\0]+\.safetensors")


class _MappedFile:
    """One safetensors file, mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular(path) as file:
            self.entries = read_header(file, path)
            state = os.fstat(file.fileno())
            self.size, self.changed = state.st_size, state.st_mtime_ns
            try:
                # NOTE: the mapping is never closed by hand. Tensors keep it alive but not open, and
                # would read unmapped memory; it goes when the last of them does.
                self._map = mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                if getattr(error, "errno", None) == errno.ENOMEM:
                    raise NotEnoughMemoryError(f"{path} cannot be mapped: {error}") from None
                raise CheckpointError(f"{path} cannot be mapped: {error}") from None
        with warnings.catch_warnings():
            # torch warns that writing to the tensor is undefined. Here it would be a fault at once.
            warnings.simplefilter("ignore", UserWarning)
            self._bytes = torch.frombuffer(self._map, dtype=torch.uint8)

    def check_size(self) -> None:
        # Touching a mapped page that the file no longer has kills the process, so a file that was
        # cut after it was opened is found here. One that is cut while its tensor is read is not.
        size = self._map.size()
        if size != self.size:
            raise CheckpointError(
                f"{self.path} changed while it was open: it had {self.size} bytes, now {size}"
            )

    def digest(self) -> str:
        """Of the header and of a sample of every tensor."""
        self.check_size()
        length = int.from_bytes(self._map[:LENGTH_BYTES], "little")
        digest = hashlib.sha256(self._map[: LENGTH_BYTES + length])
        self._advise("MADV_RANDOM")  # or megabytes would be read around each sample
        for entry in self.entries.values():
            middle = (entry.begin + entry.end) // 2
            digest.update(self._map[middle : min(middle + SAMPLE_BYTES, entry.end)])
        self._advise("MADV_NORMAL")
        return digest.hexdigest()

    def _advise(self, how: str) -> None:
        if hasattr(mmap, how):
            self._map.madvise(getattr(mmap, how))

    def tensor(self, entry: TensorEntry, dtype: torch.dtype) -> Tensor:
        self.check_size()
        data = self._bytes[entry.begin : entry.end]
        if entry.begin % dtype.itemsize:
            data = data.clone()  # The format allows it, though no common writer does it.
        return data.view(dtype).reshape(entry.shape)

    def forget_pages(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):  # not on every system
            self._map.madvise(mmap.MADV_DONTNEED)


class Checkpoint:
    """The tensors of a model folder, by name. Also a context manager that closes itself."""

    def __init__(self, files: Iterable[_MappedFile]) -> None:
        self._files: dict[str, _MappedFile] = {}
        for file in files:
            for name in file.entries:
                if name in self._files:
                    other = self._files[name].path.name
                    raise CheckpointError(f"{file.path}: {shown(name)} is in {other} too")
                self._files[name] = file
            if len(self._files) > limits.TENSORS:
                raise CheckpointError(
                    f"{file.path.parent} has more than the {limits.TENSORS} tensors expected"
                )
        self._asked: set[str] = set()

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Check and map the safetensors files of a model folder.

        Raises: CheckpointError naming the file, and the tensor where one is at fault.
        """
        folder = Path(folder)
        if os.path.lexists(folder / SINGLE):
            return cls([_open_inside(folder, SINGLE)])
        if os.path.lexists(folder / INDEX):
            return cls._open_shards(folder)
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be read: {error.strerror}") from None
        tensors = [name for name in names if name.endswith(".safetensors")]
        if len(tensors) == 1:
            return cls([_open_inside(folder, tensors[0])])
        if tensors:
            raise CheckpointError(
                f"{folder} has {len(tensors)} safetensors files, but no {INDEX} to say which "
                "belong together"
            )
        pickles = [name for name in names if name.endswith(PICKLES)]
        if pickles:
            raise CheckpointError(
                f"{folder} has weights only as {shown(pickles[0])}, a pickle file, which tinychat "
                "never opens; convert first: load it with transformers and save_pretrained() it, "
                "which writes safetensors"
            )
        raise CheckpointError(f"{folder} has no {SINGLE}")

    @classmethod
    def _open_shards(cls, folder: Path) -> Checkpoint:
        path = folder / INDEX
        weight_map = parse_json(read_bytes(path, limits.INDEX_BYTES), str(path), unique_keys).get(
            "weight_map"
        )
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{path}: weight_map is not a map from tensors to files")
        for shard in weight_map.values():
            if not isinstance(shard, str) or not _SHARD_NAME.fullmatch(shard):
                raise CheckpointError(
                    f"{path} names the file {shown(shard)}; "
                    "expected the name of a safetensors file beside it"
                )
        shards = sorted(set(weight_map.values()))
        if len(shards) > limits.SHARDS:
            raise CheckpointError(
                f"{path} names {len(shards)} files; at most {limits.SHARDS} are expected"
            )
        checkpoint = cls(_open_inside(folder, shard) for shard in shards)
        checkpoint._check_index(path, weight_map)
        return checkpoint

    def _check_index(self, path: Path, weight_map: Mapping[str, str]) -> None:
        absent = [
            name
            for name, shard in weight_map.items()
            if name not in self._files or self._files[name].path.name != shard
        ]
        if absent:
            names = ", ".join(shown(name) for name in absent[:NAMES_SHOWN])
            raise CheckpointError(
                f"{path} lists {len(absent)} tensors that are not in the files it says: {names}"
            )

    @property
    def nbytes(self) -> int:
        """Size of the files."""
        return sum(file.size for file in set(self._files.values()))

    def identity(self) -> list[tuple[str, int, int, str]]:
        """What tells these files from others without reading them through: for each its name, its
        size, the time of its last change in nanoseconds, and a digest of its header and of a sample
        of every tensor.

        Raises: CheckpointError if a file has another size than when it was opened.
        """
        files = sorted(set(self._files.values()), key=lambda file: file.path)
        return [(file.path.name, file.size, file.changed, file.digest()) for file in files]

    def names(self) -> set[str]:
        """Every tensor there is."""
        return set(self._files)

    def tensor(self, name: str) -> Tensor:
        """One tensor as it is stored, read-only: writing to it ends the process.

        Returns: a view of the file: float32, float16 or bfloat16; int32 for `qweight`, `qzeros` and
            `g_idx`. It stays valid after `close`, but not if somebody cuts the file short.
        Raises: CheckpointError if there is no such tensor, it has another dtype, or its file has
            another size than when it was opened.
        """
        file = self._files.get(name)
        if file is None:
            raise CheckpointError(f"there is no tensor {shown(name)}")
        self._asked.add(name)
        entry = file.entries[name]
        dtypes = _INTEGERS if name.endswith(_PACKED) else _FLOATS
        if entry.dtype not in dtypes:
            raise CheckpointError(
                f"{file.path}: {shown(name)} is stored as {entry.dtype}; "
                f"expected {' or '.join(dtypes)}"
            )
        return file.tensor(entry, dtypes[entry.dtype])

    def unused(self) -> set[str]:
        """The names that were never asked for."""
        return self._files.keys() - self._asked

    def forget_pages(self) -> None:
        """Give back the memory of what was read; it is read from the files again when it is looked
        at. For who goes through a checkpoint that is larger than memory shall be.
        """
        for file in set(self._files.values()):
            file.forget_pages()

    def close(self) -> None:
        """Let go of the files; each stays mapped while a tensor of it lives."""
        self._files = {}

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_inside(folder: Path, name: str) -> _MappedFile:
    """Map a file of the folder, or refuse a link that leads out of it.

    Hugging Face's cache is the one exception: there snapshots/<revision>/ holds links into blobs/.
    """
    root = Path(os.path.realpath(folder))
    target = Path(os.path.realpath(folder / name))
    roots = [root]
    if root.parent.name == "snapshots":
        roots.append(root.parent.parent / "blobs")
    if not any(target.is_relative_to(allowed) for allowed in roots):
        raise CheckpointError(
            f"{folder / name} is a link to {target}, outside its folder; put the file itself there"
        )
    return _MappedFile(folder / name)

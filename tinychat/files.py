"""Files that are there whole or not at all, and files that one process has to itself."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, a megabyte at a time."""
    while block := file.read(1 << 20):
        yield block


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Put `data` under the name `path`: all of it, or the old file stays as it was.

    It is on the disk when this returns.

    Args:
        mode: rights of the file, less what the umask takes away.
    Raises: OSError for a read-only folder, a full disk and the like.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Return when the system has written out a file; of a folder, the names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(file: IO[Any]) -> bool:
    """Take a file for this process until it is closed; False where another has it.

    Without locks in the system (Windows) everybody gets it.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

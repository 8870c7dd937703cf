"""Messages over a pipe between two processes: four bytes of length, then as many bytes."""

from __future__ import annotations

from typing import BinaryIO


def write_frame(stream: BinaryIO, data: bytes) -> None:
    """Write a message."""
    stream.write(len(data).to_bytes(4, "little") + data)
    stream.flush()


def read_frame(stream: BinaryIO, most: int = (1 << 32) - 1) -> bytes | None:
    """Read a message; None where the stream ends, or the message has more than `most` bytes."""
    head = stream.read(4)
    size = int.from_bytes(head, "little")
    if len(head) < 4 or size > most:
        return None
    data = stream.read(size)
    return data if len(data) == size else None

"""Texts and sets of problems from files that anybody may have written, with the hash that names
them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tinychat import limits
from tinychat.errors import ArgumentError, CheckpointError
from tinychat.jsonfile import parse_json, parse_value, read_bytes, shown

Item = TypeVar("Item")


@dataclass(frozen=True)
class Row:
    """One problem of a file as it stands there.

    Attributes:
        values: the JSON object.
        where: the file and the line or the place in it, for messages.
    """

    values: dict[str, Any]
    where: str

    def text(self, *keys: str) -> str:
        """The text under the first of `keys` that is there.

        Raises: CheckpointError if there is none, or it is no text.
        """
        for key in keys:
            if key in self.values:
                value = self.values[key]
                if not isinstance(value, str):
                    raise CheckpointError(f"{self.where}: {key} = {shown(value)} is not a text")
                return value
        raise CheckpointError(f"{self.where} has no {' or '.join(keys)}")

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """The list of texts under `key`; required unless there is a default."""
        value = self.values.get(key, default)
        if value is None:
            raise CheckpointError(f"{self.where} has no {key}")
        if not isinstance(value, list | tuple) or not all(isinstance(t, str) for t in value):
            raise CheckpointError(f"{self.where}: {key} = {shown(value)} is not a list of texts")
        return tuple(value)

    def integer(self, key: str) -> int:
        """The whole number under `key`."""
        value = self.values.get(key)
        if type(value) is not int:
            raise CheckpointError(f"{self.where}: {key} = {shown(value)} is not a whole number")
        return value


def first(items: Sequence[Item], limit: int | None) -> Sequence[Item]:
    """The first `limit` items, or all. Raises: ArgumentError unless it is positive."""
    if limit is not None and limit < 1:
        raise ArgumentError(f"limit={limit} is out of range; expected at least 1")
    return items[:limit]


@contextmanager
def argument_errors() -> Iterator[None]:
    """A file that was named and cannot be read is a wrong argument, and no damaged one."""
    try:
        yield
    except CheckpointError as error:
        raise ArgumentError(str(error)) from None


def read(path: Path) -> tuple[bytes, dict[str, str]]:
    """A file's bytes, and its name and SHA-256 as results hold them.

    Raises: ArgumentError if it is missing, cannot be read, or is too large; CheckpointError if it
        is empty.
    """
    with argument_errors():
        data = read_bytes(path, limits.EVALUATION_BYTES)
    if not data.strip():
        raise CheckpointError(f"{path} is empty")
    return data, {"name": path.name, "sha256": hashlib.sha256(data).hexdigest()}


def read_text(path: Path) -> tuple[str, dict[str, str]]:
    """A UTF-8 text, its line ends as they are, and what names it."""
    data, name = read(path)
    try:
        return data.decode("utf-8"), name
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 text (byte {error.start})") from None


def read_rows(path: Path) -> tuple[list[Row], dict[str, str]]:
    """The problems of a JSONL file, or of a JSON file that holds a list, and what names them.

    Raises: CheckpointError with the line, or the place in the list, of what is no JSON object.
    """
    data, name = read(path)
    if data.lstrip().startswith(b"["):
        values = parse_value(data, str(path))
        assert isinstance(values, list)
        rows = [(f"{path} entry {place}", value) for place, value in enumerate(values, 1)]
        for where, value in rows:
            if not isinstance(value, dict):
                raise CheckpointError(f"{where} is {shown(value)}; an object is expected")
    else:
        lines = enumerate(data.split(b"\n"), 1)
        places = [(f"{path} line {number}", line) for number, line in lines if line.strip()]
        rows = [(where, parse_json(line, where)) for where, line in places]
    if not rows:
        raise CheckpointError(f"{path} holds no problems")
    return [Row(value, where) for where, value in rows], name

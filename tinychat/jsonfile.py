"""Reading JSON files that anybody may have written: size and nesting are bounded before parsing.

Only regular files are opened, so that a FIFO or a device in a folder cannot block or flood us.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from tinychat import limits
from tinychat.errors import CheckpointError

# NOTE: the closing quote is optional, or an unterminated string would make a quadratic search.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")

Pairs = list[tuple[str, Any]]


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, refusing whatever is not a regular file.

    Raises: CheckpointError if it is missing, unreadable, a folder, a FIFO or a device.
    """
    try:
        # A plain open of a FIFO waits for its writer; a regular file ignores O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"{path} cannot be read: {reason}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a small file whole, refusing a larger one before reading it.

    Raises: CheckpointError naming the file if it is missing, no regular file, too large, or cannot
        be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise CheckpointError(f"{path} has {size} bytes; at most {max_bytes} are expected")
        try:
            return file.read(max_bytes)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None


def read_json(path: Path, max_bytes: int) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises: CheckpointError as `read_bytes` and `parse_json`.
    """
    return parse_json(read_bytes(path, max_bytes), str(path))


def parse_json(
    data: bytes, where: str, pairs_hook: Callable[[Pairs], Any] | None = None
) -> dict[str, Any]:
    """Parse a JSON object whose size the caller has already bounded.

    Args:
        data: UTF-8 text.
        where: what the message calls the source, usually the file.
        pairs_hook: as `object_pairs_hook` of `json.loads`; may raise ValueError with a reason.
    Raises: CheckpointError naming `where`.
    """
    value = parse_value(data, where, pairs_hook)
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} holds a JSON {type(value).__name__}; an object is expected")
    return value


def parse_value(
    data: bytes, where: str, pairs_hook: Callable[[Pairs], Any] | None = None
) -> object:
    """As `parse_json`, for JSON of any kind."""
    depth = nesting(data)
    if depth > limits.JSON_DEPTH:
        raise CheckpointError(
            f"{where} is nested {depth} levels deep; at most {limits.JSON_DEPTH} are expected"
        )
    try:
        return cast(object, json.loads(data.decode("utf-8"), object_pairs_hook=pairs_hook))
    except UnicodeDecodeError:
        raise CheckpointError(f"{where} is not UTF-8 text") from None
    except ValueError as error:
        raise CheckpointError(f"{where} cannot be parsed as JSON: {error}") from None


def unique_keys(pairs: Pairs) -> dict[str, Any]:
    """A `pairs_hook` that refuses keys that come twice: readers differ about which one counts."""
    values = dict(pairs)
    if len(values) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{shown(twice)} comes twice")
    return values


def nesting(data: bytes) -> int:
    """The deepest nesting of brackets outside strings: at least as deep as a parser would get."""
    depth = deepest = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", data)):
        if bracket.group() in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def shown(value: object, width: int = 60) -> str:
    """A value as a message may quote it: control characters escaped, and shortened."""
    text = repr(value[: width + 1] if isinstance(value, str) else value)
    return text if len(text) <= width else text[: width - 3] + "..."

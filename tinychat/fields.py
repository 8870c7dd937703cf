"""Typed reads from a parsed JSON object: a value of the wrong kind or range is refused by its key.

Booleans are not numbers, a number is finite, and null means absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from tinychat import limits
from tinychat.errors import CheckpointError
from tinychat.jsonfile import shown

Number = TypeVar("Number", int, float)


class Fields:
    """One JSON object. Every read takes the names a value goes by; the first that is there counts.

    Args:
        values: the parsed object.
        where: what messages call it, usually the file.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def get(self, *keys: str) -> tuple[str, Any]:
        """The first key that is there and not null, with its value; else (first key, None)."""
        for key in keys:
            if self.values.get(key) is not None:
                return key, self.values[key]
        return keys[0] if keys else "", None

    def refuse(self, key: str, value: object, expected: str) -> CheckpointError:
        """The error to raise for a value: file, key, value and what was expected."""
        return CheckpointError(f"{self.where}: {key} = {shown(value)}; expected {expected}")

    def integer(self, *keys: str, low: int, high: int, default: int | None = None) -> int:
        """An integer of low..high; required unless there is a default."""
        key, value = self.get(*keys)
        if value is None:
            return self._default(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(key, value, f"an integer from {low} to {high}")
        return value

    def number(self, *keys: str, low: float, high: float, default: float | None = None) -> float:
        """A number of low..high; required unless there is a default."""
        key, value = self.get(*keys)
        if value is None:
            return self._default(key, default)
        # NOTE: NaN fails the comparison, and so does the infinity that 1e400 is read as.
        if type(value) not in (int, float) or not low <= value <= high:
            raise self.refuse(key, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, *keys: str, default: bool) -> bool:
        """True or false."""
        key, value = self.get(*keys)
        if value is None:
            return default
        if type(value) is not bool:
            raise self.refuse(key, value, "true or false")
        return value

    def text(self, *keys: str, default: str) -> str:
        """A string."""
        key, value = self.get(*keys)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.refuse(key, value, "a string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty where absent."""
        value = self.values.get(key)
        if value is None:
            return ()
        if (
            not isinstance(value, list)
            or len(value) > limits.NAMES
            or not all(isinstance(item, str) for item in value)
        ):
            raise self.refuse(key, value, f"a list of at most {limits.NAMES} strings")
        return tuple(value)

    def object(self, *keys: str) -> Fields | None:
        """A nested object; None where absent."""
        key, value = self.get(*keys)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refuse(key, value, "an object")
        return Fields(value, f"{self.where}: {key}")

    def _default(self, key: str, default: Number | None) -> Number:
        if default is None:
            raise CheckpointError(f"{self.where}: {key} is missing")
        return default

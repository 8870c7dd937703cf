"""Runs an evaluation item by item and keeps what is done, so that a run that was stopped goes on.

While it runs, `OUT.partial` has a line of JSON for what is evaluated and one for each item; at the
end `OUT` takes its place. Nothing in them depends on when or how fast it ran.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import tinychat
from tinychat.errors import ArgumentError, TinyChatError
from tinychat.files import lock, write_whole
from tinychat.jsonfile import shown

Input = TypeVar("Input")
Item = dict[str, Any]


class Record:
    """Where the items of one evaluation are kept.

    Args:
        out: the file for the result; None keeps nothing.
        about: what else makes two runs the same, such as {"model": …}.
        progress: called with items done and items in all.
    Attributes:
        kept: items that are on disk so far.
    """

    def __init__(
        self,
        out: Path | None = None,
        about: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.out, self.about, self.progress = out, dict(about or {}), progress
        self.kept = 0

    @property
    def partial(self) -> Path | None:
        """The file of a run that has not ended."""
        return None if self.out is None else self.out.with_name(self.out.name + ".partial")

    def run(
        self,
        head: Mapping[str, Any],
        inputs: Sequence[Input],
        score: Callable[[Input], Item],
        summarize: Callable[[list[Item]], Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Score every input that has not been scored before.

        Args:
            head: the task, its data and its settings.
            score: the outcome of one input, as plain JSON.
            summarize: the results and notes of all outcomes.
        Returns: version, `about`, head, the summary and "items", in this order.
        Raises: ArgumentError if the file belongs to a run with other settings; TinyChatError if it
            cannot be written or is damaged.
        """
        head = {"tinychat": tinychat.__version__, **self.about, **head}
        head = json.loads(json.dumps(head))  # tuples become what a file would give back
        finished = self._finished(head)
        if finished is not None:
            return finished
        with self._opened(head) as (items, keep):
            for done, one in enumerate(inputs):
                self.progress(done, len(inputs))
                if done < len(items):
                    continue
                item = score(one)
                keep(item)
                items.append(item)
            self.progress(len(inputs), len(inputs))
            result = {**head, **summarize(items), "items": items}
            if self.out is not None and self.partial is not None:
                with _named_errors(self.out):
                    write_whole(self.out, (json.dumps(result, indent=1) + "\n").encode())
                self.partial.unlink(missing_ok=True)
        return result

    def _finished(self, head: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result of an earlier run that went to its end."""
        if self.out is None or not self.out.exists():
            return None
        result = _parse(self.out.read_bytes())
        if result is None or "items" not in result:
            raise ArgumentError(f"{self.out} is there and no result of tinychat eval; name another")
        _check_same(self.out, result, head)
        return result

    @contextlib.contextmanager
    def _opened(
        self, head: Mapping[str, Any]
    ) -> Iterator[tuple[list[Item], Callable[[Item], None]]]:
        """The items of an earlier run, and what keeps another."""
        if self.partial is None:
            yield [], lambda item: None
            return
        with _open(self.partial) as file:
            items = self._earlier(file, head)
            self.kept = len(items)

            def keep(item: Item) -> None:
                _append(file, item)
                self.kept += 1

            try:
                yield items, keep
            except BaseException:
                if not self.kept:  # there is nothing to go on from
                    self.partial.unlink(missing_ok=True)
                raise

    def _earlier(self, file: BinaryIO, head: Mapping[str, Any]) -> list[Item]:
        """Read what a stopped run left, and leave the file ready for the next line."""
        # A line that was cut short by a full disk or a crash is an item that was not done.
        whole, end, _ = file.read().rpartition(b"\n")
        file.truncate(len(whole) + len(end))
        file.seek(0, os.SEEK_END)
        if not end:
            _append(file, head)
            return []
        values = [_parse(line) for line in whole.split(b"\n")]
        if values[0] is not None:
            _check_same(self.partial, values[0], head)
        items = []
        for number, value in enumerate(values, 1):
            if value is None:
                raise TinyChatError(
                    f"{self.partial} is damaged at line {number}; delete it to start again"
                )
            items.append(value)
        return items[1:]


def _open(path: Path) -> BinaryIO:
    """Open for reading and adding, made where absent, for this process alone."""
    with _named_errors(path):
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    if not lock(file):
        file.close()
        raise ArgumentError(f"another run is writing {path}")
    return file


def _append(file: BinaryIO, value: Mapping[str, Any]) -> None:
    with _named_errors(file.name):
        file.write(json.dumps(value).encode() + b"\n")
        file.flush()


@contextlib.contextmanager
def _named_errors(path: Path | str) -> Iterator[None]:
    """Say which file the system would not write."""
    try:
        yield
    except OSError as error:
        raise TinyChatError(f"cannot write {path}: {error.strerror}") from None


def _parse(data: bytes) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _check_same(path: Path | None, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `ArgumentError` with the first thing in which two runs differ."""
    left, right = _flat(earlier), _flat(now)
    for name, value in right.items():
        if name not in left or left[name] != value:
            raise ArgumentError(
                f"{path} is of a run with {name} = {shown(left.get(name))} and this one has "
                f"{shown(value)}; use another --out, or delete it"
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat

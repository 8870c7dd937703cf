"""The folder in which a quantization keeps its finished layers until the last one is done.

It lies beside the output under a name of its own, so that the output appears whole or not at all.
A run that was killed goes on behind the last layer that it finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError, TinyChatError
from tinychat.files import blocks, lock, to_disk, write_whole

SETTINGS = "settings.json"
SAMPLED = "sampled.json"


def workspace_of(out: Path) -> Path:
    """Where the finished layers of an output lie."""
    return out.parent / f".{out.name}.quantizing"


class Workspace:
    """Finished layers of one quantization. Also a context manager that lets go of its lock.

    Args:
        out: the folder that will be made.
    Raises: TinyChatError if another process is at work on it.
    """

    def __init__(self, out: Path) -> None:
        self.path = workspace_of(out)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / "lock").open("w")
        if not lock(self._lock):
            self._lock.close()
            raise TinyChatError(f"another process is quantizing to {out}")

    def use_for(self, settings: Mapping[str, Any]) -> None:
        """Say what the layers are made with; what an unfinished run kept must be the same.

        Args:
            settings: everything that the result depends on, as plain values.
        Raises: ArgumentError naming what differs.
        """
        wanted = json.loads(json.dumps(settings))
        try:
            found = json.loads((self.path / SETTINGS).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            # Nobody knows what layers without settings were made with.
            for path in self.path.glob("layer-*"):
                path.unlink()
            write_whole(self.path / SETTINGS, json.dumps(wanted, indent=1).encode())
            return
        known, wanted = _leaves(found if isinstance(found, dict) else {}), _leaves(wanted)
        differing = [key for key in {**wanted, **known} if known.get(key) != wanted.get(key)]
        if differing and not any(self.path.glob("layer-*.json")):
            write_whole(self.path / SETTINGS, json.dumps(settings, indent=1).encode())
        elif differing:
            raise ArgumentError(
                f"{self.path} holds an unfinished quantization with other settings "
                f"({', '.join(differing)}); repeat them, or delete the folder"
            )

    def finished(self, layer: int) -> list[dict[str, Any]] | None:
        """The reports of a layer that is done and undamaged; None for any other."""
        try:
            record = json.loads(self._record(layer).read_text(encoding="utf-8"))
            reports: list[dict[str, Any]] = record["groups"]
            return reports if record["sha256"] == _sha256(self._tensors(layer), reports) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, layer: int, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
        """Keep a layer; it counts as finished when its record is there, which is written last."""
        path = self._tensors(layer)
        partial = path.with_suffix(".partial")
        save_file({name: t.contiguous() for name, t in tensors.items()}, partial)
        to_disk(partial)
        partial.replace(path)
        record = {"sha256": _sha256(path, groups), "groups": groups}
        write_whole(self._record(layer), json.dumps(record, indent=1).encode())

    def load(self, layer: int) -> dict[str, Tensor]:
        """The tensors of a finished layer."""
        path = self._tensors(layer)
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from None

    def remove(self) -> None:
        """Delete everything; the output has it now."""
        shutil.rmtree(self.path, ignore_errors=True)

    @classmethod
    def discard(cls, out: Path) -> None:
        """Delete what a run left that ended between the output's name and its own end."""
        with contextlib.suppress(OSError, TinyChatError):
            if workspace_of(out).is_dir():
                with cls(out) as left:
                    left.remove()

    def rows(self, key: Mapping[str, Any]) -> list[list[int]]:
        """The sequences that `keep_rows` kept under an equal key; none under another."""
        try:
            kept = json.loads((self.path / SAMPLED).read_text(encoding="utf-8"))
            rows: list[list[int]] = kept["rows"] if kept["key"] == dict(key) else []
            return rows
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def keep_rows(self, key: Mapping[str, Any], rows: list[list[int]]) -> None:
        """Keep sequences of token ids that took long to make."""
        write_whole(self.path / SAMPLED, json.dumps({"key": dict(key), "rows": rows}).encode())

    def close(self) -> None:
        """Let others at it; a folder that holds nothing goes."""
        if {path.name for path in self.path.glob("*")} <= {"lock"}:
            self.remove()
        self._lock.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tensors(self, layer: int) -> Path:
        return self.path / f"layer-{layer:05d}.safetensors"

    def _record(self, layer: int) -> Path:
        return self.path / f"layer-{layer:05d}.json"


def _leaves(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one, by their innermost keys."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves |= _leaves(value) if isinstance(value, Mapping) else {key: value}
    return leaves


def _sha256(path: Path, groups: object) -> str:
    """Of a layer: its file and its reports."""
    digest = hashlib.sha256(json.dumps(groups).encode())
    with path.open("rb") as file:
        for block in blocks(file):
            digest.update(block)
    return digest.hexdigest()

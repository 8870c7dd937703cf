"""A run that was killed, or that met a full disk, goes on where it was and ends in the same bytes.

A child starts, says which layers it quantizes, and is killed at a point of our choice; the next one
gets further.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.quantize.stopped import BEGUN, FILE_SIZES, LAYERS, METHODS
from tests.quantize.tiny_runs import files_of, quantize_tiny, tensors_of, tiny_llama
from tinychat.errors import ArgumentError, TinyChatError
from tinychat.quantize import output, run, workspace
from tinychat.quantize.workspace import SETTINGS, Workspace, workspace_of

pytest.importorskip("transformers", reason="it makes the tiny models")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("source") / "float", LAYERS)


@pytest.fixture(scope="module")
def unbroken(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Method -> the files of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    return {
        name: files_of(quantize_tiny(source, folder / name, **options).out)
        for name, options in METHODS.items()
    }


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


class Counting:
    """Replaces `quantize_block` by itself, counting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, original = 0, run.quantize_block

        def counted(*args: Any, **named: Any) -> Any:
            self.calls += 1
            return original(*args, **named)

        monkeypatch.setattr(run, "quantize_block", counted)


# --- killed


def in_a_child(call: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"from tests.quantize.stopped import {call}; {call}(*{arguments!r})"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_killed_anywhere_it_goes_on_and_ends_in_the_same_bytes(
    source: Path,
    unbroken: dict[str, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = in_a_child("kill_in_turn", str(source), str(tmp_path))
    assert done.returncode == 0, done.stderr
    for method, options in METHODS.items():
        out = tmp_path / method / "out"
        assert (out.parent / "begun").read_text().split() == BEGUN
        assert entries(out.parent) == [".out.quantizing", "begun"], "nothing under a final name"
        counting, seen = Counting(monkeypatch), list[run.Progress]()
        quantize_tiny(source, out, progress=seen.append, **options)
        assert counting.calls == 0 and [p.resumed for p in seen] == [True] * LAYERS
        assert files_of(out) == unbroken[method]
        assert entries(out.parent) == ["begun", "out"]
        monkeypatch.undo()


# --- stopped in this process


class Stop(Exception):
    """Stands for whatever ends a run."""


def stopped_after(layers: int, source: Path, out: Path, **options: Any) -> None:
    def progress(done: run.Progress) -> None:
        if done.layer == layers:
            raise Stop

    with pytest.raises(Stop):
        quantize_tiny(source, out, progress=progress, **options)
    assert not out.exists()


def flip(path: Path, at: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "tensors, one bit": lambda w: flip(w / "layer-00001.safetensors"),
    "tensors, cut": lambda w: os.truncate(w / "layer-00001.safetensors", 100),
    "tensors, gone": lambda w: (w / "layer-00001.safetensors").unlink(),
    "record, one bit of a loss": lambda w: flip(
        w / "layer-00001.json", (w / "layer-00001.json").read_bytes().index(b'"loss": 0.') + 12
    ),
    "record, one bit of a name": lambda w: flip(
        w / "layer-00001.json", (w / "layer-00001.json").read_bytes().index(b"fallback")
    ),
    "record, empty": lambda w: (w / "layer-00001.json").write_text(""),
    "record, of another kind": lambda w: (w / "layer-00001.json").write_text("[1, 2]"),
    "record, no text": lambda w: (w / "layer-00001.json").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_layer_is_done_again(
    source: Path,
    unbroken: dict[str, dict[str, bytes]],
    tmp_path: Path,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped_after(LAYERS, source, tmp_path / "out")
    DAMAGES[damage](workspace_of(tmp_path / "out"))
    counting, resumed = Counting(monkeypatch), []
    quantize_tiny(source, tmp_path / "out", progress=lambda p: resumed.append(p.resumed))
    assert counting.calls == 1 and resumed == [True, False, True]
    assert files_of(tmp_path / "out") == unbroken["awq"]


@pytest.mark.parametrize("content", [None, "", '{"vers', "[]"])
def test_layers_of_unknown_settings_are_not_used(
    source: Path, unbroken: dict[str, dict[str, bytes]], tmp_path: Path, content: str | None
) -> None:
    out = tmp_path / "out"
    stopped_after(2, source, out, method="rtn")
    settings = workspace_of(out) / SETTINGS
    if content == "[]":  # whole, but not ours: that is not overwritten
        settings.write_text(content)
        with pytest.raises(
            ArgumentError, match=r"unfinished quantization with other settings \(version, "
        ):
            quantize_tiny(source, out)
        return
    settings.unlink() if content is None else settings.write_text(content)
    quantize_tiny(source, out)
    assert files_of(out) == unbroken["awq"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"method": "rtn"}, "method"),
        ({"bits": 3}, "bits"),
        ({"group_size": -1}, "group_size"),
        ({"symmetric": True}, "symmetric"),
        ({"clip": False}, "clip"),
        ({"damping": 0.02}, "damping"),
        ({"sequential": True}, "sequential"),
        ({"seed": 1}, "seed"),
        ({"calibration": [[5, 6, 7]]}, "sha256"),
    ],
)
def test_other_settings_are_refused_by_their_key(
    source: Path, tmp_path: Path, options: dict[str, Any], key: str
) -> None:
    out = tmp_path / "out"
    stopped_after(1, source, out)
    before = files_of(workspace_of(out))
    with pytest.raises(ArgumentError, match=rf"with other settings \(.*\b{key}\b.*\); repeat them"):
        quantize_tiny(source, out, **options)
    assert files_of(workspace_of(out)) == before and not out.exists()


def test_another_model_is_refused(source: Path, tmp_path: Path) -> None:
    copy, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(source, copy)
    stopped_after(1, copy, out)
    tensors = tensors_of(copy)
    tensors["model.embed_tokens.weight"][0, 0] += 1
    from safetensors.torch import save_file

    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    os.utime(copy / "model.safetensors", ns=(1, 1))
    with pytest.raises(ArgumentError, match=r"with other settings \(model\.safetensors\);"):
        quantize_tiny(copy, out)


def test_a_second_process_is_refused_while_the_first_works(
    source: Path, unbroken: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    refused: list[str] = []

    def start_another(done: run.Progress) -> None:
        with pytest.raises(TinyChatError, match="another process is quantizing to ") as caught:
            Workspace(out)
        refused.append(str(caught.value))

    quantize_tiny(source, out, progress=start_another)
    assert refused == [f"another process is quantizing to {out}"] * LAYERS
    assert files_of(out) == unbroken["awq"]


# --- a run that ended between the output's name and its own end


@pytest.fixture
def left(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output whose layers were not deleted."""

    def stop(self: Workspace) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "remove", stop)
        with pytest.raises(KeyboardInterrupt):
            quantize_tiny(source, tmp_path / "out", "rtn")
    assert entries(tmp_path) == [".out.quantizing", "out"]
    return tmp_path / "out"


def test_what_is_left_of_a_finished_run_goes_with_the_next(source: Path, left: Path) -> None:
    before = files_of(left)
    with pytest.raises(ArgumentError, match="exists already"):
        quantize_tiny(source, left, "rtn")
    assert entries(left.parent) == ["out"] and files_of(left) == before


def test_layers_are_left_alone_while_another_works_or_the_output_is_no_whole_one(
    source: Path, left: Path
) -> None:
    with Workspace(left), pytest.raises(ArgumentError, match="exists already"):
        quantize_tiny(source, left, "rtn")
    (left / run.REPORT).unlink()
    with pytest.raises(ArgumentError, match="exists already"):
        quantize_tiny(source, left, "rtn")
    assert len(list(workspace_of(left).glob("layer-*.json"))) == LAYERS


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's list of open files")
def test_everything_is_on_the_disk_before_the_layers_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_llama(tmp_path / "float")
    for name in ("generation_config.json", "chat_template.jinja"):
        (source / name).write_text("{}")
    events: list[str] = []

    def fsync(descriptor: int, original: Callable[[int], None] = os.fsync) -> None:
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        original(descriptor)

    def rename(self: Path, target: Path, original: Any = Path.rename) -> Path:
        events.append(f"{self.name} -> {target.name}")
        return original(self, target)

    def remove(self: Workspace, original: Any = Workspace.remove) -> None:
        events.append("remove")
        original(self)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(Workspace, "remove", remove)
    out = quantize_tiny(source, tmp_path / "out", "rtn").out
    begin = events.index("0.part -> model.safetensors")
    named = events.index("output -> out")
    synced = [Path(path).name for path in events[begin - 1 : named]]
    for path in out.iterdir():
        part = "0.part" if path.name == "model.safetensors" else f".{path.name}."
        assert any(name.startswith(part) for name in synced), path.name
    assert events[named + 1 : named + 3] == [str(tmp_path.resolve()), "remove"]


# --- writes that fail


class Failing:
    """Lets all that touches the disk pass but for the n-th call, which raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
        self.calls: list[str] = []
        self.at, self.error = at, error
        for owner, name in (
            *((Path, name) for name in ("mkdir", "rename", "touch")),
            *((os, name) for name in ("fsync", "replace")),
            *((module, "save_file") for module in (workspace, output)),
            *((module, "write_whole") for module in (workspace, output)),
        ):
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name), name))

    def wrap(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) == self.at:
                raise self.error
            return original(*args, **named)

        return call


CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)


@pytest.mark.parametrize("kind", ["full disk", "Ctrl-C"])
def test_at_each_write(
    source: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write fails: one line, nothing under the final name, finished layers kept."""
    quantize_tiny(source, tmp_path / "expected" / "out", "rtn")
    expected = files_of(tmp_path / "expected" / "out")
    names: set[str] = set()
    at = 0
    while True:
        at += 1 if kind == "full disk" else 4  # what follows the error is the same code
        folder = tmp_path / str(at)
        folder.mkdir()
        out = folder / "out"
        code = CODES[at % len(CODES)]
        error = OSError(code, os.strerror(code)) if kind == "full disk" else KeyboardInterrupt()
        failing, counting = Failing(monkeypatch, at, error), Counting(monkeypatch)
        try:
            quantize_tiny(source, out, "rtn")
        except TinyChatError as caught:
            assert kind == "full disk" and str(caught) == f"cannot write {out}: {os.strerror(code)}"
        except KeyboardInterrupt:
            assert kind == "Ctrl-C"
        else:
            # The last call is for the names in the folder, with the output among them already.
            assert len(failing.calls) <= at and failing.calls[-1] == "fsync"
            break
        finally:
            monkeypatch.undo()
        names.add(failing.calls[-1])
        assert len(failing.calls) == at, "the first error ends it"
        assert entries(folder) in ([], [".out.quantizing"]), "a workspace that holds nothing goes"
        kept = workspace_of(out)
        assert not (kept / "output").exists()
        records = list(kept.glob("layer-*.json"))
        assert counting.calls <= len(records) + 1
        again = Counting(monkeypatch)
        quantize_tiny(source, out, "rtn")
        monkeypatch.undo()
        assert again.calls == LAYERS - len(records)
        assert files_of(out) == expected and entries(folder) == ["out"]
        shutil.rmtree(folder)
    if kind == "full disk":
        assert names == {"mkdir", "replace", "rename", "touch", "fsync", "save_file", "write_whole"}


def test_the_system_s_own_refusal(source: Path, tmp_path: Path) -> None:
    """A real write that fails half-way: in the settings, in a layer, in the output."""
    done = in_a_child("limit_in_turn", str(source), str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(FILE_SIZES)
    for size, line in zip(FILE_SIZES, lines, strict=True):
        out = tmp_path / str(size) / "out"
        assert line.startswith(f"cannot write {out}: ") and "File too large" in line
        assert not out.exists() and not (workspace_of(out) / "output").exists()
        quantize_tiny(source, out, "rtn")
        assert entries(out.parent) == ["out"]


def test_a_folder_that_may_not_be_written(source: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(TinyChatError, match=r"cannot write .*\.out\.quantizing: Permission denied"):
        quantize_tiny(source, closed / "out", "rtn")
    assert entries(closed) == []


def test_a_file_in_the_place_of_the_workspace(source: Path, tmp_path: Path) -> None:
    workspace_of(tmp_path / "out").write_text("mine")
    with pytest.raises(TinyChatError, match=r"cannot write .*\.out\.quantizing: File exists"):
        quantize_tiny(source, tmp_path / "out", "rtn")
    assert workspace_of(tmp_path / "out").read_text() == "mine"

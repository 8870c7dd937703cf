"""Files written whole, whatever happens, and locks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tinychat import files


def test_a_file_is_replaced_with_the_rights_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o022)
    try:
        for mode, expected in ((0o666, 0o644), (0o600, 0o600)):
            files.write_whole(path, b"x" * mode, mode)
            assert path.read_bytes() == b"x" * mode
            assert stat.S_IMODE(path.stat().st_mode) == expected
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        files.write_whole(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_lock_is_for_one(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="no file locks here")
    path = tmp_path / "lock"
    with path.open("w") as one, path.open("w") as other:
        assert files.lock(one) and not files.lock(other)
        one.close()
        assert files.lock(other)


def test_without_locks_everybody_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open("w") as other:
        assert files.lock(one) and files.lock(other)

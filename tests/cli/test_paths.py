"""Where things are kept, for whom, and what an interrupted write leaves."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tinychat.cli import paths
from tinychat.errors import TinyChatError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_comes_from_one_place() -> None:
    home = {"HOME": "/home/u"}
    assert paths.state_folder({"TINYCHAT_HOME": "/a", "XDG_STATE_HOME": "/b"}) == Path("/a")
    assert paths.state_folder({"XDG_STATE_HOME": "/b", **home}) == Path("/b/tinychat")
    assert paths.state_folder(home) == Path.home() / ".local/state/tinychat"


def test_no_home_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(TinyChatError, match="TINYCHAT_HOME"):
        paths.state_folder({})


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        paths.write_private(tmp_path / "a" / "written", b"x")
        paths.private_file(tmp_path / "b" / "opened")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "written") == mode(tmp_path / "b" / "opened") == 0o600
    assert mode(tmp_path / "a") == mode(tmp_path / "b") == 0o700


def test_a_file_that_was_readable_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text("old")
    path.chmod(0o644)
    paths.private_file(path)
    assert mode(path) == 0o600 and path.read_text() == "old"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    path = tmp_path / "file"
    paths.write_private(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(TinyChatError, match=os.strerror(code).lower()):
            paths.write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    paths.write_private(path, b"new")
    assert path.read_bytes() == b"new"


def test_ctrl_c_while_writing_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    paths.write_private(path, b"old")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        paths.write_private(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TinyChatError, match="cannot create the folder"):
        paths.write_private(tmp_path / "file" / "below", b"")

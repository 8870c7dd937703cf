"""Where the command line keeps what it remembers: one folder, private to its user, written
atomically.

The folder is `$TINYCHAT_HOME`, else `$XDG_STATE_HOME/tinychat`, else `~/.local/state/tinychat`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tinychat.errors import TinyChatError
from tinychat.files import write_whole

HISTORY_FILE = "history"
SESSIONS_FOLDER = "sessions"
AUTOSAVE_FOLDER = "autosave"


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for history and sessions; it need not exist yet.

    Raises: TinyChatError when neither the environment nor the system names a home folder.
    """
    if environ.get("XDG_STATE_HOME") and not environ.get("TINYCHAT_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "tinychat"
    try:
        if environ.get("TINYCHAT_HOME"):
            return Path(environ["TINYCHAT_HOME"]).expanduser()
        return Path.home() / ".local" / "state" / "tinychat"
    except RuntimeError:
        raise TinyChatError(
            "there is no home folder to keep history in; set TINYCHAT_HOME, or use --no-history"
        ) from None


def private_folder(path: Path) -> Path:
    """Create `path` with its parents, readable by its owner only, and return it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TinyChatError(f"cannot create the folder {path}: {reason(error)}") from None
    return path


def private_file(path: Path) -> Path:
    """Create `path` where absent and make it readable by its owner only; return it."""
    private_folder(path.parent)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise TinyChatError(f"cannot write {path}: {reason(error)}") from None
    return path


def write_private(path: Path, data: bytes) -> None:
    """Put `data` under the name `path` with mode 0600: all of it, or the old file stays as it was.

    Raises: TinyChatError for a read-only folder, a full disk and the like.
    """
    private_folder(path.parent)
    try:
        write_whole(path, data, 0o600)
    except OSError as error:
        raise TinyChatError(f"cannot write {path}: {reason(error)}") from None


def reason(error: OSError) -> str:
    """The system's words for an error, without Python's."""
    return (error.strerror or str(error)).lower()

"""What the user calls a model -> a local folder. The only module that touches the network.

A folder that exists is itself, without a look at the network; only a name of the form owner/name
that is no folder is asked of Hugging Face, and only its huggingface_hub package downloads anything.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tinychat import limits
from tinychat.errors import (
    ArgumentError,
    CheckpointError,
    DownloadError,
    MissingPackageError,
    ModelNotFoundError,
    TinyChatError,
)
from tinychat.jsonfile import shown

Report = Callable[[int, int], None]

SHIPPED = "tinychat-demo-int4"
# What a model folder is read from; nothing in subfolders, and no second copy of the weights.
WANTED = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
UNWANTED = ("*/*", "consolidated*")
PATH_SHOWN = 400  # characters of a path in a message

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_PATH_START = re.compile(r"[./\\~]|[A-Za-z]:")


def resolve_model(
    model: str | os.PathLike[str] | None, offline: bool = False, progress: Report | None = None
) -> Path:
    """The folder of a model, downloaded if it has to be.

    Args:
        model: a folder, a Hugging Face id (owner/name), or None for the model that ships here.
        offline: use only what is on this machine.
        progress: called with the bytes done and the bytes in all while a download runs; without it
            a bar is drawn on stderr where that is a terminal.
    Raises: ModelNotFoundError if there is no such folder or id; DownloadError; MissingPackageError.
    """
    if model is None:
        return _shipped()
    if not isinstance(model, (str, os.PathLike)):
        raise ArgumentError(f"model={shown(model)}; expected a folder, a Hugging Face id or None")
    text = os.fspath(model)
    folder = os.path.expanduser(text)
    quoted = shown(text, PATH_SHOWN)
    if os.path.isdir(folder):
        return Path(folder)
    if os.path.exists(folder):
        raise ModelNotFoundError(f"{quoted} is a file; expected the folder that holds the model")
    if not isinstance(model, str) or _PATH_START.match(text) or text.endswith(("/", "\\")):
        raise ModelNotFoundError(f"there is no folder {quoted}")
    if not is_repository_id(text):
        raise ModelNotFoundError(
            f"there is no folder {quoted}, and a Hugging Face id has the form owner/name"
        )
    return _download(text, offline, progress)


def is_repository_id(text: str) -> bool:
    """Whether the text can be the id of a Hugging Face model: "owner/name"."""
    parts = text.split("/")
    return (
        len(parts) == 2
        and all(len(part) <= limits.REPOSITORY_NAME and _NAME.fullmatch(part) for part in parts)
        and not any(mark in text for mark in ("..", "--"))
        and not text.endswith(".git")
    )


def _shipped() -> Path:
    package = Path(__file__).resolve().parent
    for folder in (package / "shipped" / SHIPPED, package.parent / "models" / SHIPPED):
        if folder.is_dir():
            return folder
    raise ModelNotFoundError(
        "this installation carries no model; name a folder or a Hugging Face id"
    )


def _download(name: str, offline: bool, progress: Report | None) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError:
        raise MissingPackageError(
            f"downloading {name} needs huggingface_hub: pip install huggingface_hub"
        ) from None

    def snapshot(**options: Any) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                name, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED), **options
            )
        )

    if offline or constants.HF_HUB_OFFLINE:
        try:
            return snapshot(local_files_only=True)
        except Exception as error:
            raise DownloadError(
                f"{name} is not complete on this machine, and downloads are off "
                "(offline, or HF_HUB_OFFLINE)"
            ) from error
    try:
        total = _bytes_to_fetch(name)
    except TinyChatError:
        raise
    except Exception as error:
        try:
            return snapshot(local_files_only=True)
        except Exception:
            raise _explained(name, error) from error
    _check_disk(name, total, Path(constants.HF_HUB_CACHE))
    try:
        with _reporting(name, total, progress) as report:
            folder = snapshot(tqdm_class=_byte_counter(total, report))
            report(total, total)
            return folder
    except Exception as error:
        raise _explained(name, error) from error


def _explained(name: str, error: Exception) -> TinyChatError:
    """One line for whatever the library, its HTTP client or its transfer engine raised."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return DownloadError(
            f"{name} is only for those who accepted its terms: do so at "
            f"https://huggingface.co/{name}, then run: hf auth login"
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelNotFoundError(
            f"there is no folder {name}, and no such model on Hugging Face; "
            "if it is private, run: hf auth login"
        )
    # The library often wraps what happened in advice of its own.
    cause = error.__cause__ or error
    text = " ".join(str(cause).split()).partition(" For more information")[0]
    reason = f"{type(cause).__name__}: {text[:200]}" if text else type(cause).__name__
    return DownloadError(
        f"downloading {name}, which is no folder here, failed: {reason}; "
        "run the same again to go on"
    )


def _bytes_to_fetch(name: str) -> int:
    """The size of what is wanted and not yet in the cache.

    Raises: CheckpointError if the model has no safetensors files at all; what the library raises.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    info = HfApi().model_info(name, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or () if _is_wanted(file)}
    if not any(file.endswith(".safetensors") for file in sizes):
        raise CheckpointError(
            f"{name} has no safetensors files; tinychat reads no other weights, so convert it first"
        )
    return sum(
        size
        for file, size in sizes.items()
        if not isinstance(try_to_load_from_cache(name, file, revision=info.sha), str)
    )


def _is_wanted(file: Any) -> bool:
    def fits(patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(file.rfilename, pattern) for pattern in patterns)

    return fits(WANTED) and not fits(UNWANTED)


def _check_disk(name: str, needed: int, cache: Path) -> None:
    while not cache.exists() and cache != cache.parent:
        cache = cache.parent
    free = shutil.disk_usage(cache).free
    if needed > free:
        raise DownloadError(
            f"downloading {name} takes {needed / 1e9:.2f} GB, but {cache} has {free / 1e9:.2f} GB "
            "free; free some, or set HF_HOME to a larger disk"
        )


def _byte_counter(total: int, report: Report) -> type[Any]:
    """A class in the shape of tqdm that adds up what a download's bars are told and draws nothing.

    The library makes several bars (bytes from the network, bytes on disk, files), lets their totals
    grow and takes bytes back when it starts a file again. What is reported never falls, and never
    passes `total`.
    """
    from huggingface_hub.utils.tqdm import tqdm

    lock = threading.Lock()
    reported = 0

    class ByteCounter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B"
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            nonlocal reported
            with lock:
                self.n += n or 0
                done = min(int(self.n), total)
                if self.counts_bytes and done > reported:
                    reported = done
                    report(done, total)

    return ByteCounter


@contextmanager
def _reporting(name: str, total: int, progress: Report | None) -> Iterator[Report]:
    """Where the progress of one download goes: the caller's function, a bar, or nowhere."""
    if progress is not None or total == 0 or not sys.stderr.isatty():
        yield progress or (lambda done, total: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(f"downloading {name}", total=total)
        yield lambda done, total: bar.update(task, completed=done)

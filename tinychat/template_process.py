"""The parent's side of `template_worker`: started when first needed, killed when it does not end.

A rendering costs a round trip over two pipes, about a millisecond; a start a tenth of a second.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from tinychat import limits
from tinychat.errors import MissingPackageError, TemplateError
from tinychat.frames import read_frame, write_frame

# Without -S and -I a start runs whatever .pth files and the user's site hold.
_BOOT = "import sys; sys.path += sys.argv[1:]; from tinychat.template_worker import main; main()"
_START_SECONDS = 60.0
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_JINJA = (3, 1, 6)  # older ones have holes in their sandbox

_MESSAGES = {
    "refusal": "refuses these messages: {message}",
    "syntax": "is no valid template: {message}",
    "unsafe": "does what a template may not do: {message}",
    "output": "writes more than {most} characters",
    "memory": f"wants more than {limits.TEMPLATE_MEMORY >> 20} MiB of memory",
    "recursion": "recurses without end",
    "failure": "fails on these messages: {message}",
    "time": f"does not end within {limits.TEMPLATE_SECONDS:g} seconds",
    "death": "ends the process that renders it",
}


class Literals(NamedTuple):
    """The texts in a template: all of them, and those that it looks for in other text."""

    written: tuple[str, ...]
    sought: tuple[str, ...]


class TemplateProcess:
    """A chat template in a process of its own. Safe to call from several threads and after fork().

    Args:
        source: the template.
        where: what messages call it, usually its file.
    """

    def __init__(self, source: str, where: str) -> None:
        self._source, self._where = source, where
        self._literals: Literals | None = None
        self._become_owner()

    def literals(self) -> Literals:
        """The texts in the template. Raises: TemplateError if it is no valid template."""
        with self._held():
            if self._literals is None:
                self._running()
            return cast(Literals, self._literals)

    def render(self, variables: Sequence[Mapping[str, Any]], now: datetime, most: int) -> list[str]:
        """Render the template once for each set of variables.

        Args:
            variables: plain data by name.
            now: local time, for templates that write a date.
            most: characters that one rendering may have.
        Raises: TemplateError if it fails, refuses, or wants too much time, memory or output.
        """
        clock = (now.year, now.month, now.day, now.hour, now.minute, now.second, now.microsecond)
        request = {"variables": list(variables), "now": clock, "most": most}
        # A character is at most twelve bytes of JSON.
        bound = (12 * most + 64) * len(variables) + 4096
        with self._held():
            reply = self._ask(self._running(), request, limits.TEMPLATE_SECONDS, bound)
        self._check(reply, most)
        return [str(text) for text in reply["texts"]]

    def close(self) -> None:
        """End the process. A later call starts another."""
        with self._held():
            self._stop()

    # --- the process

    def _become_owner(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def _held(self) -> threading.Lock:
        if self._owner != os.getpid():
            # After a fork the worker is the parent's, and a thread that is gone may hold the lock.
            if self._finalizer is not None:
                self._finalizer.detach()
            self._become_owner()
        return self._lock

    def _running(self) -> subprocess.Popen[bytes]:
        """The process, started and with the template compiled."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        process = start()
        self._process = process
        self._finalizer = weakref.finalize(self, end, process, os.getpid())
        if "error" in self._ask(process, None, _START_SECONDS, 4096):
            raise TemplateError(
                "the process that renders chat templates does not start; it needs "
                f"{sys.executable} to be a Python with jinja2"
            )
        request = {"source": self._source}
        bound = 32 * limits.TEMPLATE_BYTES
        reply = self._ask(process, request, limits.TEMPLATE_SECONDS, bound)
        if "error" in reply:
            self._stop()
        self._check(reply, 0)
        self._literals = Literals(tuple(reply["written"]), tuple(reply["sought"]))
        return process

    def _ask(
        self, process: subprocess.Popen[bytes], request: Any, seconds: float, bound: int
    ) -> dict[str, Any]:
        """Send a request (None: only wait) and read the reply, of at most `bound` bytes.

        The process is killed if that takes too long.
        """
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            if request is not None:
                write_frame(cast(BinaryIO, process.stdin), json.dumps(request).encode())
            reply = read_frame(cast(BinaryIO, process.stdout), bound)
        except OSError:
            reply = None
        except BaseException:
            # Ctrl-C: what the pipes hold no longer belongs to the next request.
            self._stop()
            raise
        finally:
            timer.cancel()
            timer.join()
        if reply is None or late.is_set():
            self._stop()
        if reply is None:
            return {"error": "time" if late.is_set() else "death"}
        return cast(dict[str, Any], json.loads(reply))

    def _stop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None

    def _check(self, reply: dict[str, Any], most: int) -> None:
        """Raise what a reply reports."""
        if "error" in reply:
            message = " ".join(str(reply.get("message", "")).split())[:300]
            form = _MESSAGES.get(str(reply["error"]), _MESSAGES["death"])
            reason = form.format(message=message, most=most)
            raise TemplateError(f"the chat template {self._where} {reason}")


def start() -> subprocess.Popen[bytes]:
    """Start a worker: this Python with only the standard library, jinja2 and tinychat on its path.

    Raises: MissingPackageError without a safe jinja2, TemplateError if no process can be started.
    """
    folders = [Path(__file__).resolve().parent.parent]
    for name in ("jinja2", "markupsafe"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise MissingPackageError(f"{name} is not installed; pip install 'jinja2>=3.1.6'")
        folders.append(Path(spec.origin).resolve().parent.parent)
    version = importlib.metadata.version("jinja2")
    if tuple(int(part) for part in version.split(".")[:3] if part.isdecimal()) < _JINJA:
        raise MissingPackageError(
            f"jinja2 {version} has known holes in its sandbox; pip install 'jinja2>=3.1.6'"
        )
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, *dict.fromkeys(map(str, folders))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            start_new_session=os.name == "posix",  # the terminal's Ctrl-C is not for the worker
        )
    except OSError as error:
        raise TemplateError(f"the process for chat templates cannot be started: {error}") from None


def end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Kill a worker and collect it, unless this is a fork of the process that started it."""
    if os.getpid() != owner:
        return
    process.kill()
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:
            pass  # a request that was never read
    process.wait()

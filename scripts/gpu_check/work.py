"""Programs under a time limit, and what a part may ask for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
# Of all that is run: our own sources first, no network.
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "PYTHONUNBUFFERED": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class PartError(Exception):
    """Why a part failed, in one line; what it has found all the same is its second argument."""

    def __init__(self, reason: str, found: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.found = dict(found or {})


@dataclass(frozen=True)
class Done:
    """How a program ended: its status, None where its time was up, and what it wrote."""

    status: int | None
    output: str
    stderr: str = ""

    def reason(self) -> str:
        """Why it failed: its last line, or that it took too long."""
        if self.status is None:
            return "its time was up"
        lines = [line for line in (self.stderr or self.output).splitlines() if line.strip()]
        last = lines[-1].strip()[:300] if lines else "it said nothing"
        return f"status {self.status}: {last}"


@dataclass
class Work:
    """What a part is given.

    Attributes:
        log: everything that programs write.
        end: when the time of the part is up, by `time.monotonic`.
        card: what is known of it.
    """

    log: Path
    card: Mapping[str, Any] = field(default_factory=dict)
    end: float = float("inf")

    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    def run(self, command: Sequence[str | Path], **environment: str) -> Done:
        """Run a program until its end or that of the time."""
        return self.run_all({"": (command, environment)})[""]

    def python(self, *words: str | Path, **environment: str) -> Done:
        """The same of a Python program."""
        return self.run([sys.executable, *words], **environment)

    def run_all(
        self, commands: Mapping[str, tuple[Sequence[str | Path], Mapping[str, str]]]
    ) -> dict[str, Done]:
        """Run programs, each with further variables of its environment, at the same time."""
        with contextlib.ExitStack() as stack:
            started = {
                name: stack.enter_context(_started(command, variables))
                for name, (command, variables) in commands.items()
            }
            done = {name: self._wait(*each) for name, each in started.items()}
        with self.log.open("a", encoding="utf-8") as log:
            for name, (command, _) in commands.items():
                log.write(f"\n$ {' '.join(map(str, command))}\n")
                log.write(done[name].output + done[name].stderr)
                log.write(f"-> {done[name].status}\n")
        return done

    def _wait(self, process: subprocess.Popen[bytes], out: Any, err: Any) -> Done:
        status: int | None
        try:
            status = process.wait(timeout=max(0.1, self.left()))
        except subprocess.TimeoutExpired:
            _kill(process)
            status = None
        return Done(status, *(_text(file) for file in (out, err)))


@contextlib.contextmanager
def _started(
    command: Sequence[str | Path], variables: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Any, Any]]:
    """A program in a session of its own, so that what it starts ends with it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT, **variables},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            yield process, out, err
        finally:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """A program and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode("utf-8", errors="replace"))

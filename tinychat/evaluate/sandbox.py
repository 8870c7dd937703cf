"""Runs a program that a model wrote, against tests, where it can do no harm.

Each program has a process of its own (`sandbox_worker.py`): this Python without site packages, an
empty folder, no input, no environment, bounds on memory and time. On Linux the kernel also denies
it files to write, other processes and the network. A program that searches the interpreter for what
the verdict is written with can cheat; it cannot reach anything else.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast

from tinychat import limits
from tinychat.errors import TinyChatError

PASSED = "passed"
TIME = "time"
"""Outcome of what did not end."""
DEATH = "death"
"""Outcome of what ended its process, or was ended, before the last test."""
_OUTCOMES = (PASSED, TIME, DEATH)

# What a worker may say it could not deny, as it ends "programs are not kept from …".
_LOOSE = {
    "memory": "taking much memory",
    "files": "changing files",
    "processes": "starting processes",
    "network": "using the network",
}
_WORKER = Path(__file__).with_name("sandbox_worker.py")
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_REPLY_BYTES = 4096


@dataclass(frozen=True)
class Program:
    """A solution, code that runs after it, and asserts."""

    code: str
    setup: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Sandbox:
    """Bounds on one program.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of computing.
        memory: bytes of address space.
    """

    seconds: float = limits.SAMPLE_SECONDS
    cpu_seconds: int = limits.SAMPLE_CPU_SECONDS
    memory: int = limits.SAMPLE_MEMORY

    def check(self) -> list[str]:
        """Run a program that passes; returns in words what programs are not kept from here.

        Raises: TinyChatError where none can be run.
        """
        if os.name != "posix":
            raise TinyChatError("programs can be run on Linux and macOS only")
        outcome, loose = self._run(Program("x = 1", "import math", ("assert x == 1",)))
        if outcome != PASSED:
            raise TinyChatError(f"a trivial program does not run in the sandbox here: {outcome}")
        return loose

    def run(self, program: Program) -> str:
        """The outcome: `PASSED`, `TIME`, `DEATH`, or the name of the exception that ended it."""
        return self._run(program)[0]

    def _run(self, program: Program) -> tuple[str, list[str]]:
        nonce = secrets.token_hex(16)
        request = {
            **asdict(program),
            "nonce": nonce,
            "limits": {
                "AS": self.memory,
                "CPU": self.cpu_seconds,
                "FSIZE": 0,
                "CORE": 0,
                "NOFILE": limits.SAMPLE_FILES,
            },
        }
        with tempfile.TemporaryDirectory(prefix="tinychat-") as folder:
            code, reply, late = self._exchange(json.dumps(request).encode(), folder)
        words = reply.decode("ascii", "replace").split()
        if len(words) < 3 or words[0] != nonce:
            return (TIME if late or code == -signal.SIGXCPU else DEATH), []
        loose = [_LOOSE[word] for word in words[1].split(",") if word != "-"]
        if words[2] == PASSED:
            return PASSED, loose
        name = words[3][:60] if len(words) > 3 else ""
        # A program names its exceptions; ours are not for it to take.
        return (name if name.isidentifier() and name not in _OUTCOMES else "exception"), loose

    def _exchange(self, request: bytes, folder: str) -> tuple[int, bytes, bool]:
        """Send a request to a new process.

        Returns: its exit status, a line that it wrote, and whether it had to be stopped.
        """
        process = start(folder)
        late = threading.Event()

        def stop() -> None:
            late.set()
            kill(process)

        timer = threading.Timer(self.seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            with suppress(BrokenPipeError), cast(BinaryIO, process.stdin) as requests:
                requests.write(request)
            # The verdict is the process's last word: a program that goes on behind it is killed.
            reply = cast(BinaryIO, process.stdout).readline(_REPLY_BYTES)
            if not reply:
                process.wait()
        finally:
            timer.cancel()
            timer.join()
            kill(process)
            process.wait()
            cast(BinaryIO, process.stdout).close()
        return process.returncode, reply, late.is_set()


def start(folder: str) -> subprocess.Popen[bytes]:
    """Start a worker in a folder. Raises: TinyChatError if no process can be started."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    # The order of a set of texts shall not differ from run to run; -I would ignore this.
    environment["PYTHONHASHSEED"] = "0"
    try:
        return subprocess.Popen(
            [sys.executable, "-S", "-s", "-B", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
            start_new_session=True,  # no terminal, no Ctrl-C, and one group to kill
        )
    except OSError as error:
        raise TinyChatError(f"no process for programs can be started: {error}") from None


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker with its whole process group; nothing happens where it has ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)

"""A terminal for tests: a process under a pseudo-terminal, and a screen that obeys us."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import termios
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from struct import pack
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, NoReturn

from rich.cells import cell_len

import tinychat
from tests.cli.fakes import FakeLLM, loader
from tinychat.cli.main import main

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\].*?(?:\x07|\x1b\\)")
PROMPT = ">>>"
# What the prompt writes when it takes over the keyboard.
READY = b"\x1b[?2004h"
PASTE = b"\x1b[200~%s\x1b[201~"
PATIENCE = 20.0


class Screen:
    """Rows of text under the few control sequences that a renderer of ours may use; any other is an
    error.

    Args:
        columns: where lines wrap.
    """

    def __init__(self, columns: int = 80) -> None:
        self.columns = columns
        self.rows: list[list[str]] = [[]]
        self.at = (0, 0)
        self.written: list[str] = []

    def write(self, text: str) -> None:
        """Obey `text`."""
        self.written.append(text)
        for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|[^\x1b]", text):
            self._obey(part)
        assert text.count("\x1b") == len(re.findall(r"\x1b\[[0-9;]*[AJm]", text)), repr(text)

    def _obey(self, part: str) -> None:
        row, column = self.at
        if part == "\n":
            self.at = (row + 1, 0)
        elif part == "\r":
            self.at = (row, 0)
        elif part.endswith("A") and part[0] == "\x1b":
            self.at = (row - int(part[2:-1]), column)
            assert self.at[0] >= 0, "the cursor left the screen"
        elif part.endswith("J") and part[0] == "\x1b":
            del self.rows[row + 1 :]
            del self.rows[row][column:]
        elif part[0] != "\x1b":
            self._put(part)
        while len(self.rows) <= self.at[0]:
            self.rows.append([])

    def _put(self, char: str) -> None:
        row, column = self.at
        width = cell_len(char)
        if column + width > self.columns:
            row, column = row + 1, 0
        while len(self.rows) <= row:
            self.rows.append([])
        cells = self.rows[row]
        cells.extend(" " * (column - len(cells)))
        cells[column : column + width] = [char, ""][:width]
        self.at = (row, column + width)

    @property
    def text(self) -> str:
        """What can be read on it."""
        return "\n".join("".join(row).rstrip() for row in self.rows).rstrip("\n")


class Terminal:
    """`tinychat` in a child process whose terminal we hold.

    The child is a fork, so that the libraries are there already; `load` gives it `llm`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        home: Path,
        llm: FakeLLM | None = None,
        environ: dict[str, str] | None = None,
        size: tuple[int, int] = (80, 24),
        redirect: dict[int, Path] | None = None,
    ) -> None:
        self.output = b""
        self._mark = 0
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        gate, opener = os.pipe()
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.read(gate, 1)
            for number, path in (redirect or {}).items():
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
            become(arguments, home, llm or FakeLLM(), environ or {})
        self.resize(*size)
        self.modes = termios.tcgetattr(self.descriptor)
        os.write(opener, b"x")  # only now may the child change them
        os.close(gate)
        os.close(opener)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, which the child is told by SIGWINCH."""
        ioctl(self.descriptor, termios.TIOCSWINSZ, pack("HHHH", rows, columns, 0, 0))

    def send(self, keys: bytes | str) -> None:
        """Type."""
        data = keys.encode() if isinstance(keys, str) else keys
        while data:
            written = os.write(self.descriptor, data[:1024])
            data = data[written:]
            self._pump(0)

    def paste(self, text: bytes | str) -> None:
        """Paste as a terminal with bracketed paste does."""
        self.send(PASTE % (text.encode() if isinstance(text, str) else text))

    def signal(self, number: int) -> None:
        """Send the child a signal."""
        os.kill(self.pid, number)

    def wait_for(self, text: str) -> None:
        """Wait until `text` has been written since the last prompt began."""
        self._until(lambda: text in plain(self.output[self._mark :]), repr(text))

    def prompt(self) -> str:
        """Wait for the next prompt to be ready for keys; returns what was written before it."""
        begin = -1

        def ready() -> bool:
            nonlocal begin
            begin = self.output.find(READY, self._mark)
            return begin >= 0 and PROMPT in plain(self.output[begin:])

        self._until(ready, "the prompt")
        before, self._mark = plain(self.output[self._mark : begin]), begin + len(READY)
        return before

    def keyboard_taken(self) -> None:
        """Wait until the child reads keys one by one, as its prompt does."""
        self._until(lambda: not self._modes() & termios.ICANON, "the prompt's mode")

    def answering(self) -> None:
        """Wait until keys are signals again and not shown, as while an answer is made."""
        wanted = termios.ICANON
        self._until(
            lambda: self._modes() & (termios.ICANON | termios.ECHO) == wanted, "the answer's mode"
        )

    def _modes(self) -> int:
        modes: int = termios.tcgetattr(self.descriptor)[3]
        return modes

    def settle(self) -> None:
        """Wait until the child has had nothing to write for a while."""
        while self._pump(0.5):
            pass
        self._mark = len(self.output)

    def ask(self, line: str) -> str:
        """Type a line at the prompt and wait for the next prompt; returns what came between."""
        self.send(line + "\r")
        return self.prompt()

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            alive = self._alive()
            if not self._pump(0.05) and not condition():
                text = plain(self.output[self._mark :])
                assert alive, f"it ended before {what} came; there is {text!r}"
                assert time.monotonic() < deadline, f"{what} did not come; there is {text!r}"

    def end(self) -> int:
        """Wait for the child to end; returns its exit code, negative for a signal."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self._pump(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._pump(0)
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"it does not end; there is {self.text!r}"

    def hang_up(self) -> None:
        """Close the terminal window."""
        os.close(self.descriptor)
        self.descriptor = -1

    @property
    def text(self) -> str:
        """All output without control sequences."""
        return plain(self.output)

    def same_modes(self) -> bool:
        """Whether the terminal is set as it was at the start."""
        return termios.tcgetattr(self.descriptor) == self.modes

    def _alive(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def _pump(self, seconds: float) -> bool:
        """Take what the child has written; whether there was anything."""
        found = False
        while self.descriptor >= 0 and select.select([self.descriptor], [], [], seconds)[0]:
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:  # the child has closed its side
                break
            if not data:
                break
            self.output += data
            found, seconds = True, 0
        return found

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.descriptor >= 0:
            os.close(self.descriptor)


@dataclass(frozen=True)
class Finished:
    """What a run without a terminal left behind."""

    code: int
    out: str
    err: str


def run_piped(
    arguments: Sequence[str],
    home: Path,
    llm: FakeLLM | None = None,
    stdin: bytes = b"",
    environ: dict[str, str] | None = None,
    out: int | None = None,
) -> Finished:
    """Run `tinychat` in a forked child whose standard streams are files.

    Args:
        out: a descriptor for standard output instead of a file.
    """
    with TemporaryFile() as source, TemporaryFile() as target, TemporaryFile() as messages:
        source.write(stdin)
        source.seek(0)
        pid = os.fork()
        if pid == 0:
            os.dup2(source.fileno(), 0)
            os.dup2(target.fileno() if out is None else out, 1)
            os.dup2(messages.fileno(), 2)
            become(arguments, home, llm or FakeLLM(), environ or {})
        _, status = os.waitpid(pid, 0)
        texts = []
        for file in (target, messages):
            file.seek(0)
            texts.append(file.read().decode("utf-8", errors="surrogateescape"))
    return Finished(os.waitstatus_to_exitcode(status), *texts)


def become(arguments: Sequence[str], home: Path, llm: FakeLLM, environ: dict[str, str]) -> NoReturn:
    """Turn this forked process into `tinychat` on the descriptors 0, 1 and 2, and end it."""
    code = 99
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update({"TERM": "xterm", "HOME": str(home), "TINYCHAT_HOME": str(home)})
        os.environ.update({"PROMPT_TOOLKIT_NO_CPR": "1", **environ})
        encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.stdout = open(1, "w", encoding=encoding, closefd=False)
        sys.stderr = open(2, "w", encoding=encoding, closefd=False)
        vars(tinychat)["load"] = loader(llm)
        code = main(arguments)
        sys.stdout.flush()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def plain(output: bytes) -> str:
    """Output as a reader sees it, without control sequences and carriage returns."""
    return CONTROL.sub("", output.decode("utf-8", errors="replace")).replace("\r", "")


def state(home: Path) -> list[Any]:
    """Every file under `home` with its permissions."""
    return sorted(
        (str(path.relative_to(home)), oct(path.stat().st_mode & 0o777))
        for path in home.rglob("*")
        if path.is_file()
    )

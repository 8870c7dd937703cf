"""Programs that misbehave fail, harm nothing, and leave nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinychat.errors import TinyChatError
from tinychat.evaluate import sandbox as module
from tinychat.evaluate.sandbox import DEATH, PASSED, TIME, Program, Sandbox
from tinychat.evaluate.sandbox_worker import filter_code

RIGHT = "def f():\n    return 1\n"
TESTS = ("assert f() == 1",)


def has_landlock() -> bool:
    """Whether the kernel can deny changes to files; 444 is landlock_create_ruleset."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.syscall(ctypes.c_long(444), None, ctypes.c_ulong(0), ctypes.c_uint(1)) >= 1)


linux = pytest.mark.skipif(not has_landlock(), reason="the kernel here cannot confine a process")


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Folders and processes are as before."""
    folders = tmp_path / "folders"
    folders.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    yield
    assert list(folders.iterdir()) == []
    assert inhabitants(folders) == []


def inhabitants(folder: Path) -> list[str]:
    """Processes that live in a folder, or did before it went: workers and whatever they started."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if os.readlink(link).startswith(f"{folder}/"):
                found.append(link.parent.name)
    return found


def outcome(code: str, setup: str = "", tests: tuple[str, ...] = TESTS) -> str:
    """What becomes of a program, which may compute for a second."""
    return Sandbox(cpu_seconds=1).run(Program(code, setup, tests))


@pytest.mark.parametrize(
    "code",
    [
        RIGHT,
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\ndef f(): return A(1).x",
        "import asyncio\nasync def g(): return 1\ndef f(): return asyncio.run(g())",
        "import threading\nr = []\nt = threading.Thread(target=r.append, args=(1,))\n"
        "t.start(); t.join()\ndef f(): return r[0]",
        "import re, math, heapq, itertools, collections, decimal, random, datetime\n" + RIGHT,
        "print('x' * 10**7)\n" + RIGHT,
        "if __name__ == '__main__':\n    raise SystemExit(input())\n" + RIGHT,
        "import os, sys\nassert os.listdir() == [] and sys.stdin.read() == ''\n"
        "assert 'HOME' not in os.environ and sys.argv == ['answer']\n" + RIGHT,
        "import sys\nassert not [p for p in sys.path if 'packages' in p or 'tinychat' in p]\n"
        + RIGHT,
    ],
    ids=["plain", "class", "async", "thread", "library", "print", "main", "clean", "path"],
)
def test_what_a_right_program_may_do(code: str) -> None:
    assert outcome(code) == PASSED


def test_setup_runs_between_program_and_tests() -> None:
    assert outcome("class A: pass", "a = A()", ("assert a", "assert type(a) is A")) == PASSED
    assert outcome(RIGHT, "import math", ("assert f() == math.floor(1.5)",)) == PASSED


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(): return 2", "AssertionError"),
        ("def g(): return 1", "NameError"),
        ("def f(: return 1", "SyntaxError"),
        ("", "NameError"),
        ("def f(): return f()", "RecursionError"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("def f():\n    raise SystemExit(0)", "SystemExit"),
        ("exit()", "NameError"),  # there is no site module
        ("import os\nos._exit(0)", DEATH),
        ("import os\ndef f(): os._exit(0)", DEATH),
        ("import os\nos.abort()", DEATH),
        ("import ctypes\nctypes.string_at(0)", DEATH),
        ("while True: pass", TIME),
        ("while True: print('x' * 10**6)", TIME),
        ("def f():\n    while True:\n        try:\n            g()\n        except: pass", TIME),
        ("import tinychat\n" + RIGHT, "ModuleNotFoundError"),
    ],
)
def test_failures_are_named(code: str, expected: str) -> None:
    assert outcome(code) == expected


@pytest.mark.parametrize(
    "code",
    ["x = bytearray(2 << 30)\n" + RIGHT, "x = []\nwhile True: x.append(bytearray(1 << 20))"],
)
def test_memory_is_bounded(code: str) -> None:
    # The system clears a gigabyte of pages until the bound is met, which can take a second.
    assert Sandbox().run(Program(code, "", TESTS)) == "MemoryError"


def test_sleeping_is_stopped_by_the_clock() -> None:
    sandbox = Sandbox(seconds=1)
    assert sandbox.run(Program("import time\ntime.sleep(10**6)", "", TESTS)) == TIME
    assert sandbox.run(Program("import os\nos.closerange(0, 99)\nwhile 1: pass", "", TESTS)) == TIME


@pytest.mark.parametrize(
    "code",
    [
        # What checks the answer, replaced.
        "import builtins\nbuiltins.exec = lambda *a: None\ndef f(): return 2",
        "import builtins\nbuiltins.AssertionError = SystemExit\ndef f(): return 2",
        "import builtins\nbuiltins.compile = lambda *a: 'pass'\ndef f(): return 2",
        "import json\njson.dumps = lambda *a: 'passed'\ndef f(): return 2",
        "import os\nos.write = os._exit = print\ndef f(): return 2",
        "import sys\nsys.modules.clear()\ndef f(): return 2",
        # The verdict, forged.
        "class passed(Exception): pass\nraise passed",
        "import os\nfor i in range(3, 32):\n    try: os.write(i, b'- passed\\n')\n"
        "    except OSError: pass\nos._exit(0)",
        "import os\nfor i in range(3, 32):\n    try: os.write(i, b'x' * 10**6)\n"
        "    except OSError: pass\nos._exit(0)",
        "import os\nos.closerange(0, 32)\n" + RIGHT,
        "class M(type):\n    __name__ = property(lambda s: 1 / 0)\n"
        "class E(Exception, metaclass=M): pass\nraise E",
        "E = type('a passed', (Exception,), {})\nraise E",
        "import atexit, os\natexit.register(os._exit, 0)\ndef f(): return 2",
    ],
)
def test_a_wrong_program_cannot_pass(code: str) -> None:
    assert outcome(code) != PASSED


def test_builtins_are_whole_again_for_the_tests() -> None:
    code = "import builtins\nbuiltins.set = lambda x: 1\ndef f(): return [1, 2]"
    assert outcome(code, "", ("assert set(f()) == set([1])",)) == "AssertionError"


@linux
@pytest.mark.parametrize(
    "act",
    [
        "os.fork()",
        "while True: os.fork()",
        "subprocess.run(['true'])",
        "multiprocessing.Process(target=print).start()",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "open('file', 'w')",
        "open(canary, 'a').write('x')",
        "os.mkdir('folder')",
        "os.unlink(canary)",
        "os.rename(canary, canary + '2')",
        "os.symlink(canary, 'link')",
        "os.chmod(canary, 0)",
        "os.truncate(canary, 0)",
        "os.utime(canary)",
        "os.mkfifo('fifo')",
        "shutil.rmtree(os.path.dirname(canary))",
        "tempfile.mkstemp()",
        "socket.create_connection(('127.0.0.1', port))",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "urllib.request.urlopen(f'http://127.0.0.1:{port}')",
        "os.kill(os.getppid(), 15)",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9))",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "open('/dev/tty')",
    ],
)
def test_the_system_is_out_of_reach(act: str, tmp_path: Path) -> None:
    canary = tmp_path / "kept" / "canary"
    canary.parent.mkdir()
    canary.write_text("alive")
    before = canary.stat()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        code = (
            "import os, subprocess, multiprocessing, shutil, tempfile, socket, resource\n"
            f"import urllib.request\ncanary, port = {str(canary)!r}, {server.getsockname()[1]}\n"
            f"{act}\n{RIGHT}"
        )
        result = outcome(code)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert result not in (PASSED, TIME, "NameError", "SyntaxError", "ImportError")
    assert canary.read_text() == "alive"
    assert (canary.stat().st_mode, canary.stat().st_mtime_ns) == (
        before.st_mode,
        before.st_mtime_ns,
    )
    assert list(canary.parent.iterdir()) == [canary]


@linux
def test_the_kernel_keeps_it_even_from_native_code() -> None:
    """What libc is asked for directly, with the superuser's calls among it."""
    code = (
        "import ctypes\nc = ctypes.CDLL(None)\n"
        "assert c.fork() == -1 and c.vfork() == -1 and c.system(b'true') != 0\n"
        "assert c.socket(2, 1, 0) == -1 and c.kill(1, 0) == -1\n"
        "assert c.mount(b'x', b'/mnt', b'tmpfs', 0, None) == -1\n"
        "assert c.unshare(0x10000000) == -1 and c.syscall(435, 0, 0) == -1\n"
    )
    assert outcome(code + RIGHT) == PASSED


@linux
def test_nothing_is_loose_here() -> None:
    assert Sandbox().check() == []


def test_a_filter_allows_what_it_does_not_name() -> None:
    """The jumps of the filter, followed for both machines."""
    for column, architecture in ((0, 0xC000003E), (1, 0xC00000B7)):
        code = list(struct.iter_unpack("=HBBI", filter_code(column, architecture)))
        socket_, clone, read = ((41, 56, 0), (198, 220, 63))[column]
        assert follow(code, architecture, read, 0) == 0x7FFF0000
        assert follow(code, architecture, socket_, 0) == 0x00050001
        assert follow(code, architecture, clone, 17) == 0x00050001  # a process
        assert follow(code, architecture, clone, 0x3D0F00) == 0x7FFF0000  # a thread
        assert follow(code, architecture, 435, 0) == 0x00050026
        assert follow(code, architecture, 0x40000000 + read, 0) == 0x00050001
        assert follow(code, 0x40000003, read, 0) == 0x80000000


def follow(code: list[tuple[int, ...]], architecture: int, number: int, flags: int) -> int:
    """Run a filter on one system call."""
    seen = {0: number, 4: architecture, 16: flags}
    accumulator = at = 0
    while True:
        operation, yes, no, value = code[at]
        if operation == 0x06:
            return value
        at += 1
        if operation == 0x20:
            accumulator = seen[value]
        else:
            tests = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }
            at += yes if tests[operation] else no


def test_what_the_system_does_not_deny_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, os; request = sys.stdin.read(); import json;"
        "print(json.loads(request)['nonce'], 'files,network', 'passed')"
    )
    monkeypatch.setattr(module, "start", lambda folder: fake(code))
    assert Sandbox().check() == ["changing files", "using the network"]


@pytest.mark.parametrize("code", ["pass", "print('nonsense')", "raise SystemExit(3)"])
def test_a_sandbox_that_does_not_work_is_an_error_and_no_score(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "start", lambda folder: fake(code))
    with pytest.raises(TinyChatError, match="a trivial program does not run"):
        Sandbox().check()


def fake(code: str) -> subprocess.Popen[bytes]:
    """A process in place of a worker."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def test_ctrl_c_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> bytes:
        raise KeyboardInterrupt

    started: list[subprocess.Popen[bytes]] = []
    start = module.start

    def watched(folder: str) -> subprocess.Popen[bytes]:
        process = start(folder)
        started.append(process)
        process.stdout.readline = interrupt  # type: ignore[union-attr, method-assign]
        return process

    monkeypatch.setattr(module, "start", watched)
    with pytest.raises(KeyboardInterrupt):
        Sandbox().run(Program("while True: pass", "", TESTS))
    assert started[0].returncode == -9
    monkeypatch.undo()
    assert Sandbox().run(Program(RIGHT, "", TESTS)) == PASSED

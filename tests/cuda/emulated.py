"""The test kernels of this folder, compiled as host C++ and called through ctypes."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from tests.conftest import REPOSITORY

HERE = Path(__file__).resolve().parent
CSRC = REPOSITORY / "csrc"
EMULATION = sorted((CSRC / "cuda" / "emulation").glob("*.cpp"))
FLAGS = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-Wno-unknown-pragmas"]
ORDERS = ("forward", "reverse", "shuffled")
ARCHITECTURES = (750, 800, 900)  # whose paths of the kernels differ


def compiler() -> list[str]:
    """The C++ compiler of setup.py's choice; skips where there is none."""
    chosen = os.environ.get("CXX")
    candidates = [shlex.split(chosen)] if chosen else [["c++"], ["g++"], ["clang++"]]
    for command in candidates:
        if shutil.which(command[0]):
            return command
    pytest.skip("no C++ compiler on this machine")


def build(target: Path, names: tuple[str, ...], *flags: str) -> subprocess.CompletedProcess[str]:
    """Compile files of this folder with the emulation into one program or library."""
    emulation = [path for path in EMULATION if path.stem != "module"]
    sources = [str(path) for path in (*(HERE / name for name in names), *emulation)]
    command = [*compiler(), *FLAGS, *flags, f"-I{CSRC}", "-o", str(target), "-x", "c++", *sources]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class _Settings(ctypes.Structure):
    _fields_ = (
        ("arch", ctypes.c_int32),
        ("order", ctypes.c_int32),
        ("seed", ctypes.c_uint32),
        ("late_copies", ctypes.c_int32),
        ("coresident", ctypes.c_int32),
        ("overlap", ctypes.c_int32),
    )


class Queue(ctypes.Structure):
    """csrc/cuda/queue.h."""

    _fields_ = (
        ("stream", ctypes.c_void_p),
        ("arch", ctypes.c_int),
        ("programmatic", ctypes.c_bool),
    )


@dataclass(frozen=True)
class Schedule:
    """What hardware leaves open; settings.h says what each means."""

    arch: int = 900
    order: str = "forward"
    seed: int = 0
    late_copies: bool = True
    coresident: bool = False
    overlap: bool = False

    def open(self, module: Any) -> Any:
        """A stream of the emulated card, as its module has it."""
        return module.Stream(**{**asdict(self), "order": getattr(module.Order, self.order)})


SHUFFLED = Schedule(order="shuffled")
# Everything that a right kernel must not notice.
SCHEDULES = tuple(
    replace(base, arch=arch, late_copies=late)
    for base in (
        *(Schedule(order=order) for order in ORDERS),
        Schedule(order="shuffled", seed=1),
        Schedule(order="shuffled", seed=2, coresident=True),
        Schedule(order="reverse", overlap=True),
    )
    for arch in ARCHITECTURES
    for late in (True, False)
)


class Library:
    """The test kernels by name: tensors go as addresses, a message that comes back is raised."""

    def __init__(self, path: Path) -> None:
        self.native = ctypes.CDLL(str(path))

    @contextmanager
    def stream(self, schedule: Schedule) -> Iterator[Stream]:
        settings = _Settings(
            schedule.arch,
            ORDERS.index(schedule.order),
            schedule.seed,
            schedule.late_copies,
            schedule.coresident,
            schedule.overlap,
        )
        self.native.open_stream.restype = ctypes.c_void_p
        address = self.native.open_stream(ctypes.byref(settings))
        try:
            yield Stream(self, Queue(address, schedule.arch, schedule.overlap))
        finally:
            self.native.close_stream(ctypes.c_void_p(address))

    def run(self, name: str, schedule: Schedule, *arguments: Tensor | float) -> None:
        """Launch one kernel on a stream of its own and wait for it."""
        with self.stream(schedule) as stream:
            stream.launch(name, *arguments)
            stream.synchronize()


class Stream:
    """A stream of an emulated card and the queue that leads to it; of a card, to launch alone."""

    def __init__(self, library: Library, queue: Queue) -> None:
        self._library = library
        self._queue = queue

    def launch(self, name: str, *arguments: Tensor | float) -> None:
        self._call(name, ctypes.byref(self._queue), *map(_argument, arguments))

    def synchronize(self) -> None:
        self._call("synchronize", ctypes.c_void_p(self._queue.stream))

    def _call(self, name: str, *words: object) -> None:
        function = getattr(self._library.native, name)
        function.restype = ctypes.c_char_p
        if message := function(*words):
            raise RuntimeError(message.decode())


def _argument(value: Tensor | float) -> object:
    if isinstance(value, Tensor):
        assert value.is_contiguous()
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, bool):
        return ctypes.c_bool(value)
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int(value)

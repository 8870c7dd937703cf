"""The CUDA compiler: where it is and what it compiles for. setup.py, compile_cuda.py and gpu_check
share it.

Settings, all optional: NVCC names the compiler; TINYCHAT_CUDA=0 builds without CUDA;
TINYCHAT_CUDA_ARCHS says what to build for: "all", or numbers such as "80,90".
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 120)
OLDEST_TOOLKIT = (12, 0)  # whose language, runtime calls and attributes of a launch are used
LANGUAGE = ("-std=c++17", "-O3")
# torch brings a CUDA runtime too: with no name of ours in sight, neither takes the other's.
LINK = ("-shared", "-cudart", "static", "-Xlinker", "--exclude-libs,ALL")


class LeftOut(Exception):
    """Why nothing is built for CUDA, which is no mistake."""


def find_nvcc(chosen: str | None = None) -> str | None:
    """The path of the one asked for, or of the first in the usual places; None for none."""
    folders = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    usual = ["nvcc", *(os.path.join(folder, "bin", "nvcc") for folder in folders if folder)]
    asked = chosen or os.environ.get("NVCC")
    return next(filter(None, map(shutil.which, [asked] if asked else usual)), None)


@dataclass(frozen=True)
class Nvcc:
    """A CUDA compiler."""

    path: str
    version: tuple[int, int]
    known: tuple[int, ...]  # all that it compiles for

    @classmethod
    def find(cls, chosen: str | None = None) -> Nvcc | None:
        """What it says of itself; None where there is none, see `find_nvcc`. Exits where it does
        not work.
        """
        path = find_nvcc(chosen)
        if path is None:
            return None

        def answer(question: str) -> str:
            done = subprocess.run([path, question], capture_output=True, text=True, check=False)
            return done.stdout

        release = re.search(r"release (\d+)\.(\d+)", answer("--version"))
        if release is None:
            sys.exit(f"{path} is no CUDA compiler that works; TINYCHAT_CUDA=0 builds without CUDA")
        known = re.findall(r"\bsm_(\d+)\b", answer("--list-gpu-code"))
        return cls(path, (int(release[1]), int(release[2])), tuple(sorted(map(int, known))))

    def name(self) -> str:
        """For messages."""
        return "{} {}.{}".format(self.path, *self.version)

    def all(self) -> list[int]:
        """What this project builds for and this compiler knows."""
        return [number for number in ARCHITECTURES if number in self.known]

    def for_cards(self, cards: Sequence[int]) -> list[int]:
        """For each card its own architecture, or the newest before it."""
        older = ([a for a in self.known if ARCHITECTURES[0] <= a <= card] for card in cards)
        return sorted({numbers[-1] for numbers in older if numbers})


def gencode(architectures: Sequence[int]) -> list[str]:
    """Flags for code of each, and for PTX of the newest, which newer cards compile themselves."""
    newest = max(architectures)
    flags = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in architectures if n != newest]
    return [*flags, f"-gencode=arch=compute_{newest},code=[sm_{newest},compute_{newest}]"]


def cards_here() -> list[int]:
    """The architectures of this machine's cards, as the driver says; none without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count, value = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []

    def attribute(which: int, card: int) -> int:
        failed = driver.cuDeviceGetAttribute(ctypes.byref(value), which, card)
        return 0 if failed else value.value

    major, minor = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
    return [10 * attribute(major, card) + attribute(minor, card) for card in range(count.value)]


def choose(for_this_machine: bool) -> tuple[Nvcc, list[int]]:
    """The compiler and what to build for: what was asked for; or the cards of this machine, where
    the build stays on it; or all.

    Raises: LeftOut with the reason where nothing is to be built.
    """
    if os.environ.get("TINYCHAT_CUDA") == "0":
        raise LeftOut("TINYCHAT_CUDA=0")
    asked = os.environ.get("TINYCHAT_CUDA_ARCHS", "")
    try:
        nvcc = find_usable()
    except LeftOut as reason:
        if asked:
            sys.exit(f"TINYCHAT_CUDA_ARCHS={asked!r}: {reason}; NVCC can name another one")
        raise
    if asked == "all" or not (asked or for_this_machine):
        return nvcc, nvcc.all()
    if asked:
        return nvcc, read_architectures(asked, nvcc)
    cards = cards_here()
    if not cards:
        raise LeftOut("no NVIDIA card here; TINYCHAT_CUDA_ARCHS=all builds for every one")
    numbers = nvcc.for_cards(cards)
    if not numbers:
        raise LeftOut(f"the card here, sm_{max(cards)}, is older than sm_{ARCHITECTURES[0]}")
    return nvcc, numbers


def find_usable() -> Nvcc:
    """The compiler.

    Raises: LeftOut where there is none, or an old one.
    """
    nvcc = Nvcc.find()
    if nvcc is None:
        raise LeftOut(f"found no {os.environ.get('NVCC') or 'nvcc'}, CUDA's compiler")
    if nvcc.version < OLDEST_TOOLKIT:
        raise LeftOut("{} is older than {}.{}".format(nvcc.name(), *OLDEST_TOOLKIT))
    return nvcc


def read_architectures(asked: str, nvcc: Nvcc) -> list[int]:
    """The numbers in "80,90", "8.0 9.0" and the like; exits where one is not known."""
    possible = [number for number in nvcc.known if number >= ARCHITECTURES[0]]
    numbers = sorted(set(map(int, re.findall(r"\d+", asked.replace(".", "")))))
    if not numbers or not set(numbers) <= set(possible):
        listed = ", ".join(map(str, possible))
        sys.exit(f"TINYCHAT_CUDA_ARCHS={asked!r}: {nvcc.name()} builds for {listed}, or all")
    return numbers

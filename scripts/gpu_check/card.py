"""What the parts that talk to the card share: test kernels compiled for it, where launches go, and
how they are timed. A test puts the emulation in the place of `Card`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from scripts.gpu_check.work import ROOT
from scripts.nvcc import LANGUAGE, LINK, find_nvcc, gencode
from tests.cuda.emulated import Library, Queue, Stream
from tinychat.kernels.cards import PROGRAMMATIC_FROM

BUILT = ROOT / "build" / "gpu_check"


def compile_library(source: Path, target: Path, arch: int) -> None:
    """Compile a file of kernels and their launchers into a library for ctypes; exits where that
    fails.
    """
    nvcc = find_nvcc()
    if nvcc is None:
        sys.exit("error: no nvcc on PATH, in NVCC or in CUDA's usual folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [nvcc, *LANGUAGE, f"-I{ROOT / 'csrc'}", *gencode([arch // 10]), *LINK]
    command += ["-Xcompiler", "-fPIC,-fvisibility=hidden", "-o", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {source.name} does not compile:\n{done.stdout}{done.stderr}")


@dataclass(frozen=True)
class Facts:
    """What is known of a card."""

    name: str
    arch: int  # 900 is sm_90
    multiprocessors: int
    l2_bytes: int
    free_bytes: int  # of its memory


class Card:
    """The kernels of a library on the card: tensors go as addresses, as in `Library`."""

    device = "cuda"

    def __init__(self, source: Path) -> None:
        self.facts = self.look()
        path = BUILT / f"{source.stem}_sm_{self.facts.arch // 10}.so"
        compile_library(source, path, self.facts.arch)
        self._library = Library(path)

    @staticmethod
    def look() -> Facts:
        """At the card that torch uses."""
        found = torch.cuda.get_device_properties(torch.cuda.current_device())
        arch = found.major * 100 + found.minor * 10
        free, _ = torch.cuda.mem_get_info()
        return Facts(found.name, arch, found.multi_processor_count, found.L2_cache_size, free)

    def programmatic(self) -> tuple[bool, ...]:
        """The kinds of launches there are: programmatic ones first."""
        return (True, False) if self.facts.arch >= PROGRAMMATIC_FROM else (False,)

    def stream(self, programmatic: bool = True) -> Stream:
        """Launches on the current stream of torch, programmatic ones where the card has them."""
        overlap = programmatic and self.programmatic()[0]
        handle = torch.cuda.current_stream().cuda_stream
        return Stream(self._library, Queue(handle, self.facts.arch, overlap))

    def queue(self, module: ModuleType, programmatic: bool = True) -> Any:
        """The same for the ops of the extension."""
        overlap = programmatic and self.programmatic()[0]
        return module.Queue(torch.cuda.current_stream().cuda_stream, self.facts.arch, overlap)

    def synchronize(self) -> None:
        """Wait until all is done."""
        torch.cuda.synchronize()

    def run(self, launches: list[tuple[Any, ...]]) -> None:
        """Launch kernels one after the other, each a name and arguments, and wait for them."""
        self.synchronize()  # what fills the tensors goes to another stream
        stream = self.stream()
        for name, *arguments in launches:
            stream.launch(name, *arguments)
        self.synchronize()

    def own_stream(self) -> AbstractContextManager[Any]:
        """With a stream that is not the default one, which waits for all others."""
        return torch.cuda.stream(torch.cuda.Stream())

    def capture(self, launch: Callable[[], None]) -> Callable[[], None]:
        """The launches of a function as a graph, after one run without: it loads the kernels.

        Returns: what replays them.
        """
        self.synchronize()
        with self.own_stream():
            launch()
            self.synchronize()
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin()  # torch.cuda.graph would collect garbage each time
            launch()
            graph.capture_end()
        return graph.replay

    def seconds(self, work: Callable[[], None], repeats: int, calls: int = 5) -> list[float]:
        """How long one call takes on the card, so many times, after a warm-up: `calls` follow each
        other between two events, so that the host's part in the first is shared by all.
        """
        for _ in range(2):
            work()
        taken = []
        for _ in range(repeats):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(calls):
                work()
            end.record()
            end.synchronize()
            taken.append(begin.elapsed_time(end) / 1000 / calls)
        return taken


def summary(taken: list[float]) -> dict[str, float]:
    """Best, median and spread, in microseconds."""
    middle = statistics.median(taken)
    return {
        "best_us": min(taken) * 1e6,
        "median_us": middle * 1e6,
        "spread": (max(taken) - min(taken)) / middle,
    }


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Of a part: `--json FILE` is where its result goes."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--json", type=Path, help="where the result goes")
    return made


def write(result: dict[str, Any], path: Path | None) -> None:
    """What is found so far, to its file where it has one."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def finish(result: dict[str, Any], path: Path | None, wrong: str = "") -> None:
    """Write the result, print it where it has no file, and exit with 1 where something is wrong."""
    write(result, path)
    if path is None:
        print(json.dumps(result, indent=1))
    if wrong:
        sys.exit(f"error: {wrong}")

"""What the parts that talk to the card share: test kernels compiled for it, where launches go, and
how they are timed. Needs torch with CUDA, but for `compile_library`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scripts.compile_cuda import CSRC, find_nvcc
from tests.cuda.emulated import Library, Queue, Stream

ROOT = CSRC.parent
BUILT = ROOT / "build" / "gpu_check"
FIRST_PROGRAMMATIC = 900  # architecture that has programmatic launches


def own_arch() -> int:
    """Of the card: 900 is sm_90."""
    major, minor = torch.cuda.get_device_capability()
    return major * 100 + minor * 10


def compile_library(source: Path, target: Path, arch: int) -> None:
    """Compile a file of kernels and their launchers into a library for ctypes; exits where that
    fails.
    """
    nvcc = find_nvcc(None)
    if nvcc is None:
        sys.exit("error: no nvcc on PATH, in NVCC or in CUDA's usual folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    code = f"arch=compute_{arch // 10},code=sm_{arch // 10}"
    command = [nvcc, "-std=c++17", "-O3", f"-I{CSRC}", "-gencode", code, "-shared", "-Xcompiler"]
    command += ["-fPIC,-fvisibility=hidden", "-o", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {source.name} does not compile:\n{done.stdout}{done.stderr}")


class Card:
    """The kernels of a library on the card: tensors go as addresses, as in `Library`."""

    def __init__(self, source: Path) -> None:
        self.arch = own_arch()
        path = BUILT / f"{source.stem}_sm_{self.arch // 10}.so"
        compile_library(source, path, self.arch)
        self._library = Library(path)

    def stream(self, programmatic: bool = True) -> Stream:
        """Launches on the current stream of torch, programmatic ones where the card has them."""
        handle = torch.cuda.current_stream().cuda_stream
        overlap = programmatic and self.arch >= FIRST_PROGRAMMATIC
        return Stream(self._library, Queue(handle, self.arch, overlap))

    def run(self, name: str, *arguments: torch.Tensor | float) -> None:
        """Launch one kernel and wait for it."""
        torch.cuda.synchronize()
        self.stream().launch(name, *arguments)
        torch.cuda.synchronize()


def capture(launch: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """The launches of a function as a graph, after one run without: it loads the kernels."""
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        launch()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        launch()
    return graph


def seconds(work: Callable[[], None], repeats: int, calls: int = 5) -> list[float]:
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


def finish(result: dict[str, Any], path: Path | None, wrong: str = "") -> None:
    """Write the result, print it where it has no file, and exit with 1 where something is wrong."""
    text = json.dumps(result, indent=1)
    if path is None:
        print(text)
    else:
        path.write_text(text + "\n", encoding="utf-8")
    if wrong:
        sys.exit(f"error: {wrong}")

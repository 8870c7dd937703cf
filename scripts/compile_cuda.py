"""Compile the CUDA kernels for every architecture and hold them to their budgets; needs no card.

Usage: python scripts/compile_cuda.py [--nvcc PATH] [--architectures 75,90] [--jobs N] [files]
    files            .cu files instead of all of csrc/cuda; those need no budget
    --nvcc           the compiler; by default the one that setup.py takes (see scripts/nvcc.py)
    --architectures  some instead of all that this project builds for
    --jobs           files that are compiled at a time; by default one for each processor

Warnings are errors. Prints kernel x architecture -> registers and static shared memory, the most of
all variants of a template; exits 1 where a kernel spills, passes its budget or has none, and with 0
and the reason where there is no nvcc.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nvcc import ARCHITECTURES, LANGUAGE, Nvcc

CSRC = Path(__file__).resolve().parent.parent / "csrc"
HOST_WARNINGS = "-Wall,-Wextra,-Wshadow,-Werror"


@dataclass(frozen=True)
class Budget:
    """The most that any variant of a kernel may take, on any architecture.

    A multiprocessor has 65536 registers: 64 a thread let 1024 threads run, 128 half of them.
    """

    registers: int
    shared: int = 0  # bytes of static shared memory; kernels take the dynamic one


BUDGETS = {
    "activation_kernel": Budget(registers=40),
    "attn_decode_kernel": Budget(registers=255),
    "dequantize_kernel": Budget(registers=64),
    "embedding_kernel": Budget(registers=32),
    "gemm_kernel": Budget(registers=255),  # two blocks of 128 at once, and more of small tiles
    "gemv_kernel": Budget(registers=128),  # two blocks of 256 at once, with 64 KB on their way
    "halves_kernel": Budget(registers=64),
    "norm_kernel": Budget(registers=64),
    "refine_choose_kernel": Budget(registers=64),  # 1024 threads
    "refine_kernel": Budget(registers=128),  # as gemv
    "rope_append_kernel": Budget(registers=64),
    "sample_kernel": Budget(registers=64),
}


@dataclass(frozen=True)
class Usage:
    """What ptxas says of one variant of a kernel on one architecture."""

    kernel: str
    architecture: str
    registers: int
    shared: int
    spilled: int


def compile_file(nvcc: str, source: Path, architectures: list[int]) -> str:
    """What ptxas says of the kernels of a file; exits where it does not compile."""
    command = [nvcc, *LANGUAGE, f"-I{CSRC}", "-Werror", "all-warnings"]
    command += ["-Xcompiler", HOST_WARNINGS, "-Xptxas", "-v"]
    for number in architectures:
        command += ["-gencode", f"arch=compute_{number},code=sm_{number}"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["-c", str(source), "-o", str(Path(folder, "object.o"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {source} does not compile:\n{done.stdout}{done.stderr}")
    return done.stderr


def kernel_name(mangled: str) -> str:
    """The last of the names in a mangled one, each of which stands behind its length."""
    name = mangled
    rest = re.sub(r"^_ZN?", "", mangled)
    while length := re.match(r"\d+", rest):
        begin = length.end()
        name, rest = rest[begin:][: int(length.group())], rest[begin + int(length.group()) :]
    return name


def read_usage(text: str) -> Iterator[Usage]:
    """The kernels of `-Xptxas -v`."""

    def number(pattern: str, section: str) -> int:
        return sum(map(int, re.findall(pattern, section)))

    for section in text.split("Compiling entry function ")[1:]:
        _, mangled, _, architecture, rest = section.split("'", 4)
        yield Usage(
            kernel_name(mangled),
            architecture,
            number(r"Used (\d+) registers", rest),
            number(r"(\d+) bytes smem", rest),
            number(r"(\d+) bytes spill", rest),
        )


def complaints(usages: list[Usage], budgets: dict[str, Budget], every: bool) -> Iterator[str]:
    """What is wrong; with `every`, a kernel without a budget is."""
    for use in usages:
        where = f"{use.kernel} on {use.architecture}"
        if use.spilled:
            yield f"{where} spills {use.spilled} bytes"
        budget = budgets.get(use.kernel)
        if budget is None:
            if every:
                yield f"{use.kernel} has no budget; add a row to BUDGETS of {Path(__file__).name}"
            continue
        if use.registers > budget.registers:
            yield f"{where} takes {use.registers} registers of {budget.registers}"
        if use.shared > budget.shared:
            yield f"{where} takes {use.shared} bytes of shared memory of {budget.shared}"


def table(usages: list[Usage]) -> Iterator[str]:
    """One line a kernel: registers, and "+ bytes" of static shared memory where there is any."""
    architectures = sorted({use.architecture for use in usages}, key=lambda a: (len(a), a))
    yield f"{'registers':32}" + "".join(f"{name:>12}" for name in architectures)
    for kernel in sorted({use.kernel for use in usages}):
        cells = []
        for name in architectures:
            uses = [u for u in usages if (u.kernel, u.architecture) == (kernel, name)]
            shared = max((use.shared for use in uses), default=0)
            registers = max((use.registers for use in uses), default=0)
            cells.append(f"{registers} + {shared}" if shared else str(registers))
        yield f"{kernel:32}" + "".join(f"{cell:>12}" for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--nvcc")
    parser.add_argument("--architectures", default=",".join(map(str, ARCHITECTURES)))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    nvcc = Nvcc.find(options.nvcc)
    if nvcc is None:
        print("skipped: no nvcc on this machine")
        return
    wanted = map(int, options.architectures.split(","))
    architectures = [number for number in wanted if number in nvcc.known]
    sources = options.files or sorted((CSRC / "cuda").glob("*.cu"))
    with ThreadPoolExecutor(options.jobs) as pool:
        texts = list(
            pool.map(lambda source: compile_file(nvcc.path, source, architectures), sources)
        )
    usages = [use for text in texts for use in read_usage(text)]
    print("\n".join(table(usages)))
    # A kernel with many variants is told of once.
    wrong = dict.fromkeys(complaints(usages, BUDGETS, every=not options.files))
    if wrong:
        sys.exit("\n".join(f"error: {line}" for line in wrong))


if __name__ == "__main__":
    main()

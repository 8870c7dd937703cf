"""scripts/compile_cuda.py: every kernel compiles for every architecture and keeps to its budget."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import REPOSITORY
from tests.cuda.emulated import HERE

SCRIPT = REPOSITORY / "scripts" / "compile_cuda.py"
SPILLING = """
// Keeps 200 numbers, which depend on each other, in the 64 registers that 1024 threads have.
__global__ void __launch_bounds__(1024) spilling_kernel(float* x) {
  float kept[200];
#pragma unroll
  for (int i = 0; i < 200; ++i) kept[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 200; ++i) x[i * 1024 + threadIdx.x] = kept[199 - i] * kept[(i * 7) % 200];
}
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compile_cuda", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["compile_cuda"] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nvcc(script: ModuleType) -> str:
    found = script.find_nvcc(None)
    if found is None:
        pytest.skip("no nvcc on this machine")
    return found


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False
    )


def test_every_kernel_compiles_within_its_budget(nvcc: str, script: ModuleType) -> None:
    done = run("--nvcc", nvcc)
    assert done.returncode == 0, done.stderr
    for kernel in script.BUDGETS:
        assert kernel in done.stdout
    for number in script.known_architectures(nvcc):
        assert f"sm_{number}" in done.stdout


def test_the_test_kernels_compile_too(nvcc: str) -> None:
    # One architecture of each kind: what tells 80 and 86 apart are sizes.
    measured = REPOSITORY / "scripts" / "gpu_check" / "ceilings.cu"
    files = (HERE / "wrappers.cu", HERE / "planted.cu", measured)
    done = run("--nvcc", nvcc, "--architectures", "75,80,90", *files)
    assert done.returncode == 0, done.stderr


def test_a_spill_is_an_error(nvcc: str, tmp_path: Path) -> None:
    (tmp_path / "spilling.cu").write_text(SPILLING, encoding="ascii")
    done = run("--nvcc", nvcc, "--architectures", "80", tmp_path / "spilling.cu")
    assert done.returncode == 1
    assert "error: spilling_kernel on sm_80 spills " in done.stderr


def test_a_warning_is_an_error(nvcc: str, tmp_path: Path) -> None:
    source = "__global__ void unused_kernel(int* x) { int unused; *x = 1; }\n"
    (tmp_path / "warning.cu").write_text(source, encoding="ascii")
    done = run("--nvcc", nvcc, "--architectures", "80", tmp_path / "warning.cu")
    assert done.returncode == 1
    assert "does not compile" in done.stderr


def test_names_of_kernels_are_read(script: ModuleType) -> None:
    assert script.kernel_name("_Z8a_kernelPf") == "a_kernel"
    inner = "_ZN8tinychat4cuda12_GLOBAL__N_18a_kernelILi4EEEvPf"
    assert script.kernel_name(inner) == "a_kernel"


def test_budgets_are_kept(script: ModuleType) -> None:
    def wrong(registers: int, shared: int, kernel: str = "a_kernel", every: bool = True) -> list:
        use = script.Usage(kernel, "sm_80", registers, shared, 0)
        return list(script.complaints([use], {"a_kernel": script.Budget(40, 128)}, every))

    assert wrong(40, 128) == []
    assert wrong(41, 128) == ["a_kernel on sm_80 takes 41 registers of 40"]
    assert wrong(40, 129) == ["a_kernel on sm_80 takes 129 bytes of shared memory of 128"]
    assert "has no budget" in wrong(1, 0, "b_kernel")[0]
    assert wrong(1, 0, "b_kernel", every=False) == []


def test_without_nvcc_it_says_so() -> None:
    assert shutil.which("no-such-nvcc") is None
    done = run("--nvcc", "no-such-nvcc")
    assert (done.returncode, done.stdout) == (0, "skipped: no nvcc on this machine\n")

"""The kernels compile for every architecture and keep to their budgets; what that makes loads."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.building import build, copy_build, load_script
from tests.conftest import REPOSITORY
from tests.cuda.emulated import CSRC, HERE
from tinychat.errors import KernelError

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
    return load_script("compile_cuda")


@pytest.fixture(scope="module")
def nvcc(script: ModuleType) -> Any:
    found = script.Nvcc.find()
    if found is None:
        pytest.skip("no nvcc on this machine")
    return found


@dataclass(frozen=True)
class Built:
    """The extension for cards, for every architecture, and what ptxas said of it."""

    module: ModuleType
    log: str


@pytest.fixture(scope="module")
def built(nvcc: Any, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """As setup.py builds it, from a copy of what that reads, so that nothing is up to date."""
    tree = tmp_path_factory.mktemp("tree")
    copy_build(tree)
    shutil.copytree(CSRC / "cuda", tree / "csrc" / "cuda")
    for header in CSRC.glob("*.h"):
        shutil.copy(header, tree / "csrc")
    done = build(
        tree, TINYCHAT_CUDA_ARCHS="all", TINYCHAT_WERROR="1", NVCC_APPEND_FLAGS="-Xptxas -v"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tree / "tinychat" / "kernels").glob("_cuda.*")
    spec = importlib.util.spec_from_file_location("tinychat.kernels._cuda", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Built(module, done.stdout)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_kernel_compiles_within_its_budget(
    built: Built, nvcc: Any, script: ModuleType
) -> None:
    usages = list(script.read_usage(built.log))
    expected = {(kernel, f"sm_{number}") for kernel in script.BUDGETS for number in nvcc.all()}
    assert {(use.kernel, use.architecture) for use in usages} == expected
    assert not list(script.complaints(usages, script.BUDGETS, every=True))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_module_says_what_it_was_built_for(built: Built, nvcc: Any) -> None:
    assert built.module.architectures() == [10 * number for number in nvcc.all()]
    assert built.module.ptx() == 10 * nvcc.all()[-1]
    assert built.module.runtime_version() == nvcc.version
    queue = built.module.Queue(stream=0, arch=900, programmatic=True)
    assert (queue.arch, queue.programmatic) == (900, True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_module_loads_where_there_is_no_card(built: Built) -> None:
    if built.module.cards():
        pytest.skip("there is a card")
    assert built.module.driver_version() == (0, 0) or built.module.driver_version() >= (11, 0)
    assert "driver" in built.module.why_not() or "device" in built.module.why_not()
    queue = built.module.Queue(stream=0, arch=900, programmatic=True)
    with pytest.raises(KernelError, match="kernel norm: "):
        queue.norm(0, built.module.NormKind.rms, 0, 0, 1e-5, 0, 1, 64)


def test_the_test_kernels_compile_too(nvcc: Any) -> None:
    # One architecture of each kind: what tells 80 and 86 apart are sizes.
    measured = REPOSITORY / "scripts" / "gpu_check" / "ceilings.cu"
    files = (HERE / "wrappers.cu", HERE / "planted.cu", measured)
    done = run("--nvcc", nvcc.path, "--architectures", "75,80,90", *files)
    assert done.returncode == 0, done.stderr


def test_a_spill_is_an_error(nvcc: Any, tmp_path: Path) -> None:
    (tmp_path / "spilling.cu").write_text(SPILLING, encoding="ascii")
    done = run("--nvcc", nvcc.path, "--architectures", "80", tmp_path / "spilling.cu")
    assert done.returncode == 1
    assert "error: spilling_kernel on sm_80 spills " in done.stderr


def test_a_warning_is_an_error(nvcc: Any, tmp_path: Path) -> None:
    source = "__global__ void unused_kernel(int* x) { int unused; *x = 1; }\n"
    (tmp_path / "warning.cu").write_text(source, encoding="ascii")
    done = run("--nvcc", nvcc.path, "--architectures", "80", tmp_path / "warning.cu")
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

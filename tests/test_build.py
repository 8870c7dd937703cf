"""The native build: what is missing is one plain line, and ISA files keep to themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.building import build, copy_build, load_script, write_source
from tests.conftest import REPOSITORY

OBJECTS = REPOSITORY / "build" / "native"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    copy_build(tmp_path)
    return tmp_path


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_only_what_changed_is_built(tree: Path) -> None:
    first = build(tree, TINYCHAT_CUDA="0").stdout
    assert "tinychat: the extension is built without CUDA: TINYCHAT_CUDA=0\n" in first
    assert "compile" in first
    assert list((tree / "tinychat" / "kernels").glob("_cpu*.so"))
    assert "no work to do" in build(tree).stdout
    header = tree / "csrc" / "one.h"
    header.write_text("inline int number() { return 3; }\n", encoding="ascii")
    assert "compile" in build(tree).stdout


def test_warnings_are_errors_where_asked(tree: Path) -> None:
    write_source(tree, "int twice(int unused) { return 2; }")
    assert build(tree).returncode == 0
    assert "did not build" in refusal(build(tree, TINYCHAT_WERROR="1"))


def test_a_missing_compiler_is_one_plain_line(tree: Path) -> None:
    message = refusal(build(tree, CXX="no-such-compiler"))
    assert "found no no-such-compiler" in message
    assert "apt install g++" in message


def test_a_compiler_that_does_not_compile_is_one_plain_line(tree: Path) -> None:
    message = refusal(build(tree, CXX="false"))
    assert message.startswith("tinychat needs a C++17 compiler; false does not compile")


def test_a_mistake_in_the_sources_ends_without_a_traceback(tree: Path) -> None:
    write_source(tree, "this is not C++")
    done = build(tree)
    assert "did not build; the compiler's own message is above" in refusal(done)
    assert "error" in done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm on this machine")
@pytest.mark.skipif(not OBJECTS.is_dir(), reason="the extension was not built in this folder")
def test_isa_files_emit_no_function_that_others_could_be_linked_to() -> None:
    """An inline function compiled for a newer CPU must not be the copy that the linker keeps."""
    objects = sorted(OBJECTS.glob("isa_*.o"))
    assert objects
    for path in objects:
        symbols = subprocess.run(
            ["nm", "-C", str(path)], capture_output=True, text=True, check=True
        ).stdout
        weak = [line for line in symbols.splitlines() if line[17:18] in ("W", "V", "u")]
        assert not weak, f"{path.name}: {weak}"


# --- CUDA, with a compiler and a driver that are stand-ins

# Answers questions, notes its other words, and makes what it was told to, empty.
NVCC = """#!/bin/sh
case "$1" in
--version) echo "Cuda compilation tools, release {release}, V{release}.99"; exit ;;
--list-gpu-code) for n in {known}; do echo "sm_$n"; done; exit ;;
esac
echo "$*" >>"$0.log"
[ ! -e "$0.broken" ] || {{ echo "nvcc fatal: broken" >&2; exit 1; }}
while [ "$1" != -o ]; do shift; done
: >"$2"
"""
# Two cards, sm_86 and sm_90.
DRIVER = """
extern "C" int cuInit(unsigned) { return 0; }
extern "C" int cuDeviceGetCount(int* count) { *count = 2; return 0; }
extern "C" int cuDeviceGetAttribute(int* value, int which, int card) {
  const int known[] = {86, 90};
  *value = which == 75 ? known[card] / 10 : known[card] % 10;
  return 0;
}
"""


@pytest.fixture(scope="module")
def nvcc() -> ModuleType:
    return load_script("nvcc")


class Cuda:
    """A machine with an nvcc and, for what runs in this process, with these cards."""

    def __init__(self, script: ModuleType, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.script, self.path, self.patch = script, path, patch
        for setting in ("TINYCHAT_CUDA", "TINYCHAT_CUDA_ARCHS"):
            patch.delenv(setting, raising=False)
        patch.setenv("NVCC", str(path))
        self.install("13.0", "75 80 86 87 88 89 90 100 103 120 121")
        self.plug_in(90)

    def install(self, release: str, known: str) -> None:
        self.path.write_text(NVCC.format(release=release, known=known), encoding="ascii")
        self.path.chmod(0o755)

    def plug_in(self, *cards: int) -> None:
        self.patch.setattr(self.script, "cards_here", lambda: list(cards))

    def calls(self) -> list[str]:
        """What nvcc was called with since the last time."""
        log = Path(f"{self.path}.log")
        calls = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return calls

    def chosen(self, asked: str = "", for_this_machine: bool = True) -> list[int]:
        self.patch.setenv("TINYCHAT_CUDA_ARCHS", asked)
        compiler, architectures = self.script.choose(for_this_machine)
        assert compiler.path == str(self.path)
        return architectures

    def left_out(self) -> str:
        with pytest.raises(self.script.LeftOut) as reason:
            self.chosen()
        return str(reason.value)

    def refused(self, asked: str) -> str:
        with pytest.raises(SystemExit) as message:
            self.chosen(asked)
        return str(message.value.code)


@pytest.fixture
def cuda(nvcc: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    if os.name != "posix":
        pytest.skip("the stand-in is a shell script")
    return Cuda(nvcc, tmp_path / "nvcc", monkeypatch)


def test_an_extension_for_the_cards_of_this_machine(tree: Path, cuda: Cuda) -> None:
    if sys.platform != "linux":
        pytest.skip("the stand-in of a driver is for Linux")
    (tree / "driver.cpp").write_text(DRIVER, encoding="ascii")
    driver = ["c++", "-shared", "-fPIC", "driver.cpp", "-o", "libcuda.so.1"]
    subprocess.run(driver, cwd=tree, check=True)
    (tree / "csrc" / "cuda").mkdir()
    for name in ("op.cu", "module.cpp"):
        (tree / "csrc" / "cuda" / name).touch()

    done = build(tree, LD_LIBRARY_PATH=str(tree))
    assert f"tinychat: {cuda.path} 13.0 builds for 86, 90\n" in done.stdout
    calls = cuda.calls()
    compiled = [call for call in calls if " -c " in call]
    assert len(compiled) == 2 and len(calls) == 3
    for call in calls:
        assert "-gencode=arch=compute_86,code=sm_86 " in call
        assert "-gencode=arch=compute_90,code=[sm_90,compute_90]" in call
    (module,) = [call for call in compiled if "module.cpp" in call]
    assert r"-DTINYCHAT_ARCHITECTURES=860\,900 " in module

    build(tree, LD_LIBRARY_PATH=str(tree))
    assert cuda.calls() == []  # nothing has changed
    Path(f"{cuda.path}.broken").touch()
    (tree / "csrc" / "cuda" / "op.cu").write_text("changed", encoding="ascii")
    assert refusal(build(tree, LD_LIBRARY_PATH=str(tree))).endswith(
        "extension for CUDA did not build; the compiler's own message is above; "
        "TINYCHAT_CUDA=0 builds without it"
    )


def test_without_a_card_only_what_was_asked_for(cuda: Cuda) -> None:
    cuda.plug_in()
    reason = "no NVIDIA card here; TINYCHAT_CUDA_ARCHS=all builds for every one"
    assert cuda.left_out() == reason
    assert cuda.chosen("all") == [75, 80, 86, 87, 89, 90, 100, 120]
    assert cuda.chosen("8.0;75") == [75, 80]


def test_a_wheel_is_for_every_card(cuda: Cuda) -> None:
    assert cuda.chosen() == [90]
    assert cuda.chosen(for_this_machine=False) == [75, 80, 86, 87, 89, 90, 100, 120]
    assert cuda.chosen("80", for_this_machine=False) == [80]


def test_an_older_compiler_builds_for_what_it_knows(cuda: Cuda) -> None:
    cuda.install("12.0", "50 75 80 86 87 89 90")
    assert cuda.chosen("all") == [75, 80, 86, 87, 89, 90]
    expected = f"{cuda.path} 12.0 builds for 75, 80, 86, 87, 89, 90, or all"
    assert cuda.refused("90,120") == f"TINYCHAT_CUDA_ARCHS='90,120': {expected}"
    assert cuda.refused("native").endswith(expected)


def test_what_cannot_be_used_is_left_out_and_an_error_where_asked_for(cuda: Cuda) -> None:
    cuda.install("11.8", "75 80 86 87 89 90")
    assert cuda.left_out() == f"{cuda.path} 11.8 is older than 12.0"
    assert "is older than 12.0" in cuda.refused("80")
    cuda.patch.setenv("NVCC", "no-such-nvcc")
    assert cuda.left_out() == "found no no-such-nvcc, CUDA's compiler"
    assert "found no no-such-nvcc" in cuda.refused("all")
    cuda.patch.setenv("TINYCHAT_CUDA", "0")
    assert cuda.left_out() == "TINYCHAT_CUDA=0"


@pytest.mark.parametrize(
    ("cards", "expected"),
    (
        ((90,), [90]),
        ((90, 75, 90), [75, 90]),
        ((101,), [100]),
        ((70, 86), [86]),
        ((130,), [121]),
    ),
)
def test_a_card_gets_its_own_architecture_or_the_newest_before(
    cuda: Cuda, cards: tuple[int, ...], expected: list[int]
) -> None:
    cuda.plug_in(*cards)
    assert cuda.chosen() == expected


def test_a_card_that_is_too_old_is_left_out(cuda: Cuda) -> None:
    cuda.plug_in(61)
    assert cuda.left_out() == "the card here, sm_61, is older than sm_75"

"""The native build: what is missing is one plain line, and ISA files keep to themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
OBJECTS = REPOSITORY / "build" / "native"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the build reads, with one source file in place of all."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "tinychat" / "kernels").mkdir(parents=True)
    shutil.copy(REPOSITORY / "tinychat" / "__init__.py", tmp_path / "tinychat")
    (tmp_path / "csrc" / "cpu").mkdir(parents=True)
    (tmp_path / "csrc" / "one.h").write_text(
        "inline int number() { return 1; }\n", encoding="ascii"
    )
    write_source(tmp_path, "int twice() { return 2 * number(); }")
    return tmp_path


def write_source(tree: Path, text: str) -> None:
    source = f'#include "one.h"\n{text}\n'
    (tree / "csrc" / "one.cpp").write_text(source, encoding="ascii")


def build(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # CI asks for warnings as errors; what these tests ask for is up to them.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TINYCHAT_")}
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=tree,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_only_what_changed_is_built(tree: Path) -> None:
    assert "compile" in build(tree).stdout
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

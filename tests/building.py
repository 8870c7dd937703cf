"""The build of the extensions from copies of what it reads, and the scripts as modules."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from tests.conftest import REPOSITORY


def copy_build(tree: Path) -> None:
    """What the build reads, with one source file in place of all."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tree)
    for folder in ("tinychat/kernels", "scripts", "csrc/cpu"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(REPOSITORY / "tinychat" / "__init__.py", tree / "tinychat")
    shutil.copy(REPOSITORY / "scripts" / "nvcc.py", tree / "scripts")
    (tree / "csrc" / "one.h").write_text("inline int number() { return 1; }\n", encoding="ascii")
    write_source(tree, "int twice() { return 2 * number(); }")


def write_source(tree: Path, text: str) -> None:
    """The one source file."""
    source = f'#include "one.h"\n{text}\n'
    (tree / "csrc" / "one.cpp").write_text(source, encoding="ascii")


def build(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build in place. CI asks for warnings as errors; what tests ask for is up to them."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TINYCHAT_")}
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=tree,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def load_script(name: str) -> ModuleType:
    """A file of scripts/, which finds its neighbours as if it were run."""
    folder = REPOSITORY / "scripts"
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where its dataclasses look for themselves
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module

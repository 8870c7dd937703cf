"""The set-up behind `make`: a lack is one plain line, torch comes from where the user says.

Most cases run scripts/setup.sh with a PATH of stand-ins alone, so that they need no network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TOOLS = ("awk", "cat", "cp", "dirname", "mkdir", "rm", "sed", "sh", "tail", "tr")

# A Python 3.11 that answers the questions of setup.sh; MISSING names what it lacks.
PYTHON = """#!/bin/sh
case "$*" in
*version_info*) exit 0 ;;
*ensurepip*) [ "$MISSING" != venv ] ;;
*Python.h*) [ "$MISSING" != headers ] ;;
*"-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
*"import torch"*) [ -e "$LOG" ] ;;
*"pip --version"*) case "$0" in *bin/python) exit 0 ;; *) exit 1 ;; esac ;;
*"install"*) echo "$*" >>"$LOG" ;;
*--version*) echo "Python 3.11.9" ;;
-*) exit 1 ;;
esac
"""


class Machine:
    """A folder of stand-ins as the whole PATH, and a place for the environment to be made in."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "tools"
        self.venv = folder / "venv"
        self.log = folder / "pip.log"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.add("python3", PYTHON)
        self.add("c++", "#!/bin/sh\ncat >/dev/null\n")
        self.add("uname", "#!/bin/sh\necho Linux\n")
        self.add("df", "#!/bin/sh\necho header\necho disk 99999999 0 99999999 0% /\n")

    def add(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(REPOSITORY / "scripts" / "setup.sh"), "venv", str(self.venv)],
            env={"PATH": str(self.bin), "LOG": str(self.log), "MISSING": "", **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that the set-up ended with."""
    assert done.returncode == 1
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("tinychat: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


OLD_PYTHON = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.10\n'


def test_an_old_python_is_named(machine: Machine) -> None:
    machine.add("python3", OLD_PYTHON)
    assert "3.10 or newer, found Python 3.8.10" in refusal(machine.run())


def test_a_newer_python_beside_an_old_one_is_found(machine: Machine) -> None:
    machine.add("python3.12", PYTHON)
    machine.add("python3", OLD_PYTHON)
    assert machine.run().returncode == 0


def test_no_python_is_named(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    assert "found no python3" in refusal(machine.run())


def test_a_wrong_python_is_named(machine: Machine) -> None:
    assert "found no /no such/python" in refusal(machine.run(PYTHON="/no such/python"))


def test_a_missing_venv_module_is_named(machine: Machine) -> None:
    assert "apt install python3-venv" in refusal(machine.run(MISSING="venv"))


def test_missing_headers_are_named(machine: Machine) -> None:
    assert "Python.h" in refusal(machine.run(MISSING="headers"))


def test_a_missing_compiler_is_named(machine: Machine) -> None:
    (machine.bin / "c++").unlink()
    assert "tried c++ g++ clang++" in refusal(machine.run())


def test_a_compiler_without_c17_is_named(machine: Machine) -> None:
    machine.add("old-cc", "#!/bin/sh\nexit 1\n")
    assert "tried old-cc" in refusal(machine.run(CXX="old-cc"))


def test_a_full_disk_is_named(machine: Machine) -> None:
    machine.add("df", "#!/bin/sh\necho header\necho disk 99999999 0 1048576 0% /\n")
    assert "needs 3 GB free in ., there are 1" in refusal(machine.run())
    assert not machine.log.exists()


def test_a_set_up_that_failed_can_be_repeated(machine: Machine) -> None:
    refusal(machine.run(MISSING="venv"))
    assert machine.run().returncode == 0


def test_torch_comes_from_the_default_index(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 0
    assert done.stdout == ""
    assert machine.log.read_text(encoding="utf-8").split()[-2:] == ["install", "torch==2.13.0"]


@pytest.mark.skipif(
    Path("/proc/driver/nvidia/version").exists(), reason="this machine has an NVIDIA driver"
)
def test_the_large_wheel_is_announced_on_linux_only(machine: Machine) -> None:
    assert "TORCH_INDEX=" in machine.run().stderr
    shutil.rmtree(machine.venv)
    machine.log.unlink()
    machine.add("uname", "#!/bin/sh\necho Darwin\n")
    assert "TORCH_INDEX=" not in machine.run().stderr


def test_torch_comes_from_a_folder(machine: Machine, tmp_path: Path) -> None:
    wheels = tmp_path / "my wheels"
    wheels.mkdir()
    assert machine.run(TORCH_INDEX=str(wheels)).returncode == 0
    assert f"--no-index --find-links {wheels} torch==" in machine.log.read_text(encoding="utf-8")


def test_torch_comes_from_an_address(machine: Machine) -> None:
    assert machine.run(TORCH_INDEX="https://wheels.invalid/cpu").returncode == 0
    log = machine.log.read_text(encoding="utf-8")
    assert "--index-url https://wheels.invalid/cpu torch==" in log


def test_an_installed_torch_is_used(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    done = subprocess.run(
        ["sh", str(REPOSITORY / "scripts" / "setup.sh"), "venv", str(venv)],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "using torch" in done.stderr
    code = "import torch; print(torch.__file__)"
    ours, theirs = (
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
        for python in (str(venv / "bin" / "python"), sys.executable)
    )
    assert ours == theirs


class Tree:
    """The Makefile with a set-up that notes its steps and a `tinychat` that prints its words."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps = folder.parent / "steps"
        for name in ("scripts", "csrc/cpu", "csrc/cuda", ".venv/bin"):
            (folder / name).mkdir(parents=True)
        shutil.copy(REPOSITORY / "Makefile", folder)
        note = f'echo "$1" >>"{self.steps}"; echo noise >&2; mkdir -p .venv'
        (folder / "scripts" / "setup.sh").write_text(note, encoding="utf-8")
        for name in ("pyproject.toml", "setup.py", "scripts/nvcc.py"):
            (folder / name).touch()
        for name in ("cpu/matmul.cpp", "cuda/gemv.cu", "cuda/half.cuh"):
            (folder / "csrc" / name).touch()
        command = folder / ".venv" / "bin" / "tinychat"
        code = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"
        command.write_text(code, encoding="utf-8")
        command.chmod(0o755)

    def make(self, *words: str, **environment: str) -> list[str]:
        """The arguments that `tinychat` got; standard output must hold nothing else."""
        # A `make` that runs the tests hands its own words down; this one is not its child.
        outer = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        done = subprocess.run(
            ["make", *words],
            cwd=self.folder,
            env={**outer, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        arguments: list[str] = json.loads(done.stdout)
        return arguments

    def steps_taken(self) -> list[str]:
        """The steps since the last call."""
        steps = self.steps.read_text(encoding="utf-8").split() if self.steps.exists() else []
        self.steps.unlink(missing_ok=True)
        return steps

    def change(self, name: str) -> None:
        later = time.time() + 10
        os.utime(self.folder / name, (later, later))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "a tree")


@pytest.mark.parametrize(
    "prompt",
    [
        "hello",
        'it\'s "so"',
        "costs $5, $HOME, $(HOME), $$, `id`",
        "# 50% \\n; a | b",
        "two\nlines",
        "",
    ],
)
def test_a_prompt_arrives_as_it_was_typed(tree: Tree, prompt: str) -> None:
    assert tree.make("chat", f"PROMPT={prompt}") == ["chat", "--prompt", prompt]


def test_model_and_arguments_pass_through(tree: Tree) -> None:
    words = tree.make("chat", "MODEL=my models/$x", "ARGS=--threads 2 --system 'be brief'")
    assert words == ["chat", "my models/$x", "--threads", "2", "--system", "be brief"]
    assert tree.make("bench", "MODEL=m") == ["bench", "m"]


def test_the_shells_own_prompt_is_not_asked(tree: Tree) -> None:
    assert tree.make("chat", PROMPT="%~ $ ", MODEL="x", ARGS="y") == ["chat"]


def test_set_up_is_done_once_and_again_where_something_changed(tree: Tree) -> None:
    tree.make("chat")
    assert tree.steps_taken() == ["venv", "install", "native"]
    tree.make("chat")
    assert tree.steps_taken() == []
    for name in ("csrc/cpu/matmul.cpp", "csrc/cuda/gemv.cu", "csrc/cuda/half.cuh"):
        tree.change(name)
        tree.make("chat")
        assert tree.steps_taken() == ["native"]


@pytest.mark.parametrize("name", ("pyproject.toml", "setup.py", "scripts/nvcc.py"))
def test_a_changed_project_file_installs_again(tree: Tree, name: str) -> None:
    tree.make("chat")
    tree.steps_taken()
    tree.change(name)
    tree.make("chat")
    assert tree.steps_taken() == ["install", "native"]


def test_a_moved_tree_installs_again(tree: Tree, tmp_path: Path) -> None:
    tree.make("chat")
    tree.steps_taken()
    tree.folder = tree.folder.rename(tmp_path / "moved")
    tree.make("chat")
    assert tree.steps_taken() == ["venv", "install", "native"]

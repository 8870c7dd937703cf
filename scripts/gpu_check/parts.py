"""The parts of the check: each takes a `Work`, returns what it found, and raises PartError."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from scripts.gpu_check.work import ROOT, Done, PartError, Work
from scripts.nvcc import find_nvcc

WHOLE_SECONDS = 540
MOST_NAMES = 20  # of tests that failed

# Kernels of our own; torch's are not looked at. Errors of calls we report ourselves.
# The part has a limit of its own for how long a program may take to start.
SANITIZER = (
    *("--error-exitcode", "86", "--kernel-name", "kns=tinychat", "--report-api-errors", "no"),
    *("--launch-timeout", "0"),
)
TOOLS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    # Every tensor has memory of its own, so that what is read past its end is seen. No graph can be
    # captured so.
    "memcheck": ("cuda and not plan and not graph", {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}),
    "racecheck": ("cuda", {}),
    "synccheck": ("cuda", {}),
}
FIRST_PORT = 49152  # the tools listen, each where no other does

# Context -> the deepest of the cases that fits, with a prompt of 512 tokens behind it.
SHAPES = {
    "llama-2-7b": "0,512,3584",  # the model's context is 4096
    "llama-3.2-1b": "0,512,4096",
    "qwen3-0.6b": "0,512,4096",
    "llama-3-8b": "0,512,4096",
}
BENCH = ("--prompt-tokens", "512", "--new-tokens", "64", "--repeats", "1", "--json")


def build(work: Work) -> dict[str, Any]:
    """The extensions, beside the sources."""
    architectures = str(work.card["arch"] // 10)
    command = ("setup.py", "-q", "build_ext", "--inplace")
    done = work.python(*command, TINYCHAT_CUDA_ARCHS=architectures)
    if done.status != 0:
        raise PartError(done.reason())
    loaded = work.python("-c", "from tinychat.kernels import _cpu, _cuda; print(_cuda.__file__)")
    if loaded.status != 0:
        raise PartError(f"what was built does not load: {loaded.reason()}")
    return {}


def tests(work: Work) -> dict[str, Any]:
    """Every op on the card against the reference, and what else needs a card."""
    kernels = pytest(work, "tests/kernels", "-k", "cuda")
    others = pytest(work, "-m", "cuda", *marked_files())
    found = {"kernels": kernels, "others": others}
    wrong = [f"{name} of {group}" for group, told in found.items() for name in told["failed"]]
    over = [group for group, told in found.items() if told["status"] is None]
    if over:
        raise PartError(f"the time was up during {', '.join(over)}", found)
    if kernels["passed"] == 0:
        raise PartError("no test of an op ran on the card", found)
    if wrong:
        raise PartError(f"{len(wrong)} failed, the first is {wrong[0]}", found)
    return found


def marked_files() -> list[str]:
    """Of the tests that are not about ops, those of the card: the others may want packages that a
    machine like this lacks.
    """
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    marked = [path for path in paths if "pytest.mark.cuda" in path.read_text(encoding="utf-8")]
    names = [str(path.relative_to(ROOT)) for path in marked if path.parent.name != "kernels"]
    return names or ["tests/cuda/test_vectors.py"]


def pytest(work: Work, *words: str) -> dict[str, Any]:
    """How many tests passed, and the names of those that did not."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        options = ("-q", "-p", "no:cacheprovider", "-o", "timeout=60", f"--junitxml={report}")
        done = work.python("-m", "pytest", *options, *words)
        return {"status": done.status, **read_report(report, done)}


def read_report(report: Path, done: Done) -> dict[str, Any]:
    """The numbers of a JUnit file, or of a run that has left none."""
    if not report.exists():
        failed = [] if done.status in (None, 5) else [f"all ({done.reason()})"]
        return {"passed": 0, "skipped": 0, "failed": failed}
    cases = ElementTree.parse(report).getroot().iter("testcase")
    kinds: dict[str, list[str]] = {"passed": [], "skipped": [], "failed": []}
    for case in cases:
        tags = {child.tag for child in case}
        bad = tags & {"failure", "error"}
        kind = "failed" if bad else "skipped" if "skipped" in tags else "passed"
        kinds[kind].append(f"{case.get('classname')}.{case.get('name')}")
    if not kinds["failed"] and done.status not in (0, 5, None):
        kinds["failed"].append(f"all ({done.reason()})")
    return {
        "passed": len(kinds["passed"]),
        "skipped": len(kinds["skipped"]),
        "failed": kinds["failed"][:MOST_NAMES],
    }


def own_program(name: str, *words: str) -> Callable[[Work], dict[str, Any]]:
    """A part that is a module beside this one, which writes its result to a file."""

    def part(work: Work) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "result.json")
            done = work.python("-m", f"scripts.gpu_check.{name}", *words, "--json", path)
            found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if done.status != 0:
            raise PartError(done.reason(), found)
        return dict(found)

    return part


def sanitizer(work: Work) -> dict[str, Any]:
    """Some tests of each op under the tools of compute-sanitizer, all at the same time."""
    tool = find_sanitizer()
    if tool is None:
        raise PartError("no compute-sanitizer on PATH or in CUDA's usual folder")
    commands = {}
    for number, (name, (chosen, variables)) in enumerate(TOOLS.items()):
        plugins = ("-p", "no:cacheprovider", "-p", "scripts.gpu_check.first_and_last")
        tested = ("-m", "pytest", "-q", *plugins)
        command = [tool, "--tool", name, "--port", str(FIRST_PORT + 100 * number), *SANITIZER]
        command += [sys.executable, *tested, "-o", "timeout=0", "tests/kernels", "-k", chosen]
        commands[name] = (command, variables)
    found = {name: read_tool(done) for name, done in work.run_all(commands).items()}
    wrong = [f"{name}: {told['reason']}" for name, told in found.items() if told["reason"]]
    if wrong:
        raise PartError("; ".join(wrong), found)
    return found


def read_tool(done: Done) -> dict[str, Any]:
    """What a tool says at its end, how many tests it saw, and why it failed, or ""."""
    told = re.findall(r"^=+ ((?:\w+ )?SUMMARY: .*)$", done.output, re.MULTILINE)
    passed = re.findall(r"(\d+) passed", done.output)
    tests_run = int(passed[-1]) if passed else 0
    reason = ""
    if done.status == 86:
        reason = told[-1] if told else "errors"
    elif done.status != 0:
        reason = done.reason()
    elif tests_run == 0:
        reason = "no test ran"
    return {"summary": told[-1] if told else None, "tests": tests_run, "reason": reason}


def find_sanitizer() -> str | None:
    """The tool on PATH or beside nvcc."""
    nvcc = find_nvcc()
    beside = Path(nvcc).resolve().parent / "compute-sanitizer" if nvcc else None
    usual = "/usr/local/cuda/bin/compute-sanitizer"
    names = ["compute-sanitizer", str(beside or usual), usual]
    return next((found for name in names if (found := shutil.which(name))), None)


def bench(work: Work) -> dict[str, Any]:
    """Whole models of random weights beside fp16 and, where it is installed, transformers."""
    against = "fp16,hf" if importlib.util.find_spec("transformers") else "fp16"
    found: dict[str, Any] = {}
    wrong = []
    for shape in SHAPES:
        if work.left() < 1:
            wrong.append(f"{shape}: no time was left")
            continue
        began = time.monotonic()
        done = work.python("-m", *bench_command(shape, against))
        if done.status == 0:
            document = json.loads(done.output.splitlines()[-1])
            found[shape] = {"seconds": time.monotonic() - began, **document}
        else:
            wrong.append(f"{shape}: {done.reason()}")
    if wrong:
        raise PartError("; ".join(wrong), found)
    return found


def bench_command(shape: str, against: str) -> list[str]:
    """`tinychat bench` as it is run."""
    command = ["tinychat", "bench", "--shape", shape, "--device", "cuda", "--against", against]
    return [*command, "--depth", SHAPES[shape], *BENCH]


@dataclass(frozen=True)
class Part:
    """A part, its seconds, and the packages that it cannot do without."""

    seconds: int
    run: Callable[[Work], dict[str, Any]]
    packages: tuple[str, ...] = ()
    nvcc: bool = False


TESTED = ("pytest", "pytest_timeout", "hypothesis", "safetensors")
PARTS: Mapping[str, Part] = {
    "build": Part(100, build, ("setuptools", "pybind11", "ninja"), nvcc=True),
    "tests": Part(80, tests, TESTED),
    "vectors": Part(35, own_program("vectors"), TESTED, nvcc=True),
    "sanitizer": Part(75, sanitizer, TESTED),
    "ceilings": Part(25, own_program("ceilings"), TESTED, nvcc=True),
    "gemv": Part(40, own_program("gemv"), TESTED, nvcc=True),
    "bench": Part(170, bench, ("safetensors",)),
}


def missing(part: Part) -> str:
    """What this machine lacks for a part, or ""."""
    lacking = [
        name
        for name in part.packages
        if importlib.util.find_spec(name) is None and shutil.which(name) is None
    ]
    if part.nvcc and find_nvcc() is None:
        lacking.append("nvcc")
    return f"needs {', '.join(lacking)}, which this machine does not have" if lacking else ""

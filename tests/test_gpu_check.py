"""scripts/gpu_check.sh without a card: what it says, its time, its JSON and its table.

What the parts do on a card is in tests/cuda/test_on_card.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.gpu_check import __main__ as check
from scripts.gpu_check import parts
from scripts.gpu_check.parts import PARTS, WHOLE_SECONDS, Part, read_report, read_tool
from scripts.gpu_check.report import table
from scripts.gpu_check.work import Done, PartError, Work
from tests.conftest import REPOSITORY
from tinychat.cli.bench import make_jobs
from tinychat.cli.main import build_parser

SCRIPT = REPOSITORY / "scripts" / "gpu_check.sh"
CARD = {"card": "A Card", "arch": 900, "torch": "2.11", "cuda": "13.0"}


def run_script(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", SCRIPT, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )


def new_document() -> dict[str, Any]:
    about = {"date": "2026-01-01 00:00 UTC", "driver": "580", "commit": None, "python": "3.12"}
    return {**about, **CARD, "parts": {}}


# --- the script


def test_the_script_is_one() -> None:
    assert subprocess.run(["sh", "-n", SCRIPT], check=False).returncode == 0


def test_help_needs_no_python() -> None:
    done = run_script("--help", PYTHON="no-such-python")
    assert done.returncode == 0
    assert done.stdout.startswith("Build, test and measure the CUDA backend")
    assert all(name in done.stdout for name in PARTS)
    assert not [line for line in done.stdout.splitlines() if line.startswith(("#", "set"))]


def test_without_a_card_every_part_says_so() -> None:
    """Also where there is one: none is visible."""
    done = run_script("--only", "gemv,build", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == check.NO_CARD
    first, second = done.stdout.splitlines()
    assert first.startswith("build skipped: no card: torch 2.")
    assert second.startswith("gemv skipped: no card: torch 2.")


def test_a_part_that_is_none_is_refused() -> None:
    done = run_script("--only", "build,paint")
    assert done.returncode == 2
    assert "expected any of build, tests, vectors" in done.stderr


def test_a_python_that_is_none_is_refused() -> None:
    done = run_script(PYTHON="no-such-python")
    assert done.returncode == 2
    assert "error: no-such-python is no Python 3.10 or newer" in done.stderr


def test_a_python_without_torch_is_refused(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # no packages
    python.chmod(0o755)
    done = run_script(PYTHON=str(python))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {python} has no torch that loads")


def test_parts_keep_their_order() -> None:
    assert check.parse(["--only", "bench, build"]).only == ["build", "bench"]
    assert check.parse([]).only == list(PARTS)


def test_all_parts_fit_into_the_whole() -> None:
    assert sum(part.seconds for part in PARTS.values()) <= WHOLE_SECONDS <= 9 * 60


# --- running parts


def test_what_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    def fails(work: Work) -> dict[str, Any]:
        raise PartError("the reason", {"half": 1})

    def breaks(work: Work) -> dict[str, Any]:
        raise ZeroDivisionError("a mistake")

    made = {
        "a": Part(1, fails),
        "b": Part(1, breaks),
        "c": Part(1, lambda work: {"found": 2}),
        "d": Part(1, lambda work: {}, ("no_such_package",)),
    }
    document, out = new_document(), tmp_path / "result.json"
    check.run_parts(list(made), document, out, made)
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written == document
    entries = {k: (p["status"], p["reason"], p["found"]) for k, p in written["parts"].items()}
    assert entries == {
        "a": ("failed", "the reason", {"half": 1}),
        "b": ("failed", "ZeroDivisionError: a mistake", {}),
        "c": ("passed", "", {"found": 2}),
        "d": ("failed", "needs no_such_package, which this machine does not have", {}),
    }
    assert "d     failed  0  needs no_such_package" in table(document)
    assert out.with_suffix(".log").read_text(encoding="utf-8").count("=== ") == 4


def test_a_part_may_take_what_the_later_ones_do_not_need(tmp_path: Path) -> None:
    left = {}
    made = {
        name: Part(seconds, lambda work, name=name: left.update({name: work.left()}) or {})
        for name, seconds in (("a", 100), ("b", 40), ("c", 300))
    }
    check.run_parts(list(made), new_document(), tmp_path / "result.json", made)
    # No part took time, so each has the whole but for those that follow.
    assert {name: round(seconds, -1) for name, seconds in left.items()} == {
        "a": WHOLE_SECONDS - 340,
        "b": WHOLE_SECONDS - 300,
        "c": WHOLE_SECONDS,
    }


def test_programs_end_with_their_time_and_take_theirs_along(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    work = Work(tmp_path / "log", CARD, time.monotonic() + 2)
    done = work.python("-c", code)
    assert done.status is None
    assert done.reason() == "its time was up"
    child = int(done.output)
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the program that it started is still there")
    assert "-> None" in (tmp_path / "log").read_text(encoding="utf-8")


def test_programs_run_together_and_say_how_they_ended(tmp_path: Path) -> None:
    work = Work(tmp_path / "log")
    code = (
        "import os, sys; print(os.environ['WHO']); sys.exit('broken' if len(sys.argv) > 1 else 0)"
    )
    command = [sys.executable, "-c", code]
    done = work.run_all({"a": (command, {"WHO": "me"}), "b": ([*command, "x"], {"WHO": "you"})})
    assert (done["a"].status, done["a"].output) == (0, "me\n")
    assert (done["b"].output, done["b"].reason()) == ("you\n", "status 1: broken")


# --- what parts read


def test_packages_are_asked_for() -> None:
    assert parts.missing(Part(1, lambda work: {}, ("json",))) == ""
    assert "needs nothing_such" in parts.missing(Part(1, lambda work: {}, ("json", "nothing_such")))


def test_a_report_of_pytest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(
        '<testsuites><testsuite><testcase classname="m" name="good"/>'
        '<testcase classname="m" name="bad"><failure/></testcase>'
        '<testcase classname="m" name="worse"><error/></testcase>'
        '<testcase classname="m" name="other"><skipped/></testcase></testsuite></testsuites>'
    )
    read = read_report(path, Done(1, ""))
    assert read == {"passed": 1, "skipped": 1, "failed": ["m.bad", "m.worse"]}
    assert read_report(tmp_path / "none", Done(4, "", "usage"))["failed"] == [
        "all (status 4: usage)"
    ]
    assert read_report(tmp_path / "none", Done(5, ""))["failed"] == []


@pytest.mark.parametrize(
    ("status", "output", "reason"),
    (
        (0, "3 passed, 9 deselected in 1s\n========= ERROR SUMMARY: 0 errors\n", ""),
        (86, "3 passed\n========= ERROR SUMMARY: 2 errors\n", "ERROR SUMMARY: 2 errors"),
        (86, "3 passed\n========= RACECHECK SUMMARY: 1 hazard\n", "RACECHECK SUMMARY: 1 hazard"),
        (0, "9 deselected in 1s\n========= ERROR SUMMARY: 0 errors\n", "no test ran"),
        (255, "========= Error: Device not supported\n", "status 255: ========= Error: Device not"),
        (None, "", "its time was up"),
    ),
)
def test_a_report_of_the_sanitizer_is_read(status: int | None, output: str, reason: str) -> None:
    read = read_tool(Done(status, output))["reason"]
    assert read.startswith(reason) and bool(read) == bool(reason)


def test_the_sample_is_the_first_and_last_of_each(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', range(9))\n"
        "def test_many(n): print('many', n)\n"
        "def test_one(): print('one')\n"
    )
    options = [
        "-q",
        "-s",
        "-p",
        "scripts.gpu_check.first_and_last",
        "-p",
        "no:cacheprovider",
        "-c",
        "empty.ini",
    ]
    (tmp_path / "empty.ini").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_some.py", "-k", "not 8"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert "3 passed, 7 deselected" in done.stdout, done.stdout
    assert [word in done.stdout for word in ("many 0", "many 1", "many 7", "many 8", "one")] == [
        True,
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("shape", parts.SHAPES)
def test_bench_takes_what_it_is_given(shape: str) -> None:
    _, *words = parts.bench_command(shape, "fp16,hf")
    jobs = make_jobs(build_parser().parse_args(words))
    assert [job.weights for job in jobs] == ["int4", "fp16", "bf16"]
    assert [len(job.depths) for job in jobs] == [3, 3, 3]


def test_marked_files_are_tests() -> None:
    assert all((REPOSITORY / name).is_file() for name in parts.marked_files())


# --- the table


def test_the_table_shows_what_was_measured() -> None:
    document = new_document()
    times = {"best_us": 1.25, "median_us": 1.3, "spread": 0.1}
    read = {"mb": 8.0, "gb_per_s": 3000.0, "loads": 8, "blocks_per_multiprocessor": 2, **times}
    gap = {"grid": "one warp", "by": "graph", **times}
    gemv = {"case": "qkv", "tokens": 1, "mb": 26.7, "gb_per_s": 2000.0, "share": 0.5}
    gemv |= {"share_of_same_size": 0.625, **times}
    row = {"engine": "tinychat", "weights": "int4", "depth": 512, "bandwidth_share": 0.4}
    row |= {"decode_tokens_per_s": 512.25, "prefill_tokens_per_s": 9000.0}
    skipped = {"engine": "transformers", "weights": "bf16", "reason": "no room"}
    found = {
        "vectors": {"cases": 51, "differing": {}, "worst_sum": 2.0**-24},
        "ceilings": {
            "read_gb_per_s": 4300.0,
            "read": [{**read, "cold": True}, {**read, "cold": False}],
            "launches": [{**gap, "programmatic": True}, {**gap, "programmatic": False}],
        },
        "gemv": {
            "rows": [
                {**gemv, "programmatic": True},
                {**gemv, "programmatic": False, "best_us": 2.0},
            ]
        },
        "bench": {"llama": {"rows": [row], "skipped": [skipped]}},
    }
    for name, each in found.items():
        document["parts"][name] = {"status": "passed", "seconds": 9.6, "reason": "", "found": each}
    document["parts"]["tests"] = {"status": "failed", "seconds": 1, "reason": "why", "found": {}}
    lines = [" ".join(line.split()) for line in table(document).splitlines()]
    assert lines[0] == ("A Card, sm_90, driver 580, torch 2.11, commit ?, 2026-01-01 00:00 UTC")
    for expected in (
        "vectors passed 10 51 cases agree; sums of tensor cores within 2^-24.0",
        "tests failed 1 why",
        "ceilings passed 10 reads 4300 GB/s",
        "read 8 MB from memory 3000 1.2 8 x 2",
        "launch by graph, one warp, programmatic 1.25",
        "launch by graph, one warp 1.25",
        "qkv 1 26.7 1.2 2000 50% 62% 2.0",
        "llama tinychat int4 512 512.2 9000 40%",
        "llama transformers bf16 - no room",
    ):
        assert expected in lines, (expected, lines)


@pytest.mark.parametrize("name", PARTS)
def test_the_table_of_a_part_that_found_nothing(name: str) -> None:
    document = new_document()
    document["parts"][name] = {"status": "failed", "seconds": 1, "reason": "why", "found": {}}
    assert table(document).splitlines()[-1].split() == [name, "failed", "1", "why"]

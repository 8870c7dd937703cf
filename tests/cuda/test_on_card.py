"""The parts of scripts/gpu_check.sh that talk to a card, with the emulation in its place."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.gpu_check import ceilings, gemv, vectors
from scripts.gpu_check.card import Card, Facts, compile_library
from scripts.gpu_check.report import table
from scripts.nvcc import find_nvcc
from tests.cuda import conformance
from tests.cuda.emulated import ORDERS, Library, Schedule
from tests.cuda.streams import emulated, open_stream

OVERLAPPING = Schedule(overlap=True)


class EmulatedCard(Card):
    """Launches run as they are made, and so do the replays of what was captured."""

    device = "cpu"

    def __init__(self, library: Library, schedule: Schedule = OVERLAPPING) -> None:
        self.facts = Facts(
            "the emulation", 900, multiprocessors=2, l2_bytes=1 << 10, free_bytes=1 << 20
        )
        self.kept = contextlib.ExitStack()
        self.emulated = None
        self._kernels, self._schedule = library, schedule

    def stream(self, programmatic: bool = True):
        schedule = replace(self._schedule, overlap=programmatic)
        return self.kept.enter_context(self._kernels.stream(schedule))

    def queue(self, module, programmatic: bool = True):
        self.emulated = open_stream(replace(self._schedule, overlap=programmatic))
        return self.emulated.queue()

    def run(self, launches) -> None:
        with self._kernels.stream(self._schedule) as stream:
            for name, *arguments in launches:
                stream.launch(name, *arguments)
            stream.synchronize()

    def synchronize(self) -> None:
        if self.emulated is not None:
            self.emulated.synchronize()

    def own_stream(self):
        return contextlib.nullcontext()

    def capture(self, launch):
        launch()
        return launch

    def seconds(self, work, repeats: int, calls: int = 5) -> list[float]:
        work()
        return [3e-6, 1e-6, 2e-6]


def run_main(main, monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["part", *map(str, words)])
    main()


# --- vectors


@pytest.fixture
def emulation(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the part its own build."""
    monkeypatch.setattr(vectors, "emulation", lambda folder: library)


def test_vectors_are_recorded(emulation, monkeypatch, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    run_main(vectors.main, monkeypatch, "--emulated", "--folder", tmp_path, "--json", result)
    told = json.loads(result.read_text(encoding="utf-8"))
    assert (told["differing"], told["worst_sum"]) == ({}, 0)
    kept, about = conformance.read(tmp_path / "sm_90.safetensors")
    assert about["card"] == "the emulation"
    assert len(conformance.names_of(kept)) == told["cases"]


def test_vectors_that_differ_are_an_error(emulation, monkeypatch, tmp_path: Path, capsys) -> None:
    """Of a card whose sums are float16, say."""
    record = conformance.record

    def rounded(*arguments) -> conformance.Tensors:
        kept = record(*arguments)
        return {k: v.half().float() if k.endswith("/out/sum") else v for k, v in kept.items()}

    monkeypatch.setattr(conformance, "record", rounded)
    with pytest.raises(SystemExit, match="host twins do not do what the card does: mma/random0"):
        run_main(vectors.main, monkeypatch, "--emulated", "--folder", tmp_path)
    told = json.loads(capsys.readouterr().out)
    assert told["worst_sum"] > 1e-4


@pytest.mark.skipif(find_nvcc() is None, reason="no nvcc on this machine")
def test_a_library_for_a_card_loads(tmp_path: Path) -> None:
    path = tmp_path / "kernels.so"
    compile_library(ceilings.SOURCE, path, 900)
    Library(path)


# --- ceilings


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("overlap", (False, True))
def test_kernels_of_the_ceilings_read_and_count(
    library: Library, order: str, overlap: bool
) -> None:
    assert ceilings.check(EmulatedCard(library, Schedule(order=order, overlap=overlap))) == ""


def test_a_read_that_leaves_something_out_is_found(library: Library) -> None:
    class Short(EmulatedCard):
        def run(self, launches) -> None:
            ((name, *arguments),) = launches
            if name == "read_memory":
                arguments[1] -= 1
            super().run([(name, *arguments)])

    assert ceilings.check(Short(library)).startswith("reading 1 vectors by 3 blocks, 4 at a time")


# --- gemv


@pytest.mark.parametrize("case", gemv.CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("tokens", gemv.TOKENS)
def test_the_product_that_is_timed_is_right(case: gemv.Case, tokens: int) -> None:
    """In small: the arguments are those of the kernel, and the formula is its."""
    problem = gemv.Problem(replace(case, rows=64, cols=256), tokens, "cpu")
    stream = open_stream(Schedule())
    problem.launch(emulated, stream.queue())
    stream.synchronize()
    assert problem.error() < gemv.MOST_ERROR
    problem.out[0, -1] *= 1.5
    assert problem.error() > gemv.MOST_ERROR


def test_weights_of_the_timed_cases_are_whole_vectors() -> None:
    """A plain read of as many bytes reads them all."""
    for case in gemv.CASES:
        size = gemv.tc16.packed_bytes(case.bits, (case.rows, case.cols), gemv.GROUP)
        assert size % ceilings.VECTOR == 0


# --- all of it, with a card that is emulated and a clock that is not


@pytest.fixture
def small_card(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ceilings, gemv):
        monkeypatch.setattr(module, "Card", lambda source: EmulatedCard(library))
    monkeypatch.setattr(ceilings, "SIZES", (1 << 10, 1 << 12, 1 << 14))
    monkeypatch.setattr(ceilings, "POOL", 1 << 14)
    monkeypatch.setattr(ceilings, "CACHED", 1 << 10)
    monkeypatch.setattr(ceilings, "CHAIN", 3)
    monkeypatch.setattr(gemv, "LEAST_POOL", 1)
    monkeypatch.setattr(gemv, "extension", lambda: emulated)
    small = [replace(case, rows=32, cols=128) for case in gemv.CASES]
    monkeypatch.setattr(gemv, "CASES", small)


def test_the_part_of_the_ceilings(small_card, monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    run_main(ceilings.main, monkeypatch, "--json", path)
    found = json.loads(path.read_text(encoding="utf-8"))
    reads = [(row["mb"] * 2**20, row["cold"]) for row in found["read"]]
    assert reads == [(1 << 10, True), (1 << 12, True), (1 << 10, False)]
    # 4 launches of 4 KB in a microsecond.
    assert found["read_gb_per_s"] == pytest.approx(16.384)
    assert len(found["launches"]) == 8
    assert found["launches"][0]["best_us"] == pytest.approx(1 / 3)
    shown_by_the_table(tmp_path, "ceilings", found, 1 + 3 + 8)


def test_the_part_of_gemv(small_card, monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    run_main(gemv.main, monkeypatch, "--json", path)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert len(found["rows"]) == 8 * 2 * 2
    assert all(0 < row["error"] < gemv.MOST_ERROR for row in found["rows"])
    shown_by_the_table(tmp_path, "gemv", found, 1 + 8 * 2)


def test_the_part_of_gemv_tells_of_wrong_results(small_card, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gemv, "EPS", 0.5)  # of the formula, after the kernel has read it
    launch = gemv.Problem.launch

    def other_eps(*arguments) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gemv, "EPS", 1e-5)
            launch(*arguments)

    monkeypatch.setattr(gemv.Problem, "launch", other_eps)
    with pytest.raises(SystemExit, match=r"error: llama-2-7b qkv of 1 tokens is off by 0\.\d"):
        run_main(gemv.main, monkeypatch, "--json", tmp_path / "result.json")


def test_the_part_of_the_vectors(emulation, library, monkeypatch, tmp_path) -> None:
    """What records a card, though it is none."""
    card = EmulatedCard(library, Schedule(coresident=True, overlap=True))
    monkeypatch.setattr(vectors, "Card", lambda source: card)
    run_main(vectors.main, monkeypatch, "--folder", tmp_path)
    _, about = conformance.read(tmp_path / "sm_90.safetensors")
    assert about.keys() == {"arch", "card", "torch", "cuda"}


def shown_by_the_table(folder: Path, name: str, found: dict, lines: int) -> None:
    part = {"status": "passed", "seconds": 1, "reason": "", "found": found}
    about = {"card": "x", "arch": 900, "driver": None, "torch": "2", "commit": None, "date": "now"}
    assert len(table({**about, "parts": {name: part}}).splitlines()) == 2 + 2 + 1 + lines

"""What scripts/gpu_check.sh runs, as far as it runs without a card: by means of the emulation."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from scripts.compile_cuda import find_nvcc
from scripts.gpu_check import vectors
from scripts.gpu_check.card import compile_library
from tests.cuda import conformance
from tests.cuda.emulated import Library


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


@pytest.mark.skipif(find_nvcc(None) is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("source", (vectors.WRAPPERS,), ids=lambda path: path.stem)
def test_libraries_for_a_card_load(tmp_path: Path, source: Path) -> None:
    path = tmp_path / "kernels.so"
    compile_library(source, path, 900)
    Library(path)

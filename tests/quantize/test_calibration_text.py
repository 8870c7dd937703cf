"""The calibration text that ships: what the script writes, and that the package finds its copy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.test_tokenizer_json import byte_spec, load
from tinychat.documents import SEPARATOR as DOCUMENT_END
from tinychat.quantize.calibration import BUNDLED, FEW_TOKENS, prepare

# What a text for models of all kinds has to hold -> how a document of the kind is known.
KINDS: dict[str, Callable[[str], object]] = {
    "prose": lambda text: re.match(r"## \w", text),
    "Python": lambda text: re.match(r"(def|class) \w+.*:\n", text),
    "C++": lambda text: re.search(r"^(inline|template|static|struct|void)\b.*[{;(<]", text, re.M),
    "dialogue": lambda text: re.match(r"(System|User|Question|Q): ", text),
    "story": lambda text: "the end." in text.lower() or "friend" in text,
    "sums": lambda text: re.match(r".*\d (\+|-|x) \d+ = \d+", text, re.DOTALL),
    "table": lambda text: text.startswith("day,"),
    "list": lambda text: text.startswith("To get:\n- "),
    "JSON": lambda text: text.startswith("{") and json.loads(text),
}


def bundled() -> str:
    return files("tinychat.quantize").joinpath(BUNDLED).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the script writes from the sources as they are now."""
    return run_script(tmp_path_factory.mktemp("calibration") / "text.txt")


def run_script(out: Path, **environ: str) -> str:
    subprocess.run(
        [sys.executable, "scripts/make_calibration.py", "--out", str(out)],
        cwd=REPOSITORY,
        env={**os.environ, **environ},
        capture_output=True,
        check=True,
    )
    return out.read_text(encoding="utf-8")


@pytest.mark.parametrize("which", ["shipped", "made now"])
def test_it_is_documents_of_every_kind(which: str, written: str) -> None:
    found = bundled() if which == "shipped" else written
    assert 120_000 <= len(found.encode()) <= 160_000
    assert found.endswith(f"\n{DOCUMENT_END}\n")
    lines = found.splitlines()
    assert lines.count(DOCUMENT_END) == found.count(DOCUMENT_END)  # the mark has its own lines
    parts = [part.strip("\n") for part in found.split(f"\n{DOCUMENT_END}\n")][:-1]
    assert len(parts) > 100 and all(300 <= len(part) <= 2600 for part in parts)
    for kind, belongs in KINDS.items():
        assert sum(bool(belongs(part)) for part in parts) >= 3, kind


def test_the_same_sources_give_the_same_bytes(written: str, tmp_path: Path) -> None:
    assert run_script(tmp_path / "again.txt", PYTHONHASHSEED="3") == written


def test_it_is_what_a_model_is_shown_by_default(tmp_path: Path) -> None:
    found = prepare(None, load(tmp_path, byte_spec()), 300, 2048)
    assert found.source == "bundled" and found.warning is None
    assert found.tokens >= 4 * FEW_TOKENS

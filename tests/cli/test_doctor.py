"""`tinychat doctor` finds what is there and says what is missing, in its exit code too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tinychat import machine
from tinychat.cli import doctor
from tinychat.cli.main import main
from tinychat.kernels.dispatch import cpu_isas, select


def examine(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    main(["doctor", "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_reports_what_would_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    found = examine(capsys)
    ops = select()
    ops.close()
    assert f"cpu-{found['isa']}" == ops.name and found["threads"] == ops.threads
    assert set(found["isas_refused"]) == {name for name, reason in cpu_isas().items() if reason}
    assert all(found["packages"][name] for name in doctor.REQUIRED)
    assert found["cuda"] == "not in this version"
    assert found["usable"] is True and found["extension_problem"] is None
    assert 0 < found["available_mb"] <= found["memory_mb"]


def test_for_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("CPU features", "kernels", "threads", "memory", "torch", "CUDA", "verdict"):
        assert f"\n{word} " in text
    for name, reason in cpu_isas().items():
        assert not reason or f"not {name}: {reason}" in text


def test_an_extension_that_does_not_load(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> dict[str, str]:
        raise ImportError("undefined symbol: x")

    monkeypatch.setattr("tinychat.kernels.dispatch.cpu_isas", fail)
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "none: the native extension does not load (undefined symbol: x)" in text
    assert "no model can run here" in text


@pytest.mark.parametrize(("package", "code"), [("sentencepiece", 1), ("transformers", 0)])
def test_a_missing_package(
    package: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith(package)]
    assert "not installed" in line and "pip install" in line


def test_elsewhere_than_on_linux(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "cpu_info", dict)
    found = examine(capsys)
    assert found["cpu"] and found["cpu_features"] == []

"""`tinychat doctor` finds what is there and says what is missing, in its exit code too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_cards import Machine, card
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


# --- cards


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def lines_of_cuda(capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    return text[text.index("\nCUDA ") + 1 : text.index("\ntorch ")].splitlines()


def test_a_card_that_is_used(cuda: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    cuda.has(card())
    cuda.attention("flash", "math")
    assert lines_of_cuda(capsys) == [
        "CUDA            built for sm_75, sm_80, sm_86, sm_89, sm_90 and newer, by CUDA 13.0",
        "                the driver runs CUDA up to 13.0",
        "card 0          NVIDIA H200, sm_90, 153600 MB, 4917 GB/s by its data sheet, "
        "132 multiprocessors, 60 MB of L2",
        "                kernels: code for sm_90, with programmatic dependent launch",
        "                attention to prompts, by torch: flash",
    ]
    found = examine(capsys)["cuda"]
    assert found["problem"] is None and found["built"]["ptx"] == 900
    assert found["cards"][0]["bandwidth"] == pytest.approx(4.9e12, rel=0.01)
    assert found["cards"][0]["attention"] == ["flash", "math"]


def test_what_would_make_a_card_faster(cuda: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    cuda.has(card("NVIDIA T4", 750), card("Tesla V100", 700), card("RTX 5090", 1200))
    cuda.attention("memory-efficient", "math")
    text = "\n".join(lines_of_cuda(capsys))
    assert "kernels: code for sm_75, without programmatic dependent launch" in text
    assert "faster: this torch has no flash attention for card 0" in text
    assert "not used: Tesla V100 is sm_70, and tinychat needs sm_75 or newer" in text
    assert "faster: card 2 runs code for sm_90" in text


def test_built_and_no_driver(cuda: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    cuda.has(driver=(0, 0), reason="CUDA driver version is insufficient for CUDA runtime version")
    built, problem = lines_of_cuda(capsys)
    assert "built for sm_75" in built
    assert problem.startswith("                not used: there is no NVIDIA driver here")


def test_not_built(cuda: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    cuda.has_no_extension(driver=False)
    (line,) = lines_of_cuda(capsys)
    assert line == (
        "CUDA            no: tinychat was built without CUDA, and there is no NVIDIA driver here"
    )
    assert examine(capsys)["cuda"]["built"] is None


def test_a_card_that_fails_is_a_finding(
    cuda: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(index: int) -> list[str]:
        raise RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")

    cuda.has(card())
    monkeypatch.setattr("tinychat.kernels.cards.attention_kinds", fail)
    assert lines_of_cuda(capsys)[-1].endswith("not used: CUDA error: out of memory")

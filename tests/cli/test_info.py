"""`tinychat info` says what `load` would do, without loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import tinychat
from tests.fake_cards import Machine, card
from tests.tiny_models import write_tiny
from tinychat.cli.main import main


@pytest.fixture
def model(data: Path) -> str:
    return str(data / "models" / "TinyStories-656K")


def facts(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["info", *arguments, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_facts_of_a_model(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(capsys, model)
    assert found["family"] == "llama" and found["longest_context"] == 512
    assert found["parameters"] == pytest.approx(656_000, rel=0.01)
    assert found["tokenizer"] == "present" and found["chat_template"] == "none"
    assert found["fits"] is True and found["problem"] is None


@pytest.mark.parametrize(
    "flags",
    [[], ["--weights", "int4"], ["--weights", "fp32", "--max-context", "100"]],
    ids=["as it is", "int4", "fp32"],
)
def test_what_it_says_is_what_load_does(
    model: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = facts(capsys, model, "--threads", "1", *flags)
    options = dict(zip(flags[::2], flags[1::2], strict=True))
    with tinychat.load(
        model,
        weights=options.get("--weights", "auto"),
        max_context=int(options["--max-context"]) if "--max-context" in options else None,
        threads=1,
    ) as llm:
        assert found["context"] == llm.max_context
        assert found["kv_mb"] == pytest.approx(llm.memory()["kv_mb"], abs=0.05)
        # Of a tied float head there is one copy, which the estimate leaves to the file's mapping.
        tolerance = 0.15 if "int4" in flags else llm.memory()["weights_mb"] / 2
        assert found["weights_mb"] == pytest.approx(llm.memory()["weights_mb"], abs=tolerance)
        assert found["kernels"] == llm.engine.model.ops.name
        assert found["threads"] == 1


def test_for_people(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", model]) == 0
    text = capsys.readouterr().out
    assert "family" in text and "weights mb" in text and "{" not in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["/no/such/model"], 3),
        (["--weights", "int5"], 2),
        (["--lm-head", "x"], 2),
        (["--kv-cache", "x"], 2),
        (["--device", "cuda"], 2),
        (["--threads", "0"], 2),
        (["--max-context", "4k"], 2),
    ],
)
def test_refusals(
    model: str, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments if arguments[0].startswith("/") else [model, *arguments]
    assert main(["info", *words]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert main(["info", model]) == 0


def test_tensors_that_are_not_there_are_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny(tmp_path / "tiny", "qwen3")
    assert facts(capsys, str(folder))["family"] == "qwen3"
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.self_attn.q_norm.weight"]
    save_file(tensors, folder / "model.safetensors")
    assert main(["info", str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "1 tensor is missing: 'model.layers.1.self_attn.q_norm.weight'" in captured.err


def test_a_context_that_does_not_fit_is_a_finding(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinychat.memory.available_bytes", lambda: 1 << 20)
    found = facts(capsys, model)
    assert found["fits"] is False and "1 MB are free" in str(found["problem"])


def test_the_card_or_why_there_is_none(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Machine(monkeypatch)
    cuda.has(card())
    # There is no such card to run on; it is named all the same.
    found = facts(capsys, model, "--device", "cpu")
    assert str(found["cuda"]).startswith("NVIDIA H200, sm_90, 153600 MB, 4917 GB/s")
    cuda.has_no_extension(driver=False)
    assert str(facts(capsys, model)["cuda"]).startswith("no: tinychat was built without CUDA")

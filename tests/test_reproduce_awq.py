"""The experiments of the paper run on a tiny model, and what was done is not done again."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import REPOSITORY
from tests.tiny_models import TINY
from tinychat.assembly import load

CONFIG = {**TINY["llama-mha-tied"], "intermediate_size": 128}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Random weights that groups of 64 and 32 divide, and no tokenizer."""
    generator = torch.Generator().manual_seed(5)
    width, inner, vocab = (CONFIG[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    shapes = {f"self_attn.{name}_proj": (width, width) for name in "qkvo"}
    shapes |= {"mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width)}
    shapes["mlp.down_proj"] = (width, inner)
    tensors = {
        "model.embed_tokens.weight": torch.randn(vocab, width, generator=generator),
        "model.norm.weight": torch.ones(width),
    }
    for i in range(CONFIG["num_hidden_layers"]):
        for name, shape in shapes.items():
            matrix = torch.randn(shape, generator=generator) * 0.15
            tensors[f"model.layers.{i}.{name}.weight"] = matrix
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{i}.{norm}.weight"] = torch.ones(width)
    folder = tmp_path / "tiny"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(6)
    ids = torch.randint(0, CONFIG["vocab_size"], (12, 40), generator=generator).tolist()
    counted = [[i % 3 > 0 for i in range(len(row))] for row in ids]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"ids": ids, "counted": counted}))
    return path


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(REPOSITORY / "scripts" / script), run_name="__main__")


def results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_every_experiment_runs_once(
    model: Path,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib", reason="the plots need matplotlib, of the dev extra")
    out = tmp_path / "out"
    arguments = [model, "--text", rows, "--documents", ":8", "--calibration", rows]
    arguments += ["--calibration-documents", "8:", "--elsewhere", rows, "--smallest"]
    run(monkeypatch, "reproduce_awq.py", *arguments, "--out", out)
    first = results(out)
    assert [len(first[letter]) for letter in "abcde"] == [21, 3, 2, 4, 6]
    cases = {case["method"]: case for case in first["a"] if case["bits"] == 3}
    assert cases["AWQ"]["block_loss"] < cases["RTN"]["block_loss"]
    # Plain rounding by three ways is the same.
    plain = [cases["RTN"], first["c"][0], first["d"][0]]
    assert len({case["perplexity"] for case in plain}) == 1
    names = ["alpha.svg", "calibration.svg", "kept.svg", "methods.svg", "results.json"]
    assert sorted(p.name for p in out.iterdir()) == [*names, "scaled.svg", "tables.md"]

    # A case that is missing is measured again, to the same figures, and no other is.
    broken = {**first, "c": first["c"][:1]}
    (out / "results.json").write_text(json.dumps(broken))
    capsys.readouterr()
    run(monkeypatch, "reproduce_awq.py", *arguments, "--out", out)
    assert results(out) == first
    assert capsys.readouterr().out.count("\n") == 2

    with pytest.raises(SystemExit, match="results of another text"):
        arguments[4] = ":7"
        run(monkeypatch, "reproduce_awq.py", *arguments, "--out", out)


def with_biases(model: Path) -> Path:
    """The model with a bias in every linear of a block."""
    tensors = load_file(model / "model.safetensors")
    generator = torch.Generator().manual_seed(7)
    for name in sorted(tensors):
        if name.endswith("_proj.weight"):
            bias = torch.randn(len(tensors[name]), generator=generator)
            tensors[f"{name.removesuffix('weight')}bias"] = bias
    save_file(tensors, model / "model.safetensors")
    config = {**CONFIG, "attention_bias": True, "mlp_bias": True}
    (model / "config.json").write_text(json.dumps(config))
    return model


@pytest.mark.parametrize("biased", [False, True], ids=["", "biased"])
def test_outliers_change_the_weights_and_not_the_function(
    model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, biased: bool
) -> None:
    model = with_biases(model) if biased else model
    out = tmp_path / "outliers"
    run(monkeypatch, "inject_outliers.py", model, out, "--factor", 16)
    before, after = (load_file(folder / "model.safetensors") for folder in (model, out))
    assert before.keys() == after.keys()
    norm = "model.layers.1.input_layernorm.weight"
    assert sorted((after[norm] / before[norm]).tolist())[-3:] == [1, 16, 16]
    ids = json.loads(rows.read_text())["ids"][0]
    logits = []
    for folder in (model, out):
        with load(folder, weights="fp32") as llm:
            logits.append(llm.logits(ids))
    assert torch.allclose(*logits, atol=1e-4)

"""One block quantized: what each method does to it, what falls back, and what is kept in mind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import relative_error
from tests.quantize.tiny_runs import logits, quantize_tiny, same, tensors_of, tiny_llama
from tests.tiny_models import TINY, StateDict, tiny_reference
from tinychat.config import ModelConfig, parse_config
from tinychat.nn.rope import position_tables
from tinychat.quantize import layer
from tinychat.quantize.block import BlockView
from tinychat.quantize.format import LowBitWeight, dequantize
from tinychat.quantize.gptq import Order
from tinychat.quantize.grid import Grid
from tinychat.quantize.layer import (
    GroupReport,
    Settings,
    kept_sequences,
    new_statistics,
    quantize_block,
    trial,
    working_bytes,
)
from tinychat.quantize.run import Progress

pytest.importorskip("transformers", reason="it makes the tiny models")

GRID = Grid(3, 32)
CPU = torch.device("cpu")
TOKENS = 40


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    model = tiny_reference("llama-biased", intermediate_size=96)
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def config(**changes: Any) -> ModelConfig:
    return parse_config({**TINY["llama-biased"], "intermediate_size": 96, **changes})


def hidden() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    spread = 1 + 9 * torch.rand(64, generator=generator) ** 6
    return [torch.randn(TOKENS, 64, generator=generator) * spread for _ in range(6)]


def quantized(
    tensors: dict[str, Tensor], settings: Settings, kept_float: tuple[str, ...] = ()
) -> tuple[BlockView, dict[str, LowBitWeight], list[GroupReport]]:
    view = BlockView(StateDict(tensors), config(), 0, position_tables(config(), TOKENS), CPU)
    seen = {}
    if settings.looks:
        seen = new_statistics(view, settings, kept_float)
        view.observe(hidden(), {0, 2, 4}, seen)
    weights, reports = quantize_block(view, seen, settings, kept_float)
    return view, weights, reports


def output_error(view: BlockView, tensors: dict[str, Tensor]) -> float:
    exact = BlockView(StateDict(tensors), config(), 0, position_tables(config(), TOKENS), CPU)
    return max(relative_error(view(x) - x, exact(x) - x) for x in hidden())


METHODS = {
    "rtn": Settings("rtn", GRID),
    "gptq": Settings("gptq", GRID),
    "gptq moved": Settings("gptq", GRID, order=Order(static_groups=False)),
    "awq": Settings("awq", GRID),
    "awq unclipped": Settings("awq", GRID, clip=False),
    "awq+gptq": Settings("awq+gptq", GRID),
    "awq+gptq moved": Settings("awq+gptq", GRID, clip=False, order=Order(static_groups=False)),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_view_becomes_what_the_integers_stand_for(
    name: str, tensors: dict[str, Tensor]
) -> None:
    view, weights, reports = quantized(tensors, METHODS[name])
    assert set(weights) == {matrix.name for matrix in view.matrices.values()}
    for matrix in view.matrices.values():
        weight = weights[matrix.name]
        assert torch.equal(matrix.weight, dequantize(weight))
        assert (weight.bits, weight.group_size) == (3, 32)
        assert (weight.order is not None) == name.endswith("moved")
    assert [report.input for report in reports] == ["attention", "heads", "mlp", "inner"]
    for report in reports:
        assert report.fallback is None
        assert (report.alpha is not None) == name.startswith("awq")
        assert 0 < report.loss_rtn < 0.2
        if name == "rtn":
            assert report.loss == pytest.approx(report.loss_rtn, rel=1e-5)
        else:
            assert report.loss <= report.loss_rtn
    if name != "rtn":
        assert sum(r.loss for r in reports) < 0.9 * sum(r.loss_rtn for r in reports)
        plain, _, _ = quantized(tensors, METHODS["rtn"])
        assert output_error(view, tensors) < output_error(plain, tensors)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "rtn"])
def test_the_loss_is_that_of_the_outputs(name: str, tensors: dict[str, Tensor]) -> None:
    """Of q, k and v: on the inputs that the changed norm gives, against those of the old one."""
    view, _, reports = quantized(tensors, METHODS[name])
    exact = BlockView(StateDict(tensors), config(), 0, position_tables(config(), TOKENS), CPU)
    x = torch.cat(hidden())
    off = size = 0.0
    for role in "qkv":
        right = exact.ops.norm(x, exact.block.attention_norm) @ exact.matrices[role].weight.t()
        wrong = view.ops.norm(x, view.block.attention_norm) @ view.matrices[role].weight.t()
        off, size = off + float((wrong - right).square().sum()), size + float(right.square().sum())
    assert reports[0].loss == pytest.approx(off / size, rel=1e-3)


def test_clipping_spares_q_and_k(tensors: dict[str, Tensor]) -> None:
    _, clipped, _ = quantized(tensors, METHODS["awq"])
    _, unclipped, _ = quantized(tensors, METHODS["awq unclipped"])
    for name in clipped:
        equal = torch.equal(clipped[name].scales, unclipped[name].scales)
        assert equal == name.endswith(("q_proj", "k_proj")), name
        assert bool((clipped[name].scales <= unclipped[name].scales).all())


def test_what_stays_float_is_scaled_and_takes_no_part_in_losses(tensors: dict[str, Tensor]) -> None:
    kept = ("k", "gate", "up")
    for settings in METHODS.values():
        view, weights, reports = quantized(tensors, settings, kept)
        assert {name.rpartition(".")[2] for name in weights} == {
            *("q_proj", "v_proj", "o_proj", "down_proj")
        }
        # Nobody rounds what "mlp" feeds, so that there is nothing to scale it for.
        assert [report.input for report in reports] == ["attention", "heads", "inner"]
        if not settings.feedback:
            assert output_error(view, tensors) < output_error(
                quantized(tensors, replace(settings))[0], tensors
            )
    _, _, rtn = quantized(tensors, METHODS["rtn"], kept)
    assert rtn[0].loss == pytest.approx(rtn[0].loss_rtn, rel=1e-5)


# --- what falls back


def spoil(tensors: dict[str, Tensor], name: str, part: Any, value: float) -> dict[str, Tensor]:
    spoilt = {key: tensor.clone() for key, tensor in tensors.items()}
    spoilt[f"model.layers.0.{name}"][part] = value
    return spoilt


@pytest.mark.parametrize("method", ["gptq", "awq", "awq+gptq"])
@pytest.mark.parametrize(
    ("name", "part", "value", "input", "reason"),
    [
        # A norm that shuts a channel off: q, k and v always read 0 there.
        ("input_layernorm.weight", 5, 0.0, "attention", "1 of its channels are always zero"),
        (
            "mlp.up_proj.weight",
            slice(None),
            0.25,
            "mlp",
            "all weights of model.layers.0.mlp.up_proj are 0.25",
        ),
    ],
)
def test_a_group_falls_back_and_the_others_do_not(
    tensors: dict[str, Tensor],
    method: str,
    name: str,
    part: Any,
    value: float,
    input: str,
    reason: str,
) -> None:
    spoilt = spoil(tensors, name, part, value)
    _, weights, reports = quantized(spoilt, Settings(method, GRID))
    _, plain, _ = quantized(spoilt, Settings("rtn", GRID))
    assert {r.input: r.fallback for r in reports if r.fallback} == {input: reason}
    (report,) = [r for r in reports if r.fallback]
    assert report.alpha is None and report.loss == pytest.approx(report.loss_rtn, abs=0.02)
    group = {"attention": ("q_proj", "k_proj"), "mlp": ("gate_proj",)}[input]
    for module in weights:
        if module.endswith(group):
            assert torch.equal(weights[module].codes, plain[module].codes)
        if module.endswith("o_proj"):
            assert not torch.equal(weights[module].codes, plain[module].codes)


def test_dead_and_constant_matrices_are_read_back_exactly(tensors: dict[str, Tensor]) -> None:
    for value in (0.0, 0.25):
        spoilt = spoil(tensors, "mlp.up_proj.weight", slice(None), value)
        _, weights, _ = quantized(spoilt, METHODS["awq"])
        exact = torch.full((96, 64), value)
        if value == 0.0:  # its outputs are dead channels of "inner", which falls back too
            assert torch.equal(dequantize(weights["model.layers.0.mlp.up_proj"]), exact)


@pytest.mark.parametrize("method", ["gptq", "awq", "awq+gptq"])
def test_a_model_with_faults_is_quantized_and_they_are_reported(
    method: str, tmp_path: Path
) -> None:
    source = tiny_llama(tmp_path / "float")
    tensors = tensors_of(source)
    tensors["model.layers.0.input_layernorm.weight"][3] = 0
    tensors["model.layers.0.mlp.gate_proj.weight"].fill_(0.125)
    from safetensors.torch import save_file

    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    seen: list[Progress] = []
    result = quantize_tiny(source, tmp_path / "out", method, progress=seen.append)
    first, second = (
        [group["fallback"] for group in groups]
        for groups in json.loads((result.out / "quantization.json").read_text())["layers"]
    )
    dead, constant = (
        "1 of its channels are always zero",
        "all weights of model.layers.0.mlp.gate_proj are 0.125",
    )
    assert first == [dead, None, constant, None] and second == [None] * 4
    assert seen[0].notes == (
        f"layer 1/2, attention: rounded to nearest, because {dead}",
        f"layer 1/2, mlp: rounded to nearest, because {constant}",
    )
    assert seen[1].notes == ()
    exact = logits(result.out, weights="fp32")
    assert bool(torch.isfinite(exact).all())
    assert relative_error(logits(result.out, lm_head="fp16"), exact) < 0.05


@pytest.mark.parametrize("method", ["gptq", "awq", "awq+gptq"])
def test_activations_that_are_no_numbers_end_in_plain_rounding(method: str, tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "float")
    tensors = tensors_of(source)
    tensors["model.embed_tokens.weight"][7, 5] = torch.nan
    from safetensors.torch import save_file

    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    seen: list[Progress] = []
    calibration = [[5, 6, 8, 7, 9], [10, 11, 12]]
    result = quantize_tiny(
        source, tmp_path / "out", method, calibration=calibration, progress=seen.append
    )
    reports = [report for reports in result.layers for report in reports]
    assert {report.fallback for report in reports} == {"its activations are not finite"}
    assert all(0 < report.loss == pytest.approx(report.loss_rtn) for report in reports)
    assert [len(one.notes) for one in seen] == [4, 4]
    json.loads((result.out / "quantization.json").read_text(), parse_constant=pytest.fail)
    plain = tensors_of(quantize_tiny(source, tmp_path / "rtn", "rtn").out)
    written = tensors_of(result.out)
    assert same(written, plain, "proj.") and same(written, plain, "layernorm")
    # Where that token is not met, the model is as good as any.
    assert bool(torch.isfinite(logits(result.out)).all())


# --- how much of the text is searched on, and memory


def test_sequences_that_are_kept_are_spread_over_the_text() -> None:
    assert kept_sequences([512] * 8, 1024) == set(range(8))
    kept = kept_sequences([512] * 64, 1024)  # 4096 of 32768 tokens
    assert kept == set(range(0, 64, 8))
    assert (
        kept_sequences([512] * 64, 4096) == kept_sequences([512] * 64, 1 << 20) == {0, 16, 32, 48}
    )
    assert kept_sequences([], 1024) == set() and kept_sequences([7], 1024) == {0}
    ragged = kept_sequences([100 + 7 * (i % 50) for i in range(300)], 1024)
    assert max(ragged) > 280 and 10 <= len(ragged) <= 30


def test_more_takes_more_memory() -> None:
    def need(method: str = "awq", tokens: int = 4096, **changes: Any) -> int:
        values = {**TINY["llama"], "hidden_size": 1024, "num_attention_heads": 16, **changes}
        return working_bytes(parse_config(values), Settings(method), [512] * (tokens // 512))

    assert need("rtn", 0) < need("gptq") < need("awq") < need("awq+gptq")
    assert need(tokens=4096) < need(tokens=32768)
    assert need() < need(intermediate_size=8192) < need(intermediate_size=16384)
    assert need("rtn", 0, num_hidden_layers=80) == need("rtn", 0), "one block at a time"


@pytest.mark.parametrize("name", METHODS)
def test_the_trial_takes_what_a_layer_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []
    factor, round = layer.inverse_factor, Grid.round

    def watched_factor(gram: Tensor, damping: float) -> Tensor:
        sizes.append(tuple(gram.shape))
        return factor(gram, damping)

    def watched_round(self: Grid, groups: Tensor, name: str = "weight") -> Tensor:
        sizes.append((groups.numel(),))
        return round(self, groups, name)

    monkeypatch.setattr(layer, "inverse_factor", watched_factor)
    monkeypatch.setattr(Grid, "round", watched_round)
    # K of down is 112, which groups of 32 do not divide: it may be one that stays float.
    trial(config(intermediate_size=112), METHODS[name], CPU)
    assert (112 * 64,) in sizes
    assert ((112, 112) in sizes) == METHODS[name].feedback

"""Whole low-bit folders of every kind, written by the independent writer, loaded and asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import tinychat
from tests.kernels.compare import relative_error
from tests.quantize import independent
from tinychat import SamplingParams
from tinychat.cli.main import main
from tinychat.nn.linear import LinearLowBit

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}
LAYER = "model.layers.0"
# Name -> (what it reads, N, K).
LINEARS = {
    "self_attn.q_proj": ("stream", 64, 64),
    "self_attn.k_proj": ("stream", 32, 64),
    "self_attn.v_proj": ("stream", 32, 64),
    "self_attn.o_proj": ("heads", 64, 64),
    "mlp.gate_proj": ("stream", 96, 64),
    "mlp.up_proj": ("stream", 96, 64),
    "mlp.down_proj": ("gated", 64, 96),
}
IDS = [5, 17, 80, 3, 41, 41, 9]


@dataclass
class Kind:
    """One kind of file: what config.json says, and how the independent writer is called."""

    method: str
    format: str
    bits: int = 4
    group: int = 32
    sym: bool = False
    act_order: bool = False

    def config(self) -> dict[str, Any]:
        shared = {"quant_method": self.method, "bits": self.bits, "group_size": self.group}
        if self.method == "awq":
            return {**shared, "version": self.format, "zero_point": True}
        flags = {"sym": self.sym, "desc_act": self.act_order, "lm_head": False}
        return {**shared, **flags, "checkpoint_format": self.format}

    def matrix(self, n: int, k: int, seed: int) -> independent.Matrix:
        group = k if self.group == -1 else self.group
        matrix = independent.random_matrix(
            n, k, group, self.bits, sym=self.sym, act_order=self.act_order, seed=seed
        )
        matrix.s = (matrix.s * (2 * k**-0.5 / 2**self.bits)).astype(np.float16)
        return matrix

    def files(self, matrix: independent.Matrix) -> independent.Files:
        if self.format == "gemm":
            return independent.write_awq_gemm(matrix)
        if self.format == "gemv":
            return independent.write_awq_gemv(matrix, self.group)
        return independent.write_gptq(matrix, self.bits, v1=self.format == "gptq")


KINDS = {
    "awq gemm": Kind("awq", "gemm"),
    "awq gemv": Kind("awq", "gemv"),
    "awq rows": Kind("awq", "gemm", group=-1),
    "gptq v1": Kind("gptq", "gptq"),
    "gptq v1 sym": Kind("gptq", "gptq", sym=True),
    "gptq v2": Kind("gptq", "gptq_v2"),
    "gptq ragged": Kind("gptq", "gptq_v2", group=64),  # K of down_proj is 96
    "gptq rows": Kind("gptq", "gptq", group=-1, sym=True),
    "gptq 2 bits": Kind("gptq", "gptq_v2", bits=2),
    "gptq 3 bits": Kind("gptq", "gptq_v2", bits=3),
    "gptq 8 bits": Kind("gptq", "gptq_v2", bits=8),
    "gptq act-order": Kind("gptq", "gptq", act_order=True),
    "gptq act-order 3 bits": Kind("gptq", "gptq_v2", bits=3, act_order=True),
    "gptq act-order ragged": Kind("gptq", "gptq_v2", group=64, act_order=True),
}


def write(folder: Path, kind: Kind) -> tuple[Path, Path]:
    """A low-bit folder, and a float one of the same matrices."""
    generator = torch.Generator().manual_seed(2)
    both: dict[str, Tensor] = {
        name: torch.randn(96, 64, generator=generator)
        for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    norms = (f"{LAYER}.input_layernorm", f"{LAYER}.post_attention_layernorm", "model.norm")
    both |= {f"{name}.weight": torch.ones(64) for name in norms}
    packed, floats = dict(both), dict(both)
    orders: dict[str, independent.Integers] = {}
    for seed, (name, (read, n, k)) in enumerate(LINEARS.items()):
        matrix = kind.matrix(n, k, seed)
        # The order of inputs comes from what they are, so that all who read them have the same.
        matrix.groups = orders.setdefault(read, matrix.groups)
        floats[f"{LAYER}.{name}.weight"] = torch.from_numpy(matrix.dequantized())
        for part, value in kind.files(matrix).items():
            packed[f"{LAYER}.{name}.{part}"] = torch.from_numpy(value)
    config = {**CONFIG, "quantization_config": kind.config()}
    for path, tensors, values in (
        (folder / "packed", packed, config),
        (folder / "floats", floats, CONFIG),
    ):
        path.mkdir()
        save_file(tensors, path / "model.safetensors")
        (path / "config.json").write_text(json.dumps(values))
    return folder / "packed", folder / "floats"


def logits(folder: Path, **options: str) -> Tensor:
    with tinychat.load(folder, threads=1, **options) as llm:  # type: ignore[arg-type]
        return llm.logits(IDS)


@pytest.mark.parametrize("name", KINDS)
def test_dequantized_it_is_the_float_model(name: str, tmp_path: Path) -> None:
    packed, floats = write(tmp_path, KINDS[name])
    assert torch.equal(logits(packed, weights="fp32"), logits(floats, weights="fp32"))


@pytest.mark.parametrize("name", KINDS)
def test_low_bit_it_is_the_float_model_but_for_rounded_activations(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS[name]
    packed, floats = write(tmp_path, kind)
    expected = logits(floats, weights="fp32")
    with tinychat.load(packed, threads=1, lm_head="fp16") as llm:
        found = llm.logits(IDS)
        # Four products in a row, each with less than 1 % of error from its int8 activations.
        assert relative_error(found, expected) < 0.03
        assert llm.summary is not None
        group = 96 if kind.group == -1 else kind.group
        assert llm.summary.weights == f"int{kind.bits} g{group}"
        assert isinstance(llm.engine.model.blocks[0].attention.qkv, LinearLowBit)
    with tinychat.load(packed, threads=1) as llm:  # the head in int8: a step is one recorded call
        assert llm.engine.model.can_record
        params = SamplingParams(temperature=0, max_new_tokens=6, ignore_eos=True)
        first = llm.generate(IDS, params).token_ids
        for count in range(1, 6):
            again = llm.generate([*IDS, *first[:count]], params).token_ids
            assert again[0] == first[count], "a replayed step is a step of the prompt"
    assert main(["info", str(packed)]) == 0
    group = "whole rows" if kind.group == -1 else f"g{kind.group}"
    text = capsys.readouterr().out
    assert f"int{kind.bits} {group}, {kind.method} {kind.format}\n" in text
    assert f"int{kind.bits} {group}\n" in text

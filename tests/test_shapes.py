"""Named shapes are those of the published models, and random weights fit them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from tests.tiny_models import TINY
from tinychat.config import ModelConfig, parse_config
from tinychat.errors import ArgumentError, CheckpointError
from tinychat.memory import parameter_count
from tinychat.quantize.format import dequantize
from tinychat.random_weights import RandomCheckpoint, repeat_into
from tinychat.shapes import SHAPES, shape_config

# Parameters of the published models, in millions.
MILLIONS = {
    "llama-2-7b": 6738.4,
    "llama-3-8b": 8030.3,
    "llama-3.2-1b": 1235.8,
    "smollm2-135m": 134.5,
    "qwen3-0.6b": 596.0,
}


def parameters(config: ModelConfig) -> int:
    norms = (2 * config.num_layers + 1) * config.hidden_size
    if "q_norm" in config.tensors:
        norms += 2 * config.num_layers * config.head_dim
    return parameter_count(config) + norms


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_have_the_published_size(name: str) -> None:
    assert parameters(shape_config(name)) / 1e6 == pytest.approx(MILLIONS[name], abs=0.06)
    assert set(MILLIONS) == set(SHAPES)


def test_an_unknown_shape_lists_those_there_are() -> None:
    with pytest.raises(ArgumentError, match=r"no shape 'gpt-5'; choose from llama-2-7b, "):
        shape_config("gpt-5")


def test_the_names_need_no_torch() -> None:
    code = "import sys, tinychat.shapes as s; print([len(s.SHAPES), 'torch' in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout.lower()) == [len(SHAPES), False]


@pytest.mark.parametrize("name", ["llama", "llama-mha-tied", "falcon-40b", "falcon-7b", "qwen3"])
@pytest.mark.parametrize("weights", ["int4", "int8", "bf16"])
def test_random_weights_have_the_tensors_of_the_model(name: str, weights: str) -> None:
    transformers = pytest.importorskip("transformers")
    values = dict(TINY[name])
    architecture = getattr(transformers, values.pop("architectures")[0])
    real = architecture(architecture.config_class(**values)).state_dict()
    config = parse_config(TINY[name])
    source = RandomCheckpoint(config, weights)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    assert source.names() == set(real) - tied
    for tensor in sorted(source.names()):
        weight = source.low_bit(tensor.removesuffix(".weight"))
        if weight is None:
            got = source.tensor(tensor)
            assert got.dtype == (torch.bfloat16 if weights == "bf16" else torch.float16)
        else:
            got = weight.codes
            assert weight.bits == int(weights.removeprefix("int"))
            assert 0.8 < float(dequantize(weight).std()) * got.shape[1] ** 0.5 < 1.2
        assert got.shape == real[tensor].shape
    assert source.unused() == set()
    low_bit = [n for n in source.names() if source.low_bit(n.removesuffix(".weight"))]
    per_block = len([n for n in real if ".0." in n and real[n].ndim == 2])
    assert len(low_bit) == (0 if weights == "bf16" else per_block * config.num_layers)


def test_random_weights_follow_their_seed_and_do_not_repeat_rows() -> None:
    config = parse_config(TINY["llama"])
    name = "model.layers.0.mlp.up_proj"
    first, again, other = (
        RandomCheckpoint(config, "int4", seed).low_bit(name) for seed in (1, 1, 2)
    )
    assert first is not None and again is not None and other is not None
    assert torch.equal(first.codes, again.codes) and not torch.equal(first.codes, other.codes)
    assert len({tuple(row) for row in first.codes.tolist()}) == first.codes.shape[0]
    assert int(first.codes.max()) == 15


def test_random_weights_refuse_what_they_cannot_be() -> None:
    config = parse_config(TINY["llama"])
    with pytest.raises(ArgumentError, match="weights='int3'"):
        RandomCheckpoint(config, "int3")
    source = RandomCheckpoint(config, "int4")
    assert source.low_bit("lm_head") is None and source.low_bit("nothing") is None
    for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.9.mlp.up_proj.weight"):
        with pytest.raises(CheckpointError, match="up_proj"):
            source.tensor(name)


def test_repeat_into_fills_every_element() -> None:
    out = repeat_into(torch.full((3, 5), -1), torch.arange(4))
    assert out.flatten().tolist() == [i % 4 for i in range(15)]

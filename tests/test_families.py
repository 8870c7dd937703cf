"""Specs against transformers: each form names exactly its model's tensors, in the order we say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tinychat.config import ModelConfig, parse_config
from tinychat.errors import UnsupportedModelError
from tinychat.families import FAMILIES, supported_architectures

SIZES = {
    "vocab_size": 64,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GATED = {**SIZES, "intermediate_size": 80, "num_key_value_heads": 2}

# Class of transformers, changes to config.json, then parallel, shared_norm and kv heads.
FORMS: dict[str, tuple[str, dict[str, Any], bool, bool, int]] = {
    "llama": ("Llama", GATED, False, False, 2),
    "llama-head-dim": ("Llama", {**GATED, "head_dim": 10}, False, False, 2),
    "llama-biased": (
        "Llama",
        {**GATED, "attention_bias": True, "mlp_bias": True},
        False,
        False,
        2,
    ),
    "mistral": ("Mistral", {**GATED, "head_dim": 12}, False, False, 2),
    "qwen3": ("Qwen3", {**GATED, "head_dim": 10}, False, False, 2),
    "falcon-7b": ("Falcon", {**SIZES}, True, True, 1),
    "falcon-40b": (
        "Falcon",
        {**SIZES, "new_decoder_architecture": True, "num_kv_heads": 2},
        True,
        False,
        2,
    ),
    "falcon2-11b": (
        "Falcon",
        {
            **SIZES,
            "new_decoder_architecture": True,
            "num_kv_heads": 2,
            "num_ln_in_parallel_attn": 1,
        },
        True,
        True,
        2,
    ),
    "falcon-rw": (
        "Falcon",
        {**SIZES, "alibi": True, "bias": True, "multi_query": False, "parallel_attn": False},
        False,
        False,
        6,
    ),
    "falcon-mqa-sequential": ("Falcon", {**SIZES, "parallel_attn": False}, False, False, 1),
    "falcon-mha-parallel": ("Falcon", {**SIZES, "multi_query": False}, True, True, 6),
}


def build(form: str) -> tuple[ModelConfig, Any]:
    """Our config and transformers' model of one form."""
    transformers = pytest.importorskip("transformers")
    family, values, *_ = FORMS[form]
    theirs = getattr(transformers, f"{family}Config")(**values, tie_word_embeddings=False)
    model = getattr(transformers, f"{family}ForCausalLM")(theirs)
    written = {**values, "tie_word_embeddings": False}
    return parse_config({**written, "architectures": [f"{family}ForCausalLM"]}), model


@pytest.mark.parametrize("form", FORMS)
def test_the_form_that_config_json_chooses(form: str) -> None:
    family, values, parallel, shared_norm, kv_heads = FORMS[form]
    config = parse_config({**values, "architectures": [f"{family}ForCausalLM"]})
    assert (config.parallel, config.shared_norm) == (parallel, shared_norm)
    assert config.num_kv_heads == kv_heads
    assert config.alibi == ("alibi" in values)
    assert (config.rope is None) == config.alibi
    assert config.norm == ("layer" if family == "Falcon" else "rms")
    assert config.gated_mlp == (family != "Falcon")
    assert ("mlp_norm" in config.tensors) == (not shared_norm)


@pytest.mark.parametrize("form", FORMS)
def test_names_are_those_of_the_checkpoint(form: str) -> None:
    config, model = build(form)
    ours = {
        template.format(i=layer)
        for role, template in config.tensors.items()
        if role != "act"
        for layer in range(config.num_layers)
    }
    theirs = {name.rpartition(".")[0] for name in model.state_dict()}
    assert ours == theirs
    if "act" in config.tensors:  # a module without tensors, which AWQ gives some
        assert callable(model.get_submodule(config.tensors["act"].format(i=1)))


@pytest.mark.parametrize("form", FORMS)
def test_shapes_follow_from_the_config(form: str) -> None:
    config, model = build(form)
    state = model.state_dict()
    heads, groups, width = config.num_heads, config.num_kv_heads, config.head_dim

    def shape(role: str) -> tuple[int, ...]:
        return tuple(state[config.tensors[role].format(i=1) + ".weight"].shape)

    assert shape("embed") == shape("head") == (config.vocab_size, config.hidden_size)
    assert shape("final_norm") == shape("attention_norm") == (config.hidden_size,)
    if config.qkv_layout == "grouped":
        assert shape("qkv") == ((heads + 2 * groups) * width, config.hidden_size)
    else:
        assert shape("q") == (heads * width, config.hidden_size)
        assert shape("k") == shape("v") == (groups * width, config.hidden_size)
    assert shape("o") == (config.hidden_size, heads * width)
    assert shape("up") == (config.intermediate_size, config.hidden_size)
    assert shape("down") == (config.hidden_size, config.intermediate_size)


@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith("falcon")])
def test_grouped_rows_are_query_heads_then_key_then_value(form: str) -> None:
    config, model = build(form)
    heads, groups, width = config.num_heads, config.num_kv_heads, config.head_dim
    rows = torch.arange((heads + 2 * groups) * width, dtype=torch.float32)
    attention = model.transformer.h[0].self_attention
    query, key, value = attention._split_heads(rows.reshape(1, 1, -1))
    grouped = rows.reshape(groups, heads // groups + 2, width)
    assert torch.equal(query[0, 0], grouped[:, :-2].reshape(heads, width))
    # transformers repeats the kv heads of some forms for every query head.
    repeats = key.shape[2] // groups
    assert torch.equal(key[0, 0], grouped[:, -2].repeat_interleave(repeats, dim=0))
    assert torch.equal(value[0, 0], grouped[:, -1].repeat_interleave(repeats, dim=0))


def test_alibi_is_scaled_like_the_scores() -> None:
    """With all scores 0 and one head's value copied through, only the bias weighs positions."""
    transformers = pytest.importorskip("transformers")
    values = {**FORMS["falcon-rw"][1], "num_hidden_layers": 1}
    # NOTE: the eager attention of transformers adds the bias twice; sdpa, its default, does not.
    config = transformers.FalconConfig(**values, attn_implementation="sdpa")
    model = transformers.FalconForCausalLM(config).eval()
    attention = model.transformer.h[0].self_attention
    width = 48 // 6
    seen: list[torch.Tensor] = []
    attention.register_forward_hook(lambda module, args, out: seen.extend((args[0], out[0])))
    with torch.no_grad():
        attention.query_key_value.weight.zero_()
        attention.query_key_value.weight[2 * width : 3 * width, :width] = torch.eye(width)
        attention.dense.weight.copy_(torch.eye(48))
        model(torch.arange(5).unsqueeze(0), use_cache=False)
    x, out = seen[0][0, :, :width], seen[1][0, :, :width]
    slope = 0.25  # of head 0 of 6: the first of 4 is 2 ** -2
    weights = torch.softmax(torch.arange(5) * slope * width**-0.5, dim=0)
    torch.testing.assert_close(out[4], weights @ x)
    assert FAMILIES["falcon"].alibi_scaled


def test_first_published_files_of_falcon() -> None:
    old = {
        "architectures": ["RWForCausalLM"],
        "model_type": "RefinedWeb",
        "vocab_size": 65024,
        "hidden_size": 8192,
        "n_layer": 60,
        "n_head": 128,
        "n_head_kv": 8,
        "alibi": False,
        "bias": False,
        "parallel_attn": True,
        "auto_map": {"AutoConfig": "configuration_RW.RWConfig"},
    }
    config = parse_config(old)
    assert (config.num_layers, config.num_heads, config.num_kv_heads) == (60, 128, 8)
    assert (config.parallel, config.shared_norm) == (True, False)
    assert config.tensors["mlp_norm"] == "transformer.h.{i}.ln_mlp"
    assert (config.head_dim, config.intermediate_size) == (64, 32768)
    small = {**old, "model_type": "RefinedWebModel", "multi_query": True, "n_head": 64}
    assert (parse_config(small).num_kv_heads, parse_config(small).shared_norm) == (1, True)


def test_refuses_arithmetic_that_we_do_not_have() -> None:
    values = {**SIZES, "architectures": ["FalconForCausalLM"]}
    flag = "apply_residual_connection_post_layernorm"
    assert parse_config({**values, flag: False}).parallel
    with pytest.raises(UnsupportedModelError, match=flag):
        parse_config({**values, flag: True})


def test_every_form_is_reached() -> None:
    """Forms are tried in order; one that stands behind a wider one would never be taken."""
    for spec in FAMILIES.values():
        for form in spec.forms:
            flags = {**spec.flags, **form.when}
            fits = [f for f in spec.forms if all(flags[k] == v for k, v in f.when.items())]
            assert fits[0] is form


def test_every_combination_of_flags_has_a_form() -> None:
    for new in (False, True):
        for multi_query in (False, True):
            for parallel in (False, True):
                flags = {
                    "new_decoder_architecture": new,
                    "multi_query": multi_query,
                    "parallel_attn": parallel,
                }
                config = parse_config({**SIZES, **flags, "architectures": ["FalconForCausalLM"]})
                assert config.parallel == (parallel or new)


def test_architectures_are_listed_once() -> None:
    names = supported_architectures()
    assert len(set(names)) == len(names)
    assert {"LlamaForCausalLM", "MistralForCausalLM", "FalconForCausalLM"} <= set(names)

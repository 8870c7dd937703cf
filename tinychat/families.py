"""What a family of models changes, as data: one `FamilySpec` each, read by config.py and loader.py.

A spec says only what the tensors of a checkpoint cannot: biases, tied heads and low-bit weights are
discovered. Nothing else in the project asks for a family's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Norm = Literal["rms", "layer"]
QkvLayout = Literal["separate", "grouped"]


@dataclass(frozen=True)
class Form:
    """One way that a family builds its block.

    Attributes:
        when: values of `FamilySpec.flags` that choose it; the first form that fits is taken.
        parallel: attention and MLP read the same residual, and both are added to it at the end.
        shared_norm: one norm feeds both; then there is no "mlp_norm".
        kv_heads: as the "config" says, "one", or "all", as many as query heads.
        tensors: names of this form, over those of the family.
    """

    when: Mapping[str, bool | int | str] = field(default_factory=dict)
    parallel: bool = False
    shared_norm: bool = False
    kv_heads: Literal["config", "one", "all"] = "config"
    tensors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FamilySpec:
    """All that a family changes.

    Attributes:
        name: the family's key in `FAMILIES`.
        architectures: names under "architectures" in config.json.
        model_types: names under "model_type", for files without "architectures".
        keys: field of `ModelConfig` -> its names in config.json, in order.
        defaults: what an absent key means; a field without one is required or follows from others.
        tensors: our module names -> the checkpoint's, without ".weight", ".bias" or ".qweight";
            "{i}" is the layer. "act" is the activation, which has no tensors of its own: AWQ adds
            ".scales" where it needs them. "q_norm" and "k_norm", together or not at all, are rms
            norms of every head; a family that has them cannot do without, so that they are named
            here and not discovered.
        flags: keys of config.json that choose the form, with their defaults.
        forms: the ways its block is built.
        norm: "rms" or "layer".
        gated_mlp: act(gate) · up, else act(up).
        qkv_layout: "separate" q, k, v; or "grouped", one matrix "qkv" whose rows are, for each kv
            head, the query heads that share it, then its key head, then its value head.
        alibi_scaled: the bias is added before the scores are multiplied by head_dim ** -0.5, so
            that the slopes have to be multiplied by it too.
        ignored_suffixes: tensors that some checkpoints carry and no model reads.
        refused: flags of config.json that, where true, ask for arithmetic that we do not have.
    """

    name: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    keys: Mapping[str, tuple[str, ...]]
    defaults: Mapping[str, Any]
    tensors: Mapping[str, str]
    flags: Mapping[str, bool | int | str] = field(default_factory=dict)
    forms: tuple[Form, ...] = (Form(),)
    norm: Norm = "rms"
    gated_mlp: bool = True
    qkv_layout: QkvLayout = "separate"
    alibi_scaled: bool = False
    ignored_suffixes: tuple[str, ...] = (".rotary_emb.inv_freq",)
    refused: tuple[str, ...] = ()


# Keys and defaults are those of transformers' configuration classes, which leave defaults out of
# the files they write.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size",),
    "num_layers": ("num_hidden_layers",),
    "num_heads": ("num_attention_heads",),
    "num_kv_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size",),
    "max_positions": ("max_position_embeddings",),
    "norm_eps": ("rms_norm_eps",),
    "activation": ("hidden_act",),
    "tie_word_embeddings": ("tie_word_embeddings",),
    "bos_token_id": ("bos_token_id",),
    "eos_token_id": ("eos_token_id",),
    "pad_token_id": ("pad_token_id",),
}
_DEFAULTS: Mapping[str, Any] = {
    "max_positions": 2048,
    "norm_eps": 1e-6,
    "activation": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "alibi": False,
}
_LLAMA_TENSORS: Mapping[str, str] = {
    "embed": "model.embed_tokens",
    "attention_norm": "model.layers.{i}.input_layernorm",
    "q": "model.layers.{i}.self_attn.q_proj",
    "k": "model.layers.{i}.self_attn.k_proj",
    "v": "model.layers.{i}.self_attn.v_proj",
    "o": "model.layers.{i}.self_attn.o_proj",
    "mlp_norm": "model.layers.{i}.post_attention_layernorm",
    "gate": "model.layers.{i}.mlp.gate_proj",
    "up": "model.layers.{i}.mlp.up_proj",
    "down": "model.layers.{i}.mlp.down_proj",
    "final_norm": "model.norm",
    "head": "lm_head",
}

LLAMA = FamilySpec(
    name="llama",
    architectures=("LlamaForCausalLM", "LLaMAForCausalLM"),
    model_types=("llama",),
    keys=_KEYS,
    defaults=_DEFAULTS,
    tensors=_LLAMA_TENSORS,
)

MISTRAL = FamilySpec(
    name="mistral",
    architectures=("MistralForCausalLM",),
    model_types=("mistral",),
    keys={**_KEYS, "sliding_window": ("sliding_window",)},
    defaults={
        **_DEFAULTS,
        "num_kv_heads": 8,
        "max_positions": 131072,
        "sliding_window": 4096,
    },
    tensors=_LLAMA_TENSORS,
)

QWEN3 = FamilySpec(
    name="qwen3",
    architectures=("Qwen3ForCausalLM",),
    model_types=("qwen3",),
    keys=_KEYS,
    defaults={
        **_DEFAULTS,
        "num_kv_heads": 32,
        "head_dim": 128,
        "max_positions": 32768,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    tensors={
        **_LLAMA_TENSORS,
        "q_norm": "model.layers.{i}.self_attn.q_norm",
        "k_norm": "model.layers.{i}.self_attn.k_norm",
    },
    refused=("use_sliding_window",),  # of some layers only
)

_FALCON_TWO_NORMS: Mapping[str, str] = {
    "attention_norm": "transformer.h.{i}.ln_attn",
    "mlp_norm": "transformer.h.{i}.ln_mlp",
}
_FALCON_SEQUENTIAL: Mapping[str, str] = {
    "mlp_norm": "transformer.h.{i}.post_attention_layernorm",
}

FALCON = FamilySpec(
    name="falcon",
    architectures=("FalconForCausalLM", "RWForCausalLM"),
    model_types=("falcon", "RefinedWeb", "RefinedWebModel"),
    keys={
        "vocab_size": ("vocab_size",),
        "hidden_size": ("hidden_size", "n_embed"),
        "num_layers": ("num_hidden_layers", "n_layer"),
        "num_heads": ("num_attention_heads", "n_head"),
        "num_kv_heads": ("num_kv_heads", "n_head_kv"),
        "intermediate_size": ("ffn_hidden_size",),
        "max_positions": ("max_position_embeddings",),
        "norm_eps": ("layer_norm_epsilon",),
        "activation": ("activation",),
        "tie_word_embeddings": ("tie_word_embeddings",),
        "bos_token_id": ("bos_token_id",),
        "eos_token_id": ("eos_token_id",),
        "pad_token_id": ("pad_token_id",),
        "alibi": ("alibi",),
    },
    defaults={
        "max_positions": 2048,
        "norm_eps": 1e-5,
        "activation": "gelu",
        "tie_word_embeddings": True,
        "bos_token_id": 11,
        "eos_token_id": 11,
        "alibi": False,
        "mlp_factor": 4,
    },
    tensors={
        "embed": "transformer.word_embeddings",
        "attention_norm": "transformer.h.{i}.input_layernorm",
        "qkv": "transformer.h.{i}.self_attention.query_key_value",
        "o": "transformer.h.{i}.self_attention.dense",
        "up": "transformer.h.{i}.mlp.dense_h_to_4h",
        "down": "transformer.h.{i}.mlp.dense_4h_to_h",
        "act": "transformer.h.{i}.mlp.act",
        "final_norm": "transformer.ln_f",
        "head": "lm_head",
    },
    norm="layer",
    gated_mlp=False,
    qkv_layout="grouped",
    alibi_scaled=True,
    # "grouped" fits all: multi-query has one group of all heads, the rw style a group per head.
    flags={
        "model_type": "falcon",
        "new_decoder_architecture": False,
        "num_ln_in_parallel_attn": 2,
        "multi_query": True,
        "parallel_attn": True,
    },
    forms=(
        Form(  # Falcon 2 11B
            when={"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1},
            parallel=True,
            shared_norm=True,
        ),
        Form(  # 40B and 180B
            when={"new_decoder_architecture": True},
            parallel=True,
            tensors=_FALCON_TWO_NORMS,
        ),
        Form(  # 40B as first published, before the key above existed
            when={"model_type": "RefinedWeb"},
            parallel=True,
            tensors=_FALCON_TWO_NORMS,
        ),
        Form(  # 7B
            when={"multi_query": True, "parallel_attn": True},
            parallel=True,
            shared_norm=True,
            kv_heads="one",
        ),
        Form(
            when={"multi_query": True, "parallel_attn": False},
            kv_heads="one",
            tensors=_FALCON_SEQUENTIAL,
        ),
        Form(
            when={"multi_query": False, "parallel_attn": True},
            parallel=True,
            shared_norm=True,
            kv_heads="all",
        ),
        Form(  # rw 1B and 7B
            when={"multi_query": False, "parallel_attn": False},
            kv_heads="all",
            tensors=_FALCON_SEQUENTIAL,
        ),
    ),
    refused=("apply_residual_connection_post_layernorm",),
)

FAMILIES: Mapping[str, FamilySpec] = {spec.name: spec for spec in (LLAMA, MISTRAL, QWEN3, FALCON)}


def supported_architectures() -> list[str]:
    """The architecture names that config.json may ask for, sorted."""
    return sorted(name for spec in FAMILIES.values() for name in spec.architectures)

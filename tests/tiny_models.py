"""Tiny seeded models of every family, odd sizes among them, to compare with transformers.

Adding a family adds its rows here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tinychat.config import ModelConfig, parse_config

_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
_FALCON = {
    "architectures": ["FalconForCausalLM"],
    "model_type": "falcon",
    "vocab_size": 131,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

# Name -> config.json of a model; the transformers class is named by its architecture.
TINY: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "llama-mha-tied": {**_LLAMA, "num_key_value_heads": 4, "tie_word_embeddings": True},
    "llama-mqa-odd": {
        **_LLAMA,
        "hidden_size": 60,
        "intermediate_size": 91,
        "num_attention_heads": 6,
        "num_key_value_heads": 1,
        "vocab_size": 97,
    },
    "llama-biased": {**_LLAMA, "attention_bias": True, "mlp_bias": True},
    "llama-head-dim": {**_LLAMA, "head_dim": 24},
    "llama3-rope": {**_LLAMA, "rope_theta": 500000.0, "rope_scaling": _LLAMA3_ROPE},
    "llama-linear-rope": {**_LLAMA, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama-yarn": {**_LLAMA, "rope_scaling": _YARN},
    "llama-yarn-full": {
        **_LLAMA,
        "head_dim": 20,
        "rope_scaling": {**_YARN, "beta_fast": 20.0, "beta_slow": 2.0, "attention_factor": 1.2},
    },
    "llama-gelu": {**_LLAMA, "hidden_act": "gelu_pytorch_tanh"},
    "mistral-window": {
        **_LLAMA,
        "architectures": ["MistralForCausalLM"],
        "sliding_window": 9,
        "head_dim": 20,
    },
    "mistral-no-window": {
        **_LLAMA,
        "architectures": ["MistralForCausalLM"],
        "sliding_window": None,
    },
    "qwen3": {**_LLAMA, "architectures": ["Qwen3ForCausalLM"], "head_dim": 24},
    "qwen3-biased-tied": {
        **_LLAMA,
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": True,
        "tie_word_embeddings": True,
        "head_dim": 32,
        "num_key_value_heads": 1,
    },
    "falcon-7b": {**_FALCON, "multi_query": True, "parallel_attn": True},
    "falcon-7b-biased": {**_FALCON, "multi_query": True, "parallel_attn": True, "bias": True},
    "falcon-40b": {
        **_FALCON,
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
    },
    "falcon-11b": {
        **_FALCON,
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
        "num_ln_in_parallel_attn": 1,
        "hidden_size": 72,
        "num_attention_heads": 6,
        "ffn_hidden_size": 100,
    },
    "falcon-rw": {
        **_FALCON,
        "alibi": True,
        "bias": True,
        "multi_query": False,
        "parallel_attn": False,
    },
}


class StateDict:
    """A source of weights over a dict of tensors."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors, self.asked = tensors, set[str]()

    def names(self) -> set[str]:
        return set(self.tensors)

    def tensor(self, name: str) -> Tensor:
        self.asked.add(name)
        return self.tensors[name]

    def unused(self) -> set[str]:
        return self.names() - self.asked


def tiny_config(name: str) -> ModelConfig:
    """Our reading of a tiny model's config.json."""
    return parse_config(TINY[name])


def tiny_reference(name: str, **changes: Any) -> Any:
    """The transformers model of that config, its seeded weights, norms and biases large enough."""
    import transformers

    values = {**TINY[name], **changes}
    architecture = getattr(transformers, values.pop("architectures")[0])
    config = architecture.config_class(**values)
    # NOTE: Falcon's eager attention of transformers 5 adds the ALiBi bias twice; sdpa adds it once.
    config._attn_implementation = "sdpa"
    torch.manual_seed(7)
    model = architecture(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 1.5 * parameter.shape[1] ** -0.5)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def write_tiny(folder: Path, name: str, dtype: torch.dtype = torch.float16, **changes: Any) -> Path:
    """Write the tiny model, some keys of its config.json changed, as a folder without tokenizer."""
    state = tiny_reference(name, **changes).state_dict()
    config = {**TINY[name], **changes, "torch_dtype": str(dtype).removeprefix("torch.")}
    if parse_config(config).tie_word_embeddings:
        state.pop("lm_head.weight")
    folder.mkdir(parents=True)
    tensors = {key: tensor.to(dtype).contiguous() for key, tensor in state.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder

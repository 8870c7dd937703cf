"""config.json and generation_config.json: what real files say is read, nonsense refused by key.

Every refusal is followed by a normal read in the same process.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tinychat import limits
from tinychat.config import (
    GenerationDefaults,
    QuantizationConfig,
    load_config,
    load_generation_config,
    parse_config,
)
from tinychat.errors import CheckpointError, TinyChatError, UnsupportedModelError
from tinychat.jsonfile import nesting

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MISTRAL = {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral"}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes one file of a model folder and returns the folder."""

    def write(content: object, name: str = "config.json") -> Path:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / name).write_bytes(data)
        return tmp_path

    return write


@pytest.fixture(autouse=True)
def still_works() -> Iterator[None]:
    """After whatever a test does, a sound config is read as before."""
    yield
    config = parse_config(LLAMA)
    assert (config.hidden_size, config.num_kv_heads, config.head_dim) == (64, 4, 8)


def refusal(changes: dict[str, Any], base: dict[str, Any] = LLAMA) -> str:
    """The message for a config with these changes."""
    with pytest.raises(CheckpointError) as caught:
        parse_config({**base, **changes}, "the config")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is read


def test_reads_a_plain_llama() -> None:
    config = parse_config(LLAMA)
    assert config.family == "llama"
    assert (config.vocab_size, config.num_layers, config.num_heads) == (320, 3, 8)
    assert config.intermediate_size == 172
    assert config.rope is not None
    assert (config.rope.theta, config.rope.rotary_dim, config.rope.scaling) == (10000.0, 8, "none")
    assert config.eos_token_ids == (2,)
    assert config.torch_dtype == "auto"
    assert config.sliding_window is None
    assert config.quantization is None


def test_classic_and_new_spelling_are_one() -> None:
    classic = {**LLAMA, "rope_theta": 5e5, "rope_scaling": LLAMA3, "torch_dtype": "bfloat16"}
    new = {**LLAMA, "rope_parameters": {**LLAMA3, "rope_theta": 5e5}, "dtype": "bfloat16"}
    oldest = {**LLAMA3, "type": "llama3"}
    del oldest["rope_type"]
    assert parse_config(classic) == parse_config(new)
    assert parse_config({**classic, "rope_scaling": oldest}) == parse_config(new)


@pytest.mark.parametrize(
    "rope",
    [
        None,
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 2.0},
        LLAMA3,
        YARN,
        {**YARN, "beta_fast": 20.0, "beta_slow": 2, "truncate": False, "attention_factor": 1.25},
        {**YARN, "mscale": 0.7, "mscale_all_dim": 0.9},
        {**YARN, "beta_fast": 0, "factor": None},
    ],
    ids=lambda rope: str(rope)[:60],
)
def test_rope_equals_what_transformers_makes_of_it(rope: dict[str, Any] | None) -> None:
    rope_utils = pytest.importorskip("transformers.modeling_rope_utils")
    transformers = pytest.importorskip("transformers")
    values = {**LLAMA, "rope_theta": 20000.0, "rope_scaling": rope}
    theirs = transformers.LlamaConfig(**{k: v for k, v in values.items() if k != "architectures"})
    ours = parse_config(values).rope
    assert ours is not None
    standard = theirs.rope_parameters
    assert ours.theta == standard["rope_theta"]
    kind = standard["rope_type"]
    assert ours.scaling == ("none" if kind == "default" else kind)
    if kind == "yarn":
        _, attention_factor = rope_utils.ROPE_INIT_FUNCTIONS["yarn"](theirs)
        assert ours.attention_factor == pytest.approx(attention_factor, rel=1e-12)
        assert ours.factor == (standard["factor"] or 512 / 128)
        assert ours.beta_fast == (standard.get("beta_fast") or 32)
        assert ours.truncate == standard.get("truncate", True)
    if kind in ("yarn", "llama3"):
        assert ours.original_max_positions == standard["original_max_position_embeddings"]


def end_tokens(theirs: Any) -> tuple[int, ...]:
    return () if theirs.eos_token_id is None else (theirs.eos_token_id,)


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen3", "Falcon"])
def test_files_that_transformers_writes(family: str, tmp_path: Path) -> None:
    """Defaults that a writer leaves out mean to us what they mean to it."""
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, f"{family}Config")()
    theirs.architectures = [f"{family}ForCausalLM"]
    theirs.save_pretrained(tmp_path)
    ours = load_config(tmp_path)
    assert ours.family == family.lower()
    assert ours.vocab_size == theirs.vocab_size
    assert ours.hidden_size == theirs.hidden_size
    assert ours.num_layers == theirs.num_hidden_layers
    assert ours.num_heads == theirs.num_attention_heads
    assert ours.head_dim == theirs.hidden_size // theirs.num_attention_heads
    assert ours.max_positions == theirs.max_position_embeddings
    assert ours.tie_word_embeddings == theirs.tie_word_embeddings
    assert ours.bos_token_id == theirs.bos_token_id
    assert ours.eos_token_ids == end_tokens(theirs)
    assert ours.sliding_window == getattr(theirs, "sliding_window", None)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "falcon"])
def test_defaults_are_those_of_transformers(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, f"{family.title()}Config")()
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    values = {key: getattr(theirs, key) for key in sizes}
    if family != "falcon":
        values["intermediate_size"] = theirs.intermediate_size
    ours = parse_config({"model_type": family, **values})
    assert ours.max_positions == theirs.max_position_embeddings
    assert ours.tie_word_embeddings == theirs.tie_word_embeddings
    assert ours.bos_token_id == theirs.bos_token_id
    assert ours.eos_token_ids == end_tokens(theirs)
    assert ours.sliding_window == getattr(theirs, "sliding_window", None)
    assert ours.rope is not None
    assert ours.rope.theta == theirs.rope_parameters["rope_theta"]
    if family == "falcon":
        assert ours.num_kv_heads == 1
        assert ours.intermediate_size == theirs.ffn_hidden_size
        assert ours.norm_eps == theirs.layer_norm_epsilon
    else:
        assert ours.num_kv_heads == theirs.num_key_value_heads
        assert ours.norm_eps == theirs.rms_norm_eps


def test_kv_heads_default_to_heads() -> None:
    for absent in ({}, {"num_key_value_heads": None}):
        values = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"} | absent
        assert parse_config(values).num_kv_heads == 8


def test_explicit_head_dim_need_not_divide_the_width() -> None:
    assert parse_config({**MISTRAL, "hidden_size": 60, "head_dim": 16}).head_dim == 16


@pytest.mark.parametrize(
    ("window", "expected"), [(9, 9), (511, 511), (512, None), (4096, None), (None, None)]
)
def test_window_counts_only_where_it_hides_something(window: object, expected: object) -> None:
    assert parse_config({**MISTRAL, "sliding_window": window}).sliding_window == expected


def test_llama_has_no_window() -> None:
    assert parse_config({**LLAMA, "sliding_window": 9}).sliding_window is None


def test_a_head_size_that_is_absent_is_the_family_s_own() -> None:
    qwen3 = {**LLAMA, "architectures": ["Qwen3ForCausalLM"]}
    for absent in ({}, {"head_dim": None}):
        assert parse_config({**qwen3, **absent}).head_dim == 128
    assert parse_config({**qwen3, "head_dim": 10}).head_dim == 10


def test_windows_of_some_layers_are_refused() -> None:
    qwen3 = {**LLAMA, "architectures": ["Qwen3ForCausalLM"], "sliding_window": 16}
    assert parse_config({**qwen3, "use_sliding_window": False}).sliding_window is None
    with pytest.raises(UnsupportedModelError, match="use_sliding_window = true is not supported"):
        parse_config({**qwen3, "use_sliding_window": True})


def test_absent_window_is_mistral_7b() -> None:
    values = {**MISTRAL, "max_position_embeddings": 32768}
    assert parse_config(values).sliding_window == 4096


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("silu", "silu"),
        ("swish", "silu"),
        ("gelu", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("gelu_fast", "gelu_tanh"),
        ("relu", "relu"),
    ],
)
def test_activations_by_all_their_names(name: str, expected: str) -> None:
    assert parse_config({**LLAMA, "hidden_act": name}).activation == expected


def test_token_ids() -> None:
    several = parse_config({**LLAMA, "eos_token_id": [2, 5, 2]})
    assert several.eos_token_ids == (2, 5)
    none = parse_config({**LLAMA, "eos_token_id": None, "bos_token_id": None})
    assert (none.eos_token_ids, none.bos_token_id) == ((), None)
    assert parse_config({**LLAMA, "pad_token_id": -1}).pad_token_id is None
    assert parse_config({**LLAMA, "pad_token_id": 320}).pad_token_id is None
    assert parse_config({**LLAMA, "pad_token_id": 319}).pad_token_id == 319


def test_custom_code_is_named_in_the_file_and_never_imported(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    values = {
        **LLAMA,
        "auto_map": {"AutoConfig": "modeling_evil.Config", "AutoModel": "modeling_evil.Model"},
        "trust_remote_code": True,
    }
    assert load_config(write(values)).family == "llama"
    assert not canary.exists()
    assert not any("modeling_evil" in name for name in sys.modules)


def test_reading_a_config_needs_no_torch() -> None:
    code = (
        "import sys, tinychat.config, tinychat.families, tinychat.hub\n"
        "tinychat.config.parse_config({'architectures': ['FalconForCausalLM'], 'vocab_size': 9,"
        " 'hidden_size': 8, 'num_hidden_layers': 1, 'num_attention_heads': 2})\n"
        "print(sorted({'torch', 'safetensors', 'huggingface_hub', 'rich'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "[]"


def test_trained_models(data: Path) -> None:
    stories = load_config(data / "models" / "stories260K" / "hf")
    assert (stories.hidden_size, stories.head_dim, stories.num_kv_heads) == (64, 8, 4)
    tiny = load_config(data / "models" / "TinyStories-656K")
    assert (tiny.torch_dtype, tiny.tie_word_embeddings) == ("bfloat16", True)


# --- what is refused: reliability cases 11 and 12


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", 0),
        ("hidden_size", -64),
        ("hidden_size", 2**31),
        ("hidden_size", "64"),
        ("hidden_size", 64.0),
        ("hidden_size", True),
        ("hidden_size", [64]),
        ("hidden_size", None),
        ("hidden_size", 65),
        ("num_attention_heads", -8),
        ("num_attention_heads", 0),
        ("num_attention_heads", 2**40),
        ("num_key_value_heads", 3),
        ("num_key_value_heads", 0),
        ("num_key_value_heads", 16),
        ("num_hidden_layers", 10**6),
        ("num_hidden_layers", 0),
        ("vocab_size", 2**31),
        ("vocab_size", 0),
        ("vocab_size", 10**300),
        ("intermediate_size", -1),
        ("intermediate_size", None),
        ("head_dim", 7),
        ("head_dim", 0),
        ("head_dim", 10**5),
        ("rope_theta", 0),
        ("rope_theta", 1),
        ("rope_theta", -1e4),
        ("rope_theta", math.nan),
        ("rope_theta", math.inf),
        ("rope_theta", "10000"),
        ("rope_theta", True),
        ("max_position_embeddings", -1),
        ("max_position_embeddings", 2**40),
        ("rms_norm_eps", 0),
        ("rms_norm_eps", -1e-5),
        ("rms_norm_eps", 1.0),
        ("rms_norm_eps", math.nan),
        ("hidden_act", 5),
        ("tie_word_embeddings", "true"),
        ("tie_word_embeddings", 1),
        ("bos_token_id", 320),
        ("bos_token_id", "1"),
        ("eos_token_id", 320),
        ("eos_token_id", [2, 320]),
        ("eos_token_id", [2, True]),
        ("eos_token_id", list(range(300))),
        ("eos_token_id", {"a": 1}),
        ("architectures", "LlamaForCausalLM"),
        ("architectures", [1]),
        ("rope_scaling", "linear"),
        ("rope_scaling", [1]),
        ("quantization_config", "awq"),
        ("torch_dtype", 16),
    ],
)
def test_refuses_by_key(key: str, value: object) -> None:
    message = refusal({key: value})
    assert key in message
    assert message.startswith("the config: ")


@pytest.mark.parametrize("value", [0, -1, "9", 1.5, True])
def test_refuses_a_window(value: object) -> None:
    assert "sliding_window" in refusal({"sliding_window": value}, MISTRAL)


@pytest.mark.parametrize(
    ("rope", "key"),
    [
        ({"rope_type": "linear"}, "factor"),
        ({"rope_type": "linear", "factor": 0.0}, "factor"),
        ({"rope_type": "linear", "factor": math.nan}, "factor"),
        ({"rope_type": "linear", "factor": "2"}, "factor"),
        ({**LLAMA3, "high_freq_factor": 1.0}, "high_freq_factor"),
        ({**LLAMA3, "low_freq_factor": 0}, "low_freq_factor"),
        ({**LLAMA3, "original_max_position_embeddings": 0}, "original_max_position_embeddings"),
        ({**YARN, "beta_fast": 0.5}, "beta_fast"),
        ({**YARN, "attention_factor": 0}, "attention_factor"),
        ({**YARN, "truncate": 1}, "truncate"),
        ({**YARN, "mscale": -1}, "mscale"),
        ({"rope_type": 3}, "rope_type"),
    ],
)
def test_refuses_rope_numbers(rope: dict[str, Any], key: str) -> None:
    assert key in refusal({"rope_scaling": rope})
    assert key in refusal({"rope_parameters": rope})


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "su", "mrope", "ntk", "\x1b[2J"])
def test_names_an_unsupported_rope_scaling(kind: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        parse_config({**LLAMA, "rope_scaling": {"type": kind, "factor": 2.0}})
    assert repr(kind) in str(caught.value)
    assert "llama3" in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel"),
        ({"architectures": [], "model_type": "qwen9"}, "qwen9"),
        ({"architectures": None, "model_type": None}, "model_type"),
        ({"hidden_act": "gelu_10"}, "gelu_10"),
        ({"torch_dtype": "float64"}, "float64"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "full_attention"),
        ({"quantization_config": {**AWQ, "version": "gemv_fast"}}, "gemv_fast"),
        ({"quantization_config": {**AWQ, "version": "marlin"}}, "version 'marlin' of awq"),
        ({"quantization_config": {**AWQ, "version": None, "format": "llm-awq"}}, "llm-awq"),
        ({"quantization_config": {**AWQ, "version": "exllama"}}, "exllama"),
        ({"quantization_config": {**AWQ, "backend": "llm-awq"}}, "llm-awq"),
        ({"quantization_config": {**AWQ, "bits": 8}}, "8 bits"),
        ({"quantization_config": {**AWQ, "zero_point": False}}, "zero_point"),
        ({"quantization_config": {**AWQ, "dynamic": {"x": {"bits": 8}}}}, "dynamic for 'x' of awq"),
        ({"quantization_config": {**GPTQ, "checkpoint_format": "marlin"}}, "marlin"),
        ({"quantization_config": {**GPTQ, "format": "gptq_p"}}, "format 'gptq_p' of gptq"),
        ({"quantization_config": {**GPTQ, "is_marlin_format": True}}, "is_marlin_format"),
        ({"quantization_config": {**GPTQ, "dynamic": {r"+:.*\.7\.": {"bits": 8}}}}, "dynamic"),
        ({"quantization_config": {**GPTQ, "bits": 5}}, "gptq with 5 bits .* 2, 3, 4, 8"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "awq and gptq"),
        ({"quantization_config": {"quant_method": "marlin", "bits": 4}}, "'marlin'"),
    ],
)
def test_names_what_is_not_supported(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsupportedModelError, match=name) as caught:
        parse_config({**LLAMA, **changes})
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_an_unknown_architecture_lists_the_known_ones() -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        parse_config({**LLAMA, "architectures": ["X"]})
    for known in ("LlamaForCausalLM", "MistralForCausalLM", "FalconForCausalLM"):
        assert known in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": "' + b"x" * (50 << 20) + b'"}', "bytes"),
        (b"[" * 10_000 + b"]" * 10_000, "10000 levels"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "10000 levels"),
        (b'{"a":"]]]]","b":[' + b"[" * 9_999, "levels"),
        (b"", "JSON"),
        (b"null", "NoneType"),
        (b"[]", "list"),
        (b'"text"', "str"),
        (b'{"a": ', "JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "JSON"),
        (b'{"hidden_size": ' + b"9" * 10_000 + b"}", "JSON|supported"),
        (b'"' + b'\\"' * 400_000, "JSON"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_refuses_hostile_files(write: Callable[..., Path], content: bytes, reason: str) -> None:
    with pytest.raises(TinyChatError, match=reason) as caught:
        load_config(write(content))
    message = str(caught.value)
    assert "config.json" in message
    assert "\n" not in message
    assert len(message) < 1000


def test_1e400_is_refused_by_key(write: Callable[..., Path]) -> None:
    text = json.dumps(LLAMA).replace("1e-05", "1e400")
    assert "1e400" in text
    with pytest.raises(CheckpointError, match="rms_norm_eps = inf"):
        load_config(write(text.encode()))


def test_nesting_ignores_what_is_in_strings() -> None:
    assert nesting(rb'{"a[[[\"[": [1, {"b": "\\"}]}') == 3
    assert nesting(b"]]]") == 0


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_config(tmp_path)
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is not a regular file"):
        load_config(tmp_path)
    (tmp_path / "config.json").rmdir()
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match=r"config\.json is not a regular file"):
        load_config(tmp_path)


# --- quantization_config


def quantization(values: dict[str, Any]) -> QuantizationConfig | None:
    return parse_config({**LLAMA, "quantization_config": values}).quantization


@pytest.mark.parametrize("version", ["gemm", "gemv", "GEMM", "GEMV"])
@pytest.mark.parametrize("key", ["version", "format", "checkpoint_format"])
def test_reads_awq(key: str, version: str) -> None:
    values = {**AWQ, "version": None, key: version, "modules_to_not_convert": ["lm_head"]}
    assert quantization(values) == QuantizationConfig("awq", version.lower(), 4, 128)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(
    ("written", "layout"),
    [
        ({}, "gptq"),
        ({"checkpoint_format": "gptq"}, "gptq"),
        ({"checkpoint_format": "gptq_v2"}, "gptq_v2"),
        ({"format": "gptq_v2"}, "gptq_v2"),
        ({"format": "gptq", "checkpoint_format": "gptq_v2"}, "gptq_v2"),
    ],
)
def test_reads_gptq(written: dict[str, str], layout: str, bits: int) -> None:
    expected = QuantizationConfig("gptq", layout, bits, 128)
    assert quantization({**GPTQ, "bits": bits, **written}) == expected
    flags = {"desc_act": True, "sym": False, "lm_head": True}
    expected = QuantizationConfig("gptq", layout, bits, 128, desc_act=True, lm_head=True)
    assert quantization({**GPTQ, "bits": bits, **written, **flags}) == expected


def test_what_else_a_quantizer_writes_is_tolerated() -> None:
    extras: dict[str, Any] = {
        "damp_percent": 0.01,
        "true_sequential": True,
        "model_name_or_path": "x",
        "meta": {"quantizer": ["gptqmodel:2.2.0"]},
        "dynamic": {"-:.*mlp.gate.*": {}},
        "backend": None,
        "is_marlin_format": False,
        "pack_dtype": "int32",
    }
    assert quantization({**GPTQ, **extras}) == QuantizationConfig("gptq", "gptq", 4, 128)


@pytest.mark.parametrize("key", ["desc_act", "lm_head", "is_marlin_format", "dynamic"])
def test_refuses_words_where_there_are_flags(key: str) -> None:
    assert key in refusal({"quantization_config": {**GPTQ, key: "yes"}})


def test_reads_what_transformers_writes() -> None:
    transformers = pytest.importorskip("transformers")
    for written, expected in (
        (transformers.AwqConfig(bits=4, group_size=64), QuantizationConfig("awq", "gemm", 4, 64)),
        (
            transformers.GPTQConfig(bits=3, group_size=32, desc_act=True, format="gptq_v2"),
            QuantizationConfig("gptq", "gptq_v2", 3, 32, desc_act=True),
        ),
    ):
        values = json.loads(json.dumps(written.to_dict(), default=lambda value: value.value))
        assert quantization(values) == expected


@pytest.mark.parametrize("name", ["quant_config.json", "quantize_config.json"])
def test_reads_the_old_file_of_awq(write: Callable[..., Path], name: str) -> None:
    old = {"zero_point": True, "q_group_size": 64, "w_bit": 4, "version": "GEMM"}
    write(old, name)
    assert load_config(write(LLAMA)).quantization == QuantizationConfig("awq", "gemm", 4, 64)


def test_reads_the_old_file_of_gptq(write: Callable[..., Path]) -> None:
    write({"bits": 4, "group_size": 128, "desc_act": True}, "quantize_config.json")
    expected = QuantizationConfig("gptq", "gptq", 4, 128, desc_act=True)
    assert load_config(write(LLAMA)).quantization == expected


@pytest.mark.parametrize("group_size", [-1, 32, 64, 128])
def test_group_sizes(group_size: int) -> None:
    found = quantization({**AWQ, "group_size": group_size})
    assert found is not None and found.group_size == group_size


@pytest.mark.parametrize("group_size", [0, -2, 1, 3, 2**31, "128", 128.0, True])
def test_refuses_group_sizes(group_size: object) -> None:
    assert "group_size" in refusal({"quantization_config": {**AWQ, "group_size": group_size}})


@pytest.mark.parametrize("bits", [0, 1, 5, 64, -4, "4", True])
def test_refuses_bits(bits: object) -> None:
    with pytest.raises(TinyChatError, match="bits"):
        parse_config({**LLAMA, "quantization_config": {**AWQ, "bits": bits}})


# --- generation_config.json: case 20


def test_generation_defaults(write: Callable[..., Path]) -> None:
    values = {
        "do_sample": True,
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "bos_token_id": 1,
        "eos_token_id": [2, 7],
        "transformers_version": "9",
    }
    found = load_generation_config(write(values, "generation_config.json"))
    assert found == GenerationDefaults(0.6, 20, 0.9, 0.05, 1.1, 1, (2, 7))


@pytest.mark.parametrize(
    ("values", "temperature"),
    [
        ({"do_sample": False, "temperature": 0.6}, 0.0),
        ({"do_sample": False}, 0.0),
        ({"do_sample": None, "temperature": 0.6}, 0.6),
        ({"temperature": 0.6}, 0.6),
        ({"temperature": 0}, 0.0),
        ({"temperature": None}, None),
        ({}, None),
    ],
)
def test_do_sample(
    write: Callable[..., Path], values: dict[str, Any], temperature: float | None
) -> None:
    found = load_generation_config(write(values, "generation_config.json"))
    assert found.temperature == temperature
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("temperature", "-1"),
        ("temperature", '"hot"'),
        ("temperature", "NaN"),
        ("temperature", "1e400"),
        ("top_k", "-1"),
        ("top_k", "1.5"),
        ("top_p", "2"),
        ("min_p", "-0.1"),
        ("repetition_penalty", "0"),
        ("do_sample", '"yes"'),
        ("eos_token_id", "-5"),
        ("eos_token_id", str(list(range(20_000)))),
        ("eos_token_id", '["a"]'),
        ("bos_token_id", "true"),
    ],
)
def test_bad_generation_values_are_ignored_with_a_warning(
    write: Callable[..., Path], key: str, text: str
) -> None:
    content = f'{{"{key}": {text}, "top_k": 7}}' if key != "top_k" else f'{{"top_k": {text}}}'
    found = load_generation_config(write(content.encode(), "generation_config.json"))
    (warning,) = found.warnings
    assert key in warning
    assert warning.endswith("ignored")
    expected = GenerationDefaults(top_k=None if key == "top_k" else 7, warnings=(warning,))
    assert found == expected


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"[" * 10_000, b'{"eos_token_id": ' + str(list(range(10**6))).encode() + b"}"],
    ids=["empty", "list", "deep", "huge"],
)
def test_a_broken_generation_config_is_ignored(write: Callable[..., Path], content: bytes) -> None:
    found = load_generation_config(write(content, "generation_config.json"))
    assert len(found.warnings) == 1
    assert found == GenerationDefaults(warnings=found.warnings)


def test_no_generation_config(tmp_path: Path) -> None:
    assert load_generation_config(tmp_path) == GenerationDefaults()


def test_limits_are_those_of_the_sampler() -> None:
    """A default that was let in here is never refused as a parameter."""
    sampler = pytest.importorskip("tinychat.sampler")
    assert sampler.BOUNDS["temperature"][1:] == (0.0, limits.TEMPERATURE)
    assert sampler.BOUNDS["repetition_penalty"][1:] == limits.REPETITION_PENALTY
    assert sampler.BOUNDS["top_k"][2] >= limits.VOCABULARY

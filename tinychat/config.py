"""config.json and generation_config.json -> frozen dataclasses, each value with its type and range.

The rest of the project believes a `ModelConfig` blindly, so nothing gets into one unchecked: what
cannot be a model is refused by its key, and what tinychat does not run by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinychat import limits
from tinychat.errors import CheckpointError, UnsupportedModelError
from tinychat.families import FAMILIES, FamilySpec, Form, Norm, QkvLayout, supported_architectures
from tinychat.fields import Fields
from tinychat.jsonfile import read_json, shown
from tinychat.rope_config import RopeConfig, read_rope

if TYPE_CHECKING:
    from tinychat.kernels import Activation

__all__ = [
    "GenerationDefaults",
    "ModelConfig",
    "QuantizationConfig",
    "RopeConfig",
    "load_config",
    "load_generation_config",
    "parse_config",
]

_ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
}
_DTYPES = ("float16", "bfloat16", "float32", "auto")
# Quantization method -> keys that its layout goes by, the layouts that are read, the default first,
# and the bits.
_QUANTIZATIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]] = {
    "awq": (("version", "format", "checkpoint_format"), ("gemm", "gemv"), (4,)),
    "gptq": (("checkpoint_format", "format"), ("gptq", "gptq_v2"), (2, 3, 4, 8)),
}


@dataclass(frozen=True)
class QuantizationConfig:
    """How the low-bit weights of a checkpoint are stored.

    Whether zero points are all the same (`sym`) and which modules stayed in floating point is seen
    in the tensors.

    Attributes:
        method: "awq" or "gptq".
        format: the layout, "gemm" or "gemv" of awq, "gptq" or "gptq_v2" of gptq.
        bits: 2, 3, 4 or 8.
        group_size: inputs that share a scale; -1 for the whole row.
        desc_act: inputs were sorted before they were grouped, so that "g_idx" has to be there.
        lm_head: the output head is low-bit too.
    """

    method: str
    format: str
    bits: int
    group_size: int
    desc_act: bool = False
    lm_head: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a model, as config.json and its family's spec give it.

    Attributes:
        family: key into `families.FAMILIES`.
        rope: None where `alibi` tells the positions.
        alibi: a bias on the scores that grows with distance; `alibi_scaled` as in `FamilySpec`.
        sliding_window: keys that a query sees; None unless that is fewer than `max_positions`.
        torch_dtype: "float16", "bfloat16" or "float32"; "auto" where config.json does not say.
        norm, gated_mlp, qkv_layout: as in `FamilySpec`.
        parallel, shared_norm: as in `families.Form`.
        tensors: the names of the spec and of the form together.
    """

    family: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    max_positions: int
    norm_eps: float
    rope: RopeConfig | None
    activation: Activation
    norm: Norm
    tensors: Mapping[str, str] = field(repr=False)
    alibi: bool = False
    alibi_scaled: bool = False
    sliding_window: int | None = None
    parallel: bool = False
    shared_norm: bool = False
    gated_mlp: bool = True
    qkv_layout: QkvLayout = "separate"
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    pad_token_id: int | None = None
    torch_dtype: str = "auto"
    quantization: QuantizationConfig | None = None

    def matrix_shape(self, role: str) -> tuple[int, int]:
        """(N, K) of the matrix that plays a role, by the names in `tensors`."""
        c, f, v = self.hidden_size, self.intermediate_size, self.vocab_size
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        shapes = {"q": (q, c), "k": (kv, c), "v": (kv, c), "qkv": (q + 2 * kv, c), "o": (c, q)}
        shapes |= {"gate": (f, c), "up": (f, c), "down": (c, f), "embed": (v, c), "head": (v, c)}
        return shapes[role]

    def block_matrices(self) -> dict[str, tuple[int, int]]:
        """Role -> (N, K) of the matrices of one block."""
        roles = [role for role, name in self.tensors.items() if "{i}" in name]
        others = ("norm", "act")
        return {role: self.matrix_shape(role) for role in roles if not role.endswith(others)}


@dataclass(frozen=True)
class GenerationDefaults:
    """What generation_config.json suggests; None where it says nothing or makes no sense.

    `temperature` is 0 where the file says `do_sample: false`. `warnings` has a line for every value
    that was ignored.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


def load_config(folder: Path) -> ModelConfig:
    """Read the shape of the model in a folder.

    Raises: CheckpointError if config.json is missing, broken or out of range; UnsupportedModelError
        if it asks for an architecture, activation, rope scaling or quantization that tinychat does
        not run.
    """
    path = folder / "config.json"
    values = read_json(path, limits.CONFIG_BYTES)
    if values.get("quantization_config") is None:
        # Where quantizers wrote it before it became a part of config.json.
        for name in ("quant_config.json", "quantize_config.json"):
            if (folder / name).exists():
                values["quantization_config"] = read_json(folder / name, limits.CONFIG_BYTES)
                break
    return parse_config(values, str(path))


def parse_config(values: Mapping[str, Any], where: str = "config.json") -> ModelConfig:
    """The shape of a model from the content of its config.json.

    Args:
        values: the parsed object.
        where: what messages call it.
    Raises: as `load_config`.
    """
    fields = Fields(values, where)
    spec = _family(fields)
    for key in spec.refused:
        if fields.flag(key, default=False):
            raise UnsupportedModelError(f"{where}: {key} = true is not supported")
    form = _form(spec, fields)
    keys, defaults = spec.keys, spec.defaults

    hidden = fields.integer(*keys["hidden_size"], low=1, high=limits.WIDTH)
    heads = fields.integer(*keys["num_heads"], low=1, high=limits.HEADS)
    head_dim = _head_dim(fields, spec, hidden, heads)
    vocab = fields.integer(*keys["vocab_size"], low=1, high=limits.VOCABULARY)
    positions = fields.integer(
        *keys["max_positions"], low=1, high=limits.POSITIONS, default=defaults["max_positions"]
    )
    mlp_width = defaults["mlp_factor"] * hidden if "mlp_factor" in defaults else None
    alibi = fields.flag(*keys.get("alibi", ()), default=defaults["alibi"])
    pad = _token_id(fields, keys["pad_token_id"], limits.VOCABULARY, None)

    return ModelConfig(
        family=spec.name,
        vocab_size=vocab,
        hidden_size=hidden,
        num_layers=fields.integer(*keys["num_layers"], low=1, high=limits.LAYERS),
        num_heads=heads,
        num_kv_heads=_kv_heads(fields, spec, form, heads),
        head_dim=head_dim,
        intermediate_size=fields.integer(
            *keys["intermediate_size"], low=1, high=limits.MLP_WIDTH, default=mlp_width
        ),
        max_positions=positions,
        norm_eps=fields.number(
            *keys["norm_eps"], low=1e-20, high=limits.NORM_EPSILON, default=defaults["norm_eps"]
        ),
        rope=None if alibi else read_rope(fields, head_dim, positions),
        alibi=alibi,
        alibi_scaled=spec.alibi_scaled,
        sliding_window=_window(fields, spec, positions),
        activation=_activation(fields, keys["activation"], defaults["activation"]),
        norm=spec.norm,
        parallel=form.parallel,
        shared_norm=form.shared_norm,
        gated_mlp=spec.gated_mlp,
        qkv_layout=spec.qkv_layout,
        tensors={**spec.tensors, **form.tensors},
        tie_word_embeddings=fields.flag(
            *keys["tie_word_embeddings"], default=defaults["tie_word_embeddings"]
        ),
        bos_token_id=_token_id(fields, keys["bos_token_id"], vocab, defaults["bos_token_id"]),
        eos_token_ids=_token_ids(fields, keys["eos_token_id"], vocab, defaults["eos_token_id"]),
        # An added padding token without an embedding is common, and harmless: it is never fed.
        pad_token_id=pad if pad is not None and pad < vocab else None,
        torch_dtype=_dtype(fields),
        quantization=_quantization(fields),
    )


def load_generation_config(folder: Path) -> GenerationDefaults:
    """Read a folder's generation_config.json; what is absent or broken in it is never an error."""
    path = folder / "generation_config.json"
    if not path.exists():
        return GenerationDefaults()
    warnings: list[str] = []
    found: dict[str, Any] = {}
    try:
        fields = Fields(read_json(path, limits.CONFIG_BYTES), str(path))
    except CheckpointError as error:
        return GenerationDefaults(warnings=(f"{error}; ignored",))
    smallest, largest = limits.REPETITION_PENALTY
    top_k = limits.VOCABULARY
    for name, read in (
        ("temperature", lambda k: fields.number(k, low=0.0, high=limits.TEMPERATURE)),
        ("top_k", lambda k: fields.integer(k, low=0, high=top_k)),
        ("top_p", lambda k: fields.number(k, low=0.0, high=1.0)),
        ("min_p", lambda k: fields.number(k, low=0.0, high=1.0)),
        ("repetition_penalty", lambda k: fields.number(k, low=smallest, high=largest)),
        ("do_sample", lambda k: fields.flag(k, default=True)),
        ("bos_token_id", lambda k: _token_id(fields, (k,), limits.VOCABULARY, None)),
        ("eos_token_id", lambda k: _token_ids(fields, (k,), limits.VOCABULARY, None)),
    ):
        if fields.values.get(name) is not None:
            try:
                found[name] = read(name)
            except CheckpointError as error:
                warnings.append(f"{error}; ignored")
    if not found.pop("do_sample", True):
        found["temperature"] = 0.0
    return GenerationDefaults(
        eos_token_ids=found.pop("eos_token_id", ()), warnings=tuple(warnings), **found
    )


def _family(fields: Fields) -> FamilySpec:
    names = fields.texts("architectures")
    model_type = fields.text("model_type", default="")
    for spec in FAMILIES.values():
        if any(name in spec.architectures for name in names):
            return spec
        if not names and model_type in spec.model_types:
            return spec
    asked = ", ".join(shown(name) for name in names[:3]) or f"model_type {shown(model_type)}"
    raise UnsupportedModelError(
        f"{fields.where}: {asked} is not supported; "
        f"tinychat runs {', '.join(supported_architectures())}"
    )


def _form(spec: FamilySpec, fields: Fields) -> Form:
    found: dict[str, bool | int | str] = {}
    for key, default in spec.flags.items():
        if isinstance(default, bool):
            found[key] = fields.flag(key, default=default)
        elif isinstance(default, int):
            found[key] = fields.integer(key, low=1, high=2, default=default)
        else:
            found[key] = fields.text(key, default=default)
    return next(f for f in spec.forms if all(found[key] == v for key, v in f.when.items()))


def _head_dim(fields: Fields, spec: FamilySpec, hidden: int, heads: int) -> int:
    keys, default = spec.keys.get("head_dim", ()), spec.defaults.get("head_dim")
    _, value = fields.get(*keys)
    if value is not None or default is not None:
        return fields.integer(*keys, low=1, high=limits.HEAD_DIM, default=default)
    if hidden % heads or hidden // heads > limits.HEAD_DIM:
        raise fields.refuse(
            "hidden_size",
            hidden,
            f"{heads} attention heads times at most {limits.HEAD_DIM} dimensions",
        )
    return hidden // heads


def _kv_heads(fields: Fields, spec: FamilySpec, form: Form, heads: int) -> int:
    if form.kv_heads != "config":
        return 1 if form.kv_heads == "one" else heads
    keys, default = spec.keys["num_kv_heads"], spec.defaults.get("num_kv_heads", heads)
    kv_heads = fields.integer(*keys, low=1, high=limits.HEADS, default=default)
    if heads % kv_heads:
        key, _ = fields.get(*keys)
        raise fields.refuse(key, kv_heads, f"a divisor of the {heads} attention heads")
    return kv_heads


def _window(fields: Fields, spec: FamilySpec, positions: int) -> int | None:
    if "sliding_window" not in spec.keys:
        return None
    (key,) = spec.keys["sliding_window"]
    if key in fields.values and fields.values[key] is None:
        return None  # Here null is not the same as absent: it turns the window off.
    default = spec.defaults["sliding_window"]
    window = fields.integer(key, low=1, high=limits.POSITIONS, default=default)
    return window if window < positions else None


def _activation(fields: Fields, keys: tuple[str, ...], default: str) -> Activation:
    name = fields.text(*keys, default=default)
    if name not in _ACTIVATIONS:
        raise UnsupportedModelError(
            f"{fields.where}: {fields.get(*keys)[0]} = {shown(name)} is not supported; "
            f"tinychat runs {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]


def _token_id(fields: Fields, keys: tuple[str, ...], vocab: int, default: int | None) -> int | None:
    key, value = fields.get(*keys)
    if value is None:
        # NOTE: null says that there is none; an absent key stands for the family's own.
        return None if key in fields.values or default is None or default >= vocab else default
    if type(value) is not int or not -1 <= value < vocab:
        raise fields.refuse(key, value, f"a token id below {vocab}")
    return None if value == -1 else value  # -1 is how the first Llama files spell "none"


def _token_ids(
    fields: Fields, keys: tuple[str, ...], vocab: int, default: int | None
) -> tuple[int, ...]:
    key, value = fields.get(*keys)
    if not isinstance(value, list):
        one = _token_id(fields, keys, vocab, default)
        return () if one is None else (one,)
    if len(value) > limits.TOKEN_IDS:
        raise fields.refuse(key, value, f"at most {limits.TOKEN_IDS} token ids")
    for token in value:
        if type(token) is not int or not 0 <= token < vocab:
            raise fields.refuse(key, token, f"token ids below {vocab}")
    return tuple(dict.fromkeys(value))


def _dtype(fields: Fields) -> str:
    key, _ = fields.get("dtype", "torch_dtype")
    name = fields.text(key, default="auto").removeprefix("torch.")
    if name not in _DTYPES:
        raise UnsupportedModelError(
            f"{fields.where}: {key} = {shown(name)} is not supported; "
            f"tinychat reads {', '.join(_DTYPES[:-1])}"
        )
    return name


def _quantization(fields: Fields) -> QuantizationConfig | None:
    config = fields.object("quantization_config")
    if config is None:
        return None
    autoawq = config.get("w_bit", "q_group_size")[1] is not None
    method = config.text("quant_method", "method", default="awq" if autoawq else "gptq").lower()
    if method not in _QUANTIZATIONS:
        raise UnsupportedModelError(
            f"{config.where}: quant_method {shown(method)} is not supported; "
            f"tinychat reads {' and '.join(_QUANTIZATIONS)}"
        )
    keys, formats, widths = _QUANTIZATIONS[method]
    _refuse_variants(config, method)
    layout = config.text(*keys, default=formats[0]).lower()
    if layout not in formats:
        raise UnsupportedModelError(
            f"{config.where}: {config.get(*keys)[0]} {shown(layout)} of {method} is not supported; "
            f"tinychat reads {' and '.join(formats)}"
        )
    bits = config.integer("bits", "w_bit", low=1, high=32, default=4)
    if bits not in widths:
        raise UnsupportedModelError(
            f"{config.where}: {method} with {bits} bits is not supported; "
            f"tinychat reads {', '.join(map(str, widths))}"
        )
    key, _ = config.get("group_size", "q_group_size")
    group_size = config.integer(key, low=-1, high=limits.GROUP_SIZE, default=128)
    if group_size != -1 and (group_size < 8 or group_size % 8):
        raise config.refuse(key, group_size, "a multiple of 8, or -1 for the whole row")
    return QuantizationConfig(
        method=method,
        format=layout,
        bits=bits,
        group_size=group_size,
        desc_act=config.flag("desc_act", default=False),
        lm_head=config.flag("lm_head", default=False),
    )


def _refuse_variants(config: Fields, method: str) -> None:
    """Raise UnsupportedModelError for what changes the layout from beside its name."""
    asked = []
    if method == "awq":
        if config.text("backend", default="auto").lower() == "llm-awq":
            asked.append("backend 'llm-awq'")
        if not config.flag("zero_point", default=True):
            asked.append("zero_point = false")
    if config.flag("is_marlin_format", default=False):
        asked.append("is_marlin_format = true")
    dynamic = config.object("dynamic")
    # What "-:" excludes is in floating point, as the tensors show; the rest has bits of its own.
    own = [key for key in (dynamic.values if dynamic else ()) if not key.startswith("-:")]
    if own:
        asked.append(f"dynamic for {shown(own[0])}")
    if asked:
        raise UnsupportedModelError(
            f"{config.where}: {', '.join(asked)} of {method} is not supported"
        )

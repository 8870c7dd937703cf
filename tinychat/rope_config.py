"""The numbers of a rotary position embedding, from both spellings that config.json files use.

Classic files have `rope_theta` and `rope_scaling`, newer ones put both into `rope_parameters`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tinychat import limits
from tinychat.errors import CheckpointError, UnsupportedModelError
from tinychat.fields import Fields
from tinychat.jsonfile import shown

Scaling = Literal["none", "linear", "llama3", "yarn"]


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding; what belongs to another kind of scaling keeps its default.

    Attributes:
        theta: the base of the wavelengths.
        rotary_dim: R, the rotated dimensions of each head; even.
        scaling: "none", "linear", "llama3" or "yarn".
        factor: how much longer than `original_max_positions` the context became.
        attention_factor: multiplies cos and sin.
        original_max_positions: llama3, yarn: the context of pretraining.
        low_freq_factor, high_freq_factor: llama3: the ramp, in turns over that context.
        beta_slow, beta_fast: yarn: the same.
        truncate: yarn: the ramp's ends are rounded to whole dimensions.
    """

    theta: float
    rotary_dim: int
    scaling: Scaling = "none"
    factor: float = 1.0
    attention_factor: float = 1.0
    original_max_positions: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_slow: float = 1.0
    beta_fast: float = 32.0
    truncate: bool = True


def read_rope(config: Fields, head_dim: int, max_positions: int) -> RopeConfig:
    """The rotary embedding that a config.json asks for.

    Args:
        config: the whole of config.json.
        head_dim: D; all of it is rotated.
        max_positions: stands in where the context of pretraining is not given.
    Raises: CheckpointError for a value out of range, UnsupportedModelError for a kind of scaling
        that tinychat does not compute.
    """
    if head_dim % 2:
        raise CheckpointError(
            f"{config.where}: heads of {head_dim} dimensions cannot be rotated; "
            "expected an even head_dim"
        )
    rope = config.object("rope_scaling", "rope_parameters") or Fields({}, config.where)
    for key, value in rope.values.items():
        if isinstance(value, dict):
            raise UnsupportedModelError(
                f"{rope.where}: numbers for one kind of layer ({shown(key)}) are not supported"
            )
    for source in (rope, config):
        if source.number("partial_rotary_factor", low=0.0, high=1.0, default=1.0) != 1.0:
            raise UnsupportedModelError(
                f"{source.where}: partial_rotary_factor is not supported for this architecture"
            )
    theta = _theta(rope, default=_theta(config, default=10000.0))
    kind = rope.text("rope_type", "type", default="default")
    if kind == "default":
        return RopeConfig(theta, head_dim)
    if kind == "linear":
        return RopeConfig(theta, head_dim, "linear", _factor(rope))
    original = _original(config, default=_original(rope, default=max_positions))
    if kind == "llama3":
        return _llama3(rope, theta, head_dim, original)
    if kind == "yarn":
        return _yarn(rope, theta, head_dim, original, max_positions)
    raise UnsupportedModelError(
        f"{rope.where}: rope scaling {shown(kind)} is not supported; "
        "tinychat runs linear, llama3 and yarn"
    )


def _theta(fields: Fields, default: float) -> float:
    # At 1 all wavelengths would be equal.
    return fields.number("rope_theta", low=1.001, high=limits.ROPE_THETA, default=default)


def _factor(rope: Fields, default: float | None = None) -> float:
    return rope.number("factor", low=1.0, high=limits.ROPE_FACTOR, default=default)


def _original(fields: Fields, default: int) -> int:
    key = "original_max_position_embeddings"
    return fields.integer(key, low=1, high=limits.POSITIONS, default=default)


def _llama3(rope: Fields, theta: float, head_dim: int, original: int) -> RopeConfig:
    low = rope.number("low_freq_factor", low=1e-3, high=limits.ROPE_FACTOR)
    high = rope.number("high_freq_factor", low=1e-3, high=limits.ROPE_FACTOR)
    if high <= low:
        raise rope.refuse("high_freq_factor", high, f"more than low_freq_factor = {low:g}")
    return RopeConfig(
        theta,
        head_dim,
        "llama3",
        _factor(rope),
        original_max_positions=original,
        low_freq_factor=low,
        high_freq_factor=high,
    )


def _yarn(
    rope: Fields, theta: float, head_dim: int, original: int, max_positions: int
) -> RopeConfig:
    """YaRN, arXiv 2309.00071; without an `attention_factor` it follows from factor and mscale."""
    factor = _factor(rope, default=max(1.0, max_positions / original))
    growth = 0.1 * math.log(factor)
    mscale = rope.number("mscale", low=0.0, high=100.0, default=0.0)
    mscale_all_dim = rope.number("mscale_all_dim", low=0.0, high=100.0, default=0.0)
    if mscale and mscale_all_dim:
        attention_factor = (mscale * growth + 1.0) / (mscale_all_dim * growth + 1.0)
    else:
        attention_factor = growth + 1.0
    # NOTE: transformers takes 0 for "not given" in both.
    fast = rope.number("beta_fast", low=0.0, high=limits.ROPE_FACTOR, default=0.0) or 32.0
    slow = rope.number("beta_slow", low=0.0, high=limits.ROPE_FACTOR, default=0.0) or 1.0
    if fast < slow:
        raise rope.refuse("beta_fast", fast, f"at least beta_slow = {slow:g}")
    return RopeConfig(
        theta,
        head_dim,
        "yarn",
        factor,
        rope.number("attention_factor", low=1e-3, high=100.0, default=attention_factor),
        original,
        beta_slow=slow,
        beta_fast=fast,
        truncate=rope.flag("truncate", default=True),
    )

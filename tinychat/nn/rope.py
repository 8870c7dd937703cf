"""How positions enter attention: rotation tables with their scalings for longer contexts, and
ALiBi slopes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tinychat.config import ModelConfig
from tinychat.nn.attention import PositionTables
from tinychat.rope_config import RopeConfig


def position_tables(
    config: ModelConfig, context: int, device: torch.device | None = None
) -> PositionTables:
    """The tables that all layers share, for positions 0..context-1; made on the host, wherever
    they go to then.
    """
    rope = None
    if config.rope is not None:
        cos, sin = rope_tables(config.rope, context)
        rope = cos.to(device), sin.to(device)
    return PositionTables(rope, alibi_slopes(config).to(device) if config.alibi else None)


def rope_tables(rope: RopeConfig, context: int) -> tuple[Tensor, Tensor]:
    """cos and sin of every position's rotation angles, each [S, R/2] float32, times the attention
    factor.
    """
    positions = torch.arange(context, dtype=torch.float32)
    angles = torch.outer(positions, inverse_frequencies(rope))
    return angles.cos() * rope.attention_factor, angles.sin() * rope.attention_factor


def inverse_frequencies(rope: RopeConfig) -> Tensor:
    """Radians per position of each rotated pair, [R/2] float32, after scaling.

    Computed in float32 step by step as transformers does, since at long contexts the rounding of a
    frequency is multiplied by the position.
    """
    exponents = torch.arange(0, rope.rotary_dim, 2, dtype=torch.int64).float() / rope.rotary_dim
    frequencies = 1.0 / (rope.theta**exponents)
    if rope.scaling == "linear":
        return frequencies / rope.factor
    if rope.scaling == "llama3":
        return _llama3(frequencies, rope)
    if rope.scaling == "yarn":
        return _yarn(rope.theta**exponents, rope)
    return frequencies


def _llama3(frequencies: Tensor, rope: RopeConfig) -> Tensor:
    """Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between
    blended.
    """
    turns = rope.original_max_positions / (
        2 * math.pi / frequencies
    )  # rotations over the old context
    blend = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    blend = blend.clamp(0, 1)
    return (1 - blend) * frequencies / rope.factor + blend * frequencies


def _yarn(wavelengths: Tensor, rope: RopeConfig) -> Tensor:
    """YaRN, arXiv 2309.00071: a ramp over the dimensions from kept frequencies to stretched
    ones.
    """

    def dimension(rotations: float) -> float:
        """The dimension whose pair turns so often over the old context."""
        turns = rope.original_max_positions / (rotations * 2 * math.pi)
        return rope.rotary_dim * math.log(turns) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.rotary_dim - 1)
    if low == high:
        high += 0.001  # the ramp may not be infinitely steep
    ramp = ((torch.arange(rope.rotary_dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(
        0, 1
    )
    return ramp / (rope.factor * wavelengths) + (1 - ramp) / wavelengths


def alibi_slopes(config: ModelConfig) -> Tensor:
    """ALiBi's slope per head, [H] float32, arXiv 2108.12409; scaled as the scores are where the
    family does so.
    """
    heads = config.num_heads
    whole = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / whole) for i in range(whole)]
    # Beyond a power of two, the slopes of twice as many heads are taken, every other one.
    slopes += [2 ** (-4 * (2 * i + 1) / whole) for i in range(heads - whole)]
    factor = config.head_dim**-0.5 if config.alibi_scaled else 1.0
    return torch.tensor(slopes, dtype=torch.float32) * factor

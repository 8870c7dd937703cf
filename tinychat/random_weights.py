"""Random weights for any shape, made in memory: speed can be measured without a download.

They cost the same time and memory as trained ones; what a model of them says is noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tinychat.config import ModelConfig
from tinychat.errors import ArgumentError, CheckpointError
from tinychat.precision import FLOATS, INTEGERS
from tinychat.quantize.format import LowBitWeight
from tinychat.quantize.grid import default_group_size

# Random values are drawn once and repeated; a period that no width divides avoids equal rows.
RANDOM_PERIOD = 4_194_301


class RandomCheckpoint:
    """A source of weights like a checkpoint on disk, made as they are asked for and kept by nobody.

    Args:
        config: the shape; its family's biases are left out.
        weights: "int4" or "int8" for low-bit linears in the blocks, made as integers so that no
            float copy ever exists; "fp32", "fp16" or "bf16" for float ones.
        seed: of the values.
    """

    def __init__(self, config: ModelConfig, weights: str, seed: int = 0) -> None:
        self._bits = INTEGERS.get(weights)
        if self._bits is None and weights not in FLOATS:
            raise ArgumentError(f"weights={weights!r}: expected {', '.join([*INTEGERS, *FLOATS])}")
        self._dtype = FLOATS.get(weights, torch.float16)
        generator = torch.Generator().manual_seed(seed)
        self._normal = torch.randn(RANDOM_PERIOD, generator=generator).to(self._dtype)
        self._codes = torch.empty(0, dtype=torch.uint8)
        self._matrices = _matrix_shapes(config)
        self._vectors = _vector_sizes(config)
        self._low_bit: dict[str, tuple[int, int]] = {}
        if self._bits is not None:
            kept = {config.tensors["embed"], config.tensors["head"]}
            self._low_bit = {k: v for k, v in self._matrices.items() if k not in kept}
            self._codes = torch.randint(
                2**self._bits, (RANDOM_PERIOD,), dtype=torch.uint8, generator=generator
            )
        self._asked: set[str] = set()

    def names(self) -> set[str]:
        """Every tensor, the weights that only `low_bit` gives included."""
        return {f"{module}.weight" for module in self._matrices} | self._vectors.keys()

    def tensor(self, name: str) -> Tensor:
        """One float tensor, made now.

        Raises: CheckpointError if there is none of this name.
        """
        self._asked.add(name)
        if name in self._vectors:
            fill = 0.0 if name.endswith(".bias") else 1.0
            return torch.full((self._vectors[name],), fill, dtype=self._dtype)
        module = name.removesuffix(".weight")
        shape = self._matrices.get(module)
        if shape is None or module in self._low_bit:
            raise CheckpointError(f"tensor {name} is missing")
        return repeat_into(torch.empty(shape, dtype=self._dtype), self._normal).mul_(
            shape[1] ** -0.5
        )

    def low_bit(self, prefix: str) -> LowBitWeight | None:
        """The weight of a low-bit linear, made now; None for every other name."""
        shape = self._low_bit.get(prefix)
        if shape is None or self._bits is None:
            return None
        self._asked.add(f"{prefix}.weight")
        n, k = shape
        group = default_group_size(k)
        middle = 2 ** (self._bits - 1)
        # Uniform codes deviate by levels / √12; outputs shall be about as large as inputs.
        scale = (12 / k) ** 0.5 / 2**self._bits
        return LowBitWeight(
            codes=repeat_into(torch.empty(shape, dtype=torch.uint8), self._codes),
            scales=torch.full((n, k // group), scale, dtype=torch.float16),
            zeros=torch.full((n, k // group), middle, dtype=torch.uint8),
            bits=self._bits,
            group_size=group,
        )

    def unused(self) -> set[str]:
        """Names that nobody asked for."""
        return self.names() - self._asked


def repeat_into(out: Tensor, values: Tensor) -> Tensor:
    """Fill `out` with `values` over and over: random numbers at the speed of a copy. Returns it."""
    flat, period = out.view(-1), values.numel()
    for start in range(0, flat.numel(), period):
        piece = flat[start : start + period]
        piece.copy_(values[: piece.numel()])
    return out


def _matrix_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Module name -> (N, K) of every matrix of the model."""
    shapes = {config.tensors["embed"]: config.matrix_shape("embed")}
    if not config.tie_word_embeddings:
        shapes[config.tensors["head"]] = config.matrix_shape("head")
    for role, shape in config.block_matrices().items():
        for i in range(config.num_layers):
            shapes[config.tensors[role].format(i=i)] = shape
    return shapes


def _vector_sizes(config: ModelConfig) -> dict[str, int]:
    """Tensor name -> size of every norm's weight and bias."""
    parts = ("weight", "bias") if config.norm == "layer" else ("weight",)
    roles = ("attention_norm", "mlp_norm", "final_norm")
    sizes = {(role, part): config.hidden_size for role in roles for part in parts}
    sizes |= {(role, "weight"): config.head_dim for role in ("q_norm", "k_norm")}
    return {
        f"{config.tensors[role].format(i=i)}.{part}": size
        for (role, part), size in sizes.items()
        if role in config.tensors
        for i in range(config.num_layers)
    }

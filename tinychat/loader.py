"""A source of weights -> a `Decoder`: rename, fuse, round, pack, and report every missing and
unused tensor at once.

Matrices that read the same input become one: q, k and v; gate and up. Low-bit ones are joined
before packing where they are alike; float ones stay where they are, in the mapped file, and only
their outputs are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from tinychat.config import ModelConfig
from tinychat.errors import ArgumentError, CheckpointError
from tinychat.families import FAMILIES
from tinychat.jsonfile import shown
from tinychat.kernels import AttentionShape, Norm, Ops, QKNorm
from tinychat.nn.attention import Attention, PositionTables
from tinychat.nn.decoder import Block, Decoder
from tinychat.nn.head import Head, RefinedHead, low_bit_form
from tinychat.nn.linear import AnyLinear, Linear, LinearLowBit, StackedLinear
from tinychat.nn.mlp import MLP, GatedMLP
from tinychat.nn.rope import position_tables
from tinychat.pack_cache import PackCache
from tinychat.precision import FLOATS, HEAD_BITS, INTEGERS
from tinychat.quantize.awq_format import from_awq_gemm, from_awq_gemv
from tinychat.quantize.format import LowBitWeight, alike, dequantize
from tinychat.quantize.gptq_format import from_gptq_v1, from_gptq_v2
from tinychat.quantize.grid import Grid, default_group_size
from tinychat.quantize.packed import Unpacker
from tinychat.quantize.two_stage import coarse_grid, fine_part

WEIGHTS = ("auto", *FLOATS, *INTEGERS)
HEADS = ("auto", *HEAD_BITS)
NAMES_SHOWN = 20
NAME_WIDTH = 100
UNUSED = "not used by this architecture"
# What a packed module's tensors are called, by quantization method; "g_idx" may be left out.
PACKED_PARTS = {
    "awq": ("qweight", "qzeros", "scales"),
    "gptq": ("qweight", "qzeros", "scales", "g_idx"),
}
Reader = Callable[[Mapping[str, Tensor], int, int, str, Unpacker], LowBitWeight]
# (method, format) of a `QuantizationConfig` -> (parts, bits, group size, name, unpacker) -> weight.
READERS: Mapping[tuple[str, str], Reader] = {
    ("awq", "gemm"): from_awq_gemm,
    ("awq", "gemv"): from_awq_gemv,
    ("gptq", "gptq"): from_gptq_v1,
    ("gptq", "gptq_v2"): from_gptq_v2,
}
# What any module's tensors are called.
PARTS = ("weight", "bias", *PACKED_PARTS["gptq"])


class Source(Protocol):
    """Where weights come from: a checkpoint on disk, or random ones in memory."""

    def names(self) -> set[str]:
        """Every tensor there is."""
        ...

    def tensor(self, name: str) -> Tensor:
        """One tensor, without a copy where it is mapped."""
        ...

    def unused(self) -> set[str]:
        """Names that nobody asked for."""
        ...


@runtime_checkable
class LowBitSource(Source, Protocol):
    """A source that makes low-bit weights itself, in no file format."""

    def low_bit(self, prefix: str) -> LowBitWeight | None:
        """The canonical weight of a module; None for one that is in floating point."""
        ...


@dataclass(frozen=True)
class Summary:
    """What was loaded, for `info` and the line at the start of a chat.

    Attributes:
        weights: the blocks' matrices, for instance "int4 g128" or "bfloat16".
        head: the same for the output head.
        packed_copy: bytes of the packed copy on the disk; None where there is none.
    """

    weights: str
    head: str
    packed_copy: int | None = None


def load_model(
    source: Source,
    config: ModelConfig,
    ops: Ops,
    context: int,
    *,
    weights: str = "auto",
    lm_head: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    packed: PackCache | None = None,
) -> tuple[Decoder, Summary]:
    """Build the decoder for a context of so many tokens.

    Args:
        packed: the packed copy of the source's matrices; it is read, or written where it lacks one.
    Raises: CheckpointError with every missing and every unused tensor, UnsupportedModelError,
        ArgumentError.
    """
    return Loader(source, config, ops, weights, lm_head, progress, packed).load(context)


class Loader:
    """One load: the source, the names of one family, and what is to become of the matrices."""

    def __init__(
        self,
        source: Source,
        config: ModelConfig,
        ops: Ops,
        weights: str,
        lm_head: str,
        progress: Callable[[int, int], None] | None = None,
        packed: PackCache | None = None,
    ) -> None:
        self.source, self.config, self.ops = source, config, ops
        self.weights, self.lm_head, self.packed = weights, lm_head, packed
        self.spared: set[str] = set()  # tensors that were not read, as the packed copy has them
        self.available = source.names()
        self._progress = progress
        self._linears_done = 0

    def load(self, context: int) -> tuple[Decoder, Summary]:
        self.check_names()
        config = self.config
        positions = position_tables(config, context, self.ops.device)
        blocks = [self.block(i, positions) for i in range(config.num_layers)]
        norm = self.norm(config.tensors["final_norm"])
        embedding = self.embedding()
        head = self.head(embedding)
        self.check_unused()
        copy = self.packed.finish() if self.packed is not None else None
        summary = Summary(describe(blocks[0].mlp.down), describe(head), copy)
        table = embedding.to(self.ops.device)
        if self.tied and isinstance(head, Linear) and head.weight.dtype == table.dtype:
            table = head.weight  # one matrix in memory, not two
        return Decoder(self.ops, table, blocks, norm, head), summary

    # --- names

    def prefix(self, name: str, layer: int = 0) -> str:
        """The checkpoint's name of one of our modules."""
        return self.config.tensors[name].format(i=layer)

    def has(self, prefix: str) -> bool:
        """Whether the source has the module, in floating point or packed."""
        return f"{prefix}.weight" in self.available or f"{prefix}.qweight" in self.available

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding; one that was quantized has become its own matrix."""
        packed = f"{self.prefix('head')}.qweight" in self.available
        return self.config.tie_word_embeddings and not packed

    @property
    def embed_prefix(self) -> str:
        """The embedding; some tied checkpoints store the shared matrix under the head's name
        alone.
        """
        embed, head = self.prefix("embed"), self.prefix("head")
        return head if self.tied and not self.has(embed) else embed

    def modules(self) -> list[tuple[str, str]]:
        """(our name, the checkpoint's name) of every module of the model."""
        tensors = self.config.tensors
        per_layer = [name for name in tensors if "{i}" in tensors[name]]
        layers = range(self.config.num_layers)
        modules = [(role, self.prefix(role, i)) for i in layers for role in per_layer]
        modules += [("final_norm", self.prefix("final_norm")), ("embed", self.embed_prefix)]
        if not self.tied:
            modules.append(("head", self.prefix("head")))
        return modules

    def check_names(self, strict: bool = False) -> None:
        """Raise one error with every tensor that is not there, and every one in its stead.

        Args:
            strict: raise, too, where nothing is missing but there are tensors of no module.
        """
        modules = self.modules()
        # An activation has a tensor only where AWQ gave it one.
        needed = [prefix for role, prefix in modules if role != "act"]
        missing = [name for prefix in needed for name in self.missing_of(prefix)]
        if missing or strict:
            known = {f"{prefix}.{part}" for _, prefix in modules for part in PARTS}
            unused = self.not_ignored(self.available - known)
            parts = [("missing", missing), (UNUSED, unused)]
            lists = [listing(what, names) for what, names in parts if names]
            if lists:
                raise CheckpointError("; ".join(lists))

    def missing_of(self, prefix: str) -> list[str]:
        """What a module lacks of the tensors that it cannot do without."""
        if not self.has(prefix):
            return [f"{prefix}.weight"]
        if f"{prefix}.weight" in self.available:
            return []
        parts = ["qzeros", "scales"]
        stored = self.config.quantization
        if stored is not None and stored.desc_act and stored.group_size != -1:
            parts.append("g_idx")
        return [f"{prefix}.{part}" for part in parts if f"{prefix}.{part}" not in self.available]

    def not_ignored(self, names: Iterable[str]) -> list[str]:
        """Those of the names, in order, that are not known to be of no use to anybody."""
        ignored = FAMILIES[self.config.family].ignored_suffixes
        if self.tied:
            ignored = (*ignored, f"{self.prefix('head')}.weight", f"{self.prefix('embed')}.weight")
        return [name for name in sorted(names) if not name.endswith(ignored)]

    def check_unused(self) -> None:
        """Raise one error with every tensor that nothing read: a model that differs from what we
        run.
        """
        unused = self.not_ignored(self.source.unused() - self.spared)
        if unused:
            raise CheckpointError(listing(UNUSED, unused))

    # --- parts

    def block(self, layer: int, positions: PositionTables) -> Block:
        config = self.config
        attention = Attention(
            self.ops,
            self.qkv(layer),
            self.linear(layer, "o"),
            AttentionShape(
                config.num_heads,
                config.num_kv_heads,
                config.head_dim,
                config.head_dim**-0.5,
                config.sliding_window or 0,
            ),
            positions,
            self.qk_norm(layer),
        )
        attention_norm = self.norm(self.prefix("attention_norm", layer))
        mlp_norm = attention_norm
        if not config.shared_norm:
            mlp_norm = self.norm(self.prefix("mlp_norm", layer))
        parallel = config.parallel or config.shared_norm
        return Block(attention_norm, attention, mlp_norm, self.mlp(layer), parallel)

    def norm(self, prefix: str) -> Norm:
        width, device = self.config.hidden_size, self.ops.device
        weight = self.vector(f"{prefix}.weight", width).to(device)
        bias = self.bias(prefix, width) if self.config.norm == "layer" else None
        if bias is not None:
            bias = bias.to(device)
        return Norm(self.config.norm, weight, self.config.norm_eps, bias)

    def qk_norm(self, layer: int) -> QKNorm | None:
        if "q_norm" not in self.config.tensors:
            return None
        q, k = (
            self.vector(f"{self.prefix(role, layer)}.weight", self.config.head_dim)
            for role in ("q_norm", "k_norm")
        )
        return QKNorm(q, k, self.config.norm_eps).to(self.ops.device)

    def qkv(self, layer: int) -> AnyLinear:
        if self.config.qkv_layout == "separate":
            return self.linear(layer, "q", "k", "v")
        return self.linear(layer, "qkv", rows=grouped_rows(self.config))

    def mlp(self, layer: int) -> GatedMLP | MLP:
        kind, down = self.config.activation, self.linear(layer, "down")
        if self.config.gated_mlp:
            return GatedMLP(self.linear(layer, "gate", "up"), down, kind)
        scale = self.activation_scale(layer)
        return MLP(self.ops, self.linear(layer, "up"), down, kind, scale=scale)

    def activation_scale(self, layer: int) -> Tensor | None:
        """The factors on what the activation gives, where the checkpoint divides it: AWQ scales
        the inputs of "down" there, as no matrix before them can take their scale on.
        """
        name = f"{self.prefix('act', layer)}.scales"
        if name not in self.available:
            return None
        scales = self.vector(name, self.config.intermediate_size)
        factors = scales.reciprocal()
        if not bool((scales > 0).logical_and(factors.isfinite()).all()):
            raise CheckpointError(
                f"{name} holds {float(scales.min()):g}; expected divisors, all of them positive"
            )
        return factors

    def embedding(self) -> Tensor:
        return self.tensor(f"{self.embed_prefix}.weight", self.config.matrix_shape("embed"))

    def head(self, embedding: Tensor) -> Head:
        self.count()
        prefix, shape = self.prefix("head"), self.config.matrix_shape("head")
        bias = self.bias(prefix, shape[0])
        found = self.found_head(prefix, shape, bias)
        if found is not None:
            return found
        weight = embedding if self.tied else self.read(prefix, shape)
        if isinstance(weight, LowBitWeight):
            as_it_is = self.lm_head == "auto" and self.weights not in FLOATS
            if as_it_is or self.lm_head == f"int{weight.bits}":
                return self.low_bit([prefix], [weight], bias)
            weight = dequantize(weight)
        low_bit_model = self.weights in INTEGERS or (
            self.weights == "auto" and self.config.quantization is not None
        )
        mode = self.lm_head
        if mode == "auto":
            mode = low_bit_form(shape[0]) if low_bit_model else "fp16"
        if mode == "int4+4":
            fine = self.low_bit([fine_name(prefix)], [fine_part(self.ops, weight, prefix)], None)
            rounded = self.ops.round_to_nearest(weight, coarse_grid(shape[1]), prefix)
            coarse = self.low_bit([prefix], [rounded], bias)
            return RefinedHead(coarse, fine)
        if mode in INTEGERS:
            return self.low_bit([prefix], [self.round(weight, INTEGERS[mode], prefix)], bias)
        return self.float(weight, bias)

    def found_head(self, prefix: str, shape: tuple[int, int], bias: Tensor | None) -> Head | None:
        """The head as the packed copy has it.

        The fine part is asked for (and kept) first: where it is damaged the copy is given up, so
        that the coarse one is not found either and never taken for the whole.
        """
        fine = self.found([fine_name(prefix)], [shape], None)
        head = self.found([prefix], [shape], bias)
        return head if head is None or fine is None else RefinedHead(head, fine)

    # --- matrices

    def linear(self, layer: int, *roles: str, rows: Tensor | None = None) -> AnyLinear:
        """One linear layer of one or several modules that read the same input.

        Args:
            rows: of a single module, the order that its rows are to be brought into.
        """
        self.count()
        names = [self.prefix(role, layer) for role in roles]
        shapes = [self.config.matrix_shape(role) for role in roles]
        biases = [self.bias(n, s[0]) for n, s in zip(names, shapes, strict=True)]
        if rows is not None:
            biases = [None if biases[0] is None else biases[0][rows]]
        bias = join_biases(biases, [s[0] for s in shapes])
        joined = self.found(names, shapes, bias)
        if joined is not None:
            return joined
        each = list(zip(names, shapes, biases, strict=True))
        weights = [self.found([n], [s], b) or self.wanted(n, s, rows) for n, s, b in each]
        low_bit = [w for w in weights if isinstance(w, LowBitWeight)]
        if len(low_bit) == len(weights) and alike(low_bit):
            return self.low_bit(names, low_bit, bias)
        if self.ops.device.type != "cpu" and all(isinstance(w, Tensor) for w in weights):
            # They leave the mapped file anyhow.
            return self.float(torch.cat([w for w in weights if isinstance(w, Tensor)]), bias)
        parts = [self.made(n, w, b) for w, (n, _, b) in zip(weights, each, strict=True)]
        return parts[0] if len(parts) == 1 else StackedLinear(self.ops, parts)

    def found(
        self, names: Sequence[str], shapes: Sequence[tuple[int, int]], bias: Tensor | None
    ) -> LinearLowBit | None:
        """The layer of modules whose matrix is in the packed copy, joined as `low_bit` did it."""
        if self.packed is None:
            return None
        shape = (sum(n for n, _ in shapes), shapes[0][1])
        linear = self.packed.find("+".join(names), shape, bias)
        if linear is not None:
            self.spared |= {f"{name}.{part}" for name in names for part in PARTS}
        return linear

    def read(self, prefix: str, shape: tuple[int, int]) -> LowBitWeight | Tensor:
        """One matrix as the source has it."""
        weight = self.source.low_bit(prefix) if isinstance(self.source, LowBitSource) else None
        if weight is None and f"{prefix}.qweight" in self.available:
            stored = self.config.quantization
            if stored is None:
                raise CheckpointError(
                    f"{prefix}.qweight is packed, but config.json has no quantization_config"
                )
            names = {part: f"{prefix}.{part}" for part in PACKED_PARTS[stored.method]}
            parts = {p: self.source.tensor(n) for p, n in names.items() if n in self.available}
            reader = READERS[stored.method, stored.format]
            weight = reader(parts, stored.bits, stored.group_size, prefix, self.ops)
        if weight is None:
            return self.tensor(f"{prefix}.weight", shape)
        if tuple(weight.codes.shape) != shape:
            raise CheckpointError(wrong_shape(prefix, tuple(weight.codes.shape), shape))
        return weight

    def wanted(
        self, name: str, shape: tuple[int, int], rows: Tensor | None
    ) -> LowBitWeight | Tensor:
        """One matrix as the caller of `load` wants it: rounded, dequantized, or as it is; with its
        rows in this order.
        """
        weight = self.as_asked(self.read(name, shape), name)
        return weight if rows is None else take_rows(weight, rows)

    def as_asked(self, weight: LowBitWeight | Tensor, name: str) -> LowBitWeight | Tensor:
        if self.weights in INTEGERS:
            bits = INTEGERS[self.weights]
            if isinstance(weight, Tensor):
                return self.round(weight, bits, name)
            if weight.bits != bits:
                raise ArgumentError(
                    f"weights={self.weights!r}: {name} already has {weight.bits} bits; use 'auto'"
                )
        if self.weights in FLOATS and isinstance(weight, LowBitWeight):
            return dequantize(weight)
        return weight

    def round(self, weight: Tensor, bits: int, name: str) -> LowBitWeight:
        grid = Grid(bits, default_group_size(weight.shape[1]))
        return self.ops.round_to_nearest(weight, grid, name)

    def made(
        self, name: str, weight: LinearLowBit | LowBitWeight | Tensor, bias: Tensor | None
    ) -> Linear | LinearLowBit:
        if isinstance(weight, LinearLowBit):
            return weight
        if isinstance(weight, Tensor):
            return self.float(weight, bias)
        return self.low_bit([name], [weight], bias)

    def low_bit(
        self, names: Sequence[str], weights: Sequence[LowBitWeight], bias: Tensor | None
    ) -> LinearLowBit:
        """One layer of weights that are alike, kept in the packed copy."""
        linear = LinearLowBit(self.ops, self.ops.pack(*weights), bias, weights[0].order)
        if self.packed is not None:
            self.packed.keep("+".join(names), linear)
        return linear

    def float(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return Linear(self.ops, weight.to(FLOATS.get(self.weights, weight.dtype)), bias)

    def count(self) -> None:
        """Report one more linear layer done: four a block, and the head."""
        self._linears_done += 1
        if self._progress is not None:
            self._progress(self._linears_done, 4 * self.config.num_layers + 1)

    # --- tensors

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A float tensor of the expected shape."""
        tensor = self.source.tensor(name)
        if tuple(tensor.shape) != shape:
            raise CheckpointError(wrong_shape(name, tuple(tensor.shape), shape))
        if tensor.dtype not in FLOATS.values():
            raise CheckpointError(
                f"{name} is {tensor.dtype}; expected float32, float16 or bfloat16"
            )
        return tensor

    def vector(self, name: str, size: int) -> Tensor:
        """A float32 copy of a norm's weight or of a bias; not a number in it would spoil every
        token.
        """
        vector = self.tensor(name, (size,)).to(torch.float32)
        if not bool(torch.isfinite(vector).all()):
            raise CheckpointError(f"{name} holds NaN or infinity")
        return vector

    def bias(self, prefix: str, size: int) -> Tensor | None:
        """The bias of a module, where the checkpoint has one."""
        name = f"{prefix}.bias"
        return self.vector(name, size) if name in self.available else None


def grouped_rows(config: ModelConfig) -> Tensor:
    """Row order that turns "for each kv head: its query heads, its key, its value" into all q, all
    k, all v.
    """
    heads, kv, d = config.num_heads, config.num_kv_heads, config.head_dim
    rows = torch.arange((heads + 2 * kv) * d).view(kv, heads // kv + 2, d)
    return torch.cat([rows[:, :-2].flatten(), rows[:, -2].flatten(), rows[:, -1].flatten()])


def take_rows(weight: LowBitWeight | Tensor, rows: Tensor) -> LowBitWeight | Tensor:
    """The matrix with its rows in another order."""
    if isinstance(weight, Tensor):
        return weight[rows]
    return replace(
        weight,
        codes=weight.codes[rows],
        scales=weight.scales[rows],
        zeros=weight.zeros[rows],
    )


def join_biases(biases: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor | None:
    """Biases side by side, zeros for a module without one; None if none has one."""
    if all(bias is None for bias in biases):
        return None
    parts = [torch.zeros(n) if b is None else b for b, n in zip(biases, sizes, strict=True)]
    return torch.cat(parts)


def fine_name(prefix: str) -> str:
    """What the fine part of a head is called in the packed copy."""
    return f"{prefix}.fine"


def describe(linear: AnyLinear | Head) -> str:
    """What a linear layer is made of, for people."""
    if isinstance(linear, RefinedHead):
        return f"int{linear.coarse.weight.bits}+{describe(linear.fine).removeprefix('int')}"
    if isinstance(linear, LinearLowBit):
        return f"int{linear.weight.bits} g{linear.weight.group_size}"
    if isinstance(linear, StackedLinear):
        return " and ".join(dict.fromkeys(describe(part) for part in linear.parts))
    assert isinstance(linear, Linear)
    return str(linear.weight.dtype).removeprefix("torch.")


def wrong_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """The words for a tensor whose shape is not what config.json says."""
    return f"{name} has shape {list(found)}; config.json makes it {list(expected)}"


def listing(what: str, names: Sequence[str]) -> str:
    """One line: how many, and the first names."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    first = ", ".join(shown(name, NAME_WIDTH) for name in names[:NAMES_SHOWN])
    return f"{len(names)} {'tensor is' if len(names) == 1 else 'tensors are'} {what}: {first}{more}"

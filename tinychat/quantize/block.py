"""One block of a decoder as quantizers see it: its matrices, what reads one input together, and
what can take up a scale.

All of it follows from the decoder's own structure, so no family needs a table. A matrix that is
changed here is changed in the block, because both hold the same tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tinychat.config import ModelConfig
from tinychat.kernels import Norm
from tinychat.kernels.reference import ReferenceOps
from tinychat.loader import Loader, Source, grouped_rows, join_biases
from tinychat.nn.attention import PositionTables
from tinychat.nn.decoder import Block
from tinychat.nn.linear import AnyLinear, Linear, StackedLinear
from tinychat.nn.mlp import MLP, GatedMLP
from tinychat.quantize.observe import Seen, Watched

QKV = ("q", "k", "v", "qkv")
UPS = ("gate", "up")
INPUTS = ("attention", "heads", "mlp", "inner")
"""What reaches q, k and v; o; gate and up; down."""


@dataclass
class Matrix:
    """One matrix of the checkpoint.

    Attributes:
        role: its name in `FamilySpec.tensors`.
        name: its module in the checkpoint.
        linear: holds it in float32 [N, K].
        rows: the checkpoint's row that each row of `linear` is; None: the same order.
        clipped: rows whose range may be clipped; not those of q and k, whose products with each
            other would be off by more than either.
    """

    role: str
    name: str
    linear: Linear
    rows: Tensor | None
    clipped: slice

    @property
    def weight(self) -> Tensor:
        return self.linear.weight


Piece = Callable[[Tensor, Tensor], Tensor]
"""Candidates [A, N, K] for a group's weights, and one sequence [T, K] -> what they feed, [A, T, C].
"""


@dataclass
class Group:
    """The matrices that read one input.

    Attributes:
        input: key of what `BlockView.observe` sees.
        matrices: in the order in which their outputs lie side by side.
        piece: the part of the block that they feed; None for their own outputs.
        absorb: divides what produces the input by scales [K], exactly; returns the scales that it
            really divided by. None where nothing can take them up.
        share: makes entries of [K] equal that `absorb` needs equal.
    """

    input: str
    matrices: tuple[Matrix, ...]
    piece: Piece | None
    absorb: Callable[[Tensor], Tensor] | None
    share: Callable[[Tensor], Tensor] = lambda values: values

    @property
    def names(self) -> str:
        """Its matrices as people name them: "q, k, v"."""
        return ", ".join(matrix.role for matrix in self.matrices)


class BlockView:
    """One block in float32 on a device, read from a checkpoint.

    Args:
        activation_scales: whether the checkpoint to be written can carry a scale behind the
            activation, where the MLP has no second matrix to take it up.
    """

    def __init__(
        self,
        source: Source,
        config: ModelConfig,
        layer: int,
        positions: PositionTables,
        device: torch.device,
        activation_scales: bool = True,
    ) -> None:
        self.config, self.device = config, device
        self.activation_scales = activation_scales
        self.ops = ReferenceOps()
        loader = Loader(source, config, self.ops, "fp32", "fp16")
        self.block: Block = loader.block(layer, positions)
        self.names = {role: loader.prefix(role, layer) for role in config.tensors}
        self.matrices = {matrix.role: matrix for matrix in self._matrices()}
        for matrix in self.matrices.values():
            # A copy, for a float32 checkpoint is mapped read-only.
            matrix.linear.weight = matrix.weight.to(device, torch.float32, copy=True)
            if matrix.linear.bias is not None:
                matrix.linear.bias = matrix.linear.bias.to(device, copy=True)
        for norm in self._norms().values():
            norm.weight = norm.weight.to(device, copy=True)
            if norm.bias is not None:
                norm.bias = norm.bias.to(device, copy=True)
        attention, mlp = self.block.attention, self.block.mlp
        if attention.qk_norm is not None:
            attention.qk_norm = attention.qk_norm.to(device)
        if isinstance(mlp, MLP) and mlp.scale is not None:
            mlp.scale = mlp.scale.to(device)

    # --- structure

    def _matrices(self) -> Iterator[Matrix]:
        config, attention, mlp = self.config, self.block.attention, self.block.mlp
        everything = slice(None)

        def matrix(role: str, linear: AnyLinear, clipped: slice = everything) -> Matrix:
            assert isinstance(linear, Linear)
            return Matrix(role, self.names[role], linear, None, clipped)

        if isinstance(attention.qkv, StackedLinear):
            nothing = slice(0, 0)
            clipped = (nothing, nothing, everything)
            for role, part, rows in zip("qkv", attention.qkv.parts, clipped, strict=True):
                yield matrix(role, part, rows)
        else:
            first_v = (config.num_heads + config.num_kv_heads) * config.head_dim
            qkv = matrix("qkv", attention.qkv, slice(first_v, None))
            qkv.rows = grouped_rows(config)
            yield qkv
        yield matrix("o", attention.out)
        if isinstance(mlp, GatedMLP):
            assert isinstance(mlp.gate_up, StackedLinear)
            for role, part in zip(("gate", "up"), mlp.gate_up.parts, strict=True):
                yield matrix(role, part)
        else:
            yield matrix("up", mlp.up)
        yield matrix("down", mlp.down)

    @property
    def _shared_norm(self) -> bool:
        """Whether both branches read what one norm gives."""
        return self.block.mlp_norm is self.block.attention_norm

    def _norms(self) -> dict[str, Norm]:
        norms = {"attention_norm": self.block.attention_norm}
        if not self._shared_norm:
            norms["mlp_norm"] = self.block.mlp_norm
        return norms

    def groups(self) -> list[Group]:
        """The groups, in the order of the flow of data."""
        norms, matrices = self._norms(), self.matrices
        qkv = [matrices[role] for role in QKV if role in matrices]
        ups = [matrices[role] for role in UPS if role in matrices]
        attention_norm = self._into_norm(norms["attention_norm"])
        if self._shared_norm:
            first = [Group("attention", (*qkv, *ups), self._both_pieces, attention_norm)]
        else:
            mlp_norm = self._into_norm(norms["mlp_norm"])
            first = [
                Group("attention", tuple(qkv), self._attention_piece, attention_norm),
                Group("mlp", tuple(ups), self._mlp_piece, mlp_norm),
            ]
        out = Group("heads", (matrices["o"],), None, self._into_values, self._share_heads)
        down = Group("inner", (matrices["down"],), None, self._inner_absorber())
        return [first[0], out, *first[1:], down]

    # --- running

    def __call__(self, hidden: Tensor) -> Tensor:
        """[T, C] before the block -> [T, C] after it, for one sequence."""
        stream = hidden.clone()
        self.block(stream, self._start(), self._cache(len(hidden)))
        return stream

    def observe(
        self, hidden: list[Tensor], kept: set[int], seen: dict[str, Seen], advance: bool = True
    ) -> None:
        """Run all sequences once and show `seen` what reaches the inputs it has keys for.

        Args:
            hidden: for each sequence [T, C], before the block.
            kept: sequences whose rows are kept.
            advance: put the same behind the block in its place.
        """
        attention, mlp, keep = self.block.attention, self.block.mlp, False

        def shower(key: str) -> Callable[[Tensor], None]:
            return lambda x: seen[key].add(x, keep)

        linears = (attention.qkv, attention.out, mlp.linears[0], mlp.down)
        watched = [
            Watched(self.ops, linear, shower(key)) if key in seen else linear
            for linear, key in zip(linears, INPUTS, strict=True)
        ]
        self._set_linears(watched)
        try:
            for index, sequence in enumerate(hidden):
                keep = index in kept
                behind = self(sequence)
                if advance:
                    hidden[index] = behind
        finally:
            self._set_linears(linears)

    def _set_linears(self, linears: Sequence[AnyLinear]) -> None:
        attention, mlp = self.block.attention, self.block.mlp
        attention.qkv, attention.out, into, mlp.down = linears
        if isinstance(mlp, GatedMLP):
            mlp.gate_up = into
        else:
            mlp.up = into

    def _start(self) -> Tensor:
        return torch.zeros(1, dtype=torch.int32, device=self.device)

    def _cache(self, tokens: int, count: int = 1) -> tuple[Tensor, Tensor]:
        shape = (count * self.config.num_kv_heads, tokens, self.config.head_dim)
        return torch.empty(shape, device=self.device), torch.empty(shape, device=self.device)

    # --- pieces

    def _attention_piece(self, weights: Tensor, x: Tensor) -> Tensor:
        """All candidates at once: their heads stand side by side in one attention."""
        attention, count, tokens = self.block.attention, len(weights), len(x)
        shape, positions = attention.shape, attention.positions
        widths = [n * shape.head_dim for n in (shape.heads, shape.kv_heads, shape.kv_heads)]
        parts = torch.split(
            self._products(weights, x, QKV), widths, dim=-1
        )  # each [A, T, heads · D]
        joined = torch.cat([p.transpose(0, 1).reshape(tokens, -1) for p in parts], dim=-1)
        alibi = None if positions.alibi is None else positions.alibi.repeat(count)
        shape = replace(shape, heads=count * shape.heads, kv_heads=count * shape.kv_heads)
        keys, values = self._cache(tokens, count)
        heads = self.ops.attention(
            joined, keys, values, self._start(), shape, positions.rope, alibi, attention.qk_norm
        )
        return attention.out(heads.view(tokens * count, -1)).view(tokens, count, -1).transpose(0, 1)

    def _mlp_piece(self, weights: Tensor, x: Tensor) -> Tensor:
        into = self._products(weights, x, UPS)
        mlp, rows = self.block.mlp, into.view(-1, into.shape[-1])
        if isinstance(mlp, GatedMLP):
            inner = self.ops.gated_activation(rows, mlp.activation)
        else:
            inner = self.ops.activation(rows, mlp.activation, mlp.scale)
        return mlp.down(inner).view(len(weights), len(x), -1)

    def _both_pieces(self, weights: Tensor, x: Tensor) -> Tensor:
        ups = sum(len(self.matrices[role].weight) for role in UPS if role in self.matrices)
        qkv, up = torch.split(weights, [weights.shape[1] - ups, ups], dim=1)
        return self._attention_piece(qkv, x) + self._mlp_piece(up, x)

    def _products(self, weights: Tensor, x: Tensor, roles: Sequence[str]) -> Tensor:
        """[A, N, K] stacked weights of the roles, [T, K] -> [A, T, N], biases added."""
        linears = [self.matrices[role].linear for role in roles if role in self.matrices]
        out = x @ weights.transpose(1, 2)
        bias = join_biases([one.bias for one in linears], [len(one.weight) for one in linears])
        return out if bias is None else out.add_(bias.to(self.device))

    # --- what takes up a scale

    @staticmethod
    def _into_norm(norm: Norm) -> Callable[[Tensor], Tensor]:
        def absorb(scales: Tensor) -> Tensor:
            # Norms are stored in float16, so the scales are those that give it a float16 weight:
            # then nothing is lost by folding.
            old = norm.weight
            norm.weight = (old / scales).half().float()
            lost = norm.weight.isinf() | ((norm.weight == 0) & (old != 0))
            if bool(lost.any()):  # beyond float16: stored as it is
                norm.weight = old / scales
            exact = torch.where(norm.weight == 0, scales, old / norm.weight)
            if norm.bias is not None:
                norm.bias = norm.bias / exact
            return exact

        return absorb

    def _into_values(self, scales: Tensor) -> Tensor:
        config = self.config
        own = scales.view(config.num_kv_heads, -1, config.head_dim)[:, 0].reshape(-1)
        matrix = self.matrices.get("v") or self.matrices["qkv"]
        rows = slice(len(matrix.weight) - len(own), None)
        _divide_rows(matrix.linear, rows, own)
        return scales

    def _share_heads(self, values: Tensor) -> Tensor:
        """[H·D] -> the same with one value for the query heads that read one value head."""
        parts = values.view(self.config.num_kv_heads, -1, self.config.head_dim)
        return parts.mean(dim=1, keepdim=True).expand_as(parts).reshape(-1)

    def _inner_absorber(self) -> Callable[[Tensor], Tensor] | None:
        mlp = self.block.mlp
        if isinstance(mlp, GatedMLP):
            return self._into_up
        if mlp.activation == "relu":  # it commutes with a positive factor
            return self._into_up
        return self._into_activation if self.activation_scales else None

    def _into_up(self, scales: Tensor) -> Tensor:
        _divide_rows(self.matrices["up"].linear, slice(None), scales)
        return scales

    def _into_activation(self, scales: Tensor) -> Tensor:
        mlp = self.block.mlp
        assert isinstance(mlp, MLP)
        # Stored in float16, too.
        old = 1.0 if mlp.scale is None else 1 / mlp.scale
        new = (old * scales).half().float()
        mlp.scale = 1 / new
        return new / old

    # --- results

    def floats(self) -> dict[str, Tensor]:
        """What stays in floating point: norms, biases and activation scales, by their names in the
        checkpoint.
        """
        out = {}
        for role, norm in self._norms().items():
            out[f"{self.names[role]}.weight"] = norm.weight
            if norm.bias is not None:
                out[f"{self.names[role]}.bias"] = norm.bias
        for matrix in self.matrices.values():
            if matrix.linear.bias is not None:
                out[f"{matrix.name}.bias"] = in_file_order(matrix, matrix.linear.bias)
        qk_norm, mlp = self.block.attention.qk_norm, self.block.mlp
        if qk_norm is not None:
            out[f"{self.names['q_norm']}.weight"] = qk_norm.q
            out[f"{self.names['k_norm']}.weight"] = qk_norm.k
        if isinstance(mlp, MLP) and mlp.scale is not None:
            out[f"{self.names['act']}.scales"] = 1 / mlp.scale
        return {name: tensor.cpu() for name, tensor in out.items()}


def in_file_order(matrix: Matrix, rows: Tensor) -> Tensor:
    """Rows in our order -> in the checkpoint's."""
    if matrix.rows is None:
        return rows
    return rows[torch.argsort(matrix.rows).to(rows.device)]


def _divide_rows(linear: Linear, rows: slice, scales: Tensor) -> None:
    linear.weight[rows] /= scales[:, None]
    if linear.bias is not None:
        linear.bias[rows] /= scales

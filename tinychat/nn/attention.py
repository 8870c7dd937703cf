"""Self-attention: one projection in, one op that rotates, caches and attends, one projection
out.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tinychat.kernels import AttentionShape, Norm, Ops, QKNorm
from tinychat.nn.linear import AnyLinear


@dataclass(frozen=True)
class PositionTables:
    """How positions enter attention, shared by all layers: rotation tables, ALiBi slopes, or
    neither.

    Attributes:
        rope: (cos, sin), each [S, R/2] float32.
        alibi: [H] float32 slopes, already multiplied by whatever factor the family applies.
    """

    rope: tuple[Tensor, Tensor] | None
    alibi: Tensor | None


class Attention:
    """`qkv` projects to [T, (H + 2G)·D], the heads of q, then k, then v; `out` projects [T, H·D]
    to [T, C].
    """

    def __init__(
        self,
        ops: Ops,
        qkv: AnyLinear,
        out: AnyLinear,
        shape: AttentionShape,
        positions: PositionTables,
        qk_norm: QKNorm | None = None,
    ) -> None:
        self.ops, self.qkv, self.out = ops, qkv, out
        self.shape, self.positions, self.qk_norm = shape, positions, qk_norm

    def heads(
        self, x: Tensor, norm: Norm | None, start: Tensor, cache: tuple[Tensor, Tensor]
    ) -> Tensor:
        """x [T, C], normalized first, -> what `out` reads, [T, H·D]."""
        keys, values = cache
        return self.ops.attention(
            self.qkv(x, norm=norm),
            keys,
            values,
            start,
            self.shape,
            self.positions.rope,
            self.positions.alibi,
            self.qk_norm,
        )

    @property
    def linears(self) -> tuple[AnyLinear, ...]:
        return self.qkv, self.out

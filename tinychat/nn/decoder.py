"""The decoder: the only forward pass, for every family.

The residual stream is float32. Every branch begins with a product that normalizes the stream on its
way in, and ends with one that adds its result to it: four products and an attention make a block
(and an activation, where no gate takes it along).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tinychat.cache import KVCache
from tinychat.kernels import Norm, Ops
from tinychat.nn.attention import Attention
from tinychat.nn.head import Head
from tinychat.nn.linear import AnyLinear
from tinychat.nn.mlp import MLP, GatedMLP

LayerCache = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Block:
    """stream += attention(norm(stream)); stream += mlp(norm'(stream)).

    Attributes:
        parallel: both branches read the stream as it was before the block (Falcon).
    """

    attention_norm: Norm
    attention: Attention
    mlp_norm: Norm
    mlp: GatedMLP | MLP
    parallel: bool = False

    def __call__(self, stream: Tensor, start: Tensor, cache: LayerCache) -> None:
        """Change stream [T, C] in place; the rest as for `Decoder.hidden`."""
        heads = self.attention.heads(stream, self.attention_norm, start, cache)
        if not self.parallel:
            self.attention.out(heads, residual=stream)
        inner = self.mlp.inner(stream, self.mlp_norm)
        if self.parallel:
            self.attention.out(heads, residual=stream)
        self.mlp.down(inner, residual=stream)


class Decoder:
    """Token ids in, hidden states or logits out; the cache is written, its length is the engine's
    to change.
    """

    def __init__(
        self,
        ops: Ops,
        embedding: Tensor,
        blocks: Sequence[Block],
        norm: Norm,
        head: Head,
    ) -> None:
        self.ops, self.embedding, self.blocks, self.norm, self.head = (
            ops,
            embedding,
            blocks,
            norm,
            head,
        )

    @property
    def linears(self) -> tuple[AnyLinear | Head, ...]:
        """Every linear layer, the head last."""
        blocks = [linear for b in self.blocks for linear in (*b.attention.linears, *b.mlp.linears)]
        return (*blocks, self.head)

    @property
    def nbytes(self) -> int:
        """Bytes of weight that one decoded token reads (of the embedding, only a row)."""
        return sum(linear.nbytes for linear in self.linears)

    @property
    def held_bytes(self) -> int:
        """Bytes of weight in memory, the embedding aside."""
        return sum(linear.held_bytes for linear in self.linears)

    @property
    def can_record(self) -> bool:
        """Whether a step is made of nothing that a recording would miss."""
        if not self.ops.can_record:
            return False
        return self.ops.records_torch or all(linear.native for linear in self.linears)

    @property
    def rows_are_alone(self) -> bool:
        """Whether a token's row is the same to the last bit, whatever is evaluated with it: torch
        adds up a few rows in another order than one.
        """
        return all(linear.native for linear in self.linears)

    def hidden(self, ids: Tensor, start: Tensor, cache: KVCache) -> Tensor:
        """Evaluate T tokens that stand at positions start, start + 1, …

        Args:
            ids: [T] int32, T >= 1.
            start: [1] int32, or [T] for rows that do not depend on T; see `Ops.attention`.
            cache: its positions before `start` are read, the T from `start` on are written.
        Returns: [T, C] float32, after the final norm.
        """
        stream = self.ops.embedding(ids, self.embedding)
        for index, block in enumerate(self.blocks):
            block(stream, start, cache.layer(index))
        return self.ops.norm(stream, self.norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """[T, C] hidden states -> [T, V] float32."""
        return self.head(hidden)

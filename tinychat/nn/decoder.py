"""The decoder: the only forward pass, for every family.

The residual stream is float32. A branch's output is not added where it is made: it is handed to
the next norm, which adds it to the stream and normalizes the sum in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tinychat.cache import KVCache
from tinychat.kernels import Ops
from tinychat.nn.attention import Attention
from tinychat.nn.linear import AnyLinear
from tinychat.nn.mlp import MLP, GatedMLP
from tinychat.nn.norm import Norm

LayerCache = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SequentialBlock:
    """stream += attention(norm(stream)); stream += mlp(norm(stream))."""

    attention_norm: Norm
    attention: Attention
    mlp_norm: Norm
    mlp: GatedMLP | MLP

    def __call__(
        self, stream: Tensor, branch: Tensor | None, start: Tensor, cache: LayerCache
    ) -> Tensor:
        x = normalize(self.attention_norm, stream, branch)
        x = self.mlp_norm(self.attention(x, start, cache), stream)
        return self.mlp(x)


@dataclass(frozen=True)
class ParallelBlock:
    """stream += attention(norm(stream)) + mlp(norm'(stream)); `mlp_norm` None shares the
    attention's norm.
    """

    ops: Ops
    attention_norm: Norm
    attention: Attention
    mlp_norm: Norm | None
    mlp: GatedMLP | MLP

    def __call__(
        self, stream: Tensor, branch: Tensor | None, start: Tensor, cache: LayerCache
    ) -> Tensor:
        x = normalize(self.attention_norm, stream, branch)
        y = self.mlp_norm(stream) if self.mlp_norm else x
        return self.ops.add(self.attention(x, start, cache), self.mlp(y))


Block = SequentialBlock | ParallelBlock


def normalize(norm: Norm, stream: Tensor, branch: Tensor | None) -> Tensor:
    """norm(stream), after the pending branch, if there is one, has been added to it."""
    return norm(stream) if branch is None else norm(branch, stream)


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
        head: AnyLinear,
    ) -> None:
        self.ops, self.embedding, self.blocks, self.norm, self.head = (
            ops,
            embedding,
            blocks,
            norm,
            head,
        )

    @property
    def linears(self) -> tuple[AnyLinear, ...]:
        """Every linear layer, the head last."""
        blocks = [linear for b in self.blocks for linear in (*b.attention.linears, *b.mlp.linears)]
        return (*blocks, self.head)

    @property
    def nbytes(self) -> int:
        """Bytes of weight that one decoded token reads (of the embedding, only a row)."""
        return sum(linear.nbytes for linear in self.linears)

    @property
    def can_record(self) -> bool:
        """Whether a step is made of recordable ops alone."""
        return self.ops.can_record and all(linear.native for linear in self.linears)

    def hidden(self, ids: Tensor, start: Tensor, cache: KVCache) -> Tensor:
        """Evaluate T tokens that stand at positions start, start + 1, …

        Args:
            ids: [T] int32, T >= 1.
            start: [1] int32, or [T] for rows that do not depend on T; see `Ops.attention`.
            cache: its positions before `start` are read, the T from `start` on are written.
        Returns: [T, C] float32, after the final norm.
        """
        stream = self.ops.embedding(ids, self.embedding)
        branch: Tensor | None = None
        for index, block in enumerate(self.blocks):
            branch = block(stream, branch, start, cache.layer(index))
        return normalize(self.norm, stream, branch)

    def logits(self, hidden: Tensor) -> Tensor:
        """[T, C] hidden states -> [T, V] float32."""
        return self.head(hidden)

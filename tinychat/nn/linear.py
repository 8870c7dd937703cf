"""Linear layers over float and low-bit weights: the same call, so the decoder never asks which one
it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tinychat.kernels import Ops, PackedWeight


class AnyLinear(Protocol):
    """What the decoder calls: [T, K] float32 -> [T, N] float32."""

    native: bool  # runs through `Ops` alone, so that a decode step can be recorded

    def __call__(self, x: Tensor) -> Tensor: ...

    @property
    def nbytes(self) -> int:
        """Bytes of weight that one call reads."""
        ...


class Linear:
    """A float weight [N, K], multiplied by torch in the weight's own dtype: the honest
    full-precision baseline.
    """

    native = False

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = None if bias is None else bias.to(weight.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        out = torch.nn.functional.linear(x.to(self.weight.dtype), self.weight, self.bias)
        return out.to(torch.float32)

    @property
    def nbytes(self) -> int:
        return self.weight.numel() * self.weight.element_size()


class StackedLinear:
    """Several layers over one input, their outputs side by side.

    Float parts stay where they are, in the mapped file: joining them into one matrix would be a
    second copy of most of the model in memory. Low-bit parts come here if they differ in more than
    their rows.
    """

    native = False  # torch.cat cannot be recorded

    def __init__(self, parts: Sequence[AnyLinear]) -> None:
        self.parts = parts

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=-1)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)


class LinearLowBit:
    """A packed weight of 2, 3, 4 or 8 bits, multiplied by the kernels that packed it.

    Args:
        order: [K] int32, `LowBitWeight.order` of the weight that was packed: its column j belongs
            to input order[j]. None for the natural order.
    """

    native = True

    def __init__(
        self,
        ops: Ops,
        weight: PackedWeight,
        bias: Tensor | None = None,
        order: Tensor | None = None,
    ) -> None:
        self.ops, self.weight, self.order = ops, weight, order
        self.bias = None if bias is None else bias.to(torch.float32)

    def __call__(self, x: Tensor) -> Tensor:
        if self.order is not None:
            x = self.ops.take_columns(x, self.order)
        return self.ops.matmul(x, self.weight, self.bias)

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes

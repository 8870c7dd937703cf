"""Linear layers over float and low-bit weights: the same call, so the decoder never asks which one
it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tinychat.kernels import Activation, Norm, Ops, PackedWeight


class AnyLinear(Protocol):
    """What the decoder calls. A product comes with what stands right before and right after it,
    because kernels do all of that in one pass; see `Ops.matmul`.
    """

    native: bool  # runs through `Ops` alone, so that a decode step can be recorded

    def __call__(
        self,
        x: Tensor,
        *,
        norm: Norm | None = None,
        gate: Activation | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        """[T, K] float32 -> [T, N] float32.

        Args:
            norm: x is normalized first.
            gate: the result becomes act(its first half) · its second half, [T, N / 2].
            residual: [T, N], to which the result is added in place; it is what is returned.
        """
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of weight that one call reads."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes of weight in memory: the same, but for a head in two stages."""
        ...


class StepwiseLinear:
    """A layer that is no single op: norm, product, gate and sum one after the other."""

    native = False  # torch's ops cannot be recorded

    def __init__(self, ops: Ops) -> None:
        self.ops = ops

    def __call__(
        self,
        x: Tensor,
        *,
        norm: Norm | None = None,
        gate: Activation | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        out = self.product(x if norm is None else self.ops.norm(x, norm))
        if gate is not None:
            out = self.ops.gated_activation(out, gate)
        return out if residual is None else residual.add_(out)

    def product(self, x: Tensor) -> Tensor:
        """[T, K] -> [T, N]."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        raise NotImplementedError

    @property
    def held_bytes(self) -> int:
        return self.nbytes


class Linear(StepwiseLinear):
    """A float weight [N, K], multiplied by torch in the weight's own dtype: the honest
    full-precision baseline. Layers bring their tensors to where the ops are.
    """

    def __init__(self, ops: Ops, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(ops)
        self.weight = weight.to(ops.device)
        self.bias = None if bias is None else bias.to(ops.device, weight.dtype)

    def product(self, x: Tensor) -> Tensor:
        out = torch.nn.functional.linear(x.to(self.weight.dtype), self.weight, self.bias)
        return out.to(torch.float32)

    @property
    def nbytes(self) -> int:
        return self.weight.numel() * self.weight.element_size()


class StackedLinear(StepwiseLinear):
    """Several layers over one input, their outputs side by side.

    Float parts stay where they are, in the mapped file: joining them into one matrix would be a
    second copy of most of the model in memory. Low-bit parts come here if they differ in more than
    their rows.
    """

    def __init__(self, ops: Ops, parts: Sequence[AnyLinear]) -> None:
        super().__init__(ops)
        self.parts = parts

    def product(self, x: Tensor) -> Tensor:
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
        self.ops, self.weight = ops, weight
        self.order = None if order is None else order.to(ops.device)
        self.bias = None if bias is None else bias.to(ops.device, torch.float32)

    def __call__(
        self,
        x: Tensor,
        *,
        norm: Norm | None = None,
        gate: Activation | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        return self.ops.matmul(
            x, self.weight, self.bias, norm=norm, order=self.order, gate=gate, residual=residual
        )

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes

    @property
    def held_bytes(self) -> int:
        return self.nbytes

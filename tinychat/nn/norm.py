"""The two normalizations. Called with a residual stream, they first add their input to it, in
place.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from tinychat.kernels import Ops


class Norm(Protocol):
    """[T, C] -> [T, C]. `norm(branch, residual)` is residual += branch, then norm(residual)."""

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor: ...


class RMSNorm:
    """x / rms(x) · weight."""

    def __init__(self, ops: Ops, weight: Tensor, eps: float) -> None:
        self.ops, self.weight, self.eps = ops, weight, eps

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.ops.rms_norm(x, self.weight, self.eps, residual)


class LayerNorm:
    """(x - mean) / std · weight + bias."""

    def __init__(self, ops: Ops, weight: Tensor, bias: Tensor | None, eps: float) -> None:
        self.ops, self.weight, self.bias, self.eps = ops, weight, bias, eps

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.ops.layer_norm(x, self.weight, self.bias, self.eps, residual)

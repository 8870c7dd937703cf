"""The two feed-forward forms: gated (Llama, Mistral) and plain (Falcon)."""

from __future__ import annotations

from torch import Tensor

from tinychat.kernels import Activation, Norm, Ops
from tinychat.nn.linear import AnyLinear


class GatedMLP:
    """down(act(gate(x)) · up(x)), with gate and up in one matrix [2F, C]."""

    def __init__(self, gate_up: AnyLinear, down: AnyLinear, activation: Activation) -> None:
        self.gate_up, self.down, self.activation = gate_up, down, activation

    def inner(self, x: Tensor, norm: Norm | None = None) -> Tensor:
        """x [T, C], normalized first, -> what `down` reads, [T, F]."""
        return self.gate_up(x, norm=norm, gate=self.activation)

    @property
    def linears(self) -> tuple[AnyLinear, ...]:
        return self.gate_up, self.down


class MLP:
    """down(act(up(x)) · scale), with scale [F] float32, or None for 1."""

    def __init__(
        self,
        ops: Ops,
        up: AnyLinear,
        down: AnyLinear,
        activation: Activation,
        scale: Tensor | None = None,
    ) -> None:
        self.ops, self.up, self.down, self.activation = ops, up, down, activation
        self.scale = None if scale is None else scale.to(ops.device)

    def inner(self, x: Tensor, norm: Norm | None = None) -> Tensor:
        """x [T, C], normalized first, -> what `down` reads, [T, F]."""
        return self.ops.activation(self.up(x, norm=norm), self.activation, self.scale)

    @property
    def linears(self) -> tuple[AnyLinear, ...]:
        return self.up, self.down

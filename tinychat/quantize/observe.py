"""What reaches the inputs of linear layers while calibration text runs through a block."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tinychat.kernels import Ops
from tinychat.nn.linear import AnyLinear, StepwiseLinear


class Seen:
    """Statistics of one input, gathered in one pass.

    Attributes:
        tokens: how many rows were seen.
        rows: the rows that were kept, one [T, K] float32 for each kept sequence.
    """

    def __init__(self, k: int, block: int, device: torch.device) -> None:
        """
        Args:
            k: K, the width of the input.
            block: W, inputs whose products with each other are summed; 0 for none, K for all.
        """
        self.tokens = 0
        self.rows: list[Tensor] = []
        self._sum = torch.zeros(k, device=device)
        self._gram = torch.zeros(k // block, block, block, device=device) if block else None

    def add(self, x: Tensor, keep: bool) -> None:
        """Take in the rows of one sequence, x [T, K] float32."""
        self.tokens += len(x)
        self._sum += x.abs().sum(dim=0)
        if self._gram is not None:
            blocks = x.view(len(x), *self._gram.shape[:2]).permute(1, 2, 0)  # [K/W, W, T]
            self._gram.baddbmm_(blocks, blocks.transpose(1, 2))
        if keep:
            self.rows.append(x.clone())

    @property
    def magnitudes(self) -> Tensor:
        """Mean of |x| per input, [K]."""
        return self._sum / max(self.tokens, 1)

    def gram(self, width: int) -> Tensor | None:
        """Mean of x xᵀ inside groups of so many inputs, [K / width, width, width]; None where it
        was not gathered.
        """
        if self._gram is None or self._gram.shape[1] % width:
            return None
        blocks, w = self._gram.shape[:2]
        parts = self._gram.view(blocks, w // width, width, w // width, width)
        own = torch.diagonal(parts, dim1=1, dim2=3)  # [K/W, width, width, W/width]
        return own.permute(0, 3, 1, 2).reshape(-1, width, width) / max(self.tokens, 1)

    def divide(self, scales: Tensor) -> None:
        """Turn what was seen of x into what would have been seen of x / scales."""
        self._sum /= scales
        for rows in self.rows:
            rows /= scales
        if self._gram is not None:
            parts = scales.view(self._gram.shape[0], -1)
            self._gram /= parts.unsqueeze(1)
            self._gram /= parts.unsqueeze(2)

    def error(self, difference: Tensor) -> Tensor:
        """Mean over tokens of |x · differenceᵀ|², summed over outputs.

        Args:
            difference: [..., N, K], what a weight is off by.
        Returns: [...].
        """
        kept = sum(len(rows) for rows in self.rows)
        gram = self.gram(difference.shape[-1]) if kept >= difference.shape[-1] else None
        if gram is not None:
            return (difference @ gram[0]).mul_(difference).sum(dim=(-2, -1))
        total = torch.zeros(difference.shape[:-2], device=difference.device)
        for rows in self.rows:
            total += (difference @ rows.t()).square_().sum(dim=(-2, -1))
        return total / max(1, kept)

    @property
    def finite(self) -> bool:
        """Whether rows were seen and all sums over them are numbers."""
        sums = [self._sum]
        if self._gram is not None:  # no product of two inputs is above both of their squares
            sums.append(torch.diagonal(self._gram, dim1=1, dim2=2))
        return bool(self.tokens) and all(bool(torch.isfinite(s).all()) for s in sums)

    def fault(self) -> str | None:
        """Why nothing can be learned from this input; None if something can."""
        if not self.tokens:
            return "no tokens reached it"
        if not self.finite:
            return "its activations are not finite"
        dead = int((self._sum == 0).sum())
        return f"{dead} of its channels are always zero" if dead else None


class Watched(StepwiseLinear):
    """A linear layer that shows its inputs to somebody before it works as before."""

    def __init__(self, ops: Ops, linear: AnyLinear, show: Callable[[Tensor], None]) -> None:
        super().__init__(ops)
        self.linear, self.show = linear, show

    def product(self, x: Tensor) -> Tensor:
        self.show(x)
        return self.linear(x)

    @property
    def nbytes(self) -> int:
        return self.linear.nbytes

    @property
    def held_bytes(self) -> int:
        return self.linear.held_bytes

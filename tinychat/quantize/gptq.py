"""GPTQ: round one input column after the other, and let the columns that are still to come make
up for the error.

Source: Frantar et al., "GPTQ", arXiv 2210.17323: the Cholesky form of its section 3.3, act-order
and static groups as its reference code has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tinychat.quantize.format import LowBitWeight
from tinychat.quantize.grid import Grid


class SingularHessianError(ArithmeticError):
    """The activations that were seen leave no inverse to hand errors on by."""


# Columns whose errors are handed on together; inside, one at a time.
_BLOCK = 128
_MOST_DAMPING = 1.0


@dataclass(frozen=True)
class Order:
    """How columns are rounded in their order: those of large activations first, while most others
    can still make up for them.

    Attributes:
        damping: share of the mean of the Hessian's diagonal that is added to it.
        static_groups: the grids are chosen before anything is rounded, and a column keeps the group
            of its place. Otherwise a group is made of columns that are rounded one after the other,
            and the weight carries their order.
    """

    damping: float = 0.01
    static_groups: bool = True


def round_with_feedback(
    weight: Tensor,
    gram: Tensor,
    grid: Grid,
    order: Order = Order(),
    name: str = "weight",
    limits: Tensor | None = None,
) -> LowBitWeight:
    """Round a matrix so that its outputs, not its weights, stay close.

    Args:
        weight: [N, K] float32.
        gram: [K, K] float32, mean of x xᵀ over calibration tokens, finite.
        limits: [N, K / Q], the largest magnitude that a group's grid spans; then grids are static.
    Raises: as `round_to_nearest`; SingularHessianError.
    """
    n, k = weight.shape
    width = grid.width(k, name)
    weight = weight.clone()
    place = torch.argsort(gram.diagonal(), descending=True, stable=True)
    # A grid is fitted when its group comes up, to what the weights have become by then.
    moved = not order.static_groups and limits is None
    group_of = ((torch.arange(k) if moved else place.cpu()) // width).tolist()
    scales = torch.empty(n, k // width, device=weight.device)
    zeros = torch.empty_like(scales)
    if not moved:
        scales, zeros = _grids(weight.view(n, -1, width), limits, grid, name)

    weight = weight[:, place]
    factor = inverse_factor(gram[place][:, place], order.damping)
    if factor is None:
        raise SingularHessianError(f"{name}: its Hessian has no inverse under any damping")
    codes = torch.empty(n, k, dtype=torch.uint8, device=weight.device)
    for begin in range(0, k, _BLOCK):
        end = min(begin + _BLOCK, k)
        errors = torch.empty(n, end - begin, device=weight.device)
        for j in range(begin, end):
            g = group_of[j]
            if moved and j % width == 0:
                fitted = _grids(weight[:, None, j : j + width], None, grid, name)
                scales[:, g], zeros[:, g] = fitted[0][:, 0], fitted[1][:, 0]
            scale, zero = scales[:, g], zeros[:, g]
            column = weight[:, j]
            code = grid.encode(column, scale, zero)
            codes[:, j] = code.to(torch.uint8)
            error = (column - (code - zero) * scale) / factor[j, j]
            weight[:, j + 1 : end] -= error[:, None] * factor[j, j + 1 : end]
            errors[:, j - begin] = error
        weight[:, end:] -= errors @ factor[begin:end, end:]

    if moved:
        kept_order = place.to(torch.int32).cpu()
    else:
        codes, kept_order = codes[:, torch.argsort(place)], None
    return LowBitWeight(
        codes.cpu(),
        scales.half().cpu(),
        zeros.to(torch.uint8).cpu(),
        grid.bits,
        width,
        order=kept_order,
    )


def _grids(groups: Tensor, limits: Tensor | None, grid: Grid, name: str) -> tuple[Tensor, Tensor]:
    """[N, G, Q] -> scales and zeros, [N, G] each."""
    if limits is not None:
        most = limits.unsqueeze(-1)
        groups = groups.clamp(-most, most)
    scales, zeros = grid.fit(groups, name)
    return scales.squeeze(-1), zeros.squeeze(-1)


def inverse_factor(gram: Tensor, damping: float) -> Tensor | None:
    """Upper Cholesky factor of the inverse of the damped Hessian, [K, K].

    Few tokens make the Hessian singular; then the damping grows until it is not.

    Args:
        gram: changed.
    Returns: None if no damping helps.
    """
    mean = max(float(gram.diagonal().mean()), 1e-12)
    added = 0.0
    while damping <= _MOST_DAMPING:
        gram.diagonal().add_((damping - added) * mean)
        added = damping
        lower, failed = torch.linalg.cholesky_ex(gram)
        if not int(failed):
            inverse = torch.cholesky_inverse(lower)
            del lower
            factor: Tensor
            factor, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            if not int(failed):
                return factor
        damping *= 10
    return None

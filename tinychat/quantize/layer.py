"""One block from floating point to integers: scale, clip, round, and say what it cost.

The four methods are the same walk with some steps left out: RTN rounds; GPTQ rounds with feedback;
AWQ scales, clips and rounds; AWQ+GPTQ scales, clips and rounds with feedback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from tinychat.config import ModelConfig
from tinychat.errors import ArgumentError
from tinychat.quantize.awq import CANDIDATE_BUDGET, search_clips, search_scales
from tinychat.quantize.block import BlockView, Group, Matrix, Piece
from tinychat.quantize.format import LowBitWeight, dequantize
from tinychat.quantize.gptq import (
    Order,
    SingularHessianError,
    inverse_factor,
    round_with_feedback,
)
from tinychat.quantize.grid import WHOLE_ROW, Grid
from tinychat.quantize.observe import Seen
from tinychat.quantize.rtn import round_to_nearest

METHODS = ("awq", "gptq", "rtn", "awq+gptq")
# Up to this many inputs, the products of all of them with each other are summed (16 MB); above,
# only those inside groups, where nobody asks for more.
_WIDE = 2048
# Numbers that a batch of candidates may put between the matrices of a piece: scores and products.
_PIECE_BUDGET = 1 << 23


@dataclass(frozen=True)
class Settings:
    """What decides the result, beside the model and the text.

    Attributes:
        method: one of `METHODS`.
        clip: whether AWQ clips ranges after scaling.
        sequential: whether a block is calibrated on what the quantized blocks before it give,
            instead of the float ones.
    Raises: ArgumentError for an order that the method cannot have.
    """

    method: str = "awq"
    grid: Grid = field(default_factory=Grid)
    clip: bool = True
    order: Order = field(default_factory=Order)
    sequential: bool = False

    def __post_init__(self) -> None:
        clipped = self.scales and self.clip
        if self.act_order and (clipped or not self.feedback):
            raise ArgumentError(
                "--act-order (act_order) is for --method gptq, or awq+gptq with --no-clip "
                "(clip=False): clipped ranges belong to groups in their natural order"
            )

    @property
    def scales(self) -> bool:
        return self.method in ("awq", "awq+gptq")

    @property
    def feedback(self) -> bool:
        return self.method in ("gptq", "awq+gptq")

    @property
    def looks(self) -> bool:
        """Whether the method looks at activations."""
        return self.method != "rtn"

    @property
    def act_order(self) -> bool:
        """Whether groups are made in the order of rounding, so that the weight carries it."""
        return not self.order.static_groups

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for metadata."""
        return asdict(self)


@dataclass
class GroupReport:
    """What became of the matrices of one input.

    Attributes:
        input: key of `block.INPUTS`.
        loss_rtn: relative error of the matrices' outputs by plain rounding; of the weights where no
            finite activations were seen.
        loss: the same as quantized.
        alpha, duo: of the scales; None where there are none.
        fallback: why the group was rounded to nearest instead.
    """

    input: str
    loss_rtn: float = 0.0
    loss: float = 0.0
    alpha: float | None = None
    duo: bool | None = None
    fallback: str | None = None


def new_statistics(
    view: BlockView, settings: Settings, kept_float: Sequence[str] = ()
) -> dict[str, Seen]:
    """Empty statistics of every input that a matrix to be rounded reads."""
    seen = {}
    for group in view.groups():
        if not _rounded(group, kept_float):
            continue
        k = group.matrices[0].weight.shape[1]
        seen[group.input] = Seen(k, _gram_block(k, settings), view.device)
    return seen


def quantize_block(
    view: BlockView,
    seen: dict[str, Seen],
    settings: Settings,
    kept_float: Sequence[str] = (),
    on_step: Callable[[str], None] = lambda what: None,
) -> tuple[dict[str, LowBitWeight], list[GroupReport]]:
    """Quantize the matrices of a block; its norms and biases take up the scales.

    Args:
        view: changed: its matrices become the values that their integers stand for.
        seen: of each input, from `BlockView.observe`; empty for method "rtn".
        kept_float: roles that are scaled but not rounded.
        on_step: called with what is about to be done.
    Returns: module name -> weight, rows in the order of `view`; and a report for each group.
    """
    groups = [group for group in view.groups() if _rounded(group, kept_float)]
    reports = {group.input: GroupReport(group.input) for group in groups}
    for group in groups:
        report = reports[group.input]
        if settings.looks:
            report.fallback = seen[group.input].fault() or _constant(group)
    before = {
        g.input: _plain_errors(_rounded(g, kept_float), seen.get(g.input), settings.grid)
        for g in groups
    }
    if settings.scales:
        for group in groups:
            if reports[group.input].fallback is None:
                on_step(f"scales of {group.names}")
                _scale(group, seen[group.input], settings.grid, reports[group.input])
    weights: dict[str, LowBitWeight] = {}
    for group in groups:
        report, own = reports[group.input], seen.get(group.input)
        error = size = 0.0
        for matrix in _rounded(group, kept_float):
            on_step(f"rounding {matrix.role}")
            plain = Settings("rtn", settings.grid)
            try:
                rounded = _round(matrix, own, settings if report.fallback is None else plain)
            except SingularHessianError as problem:
                report.fallback = str(problem)
                rounded = _round(matrix, own, plain)
            weights[matrix.name] = rounded
            value = dequantize(rounded).to(view.device)
            off, whole = _relative(matrix.weight, value, own)
            error, size = error + off, size + whole
            matrix.linear.weight = value
        report.loss_rtn = before[group.input]
        report.loss = error / size if size else 0.0
    return weights, list(reports.values())


def _rounded(group: Group, kept_float: Sequence[str]) -> list[Matrix]:
    """Those of a group's matrices that are to be rounded."""
    return [matrix for matrix in group.matrices if matrix.role not in kept_float]


def _constant(group: Group) -> str | None:
    for matrix in group.matrices:
        least, most = torch.aminmax(matrix.weight)
        if float(least) == float(most):
            return f"all weights of {matrix.name} are {float(least):g}"
    return None


def _scale(group: Group, seen: Seen, grid: Grid, report: GroupReport) -> None:
    """Search the scales of a group and fold them, where something can take them up."""
    if group.absorb is None:
        return
    stacked = torch.cat([matrix.weight for matrix in group.matrices])

    def output_error(candidates: Tensor) -> Tensor:
        if group.piece is None:
            return seen.error(candidates - stacked)
        return _piece_errors(group.piece, candidates, stacked, seen.rows)

    found = search_scales(stacked, seen, grid, output_error, group.share)
    report.alpha, report.duo = found.alpha, found.duo
    exact = group.absorb(found.scales)
    for matrix in group.matrices:
        matrix.linear.weight *= exact
    seen.divide(exact)


def _piece_errors(
    piece: Piece, candidates: Tensor, exact: Tensor, rows: Sequence[Tensor]
) -> Tensor:
    """[A, N, K] candidates for the weights [N, K] -> [A] mean squared errors of the piece."""
    errors = torch.zeros(len(candidates), device=candidates.device)
    for x in rows:
        right = piece(exact.unsqueeze(0), x)
        at_once = max(1, _PIECE_BUDGET // (len(x) * (len(x) + exact.shape[0])))
        wrong = [piece(some, x) for some in torch.split(candidates, at_once)]
        errors += (torch.cat(wrong) - right).square_().sum(dim=(1, 2))
    return errors / max(1, sum(len(x) for x in rows))


def _round(matrix: Matrix, seen: Seen | None, settings: Settings) -> LowBitWeight:
    weight, grid = matrix.weight, settings.grid
    limits = None
    if settings.scales and settings.clip:
        assert seen is not None
        groups = weight.view(len(weight), -1, grid.width(weight.shape[1], matrix.name))
        limits = groups.abs().amax(dim=-1)
        if weight[matrix.clipped].numel():
            limits[matrix.clipped] = search_clips(weight[matrix.clipped], seen, grid)
    if not settings.feedback:
        return round_to_nearest(weight.cpu(), grid, matrix.name, _cpu(limits))
    assert seen is not None
    gram = seen.gram(weight.shape[1])
    assert gram is not None
    return round_with_feedback(weight, gram[0], grid, settings.order, matrix.name, limits)


def _cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.cpu()


def _plain_errors(matrices: Sequence[Matrix], seen: Seen | None, grid: Grid) -> float:
    """Relative error that plain rounding makes in the outputs of matrices with one input."""
    error = size = 0.0
    for matrix in matrices:
        n, k = matrix.weight.shape
        groups = matrix.weight.view(n, -1, grid.width(k, matrix.name))
        rounded = grid.round(groups, matrix.name).view(n, k)
        off, whole = _relative(matrix.weight, rounded, seen)
        error, size = error + off, size + whole
    return error / size if size else 0.0


def _relative(exact: Tensor, value: Tensor, seen: Seen | None) -> tuple[float, float]:
    """Squared error and squared size: of outputs where activations are known, else of weights."""
    if seen is None or not seen.finite:
        return float((value - exact).square().sum()), float(exact.square().sum())
    return float(seen.error(value - exact)), float(seen.error(exact))


def kept_sequences(lengths: Sequence[int], width: int) -> set[int]:
    """Which sequences are searched on: evenly spread, 4096 tokens in all, for wide models 2048.

    A search runs a piece of the block 26 times, so the tokens it sees bound its cost; statistics
    are of all of them.

    Args:
        lengths: of the sequences, in tokens.
        width: C of the model.
    """
    budget = min(max(2048, (1 << 23) // width), 4096)
    total = sum(lengths)
    if total <= budget:
        return set(range(len(lengths)))
    step = total / budget
    kept, at = set(), 0.0
    while round(at) < len(lengths):
        kept.add(round(at))
        at += step
    return kept


def working_bytes(config: ModelConfig, settings: Settings, lengths: Sequence[int]) -> int:
    """Memory that quantizing one block after the other takes beside what the files are mapped to.

    Args:
        lengths: of the calibration sequences, in tokens.
    """
    shapes = list(config.block_matrices().values())
    inputs = {role: k for role, (_, k) in config.block_matrices().items()}
    kept = kept_sequences(lengths, config.hidden_size)
    rows = sum(lengths[i] for i in kept)
    widths = [config.hidden_size, inputs["o"], config.hidden_size, inputs["down"]]
    looked_at = widths if settings.looks else []
    block = sum(n * k for n, k in shapes)
    numbers = block + max(n * k for n, k in shapes)  # the block, one matrix being rounded
    numbers += sum(lengths) * config.hidden_size  # hidden states
    numbers += rows * sum(looked_at)
    numbers += sum(k * _gram_block(k, settings) for k in looked_at)
    # What is rounded, its value and their difference: of all that reads one input at most.
    widest = max(sum(n for n, k in shapes if k == w) * w for w in widths)
    numbers += 3 * max(widest, CANDIDATE_BUDGET if settings.scales else 0)
    if settings.scales:
        numbers += 2 * _PIECE_BUDGET
    if settings.feedback:
        numbers += 3 * max(widths) ** 2  # the Hessian on its way to the factor of its inverse
    return 4 * numbers


def _gram_block(k: int, settings: Settings) -> int:
    """Inputs whose products with each other are summed, of K; see `Seen`."""
    if settings.feedback or k <= _WIDE:
        return k
    width = k if settings.grid.group_size == WHOLE_ROW else settings.grid.group_size
    return width if width <= _WIDE else 0


def trial(config: ModelConfig, settings: Settings, device: torch.device) -> None:
    """Take the largest steps of a block once, on numbers that mean nothing.

    Raises: what torch raises where memory is short.
    """
    n, k = max(config.block_matrices().values(), key=lambda shape: shape[0] * shape[1])
    weight = torch.linspace(-1, 1, k, device=device).repeat(n, 1)
    if settings.feedback:
        wide = max(width for _, width in config.block_matrices().values())
        inverse_factor(torch.eye(wide, device=device), settings.order.damping)
    settings.grid.round(weight)

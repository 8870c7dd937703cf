"""Every op in plain torch: the specification that the native implementations are tested against.

Written to be read, not to be fast; runs on any device torch has. All arithmetic is float32, except
that `sample` adds up probabilities in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tinychat.kernels import (
    TILE_OUTPUTS,
    Activation,
    AttentionShape,
    Norm,
    Ops,
    PackedWeight,
    QKNorm,
    SamplingRule,
    checks,
)
from tinychat.kernels.rows import from_rows, to_rows
from tinychat.quantize.awq_format import unpack_awq
from tinychat.quantize.format import LowBitWeight, concatenate, dequantize
from tinychat.quantize.grid import Grid
from tinychat.quantize.packed import unpack_rows
from tinychat.quantize.rtn import round_to_nearest


class ReferenceOps(Ops):
    """`Ops` by definition. It holds nothing and cannot record."""

    name = "reference"
    threads = 1

    def pack(self, weight: LowBitWeight, *below: LowBitWeight) -> PackedWeight:
        """Keep the weight as it is: the bytes of its scales, codes and zeros in one row."""
        weight = concatenate([weight, *below])
        checks.bits(weight.bits)
        parts = (weight.scales.contiguous().view(torch.uint8), weight.codes, weight.zeros)
        data = torch.cat([part.flatten() for part in parts])
        outputs, inputs = weight.codes.shape
        return PackedWeight(data, weight.bits, (outputs, inputs), weight.group_size)

    def unpack(self, weight: PackedWeight) -> LowBitWeight:
        outputs, inputs = weight.shape
        groups = math.ceil(inputs / weight.group_size)
        sizes = [2 * outputs * groups, outputs * inputs, outputs * groups]
        scales, codes, zeros = torch.split(weight.data, sizes)
        return LowBitWeight(
            codes=codes.view(outputs, inputs),
            scales=scales.view(torch.float16).view(outputs, groups),
            zeros=zeros.view(outputs, groups),
            bits=weight.bits,
            group_size=weight.group_size,
        )

    def round_to_nearest(self, weight: Tensor, grid: Grid, name: str = "weight") -> LowBitWeight:
        checks.round_to_nearest(weight)
        return round_to_nearest(weight, grid, name)

    def unpack_rows(self, words: Tensor, bits: int, order: Tensor | None = None) -> Tensor:
        checks.unpack_rows(words, bits, order)
        codes = unpack_rows(words, bits)
        return codes if order is None else codes.index_select(1, order)

    def unpack_awq(self, words: Tensor) -> Tensor:
        checks.unpack_awq(words)
        return unpack_awq(words)

    def embedding(self, ids: Tensor, table: Tensor) -> Tensor:
        checks.embedding(ids, table)
        return table[ids.long()].float()

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        checks.norm(x, norm)
        if norm.kind == "rms":
            return _rms_norm(x, norm.weight, norm.eps)
        centered = x - x.mean(dim=-1, keepdim=True)
        normal = centered * torch.rsqrt(centered.square().mean(dim=-1, keepdim=True) + norm.eps)
        return normal * norm.weight if norm.bias is None else normal * norm.weight + norm.bias

    def matmul(
        self,
        x: Tensor,
        weight: PackedWeight,
        bias: Tensor | None = None,
        *,
        norm: Norm | None = None,
        order: Tensor | None = None,
        gate: Activation | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        checks.matmul(x, weight, bias, norm, order, gate, residual)
        if norm is not None:
            x = self.norm(x, norm)
        if order is not None:
            x = x[:, order.long()]
        out = functional.linear(x, dequantize(self.unpack(weight)), bias)
        if gate is not None:
            out = self.gated_activation(out, gate)
        return out if residual is None else residual.add_(out)

    def refine(self, logits: Tensor, x: Tensor, weight: PackedWeight, tiles: int) -> None:
        checks.refine(logits, x, weight, tiles)
        chosen = _largest_tiles(logits, tiles)
        product = functional.linear(x, dequantize(self.unpack(weight)))
        logits[chosen] += product[chosen]

    def attention(
        self,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        start: Tensor,
        shape: AttentionShape,
        rope: tuple[Tensor, Tensor] | None = None,
        alibi: Tensor | None = None,
        qk_norm: QKNorm | None = None,
    ) -> Tensor:
        checks.attention(qkv, keys, values, start, shape, rope, alibi, qk_norm)
        if len(start) > 1:  # one by one
            calls = zip(torch.split(qkv, 1), torch.split(start, 1), strict=True)
            same = (shape, rope, alibi, qk_norm)
            rows = [self.attention(x, keys, values, at, *same) for x, at in calls]
            return torch.cat(rows)
        heads, kv_heads, head_dim = shape.heads, shape.kv_heads, shape.head_dim
        tokens = qkv.shape[0]
        first = int(start)
        end = first + tokens
        qkv = qkv.view(tokens, heads + 2 * kv_heads, head_dim).transpose(0, 1)  # [H + 2G, T, D]
        q, k, v = torch.split(qkv, [heads, kv_heads, kv_heads])
        if qk_norm is not None:
            q, k = (_rms_norm(x, w, qk_norm.eps) for x, w in ((q, qk_norm.q), (k, qk_norm.k)))
        if rope is not None:
            cos, sin = (table[first:end] for table in rope)  # [T, R/2]
            q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        keys[:, first:end] = to_rows(k, keys.dtype)
        values[:, first:end] = to_rows(v, values.dtype)

        group = heads // kv_heads
        past_keys = from_rows(keys[:, :end]).repeat_interleave(group, dim=0)  # [H, end, D]
        past_values = from_rows(values[:, :end]).repeat_interleave(group, dim=0)
        i = torch.arange(first, end, device=qkv.device).unsqueeze(1)  # [T, 1]
        j = torch.arange(end, device=qkv.device)
        scores = q @ past_keys.transpose(1, 2) * shape.scale  # [H, T, end]
        if alibi is not None:
            scores = scores + alibi.view(heads, 1, 1) * (j - i)
        hidden = j > i
        if shape.window:
            hidden = hidden | (j <= i - shape.window)
        weights = scores.masked_fill(hidden, -math.inf).softmax(dim=-1)
        return (weights @ past_values).transpose(0, 1).reshape(tokens, heads * head_dim)

    def gated_activation(self, x: Tensor, kind: Activation) -> Tensor:
        checks.activation("gated_activation", x, kind)
        gate, up = x.chunk(2, dim=-1)
        return _activate(gate, kind) * up

    def activation(self, x: Tensor, kind: Activation, scale: Tensor | None = None) -> Tensor:
        checks.activation("activation", x, kind, scale)
        return _activate(x, kind) if scale is None else _activate(x, kind) * scale

    def sample(self, logits: Tensor, rule: SamplingRule, recent: Tensor, uniform: float) -> int:
        checks.sample(logits, rule, recent, uniform)
        logits = logits.masked_fill(logits.isnan(), -math.inf)
        logits = _penalize(logits, recent, rule.repetition_penalty)
        ordered, ids = logits.sort(descending=True, stable=True)  # stable: the lowest id first
        if rule.temperature == 0.0 or ordered[0] == -math.inf:
            return int(ids[0])
        if rule.top_k:
            ordered = ordered[: rule.top_k]

        below = ordered.double() - ordered[0].double()
        below[ordered == ordered[0]] = 0.0  # where the largest is infinite
        weights = (below / rule.temperature).exp()
        kept = torch.ones_like(weights, dtype=torch.bool)
        if rule.top_p < 1.0:
            sums = weights.cumsum(0)
            kept[1:] &= sums[:-1] < rule.top_p * sums[-1]
        kept &= weights >= rule.min_p
        sums = weights[kept].cumsum(0)
        beyond = (sums > uniform * sums[-1]).nonzero()
        # For uniform next to 1, rounding can leave no sum beyond uniform · total.
        return int(ids[beyond[0, 0] if len(beyond) else len(sums) - 1])


def _largest_tiles(logits: Tensor, tiles: int) -> Tensor:
    """[T, N] bool: which outputs are in one of the tiles with the largest maxima of their row."""
    tokens, outputs = logits.shape
    numbers = logits.masked_fill(logits.isnan(), -math.inf)
    padded = functional.pad(numbers, (0, -outputs % TILE_OUTPUTS), value=-math.inf)
    maxima = padded.view(tokens, padded.shape[1] // TILE_OUTPUTS, TILE_OUTPUTS).amax(dim=-1)
    order = maxima.argsort(dim=1, descending=True, stable=True)  # stable: the first of equal ones
    chosen = torch.zeros_like(maxima, dtype=torch.bool).scatter_(1, order[:, :tiles], True)
    return chosen.repeat_interleave(TILE_OUTPUTS, dim=1)[:, :outputs]


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + R/2]) of x [heads, T, D] by the angles of cos, sin [T, R/2]."""
    half = cos.shape[1]
    a, b, rest = torch.split(x, [half, half, x.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)


def _activate(x: Tensor, kind: Activation) -> Tensor:
    if kind == "silu":
        return functional.silu(x)
    if kind == "relu":
        return functional.relu(x)
    return functional.gelu(x, approximate="tanh" if kind == "gelu_tanh" else "none")


def _penalize(logits: Tensor, recent: Tensor, penalty: float) -> Tensor:
    """Divide the positive logits of `recent` by the penalty, multiply the negative ones."""
    ids = recent.long()
    if penalty == 1.0 or not len(ids):
        return logits
    checks.recent(recent, len(logits))
    chosen = logits[ids]
    factor = torch.tensor(penalty, dtype=torch.float32, device=logits.device)
    return logits.index_put((ids,), torch.where(chosen > 0, chosen / factor, chosen * factor))

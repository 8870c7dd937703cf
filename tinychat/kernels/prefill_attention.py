"""Attention of a chunk of a prompt by torch's own kernels: its queries are many, which is what they
were made for.

What torch has to be told with care: its `is_causal` aligns the first query with the first key,
wrong once a prefix is cached; a mask keeps flash kernels away, and what runs then may hold all
scores at once; a mask beside grouped heads does so on every card.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from tinychat.kernels import AttentionShape
from tinychat.kernels.rows import from_rows

# Scores of the queries that are masked at a time, all heads together: 128 MB in float32.
MOST_SCORES = 32 << 20
# Numbers of the cache that are brought into another form at a time, and as many of the values.
MOST_COPIED = 8 << 20


def attend(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    first: int,
    shape: AttentionShape,
    alibi: Tensor | None,
    takes_groups: bool,
) -> Tensor:
    """Attend causally with queries that stand at positions first, first + 1, …

    Args:
        q: [T, H, D] float16 or float32, normalized and rotated.
        keys, values: [G, S, row], one layer's cache as `kernels.rows` has it; it holds the rows of
            these tokens already, and those of all before them.
        alibi: [H] float32, see `Ops.attention`.
        takes_groups: whether torch's kernel here shares a kv head among query heads by itself.
    Returns: [T, H·D] float32.
    """
    end, group = first + len(q), shape.heads // shape.kv_heads
    # Scores of far keys are large under ALiBi; float16 would round away which is nearer.
    dtype = q.dtype if alibi is None else torch.float32
    begin = max(0, first + 1 - shape.window) if shape.window else 0
    slides = 0 < shape.window < end - begin
    is_masked = slides or alibi is not None
    repeats = group if is_masked or not takes_groups else 1
    q = q.to(dtype).transpose(0, 1)  # [H, T, D]

    def attend_with(some: slice) -> Tensor:
        """With some of the kv heads and the query heads that share them."""
        queries = slice(some.start * group, some.stop * group)
        k, v = (_numbers(rows[some, begin:end], dtype) for rows in (keys, values))  # [g, keys, D]
        if repeats > 1:
            k, v = (t.repeat_interleave(repeats, dim=0) for t in (k, v))
        if is_masked:
            slopes = None if alibi is None else alibi[queries]
            return _masked(q[queries], k, v, first, begin, shape, slopes)
        return scaled_dot_product_attention(
            q[None, queries],
            k[None],
            v[None],
            attn_mask=causal_lower_right(q.shape[1], end - begin),
            scale=shape.scale,
            enable_gqa=repeats != group,
        )[0]

    step = shape.kv_heads
    if keys.dtype != dtype or repeats > 1:
        step = max(1, MOST_COPIED // ((end - begin) * shape.head_dim * repeats))
    bounds = (*range(0, shape.kv_heads, step), shape.kv_heads)
    pieces = [attend_with(slice(*ends)) for ends in pairwise(bounds)]
    return torch.cat([piece.transpose(0, 1) for piece in pieces], dim=1).flatten(1).float()


def _numbers(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows of the cache in a float type."""
    return rows if rows.dtype == dtype else from_rows(rows).to(dtype)


def _masked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    first: int,
    begin: int,
    shape: AttentionShape,
    alibi: Tensor | None,
) -> Tensor:
    """Attention with a sliding window or ALiBi, a piece of the queries at a time.

    Args:
        q, k, v: [h, T or keys, D], some heads; the first key stands at position `begin`.
        alibi: [h] or None.
    Returns: [h, T, D].
    """
    tokens, keys = q.shape[1], k.shape[1]
    step = max(1, MOST_SCORES // (len(q) * keys))
    pieces = []
    for t in range(0, tokens, step):
        some = q[:, t : t + step]
        low = max(begin, first + t + 1 - shape.window) if shape.window else begin
        high = first + t + some.shape[1]
        seen = slice(low - begin, high - begin)
        i = torch.arange(first + t, high, device=q.device).unsqueeze(1)  # [t, 1]
        j = torch.arange(low, high, device=q.device)
        visible = j <= i
        if shape.window:
            visible &= j > i - shape.window
        mask = visible
        if alibi is not None:
            scores = alibi.view(-1, 1, 1) * (j - i)  # [H, t, keys]
            mask = scores.masked_fill(~visible, -torch.inf)
        pieces.append(
            scaled_dot_product_attention(
                some[None], k[None, :, seen], v[None, :, seen], attn_mask=mask, scale=shape.scale
            )[0]
        )
    return torch.cat(pieces, dim=1)

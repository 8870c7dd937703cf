"""Attention of a chunk by torch: the cases of the op, over a cache that the reference filled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import relative_error
from tests.kernels.test_attention import CASES, Case, Inputs, expected_output, placed
from tinychat.kernels import prefill_attention
from tinychat.kernels.reference import ReferenceOps

TOLERANCE = 2e-6  # float32 sums of a few hundred terms
HALF_TOLERANCE = 2e-3  # queries and weights in float16, which has 11 bits


def attend(case: Case, cache: torch.dtype, queries: torch.dtype, takes_groups: bool) -> float:
    """Its relative error."""
    inputs = Inputs.of(case, cache)
    inputs.run(ReferenceOps(), case)  # fills the cache
    heads = inputs.qkv.double().view(case.tokens, -1, case.head_dim)[:, : case.heads]
    weight = inputs.qk_norm.q if inputs.qk_norm else None
    q: Tensor = placed(heads, weight, case, inputs).to(queries)
    out = prefill_attention.attend(
        q, inputs.keys, inputs.values, case.start, case.shape, inputs.alibi, takes_groups
    )
    assert out.dtype == torch.float32
    return relative_error(out, expected_output(case, inputs))


@pytest.mark.parametrize("takes_groups", (True, False), ids=("groups", "expanded"))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_float64(case: Case, takes_groups: bool) -> None:
    assert attend(case, torch.float32, torch.float32, takes_groups) < TOLERANCE


@pytest.mark.parametrize("cache", (torch.float16, torch.int8), ids=("fp16", "int8"))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_half_queries(case: Case, cache: torch.dtype) -> None:
    assert attend(case, cache, torch.float16, takes_groups=False) < HALF_TOLERANCE


@pytest.mark.parametrize("case", [c for c in CASES if c.kv_heads > 1], ids=str)
def test_kv_heads_that_are_copied_come_in_pieces(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = case.head_dim * (case.start + case.tokens) * case.heads
    monkeypatch.setattr(prefill_attention, "MOST_COPIED", 2 * whole // 3)
    assert attend(case, torch.int8, torch.float16, takes_groups=False) < HALF_TOLERANCE


@pytest.mark.parametrize("case", [c for c in CASES if c.window or c.alibi], ids=str)
def test_masked_queries_come_in_pieces(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill_attention, "MOST_SCORES", case.heads * 300)
    assert attend(case, torch.float32, torch.float32, takes_groups=True) < TOLERANCE

"""Sampling parameters: bounds, precedence, seeds; and the penalty's memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tinychat.errors import ArgumentError
from tinychat.kernels.reference import ReferenceOps
from tinychat.sampler import DEFAULTS, Sampler, SamplingParams


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"temperature": True},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_p": 1.01},
        {"min_p": -1},
        {"repetition_penalty": 0.0},
        {"max_new_tokens": 0},
        {"seed": -1},
        {"seed": 2**63},
        {"logprobs": 21},
        {"stop": [""]},
        {"stop": ["x"] * 17},
        {"stop": [7]},
        {"stop": ["x" * 257]},
    ],
)
def test_out_of_range_is_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(values))):
        SamplingParams(**values)


def test_precedence_request_then_model_then_ours() -> None:
    model = SamplingParams(temperature=0.2, top_k=5).over(DEFAULTS)
    full = SamplingParams(top_k=0, stop="END").over(model)
    assert (full.temperature, full.top_k, full.top_p) == (0.2, 0, DEFAULTS.top_p)
    assert full.stop == ("END",)


def draw(params: SamplingParams, count: int = 50) -> list[int]:
    sampler = Sampler(ReferenceOps(), params, [1, 2], 8)
    logits = torch.zeros(10)
    return [sampler(logits)[0] for _ in range(count)]


def test_same_seed_same_tokens() -> None:
    first = draw(SamplingParams(seed=1, temperature=1.0))
    assert first == draw(SamplingParams(seed=1, temperature=1.0))
    assert first != draw(SamplingParams(seed=2, temperature=1.0))
    assert set(first) <= set(range(8)) and len(set(first)) > 1  # never the padding ids 8 and 9


def test_a_fresh_seed_is_reported() -> None:
    a, b = (Sampler(ReferenceOps(), SamplingParams(), [], 8) for _ in range(2))
    assert a.seed != b.seed


def test_penalty_covers_prompt_and_answer() -> None:
    sampler = Sampler(ReferenceOps(), SamplingParams(temperature=0, repetition_penalty=2.0), [7], 8)
    logits = torch.tensor([1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4])
    # 7 was in the prompt; each chosen id falls behind the next one.
    assert [sampler(logits)[0] for _ in range(4)] == [6, 5, 4, 3]

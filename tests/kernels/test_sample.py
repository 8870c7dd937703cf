"""sample: every implementation against a list that is sorted and summed in the plainest way."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import misaligned
from tinychat.errors import KernelError
from tinychat.kernels import Ops, SamplingRule
from tinychat.kernels.reference import ReferenceOps

GREEDY = SamplingRule(0.0, 0, 1.0, 0.0, 1.0)
PLAIN = SamplingRule(1.0, 0, 1.0, 0.0, 1.0)
NO_IDS = torch.empty(0, dtype=torch.int32)
BELOW_ONE = math.nextafter(1.0, 0.0)


def ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def kept_tokens(
    logits: Tensor, rule: SamplingRule, recent: Tensor = NO_IDS
) -> list[tuple[int, float]]:
    """(id, probability) of what may be drawn, most probable first.

    The logits must be finite and the temperature above 0.
    """
    values = logits.tolist()
    for token in set(recent.tolist()):
        logit, penalty = logits[token], torch.tensor(rule.repetition_penalty)
        values[token] = float(logit / penalty if logit > 0 else logit * penalty)
    order = sorted(range(len(values)), key=lambda token: (-values[token], token))
    order = order[: rule.top_k or None]
    top = values[order[0]]
    weights = [math.exp((values[token] - top) / rule.temperature) for token in order]
    count, reached = 0, 0.0
    while count < len(order) and (count == 0 or reached < rule.top_p * math.fsum(weights)):
        reached += weights[count]
        count += 1
    kept = [
        (token, weight)
        for token, weight in zip(order[:count], weights, strict=False)
        if weight >= rule.min_p
    ]
    total = math.fsum(weight for _, weight in kept)
    return [(token, weight / total) for token, weight in kept]


RULES = {
    "plain": PLAIN,
    "cold": replace(PLAIN, temperature=0.3),
    "hot": replace(PLAIN, temperature=3.0),
    "top_k": replace(PLAIN, top_k=7),
    "top_p": replace(PLAIN, top_p=0.7),
    "min_p": replace(PLAIN, min_p=0.1),
    "penalty": replace(PLAIN, repetition_penalty=1.7),
    "default": SamplingRule(0.7, 40, 0.95, 0.0, 1.0),
    "all": SamplingRule(0.8, 20, 0.9, 0.05, 1.3),
}


@pytest.mark.parametrize("name", RULES)
def test_tokens_come_as_often_as_is_probable(ops: Ops, name: str) -> None:
    rule = RULES[name]
    logits = 2 * torch.randn(60)
    recent = logits.topk(5).indices.int()
    draws = 60 if ops.name.startswith("cuda-emulated") else 1500  # a draw takes 15 ms there
    counts = Counter(ops.sample(logits, rule, recent, (i + 0.5) / draws) for i in range(draws))
    kept = kept_tokens(logits, rule, recent)
    assert set(counts) <= {token for token, _ in kept}
    for token, probability in kept:
        # A token's share of 0..1 is one interval; it holds that many grid points but for one.
        assert abs(counts[token] - probability * draws) <= 1


@pytest.mark.parametrize("name", RULES)
def test_uniform_goes_from_the_most_to_the_least_probable(ops: Ops, name: str) -> None:
    rule, logits = RULES[name], 3 * torch.randn(300)
    kept = kept_tokens(logits, rule)
    assert ops.sample(logits, rule, NO_IDS, 0.0) == kept[0][0]
    last = ops.sample(logits, rule, NO_IDS, BELOW_ONE)
    behind = [token for token, _ in kept].index(last) + 1
    assert sum(probability for _, probability in kept[behind:]) < 1e-14
    middle = kept[0][1]
    assert ops.sample(logits, rule, NO_IDS, middle * (1 - 1e-6)) == kept[0][0]
    if len(kept) > 1:
        assert ops.sample(logits, rule, NO_IDS, middle * (1 + 1e-6)) == kept[1][0]


def random_case(seed: int) -> tuple[Tensor, SamplingRule, Tensor, float]:
    """Logits with ties, NaN and infinities, and any rule."""
    choose = random.Random(seed)
    vocabulary = choose.choice((1, 2, 3, 17, 63, 64, 65, 500, 3000))
    logits = choose.choice((0.1, 1.0, 4.0, 30.0)) * torch.randn(
        vocabulary, generator=torch.Generator().manual_seed(seed)
    )
    if choose.random() < 0.4:
        logits = logits.round()  # many equal ones
    for value in (math.nan, -math.inf, math.inf):
        if choose.random() < 0.2:
            logits[choose.randrange(vocabulary)] = value
    rule = SamplingRule(
        temperature=choose.choice((0.0, 0.05, 0.7, 1.0, 1.0, 5.0)),
        top_k=choose.choice((0, 0, 1, 2, 40, vocabulary, 10**12)),
        top_p=choose.choice((1.0, 1.0, 0.95, 0.5, 1e-9, 0.0)),
        min_p=choose.choice((0.0, 0.0, 0.05, 0.9, 1.0)),
        repetition_penalty=choose.choice((1.0, 1.0, 1.1, 3.0, 0.5)),
    )
    recent = [choose.randrange(vocabulary) for _ in range(choose.choice((0, 3, 100)))]
    uniform = choose.choice((0.0, 0.9999, *(choose.random() for _ in range(6))))
    return logits, rule, ids(*recent), uniform


def test_native_chooses_what_the_reference_chooses(native: Ops, reference: ReferenceOps) -> None:
    for seed in range(1500):
        case = random_case(seed)
        # Both add up in float64: the draw would have to fall within some 1e-14 of a border.
        assert native.sample(*case) == reference.sample(*case), f"random_case({seed})"


@pytest.mark.parametrize("temperature", (0.7, 50.0))
def test_a_large_vocabulary(native: Ops, reference: ReferenceOps, temperature: float) -> None:
    logits = 4 * torch.randn(50_000)
    recent = torch.randint(50_000, (64,), dtype=torch.int32)
    for rule in RULES.values():
        for uniform in (0.3, 0.99):
            case = (logits, replace(rule, temperature=temperature), recent, uniform)
            assert native.sample(*case) == reference.sample(*case), case


@pytest.mark.parametrize("where", (0, 1, 63, 64, 100, 999))
def test_greedy(ops: Ops, where: int) -> None:
    logits = torch.randn(1000)
    logits[where] = 10.0
    assert ops.sample(logits, GREEDY, NO_IDS, 0.9) == where
    logits[where:] = 10.0  # of equal ones the first
    before = logits.clone()
    assert ops.sample(logits, GREEDY, NO_IDS, 0.9) == where
    assert torch.equal(logits, before)


def test_equal_logits_rank_by_id(ops: Ops) -> None:
    logits = torch.zeros(100)
    for u in range(100):
        assert ops.sample(logits, PLAIN, NO_IDS, u / 100 + 0.001) == u
        assert ops.sample(logits, replace(PLAIN, top_k=10), NO_IDS, u / 100 + 0.001) == u // 10
    # Half of the sum is reached by the fiftieth, not exceeded.
    assert ops.sample(logits, replace(PLAIN, top_p=0.5), NO_IDS, BELOW_ONE) == 49
    assert ops.sample(logits, replace(PLAIN, min_p=1.0), NO_IDS, BELOW_ONE) == 99


@pytest.mark.parametrize("uniform", (0.0, 0.5, BELOW_ONE))
def test_rules_that_leave_one_token(ops: Ops, uniform: float) -> None:
    logits = torch.randn(500)
    best = int(logits.argmax())
    for rule in (
        replace(PLAIN, top_k=1),
        replace(PLAIN, top_p=0.0),
        replace(PLAIN, top_p=1e-12),
        replace(PLAIN, min_p=1.0),
        replace(PLAIN, temperature=1e-30),
        replace(PLAIN, temperature=5e-324),
    ):
        assert ops.sample(logits, rule, NO_IDS, uniform) == best


def test_a_top_k_of_the_vocabulary_or_more_is_off(ops: Ops) -> None:
    logits = torch.randn(50)
    for u in (0.1, 0.6, 0.95):
        expected = ops.sample(logits, PLAIN, NO_IDS, u)
        for top_k in (50, 51, 2**40):
            assert ops.sample(logits, replace(PLAIN, top_k=top_k), NO_IDS, u) == expected


def test_penalty_counts_once_and_pushes_both_signs_down(ops: Ops) -> None:
    logits = torch.tensor([3.0, 2.0, -1.0, 1.0])
    rule = replace(GREEDY, repetition_penalty=2.0)
    assert ops.sample(logits, rule, ids(0), 0.0) == 1  # 1.5 < 2
    assert ops.sample(logits, rule, ids(0, 0, 0, 1), 0.0) == 0  # 1.5 > 1, though named thrice
    logits = torch.tensor([-1.0, -1.5])
    assert ops.sample(logits, rule, ids(0), 0.0) == 1  # -2 < -1.5
    assert ops.sample(logits, replace(rule, repetition_penalty=0.5), ids(1), 0.0) == 1  # -0.75


def test_what_is_not_finite(ops: Ops) -> None:
    nan, inf = math.nan, math.inf
    for rule in RULES.values():
        for u in (0.0, 0.5, BELOW_ONE):
            assert ops.sample(torch.full((70,), nan), rule, NO_IDS, u) == 0
            assert ops.sample(torch.full((70,), -inf), rule, ids(3), u) == 0
            assert ops.sample(torch.tensor([nan, -inf, 1.0, nan]), rule, NO_IDS, u) == 2
            assert ops.sample(torch.tensor([1.0, -inf, inf, nan]), rule, NO_IDS, u) == 2
        assert ops.sample(torch.tensor([nan, -inf, 1.0]), GREEDY, NO_IDS, 0.0) == 2
    assert ops.sample(torch.tensor([5.0, inf, inf]), PLAIN, NO_IDS, 0.6) == 2  # as likely


def test_misaligned_memory(ops: Ops) -> None:
    logits, recent = torch.randn(777), ids(1, 5, 700)
    rule = RULES["all"]
    for u in (0.1, 0.5, 0.9):
        expected = ops.sample(logits, rule, recent, u)
        assert ops.sample(misaligned(logits), rule, misaligned(recent), u) == expected


def test_refusals(ops: Ops) -> None:
    logits = torch.randn(10)
    penalized = replace(PLAIN, repetition_penalty=2.0)
    cases = {
        r"logits of sample has shape \[1, 10\]": (logits.view(1, 10), PLAIN, NO_IDS, 0.5),
        r"logits of sample has shape \[0\]": (logits[:0], PLAIN, NO_IDS, 0.5),
        "logits of sample is torch.float16": (logits.half(), PLAIN, NO_IDS, 0.5),
        "logits of sample is not contiguous": (logits[::2], PLAIN, NO_IDS, 0.5),
        "recent of sample is torch.int64": (logits, PLAIN, NO_IDS.long(), 0.5),
        "recent of sample holds ids 3 to 10, expected 0 to 9": (logits, penalized, ids(3, 10), 0.5),
        "recent of sample holds ids -1 to 3": (logits, penalized, ids(3, -1), 0.5),
        "uniform of sample is 1.0": (logits, PLAIN, NO_IDS, 1.0),
        "uniform of sample is nan": (logits, PLAIN, NO_IDS, math.nan),
    }
    for field, value in (
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_k", -1),
        ("top_p", 1.01),
        ("min_p", -0.5),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.inf),
    ):
        rule = replace(PLAIN, **{field: value})
        cases[f"{field} of sample is {value}"] = (logits, rule, NO_IDS, 0.5)
    for message, arguments in cases.items():
        with pytest.raises(KernelError, match=message):
            ops.sample(*arguments)
    assert 0 <= ops.sample(logits, PLAIN, NO_IDS, 0.5) < 10

"""sample as CUDA code, compiled as host C++, against the reference; the state it keeps on the card.

The rule lies on the card in float32, so the reference gets the same rounded numbers.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import SCHEDULES
from tests.cuda.streams import emulated, open_stream
from tests.kernels.test_sample import (
    BELOW_ONE,
    GREEDY,
    NO_IDS,
    PLAIN,
    RULES,
    ids,
    kept_tokens,
    random_case,
)
from tinychat.errors import KernelError
from tinychat.kernels import SamplingRule
from tinychat.kernels.reference import ReferenceOps

REFERENCE = ReferenceOps()
MOST = 2**19


def in_float32(rule: SamplingRule) -> SamplingRule:
    """The rule that the card sees."""
    names = ("temperature", "top_p", "min_p", "repetition_penalty")
    return replace(rule, **{name: float(torch.tensor(getattr(rule, name))) for name in names})


class Card:
    """The memory of a card that draws one token after the other."""

    def __init__(self, vocabulary: int, uniforms: list[float], ring: int = 3) -> None:
        self.vocabulary = vocabulary
        self.uniforms = torch.tensor(uniforms, dtype=torch.float64)
        self.rule = torch.zeros(20, dtype=torch.uint8)
        self.seen = torch.zeros(vocabulary, dtype=torch.uint8)
        self.drawn, self.position = ids(0), ids(0)
        self.token, self.ring = ids(-1), torch.full((ring,), -1, dtype=torch.int32)
        self.workspace = torch.zeros(emulated.sample_workspace(vocabulary), dtype=torch.uint8)

    def set(self, rule: SamplingRule, recent: Tensor = NO_IDS) -> None:
        floats = (rule.temperature, rule.top_p, rule.min_p, rule.repetition_penalty)
        words = struct.pack("ffffi", *floats, min(rule.top_k, self.vocabulary))
        self.rule[:] = torch.frombuffer(bytearray(words), dtype=torch.uint8)
        self.seen.zero_()
        self.seen[recent.long()] = 1

    def launch(self, stream, logits: Tensor, seen: bool = True, position: bool = True) -> None:
        draws = emulated.Draws(
            self.uniforms.data_ptr(),
            len(self.uniforms),
            self.drawn.data_ptr(),
            self.ring.data_ptr(),
            len(self.ring),
        )
        stream.queue().sample(
            logits.data_ptr(),
            self.vocabulary,
            self.rule.data_ptr(),
            draws,
            self.seen.data_ptr() if seen else 0,
            self.token.data_ptr(),
            self.position.data_ptr() if position else 0,
            self.workspace.data_ptr(),
        )


def sample(logits: Tensor, rule: SamplingRule, recent: Tensor, uniform: float) -> int:
    card = Card(len(logits), [uniform])
    card.workspace[16:] = 0xA5  # only the counter's zeros matter
    card.set(rule, recent)
    stream = open_stream()
    card.launch(stream, logits)
    stream.synchronize()
    assert not card.workspace[:16].any()  # ready for the next launch
    return int(card.token)


def test_what_the_reference_chooses() -> None:
    for seed in range(300):
        logits, rule, recent, uniform = random_case(seed)
        rule, before = in_float32(rule), logits.clone()
        # Weights are float32 here: the draw would have to fall within some 1e-6 of a border.
        expected = REFERENCE.sample(logits, rule, recent, uniform)
        assert sample(logits, rule, recent, uniform) == expected, f"random_case({seed})"
        assert torch.equal(logits.view(torch.int32), before.view(torch.int32))


@pytest.mark.parametrize("name", RULES)
def test_tokens_come_as_often_as_is_probable(name: str) -> None:
    rule, logits, draws = in_float32(RULES[name]), 2 * torch.randn(60), 25
    recent = logits.topk(5).indices.int()
    card = Card(len(logits), [(i + 0.5) / draws for i in range(draws)], ring=draws)
    stream = open_stream()
    for _ in range(draws):
        card.set(rule, recent)
        card.launch(stream, logits)
    stream.synchronize()
    counts = Counter(card.ring.tolist())
    kept = kept_tokens(logits, rule, recent)
    assert set(counts) <= {token for token, _ in kept}
    for token, probability in kept:
        # A token's share of 0..1 is one interval; it holds that many grid points but for one.
        assert abs(counts[token] - probability * draws) <= 1


@pytest.mark.parametrize("name", RULES)
def test_uniform_goes_from_the_most_to_the_least_probable(name: str) -> None:
    rule, logits = in_float32(RULES[name]), 3 * torch.randn(300)
    kept = kept_tokens(logits, rule)
    assert sample(logits, rule, NO_IDS, 0.0) == kept[0][0]
    last = sample(logits, rule, NO_IDS, BELOW_ONE)
    behind = [token for token, _ in kept].index(last) + 1
    assert sum(probability for _, probability in kept[behind:]) < 1e-14
    middle = kept[0][1]
    assert sample(logits, rule, NO_IDS, middle * (1 - 1e-5)) == kept[0][0]
    if len(kept) > 1:
        assert sample(logits, rule, NO_IDS, middle * (1 + 1e-5)) == kept[1][0]


def test_equal_logits_rank_by_id() -> None:
    for vocabulary in (100, 1000):  # the latter does not fit into the last list
        logits = torch.zeros(vocabulary)
        logits[::2] = -0.0  # equal to 0
        cases = {
            0.001: (PLAIN, vocabulary // 1000),
            0.5001: (PLAIN, vocabulary // 2),
            0.9999: (replace(PLAIN, top_k=10), 9),
            # Half of the sum is reached by that token, not exceeded.
            BELOW_ONE: (replace(PLAIN, top_p=0.5), vocabulary // 2 - 1),
            1 - 2e-16: (replace(PLAIN, min_p=1.0), vocabulary - 1),
        }
        for uniform, (rule, expected) in cases.items():
            assert sample(logits, rule, NO_IDS, uniform) == expected, rule


@pytest.mark.parametrize("uniform", (0.0, 0.5, BELOW_ONE))
def test_rules_that_leave_one_token(uniform: float) -> None:
    logits = torch.randn(500)
    best = int(logits.argmax())
    # The next float32: nearer than a float32 weight can tell from 1.
    logits[best - 1] = torch.nextafter(logits[best], torch.tensor(-math.inf))
    for rule in (
        replace(PLAIN, top_k=1),
        replace(PLAIN, top_p=0.0),
        replace(PLAIN, top_p=1e-12),
        replace(PLAIN, min_p=1.0),
        replace(PLAIN, min_p=1.0, temperature=1e30),
        replace(PLAIN, temperature=1e-30),
        replace(PLAIN, temperature=5e-324),  # 0 in float32
        GREEDY,
    ):
        assert sample(logits, rule, NO_IDS, uniform) == best, rule


def test_the_penalty_counts_when_greedy() -> None:
    logits, rule = torch.tensor([3.0, 2.0, -1.0, 1.0]), replace(GREEDY, repetition_penalty=2.0)
    assert sample(logits, rule, ids(0), 0.0) == 1
    assert sample(logits, rule, ids(0, 1), 0.0) == 0
    logits = torch.tensor([-1.0, -1.5])
    assert sample(logits, rule, ids(0), 0.0) == 1
    assert sample(logits, replace(rule, repetition_penalty=0.5), ids(1), 0.0) == 1


def test_what_is_not_finite() -> None:
    nan, inf = math.nan, math.inf
    for rule in RULES.values():
        assert sample(torch.full((70,), nan), rule, NO_IDS, 0.0) == 0
        assert sample(torch.full((70,), -inf), rule, ids(3), BELOW_ONE) == 0
        for u in (0.0, BELOW_ONE):
            assert sample(torch.tensor([nan, -inf, 1.0, nan]), rule, NO_IDS, u) == 2
            assert sample(torch.tensor([1.0, -inf, inf, -nan]), rule, NO_IDS, u) == 2
    assert sample(torch.tensor([nan, -inf, 1.0]), GREEDY, NO_IDS, 0.0) == 2
    assert sample(torch.tensor([5.0, inf, inf]), PLAIN, NO_IDS, 0.6) == 2  # as likely


@pytest.mark.parametrize("top_k", (0, 700, 2500))
def test_bins_of_many_tokens(top_k: int) -> None:
    """At a high temperature one bin holds more tokens than the last list."""
    logits = torch.randn(3000)
    rule = SamplingRule(100.0, top_k, 0.875, 0.0, 1.0)
    for uniform in (0.0, 0.3, 0.97):
        expected = REFERENCE.sample(logits, rule, NO_IDS, uniform)
        assert sample(logits, rule, NO_IDS, uniform) == expected


def test_some_blocks() -> None:
    logits = 4 * torch.randn(5000)
    logits[4999] = logits.max()  # a tie across blocks
    recent = torch.randint(5000, (64,), dtype=torch.int32)
    for name in ("plain", "hot", "all"):
        rule = in_float32(RULES[name])
        for uniform in (0.3, 0.99):
            expected = REFERENCE.sample(logits, rule, recent, uniform)
            assert sample(logits, rule, recent, uniform) == expected, (name, uniform)
    assert sample(logits, GREEDY, NO_IDS, 0.0) == int(logits.argmax())


def test_the_largest_vocabulary() -> None:
    logits = torch.full((MOST,), -1.0)
    logits[MOST - 1] = 1.0
    assert sample(logits, GREEDY, NO_IDS, 0.0) == MOST - 1
    # All alike: the greatest sum there is, and lists of every token.
    logits[MOST - 1] = -1.0
    assert sample(logits, PLAIN, NO_IDS, BELOW_ONE) == MOST - 1
    # Many alike, more than are listed in the end, next to each other and far apart.
    logits[1::2] = 1.0
    assert sample(logits, replace(PLAIN, top_k=1000), NO_IDS, BELOW_ONE) == 1999
    assert sample(logits, replace(PLAIN, min_p=0.5), NO_IDS, BELOW_ONE) == MOST - 1


def test_a_vocabulary_between_two_powers_of_two() -> None:
    """That of Gemma 3."""
    logits = 3 * torch.randn(262208)
    logits[-1] = logits.max() + 1
    for uniform in (0.0, 0.9):
        expected = REFERENCE.sample(logits, PLAIN, NO_IDS, uniform)
        assert sample(logits, PLAIN, NO_IDS, uniform) == expected


@pytest.mark.parametrize("vocabulary", (300, 4097))
def test_every_schedule(vocabulary: int) -> None:
    """One draw after the other; with `overlap` the next starts before the one before has run."""
    logits, rule = torch.randn(vocabulary), in_float32(RULES["all"])
    expected, recent = [], ids(5)
    for uniform in (0.9, 0.1):
        expected.append(REFERENCE.sample(logits, rule, recent, uniform))
        recent = ids(*recent.tolist(), expected[-1])
    for schedule in SCHEDULES[:: 2 if vocabulary == 300 else 5]:
        card, stream = Card(vocabulary, [0.9, 0.1]), open_stream(schedule)
        card.set(rule, ids(5))
        for _ in expected:
            card.launch(stream, logits)
        stream.synchronize()
        assert card.ring.tolist() == [*expected, -1], schedule


def test_state_from_draw_to_draw() -> None:
    uniforms, rule = [0.1, 0.5, 0.95, 0.3], replace(PLAIN, repetition_penalty=3.0)
    logits, recent, tokens = 2 * torch.randn(40), ids(7), []
    card, stream = Card(40, uniforms), open_stream()
    card.set(rule, recent)
    card.position += 100
    for draw in range(6):
        card.launch(stream, logits)
        stream.synchronize()
        uniform = uniforms[draw % len(uniforms)]
        tokens.append(REFERENCE.sample(logits, rule, recent, uniform))
        recent = ids(*recent.tolist(), tokens[-1])
        assert int(card.token) == tokens[-1]
        assert int(card.ring[draw % 3]) == tokens[-1]
        assert (int(card.drawn), int(card.position)) == (draw + 1, 101 + draw)
        assert card.seen.nonzero().flatten().tolist() == sorted(set(recent.tolist()))
    assert card.ring.tolist() == tokens[3:]


def test_without_what_is_optional() -> None:
    card, stream = Card(10, [0.0]), open_stream()
    card.set(replace(GREEDY, repetition_penalty=2.0), ids(4))
    logits = torch.zeros(10)
    logits[4] = 1.0
    card.launch(stream, -logits, seen=False, position=False)
    card.launch(stream, logits, seen=False, position=False)
    stream.synchronize()
    assert card.ring.tolist() == [0, 4, -1]
    assert card.seen.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert int(card.position) == 0


def test_refusals() -> None:
    logits, stream = torch.zeros(4), open_stream()
    for vocabulary in (0, MOST + 1):
        card = Card(4, [0.0])
        card.vocabulary = vocabulary
        message = f"sample: a vocabulary of {vocabulary}, expected 1 to {MOST}"
        with pytest.raises(KernelError, match=message):
            card.launch(stream, logits)
    for uniforms, ring in (([], 1), ([0.0], 0)):
        card = Card(4, uniforms, ring)
        with pytest.raises(KernelError, match=f"{len(uniforms)} uniform numbers and {ring} places"):
            card.launch(stream, logits)

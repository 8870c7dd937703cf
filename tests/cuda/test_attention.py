"""attn_decode and rope_append, compiled as host C++: against float64 and against each other.

The cases are those of tests/kernels/test_attention.py that have few tokens, and the expectation is
the one that is made there: it attends to the cache that the op left. Kernels have a few more edges
of their own, at the ends of stretches and tiles.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import SCHEDULES, SHUFFLED, Schedule
from tests.cuda.streams import address, emulated, open_stream
from tests.kernels.compare import misaligned, relative_error
from tests.kernels.test_attention import (
    CASES,
    TOLERANCE,
    Case,
    Inputs,
    expected_output,
    expected_rows,
)
from tinychat.errors import KernelError
from tinychat.kernels import QKNorm
from tinychat.kernels.cuda import FEW_TOKENS, MOST_SPLITS, STATE_FLOATS
from tinychat.kernels.reference import ReferenceOps
from tinychat.kernels.rows import from_rows

LEAST_STRETCH = 64  # keys, of attn_decode.cu
CACHES = (torch.float16, torch.int8)
ENDS = tuple(n * LEAST_STRETCH + by for n in (1, 2, 3) for by in (-1, 0, 1))
DECODED = (
    *(case for case in CASES if case.tokens <= FEW_TOKENS),
    # Tiles: three, four, seven and eight rows, two tiles.
    Case(1, 3, 1, 64, start=20, rotated=64),
    Case(2, 8, 2, 96, start=20, rotated=96),
    Case(2, 7, 1, 128, start=65, rotated=64),
    Case(1, 8, 1, 256, start=33, rotated=256),
    Case(1, 11, 1, 80, start=40, rotated=20, alibi=True),
    Case(3, 2, 2, 248, start=20, rotated=8),
    # Steps of all teams of a block: one key less, all, one more.
    *(Case(1, 4, 1, 128, start=start, rotated=128) for start in (30, 31, 32)),
    # New rows in two stretches, and all of what is seen.
    Case(8, 4, 2, 64, start=60, rotated=64),
    Case(8, 2, 1, 8, rotated=8),
    Case(8, 4, 2, 16, start=100, rotated=16, window=5, alibi=True),
    # Norms in two tiles, the second not full.
    Case(2, 11, 1, 128, start=63, rotated=128, normed=True),
)


class Card:
    """The two ops on an emulated card, as methods that take the inputs of a case."""

    def __init__(self, schedule: Schedule = SHUFFLED) -> None:
        self.stream = open_stream(schedule)

    def decode(self, case: Case, inputs: Inputs, splits: int = 3) -> Tensor:
        """[T, H D], where nothing was written NaN."""
        shape = (case.tokens, case.heads, splits, case.head_dim + STATE_FLOATS)
        gathered = torch.full(shape, torch.nan)
        arrived = torch.zeros(case.tokens, case.heads, dtype=torch.int32)
        out = torch.full((case.tokens, case.heads * case.head_dim), torch.nan)
        self.stream.queue().attn_decode(
            *self.common(case, inputs),
            address(inputs.alibi),
            case.shape.scale,
            case.window,
            splits,
            *map(address, (gathered, arrived, out)),
        )
        self.stream.synchronize()
        assert not arrived.any()  # ready for the next launch
        return out

    def append(self, case: Case, inputs: Inputs) -> Tensor:
        """The queries, normalized and turned, [T, H D] float16."""
        q = torch.full((case.tokens, case.heads * case.head_dim), torch.nan).half()
        self.stream.queue().rope_append(*self.common(case, inputs), q.data_ptr())
        self.stream.synchronize()
        return q

    @staticmethod
    def common(case: Case, inputs: Inputs) -> tuple[object, object, object]:
        cos, sin = inputs.rope or (None, None)
        norm = inputs.qk_norm or QKNorm(None, None, 0.0)
        keys, values = inputs.keys, inputs.values
        dtype = getattr(emulated.DType, dtype_name(keys.dtype))
        return (
            emulated.NewTokens(
                *(address(inputs.qkv), address(inputs.start)),
                *(address(norm.q), address(norm.k), norm.eps),
                *(len(inputs.qkv), case.heads, case.kv_heads, case.head_dim),
            ),
            emulated.Rotation(address(cos), address(sin), case.rotated // 2),
            emulated.Cache(address(keys), address(values), dtype, keys.shape[1]),
        )


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def same_cache(a: Inputs, b: Inputs, end: int) -> bool:
    return torch.equal(a.keys[:, :end], b.keys[:, :end]) and torch.equal(
        a.values[:, :end], b.values[:, :end]
    )


def most_half_rounding(exact: Tensor) -> Tensor:
    """How far float16 may be from it: half a step, and what float32 adds to it."""
    return 0.501 * 2**-10 * exact.abs() + 1e-6


def check_cache(case: Case, inputs: Inputs, before: Inputs) -> None:
    """The new rows are there, rounded, and nothing else has changed."""
    written = slice(case.start, case.start + case.tokens)
    is_int8 = inputs.keys.dtype == torch.int8
    for cache, old, exact in zip(
        (inputs.keys, inputs.values),
        (before.keys, before.values),
        expected_rows(case, inputs),
        strict=True,
    ):
        largest = exact.abs().amax(dim=-1, keepdim=True)
        # Half a step, and what float32 adds to it.
        most = 0.501 * largest / 127 if is_int8 else most_half_rounding(exact)
        assert bool(((from_rows(cache[:, written]) - exact).abs() <= most).all())
        for rest in (slice(case.start), slice(case.start + case.tokens, None)):
            assert torch.equal(cache[:, rest].view(torch.int8), old[:, rest].view(torch.int8))


@pytest.mark.parametrize("dtype", CACHES, ids=("fp16", "int8"))
@pytest.mark.parametrize("case", DECODED, ids=str)
def test_decode(case: Case, dtype: torch.dtype) -> None:
    inputs = Inputs.of(case, dtype)
    before = inputs.copy()
    out = Card().decode(case, inputs)
    check_cache(case, inputs, before)
    assert relative_error(out, expected_output(case, inputs)) < TOLERANCE


@pytest.mark.parametrize("case", DECODED[::5], ids=str)
def test_decode_against_the_reference(case: Case) -> None:
    inputs = Inputs.of(case, torch.float16)
    other = replace(inputs.copy(), start=torch.arange(case.start, case.start + case.tokens).int())
    expected = other.run(ReferenceOps(), case)
    # New rows may be rounded to the neighbour of the reference's: 2^-11 of some of their elements.
    assert relative_error(Card().decode(case, inputs), expected) < 2e-4


@pytest.mark.parametrize("dtype", CACHES, ids=("fp16", "int8"))
@pytest.mark.parametrize("group", (*range(1, 10), 17))
def test_every_group_size(group: int, dtype: torch.dtype) -> None:
    case = Case(2, 2 * group, 2, 64, start=80, rotated=64)
    inputs = Inputs.of(case, dtype)
    out = Card().decode(case, inputs)
    assert relative_error(out, expected_output(case, inputs)) < TOLERANCE


@pytest.mark.parametrize("head_dim", (8, 64, 72, 128, 136, 256))
def test_the_most_shared_memory_fits(head_dim: int) -> None:
    case = Case(8, 8, 1, head_dim, start=130)
    inputs = Inputs.of(case, torch.float16)
    out = Card(Schedule(arch=750)).decode(case, inputs, splits=128)
    assert relative_error(out, expected_output(case, inputs)) < TOLERANCE


@pytest.mark.parametrize("dtype", CACHES, ids=("fp16", "int8"))
@pytest.mark.parametrize("keys", (1, *ENDS, 400))
def test_ends_of_stretches(keys: int, dtype: torch.dtype) -> None:
    """Three splits: one, two or three have keys, and the last of them few or all it may have."""
    case = Case(1, 2, 1, 32, start=keys - 1, rotated=32)
    inputs = Inputs.of(case, dtype)
    before = inputs.copy()
    out = Card().decode(case, inputs, splits=3)
    check_cache(case, inputs, before)
    assert relative_error(out, expected_output(case, inputs)) < TOLERANCE


@pytest.mark.parametrize("window", (1, 63, 64, 65, 200))
def test_windows_across_stretches(window: int) -> None:
    case = Case(3, 2, 1, 32, start=250, rotated=32, window=window)
    inputs = Inputs.of(case, torch.float16)
    out = Card().decode(case, inputs)
    assert relative_error(out, expected_output(case, inputs)) < TOLERANCE
    changed = inputs.copy()
    changed.keys[:, : 251 - window] = torch.nan  # before what the first token sees
    changed.values[:, : 251 - window] = torch.nan
    assert torch.equal(Card().decode(case, changed), out)


def test_any_number_of_splits_gives_the_same_but_for_rounding() -> None:
    """Weights are relative to another largest score, and sums are added up in another order: a
    float32 rounding for each part that is joined, which TOLERANCE has room for.
    """
    case = Case(2, 6, 2, 64, start=300, rotated=64, alibi=True)
    inputs = Inputs.of(case, torch.float16)
    results = [Card().decode(case, inputs, splits) for splits in (1, 2, 3, 5, 128)]
    expected = expected_output(case, inputs)
    for result in results:
        assert relative_error(result, expected) < TOLERANCE
    assert not torch.equal(results[0], results[3])  # they did work apart
    # Beyond one for each least stretch there is nothing left to share out.
    assert torch.equal(results[4], Card().decode(case, inputs, splits=5))


@pytest.mark.parametrize("dtype", CACHES, ids=("fp16", "int8"))
@pytest.mark.parametrize("case", [case for case in DECODED if case.tokens > 1], ids=str)
def test_rows_in_company_are_bit_for_bit_what_they_are_alone(
    case: Case, dtype: torch.dtype
) -> None:
    inputs = Inputs.of(case, dtype)
    alone = inputs.copy()
    out = Card().decode(case, inputs)
    rows = []
    for token, row in enumerate(alone.qkv.split(1)):
        one = replace(alone, qkv=row, start=alone.start + token)
        rows.append(Card().decode(replace(case, tokens=1), one))
    assert torch.equal(out, torch.cat(rows))
    assert same_cache(inputs, alone, case.start + case.tokens)


@pytest.mark.parametrize("dtype", CACHES, ids=("fp16", "int8"))
def test_decode_is_the_same_under_every_schedule(dtype: torch.dtype) -> None:
    case = Case(2, 4, 2, 16, start=127, rotated=16, alibi=True)
    inputs = Inputs.of(case, dtype)
    results = []
    for schedule in SCHEDULES:
        copy = inputs.copy()
        results.append((Card(schedule).decode(case, copy, splits=2), copy))
    assert all(torch.equal(out, results[0][0]) for out, _ in results)
    assert all(same_cache(copy, results[0][1], 129) for _, copy in results)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_that_live_together_join_in_any_order(seed: int) -> None:
    case = Case(3, 6, 2, 32, start=500, rotated=32)
    inputs = Inputs.of(case, torch.float16)
    expected = Card().decode(case, inputs.copy(), splits=6)
    schedule = Schedule(order="shuffled", seed=seed, coresident=True)
    assert torch.equal(Card(schedule).decode(case, inputs, splits=6), expected)


def test_at_the_end_of_the_capacity() -> None:
    case = Case(4, 4, 2, 64, start=70, rotated=64)
    inputs = Inputs.of(case, torch.float16)
    for name in ("keys", "values"):
        setattr(inputs, name, getattr(inputs, name)[:, :74].contiguous())
    inputs.rope = tuple(table[:74].clone() for table in inputs.rope)
    out = Card().decode(case, inputs)
    assert relative_error(out, expected_output(case, inputs)) < TOLERANCE


@pytest.mark.parametrize("dtype", CACHES, ids=("fp16", "int8"))
@pytest.mark.parametrize("start", (-1, 8, 1 << 30, -(1 << 31)))
def test_positions_outside_the_cache_give_nan_and_write_nothing(
    start: int, dtype: torch.dtype
) -> None:
    case = Case(2, 4, 2, 16, start=2, rotated=16)  # a cache of 9 positions
    for run in (Card().decode, Card().append):
        inputs = Inputs.of(case, dtype)
        inputs.start.fill_(start)
        before = inputs.copy()
        out = run(case, inputs)
        inside = [0 <= start + token < 9 for token in range(2)]
        assert out[[not one for one in inside]].isnan().all()
        for token, one in enumerate(inside):
            rows = slice(start + token, start + token + 1) if one else slice(0)
            for cache, old in ((inputs.keys, before.keys), (inputs.values, before.values)):
                cache[:, rows] = old[:, rows]
        for cache, old in ((inputs.keys, before.keys), (inputs.values, before.values)):
            assert torch.equal(cache.view(torch.int8), old.view(torch.int8))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_int8_rows_of_what_is_not_finite_are_all_nan(value: float) -> None:
    case = Case(2, 2, 1, 16)
    inputs = Inputs.of(case, torch.int8)
    inputs.qkv[1, 2 * 16 + 3] = value  # of the second token's key
    appended = inputs.copy()
    out = Card().decode(case, inputs)
    assert out[0].isfinite().all() and out[1].isnan().all()
    Card().append(case, appended)
    for cache in (inputs.keys, appended.keys):
        assert from_rows(cache[0, 1]).isnan().all()
    zeros = replace(Inputs.of(case, torch.int8), qkv=torch.zeros_like(inputs.qkv))
    assert torch.equal(Card().decode(case, zeros), torch.zeros(2, 32))


def test_scores_far_beyond_the_range_of_exp() -> None:
    case = Case(1, 4, 2, 16, start=100)
    inputs = Inputs.of(case, torch.float16)
    inputs.qkv *= 100
    inputs.keys *= 100
    out = Card().decode(case, inputs)
    # As for the CPU: scores of some 1e5 have float32 steps of 1e-2.
    assert relative_error(out, expected_output(case, inputs)) < 3e-2


@pytest.mark.parametrize("dtype", CACHES, ids=("fp16", "int8"))
@pytest.mark.parametrize("head_dim", (24, 64))
def test_misaligned_memory(head_dim: int, dtype: torch.dtype) -> None:
    """Element by element, so the order of the sums is another one."""
    case = Case(2, 4, 2, head_dim, start=70, rotated=head_dim)
    inputs = Inputs.of(case, dtype)
    moved = Inputs(
        *map(misaligned, (inputs.qkv, inputs.keys, inputs.values, inputs.start)),
        rope=tuple(map(misaligned, inputs.rope)),
        alibi=None,
    )
    out = Card().decode(case, moved)
    assert relative_error(out, expected_output(case, moved)) < TOLERANCE
    Card().append(case, inputs)
    assert same_cache(inputs, moved, case.start + case.tokens)


def test_a_launch_reads_the_position_when_it_runs() -> None:
    """The same arguments for every token, as a captured graph has them."""
    case = Case(1, 4, 2, 16, rotated=16, window=70)
    inputs = Inputs.of(replace(case, tokens=150), torch.float16)
    rows = inputs.qkv
    inputs.qkv = rows[:1].clone()
    card = Card(Schedule(order="reverse"))
    for position in range(0, 150):
        inputs.qkv.copy_(rows[position : position + 1])
        inputs.start.fill_(position)
        out = card.decode(case, inputs)
    inputs.qkv, inputs.start = rows[149:], torch.tensor([149]).int()
    expected = expected_output(replace(case, start=149), inputs)
    assert relative_error(out, expected) < TOLERANCE


APPENDED = (
    Case(1, 4, 2, 64, start=3, rotated=64),
    Case(17, 5, 1, 16, start=3, rotated=8),
    Case(5, 6, 3, 80, start=70, rotated=20),
    Case(3, 3, 1, 7, start=5, rotated=6),
    Case(4, 2, 2, 128, start=0),
    Case(2, 9, 9, 256, start=1, rotated=256),
)


@pytest.mark.parametrize("dtype", CACHES, ids=("fp16", "int8"))
@pytest.mark.parametrize("case", APPENDED, ids=str)
def test_append(case: Case, dtype: torch.dtype) -> None:
    inputs = Inputs.of(case, dtype)
    before = inputs.copy()
    q = Card().append(case, inputs)
    check_cache(case, inputs, before)
    exact = expected_queries(case, inputs)
    assert bool(((q - exact).abs() <= most_half_rounding(exact)).all())


def expected_queries(case: Case, inputs: Inputs) -> Tensor:
    """[T, H D] float64: the queries are normalized and turned as keys would be."""
    width = case.heads * case.head_dim
    as_keys = replace(case, heads=0, kv_heads=case.heads)
    q = inputs.qkv[:, :width]
    norm = inputs.qk_norm and replace(inputs.qk_norm, k=inputs.qk_norm.q)
    keys, _ = expected_rows(as_keys, replace(inputs, qkv=torch.cat([q, q], dim=1), qk_norm=norm))
    return keys.transpose(0, 1).reshape(case.tokens, width)


@pytest.mark.parametrize("dtype", CACHES, ids=("fp16", "int8"))
@pytest.mark.parametrize("case", [case for case in DECODED if case.tokens > 1][:6], ids=str)
def test_chunks_leave_the_cache_that_tokens_leave(case: Case, dtype: torch.dtype) -> None:
    inputs = Inputs.of(case, dtype)
    appended = inputs.copy()
    Card().append(case, appended)
    Card().decode(case, inputs)
    assert same_cache(inputs, appended, case.start + case.tokens)


def test_append_is_the_same_under_every_schedule() -> None:
    case = Case(3, 4, 2, 16, start=2, rotated=16)
    inputs = Inputs.of(case, torch.int8)
    results = []
    for schedule in SCHEDULES:
        copy = inputs.copy()
        results.append((Card(schedule).append(case, copy), copy))
    assert all(torch.equal(q, results[0][0]) for q, _ in results)
    assert all(same_cache(copy, results[0][1], 5) for _, copy in results)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_a_token_after_a_chunk(schedule: Schedule) -> None:
    """rope_append and attn_decode one after the other, without waiting in between."""
    chunk = Case(3, 4, 2, 16, rotated=16)
    inputs = Inputs.of(replace(chunk, tokens=4), torch.float16)
    rows = inputs.qkv
    token = replace(chunk, tokens=1, start=3)
    after = replace(inputs, qkv=rows[3:].clone(), start=torch.tensor([3]).int())
    card = Card(schedule)
    q = torch.full((3, 64), torch.nan).half()
    card.stream.queue().rope_append(
        *card.common(chunk, replace(inputs, qkv=rows[:3])), q.data_ptr()
    )
    out = card.decode(token, after)
    assert relative_error(out, expected_output(token, after)) < TOLERANCE


def test_refusals() -> None:
    case = Case(1, 2, 1, 16)
    inputs = Inputs.of(case, torch.float16)
    many, wide = Case(FEW_TOKENS + 1, 2, 1, 16), Case(1, 2, 1, 264)
    refused = {
        f"tokens is {FEW_TOKENS + 1}, expected at most {FEW_TOKENS}": (
            many,
            Inputs.of(many, torch.float16),
            1,
        ),
        "head_dim is 264, expected at most 256": (wide, Inputs.of(wide, torch.float16), 1),
        f"splits is {MOST_SPLITS + 1}, expected at most {MOST_SPLITS}": (
            case,
            inputs,
            MOST_SPLITS + 1,
        ),
        "the cache is neither float16 nor int8": (case, Inputs.of(case, torch.bfloat16), 1),
    }
    for message, (shape, arguments, splits) in refused.items():
        with pytest.raises(KernelError, match="attn_decode: " + message):
            Card().decode(shape, arguments, splits)
    with pytest.raises(KernelError, match="rope_append: the cache is neither float16 nor int8"):
        Card().append(case, Inputs.of(case))
    empty = replace(case, tokens=0)
    assert Card().decode(empty, replace(inputs, qkv=inputs.qkv[:0])).shape == (0, 32)

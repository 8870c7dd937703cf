"""attention: every implementation against torch's own in float64, and the laws of a cache.

The expectation rotates by complex numbers and attends with `scaled_dot_product_attention`: neither
is how any implementation works. It attends to the cache that the op left, so that the rounding of
new keys to 16 bits, which may fall either way, is judged by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import misaligned, on_card, relative_error, same
from tinychat.errors import KernelError
from tinychat.kernels import AttentionShape, Ops, QKNorm
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.cuda import FEW_TOKENS
from tinychat.kernels.reference import ReferenceOps
from tinychat.kernels.rows import from_rows, to_rows

# Float32 sums of a few hundred terms, and an exp good to 2e-7 on scores of some units.
TOLERANCE = 2e-6
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Of a card's chunks: there torch attends, with queries and weights in float16, which has 11 bits.
HALF_TOLERANCE = 2e-3
SPARE = 5  # positions of the cache beyond the last that is written


@dataclass(frozen=True)
class Case:
    """A call: T tokens at position `start`, H query and G kv heads of size D, R dims rotated;
    normed: heads of q and k are normalized first.
    """

    tokens: int
    heads: int
    kv_heads: int
    head_dim: int
    start: int = 0
    rotated: int = 0
    window: int = 0
    alibi: bool = False
    normed: bool = False

    @property
    def shape(self) -> AttentionShape:
        scale = self.head_dim**-0.5
        return AttentionShape(self.heads, self.kv_heads, self.head_dim, scale, self.window)


CASES = (
    # One token: nothing cached, one block less, just and one more, many blocks.
    Case(1, 4, 4, 64, start=0, rotated=64),
    Case(1, 4, 2, 64, start=62, rotated=64),
    Case(1, 4, 2, 64, start=63, rotated=64),
    Case(1, 6, 2, 64, start=64, rotated=64),
    Case(1, 16, 2, 128, start=300, rotated=128),
    # One token, and heads that do not go round: the cache is cut into stretches.
    Case(1, 9, 3, 64, start=200, rotated=64),
    Case(1, 3, 1, 8, start=40, rotated=8),
    Case(1, 5, 1, 16, start=500, rotated=16),
    Case(1, 24, 1, 64, start=130, rotated=64),
    Case(1, 7, 7, 80, start=333, rotated=20),
    # Chunks: short, ragged, across blocks and tiles, after a past.
    Case(2, 4, 4, 64, rotated=64),
    Case(2, 9, 3, 64, start=100, rotated=64),
    Case(17, 8, 2, 128, rotated=128),
    Case(17, 5, 1, 16, start=3, rotated=8),
    Case(17, 6, 3, 80, start=70, rotated=32),
    Case(64, 2, 2, 64, start=64, rotated=64),
    Case(130, 4, 2, 64, rotated=64),
    Case(130, 7, 1, 8, start=61, rotated=8),
    Case(130, 6, 2, 128, start=200),
    # Head sizes that no vector divides.
    Case(1, 4, 2, 12, start=70, rotated=12),
    Case(17, 4, 2, 12, start=70, rotated=4),
    Case(17, 3, 1, 1, start=5),
    Case(1, 2, 2, 7, start=30, rotated=6),
    # Windows: only itself, within a block, across blocks, longer than the past.
    Case(1, 4, 2, 64, start=200, rotated=64, window=1),
    Case(1, 4, 2, 64, start=200, rotated=64, window=64),
    Case(1, 3, 1, 64, start=300, rotated=64, window=150),
    Case(17, 4, 2, 64, start=100, rotated=64, window=1),
    Case(17, 4, 2, 64, start=3, rotated=64, window=5),
    Case(130, 6, 2, 16, start=50, rotated=16, window=70),
    Case(130, 4, 1, 16, start=50, rotated=16, window=1000),
    # ALiBi, with and without the rest.
    Case(1, 8, 8, 64, start=150, alibi=True),
    Case(17, 8, 1, 64, start=10, alibi=True),
    Case(130, 4, 2, 16, rotated=16, window=40, alibi=True),
    # Norms of q and k: one token, in stretches, of any size; chunks; without rotation.
    Case(1, 16, 8, 128, start=150, rotated=128, normed=True),
    Case(1, 9, 3, 64, start=200, rotated=64, normed=True),
    Case(1, 2, 2, 7, start=30, rotated=6, normed=True),
    Case(5, 4, 2, 128, start=70, rotated=128, window=50, normed=True),
    Case(17, 6, 3, 80, start=70, rotated=32, normed=True),
    Case(130, 4, 2, 64, normed=True),
)
EPS = 1e-3  # large enough to be seen


def tolerance(ops: Ops, case: Case) -> float:
    return HALF_TOLERANCE if on_card(ops) and case.tokens > FEW_TOKENS else TOLERANCE


def widest(ops: Ops) -> torch.dtype:
    """The most exact that the cache can be."""
    return ops.kv_dtypes[0]


def kept(ops: Ops, dtype: torch.dtype) -> torch.dtype:
    if dtype not in ops.kv_dtypes:
        pytest.skip(f"{ops.name} keeps no cache of {dtype}")
    return dtype


@dataclass
class Inputs:
    """The tensors of a call; unwritten cache positions hold NaN, which must never be read."""

    qkv: Tensor
    keys: Tensor
    values: Tensor
    start: Tensor
    rope: tuple[Tensor, Tensor] | None
    alibi: Tensor | None
    qk_norm: QKNorm | None = None

    @staticmethod
    def of(case: Case, dtype: torch.dtype = torch.float32) -> Inputs:
        capacity = case.start + case.tokens + SPARE
        rope = None
        if case.rotated:
            angles = torch.rand(capacity, case.rotated // 2) * 6.3
            rope = (angles.cos(), angles.sin())
        keys, values = torch.randn(2, case.kv_heads, capacity, case.head_dim)
        keys[:, case.start :] = values[:, case.start :] = torch.nan
        keys, values = to_rows(keys, dtype), to_rows(values, dtype)
        return Inputs(
            qkv=torch.randn(case.tokens, (case.heads + 2 * case.kv_heads) * case.head_dim),
            keys=keys,
            values=values,
            start=torch.tensor([case.start], dtype=torch.int32),
            rope=rope,
            alibi=torch.rand(case.heads) if case.alibi else None,
            qk_norm=QKNorm(*(1 + torch.randn(2, case.head_dim) / 3), EPS) if case.normed else None,
        )

    def copy(self) -> Inputs:
        return replace(self, keys=self.keys.clone(), values=self.values.clone())

    def run(self, ops: Ops, case: Case) -> Tensor:
        return ops.attention(
            self.qkv,
            self.keys,
            self.values,
            self.start,
            case.shape,
            self.rope,
            self.alibi,
            self.qk_norm,
        )


def placed(x: Tensor, weight: Tensor | None, case: Case, inputs: Inputs) -> Tensor:
    """x [T, heads, D] float64, normalized if there is a weight, and rotated."""
    if weight is not None:
        length = x.norm(dim=-1, keepdim=True).square() / case.head_dim
        x = x / (length + EPS).sqrt() * weight.double()
    return rotate(x, case, inputs)


def rotate(x: Tensor, case: Case, inputs: Inputs) -> Tensor:
    """x [T, heads, D] float64, turned as complex numbers."""
    if inputs.rope is None:
        return x
    half = case.rotated // 2
    cos, sin = (t[case.start : case.start + case.tokens].double() for t in inputs.rope)
    pairs = torch.complex(x[..., :half], x[..., half : 2 * half])
    turned = pairs * torch.complex(cos, sin).unsqueeze(1)
    return torch.cat([turned.real, turned.imag, x[..., 2 * half :]], dim=-1)


def expected_rows(case: Case, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """The keys and values that the call must append, [G, T, D] float64."""
    heads = inputs.qkv.double().view(case.tokens, -1, case.head_dim)
    weight = inputs.qk_norm.k if inputs.qk_norm else None
    keys = placed(heads[:, case.heads : case.heads + case.kv_heads], weight, case, inputs)
    return keys.transpose(0, 1), heads[:, case.heads + case.kv_heads :].transpose(0, 1)


def expected_output(case: Case, inputs: Inputs) -> Tensor:
    """What attending to the cache in `inputs`, the call's own positions included, must give."""
    end = case.start + case.tokens
    heads = inputs.qkv.double().view(case.tokens, -1, case.head_dim)
    weight = inputs.qk_norm.q if inputs.qk_norm else None
    q = placed(heads[:, : case.heads], weight, case, inputs).transpose(0, 1)
    group = case.heads // case.kv_heads
    keys, values = (
        from_rows(t[:, :end]).double().repeat_interleave(group, dim=0)
        for t in (inputs.keys, inputs.values)
    )
    distance = torch.arange(end) - torch.arange(case.start, end).unsqueeze(1)  # j - i
    visible = distance <= 0
    if case.window:
        visible &= distance > -case.window
    bias = torch.zeros(case.heads, case.tokens, end, dtype=torch.float64)
    if inputs.alibi is not None:
        bias += inputs.alibi.double().view(-1, 1, 1) * distance
    bias.masked_fill_(~visible, -torch.inf)
    out = torch.nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=bias)
    return out.transpose(0, 1).reshape(case.tokens, -1)


@pytest.mark.parametrize("dtype", DTYPES, ids=("fp32", "fp16", "bf16"))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_float64(ops: Ops, case: Case, dtype: torch.dtype) -> None:
    inputs = Inputs.of(case, kept(ops, dtype))
    before = inputs.copy()
    out = inputs.run(ops, case)

    written = slice(case.start, case.start + case.tokens)
    keys, values = expected_rows(case, inputs)
    unit = torch.finfo(dtype).eps  # of the last place
    torch.testing.assert_close(inputs.keys[:, written].double(), keys, rtol=unit, atol=1e-6)
    assert torch.equal(inputs.values[:, written], values.float().to(dtype))
    for cache, old in ((inputs.keys, before.keys), (inputs.values, before.values)):
        assert torch.equal(cache[:, : case.start], old[:, : case.start])
        assert cache[:, case.start + case.tokens :].isnan().all()
    assert relative_error(out, expected_output(case, inputs)) < tolerance(ops, case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_int8_rows(ops: Ops, case: Case) -> None:
    """New rows are rounded to within half a step of their own scale, and attended to as they are
    then; nothing else of the cache is touched.
    """
    inputs = Inputs.of(case, torch.int8)
    before = inputs.copy()
    out = inputs.run(ops, case)

    written = slice(case.start, case.start + case.tokens)
    for cache, old, exact in zip(
        (inputs.keys, inputs.values),
        (before.keys, before.values),
        expected_rows(case, inputs),
        strict=True,
    ):
        step = exact.abs().amax(dim=-1, keepdim=True) / 127
        wrong = (from_rows(cache[:, written]) - exact).abs()
        assert bool((wrong <= 0.501 * step).all())
        assert torch.equal(cache[:, : case.start], old[:, : case.start])
        assert torch.equal(cache[:, case.start + case.tokens :], old[:, case.start + case.tokens :])
    assert relative_error(out, expected_output(case, inputs)) < tolerance(ops, case)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_int8_rows_of_what_is_not_finite_are_all_nan(ops: Ops, value: float) -> None:
    case = Case(2, 2, 1, 16)
    inputs = Inputs.of(case, torch.int8)
    inputs.qkv[1, 2 * 16 + 3] = value  # of the second token's key
    out = inputs.run(ops, case)
    assert out[0].isfinite().all() and out[1].isnan().all()
    assert from_rows(inputs.keys[0, 1]).isnan().all()
    zeros = replace(Inputs.of(case, torch.int8), qkv=torch.zeros_like(inputs.qkv))
    assert torch.equal(zeros.run(ops, case), torch.zeros(2, 32))


@pytest.mark.parametrize("case", CASES[::3], ids=str)
def test_native_against_the_reference(compared: Ops, reference: ReferenceOps, case: Case) -> None:
    inputs = Inputs.of(case, widest(compared))
    other = inputs.copy()
    error = relative_error(inputs.run(compared, case), other.run(reference, case))
    assert error < tolerance(compared, case)


@pytest.mark.parametrize("group", range(1, 9))
@pytest.mark.parametrize("tokens", (1, 3, 17))
def test_every_group_size(ops: Ops, tokens: int, group: int) -> None:
    case = Case(tokens, 2 * group, 2, 64, start=80, rotated=64)
    inputs = Inputs.of(case, torch.float16)
    out = inputs.run(ops, case)
    assert relative_error(out, expected_output(case, inputs)) < tolerance(ops, case)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float16))
@pytest.mark.parametrize("sizes", ((1,) * 40, (17, 1, 2, 20), (39, 1)), ids=str)
@pytest.mark.parametrize("window", (0, 9))
def test_chunks_and_tokens_give_what_the_whole_gives(
    ops: Ops, window: int, sizes: tuple[int, ...], dtype: torch.dtype
) -> None:
    whole = Case(40, 6, 3, 16, rotated=16, window=window, alibi=True)
    inputs = Inputs.of(whole, kept(ops, dtype))
    parts = inputs.copy()
    expected = inputs.run(ops, whole)
    rows = []
    for chunk in inputs.qkv.split(sizes):
        part = replace(parts, qkv=chunk, start=torch.tensor([sum(map(len, rows))]).int())
        rows.append(part.run(ops, replace(whole, tokens=len(chunk))))
    assert relative_error(torch.cat(rows), expected) < tolerance(ops, whole)
    assert torch.equal(parts.keys[:, :40], inputs.keys[:, :40])
    assert torch.equal(parts.values[:, :40], inputs.values[:, :40])


ALONE = (
    *(case for case in CASES if 2 <= case.tokens <= 17),
    Case(5, 3, 1, 64, start=190, rotated=64),  # in stretches, across a block
    Case(5, 9, 3, 64, start=60, rotated=64, window=70),  # across a block, the window too
    Case(16, 8, 4, 80, start=250, rotated=20, alibi=True),
)


@pytest.mark.parametrize("recorded", (False, True))
@pytest.mark.parametrize("case", ALONE, ids=str)
def test_tokens_with_a_position_each_are_bit_for_bit_what_they_are_alone(
    ops: Ops, case: Case, recorded: bool
) -> None:
    if recorded and not ops.can_record:
        pytest.skip(f"{ops.name} cannot record")
    inputs = Inputs.of(case, torch.float16)
    alone = inputs.copy()
    positions = torch.arange(case.start, case.start + case.tokens, dtype=torch.int32)
    rows = [
        replace(alone, qkv=row, start=position).run(ops, case)
        for row, position in zip(inputs.qkv.split(1), positions.split(1), strict=True)
    ]
    if recorded:
        inputs.start = positions - case.start
        with ops.record() as plan:
            out = inputs.run(ops, case)
        inputs.start.copy_(positions)
        plan.run()
    else:
        inputs.start = positions
        out = inputs.run(ops, case)
    assert torch.equal(out, torch.cat(rows))
    end = case.start + case.tokens
    assert torch.equal(inputs.keys[:, :end], alone.keys[:, :end])
    assert torch.equal(inputs.values[:, :end], alone.values[:, :end])
    assert inputs.keys[:, end:].isnan().all()


@pytest.mark.parametrize("tokens", (1, 20))
def test_a_window_hides_what_lies_before_it(ops: Ops, tokens: int) -> None:
    case = Case(tokens, 4, 2, 16, start=100, window=10)
    inputs = Inputs.of(case, widest(ops))
    changed = inputs.copy()
    changed.keys[:, :91] = 1e4
    changed.values[:, :91] = -1e4
    assert torch.equal(inputs.run(ops, case), changed.run(ops, case))
    seen = inputs.copy()
    seen.values[:, 91] = -1e4  # the first position that the first token sees
    assert not torch.equal(inputs.run(ops, case)[0], seen.run(ops, case)[0])


@pytest.mark.parametrize("tokens", (1, 20))
def test_scores_far_beyond_the_range_of_exp(ops: Ops, tokens: int) -> None:
    case = Case(tokens, 4, 2, 16, start=100)
    inputs = Inputs.of(case, widest(ops))
    inputs.qkv *= 100
    inputs.keys *= 100
    out = inputs.run(ops, case)
    # Scores of some 1e5 have float32 steps of 1e-2, so that weights are good to a few per cent;
    # mostly one is 1 and the others vanish.
    assert relative_error(out, expected_output(case, inputs)) < 3e-2


@pytest.mark.parametrize("tokens", (1, 19))
def test_misaligned_memory(ops: Ops, tokens: int) -> None:
    case = Case(tokens, 4, 2, 24, start=70, rotated=24)
    inputs = Inputs.of(case, torch.float16)
    moved = Inputs(
        *map(misaligned, (inputs.qkv, inputs.keys, inputs.values, inputs.start)),
        rope=tuple(map(misaligned, inputs.rope)),
        alibi=None,
    )
    assert same(ops, moved.run(ops, case), inputs.run(ops, case), TOLERANCE)


@pytest.mark.parametrize("case", [case for case in CASES if case.head_dim % 16], ids=str)
def test_what_an_earlier_call_left_in_memory_is_not_read(ops: Ops, case: Case) -> None:
    inputs = Inputs.of(case, widest(ops))
    again = inputs.copy()
    out = inputs.run(ops, case)
    other = Case(130, 8, 2, 64)
    poison = Inputs.of(other, widest(ops))
    poison.qkv.fill_(torch.nan)
    assert poison.run(ops, other).isnan().all()
    assert torch.equal(again.run(ops, case), out)


@pytest.mark.parametrize("tokens", (0, 1, 2))
def test_nothing_but_the_output_is_new(ops: Ops, tokens: int) -> None:
    case = Case(tokens, 4, 2, 16, start=3, rotated=16)
    inputs = Inputs.of(case, widest(ops))
    qkv = inputs.qkv.clone()
    assert inputs.run(ops, case).shape == (tokens, 64)
    assert torch.equal(inputs.qkv, qkv)
    assert int(inputs.start) == 3


@pytest.fixture(scope="module", params=(1, 3, 4))
def team(request: pytest.FixtureRequest) -> Iterator[CpuOps]:
    ops = CpuOps(threads=request.param)
    yield ops
    ops.close()


@pytest.mark.parametrize("case", CASES[:10] + CASES[17:19], ids=str)
def test_any_number_of_threads(team: CpuOps, case: Case) -> None:
    inputs = Inputs.of(case, torch.float16)
    out = inputs.run(team, case)
    assert relative_error(out, expected_output(case, inputs)) < TOLERANCE


def test_a_recorded_step_reads_start_when_it_runs(compared: Ops) -> None:
    case = Case(1, 6, 3, 16, start=0, rotated=16, window=70)
    inputs = Inputs.of(replace(case, tokens=150), widest(compared))
    tokens = inputs.qkv
    direct = inputs.copy()
    inputs.qkv = tokens[:1].clone()
    with compared.record() as plan:
        out = inputs.run(compared, case)
    for position in range(150):
        inputs.qkv.copy_(tokens[position : position + 1])
        inputs.start.fill_(position)
        plan.run()
        direct.qkv = tokens[position : position + 1]
        direct.start = torch.tensor([position], dtype=torch.int32)
        assert torch.equal(out, direct.run(compared, case))


def test_refusals(ops: Ops) -> None:
    case = Case(3, 4, 2, 8, start=2, rotated=8)
    inputs = Inputs.of(case, widest(ops))  # a cache of 10 positions
    shape = case.shape
    cos, sin = inputs.rope

    def change(**changes: Any) -> Inputs:
        return replace(inputs, **changes)

    cases = {
        r"qkv of attention has shape \[3, 63\], expected \[\*, 64\]": change(
            qkv=torch.randn(3, 63)
        ),
        "qkv of attention is torch.float16": change(qkv=inputs.qkv.half()),
        "qkv of attention is not contiguous": change(qkv=torch.randn(64, 3).t()),
        "qkv of attention has 11 tokens, expected at most the cache's 10": change(
            qkv=torch.randn(11, 64)
        ),
        "keys of attention is torch.float64": change(keys=inputs.keys.double()),
        r"keys of attention has shape \[1, 10, 8\]": change(keys=inputs.keys[:1]),
        "keys of attention is not contiguous": change(keys=inputs.keys[:, ::2]),
        "values of attention is torch.bfloat16": change(values=inputs.values.bfloat16()),
        r"values of attention has shape \[2, 9, 8\]": change(
            values=inputs.values[:, :9].contiguous()
        ),
        "start of attention is torch.int64": change(start=inputs.start.long()),
        r"start of attention has shape \[\]": change(start=inputs.start[0]),
        "start of attention is 8, expected 0 to 7": change(start=torch.tensor([8]).int()),
        "start of attention is -1": change(start=torch.tensor([-1]).int()),
        r"start of attention has shape \[2\], expected \[3\]": change(start=torch.arange(2).int()),
        r"start of attention is \[2, 4, 3\], expected a run": change(
            start=torch.tensor([2, 4, 3]).int()
        ),
        "start of attention is 8, expected 0 to 7: 3 tokens": change(
            start=torch.arange(8, 11).int()
        ),
        r"cos of attention has shape \[9, 4\], expected at least 10": change(
            rope=(cos[:9], sin[:9])
        ),
        r"cos of attention has shape \[10, 5\]": change(rope=(torch.ones(10, 5),) * 2),
        r"sin of attention has shape \[10, 3\]": change(rope=(cos, torch.ones(10, 3))),
        r"alibi of attention has shape \[2\], expected \[4\]": change(alibi=torch.ones(2)),
        r"qk_norm.q of attention has shape \[4\], expected \[8\]": change(
            qk_norm=QKNorm(torch.ones(4), torch.ones(8), EPS)
        ),
        "qk_norm.k of attention is torch.float16": change(
            qk_norm=QKNorm(torch.ones(8), torch.ones(8).half(), EPS)
        ),
    }
    for message, arguments in cases.items():
        with pytest.raises(KernelError, match=message):
            arguments.run(ops, case)
    for message, wrong in {
        "heads=4, kv_heads=3": replace(shape, kv_heads=3),
        "kv_heads=0": replace(shape, kv_heads=0),
        "window=-1": replace(shape, window=-1),
    }.items():
        with pytest.raises(KernelError, match=message):
            ops.attention(inputs.qkv, inputs.keys, inputs.values, inputs.start, wrong)
    assert inputs.keys[:, 2:].isnan().all()  # no refusal wrote anything
    assert inputs.run(ops, case).isfinite().all()

"""refine, compiled as host C++: which outputs are chosen, exactly, and what is added, in float64.

What is chosen depends on nothing but the logits. The product is gemv's, so its tolerances are too.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import SCHEDULES, SHUFFLED, Schedule
from tests.cuda.streams import emulated, layout_of, open_stream
from tests.cuda.test_gemv import BITS, SUM_ROUNDING, product, rounded
from tests.kernels.compare import misaligned, relative_error
from tests.kernels.test_matmul import random_weight
from tests.kernels.test_refine import by_definition, ones, tiles_of
from tinychat.errors import KernelError
from tinychat.kernels import TILE_OUTPUTS, PackedWeight, tc16
from tinychat.kernels.reference import ReferenceOps

# (N, K, Q): whole tiles; a ragged last tile; fewer outputs than a tile; whole rows; two blocks of
# maxima.
SHAPES = ((64, 256, 128), (75, 192, 64), (5, 140, 64), (100, 200, 200), (4200, 32, 32))
MOST = 2**19


def refined(
    logits: Tensor,
    x: Tensor,
    packed: PackedWeight,
    tiles: int,
    schedule: Schedule = SHUFFLED,
    launches: int = 1,
) -> Tensor:
    """`Ops.refine` on an emulated card, several times over the same workspaces."""
    tokens, all_tiles = len(x), -(-packed.shape[0] // TILE_OUTPUTS)
    out = misaligned(logits) if logits.data_ptr() % 16 else logits.clone()
    keys = torch.full((tokens, all_tiles), -1, dtype=torch.int32)
    chosen = torch.full((tokens, min(tiles, all_tiles)), 2**30, dtype=torch.int32)
    arrived = torch.zeros(tokens, dtype=torch.int32)
    addresses = (out.data_ptr(), x.data_ptr(), packed.data.data_ptr())
    workspaces = (keys.data_ptr(), chosen.data_ptr(), arrived.data_ptr())
    stream = open_stream(schedule)
    for _ in range(launches):
        stream.queue().refine(*addresses, layout_of(packed), tokens, tiles, *workspaces)
    stream.synchronize()
    assert not arrived.any()
    return out


def chosen_tiles(logits: Tensor, tiles: int) -> list[list[int]]:
    """Which tiles are refined: every finite output of theirs grows by 32."""
    packed = tc16.pack(ones(logits.shape[1]))
    out = refined(logits, torch.ones((len(logits), 32)), packed, tiles)
    assert torch.equal(out.isfinite(), logits.isfinite())
    grown = (out - logits).nan_to_num(0.0) > 16
    return [(row.nonzero()[:, 0] // TILE_OUTPUTS).unique().tolist() for row in grown]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_sum_is_as_defined(shape: tuple[int, int, int], bits: int) -> None:
    weight = random_weight(*shape, bits)
    packed = tc16.pack(weight)
    for tokens in (1, 3) if shape[0] > 1000 else (1, 8):
        x, logits = torch.randn((tokens, shape[1])), torch.randn((tokens, shape[0]))
        sums = product(rounded(x, shape[2]), weight)
        for tiles in (1, 5, 10**6):
            expected = by_definition(logits, sums, tiles)
            out = refined(logits, x, packed, tiles)
            assert relative_error(out, expected) < SUM_ROUNDING, (tokens, tiles)
            left = expected == logits
            assert torch.equal(out[left], logits[left]), "the others are not touched"


@pytest.mark.parametrize("tiles", (1, 4, 18, 19))
def test_against_the_reference(tiles: int) -> None:
    weight, reference = random_weight(300, 256, 128, 4), ReferenceOps()
    x, logits = torch.randn((3, 256)), 10 * torch.randn((3, 300))
    expected = logits.clone()
    reference.refine(expected, x, reference.pack(weight), tiles)
    out = refined(logits, x, tc16.pack(weight), tiles)
    # What rounding activations to float16 costs: 2^-12 of each in the mean.
    assert relative_error(out - logits, expected - logits) < 5e-4
    assert torch.equal(out == logits, expected == logits)


@pytest.mark.parametrize("tiles", (1, 2, 3, 4, 5, 6))
def test_of_equal_maxima_the_first_tiles_are_refined(tiles: int) -> None:
    logits = torch.zeros((3, 90))  # six tiles, the last of ten
    logits[1, [20, 40, 85]] = 1.0  # tiles 1, 2 and 5
    logits[2] = -0.0
    logits[2, 50:] = 0.0  # which equals -0
    found = chosen_tiles(logits, tiles)
    assert found == tiles_of(logits, tiles)
    assert found[0] == found[2] == list(range(tiles))
    assert found[1] == sorted([1, 2, 5, 0, 3, 4][:tiles])


def test_a_thousand_tiles_of_several_blocks() -> None:
    equal = torch.randint(0, 3, (1, 16000)).float()
    distinct = torch.randn((1, 16000)) * torch.exp2(torch.randint(-100, 100, (1, 16000)))
    negative = -1.0 - torch.rand(1, 16000)
    logits = torch.cat([equal, distinct, negative])
    for tiles in (1, 62, 999):
        assert chosen_tiles(logits, tiles) == tiles_of(logits, tiles)


def test_the_largest_vocabulary() -> None:
    """Every thread has all the keys that it can have; the last tile is one of the chosen."""
    logits = torch.randint(0, 1000, (1, MOST)).float()
    logits[0, -1] = 1e6
    found = chosen_tiles(logits, 300)
    assert found == tiles_of(logits, 300) and found[0][-1] == MOST // TILE_OUTPUTS - 1


# 8, 16 and 32 keys a thread; the last is the vocabulary of Gemma 3.
@pytest.mark.parametrize("outputs", (2**17, 2**17 + 16, 262208))
def test_large_vocabularies(outputs: int) -> None:
    logits = torch.randint(0, 1000, (1, outputs)).float()
    logits[0, -1] = 1e6
    found = chosen_tiles(logits, 300)
    assert found == tiles_of(logits, 300) and found[0][-1] == outputs // TILE_OUTPUTS - 1


def test_nan_counts_as_minus_infinity() -> None:
    nan, inf = math.nan, math.inf
    logits = torch.zeros((4, 70))  # five tiles, the last of six
    logits[0, 3], logits[0, 18] = nan, 1.0
    logits[1, 1:16], logits[1, 0], logits[1, 33] = nan, -5.0, inf
    logits[2] = -inf
    logits[2, 5::16], logits[2, 0], logits[2, 40], logits[2, 69] = -nan, -3.0, -4.0, -2.0
    logits[3, :64] = nan
    logits[3, 63] = 0.0
    assert chosen_tiles(logits, 2) == tiles_of(logits, 2) == [[0, 1], [1, 2], [0, 4], [3, 4]]
    # A tile of nothing but NaN equals one of minus infinity, and the first of them is taken.
    logits = torch.full((1, 70), -inf)
    logits[0, :16], logits[0, 20], logits[0, 36], logits[0, 64] = nan, nan, 1.0, 0.0
    out = refined(logits, torch.full((1, 32), inf), tc16.pack(ones(70)), 3)
    assert out[0, 21:32].eq(-inf).all() and out[0, :16].isnan().all()


def test_rows_of_nothing_but_nan_or_minus_infinity() -> None:
    logits = torch.full((2, 70), math.nan)
    logits[1] = -math.inf
    for tiles in (1, 4, 5):
        out = refined(logits, torch.ones((2, 32)), tc16.pack(ones(70)), tiles)
        assert out[0].isnan().all() and torch.equal(out[1], logits[1])
        spoiled = refined(logits, torch.full((2, 32), math.nan), tc16.pack(ones(70)), tiles)
        assert torch.equal(spoiled[1].isnan(), torch.arange(70) < tiles * TILE_OUTPUTS)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", ((75, 192, 64), (100, 200, 200), (300, 96, 32)))
def test_a_row_is_the_same_in_any_company(shape: tuple[int, int, int], bits: int) -> None:
    packed = tc16.pack(random_weight(*shape, bits))
    x, logits = torch.randn((8, shape[1])), torch.randn((8, shape[0]))
    for tiles in (1, 4, 99):
        pairs = zip(logits.split(1), x.split(1), strict=True)
        one_by_one = torch.cat([refined(row, xs, packed, tiles) for row, xs in pairs])
        for tokens in (2, 8):
            together = refined(logits[:tokens], x[:tokens], packed, tiles)
            assert torch.equal(together, one_by_one[:tokens]), (tokens, tiles)


def test_slices_of_long_rows() -> None:
    """Inputs that do not fit into shared memory at a time."""
    weight, x, logits = random_weight(40, 25000, 128, 4), torch.randn(2, 25000), torch.randn(2, 40)
    expected = by_definition(logits, product(rounded(x, 128), weight), 2)
    # Sums of 25000 products, which cancel.
    assert relative_error(refined(logits, x, tc16.pack(weight), 2), expected) < 10 * SUM_ROUNDING


def test_misaligned_memory() -> None:
    packed = tc16.pack(random_weight(75, 128, 64, 4))
    x, logits = torch.randn((3, 128)), torch.randn((3, 75))
    out = refined(misaligned(logits), misaligned(x), packed, 2)
    assert torch.equal(out, refined(logits, x, packed, 2))


def test_the_same_under_every_schedule() -> None:
    """Of two launches that follow each other, the second of which chooses anew."""
    packed = tc16.pack(random_weight(4200, 64, 32, 4))  # two blocks of maxima
    x, logits = torch.randn((2, 64)), torch.randn((2, 4200))
    results: dict[bool, list[Tensor]] = {False: [], True: []}
    for schedule in SCHEDULES:
        # sm_75 adds eight products at a time instead of sixteen.
        out = refined(logits, x, packed, 5, schedule, launches=2)
        results[schedule.arch == 750].append(out)
    for same in results.values():
        assert all(torch.equal(out, same[0]) for out in same)
    once = refined(logits, x, packed, 5)
    assert torch.equal(refined(once, x, packed, 5), results[False][0])


def test_no_tokens() -> None:
    out = refined(torch.empty((0, 75)), torch.empty((0, 32)), tc16.pack(ones(75)), 1)
    assert out.shape == (0, 75)


def test_refusals() -> None:
    queue = open_stream().queue()
    tc = emulated.Tc16
    cases = {
        "refine: 9 tokens; at most 8": (tc(4, 32, 64, 32), 9),
        "refine: a weight has 4 bits in groups of 16": (tc(4, 32, 64, 16), 1),
        f"refine: {MOST + 1} outputs; at most {MOST}": (tc(4, MOST + 1, 64, 32), 1),
    }
    for message, (layout, tokens) in cases.items():
        with pytest.raises(KernelError, match=message):
            queue.refine(0, 0, 0, layout, tokens, 1, 0, 0, 0)

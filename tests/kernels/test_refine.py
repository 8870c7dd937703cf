"""refine: which outputs are chosen, what is added to them, and that a row is a row in any company.

Native products are compared with the emulation of matmul's tests, where only float32 sums differ;
what is chosen depends on nothing but the logits, so it is compared exactly.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.isas import ISAS, ops_of
from tests.kernels.compare import misaligned, on_card, relative_error, same
from tests.kernels.test_matmul import product_as_defined, random_weight
from tinychat.errors import KernelError
from tinychat.kernels import TILE_OUTPUTS, Ops, _cpu
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.quantize.format import BITS, LowBitWeight

# (N, K, Q): whole tiles; a ragged last tile; fewer outputs than a tile; whole rows; runs of maxima.
SHAPES = ((64, 256, 128), (75, 192, 64), (5, 140, 64), (100, 200, 200), (9000, 32, 32))


def refined(ops: Ops, logits: Tensor, x: Tensor, weight: LowBitWeight, tiles: int) -> Tensor:
    out = logits.clone()
    ops.refine(out, x, ops.pack(weight), tiles)
    return out


def tiles_of(logits: Tensor, count: int) -> list[list[int]]:
    """By definition: of each row the tiles with the largest maxima, the first of equal ones."""
    chosen = []
    for row in logits.tolist():
        numbers = [-math.inf if math.isnan(number) else number for number in row]
        starts = range(0, len(row), TILE_OUTPUTS)
        maxima = [max(numbers[start : start + TILE_OUTPUTS]) for start in starts]
        best = sorted(range(len(maxima)), key=lambda tile: (-maxima[tile], tile))
        chosen.append(sorted(best[:count]))
    return chosen


def by_definition(logits: Tensor, product: Tensor, tiles: int) -> Tensor:
    """float64."""
    out = logits.double()
    for token, chosen in enumerate(tiles_of(logits, tiles)):
        for tile in chosen:
            outputs = slice(tile * TILE_OUTPUTS, (tile + 1) * TILE_OUTPUTS)
            out[token, outputs] += product[token, outputs]
    return out


def ones(outputs: int) -> LowBitWeight:
    """A matrix [N, 32] of ones."""
    codes = torch.ones((outputs, 32), dtype=torch.uint8)
    zeros = torch.zeros((outputs, 1), dtype=torch.uint8)
    return LowBitWeight(codes, torch.ones((outputs, 1)).half(), zeros, 4, 32)


def chosen_tiles(ops: Ops, logits: Tensor, tiles: int) -> list[list[int]]:
    """Which tiles an implementation refines: with x = 1 every output of theirs that is finite grows
    by 32.
    """
    out = refined(ops, logits, torch.ones((len(logits), 32)), ones(logits.shape[1]), tiles)
    assert torch.equal(out.isfinite(), logits.isfinite())
    found = []
    for before, after in zip(logits, out, strict=True):
        grown = ((after - before).nan_to_num(0.0) > 16).nonzero()[:, 0] // TILE_OUTPUTS
        found.append(grown.unique().tolist())
    return found


def test_a_tile_is_what_the_layout_keeps_together() -> None:
    assert TILE_OUTPUTS == _cpu.TILE_ROWS


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_sum_is_as_defined(ops: Ops, shape: tuple[int, int, int], bits: int) -> None:
    weight = random_weight(*shape, bits)
    for tokens in (1, 2, 7):
        x = torch.randn((tokens, shape[1]))
        logits = torch.randn((tokens, shape[0]))
        product = product_as_defined(ops, x, weight)
        for tiles in (1, 2, 3, 5, 400, 10**12):
            expected = by_definition(logits, product, tiles)
            out = refined(ops, logits, x, weight, tiles)
            # float32 sums of at most a few hundred terms, some of which cancel.
            assert relative_error(out, expected) < 1e-5, (tokens, tiles)
            left = expected == logits
            assert torch.equal(out[left], logits[left]), "the others are not touched"


@pytest.mark.parametrize("bits", BITS)
def test_against_the_reference(compared: Ops, reference: ReferenceOps, bits: int) -> None:
    weight = random_weight(300, 256, 128, bits)
    x, logits = torch.randn((3, 256)), 10 * torch.randn((3, 300))
    for tiles in (1, 4, 19):
        expected = refined(reference, logits, x, weight, tiles)
        out = refined(compared, logits, x, weight, tiles)
        # What rounding activations to int8 costs; see the tests of matmul.
        assert relative_error(out - logits, expected - logits) < 0.01
        assert torch.equal(out == logits, expected == logits)


@pytest.mark.parametrize("tiles", (1, 2, 3, 4, 5, 6))
def test_of_equal_maxima_the_first_tiles_are_refined(ops: Ops, tiles: int) -> None:
    logits = torch.zeros((3, 90))  # six tiles, the last of ten
    logits[1, [20, 40, 85]] = 1.0  # tiles 1, 2 and 5
    logits[2] = -0.0
    logits[2, 50:] = 0.0  # which equals -0
    found = chosen_tiles(ops, logits, tiles)
    assert found == tiles_of(logits, tiles)
    assert found[0] == found[2] == list(range(tiles))
    assert found[1] == sorted([1, 2, 5, 0, 3, 4][:tiles])


def test_of_a_thousand_equal_maxima_too(ops: Ops) -> None:
    logits = torch.randint(0, 3, (4, 16000)).float()
    for tiles in (1, 62, 500, 999):
        assert chosen_tiles(ops, logits, tiles) == tiles_of(logits, tiles)


def test_nan_counts_as_minus_infinity(ops: Ops) -> None:
    nan, inf = math.nan, math.inf
    logits = torch.zeros((4, 70))  # five tiles, the last of six
    logits[0, 3], logits[0, 18] = nan, 1.0
    logits[1, 1:16], logits[1, 0], logits[1, 33] = nan, -5.0, inf
    logits[2] = -inf
    logits[2, 5::16], logits[2, 0], logits[2, 40], logits[2, 69] = nan, -3.0, -4.0, -2.0
    logits[3, :64] = nan
    logits[3, 63] = 0.0
    found = chosen_tiles(ops, logits, 2)
    assert found == tiles_of(logits, 2) == [[0, 1], [1, 2], [0, 4], [3, 4]]


def test_a_row_of_nothing_but_nan_has_its_first_tiles_refined(ops: Ops) -> None:
    """Not seen in NaN itself, but an index outside would be."""
    logits = torch.full((2, 70), math.nan)
    logits[1] = -math.inf
    for tiles in (1, 4, 5):
        out = refined(ops, logits, torch.ones((2, 32)), ones(70), tiles)
        assert out[0].isnan().all() and torch.equal(out[1], logits[1])


def test_what_is_not_finite_in_x_shows_where_it_is_added(ops: Ops) -> None:
    logits = torch.randn((2, 64))
    x = torch.ones((2, 32))
    x[1, 7] = math.nan
    out = refined(ops, logits, x, ones(64), 1)
    assert out[0].isfinite().all()
    (tile,) = tiles_of(logits, 1)[1]
    expected = torch.zeros(64, dtype=torch.bool)
    expected[tile * TILE_OUTPUTS : (tile + 1) * TILE_OUTPUTS] = True
    assert torch.equal(out[1].isnan(), expected)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("tiles", (1, 7, 10**6))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_is_the_same_in_any_company(
    native: CpuOps, bits: int, tiles: int, shape: tuple[int, int, int]
) -> None:
    """To the last bit: what a text becomes may not depend on how it was cut into calls."""
    weight = random_weight(*shape, bits)
    x, logits = torch.randn((9, shape[1])), torch.randn((9, shape[0]))
    pairs = zip(logits.split(1), x.split(1), strict=True)
    one_by_one = torch.cat([refined(native, row, xs, weight, tiles) for row, xs in pairs])
    for tokens in (2, 3, 9):
        together = refined(native, logits[:tokens], x[:tokens], weight, tiles)
        assert torch.equal(together, one_by_one[:tokens]), tokens


@pytest.mark.parametrize("isa", ISAS)
def test_threads_do_not_change_the_result(isa: str) -> None:
    weight = random_weight(1000, 256, 64, 4)
    x, logits = torch.randn((8, 256)), torch.randn((8, 1000))
    alone, *teams = (ops_of(isa, threads) for threads in (1, 2, 3, 7))
    try:
        for tokens in (1, 2, 8):
            for tiles in (1, 8, 63):
                expected = refined(alone, logits[:tokens], x[:tokens], weight, tiles)
                for team in teams:
                    out = refined(team, logits[:tokens], x[:tokens], weight, tiles)
                    assert torch.equal(out, expected), (team.threads, tokens, tiles)
    finally:
        for each in (alone, *teams):
            each.close()


def test_all_tiles_are_the_whole_product(native: CpuOps) -> None:
    weight = random_weight(75, 192, 64, 4)
    packed = native.pack(weight)
    x = torch.randn((3, 192))
    logits = torch.zeros((3, 75))
    native.refine(logits, x, packed, 5)
    assert torch.equal(logits, native.matmul(x, packed))


def test_no_tokens(ops: Ops) -> None:
    for tiles in (1, 100):
        out = refined(ops, torch.empty((0, 75)), torch.empty((0, 32)), ones(75), tiles)
        assert out.shape == (0, 75)


def test_memory_need_not_be_aligned(compared: Ops) -> None:
    packed = compared.pack(random_weight(75, 130, 64, 4))
    # On a card a weight has memory of its own, which is aligned.
    moved = packed.data if on_card(compared) else misaligned(packed.data)
    shifted = replace(packed, data=moved)
    x, logits = torch.randn((3, 130)), torch.randn((3, 75))
    out, expected = misaligned(logits), logits.clone()
    compared.refine(out, misaligned(x), shifted, 2)
    compared.refine(expected, x, packed, 2)
    assert same(compared, out, expected, 1e-5)


def test_a_recorded_one_chooses_anew(compared: Ops) -> None:
    coarse, fine = random_weight(200, 64, 32, 4), random_weight(200, 64, 32, 4)
    packed, finer = compared.pack(coarse), compared.pack(fine)
    x = torch.randn((2, 64))
    with compared.record() as plan:
        logits = compared.matmul(x, packed)
        compared.refine(logits, x, finer, 3)
    for _ in range(3):
        x.copy_(torch.randn((2, 64)))
        plan.run()
        expected = compared.matmul(x, packed)
        compared.refine(expected, x, finer, 3)
        assert torch.equal(logits, expected)


def test_a_profile_says_what_is_read(native: CpuOps) -> None:
    packed = native.pack(random_weight(160, 64, 32, 4))
    logits, x = torch.randn((2, 160)), torch.randn((2, 64))
    with native.profile() as times:
        native.refine(logits, x, packed, 3)
        native.refine(logits, x, packed, 99)
    (time,) = times
    assert (time.name, time.calls) == ("refine 160 x 64, 4 bits", 2)
    tiles = 2 * (3 + 10)
    assert time.bytes == tiles * packed.nbytes / 10
    assert time.operations == tiles * 2 * TILE_OUTPUTS * 64


def test_refusals_change_nothing(ops: Ops) -> None:
    packed = ops.pack(random_weight(75, 64, 32, 4))
    logits, x = torch.randn((2, 75)), torch.randn((2, 64))
    before = logits.clone()
    cases = {
        r"logits of refine has shape \[2, 74\], expected \[2, 75\]": (logits[:, :74], x, 1),
        r"logits of refine has shape \[1, 75\]": (logits[:1], x, 1),
        "logits of refine is torch.float16": (logits.half(), x, 1),
        "logits of refine is not contiguous": (torch.randn(75, 2).t(), x, 1),
        r"x of refine has shape \[2, 63\], expected \[\*, 64\]": (logits, x[:, :63], 1),
        "x of refine is torch.float64": (logits, x.double(), 1),
        "tiles of refine is 0, expected 1 or more": (logits, x, 0),
        "tiles of refine is -1": (logits, x, -1),
    }
    for message, (out, inputs, tiles) in cases.items():
        with pytest.raises(KernelError, match=message):
            ops.refine(out, inputs, packed, tiles)
    assert torch.equal(logits, before)


def test_a_weight_of_another_size_is_refused(native: CpuOps) -> None:
    packed = native.pack(random_weight(75, 64, 32, 4))
    logits, x = torch.randn((2, 75)), torch.randn((2, 64))
    for wrong, message in ((replace(packed, bits=5), "5 bits"), (replace(packed, bits=3), "shape")):
        with pytest.raises(KernelError, match=message):
            native.refine(logits, x, wrong, 1)

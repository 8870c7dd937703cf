"""Statistics of an input against the plain formulas over all of its rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tinychat.kernels import Norm
from tinychat.kernels.reference import ReferenceOps
from tinychat.nn.linear import Linear
from tinychat.quantize.observe import Seen, Watched

K = 48
CPU = torch.device("cpu")


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shown(x: Tensor, block: int = K, kept: int = 2) -> Seen:
    seen = Seen(x.shape[1], block, CPU)
    for index, rows in enumerate(torch.split(x, 17)):  # ragged at the end
        seen.add(rows, index < kept)
    return seen


@pytest.mark.parametrize("width", [K, 16, 8, 1])
@pytest.mark.parametrize("block", [K, 16])
def test_products_inside_groups_are_those_of_the_plain_product(block: int, width: int) -> None:
    x = gaussian(60, K)
    found = shown(x, block).gram(width)
    if width > block:
        assert found is None
        return
    assert found is not None
    whole = x.double().t() @ x.double() / 60
    for g in range(K // width):
        part = slice(g * width, (g + 1) * width)
        assert torch.allclose(found[g].double(), whole[part, part], atol=1e-5)


def test_without_a_block_there_are_no_products() -> None:
    assert shown(gaussian(60, K), 0).gram(K) is None
    assert shown(gaussian(60, K), 16).gram(12) is None  # 12 does not divide 16


def test_counts_magnitudes_and_kept_rows() -> None:
    x = gaussian(60, K)
    seen = shown(x)
    assert seen.tokens == 60
    assert torch.allclose(seen.magnitudes, x.abs().mean(0), rtol=1e-5)
    assert [len(rows) for rows in seen.rows] == [17, 17]
    assert torch.equal(torch.cat(seen.rows), x[:34])
    x.zero_()
    assert torch.cat(seen.rows).any(), "rows are copies"


@pytest.mark.parametrize("block", [K, 16, 0])
def test_dividing_is_having_seen_the_quotient(block: int) -> None:
    x, scales = gaussian(60, K), gaussian(K, seed=1).exp()
    divided, direct = shown(x, block), shown(x / scales, block)
    divided.divide(scales)
    assert torch.allclose(divided.magnitudes, direct.magnitudes, rtol=1e-5)
    assert torch.allclose(torch.cat(divided.rows), torch.cat(direct.rows), rtol=1e-5)
    if block:
        found, expected = divided.gram(block), direct.gram(block)
        assert found is not None and expected is not None
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("block", [K, 16])
def test_error_is_that_of_the_outputs(block: int) -> None:
    x, off = gaussian(34, K), gaussian(3, 5, K, seed=2)  # all rows are kept
    expected = (x @ off.transpose(1, 2)).square().sum(dim=2).mean(dim=1)
    seen = shown(x, block)
    assert torch.allclose(seen.error(off), expected, rtol=1e-4)
    assert torch.allclose(seen.error(off[1]), expected[1], rtol=1e-4)


def test_faults() -> None:
    assert shown(gaussian(20, K)).fault() is None
    assert Seen(K, K, CPU).fault() == "no tokens reached it"
    for value in (torch.nan, torch.inf, -torch.inf):
        x = gaussian(40, K)
        x[39, 5] = value
        assert shown(x, 0).fault() == "its activations are not finite"
    dead = gaussian(20, K)
    dead[:, [3, 30]] = 0
    assert shown(dead).fault() == "2 of its channels are always zero"
    dead[19, 3] = 1e-6
    assert shown(dead).fault() == "1 of its channels are always zero"


def test_a_watched_layer_works_as_before() -> None:
    ops = ReferenceOps()
    linear, x = Linear(ops, gaussian(7, K)), gaussian(4, K, seed=1)
    seen: list[Tensor] = []
    watched = Watched(ops, linear, seen.append)
    assert torch.equal(watched(x), linear(x)) and watched.nbytes == linear.nbytes
    assert len(seen) == 1 and seen[0] is x and not watched.native


def test_what_is_shown_is_what_the_product_reads() -> None:
    ops = ReferenceOps()
    linear, x = Linear(ops, gaussian(8, K)), gaussian(4, K, seed=1)
    norm, stream = Norm("rms", gaussian(1, K, seed=2)[0], 1e-5), gaussian(4, 8, seed=3)
    seen: list[Tensor] = []
    watched = Watched(ops, linear, seen.append)
    assert torch.equal(watched(x, norm=norm, gate="relu"), linear(x, norm=norm, gate="relu"))
    expected = linear(x, norm=norm, residual=stream.clone())
    assert torch.equal(watched(x, norm=norm, residual=stream), expected)
    assert all(torch.equal(shown, ops.norm(x, norm)) for shown in seen) and len(seen) == 2

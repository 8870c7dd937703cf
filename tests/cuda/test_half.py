"""float16 of the host build: every number, every rounding, against torch."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.cuda.emulated import Library, Schedule

ALL = torch.arange(-(2**15), 2**15).short().view(torch.float16)
FINITE = ALL[ALL.isfinite()]


def same(actual: Tensor, expected: Tensor) -> bool:
    """Bit for bit, but for the bits that a NaN carries."""
    nan = expected.isnan()
    bits = torch.int16 if expected.dtype == torch.float16 else torch.int32
    return torch.equal(actual.isnan(), nan) and torch.equal(
        actual[~nan].view(bits), expected[~nan].view(bits)
    )


def test_to_float(library: Library) -> None:
    out = torch.zeros(ALL.numel())
    library.run("halves_to_floats", Schedule(), ALL, out, ALL.numel())
    assert same(out, ALL.float())


def test_from_float_rounds_to_nearest_even(library: Library) -> None:
    ordered = FINITE.float().sort().values
    middles = (ordered[1:] + ordered[:-1]) / 2  # exact: the ties
    around = [torch.nextafter(middles, torch.tensor(s)) for s in (-torch.inf, torch.inf)]
    beyond = torch.tensor([65519.9, 65520.0, 1e6, torch.inf, torch.nan, 1e-45, 2e-8, 3e-8])
    floats = torch.cat([ALL.float(), middles, *around, beyond, -beyond, torch.randn(1000)])
    out = torch.zeros(floats.numel(), dtype=torch.float16)
    library.run("floats_to_halves", Schedule(), floats, out, floats.numel())
    assert same(out, floats.half())


def test_arithmetic_rounds_once(library: Library) -> None:
    n = 20000
    a, b, c = (FINITE[torch.randint(len(FINITE), (n, 2))].contiguous() for _ in range(3))
    c[: n // 2] = -(a[: n // 2].double() * b[: n // 2].double()).half()  # what cancels
    out = torch.zeros(4, n, 2, dtype=torch.float16)
    library.run("half2_arithmetic", Schedule(), a, b, c, out, n)
    x, y, z = a.double(), b.double(), c.double()
    for actual, exact in zip(out, (x + y, x - y, x * y, x * y + z), strict=True):
        assert same(actual, round_once(exact))


def round_once(exact: Tensor) -> Tensor:
    """torch goes from float64 to float16 through float32: make that step round to odd."""
    near = exact.float()
    toward_zero = torch.where(
        near.double().abs() > exact.abs(), torch.nextafter(near, torch.zeros(())), near
    )
    inexact = (toward_zero.double() != exact) & exact.isfinite()
    return torch.where(
        inexact, (toward_zero.view(torch.int32) | 1).view(torch.float32), near
    ).half()

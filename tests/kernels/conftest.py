"""The implementations of the ops that the tests of this folder run on.

`ops` goes through all of them, the reference included, for what must hold by itself; `native` only
through those of the CPU, `compared` through these and the cards, for what is compared with the
reference. One that cannot run here is skipped and says why.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.cuda.device import emulated_ops
from tests.isas import ISAS, ops_of
from tests.kernels.on_card import card_ops
from tinychat.kernels import Ops
from tinychat.kernels.reference import ReferenceOps

NATIVE = tuple(f"cpu-{isa}" for isa in ISAS)
CARDS = ("cuda-emulated", pytest.param("cuda", marks=pytest.mark.cuda))
THREADS = 2  # enough to share work out unevenly: the cases have odd numbers of rows and heads


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, whichever ran before."""
    torch.manual_seed(20240613)


@pytest.fixture(scope="session")
def reference() -> ReferenceOps:
    return ReferenceOps()


@pytest.fixture(scope="session", params=("reference", *NATIVE, *CARDS))
def ops(request: pytest.FixtureRequest) -> Iterator[Ops]:
    yield from _open(request.param)


@pytest.fixture(scope="session", params=NATIVE)
def native(request: pytest.FixtureRequest) -> Iterator[Ops]:
    yield from _open(request.param)


@pytest.fixture(scope="session", params=(*NATIVE, *CARDS))
def compared(request: pytest.FixtureRequest) -> Iterator[Ops]:
    yield from _open(request.param)


OPENED = {"reference": ReferenceOps, "cuda-emulated": emulated_ops, "cuda": card_ops}


def _open(name: str) -> Iterator[Ops]:
    ops = OPENED[name]() if name in OPENED else ops_of(name.removeprefix("cpu-"), THREADS)
    yield ops
    ops.close()

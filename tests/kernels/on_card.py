"""`CudaOps` on a real card behind tensors of the host, so that tests of the ops run there as they
are: arguments go to the card, results and what was changed in place come back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from torch import Tensor

from tinychat.errors import TinyChatError
from tinychat.kernels import Ops
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.cuda import CudaOps
from tinychat.kernels.cuda_device import CudaDevice
from tinychat.kernels.dispatch import choose_card


class FromHost:
    """Looks like the ops that it holds."""

    def __init__(self, ops: CudaOps) -> None:
        self._ops = ops

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ops, name)
        return partial(self._call, found) if name in OPS else found

    def _call(self, op: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        moved: list[tuple[Tensor, Tensor]] = []
        on_card = [self._there(value, moved) for value in arguments]
        named = {name: self._there(value, moved) for name, value in named.items()}
        result = op(*on_card, **named)
        self._ops.wait()
        for host, there in moved:
            host.copy_(there)
        return next((h for h, t in moved if result is t), self._here(result))

    def _there(self, value: Any, moved: list[tuple[Tensor, Tensor]]) -> Any:
        if isinstance(value, Tensor):
            there = value.to(self._ops.device)
            moved.append((value, there))
            return there
        if isinstance(value, tuple):
            return tuple(self._there(item, moved) for item in value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            tensors = {n: self._there(v, moved) for n, v in fields.items() if isinstance(v, Tensor)}
            return dataclasses.replace(value, **tensors) if tensors else value
        return value

    def _here(self, value: Any) -> Any:
        return value.cpu() if isinstance(value, Tensor) else value


OPS = (
    "embedding",
    "norm",
    "matmul",
    "refine",
    "attention",
    "gated_activation",
    "activation",
    "sample",
)


def real_ops(**settings: Any) -> CudaOps:
    """The ops of the first card; the caller closes them. Skips the test where there is no card."""
    try:
        card = choose_card("cuda")
    except TinyChatError as error:
        pytest.skip(str(error))
    assert card is not None
    return CudaOps(CudaDevice(card), CpuOps(), **settings)


def card_ops() -> Ops:
    """The same for tensors of the host."""
    return cast(Ops, FromHost(real_ops()))

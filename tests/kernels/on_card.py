"""`CudaOps` on a real card behind tensors of the host, so that tests of the ops run there as they
are: arguments go to the card, results and what was changed in place come back.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import pytest
import torch
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
        self._notes: Notes | None = None

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, name) if name in OPS else getattr(self._ops, name)

    @contextmanager
    def record(self) -> Iterator[Notes]:
        """Calls are noted, and captured when the block has ended: until then tensors are moved."""
        if os.environ.get("PYTORCH_NO_CUDA_MEMORY_CACHING"):
            pytest.skip("no graph can be captured where torch keeps no memory")
        self._notes = notes = Notes(self._ops)
        try:
            yield notes
        finally:
            self._notes = None
        notes.capture()

    def _call(self, name: str, *arguments: Any, **named: Any) -> Any:
        moved: dict[int, tuple[Tensor, Tensor]] = {}

        def move(host: Tensor) -> Tensor:  # one that is given twice stays one
            if id(host) not in moved:
                moved[id(host)] = host, copied_to(self._ops, host)
            return moved[id(host)][1]

        on_card = [move_tensors(value, move) for value in arguments]
        if name == "attention" and len(arguments) > START:
            on_card[START] = arguments[START]  # it is checked on the host
        others = {key: move_tensors(value, move) for key, value in named.items()}
        result = getattr(self._ops, name)(*on_card, **others)
        self._ops.wait()
        if self._notes is None:
            for host, there in moved.values():
                host.copy_(there)
        if isinstance(result, Tensor):
            result = next((host for host, there in moved.values() if result is there), result.cpu())
        if self._notes is not None:  # what has run was the warm-up
            self._notes.calls.append((name, arguments, named, result))
        return result


class Notes:
    """Calls with tensors of the host, to be captured with tensors of the card."""

    def __init__(self, ops: CudaOps) -> None:
        self._ops = ops
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = []
        # By the identity of one on the host: itself, and the one on the card.
        self._given: dict[int, tuple[Tensor, Tensor]] = {}
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    def capture(self) -> None:
        made: set[int] = set()

        def give(host: Tensor) -> Tensor:
            if id(host) not in made | self._given.keys():
                self._given[id(host)] = host, copied_to(self._ops, host)
            return host

        for _, arguments, named, result in self.calls:
            move_tensors((*arguments, *named.values()), give)
            if id(result) not in self._given:
                made.add(id(result))
        with self._ops.record() as self._plan:
            for name, arguments, named, result in self.calls:
                on_card = move_tensors(arguments, self._there)
                others = {key: move_tensors(value, self._there) for key, value in named.items()}
                there = getattr(self._ops, name)(*on_card, **others)
                if isinstance(there, Tensor) and id(result) in made:
                    self._made[id(result)] = result, there

    def _there(self, host: Tensor) -> Tensor:
        return {**self._given, **self._made}[id(host)][1]

    def run(self) -> None:
        for host, there in self._given.values():
            there.copy_(host)
        self._plan.run()
        self._ops.wait()
        for host, there in (*self._given.values(), *self._made.values()):
            host.copy_(there)


def copied_to(ops: CudaOps, tensor: Tensor) -> Tensor:
    """On the card, with the same strides; itself where it is there already."""
    if not tensor.is_cpu:
        return tensor
    there = torch.empty_strided(
        tensor.shape, tensor.stride(), dtype=tensor.dtype, device=ops.device
    )
    return there.copy_(tensor)


def move_tensors(value: Any, move: Callable[[Tensor], Tensor]) -> Any:
    """The value with what `move` makes of each tensor in it."""
    if isinstance(value, Tensor):
        return move(value)
    if isinstance(value, tuple):
        return tuple(move_tensors(item, move) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        tensors = {n: move(v) for n, v in fields.items() if isinstance(v, Tensor)}
        return dataclasses.replace(value, **tensors) if tensors else value
    return value


START = 3  # the argument of `attention`
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

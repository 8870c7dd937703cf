"""Stand-ins for the extension for cards and for a torch with CUDA."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

NAME = "tinychat.kernels._cuda"


def card(name: str = "NVIDIA H200", arch: int = 900, **changed: Any) -> SimpleNamespace:
    """What the driver says of an H200, but for what is changed."""
    facts = {
        "index": 0,
        "name": name,
        "arch": arch,
        "multiprocessors": 132,
        "memory_bytes": 150 << 30,
        "l2_bytes": 60 << 20,
        "shared_bytes": 227 << 10,
        "memory_khz": 3_201_000,
        "bus_bits": 6144,
        "integrated": False,
    }
    return SimpleNamespace(**{**facts, **changed})


def native(
    *cards: SimpleNamespace,
    driver: tuple[int, int] = (13, 0),
    built: tuple[int, ...] = (750, 800, 860, 890, 900),
    reason: str = "",
) -> SimpleNamespace:
    """The extension, built by CUDA 13.0."""
    for index, found in enumerate(cards):
        found.index = index
    return SimpleNamespace(
        cards=lambda: list(cards),
        why_not=lambda: reason,
        driver_version=lambda: driver,
        runtime_version=lambda: (13, 0),
        architectures=lambda: list(built),
        ptx=lambda: max(built),
    )


class Machine:
    """Has the cards that a test gives it, and a torch for CUDA that knows them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.torch(cuda="13.0")

    def has(self, *cards: SimpleNamespace, **facts: Any) -> None:
        self.patch.setitem(sys.modules, NAME, native(*cards, **facts))

    def has_no_extension(self, driver: bool) -> None:
        self.patch.setitem(sys.modules, NAME, None)
        self.patch.setattr("tinychat.kernels.cards._driver_here", lambda: driver)

    def torch(
        self,
        cuda: str | None,
        available: bool = True,
        architectures: tuple[str, ...] = ("sm_75", "sm_80", "sm_90a", "sm_100", "compute_120"),
    ) -> None:
        self.patch.setattr(torch.version, "cuda", cuda)
        self.patch.setattr(torch.cuda, "is_available", lambda: available)
        self.patch.setattr(torch.cuda, "get_arch_list", lambda: list(architectures))

    def attention(self, *kinds: str) -> None:
        found = list(kinds)
        self.patch.setattr("tinychat.kernels.cards.attention_kinds", lambda index: found)

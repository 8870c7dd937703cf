"""NVIDIA cards: what there is, what our code and torch's can do with it, and why not, in one line.

Nothing here makes a context on a card but `attention_kinds`.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tinychat.errors import ArgumentError, TinyChatError

REBUILD = "`make clean` and make again"
OLDEST_ARCH = 750
# Systems on a chip: their code is no other card's, and other cards' is not theirs.
TEGRA = (870, 1010, 1100)
PROGRAMMATIC_FROM = 900  # whose code waits for the launch before it by itself
PROGRAMMATIC_GRAPHS = (12, 3)  # CUDA of the toolkit and of the driver that capture such launches


@dataclass(frozen=True)
class Build:
    """What the extension for cards was built with and for."""

    toolkit: str
    architectures: tuple[int, ...]  # 750, 800, ...
    ptx: int  # the one that newer cards compile themselves

    def __str__(self) -> str:
        return f"{', '.join(map(sm, self.architectures))} and newer, by CUDA {self.toolkit}"


@dataclass(frozen=True)
class Card:
    """A card, with its sizes in bytes."""

    index: int
    name: str
    arch: int  # 750, 800, ...
    code: int  # of our kernels that run on it, the same or older; 0 where none do
    multiprocessors: int
    memory: int
    l2: int
    shared: int  # the most that a block may ask for
    bandwidth: float | None  # of its memory by clock and bus, bytes a second; None if not known
    # Whether a kernel may start before the one that it follows has ended. That is up to the code
    # and not to the card: older code does not know how to wait.
    programmatic: bool

    @property
    def kernels(self) -> str:
        """What it runs of ours, for people."""
        launch = "with" if self.programmatic else "without"
        return f"code for {sm(self.code)}, {launch} programmatic dependent launch"

    def __str__(self) -> str:
        speed = f", {self.bandwidth / 1e9:.0f} GB/s by its data sheet" if self.bandwidth else ""
        return (
            f"{self.name}, {sm(self.arch)}, {self.memory >> 20} MB{speed}, "
            f"{self.multiprocessors} multiprocessors, {self.l2 >> 20} MB of L2"
        )


def sm(arch: int) -> str:
    """900 as people write it."""
    return f"sm_{arch // 10}"


def built() -> Build | None:
    """What was built; None where nothing was, or it does not load."""
    native, _ = _load()
    if native is None:
        return None
    version = _dotted(native.runtime_version())
    return Build(version, tuple(native.architectures()), native.ptx())


def driver() -> str | None:
    """The newest CUDA that the driver runs; None where there is no driver, or no way to ask."""
    native, _ = _load()
    version = native.driver_version() if native else (0, 0)
    return _dotted(version) if any(version) else None


def cards() -> list[Card]:
    """The cards that the driver shows; none where it shows none."""
    native, _ = _load()
    if native is None:
        return []
    return [_card(card, native) for card in native.cards()]


def _card(card: Any, native: Any) -> Card:
    code = code_for(card.arch, native.architectures(), native.ptx())
    cuda = min(native.runtime_version(), native.driver_version())
    return Card(
        index=card.index,
        name=card.name,
        arch=card.arch,
        code=code,
        multiprocessors=card.multiprocessors,
        memory=card.memory_bytes,
        l2=card.l2_bytes,
        shared=card.shared_bytes,
        bandwidth=_bandwidth(card),
        programmatic=code >= PROGRAMMATIC_FROM and cuda >= PROGRAMMATIC_GRAPHS,
    )


def code_for(arch: int, built: list[int], ptx: int) -> int:
    """The newest code that runs on a card of this architecture: its own, older of the same
    generation, or what the driver makes of PTX; 0 for none.
    """
    if arch in built:
        return arch
    related = [
        code
        for code in built
        if code // 100 == arch // 100 and code < arch and not {code, arch} & set(TEGRA)
    ]
    return max(related, default=ptx if 0 < ptx <= arch else 0)


def why_not(index: int | None = None) -> str:
    """Why no card, or not this one, can be used here, with the way out; "" where one can."""
    native, problem = _load()
    if native is None:
        return problem
    if reason := native.why_not():
        return _driver_problem(native, reason)
    found = cards()
    if not found:
        return "the driver shows no card; see nvidia-smi and CUDA_VISIBLE_DEVICES"
    asked = found if index is None else found[index : index + 1]
    if not asked:
        return f"there is no card {index}; the last one is {len(found) - 1}"
    reasons = [_card_problem(card, native) for card in asked]
    return "" if "" in reasons else reasons[0]


def choose(index: int | None = None) -> Card:
    """This card, or the first that can be used.

    Raises: TinyChatError where none can be used, ArgumentError for a negative index.
    """
    if index is not None and index < 0:
        raise ArgumentError(f"card {index}; cards are counted from 0")
    if reason := why_not(index):
        raise TinyChatError(f"CUDA cannot be used here: {reason}")
    found = cards()
    return next(card for card in found if index in (None, card.index) and not why_not(card.index))


def attention_kinds(index: int = 0, head_dim: int = 128) -> list[str]:
    """The kinds of torch's attention that take a prompt on this card, the one it uses first."""
    import torch
    from torch.backends import cuda

    q = torch.zeros(1, 2, 16, head_dim, dtype=torch.float16, device=f"cuda:{index}")
    params = cuda.SDPAParams(q, q, q, None, 0.0, True, False)
    kinds = {
        "flash": cuda.can_use_flash_attention,
        "memory-efficient": cuda.can_use_efficient_attention,
    }
    return [*(name for name, usable in kinds.items() if usable(params)), "math"]


def hints(card: Card, attention: list[str]) -> list[str]:
    """What would make this card faster, given what `attention_kinds` found."""
    found = []
    if card.code != card.arch:
        found.append(
            f"card {card.index} runs code for {sm(card.code)}; for its own, set "
            f"TINYCHAT_CUDA_ARCHS={card.arch // 10}, {REBUILD}"
        )
    if attention[0] != "flash":
        found.append(
            f"this torch has no flash attention for card {card.index}, which prompts would take; "
            "it exists from sm_80 on, in the wheels for Linux"
        )
    return found


def _load() -> tuple[Any, str]:
    """The extension, or None and why there is none."""
    try:
        native = import_module("tinychat.kernels._cuda")
    except ModuleNotFoundError:
        if _driver_here():
            way_out = f"for the card here, install CUDA's nvcc (12.0 or newer), {REBUILD}"
            return None, f"tinychat was built without CUDA; {way_out}"
        return None, "tinychat was built without CUDA, and there is no NVIDIA driver here"
    except ImportError as error:
        return None, f"the extension for CUDA does not load ({error}); {REBUILD}"
    return native, ""


def _driver_here() -> bool:
    """Whether there is a driver, for want of an extension that could ask it."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _driver_problem(native: Any, reason: str) -> str:
    has, needs = native.driver_version(), native.runtime_version()
    if not any(has):
        return "there is no NVIDIA driver here; with an NVIDIA card, install its driver"
    if has[0] < needs[0]:
        return (
            f"the driver is for CUDA {_dotted(has)} and this build needs {needs[0]}.0; update the "
            f"driver, or build with an nvcc of CUDA {has[0]} (NVCC=...; {REBUILD})"
        )
    return f"CUDA says: {reason}; see nvidia-smi and CUDA_VISIBLE_DEVICES"


def _card_problem(card: Card, native: Any) -> str:
    if card.arch < OLDEST_ARCH:
        return f"{card.name} is {sm(card.arch)}, and tinychat needs {sm(OLDEST_ARCH)} or newer"
    if not card.code:
        listed = ", ".join(map(sm, native.architectures()))
        way_out = f"set TINYCHAT_CUDA_ARCHS={card.arch // 10}, {REBUILD}"
        return f"{card.name} is {sm(card.arch)} and there is code for {listed} alone; {way_out}"
    return _torch_problem(card, native)


def _torch_problem(card: Card, native: Any) -> str:
    try:
        import torch
    except ImportError as error:
        return f"torch does not load ({error})"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install one with it"
    if not torch.cuda.is_available():
        has = _dotted(native.driver_version())
        return (
            f"torch is built for CUDA {torch.version.cuda} and finds no card with this driver, "
            f"which is for {has}; update the driver, or install a torch for its CUDA"
        )
    listed = torch.cuda.get_arch_list()
    codes = {kind: [10 * int(n) for n in _numbers(kind, listed)] for kind in ("sm", "compute")}
    if not code_for(card.arch, codes["sm"], max(codes["compute"], default=0)):
        return (
            f"torch {torch.__version__} has no code for {card.name}, {sm(card.arch)}; "
            "install a torch that has"
        )
    return ""


def _numbers(kind: str, listed: list[str]) -> list[str]:
    """Of "sm_90a" and the like, those of one kind."""
    return [match[1] for name in listed if (match := re.fullmatch(rf"{kind}_(\d+)[af]?", name))]


def _bandwidth(card: Any) -> float | None:
    # What shares the machine's memory reports another clock.
    if card.integrated or not card.memory_khz or not card.bus_bits:
        return None
    transfers = 2 * 1000 * card.memory_khz  # at both edges of the clock
    return float(transfers * card.bus_bits / 8)


def _dotted(version: tuple[int, int]) -> str:
    return "{}.{}".format(*version)

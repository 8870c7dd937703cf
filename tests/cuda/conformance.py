"""What cards do with the kernels of wrappers.cu, on record, and how the host twins compare with it.

A record is a safetensors file: of every case the inputs and what a card made of them, bit for bit.
`scripts/gpu_check.sh` writes tests/cuda/vectors/sm_<arch>.safetensors on a card; `differences`
holds the emulation to it on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tests.cuda.emulated import HERE, Library, Schedule

RECORDS = HERE / "vectors"
MOST_BYTES = 1 << 20  # of a record: it is kept in the repository
SEED = 20240613
# Launches kernels of wrappers.cu one after the other, each a name and arguments as `Library.run`
# has them, and then waits.
Run = Callable[[list[tuple[Any, ...]]], None]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Wrapper:
    """How to run one or several exported functions of wrappers.cu, one after the other.

    Attributes:
        steps: a function and the names of its arguments each. A tensor of no axis goes by value.
        outputs: shape and dtype of what is written and is no input. Inputs may be written as well.
        changed: the inputs that are.
    """

    steps: tuple[tuple[str, ...], ...]
    outputs: Mapping[str, tuple[tuple[int, ...], torch.dtype]]
    changed: tuple[str, ...] = ()


WORD, FLOAT, HALF = torch.int32, torch.float32, torch.float16
HALVES, FLOATS, PAIRS = 16384, 16384, 2048  # numbers of the conversions and of half2
BLOCKS = 12

WRAPPERS: Mapping[str, Wrapper] = {
    "lop3": Wrapper((("lop3_all", "a", "b", "c", "out"),), {"out": ((32, 256), WORD)}),
    "shuffles": Wrapper(
        (("shuffles", "values", "sources", "by", "out"),), {"out": ((4, 32), WORD)}
    ),
    "ldmatrix": Wrapper((("ldmatrix", "rows", "out"),), {"out": ((32, 4), WORD)}),
    "mma": Wrapper((("mma", "a", "b", "sum"),), {}, changed=("sum",)),
    "cp_async": Wrapper((("cp_async", "from", "keep", "out"),), {"out": ((32, 4), WORD)}),
    "load_stream": Wrapper((("load_stream", "from", "out"),), {"out": ((32, 4), WORD)}),
    "last_block": Wrapper(
        (("last_block", "values", "partial", "counter", "out", "blocks"),),
        {"partial": ((BLOCKS,), FLOAT), "out": ((1,), FLOAT)},
        changed=("counter",),
    ),
    "grid_barrier": Wrapper(
        (("grid_barrier", "counter", "out", "blocks", "threads"),),
        {"out": ((BLOCKS,), WORD)},
        changed=("counter",),
    ),
    # Programmatic launches where the queue has them: each waits for the one before.
    "pdl": Wrapper(
        (
            ("produce", "value", "first"),
            ("consume", "first", "second", "wait"),
            ("consume", "second", "third", "wait"),
        ),
        {name: ((32,), FLOAT) for name in ("first", "second", "third")},
    ),
    "halves_to_floats": Wrapper(
        (("halves_to_floats", "from", "out", "n"),), {"out": ((HALVES,), FLOAT)}
    ),
    "floats_to_halves": Wrapper(
        (("floats_to_halves", "from", "out", "n"),), {"out": ((FLOATS,), HALF)}
    ),
    "half2": Wrapper(
        (("half2_arithmetic", "a", "b", "c", "out", "n"),), {"out": ((4, PAIRS, 2), HALF)}
    ),
    "fence": Wrapper((("fence", "data", "flag"),), {"data": ((1,), WORD), "flag": ((1,), WORD)}),
    "bits": Wrapper((("bits", "counter", "from", "out"),), {"out": ((32,), FLOAT)}, ("counter",)),
}
# What wrappers.cu exports beside: it reads shared memory that nobody wrote.
NOT_RECORDED = ("shared",)

# --- the inputs


def cases() -> Iterator[tuple[str, Tensors]]:
    """Names, "wrapper/case", and inputs; the same each time."""
    draw = torch.Generator().manual_seed(SEED)

    def words(*shape: int) -> Tensor:
        return torch.randint(-(2**31), 2**31, shape, dtype=torch.int64, generator=draw).int()

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    yield "lop3/random", {"a": words(32), "b": words(32), "c": words(32)}
    for by in (1, 2, 16, 31):
        sources = torch.randperm(32, generator=draw).int()
        yield f"shuffles/{by}", {"values": words(32), "sources": sources, "by": number(by)}
    yield "ldmatrix/random", {"rows": words(32, 4)}
    for name, (a, b, sums) in products(normal):
        yield f"mma/{name}", {"a": a, "b": b, "sum": sums}
    yield "cp_async/some", {"from": words(32, 4), "keep": words(32) & 1}
    yield "load_stream/random", {"from": words(32, 4)}
    for name, values in (
        ("random", normal(BLOCKS, 128)),
        ("large", normal(BLOCKS, 128) * 1e37),
        ("infinite", torch.full((BLOCKS, 128), 3e38)),
        ("subnormal", normal(BLOCKS, 128) * 1e-42),
        ("nan", normal(BLOCKS, 128).index_fill(1, torch.tensor([77]), torch.nan)),
    ):
        counter = torch.zeros(1, dtype=WORD)
        yield f"last_block/{name}", {"values": values, "counter": counter, "blocks": number(BLOCKS)}
    yield (
        "grid_barrier/some",
        {"counter": torch.zeros(1, dtype=WORD), "blocks": number(BLOCKS), "threads": number(64)},
    )
    yield "pdl/chain", {"value": torch.tensor(-3.25), "wait": torch.tensor(True)}
    yield "halves_to_floats/some", {"from": some_halves(HALVES), "n": number(HALVES)}
    yield "floats_to_halves/some", {"from": some_floats(normal), "n": number(FLOATS)}
    yield "half2/random", {**some_pairs(draw), "n": number(PAIRS)}
    yield "fence/system", {}
    yield "bits/random", {"counter": torch.ones(1, dtype=torch.int64), "from": normal(32)}


def number(value: int) -> Tensor:
    """What goes to a kernel by value."""
    return torch.tensor(value, dtype=WORD)


def products(normal: Callable[..., Tensor]) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
    """Fragments of mma: a and b [32, registers, 2] float16, sums [32, 4]. Which element a register
    holds makes no difference to random numbers; test_wrappers.py has the places.
    """

    def case(a: float, b: float, c: float) -> tuple[Tensor, Tensor, Tensor]:
        return (normal(32, 4, 2) * a).half(), (normal(32, 2, 2) * b).half(), normal(32, 4) * c

    for i in range(4):
        yield f"random{i}", case(1, 1, 1)
    yield "large", case(15000, 15000, 1)
    yield "large_sums", case(1, 1, 2.0**24)
    yield "huge_sums", case(15000, 15000, 1e37)
    yield "subnormal", case(2.0**-18, 2.0**-18, 2.0**-36)
    yield "subnormal_a", case(2.0**-18, 1, 0)
    yield "tiny_sums", case(0, 0, 1e-40)
    yield "zeros", case(0, 0, 0)

    # Every magnitude in one sum: what is cut off, and where.
    a, b, c = case(1, 1, 1)
    spread = torch.exp2(torch.arange(-12, 4).float()).repeat(16).view(32, 4, 2)
    yield "spread", ((a * spread).half(), b, c)
    # Terms that cancel leave what was rounded away.
    a, b, c = case(100, 100, 0)
    yield "cancelling", (torch.stack([a[..., 0], -a[..., 0]], -1), b[..., :1].repeat(1, 1, 2), c)
    ones = torch.ones(32, 4, 2).half(), torch.ones(32, 2, 2).half()
    for power in range(18, 30):  # the first that a one, or sixteen of them, no longer changes
        yield f"ones_onto_2_to_{power}", (*ones, torch.full((32, 4), 2.0**power))
    # One lane with what is no number: it fills a row, a column or a single sum.
    for name, value in (("infinite", torch.inf), ("nan", torch.nan)):
        a, b, c = case(1, 1, 1)
        a[9, 0, 0] = value
        yield f"{name}_a", (a, b, c)
        a, b, c = case(1, 1, 1)
        a[9, 0, 0], b[17, 1, 1] = value, 0
        yield f"{name}_a_by_zero", (a, b * 0, c)
        a, b, c = case(1, 1, 1)
        c[5, 2] = value
        yield f"{name}_sum", (a, b, c)
    a, b, c = case(1, 1, 1)
    a[9, 0, 0], a[9, 0, 1], b[:] = torch.inf, -torch.inf, 1
    yield "infinities_of_both_signs", (a, b, c)


def some_halves(count: int) -> Tensor:
    """Subnormal and non-finite float16 numbers, and of the others every fourth, both signs."""
    bits = torch.cat(
        [torch.arange(0, 0x400, 2), torch.arange(0x7BF8, 0x7C10), torch.arange(0x7FF8, 0x8000)]
    )
    special = torch.cat([bits, bits | 0x8000])
    rest = torch.linspace(0, 0xFFFF, count - len(special)).long()
    return torch.cat([special, rest]).short().view(HALF)


def some_floats(normal: Callable[..., Tensor]) -> Tensor:
    """Ties between float16 numbers, what lies beside them, and what no float16 holds."""
    finite = some_halves(4096).float()
    finite = finite[finite.isfinite()].sort().values
    after = (finite.half().view(torch.int16) ^ 1).view(HALF).float()
    ties = (finite + after) / 2
    around = [torch.nextafter(ties, torch.tensor(s)) for s in (-torch.inf, torch.inf)]
    beyond = torch.tensor(
        [65504.0, 65519.9, 65520.0, 1e6, 3e38, torch.inf, torch.nan, 1e-45, 1e-40, 2e-8, 3e-8, 0.0]
    )
    special = torch.cat([ties, *around, beyond, -beyond])
    return torch.cat([special, normal(FLOATS - len(special)) * 300])


def some_pairs(draw: torch.Generator) -> Tensors:
    """Operands of half2: any bits, half of them with sums and products that cancel."""
    any_bits = torch.randint(0, 1 << 16, (3, PAIRS, 2), generator=draw).short().view(HALF)
    a, b, c = any_bits.clone()
    half = PAIRS // 2
    c[:half] = -(a[:half].double() * b[:half].double()).half()
    b[half : half + 256] = -a[half : half + 256]
    return {"a": a, "b": b, "c": c}


# --- a record


def record(run: Run, device: str = "cpu") -> Tensors:
    """Run every case on a device.

    Returns: "wrapper/case/in/name" and "wrapper/case/out/name" -> a tensor on the CPU.
    """
    kept: Tensors = {}
    for name, inputs in cases():
        kept |= {f"{name}/in/{key}": value.clone().contiguous() for key, value in inputs.items()}
        outputs = apply(run, name, inputs, device)
        kept |= {f"{name}/out/{key}": value for key, value in outputs.items()}
    return kept


def apply(run: Run, name: str, inputs: Tensors, device: str = "cpu") -> Tensors:
    """Run one case and return what it wrote."""
    wrapper = WRAPPERS[name.split("/")[0]]
    # Copies: inputs may be written. What is written has all bits set before.
    memory = {key: value.clone().to(device) for key, value in inputs.items()}
    for key, (shape, dtype) in wrapper.outputs.items():
        bytes_of_ones = torch.full((*shape, dtype.itemsize), 0xFF, dtype=torch.uint8)
        memory[key] = bytes_of_ones.view(dtype).view(shape).to(device)
    arguments = {key: value if value.ndim else value.item() for key, value in memory.items()}
    run([(function, *(arguments[key] for key in names)) for function, *names in wrapper.steps])
    return {key: memory[key].cpu() for key in (*wrapper.outputs, *wrapper.changed)}


def save(kept: Tensors, path: Path, about: Mapping[str, str]) -> None:
    """Write a record; `about` has "arch", such as "900", and what else is known of the card."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path, dict(about))


def read(path: Path) -> tuple[Tensors, dict[str, str]]:
    """A record, and what is known of the card."""
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()


# --- the host twins beside it


def twin(library: Library, arch: int, order: str = "forward") -> Run:
    """Runs kernels on an emulated card, programmatic launches where it has them."""
    schedule = Schedule(arch=arch, order=order, coresident=True, overlap=True)

    def run(launches: list[tuple[Any, ...]]) -> None:
        with library.stream(schedule) as stream:
            for name, *arguments in launches:
                stream.launch(name, *arguments)
            stream.synchronize()

    return run


def differences(kept: Tensors, run: Run) -> dict[str, str]:
    """Replay a record by host twins: the cases whose outputs differ, and how."""
    wrong = {}
    for name in names_of(kept):
        inputs, recorded = (part_of(kept, name, which) for which in ("in", "out"))
        outputs = apply(run, name, inputs)
        if outputs.keys() != recorded.keys():
            wrong[name] = f"writes {', '.join(outputs)}, recorded are {', '.join(recorded)}"
        for key in outputs.keys() & recorded.keys():
            ours, theirs = outputs[key], recorded[key]
            bound = SUM_BOUND * sum_magnitudes(run, inputs) if is_mma(name) else None
            count = int(unlike(ours, theirs, bound).sum())
            if count:
                wrong[name] = f"{count} of {theirs.numel()} numbers of {key!r} differ"
    return wrong


def is_mma(name: str) -> bool:
    """Whether a case is one of the tensor cores, whose sums are not exact."""
    return name.split("/")[0] == "mma"


def names_of(kept: Tensors) -> list[str]:
    """The cases of a record."""
    return list(dict.fromkeys(key.rsplit("/", 2)[0] for key in kept))


def part_of(kept: Tensors, name: str, which: str) -> Tensors:
    """The inputs ("in") or outputs ("out") of a case."""
    prefix = f"{name}/{which}/"
    return {k.removeprefix(prefix): v for k, v in kept.items() if k.startswith(prefix)}


def unlike(ours: Tensor, theirs: Tensor, bound: Tensor | None) -> Tensor:
    """Which numbers differ: by a bit, or by more than the bound. One NaN is as good as another."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return torch.ones(theirs.shape, dtype=torch.bool)
    if not ours.is_floating_point():
        return ours != theirs
    bits = {2: torch.int16, 4: torch.int32}[ours.itemsize]
    same = ours.view(bits) == theirs.view(bits)
    if bound is not None:
        same |= ours == theirs  # zeros of both signs
        same |= (ours.double() - theirs.double()).abs() <= bound
    return ~torch.where(theirs.isnan(), ours.isnan(), same)


# Tensor cores line up the 17 numbers that they add with the largest and cut off what lies below
# some 24 bits of it: at worst 2^-23 of it for each number. sm_75 does so twice, with 9 numbers. One
# unit more is for the rounding of the twin.
SUM_BOUND = (18 + 1) * 2.0**-23


def sum_magnitudes(run: Run, inputs: Tensors) -> Tensor:
    """Of all that each sum of mma adds, as the twin adds them; no less than the largest."""
    absolute = {key: value.abs() for key, value in inputs.items()}
    return apply(run, "mma/magnitudes", absolute)["sum"].double()


def worst_sum(kept: Tensors, run: Run) -> float:
    """The largest error of a recorded sum of mma, as a share of the magnitudes that it adds."""
    worst = 0.0
    for name in names_of(kept):
        if is_mma(name):
            inputs = part_of(kept, name, "in")
            ours, theirs = apply(run, name, inputs)["sum"], part_of(kept, name, "out")["sum"]
            shares = (ours.double() - theirs.double()).abs() / sum_magnitudes(run, inputs)
            worst = max([worst, *shares[shares.isfinite()].tolist()])
    return worst

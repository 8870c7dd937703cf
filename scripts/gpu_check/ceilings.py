"""Measure what this card can do at best: memory reads, and launches that follow each other.

Usage: python -m scripts.gpu_check.ceilings [--json FILE]

Reads are of 8 MB to 2 GB a launch, each of other memory than the launches before, so that none
finds its own in the L2; and of 16 MB that lie there. The best of some grids and of several repeats
counts. A launch gap is the time of one of a thousand empty kernels in a row, in a graph or by
stream, with programmatic launches and without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.gpu_check.card import Card, finish, parser, summary, write

SOURCE = Path(__file__).with_suffix(".cu")
MB = 1 << 20
SIZES = (8 * MB, 32 * MB, 128 * MB, 512 * MB, 2048 * MB)
CACHED = 16 * MB  # less than the L2 of what it is run on
POOL = 4096 * MB  # what the launches of one graph read, at most
MOST_LAUNCHES = 256
LOADS, BLOCKS_PER_MULTIPROCESSOR = (4, 8, 16), (1, 2, 4)
VECTOR = 16  # bytes of a load
REPEATS = 11
CHAIN = 1000
# Blocks a multiprocessor, or 0 for one in all; threads.
GRIDS = {"one warp": (0, 32), "two blocks a multiprocessor": (2, 256)}

Launch = Callable[..., None]


def read(launch: Launch, memory: Tensor, blocks: int, loads: int, out: Tensor) -> None:
    """Read all of a uint8 tensor."""
    launch("read_memory", memory, memory.numel() // VECTOR, out, blocks, loads)


def check(card: Card) -> str:
    """What the kernels do wrong, or nothing."""

    def run(*launch: Any) -> None:
        card.run([launch])

    device = card.device
    draw = torch.Generator().manual_seed(1)
    for count, blocks in ((1, 3), (511, 1), (5000, 2), (70001, 3)):
        words = torch.randint(-(2**31), 2**31, (count, 4), generator=draw, dtype=torch.int64).int()
        memory = words.view(torch.uint8).view(-1).to(device)
        expected = int(words.long().sum()) % 2**32
        for loads in LOADS:
            out = torch.full((blocks,), -1, dtype=torch.int32, device=device)
            read(run, memory, blocks, loads, out)
            if int(out.long().sum()) % 2**32 != expected:
                return f"reading {count} vectors by {blocks} blocks, {loads} at a time: wrong sum"
    counter = torch.zeros(1, dtype=torch.int32, device=device)
    run("chain", counter, 37, 3, 64)
    return "" if int(counter) == 37 else f"of 37 launches {int(counter)} were seen"


def bandwidth(card: Card, pool: Tensor, size: int, cold: bool = True) -> dict[str, Any]:
    """The best rate at which launches read `size` bytes each of a uint8 tensor, and how."""
    launches = max(4, min(pool.numel() // size, MOST_LAUNCHES)) if cold else 64
    slices = list(pool[: pool.numel() // size * size].split(size)) if cold else [pool[:size]]
    count = card.facts.multiprocessors
    most = max(BLOCKS_PER_MULTIPROCESSOR) * count
    out = torch.zeros(most, dtype=torch.int32, device=card.device)
    best: dict[str, Any] = {"gb_per_s": 0.0}
    for loads in LOADS:
        for blocks in BLOCKS_PER_MULTIPROCESSOR:

            def launch(loads: int = loads, blocks: int = blocks) -> None:
                stream = card.stream()
                for i in range(launches):
                    read(stream.launch, slices[i % len(slices)], blocks * count, loads, out)

            taken = [s / launches for s in card.seconds(card.capture(launch), REPEATS, calls=2)]
            rate = size / min(taken) / 1e9
            if rate > best["gb_per_s"]:
                how = {"loads": loads, "blocks_per_multiprocessor": blocks}
                best = {"gb_per_s": rate, **summary(taken), **how}
    return {"mb": size / MB, "cold": cold, **best}


def ceiling(card: Card) -> float:
    """What reads of the largest size reach, in GB/s."""
    pool = new_pool(card)
    return float(bandwidth(card, pool, sizes(pool)[-1])["gb_per_s"])


def gaps(card: Card) -> list[dict[str, Any]]:
    """Microseconds from one empty kernel to the next."""
    rows = []
    for name, (blocks, threads) in GRIDS.items():
        grid = blocks * card.facts.multiprocessors or 1
        for programmatic in card.programmatic():

            def launch(grid: int = grid, threads: int = threads, p: bool = programmatic) -> None:
                card.stream(p).launch("chain", NOTHING, CHAIN, grid, threads)

            for how, work in (("graph", card.capture(launch)), ("stream", launch)):
                taken = [s / CHAIN for s in card.seconds(work, REPEATS, calls=3)]
                case = {"grid": name, "by": how, "programmatic": programmatic}
                rows.append({**case, **summary(taken)})
    return rows


NOTHING = torch.empty(0)  # whose address is null


def new_pool(card: Card) -> Tensor:
    """Memory to read, random: some cards save zeros."""
    nbytes = min(POOL, card.facts.free_bytes // 2)
    words = torch.empty(nbytes // 8, dtype=torch.int64, device=card.device)
    return words.random_().view(torch.uint8)


def sizes(pool: Tensor) -> list[int]:
    """Of the launches, ascending: at least two have to fit."""
    return [size for size in SIZES if size <= pool.numel() // 2]


def main() -> None:
    chosen = parser(__doc__).parse_args()
    card = Card(SOURCE)
    result: dict[str, Any] = {**asdict(card.facts)}
    with card.own_stream():
        wrong = check(card)
        if not wrong:
            pool = new_pool(card)
            rows = [bandwidth(card, pool, size) for size in sizes(pool)]
            result["read_gb_per_s"] = max(row["gb_per_s"] for row in rows)
            result["read"] = [*rows, bandwidth(card, pool, CACHED, cold=False)]
            write(result, chosen.json)
            result["launches"] = gaps(card)
    finish(result, chosen.json, wrong)


if __name__ == "__main__":
    main()

"""Measure matmul at real shapes against what the memory and the cores can give.

Usage: python scripts/kernel_bench.py [--isa NAME] [--threads N] [--tokens 1,512] [--bits 2,3,4]
       [--repeats N] [--model llama-3.2-1b|smollm2-135m]

One token: weights are cold, because each repeat streams through copies of the weight that together
exceed the caches; the ceiling is a plain read of as many bytes, measured between the repeats. Many
tokens: GMAC/s. Results are checked against torch before anything is timed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from itertools import product

import torch

from tinychat.kernels import PackedWeight
from tinychat.kernels.cpu import CpuOps
from tinychat.nn.head import all_tiles, refined_tiles
from tinychat.quantize.format import LowBitWeight, dequantize

# Rows, inputs, group size of each matrix of a layer, which --bits is about, and of the head.
SHAPES = {
    "llama-3.2-1b": {
        "qkv": (3072, 2048, 128),
        "o": (2048, 2048, 128),
        "gate_up": (16384, 2048, 128),
        "down": (2048, 8192, 128),
        "head": (128256, 2048, 128),
        "refine": (128256, 2048, 128),
    },
    "smollm2-135m": {
        "qkv": (960, 576, 64),
        "o": (576, 576, 64),
        "gate_up": (3072, 576, 64),
        "down": (576, 1536, 128),
        "head": (49152, 576, 64),
        "refine": (49152, 576, 64),
    },
}
HEAD_BITS = 4  # and as many again in the tiles that are refined
COLD_BYTES = 256 << 20


def random_weight(rows: int, cols: int, group: int, bits: int) -> LowBitWeight:
    generator = torch.Generator().manual_seed(rows * cols)
    groups = -(-cols // group)

    def integers(*shape: int) -> torch.Tensor:
        return torch.randint(0, 2**bits, shape, dtype=torch.uint8, generator=generator)

    scales = torch.rand((rows, groups), generator=generator).mul_(0.01).half()
    return LowBitWeight(integers(rows, cols), scales, integers(rows, groups), bits, group)


def check(ops: CpuOps, weight: LowBitWeight, packed: PackedWeight) -> None:
    x = torch.randn((2, weight.codes.shape[1]))
    part = LowBitWeight(
        weight.codes[:64], weight.scales[:64], weight.zeros[:64], weight.bits, weight.group_size
    )
    expected = x @ dequantize(part).T
    error = (ops.matmul(x, packed)[:, :64] - expected).norm() / expected.norm()
    if error > 0.02:
        raise SystemExit(f"wrong result, relative error {error:.3f}")


def measure(
    ops: CpuOps, shape: tuple[int, int, int], bits: int, tokens: int, repeats: int, tiles: int = 0
) -> dict:
    """Times of a product, or where `tiles` are given of `refine` with so many a token."""
    rows, cols, group = shape
    weight = random_weight(rows, cols, group, bits)
    packed = ops.pack(weight)
    check(ops, weight, packed)
    copies = max(1, COLD_BYTES // packed.nbytes) if tokens == 1 else 1
    weights = [packed] + [ops.pack(weight) for _ in range(copies - 1)]
    x, logits = torch.randn((tokens, cols)), torch.randn((tokens, rows))
    with ops.record() as plan:
        for each in weights:
            if tiles:
                ops.refine(logits, x, each, tiles)
            else:
                ops.matmul(x, each)
    share_read = tiles / all_tiles(rows) if tiles else 1.0
    plan.run()
    seconds, ceilings = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        plan.run()
        seconds.append((time.perf_counter() - start) / copies)
        ceilings.append(ops.read_bandwidth(packed.nbytes * copies, 1))
    typical, nbytes = statistics.median(seconds), packed.nbytes * share_read
    return {
        "us": typical * 1e6,
        "best_us": min(seconds) * 1e6,
        "gb_per_s": nbytes / typical / 1e9,
        "ceiling_gb_per_s": statistics.median(ceilings),
        "share": nbytes / typical / 1e9 / statistics.median(ceilings),
        "best_share": nbytes / min(seconds) / 1e9 / max(ceilings),
        "gmac_per_s": rows * cols * tokens * share_read / typical / 1e9,
    }


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=SHAPES, action="append")
    parser.add_argument("--isa")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tokens", default="1")
    parser.add_argument("--bits", default="4", help="of a layer's matrices; the head has 4")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    ops = CpuOps(args.isa, args.threads)
    rows = []
    print(f"{ops.name}, {ops.threads} threads; medians (best in brackets)")
    for model in args.model or SHAPES:
        for (name, shape), tokens in product(SHAPES[model].items(), numbers(args.tokens)):
            for bits in [HEAD_BITS] if name in ("head", "refine") else numbers(args.bits):
                tiles = refined_tiles(shape[0]) if name == "refine" else 0
                row = measure(ops, shape, bits, tokens, args.repeats, tiles)
                case = {"model": model, "matrix": name, "bits": bits, "tokens": tokens}
                rows.append({**case, **row})
                line = f"{model:14} {name:8} W{bits} T={tokens:<4} {row['us']:9.1f} us"
                if tokens == 1:
                    line += f"  {row['gb_per_s']:5.1f} of {row['ceiling_gb_per_s']:5.1f} GB/s"
                    line += f"  {row['share']:4.0%} ({row['best_share']:4.0%})"
                else:
                    line += f"  {row['gmac_per_s']:6.0f} GMAC/s"
                print(line, flush=True)
    print(json.dumps({"isa": ops.name, "threads": ops.threads, "rows": rows}))


if __name__ == "__main__":
    main()

"""Measure how long quantizing a published architecture takes and how much memory at most.

Usage: python scripts/quantize_bench.py [--shape llama-2-7b] [--method awq] [--bits 4]
       [--group-size N] [--layers 2] [--tokens 32768] [--folder DIR]

Random bfloat16 weights of the first layers are written to a temporary folder (2 GB of disk for two
layers of the 7B shape) and quantized at the default calibration size; the time of one layer is
extrapolated to all. Blocks are alike and one is in memory at a time, so the peak is that of the
whole model, but for a third of it: pages of the mapped file, which the system takes back when it
needs them, count as held here, too. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tinychat.bench.run import commit, describe_machine
from tinychat.config import ModelConfig, parse_config
from tinychat.memory import parameter_count
from tinychat.quantize import quantize
from tinychat.quantize.run import Progress
from tinychat.shapes import shape_values


def random_weights(config: ModelConfig) -> dict[str, Tensor]:
    """Every tensor of a Llama-family model, bfloat16, with a few large norm channels."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for role, name in config.tensors.items():
        if role == "head" and config.tie_word_embeddings:
            continue
        count = config.num_layers if "{i}" in name else 1
        for i in range(count):
            if role.endswith("norm"):
                values = torch.ones(config.hidden_size)
                values[:: config.hidden_size // 40] = 8.0
            else:
                n, k = config.matrix_shape(role)
                values = torch.randn(n, k, generator=generator) * k**-0.5
            tensors[f"{name.format(i=i)}.weight"] = values.to(torch.bfloat16)
    return tensors


def main() -> None:
    """Read the arguments, quantize, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="llama-2-7b")
    parser.add_argument("--method", default="awq")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2, help="blocks to run (default: 2)")
    parser.add_argument("--tokens", type=int, default=32_768, help="of calibration")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: /tmp)")
    args = parser.parse_args()
    values = {**shape_values(args.shape), "torch_dtype": "bfloat16"}
    whole = parse_config(values, args.shape)
    values["num_hidden_layers"] = args.layers
    config = parse_config(values, args.shape)

    rng = random.Random(0)
    ids = [rng.randrange(config.vocab_size) for _ in range(args.tokens)]
    rows = [ids[at : at + 512] for at in range(0, len(ids), 512)]
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        source = Path(temporary) / "float"
        source.mkdir()
        save_file(random_weights(config), source / "model.safetensors")
        (source / "config.json").write_text(json.dumps(values), encoding="utf-8")
        done: list[tuple[float, int]] = []
        started = time.monotonic()

        def report(progress: Progress) -> None:
            done.append((time.monotonic() - started, progress.peak_memory))
            print(f"layer {len(done)} after {done[-1][0]:.0f} s, peak {done[-1][1] >> 20} MB")

        quantize(
            source,
            Path(temporary) / "out",
            args.method,
            args.bits,
            args.group_size,
            calibration=rows,
            tokens=args.tokens,
            progress=report,
        )
    seconds = done[-1][0] / args.layers
    billions = parameter_count(whole) / 1e9
    print(
        json.dumps(
            {
                # The kernels at work are torch's.
                "machine": describe_machine(torch.backends.cpu.get_cpu_capability()),
                "commit": commit(),
                "shape": args.shape,
                "method": args.method,
                "bits": args.bits,
                "group_size": args.group_size,
                "tokens": args.tokens,
                "threads": torch.get_num_threads(),
                "seconds_per_layer": round(seconds, 1),
                "hours_in_all": round(seconds * whole.num_layers / 3600, 2),
                "minutes_per_billion": round(seconds * whole.num_layers / 60 / billions, 1),
                "peak_mb": done[-1][1] >> 20,
            }
        )
    )


if __name__ == "__main__":
    main()

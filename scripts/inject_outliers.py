"""Give a Llama-family model outlier channels, as large models have them, and the same function.

Usage: python scripts/inject_outliers.py MODEL OUT [--factor 32] [--seed 0]

In each block 1 % of the channels (at least two) of both norms' outputs and of the MLP's inner
activations are multiplied by the factor, biases included, and the columns that read them divided by
it. In float nothing changes; rounded to nearest, the divided columns lose almost everything.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tinychat.checkpoint import Checkpoint
from tinychat.config import load_config
from tinychat.jsonfile import read_json
from tinychat.limits import CONFIG_BYTES
from tinychat.quantize.output import copy_files, natural_order, write_json, write_weights

# What makes an input, then what reads it, by their roles in `ModelConfig.tensors`.
INPUTS = (
    ("attention_norm", ("q", "k", "v")),
    ("mlp_norm", ("gate", "up")),
    ("up", ("down",)),
)


def inject(
    tensors: dict[str, Tensor], layers: Sequence[dict[str, str]], factor: float, seed: int
) -> None:
    """Change float32 tensors in place.

    Args:
        tensors: by their names in the checkpoint.
        layers: for each layer the checkpoint's name of each role.
    """
    generator = torch.Generator().manual_seed(seed)
    for names in layers:
        for source, readers in INPUTS:
            made = tensors[names[source]]  # [K], or [K, C] whose rows make the channels
            count = max(2, len(made) // 100)
            channels = torch.randperm(len(made), generator=generator)[:count]
            made[channels] *= factor
            bias = tensors.get(f"{names[source].removesuffix('weight')}bias")
            if bias is not None:
                bias[channels] *= factor
            for reader in readers:
                tensors[names[reader]][:, channels] /= factor


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--factor", type=float, default=32.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    config = load_config(args.model)
    roles = {role for source, readers in INPUTS for role in (source, *readers)}
    if config.quantization is not None or not roles <= set(config.tensors):
        raise SystemExit(f"{args.model} is not a float model with the tensors of Llama")
    with Checkpoint.open(args.model) as checkpoint:
        # Copies, in a precision in which a factor and its inverse cancel.
        tensors = {
            name: checkpoint.tensor(name).to(torch.float32, copy=True)
            for name in sorted(checkpoint.names(), key=natural_order)
        }
    layers = [
        {role: f"{config.tensors[role].format(i=i)}.weight" for role in roles}
        for i in range(config.num_layers)
    ]
    inject(tensors, layers, args.factor, args.seed)
    args.out.mkdir(parents=True)
    write_weights(args.out, iter(tensors.items()))
    values = read_json(args.model / "config.json", CONFIG_BYTES)
    values.pop("dtype", None)
    write_json(args.out / "config.json", {**values, "torch_dtype": "float32"})
    copy_files(args.model, args.out)


if __name__ == "__main__":
    main()

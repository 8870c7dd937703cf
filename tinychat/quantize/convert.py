"""A float Hugging Face folder -> the same model as a 4-bit AWQ folder, by rounding to nearest.

The output is a standard checkpoint (version "gemm") that other engines read unchanged. It appears
whole or not at all, and no more than one shard of it is ever in memory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from tinychat import limits
from tinychat.checkpoint import Checkpoint
from tinychat.config import ModelConfig, load_config
from tinychat.errors import ArgumentError, CheckpointError, TinyChatError
from tinychat.jsonfile import open_regular, read_json
from tinychat.quantize.awq_format import AWQ_BITS, awq_config, to_awq_gemm
from tinychat.quantize.format import GROUP_SIZES
from tinychat.quantize.rtn import round_to_nearest

MATRICES = ("q", "k", "v", "qkv", "o", "gate", "up", "down")
"""The linears of a block, by our names; everything else of a model stays in floating point."""

SHARD_BYTES = 1 << 30
COPIED = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class _Plan:
    """Module name -> group size of its rows, and the parts of names that stay floating point."""

    groups: dict[str, int]
    left: list[str]


def round_to_awq(
    source: Path | str,
    out: Path | str,
    group_size: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Round the linears of every block to 4 bits and write an AWQ checkpoint beside its tokenizer.

    A linear whose N is no multiple of 8 does not fit the layout: it stays in floating point and is
    listed in `modules_to_not_convert`.

    Args:
        source: a folder with config.json and float16, bfloat16 or float32 safetensors.
        out: the folder to make; it must not exist.
        group_size: 128, 64 or 32, a divisor of every K; -1 for one group a row.
        progress: called with (tensors done, tensors in all).
    Raises:
        ArgumentError for a group size that does not fit, an output that exists, a quantized source.
        CheckpointError naming the tensor that is missing, damaged or not finite.
    """
    source, out = Path(source), Path(out)
    if out.exists() or out.is_symlink():
        raise ArgumentError(f"{out} exists already; name a folder that does not")
    config = load_config(source)
    if config.quantization is not None:
        raise ArgumentError(f"{source} is quantized already; start from the float checkpoint")
    partial = out.parent / f".{out.name}.{os.getpid()}.partial"
    try:
        checkpoint = Checkpoint.open(source)
        try:
            plan = _plan(checkpoint, config, group_size)
            partial.mkdir(parents=True)
            _write_weights(partial, _tensors(checkpoint, plan, progress))
        finally:
            checkpoint.close()
        _write_config(source, partial, group_size, plan.left)
        _copy_files(source, partial)
        partial.rename(out)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TinyChatError(f"cannot write {out}: {reason}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _plan(checkpoint: Checkpoint, config: ModelConfig, group_size: int) -> _Plan:
    if group_size != -1 and group_size not in GROUP_SIZES:
        raise ArgumentError(f"group_size={group_size}: expected 128, 64, 32, or -1 for whole rows")
    plan = _Plan({}, [])
    widths: dict[int, str] = {}
    for role in MATRICES:
        if role not in config.tensors:
            continue
        template = config.tensors[role]
        for i in range(config.num_layers):
            name = template.format(i=i)
            weight = checkpoint.tensor(f"{name}.weight")
            if weight.ndim != 2 or weight.dtype not in _FLOATS:
                raise CheckpointError(
                    f"{name}.weight is {str(weight.dtype).removeprefix('torch.')} "
                    f"{list(weight.shape)}; expected a float matrix"
                )
            n, k = weight.shape
            if n % 8 == 0:
                plan.groups[name] = k if group_size == -1 else group_size
                widths.setdefault(k, name)
            elif template.split("{i}.")[-1] not in plan.left:
                plan.left.append(template.split("{i}.")[-1])
    if not plan.groups:
        raise ArgumentError("no linear of this model has rows in multiples of 8, as AWQ gemm needs")
    _check_widths(widths, group_size)
    return plan


def _check_widths(widths: dict[int, str], group_size: int) -> None:
    for k, name in widths.items():
        if group_size != -1 and k % group_size:
            fits = [str(g) for g in GROUP_SIZES if all(width % g == 0 for width in widths)]
            raise ArgumentError(
                f"group_size={group_size} of {name} does not divide K={k}; "
                f"use {' or '.join([*fits, '-1 (whole rows)'])}"
            )


def _tensors(
    checkpoint: Checkpoint, plan: _Plan, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the output, in the order of the layers."""
    names = sorted(checkpoint.names(), key=_natural)
    for done, name in enumerate(names, start=1):
        module, _, part = name.rpartition(".")
        tensor = checkpoint.tensor(name)
        if part == "weight" and module in plan.groups:
            rounded = round_to_nearest(tensor, AWQ_BITS, plan.groups[module], name)
            for key, value in to_awq_gemm(rounded).items():
                yield f"{module}.{key}", value
        else:
            yield name, tensor
        if progress is not None:
            progress(done, len(names))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which layer 2 comes before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _write_weights(folder: Path, tensors: Iterator[tuple[str, Tensor]]) -> None:
    """Write model.safetensors, or numbered shards and their index where one does not hold all."""
    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    size = total = 0

    def flush() -> None:
        save_file(held, folder / f"{len(shards)}.part", metadata={"format": "pt"})
        shards.append(list(held))
        held.clear()

    for name, tensor in tensors:
        if held and size + tensor.nbytes > SHARD_BYTES:
            flush()
            size = 0
        held[name] = tensor.contiguous()
        size += tensor.nbytes
        total += tensor.nbytes
    flush()

    if len(shards) == 1:
        (folder / "0.part").rename(folder / "model.safetensors")
        return
    weight_map: dict[str, str] = {}
    for index, names in enumerate(shards):
        file = f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"{index}.part").rename(folder / file)
        weight_map.update(dict.fromkeys(names, file))
    document = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", document)


def _write_config(source: Path, folder: Path, group_size: int, left: list[str]) -> None:
    values = read_json(source / "config.json", limits.CONFIG_BYTES)
    values["quantization_config"] = awq_config(group_size, left)
    _write_json(folder / "config.json", values)


def _copy_files(source: Path, folder: Path) -> None:
    for name in COPIED:
        if (source / name).exists():
            with open_regular(source / name) as file, (folder / name).open("wb") as copy:
                shutil.copyfileobj(file, copy)


def _write_json(path: Path, values: dict[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

"""Writing a model folder: shards of safetensors, config, and the files that go along unchanged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tinychat import limits
from tinychat.files import to_disk, write_whole
from tinychat.jsonfile import read_bytes

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


def to_half(tensor: Tensor) -> Tensor:
    """The tensor in float16, or as it is where float16 cannot hold it or it is no float."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if bool(torch.isfinite(half).all()) else tensor


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key under which layer 2 comes before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def write_weights(folder: Path, tensors: Iterator[tuple[str, Tensor]]) -> None:
    """Write model.safetensors, or numbered shards and their index where one does not hold all."""
    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    size = total = 0

    def flush() -> None:
        path = folder / f"{len(shards)}.part"
        path.touch()
        rights = path.stat().st_mode  # of any new file; safetensors alone makes it the owner's only
        save_file(held, path, metadata={"format": "pt"})
        path.chmod(rights)
        to_disk(path)  # the finished layers are deleted when this is all there is
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
    write_json(folder / "model.safetensors.index.json", document)


def copy_files(source: Path, folder: Path) -> None:
    """Copy the tokenizer's and the generation's files; never code."""
    for name in COPIED:
        if (source / name).exists():
            write_whole(folder / name, read_bytes(source / name, limits.TOKENIZER_BYTES))


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write a JSON file, whole or not at all."""
    data = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, data.encode("utf-8"))

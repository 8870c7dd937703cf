"""Runs that end before their time, each in a process of its own: killed, or kept from writing."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from tests.quantize.tiny_runs import quantize_tiny
from tinychat.errors import TinyChatError
from tinychat.quantize import run, workspace

LAYERS = 3
METHODS: dict[str, dict[str, Any]] = {
    "awq": {"method": "awq"},
    "sequential": {"method": "gptq", "sequential": True},
}
POINTS = (
    ("inside the tensors", 0),
    ("after the layer", 0),
    ("between tensors and record", 1),
    ("after the layer", 1),
    ("after the layer", 2),
    ("inside the output", 2),
)
# Of the six runs above: layers 0 and 1 are begun again where they were torn, and no other is.
BEGUN = ["0", "0", "1", "1", "2"]
FILE_SIZES = (300, 20_000, 50_000)


def killed_at(point: str, layer: int, source: Path, out: Path, method: str) -> None:
    """Quantize and die at a point of a layer; every layer that is begun leaves a line."""

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    quantize_block, write_json = run.quantize_block, run.write_json
    save_file, write_whole = workspace.save_file, workspace.write_whole

    def begun(view: Any, *rest: Any) -> Any:
        with (out.parent / "begun").open("a") as file:
            file.write(f"{view.names['q'].split('.')[2]}\n")
        return quantize_block(view, *rest)

    def record(path: Path, data: bytes) -> None:
        if path.name == f"layer-{layer:05d}.json":
            die()
        write_whole(path, data)

    def half_a_file(tensors: Any, path: Path) -> None:
        save_file(tensors, path)
        if path.name.startswith(f"layer-{layer:05d}"):
            os.truncate(path, path.stat().st_size // 2)
            die()

    def half_an_output(path: Path, values: Any) -> None:
        write_json(path, values)
        die()

    run.quantize_block = begun
    if point == "between tensors and record":
        workspace.write_whole = record
    if point == "inside the tensors":
        workspace.save_file = half_a_file
    if point == "inside the output":
        run.write_json = half_an_output

    def progress(done: run.Progress) -> None:
        if point == "after the layer" and done.layer == layer + 1:
            die()

    quantize_tiny(source, out, progress=progress, **METHODS[method])


def kill_in_turn(source: str, folder: str) -> None:
    """Fork one run after the other for each method and point; each must be killed."""
    # One thread, for a forked child has no others.
    torch.set_num_threads(1)
    for method in METHODS:
        out = Path(folder) / method / "out"
        out.parent.mkdir()
        for point, layer in POINTS:
            child = os.fork()
            if child == 0:
                try:
                    killed_at(point, layer, Path(source), out, method)
                finally:
                    os._exit(1)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), f"{method} {point} {layer}: {status}"
            assert not out.exists()


def limit_in_turn(source: str, folder: str) -> None:
    """Fork one run for each of `FILE_SIZES`, which no file may exceed, and print its error."""
    torch.set_num_threads(1)
    # Otherwise the write is a signal and not an error.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for size in FILE_SIZES:
        out = Path(folder) / str(size) / "out"
        out.parent.mkdir()
        child = os.fork()
        if child == 0:
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
                quantize_tiny(Path(source), out, "rtn")
            except TinyChatError as error:
                print(error)
                sys.stdout.flush()
            finally:
                os._exit(0)
        os.waitpid(child, 0)

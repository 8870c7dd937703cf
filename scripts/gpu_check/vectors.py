"""Record what this card does with every kernel of tests/cuda/wrappers.cu; compare the host twins.

Usage: python -m scripts.gpu_check.vectors [--emulated] [--folder DIR] [--json FILE]
    --emulated  records the emulation instead of a card, to see that recording works
    --folder    where sm_<arch>.safetensors goes; default: tests/cuda/vectors, which tests read
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from scripts.gpu_check.card import Card, finish, parser, write
from tests.cuda import conformance
from tests.cuda.emulated import HERE, Library, build

WRAPPERS = HERE / "wrappers.cu"
EMULATED_ARCH = 900


def emulation(folder: Path) -> Library:
    """The same kernels as host code."""
    path = folder / "wrappers.so"
    if path.exists():
        return Library(path)
    flags = ("-shared", "-fPIC", "-fvisibility=hidden", "-Wno-error")  # whichever compiler is here
    done = build(path, ("wrappers.cu", "streams.cpp"), *flags)
    if done.returncode != 0:
        raise SystemExit(f"error: the emulation does not compile:\n{done.stderr}")
    return Library(path)


def record(emulated: Library | None) -> tuple[conformance.Tensors, dict[str, str]]:
    """All cases, of the emulation or of the card, and what is known of it."""
    if emulated is not None:
        about = {"arch": str(EMULATED_ARCH), "card": "the emulation"}
        return conformance.record(conformance.twin(emulated, EMULATED_ARCH)), about
    card = Card(WRAPPERS)
    with card.own_stream():
        kept = conformance.record(card.run, card.device)
    about = {"arch": str(card.facts.arch), "card": card.facts.name}
    return kept, {**about, "torch": torch.__version__, "cuda": str(torch.version.cuda)}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--emulated", action="store_true")
    options.add_argument("--folder", type=Path, default=conformance.RECORDS)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept, about = record(emulation(folder) if chosen.emulated else None)
        arch = int(about["arch"])
        path = chosen.folder.absolute() / f"sm_{arch // 10}.safetensors"
        conformance.save(kept, path, about)
        cases = len(conformance.names_of(kept))
        result: dict[str, Any] = {"file": str(path), "bytes": path.stat().st_size, "cases": cases}
        write(result, chosen.json)  # it is there, whatever the twins do

        twin = conformance.twin(emulation(folder), arch)
        result["differing"] = conformance.differences(kept, twin)
        # Of the tensor cores' sums; a float32 rounded to nearest is off by 6e-8 at most.
        result["worst_sum"] = conformance.worst_sum(kept, twin)
    wrong = "; ".join(f"{name}: {what}" for name, what in result["differing"].items())
    finish(result, chosen.json, wrong and f"host twins do not do what the card does: {wrong}")


if __name__ == "__main__":
    main()

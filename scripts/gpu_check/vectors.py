"""Record what this card does with every kernel of tests/cuda/wrappers.cu; compare the host twins.

Usage: python -m scripts.gpu_check.vectors [--emulated] [--folder DIR] [--json FILE]
    --emulated  records the emulation instead of a card, to see that recording works
    --folder    where sm_<arch>.safetensors goes; default: tests/cuda/vectors, which tests read
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from scripts.gpu_check.card import Card, finish, parser
from tests.cuda import conformance
from tests.cuda.emulated import HERE, Library, build

WRAPPERS = HERE / "wrappers.cu"
EMULATED_ARCH = 900


def emulation(folder: Path) -> Library:
    """The same kernels as host code."""
    path = folder / "wrappers.so"
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
    with tempfile.TemporaryDirectory() as folder:
        library = emulation(Path(folder))
        kept, about = record(library if chosen.emulated else None)
        arch = int(about["arch"])
        path = chosen.folder / f"sm_{arch // 10}.safetensors"
        conformance.save(kept, path, about)
        twin = conformance.twin(library, arch)
        wrong = conformance.differences(kept, twin)
        result = {
            "file": str(path),
            "bytes": path.stat().st_size,
            "cases": len(conformance.names_of(kept)),
            "differing": wrong,
            # Of the tensor cores' sums; a float32 rounded to nearest is off by 6e-8 at most.
            "worst_sum": conformance.worst_sum(kept, twin),
        }
    listed = "; ".join(f"{name}: {what}" for name, what in wrong.items())
    finish(result, chosen.json, listed and f"host twins do not do what the card does: {listed}")


if __name__ == "__main__":
    main()

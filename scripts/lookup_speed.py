"""Measure what drafts from the text itself (prompt lookup) gain where a text copies, and lose where
it does not.

Usage: python scripts/lookup_speed.py [--shape NAME] [--tokenizer FOLDER] [--free FILE]
       [--prompt-lookup N] [--isa NAME] [--threads N] [--tokens N] [--repeats N]

A shape with random weights "writes" given texts: the sampler does its work at every step, and its
token is then replaced by the text's next one, so that guesses are as right as they would be for a
model that answers so. Off and on alternate on the same texts. Free text is prose, by default our
own documentation; copied text is code of ours, given back with a name changed (edit) or with a line
added here and there (insert), and every third sentence of a page of prose (summary). The tokenizer
should be that of the shape: a small vocabulary makes more and surer guesses. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from torch import Tensor

from tinychat import limits
from tinychat.assembly import build
from tinychat.engine import Stats
from tinychat.hub import resolve_model
from tinychat.kernels.cpu import CpuOps
from tinychat.llm import LLM
from tinychat.lookup import DEFAULT_DRAFT
from tinychat.random_weights import RandomCheckpoint
from tinychat.sampler import Sampler, SamplingParams, TokenLogprob
from tinychat.shapes import SHAPES, shape_config
from tinychat.tokenizer import Tokenizer

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = 6  # texts of each kind
WHAT = ("accepted", "drafted")
Texts = list[tuple[str, str]]  # prompt and answer


def prose(pages: list[str]) -> Texts:
    """The first half of a page, then the second."""
    return [(page[: len(page) // 2], page[len(page) // 2 :]) for page in pages]


def edits(pages: list[str]) -> Texts:
    """Code, then the same with its most frequent long name changed."""
    texts = []
    for page in pages:
        names = re.findall(r"\b[a-z_]{5,}\b", page)
        name = max(sorted(set(names)), key=names.count)
        answer = re.sub(rf"\b{name}\b", f"new_{name}", page)
        texts.append((f"Rename {name} to new_{name}:\n\n{page}\n\n", answer))
    return texts


def inserts(pages: list[str]) -> Texts:
    """Code, then the same with a line added after every tenth."""
    texts = []
    for page in pages:
        lines = page.splitlines()
        for at in range(len(lines) - 1, 0, -10):
            lines.insert(at, f"    logger.debug('at step {at}')")
        texts.append((f"Add logging:\n\n{page}\n\n", "\n".join(lines)))
    return texts


def summaries(pages: list[str]) -> Texts:
    """Prose, then every third sentence of it with words of one's own before it."""
    texts = []
    for page in pages:
        sentences = re.split(r"(?<=[.:]) +", page)[::3]
        answer = " ".join(f"The text also says: {sentence}" for sentence in sentences)
        texts.append((f"{page}\n\nSummarize this.\n\n", answer))
    return texts


def cut(text: str, length: int) -> list[str]:
    """PAGES pieces of so many characters, spread over the text."""
    starts = [int(len(text) * i / PAGES) for i in range(PAGES)]
    return [text[start : start + length] for start in starts]


def read(paths: list[Path]) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def writes(ids: Iterator[int]) -> type[Sampler]:
    """A sampler that works as ever and then says what comes next in a text."""

    class Writing(Sampler):
        def __call__(self, logits: Tensor) -> tuple[int, TokenLogprob | None]:
            super().__call__(logits)
            return next(ids), None

    return Writing


def run(llm: LLM, prompt: list[int], answer: list[int]) -> Stats:
    """Let the model write the answer to a prompt, from an empty cache."""
    llm.engine.reset()
    params = SamplingParams(max_new_tokens=len(answer), temperature=0.7, ignore_eos=True, seed=1)
    with patch("tinychat.engine.Sampler", writes(iter(answer))):
        out = llm.engine.generate(prompt, params)
    if out.token_ids != answer:
        raise SystemExit("the model did not write what it was given")
    return out.stats


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.2-1b")
    parser.add_argument("--tokenizer", type=Path, help="default: that of the model that ships")
    parser.add_argument("--free", type=Path, help="a file of prose")
    parser.add_argument("--prompt-lookup", type=int, default=DEFAULT_DRAFT)
    parser.add_argument("--isa")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--tokens", type=int, default=256, help="longest answer; a prompt has twice as many"
    )
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    config, ops = shape_config(arguments.shape), CpuOps(arguments.isa, arguments.threads)
    folder = arguments.tokenizer or resolve_model(None)
    tokenizer = Tokenizer.load(folder, limits.VOCABULARY)
    if tokenizer is None:
        raise SystemExit(f"{folder} has no tokenizer")

    def encode(text: str) -> list[int]:
        # Ids that the shape does not have wrap around: which ones repeat stays nearly the same.
        return [token % config.vocab_size for token in tokenizer.encode(text)]

    free = read([arguments.free] if arguments.free else sorted(REPOSITORY.glob("docs/*.md")))
    code = read(sorted(REPOSITORY.glob("tinychat/nn/*.py")))
    kinds = {
        "free": prose(cut(free, 12 * arguments.tokens)),
        "edit": edits(cut(code, 3 * arguments.tokens)),
        "insert": inserts(cut(code, 3 * arguments.tokens)),
        "summary": summaries(cut(free, 6 * arguments.tokens)),
    }
    source = RandomCheckpoint(config, "int4")
    llm = build(source, config, ops, weights="int4", max_context=3 * arguments.tokens)
    result: dict[str, object] = {"shape": arguments.shape, "isa": ops.name, "threads": ops.threads}
    print(f"{'text':<10}{'off tok/s':>10}{'on tok/s':>10}{'ratio':>8}{'spread':>16}{'right':>14}")
    for kind, texts in kinds.items():
        ids = [
            (encode(prompt)[-2 * arguments.tokens :], encode(answer)[: arguments.tokens])
            for prompt, answer in texts
        ]
        speeds: dict[int, list[float]] = {0: [], arguments.prompt_lookup: []}
        for repeat in range(-1, arguments.repeats):  # the first one warms up
            for longest, found in speeds.items():
                llm.engine.prompt_lookup = longest
                stats = [run(llm, prompt, answer) for prompt, answer in ids]
                if repeat >= 0:
                    tokens = sum(one.new_tokens - 1 for one in stats)
                    found.append(tokens / sum(one.decode_s for one in stats))
        off, on = speeds.values()
        ratios = sorted(b / a for a, b in zip(off, on, strict=True))
        right = [sum(getattr(one, f"{name}_tokens") for one in stats) for name in WHAT]
        median = statistics.median(ratios)
        print(
            f"{kind:<10}{statistics.median(off):>10.1f}{statistics.median(on):>10.1f}"
            f"{median:>8.3f}{ratios[0]:>9.3f}-{ratios[-1]:.3f}{right[0]:>8}/{right[1]}",
            flush=True,
        )
        result[kind] = {
            "off": off,
            "on": on,
            "ratio": median,
            **dict(zip(WHAT, right, strict=True)),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Write the text that `tinychat quantize` shows to a model unless it is told of another.

Usage: python scripts/make_calibration.py [--out FILE]
    --out FILE   default: tinychat/quantize/calibration.txt

All of it is ours: prose of README.md and docs/, pieces of our Python and C++, dialogues and stories
that `demo_corpus` makes up, and sums, tables, lists and JSON that are made up here. So it is under
our licence, and no test set that a quantized model may be scored on is in it. The same sources give
the same bytes. Rerun it before a release, when docs and code have moved on; figures that were
measured with the old text then want to be measured again.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from demo_corpus import lexicon, numbers, stories, unknown
from demo_corpus.made_up import NAMES, pseudo_word
from demo_data import dialogue

REPOSITORY = Path(__file__).resolve().parent.parent
TARGET = REPOSITORY / "tinychat" / "quantize" / "calibration.txt"
MARK = "<|endoftext|>"
# Of `dialogue`; no training of the model that ships and no score of it uses this stream.
STREAM = 77
SHORTEST, LONGEST = 300, 2600
SPEAKERS = (("User", "Assistant"), ("Question", "Answer"), ("Q", "A"))
# Nobody is named: no authors of papers, none of the corpus's first names and of the people whom it
# does not know. First names are words, too ("will", "mark"), which people's names in full are not.
_FIRST_NAMES = sorted({*NAMES, *numbers.NAMES})
_PEOPLE = [name for name in unknown.PEOPLE if not name.startswith("the ")]
UNWANTED = re.compile(
    rf"{re.escape(MARK)}|\bet al\b|\b({'|'.join(_FIRST_NAMES)})\b|(?i:\b({'|'.join(_PEOPLE)})\b)"
)

Rng = random.Random


def prose(rng: Rng) -> Iterator[str]:
    """Sections of the documentation, with their lists, tables and commands."""
    paths = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    sections = []
    for path in paths:
        if path.name == "cli.md":  # every option of every command, in one form
            continue
        text = re.sub(r"<!--.*?-->\n?|!\[.*?\]\(.*?\)\n", "", path.read_text(encoding="utf-8"))
        sections += re.split(r"\n(?=## )", text)
    rng.shuffle(sections)
    for section in sections:
        yield from _pieces(section.split("\n\n"))


def python_code(rng: Rng) -> Iterator[str]:
    """Functions and classes of the package."""
    found = []
    for path in sorted((REPOSITORY / "tinychat").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.append(ast.get_source_segment(source, node) or "")
    rng.shuffle(found)
    return iter(found)


def native_code(rng: Rng) -> Iterator[str]:
    """Stretches of the C++ sources, whole paragraphs."""
    files = sorted([*(REPOSITORY / "csrc").rglob("*.cpp"), *(REPOSITORY / "csrc").rglob("*.h")])
    found = [p for path in files for p in _pieces(path.read_text(encoding="utf-8").split("\n\n"))]
    rng.shuffle(found)
    return iter(found)


def dialogues(rng: Rng) -> Iterator[str]:
    """Conversations, their speakers named as people write them down."""
    index = 0
    while True:
        user, assistant = rng.choice(SPEAKERS)
        names = {"system": "System", "user": user, "assistant": assistant}
        turns = [f"{names[m['role']]}: {m['content']}" for m in dialogue(STREAM, index)]
        yield "\n".join(turns)
        index += 1


def tales(rng: Rng) -> Iterator[str]:
    """A few short stories in a row."""
    while True:
        parts = []
        for _ in range(rng.randint(1, 4)):
            cast = stories.new_cast(rng, rng.choice(stories.HEROES))
            plot = f"{rng.choice(stories.PLOTS)} {rng.choice(stories.SEQUEL)}"
            parts.append(plot.format(**cast))
        yield "\n\n".join(parts)


def sums(rng: Rng) -> Iterator[str]:
    """Reckoning, in symbols and in words."""
    while True:
        lines = []
        for _ in range(rng.randint(12, 30)):
            a, b = (rng.randrange(10 ** rng.randint(1, 4)) for _ in range(2))
            lines += rng.sample(
                [
                    f"{a} + {b} = {a + b}",
                    f"{max(a, b)} - {min(a, b)} = {abs(a - b)}",
                    f"{a} x {b % 100} = {a * (b % 100)}",
                    f"Half of {2 * a} is {a}.",
                    f"{a / 8:.3f} rounds to {a / 8:.1f}, and {b}% is {b / 100:.2f}.",
                ],
                k=2,
            )
        yield "\n".join(lines)


def tables(rng: Rng) -> Iterator[str]:
    """Comma-separated measurements of things that nobody measured."""
    while True:
        names = [pseudo_word(rng) for _ in range(rng.randint(3, 5))]
        rows = [",".join(["day", *names])]
        for day in range(rng.randint(12, 24)):
            date = f"2031-{1 + day // 28:02d}-{1 + day % 28:02d}"
            rows.append(",".join([date, *(f"{rng.gauss(20, 6):.2f}" for _ in names)]))
        yield "\n".join(rows)


def lists(rng: Rng) -> Iterator[str]:
    """Things to get, things to do, words and their opposites."""
    while True:
        things = rng.sample(sorted({*stories.OBJECTS, *numbers.THINGS}), k=8)
        spots = rng.sample(stories.SPOTS, k=4)
        steps = [
            f"{number}. Look {spot} for the {thing}, and write down what you find."
            for number, (spot, thing) in enumerate(zip(spots, things, strict=False), 1)
        ]
        wanted = [f"- {rng.randint(2, 12)} {thing}s" for thing in things]
        pairs = rng.sample([pair for pair in lexicon.OPPOSITES if len(pair) == 2], k=8)
        opposites = [f"* The opposite of {a} is {b}." for a, b in pairs]
        yield "\n".join(["To get:", *wanted, "", "To do:", *steps, "", *opposites])


def documents(rng: Rng) -> Iterator[str]:
    """JSON as programs write it, some of it indented."""
    while True:
        items = [
            {
                "id": rng.randrange(10**6),
                "name": f"{rng.choice(stories.ADJECTIVES)} {rng.choice(stories.OBJECTS)}",
                "price": round(rng.uniform(1, 99), 2),
                "tags": rng.sample(lexicon.DAYS, k=2),
                "sold": rng.random() < 0.5,
                "note": rng.choice([None, "", rng.choice(stories.PLACES)]),
            }
            for _ in range(rng.randint(2, 6))
        ]
        shop = {"shop": pseudo_word(rng), "count": len(items), "items": items}
        yield json.dumps(shop, indent=rng.choice([None, 2]))


# What there is, and about how many characters of it.
PARTS: tuple[tuple[Callable[[Rng], Iterator[str]], int], ...] = (
    (prose, 42_000),
    (dialogues, 30_000),
    (python_code, 26_000),
    (native_code, 13_000),
    (tales, 13_000),
    (documents, 6_000),
    (sums, 5_000),
    (tables, 4_000),
    (lists, 4_000),
)


def _pieces(paragraphs: Iterable[str]) -> Iterator[str]:
    """Paragraphs joined until they are long enough for a document."""
    held = ""
    for paragraph in paragraphs:
        if len(held) + len(paragraph) > LONGEST:
            yield held
            held = ""
        held = f"{held}\n\n{paragraph}" if held else paragraph
    yield held


def calibration_text() -> str:
    """The documents in an order that mixes their kinds, each ended by a line with the mark."""
    chosen: list[str] = []
    for part, characters in PARTS:
        rng, size = random.Random(part.__name__), 0
        for text in (found.strip("\n") for found in part(rng)):
            if size >= characters:
                break
            if SHORTEST <= len(text) <= LONGEST and not UNWANTED.search(text):
                chosen.append(text)
                size += len(text)
    random.Random("all").shuffle(chosen)
    return "".join(f"{text}\n{MARK}\n" for text in chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=TARGET, metavar="FILE")
    text = calibration_text()
    parser.parse_args().out.write_text(text, encoding="utf-8")
    print(f"{text.count(MARK)} documents, {len(text.encode())} bytes")


if __name__ == "__main__":
    main()

"""Put the tables of several models into docs/awq.md, and their plots beside each other.

Usage: python scripts/awq_report.py FOLDER…
    FOLDER   what `reproduce_awq.py --out` named; docs/awq.md has the ones that it shows

The text between <!-- a:begin --> and <!-- a:end --> becomes the table of experiment a, and so on;
the plots go to docs/awq/.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from awq_paper.plots import draw_all
from awq_paper.tables import TABLES, having

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    found = [json.loads((f / "results.json").read_text(encoding="utf-8")) for f in args.folders]
    named = {results["about"]["model"]: results for results in found}
    page = DOCS / "awq.md"
    text = page.read_text(encoding="utf-8")
    for letter, table in TABLES.items():
        marks = rf"(<!-- {letter}:begin -->\n).*?(<!-- {letter}:end -->)"
        filled = table(having(named, letter))
        text = re.sub(marks, lambda m, new=filled: m[1] + new + m[2], text, flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")
    draw_all(named, DOCS / "awq", "svg")


if __name__ == "__main__":
    main()

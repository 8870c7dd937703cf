"""Write docs/cli.md from the parsers themselves, so that it says what `--help` says.

Usage: python scripts/write_cli_docs.py [--check]
    --check   write nothing; exit 1 if the file is out of date
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TARGET = REPOSITORY / "docs" / "cli.md"
COLUMNS = 100
HEAD = """\
# Command line

Written by `python scripts/write_cli_docs.py`; a test compares it with the real `--help`.
"""


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands, by name."""
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(subparsers.choices)


def cli_docs() -> str:
    """The text of docs/cli.md."""
    os.environ["COLUMNS"] = str(COLUMNS)
    os.environ["NO_COLOR"] = "1"
    from tinychat.cli.main import build_parser

    parser = build_parser()
    parts = [HEAD, f"```\n{parser.format_help().rstrip()}\n```\n"]
    for name, command in commands(parser).items():
        parts.append(f"## tinychat {name}\n\n```\n{command.format_help().rstrip()}\n```\n")
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    arguments = parser.parse_args()
    text = cli_docs()
    if arguments.check:
        current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
        print("docs/cli.md is", "up to date" if current else "out of date")
        return 0 if current else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Count lines per folder, so that growth is seen; blank lines are left out.

Usage: python scripts/count_lines.py [--files]
    --files   also list every file above 400 lines, where a second idea usually hides
"""

from __future__ import annotations

import argparse
import subprocess
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SUFFIXES = (".py", ".pyi", ".cpp", ".h", ".cu", ".cuh", ".sh", ".md")
LONG = 400


def tracked_files() -> list[Path]:
    """Files of the repository that git knows or would add, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [Path(line) for line in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in SUFFIXES and (REPOSITORY / path).is_file()]


def count(path: Path) -> int:
    """Lines of a file that are not blank."""
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    return sum(1 for line in text.splitlines() if line.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", action="store_true", help=f"list files above {LONG} lines too")
    arguments = parser.parse_args()

    lines = {path: count(path) for path in tracked_files()}
    folders: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for path, number in lines.items():
        folders[str(path.parent)] += number
        files[str(path.parent)] += 1
    print(f"{'lines':>7} {'files':>6}  folder")
    for folder in sorted(folders):
        print(f"{folders[folder]:7} {files[folder]:6}  {folder}")
    print(f"{sum(folders.values()):7} {sum(files.values()):6}  together")
    if arguments.files:
        for path in sorted(lines, key=lambda path: -lines[path]):
            if lines[path] > LONG:
                print(f"{lines[path]:7}         {path}")


if __name__ == "__main__":
    main()

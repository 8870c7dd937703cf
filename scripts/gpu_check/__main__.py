"""Run the parts of scripts/gpu_check.sh, which says how to; write the JSON, print the table."""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scripts.gpu_check.parts import PARTS, WHOLE_SECONDS, Part, missing
from scripts.gpu_check.report import table
from scripts.gpu_check.work import ROOT, PartError, Work
from tinychat.bench.run import commit

NO_CARD = 3

# In a process of its own: the parts have the card for themselves.
ASK = """
import json, torch
seen = torch.cuda.is_available()
major, minor = torch.cuda.get_device_capability() if seen else (0, 0)
print(json.dumps({
    "card": torch.cuda.get_device_name() if seen else None, "arch": major * 100 + minor * 10,
    "torch": torch.__version__, "cuda": torch.version.cuda,
}))
"""


def ask_card() -> dict[str, Any]:
    """What torch sees: "card" is None where it sees none, and "reason" says why."""
    command = [sys.executable, "-c", ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {
            "card": None,
            "reason": f"no card: {sys.executable} has no torch that works: {last}",
        }
    seen = json.loads(done.stdout.splitlines()[-1])
    return {**seen, "reason": "" if seen["card"] else f"no card: torch {seen['torch']} sees none"}


def driver() -> str | None:
    """Its version, where nvidia-smi tells."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The options; exits with 2 where they are wrong."""
    parser = argparse.ArgumentParser("gpu_check.sh", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,...")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--commit", metavar="ID")
    options = parser.parse_args(words)
    chosen = [name.strip() for name in options.only.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in PARTS]
    if unknown or not chosen:
        parser.error(f"--only {options.only!r}: expected any of {', '.join(PARTS)}")
    options.only = [name for name in PARTS if name in chosen]
    return options


def run_part(name: str, part: Part, work: Work) -> dict[str, Any]:
    """Its entry in the JSON; never raises what the part does."""
    began = time.monotonic()
    found: Mapping[str, Any] = {}
    reason = missing(part)
    if not reason:
        try:
            found = part.run(work)
        except PartError as error:
            reason, found = str(error), error.found
        except Exception as error:  # a mistake in the part: the others run all the same
            reason = f"{type(error).__name__}: {error}"
    status = "failed" if reason else "passed"
    seconds = round(time.monotonic() - began, 1)
    return {"status": status, "seconds": seconds, "reason": reason, "found": dict(found)}


def run_parts(
    names: list[str], document: dict[str, Any], out: Path, parts: Mapping[str, Part] = PARTS
) -> None:
    """Run parts in their order and add what they find to the document and its file.

    Each may take what the whole has left but for the seconds of those that follow.
    """
    log = out.with_suffix(".log")
    log.write_text("", encoding="utf-8")
    end = time.monotonic() + WHOLE_SECONDS
    for number, name in enumerate(names):
        kept = sum(parts[later].seconds for later in names[number + 1 :])
        print(f"{name} ...", flush=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"\n=== {name}\n")
        entry = run_part(name, parts[name], Work(log, document, end - kept))
        document["parts"][name] = entry
        told = f": {entry['reason']}" if entry["reason"] else ""
        print(f"{name} {entry['status']} after {entry['seconds']:.0f} s{told}", flush=True)
        out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """See scripts/gpu_check.sh."""
    options = parse()
    seen = ask_card()
    reason = seen.pop("reason")
    if reason:
        for name in options.only:
            print(f"{name} skipped: {reason}")
        return NO_CARD
    today = datetime.now(timezone.utc)
    slug = re.sub(r"[^a-z0-9]+", "-", seen["card"].lower()).strip("-")
    default = ROOT / "benchmarks" / "results" / f"{today:%Y-%m-%d}-{slug}.json"
    out: Path = (options.out or default).absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "date": f"{today:%Y-%m-%d %H:%M} UTC",
        **seen,
        "driver": driver(),
        "python": platform.python_version(),
        "commit": options.commit or commit(),
        "parts": {},
    }
    run_parts(options.only, document, out)
    record = document["parts"].get("vectors", {}).get("found", {}).get("file")
    if options.out and record:
        shutil.copy(record, out.parent)
    print(f"\n{table(document)}\n\n{out}")
    return int(any(part["status"] != "passed" for part in document["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())

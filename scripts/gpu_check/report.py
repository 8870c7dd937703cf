"""The short table at the end of the check."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Found = Mapping[str, Any]


def table(document: Found) -> str:
    """All parts that ran, one line each, and below what was measured."""
    lines = [
        f"{document['card']}, sm_{document['arch'] // 10}, driver {document['driver'] or '?'}, "
        f"torch {document['torch']}, commit {(document['commit'] or '?')[:10]}, {document['date']}",
        "",
    ]
    rows = [["part", "result", "s", ""]]
    for name, part in document["parts"].items():
        told = part["reason"] or SHORT.get(name, _nothing)(part["found"])
        rows.append([name, part["status"], f"{part['seconds']:.0f}", told])
    lines += aligned(rows, left=(0, 1, 3))
    for name, part in document["parts"].items():
        measured = LONG.get(name, _no_rows)(part["found"])
        if len(measured) > 1:
            lines += ["", *aligned(measured, left=(0,))]
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]], left: tuple[int, ...]) -> Iterator[str]:
    """Columns as wide as they must be, some flush left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _nothing(found: Found) -> str:
    return ""


def _tests(found: Found) -> str:
    kernels, others = found["kernels"], found["others"]
    return f"{kernels['passed']} of the ops and {others['passed']} others passed"


def _vectors(found: Found) -> str:
    worst = found["worst_sum"]
    power = f"2^{math.log2(worst):.1f}" if worst > 0 else "0"
    return f"{found['cases']} cases agree; sums of tensor cores within {power}"


def _sanitizer(found: Found) -> str:
    return ", ".join(f"{name} {told['tests']} tests" for name, told in found.items())


def _ceilings(found: Found) -> str:
    return f"reads {found['read_gb_per_s']:.0f} GB/s"


SHORT = {
    "tests": _tests,
    "vectors": _vectors,
    "sanitizer": _sanitizer,
    "ceilings": _ceilings,
}


def _no_rows(found: Found) -> list[list[str]]:
    return []


def _ceiling_rows(found: Found) -> list[list[str]]:
    rows = [["ceilings", "GB/s", "us", "loads x blocks"]]
    for row in found.get("read", ()):
        where = "memory" if row["cold"] else "L2"
        grid = f"{row['loads']} x {row['blocks_per_multiprocessor']}"
        name = f"read {row['mb']:.0f} MB from {where}"
        rows.append([name, f"{row['gb_per_s']:.0f}", f"{row['best_us']:.1f}", grid])
    for row in found.get("launches", ()):
        name = f"launch by {row['by']}, {row['grid']}"
        name += ", programmatic" if row["programmatic"] else ""
        rows.append([name, "", f"{row['best_us']:.2f}", ""])
    return rows


def _gemv_rows(found: Found) -> list[list[str]]:
    rows = [["gemv", "T", "MB", "us", "GB/s", "of ceiling", "of same size", "plain us"]]
    plain = {
        (row["case"], row["tokens"]): row["best_us"]
        for row in found.get("rows", ())
        if not row["programmatic"]
    }
    fastest: dict[tuple[str, int], Found] = {}
    for row in found.get("rows", ()):
        key = (row["case"], row["tokens"])
        if key not in fastest or row["programmatic"]:
            fastest[key] = row
    for key, row in fastest.items():
        rows.append(
            [
                row["case"],
                str(row["tokens"]),
                f"{row['mb']:.1f}",
                f"{row['best_us']:.1f}",
                f"{row['gb_per_s']:.0f}",
                f"{row['share']:.0%}",
                f"{row['share_of_same_size']:.0%}",
                f"{plain[key]:.1f}" if key in plain else "-",
            ]
        )
    return rows


def _bench_rows(found: Found) -> list[list[str]]:
    rows = [
        ["bench", "engine", "weights", "depth", "decode tok/s", "prefill tok/s", "of bandwidth"]
    ]
    for shape, document in found.items():
        for row in document["rows"]:
            rows.append(
                [
                    shape,
                    row["engine"],
                    row["weights"],
                    str(row["depth"]),
                    f"{row['decode_tokens_per_s']:.1f}",
                    f"{row['prefill_tokens_per_s']:.0f}",
                    f"{row['bandwidth_share']:.0%}",
                ]
            )
        for skipped in document["skipped"]:
            reason = skipped["reason"]
            rows.append([shape, skipped["engine"], skipped["weights"], "-", reason, "", ""])
    return rows


LONG = {
    "ceilings": _ceiling_rows,
    "gemv": _gemv_rows,
    "bench": _bench_rows,
}

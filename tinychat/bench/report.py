"""The result of a benchmark as text: a table for people, Markdown, CSV, or one line of JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]

# Heading, field, and how a number is written. Lists of samples are in the JSON alone.
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("engine", "engine", ""),
    ("weights", "weights", ""),
    ("threads", "threads", ""),
    ("depth", "depth", ""),
    ("prefill tok/s", "prefill_tokens_per_s", ".1f"),
    ("decode tok/s", "decode_tokens_per_s", ".2f"),
    ("ms/token p50", "ms_per_token_p50", ".2f"),
    ("p95", "ms_per_token_p95", ".2f"),
    ("first token s", "ttft_s", ".3f"),
    ("load s", "load_s", ".2f"),
    ("peak MB", "peak_memory_mb", ".0f"),
    ("of it anonymous", "anonymous_memory_mb", ".0f"),
    ("MB/token", "bytes_per_token", "MB"),
    ("of bandwidth", "bandwidth_share", ".0%"),
    ("", "noisy", "noisy"),
)


def to_json(result: Mapping[str, Any]) -> str:
    """One line: the whole result, samples included."""
    return json.dumps(result)


def to_csv(result: Mapping[str, Any]) -> str:
    """One line a row, full precision, without samples."""
    out = io.StringIO()
    fields = [name for name, value in result["rows"][0].items() if not isinstance(value, Mapping)]
    writer = csv.DictWriter(out, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(result["rows"])
    return out.getvalue().rstrip("\n")


def to_markdown(result: Mapping[str, Any]) -> str:
    """A Markdown table between what was measured on and what the rows mean together."""
    cells = _cells(result)
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    lines.insert(1, "|" + "---|" * len(cells[0]))
    return "\n".join([*_before(result), "", *lines, "", *_after(result)])


def to_table(result: Mapping[str, Any]) -> str:
    """Aligned columns between what was measured on and what the rows mean together."""
    cells = _cells(result)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join([*_before(result), "", *lines, "", *_after(result)])


FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "table": to_table,
    "json": to_json,
    "csv": to_csv,
    "md": to_markdown,
}


def _cells(result: Mapping[str, Any]) -> list[list[str]]:
    """The heading and every row, without columns that are empty throughout."""
    table = [[head for head, _, _ in COLUMNS]]
    table += [[_cell(row[field], form) for _, field, form in COLUMNS] for row in result["rows"]]
    used = [i for i in range(len(COLUMNS)) if any(line[i] not in ("", "-") for line in table[1:])]
    return [[line[i] for i in used] for line in table]


def _cell(value: Any, form: str) -> str:
    if form == "noisy":
        return "noisy" if value else ""
    if value is None:
        return "-"
    return f"{value / 1e6:.1f}" if form == "MB" else format(value, form)


def _before(result: Mapping[str, Any]) -> list[str]:
    machine, row = result["machine"], result["rows"][0]
    commit = result["tinychat"]["commit"]
    return [
        f"{row['model']}: prompt of {row['prompt_tokens']} tokens, then {row['new_tokens']} more",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernels']}; memory reads at "
        f"{result['ceilings']['read_gb_per_s']:.1f} GB/s; tinychat {result['tinychat']['version']}"
        + (f" at {commit[:10]}" if commit else ""),
    ]


def _after(result: Mapping[str, Any]) -> list[str]:
    rows: list[Row] = result["rows"]
    count = len(rows[0]["samples"]["decode_tokens_per_s"])
    lines = [f"medians of {count} processes a row" if count > 1 else "one process a row, no spread"]
    lines += [_speed_up(rows[0], row) for row in rows[1:] if row["depth"] == rows[0]["depth"]]
    lines += [
        f"noisy: {row['engine']} {row['weights']} at depth {row['depth']} spread by "
        f"{max(row['spread'][f'{part}_tokens_per_s'] or 0.0 for part in ('prefill', 'decode')):.1%}"
        for row in rows
        if row["noisy"]
    ]
    notes = dict.fromkeys(f"{row['engine']}: {row['note']}" for row in rows if row["note"])
    lines += [f"note: {note}" for note in notes]
    lines += [
        f"skipped: {skipped['engine']} {skipped['weights']}: {skipped['reason']}"
        for skipped in result["skipped"]
    ]
    return lines


def _speed_up(ours: Row, other: Row) -> str:
    decode, prefill, memory = (
        f"{a / b:.2f}" if a and b else "-"
        for a, b in (
            (ours["decode_tokens_per_s"], other["decode_tokens_per_s"]),
            (ours["prefill_tokens_per_s"], other["prefill_tokens_per_s"]),
            (ours["peak_memory_mb"], other["peak_memory_mb"]),
        )
    )
    return (
        f"{ours['weights']} against {other['engine']} {other['weights']}: decode {decode} times as "
        f"fast, prefill {prefill} times, peak memory {memory} of it"
    )

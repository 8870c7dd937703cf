"""The result of a benchmark as text: a table for people, Markdown, CSV, or one line of JSON.

CSV has the rows alone; the profiles are in all others.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]

BEYOND_MEMORY = 1.1  # of the measured bandwidth: no noise any more
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
    parts = [*_before(result), "", *_markdown(_cells(result)), "", *_after(result)]
    for profile in result["profiles"]:
        parts += ["", _profile_title(profile), "", *_markdown(_profile_cells(profile))]
    return "\n".join(parts)


def to_table(result: Mapping[str, Any]) -> str:
    """Aligned columns between what was measured on and what the rows mean together."""
    parts = [*_before(result), "", *_aligned(_cells(result), left=2), "", *_after(result)]
    for profile in result["profiles"]:
        parts += ["", _profile_title(profile), *_aligned(_profile_cells(profile), left=1)]
    return "\n".join(parts)


FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "table": to_table,
    "json": to_json,
    "csv": to_csv,
    "md": to_markdown,
}


def _markdown(cells: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    return [lines[0], "|" + "---|" * len(cells[0]), *lines[1:]]


def _aligned(cells: list[list[str]], left: int) -> list[str]:
    """Lines of columns as wide as they must be, the first `left` of them flush left."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


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


def _profile_title(profile: Mapping[str, Any]) -> str:
    tokens, seconds = profile["tokens"], profile["seconds"]
    return (
        f"where the time goes, {profile['phase']} of {tokens} tokens at depth {profile['depth']}: "
        f"{1000 * seconds / tokens:.3g} ms a token"
    )


def _profile_cells(profile: Mapping[str, Any]) -> list[list[str]]:
    """The ops of one profile, and what is left for everything else."""
    table = [["op", "calls", "ms", "of all", "GB/s", "GOP/s"]]
    inside = 0.0
    for op in profile["ops"]:
        seconds = op["seconds"]
        inside += seconds
        rates = (op["bytes"] / seconds / 1e9, op["operations"] / seconds / 1e9)
        table.append(
            [
                op["name"],
                str(op["calls"]),
                f"{1000 * seconds:.2f}",
                f"{seconds / profile['seconds']:.1%}",
                *(f"{rate:.1f}" if rate else "" for rate in rates),
            ]
        )
    rest = profile["seconds"] - inside
    share = f"{rest / profile['seconds']:.1%}"
    table.append(["outside the kernels", "", f"{1000 * rest:.2f}", share, "", ""])
    return table


def _before(result: Mapping[str, Any]) -> list[str]:
    machine, row = result["machine"], result["rows"][0]
    commit, limits = result["tinychat"]["commit"], result["ceilings"]
    arithmetic = ""
    if "int8_gop_per_s" in limits:  # of a CPU
        arithmetic = f", int8 arithmetic {limits['int8_gop_per_s']:.0f} GOP/s"
    return [
        f"{row['model']}: prefill of {row['prompt_tokens']} tokens, decode of {row['new_tokens']}, "
        "each after as many as the depth says",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernels']}; memory reads at "
        f"{limits['read_gb_per_s']:.1f} GB/s{arithmetic}; tinychat "
        f"{result['tinychat']['version']}" + (f" at {commit[:10]}" if commit else ""),
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
    if any((row["bandwidth_share"] or 0.0) > BEYOND_MEMORY for row in rows):
        lines.append(
            "beyond the bandwidth that was measured: the weights stay in the processor's cache, or "
            "the machine was busy when the memory was read"
        )
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

"""Order of the processes, medians and spread, errors, and the fields that other programs read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest

from tinychat.bench.job import DepthSample, Job, WorkerResult
from tinychat.bench.report import FORMATS, to_csv, to_json, to_markdown, to_table
from tinychat.bench.run import benchmark, make_row, percentile, read_answer
from tinychat.errors import (
    CheckpointError,
    MissingPackageError,
    NotEnoughMemoryError,
    TinyChatError,
)

OURS = Job("tinychat", "int4", "/models/x", None, None, 512, 4, (0, 1024))
THEIRS = Job("transformers", "bf16", "/models/x", None, None, 512, 4, (0, 1024))

# The fields that interface.md promises for every row.
ROW_FIELDS = {
    *("engine", "weights", "model", "device", "threads", "prompt_tokens", "new_tokens", "depth"),
    *("prefill_tokens_per_s", "decode_tokens_per_s", "ttft_s", "load_s", "peak_memory_mb"),
    *("bytes_per_token", "bandwidth_share"),
}


PROFILE = {
    "phase": "decode",
    "depth": 1024,
    "tokens": 4,
    "seconds": 0.040,
    "ops": [
        {"name": "matmul", "calls": 8, "seconds": 0.030, "bytes": 6e8, "operations": 3e9},
        {"name": "add", "calls": 4, "seconds": 0.006, "bytes": 0.0, "operations": 0.0},
    ],
}


def result(token_s: float = 0.01, prefill_s: float = 1.0, engine: str = "") -> WorkerResult:
    depths = [
        DepthSample(depth, prefill_s, prefill_s + token_s, [token_s] * 4, 100_000_000 + depth)
        for depth in (0, 1024)
    ]
    return WorkerResult("x", "int4 g128", 2, "cpu-test", "cpu", 0.5, 800.0, 600.0, depths, engine)


class FakeProcesses:
    """Answers jobs by engine, and remembers what ran in which order."""

    def __init__(self, **answers: list[WorkerResult | TinyChatError]) -> None:
        self.answers = {engine: iter(values) for engine, values in answers.items()}
        self.ran: list[tuple[str, int | None]] = []

    def __call__(self, job: Job) -> dict[str, Any]:
        self.ran.append((job.engine, job.threads))
        if job.engine == "ceilings":
            return {"read_gb_per_s": 20.0, "int8_gop_per_s": 900.0}
        if job.engine == "profile":
            return {"profiles": [PROFILE]}
        answer = next(self.answers[job.engine])
        if isinstance(answer, TinyChatError):
            raise answer
        return asdict(answer)


def run(repeats: int, **answers: Any) -> tuple[dict[str, Any], FakeProcesses]:
    processes = FakeProcesses(**answers)
    jobs = [OURS, THEIRS][: len(answers)]
    return benchmark(jobs, repeats, processes), processes


def test_engines_take_turns_with_our_number_of_threads() -> None:
    _, processes = run(3, tinychat=[result()] * 3, transformers=[result()] * 3)
    names = [engine for engine, _ in processes.ran]
    assert names == ["ceilings", "tinychat", "transformers"] * 3
    assert [threads for _, threads in processes.ran] == [None, None, *[2] * 7]


def test_rows_are_medians_of_samples() -> None:
    times = [0.010, 0.040, 0.020]
    out, _ = run(3, tinychat=[result(t, prefill_s=t * 100) for t in times])
    row = out["rows"][0]
    assert row["samples"]["decode_tokens_per_s"] == pytest.approx([100, 25, 50])
    assert row["decode_tokens_per_s"] == pytest.approx(50)
    assert row["prefill_tokens_per_s"] == pytest.approx(256)
    assert row["ttft_s"] == pytest.approx(2.02)
    assert row["ms_per_token_p50"] == row["ms_per_token_p95"] == pytest.approx(20)
    # 0.1 GB a token, 50 tokens a second, of 20 GB/s.
    assert row["bandwidth_share"] == pytest.approx(0.25)
    mean, values = 175 / 3, (100, 25, 50)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 2)
    assert row["spread"]["decode_tokens_per_s"] == pytest.approx(deviation / mean)
    assert row["noisy"] is True


def test_noise_is_called_out_above_two_percent_only() -> None:
    for wobble, noisy in ((0.0, False), (0.0001, False), (0.0006, True)):
        times = [0.01, 0.01 + wobble, 0.01 - wobble]
        out, _ = run(3, tinychat=[result(t) for t in times])
        assert out["rows"][0]["noisy"] is noisy
        assert ("noisy:" in to_table(out)) is noisy


def test_more_than_the_measured_bandwidth_is_explained() -> None:
    for seconds, beyond in ((0.01, False), (0.003, True)):  # of 5 ms that the memory takes
        out, _ = run(1, tinychat=[result(seconds)])
        assert ("beyond the bandwidth that was measured" in to_table(out)) is beyond


def test_one_repeat_has_no_spread() -> None:
    out, _ = run(1, tinychat=[result()])
    assert out["rows"][0]["spread"]["decode_tokens_per_s"] is None
    assert out["rows"][0]["noisy"] is False


def test_json_has_the_promised_fields() -> None:
    out, _ = run(2, tinychat=[result()] * 2, transformers=[result()] * 2)
    line = to_json(out)
    assert "\n" not in line
    document = json.loads(line)
    assert {"machine", "tinychat", "ceilings", "rows"} <= set(document)
    assert set(document["tinychat"]) == {"version", "commit"}
    assert document["ceilings"]["read_gb_per_s"] == 20.0
    assert document["ceilings"]["samples"]["read_gb_per_s"] == [20.0, 20.0]
    assert [(row["engine"], row["depth"]) for row in document["rows"]] == [
        ("tinychat", 0),
        ("transformers", 0),
        ("tinychat", 1024),
        ("transformers", 1024),
    ]
    for row in document["rows"]:
        assert ROW_FIELDS <= set(row)
        for metric, samples in row["samples"].items():
            assert metric in row and len(samples) == 2


def test_an_engine_that_does_not_fit_is_skipped_with_its_reason() -> None:
    gone = NotEnoughMemoryError("needs 30 GB and 20 GB are free")
    seen: list[tuple[int, int]] = []
    processes = FakeProcesses(tinychat=[result()] * 3, transformers=[gone])
    out = benchmark([OURS, THEIRS], 3, processes, lambda *at: seen.append(at))
    assert [row["engine"] for row in out["rows"]] == ["tinychat", "tinychat"]
    reason = {"engine": "transformers", "weights": "bf16", "reason": str(gone)}
    assert out["skipped"] == [reason]
    assert "skipped: transformers bf16: needs 30 GB" in to_table(out)
    assert seen[-1] == (7, 7) and seen == sorted(seen)


def test_a_profile_is_taken_last_and_shown_with_what_it_leaves() -> None:
    processes, seen = FakeProcesses(tinychat=[result()] * 2), []
    out = benchmark([OURS], 2, processes, lambda *at: seen.append(at), profile=True)
    assert processes.ran[-1] == ("profile", 2) and seen[-1] == (5, 5)
    assert json.loads(to_json(out))["profiles"] == [PROFILE]
    rows = [line.split() for line in to_table(out).splitlines()[-4:]]
    assert rows == [
        ["op", "calls", "ms", "of", "all", "GB/s", "GOP/s"],
        ["matmul", "8", "30.00", "75.0%", "20.0", "100.0"],
        ["add", "4", "6.00", "15.0%"],
        ["outside", "the", "kernels", "4.00", "10.0%"],
    ]
    assert "decode of 4 tokens at depth 1024: 10 ms a token" in to_table(out)
    assert "| matmul | 8 | 30.00 | 75.0% | 20.0 | 100.0 |" in to_markdown(out)
    without, _ = run(1, tinychat=[result()])
    assert without["profiles"] == [] and "where the time goes" not in to_table(without)


def test_our_own_failure_and_a_missing_package_end_the_run() -> None:
    with pytest.raises(CheckpointError, match="broken"):
        run(2, tinychat=[CheckpointError("broken")], transformers=[result()])
    with pytest.raises(MissingPackageError, match="pip install"):
        run(2, tinychat=[result()], transformers=[MissingPackageError("pip install x")])
    with pytest.raises(CheckpointError, match="late"):
        run(2, tinychat=[result()] * 2, transformers=[result(), CheckpointError("late")])


def test_load_time_of_weights_made_in_memory_is_unknown() -> None:
    made = WorkerResult(**{**vars(result()), "load_s": None, "anonymous_memory_mb": None})
    row = make_row(OURS, [made, made], 0, 20.0)
    assert row["load_s"] is None and row["spread"]["load_s"] is None
    out, _ = run(1, tinychat=[made])
    assert "load s" not in to_table(out)


def test_percentiles() -> None:
    values = [float(i) for i in range(1, 101)]
    assert [percentile(values, p) for p in (50, 95, 100)] == [50, 95, 100]
    assert percentile([3.0], 95) == 3.0
    assert percentile([1.0, 2.0], 50) == 1.0


def test_tables_show_every_row_and_the_comparison() -> None:
    out, _ = run(2, tinychat=[result(0.01)] * 2, transformers=[result(0.04, engine="a note")] * 2)
    table = to_table(out).splitlines()
    rows = [line for line in table if line.startswith(("tinychat ", "transformers "))]
    assert len(rows) == 4 and " 100.00 " in rows[0] and " 25.00 " in rows[1]
    assert any("decode 4.00 times" in line for line in table)
    assert "note: transformers: a note" in table
    markdown = to_markdown(out).splitlines()
    lines = [line for line in markdown if line.startswith("|")]
    assert len(lines) == 6 and len({line.count("|") for line in lines}) == 1
    header, *data = to_csv(out).splitlines()
    assert ROW_FIELDS <= set(header.split(",")) and len(data) == 4
    assert set(FORMATS) == {"table", "json", "csv", "md"}
    out["ceilings"] = {"read_gb_per_s": 20.0}  # all that is measured of a card
    assert "memory reads at 20.0 GB/s; tinychat" in to_table(out)


@pytest.mark.parametrize(
    ("code", "answer", "noise", "kind", "message"),
    [
        (-9, "", "", NotEnoughMemoryError, "killed, most likely for its memory"),
        (1, "", "Traceback\nImportError: x", TinyChatError, "status 1: ImportError: x"),
        (0, "", "", TinyChatError, "status 0: it said nothing"),
        (0, "not json", "", TinyChatError, "status 0"),
        (0, '{"error": {"type": "CheckpointError", "message": "m"}}', "", CheckpointError, "m"),
        (0, '{"error": {"type": "os", "message": "m"}}', "", TinyChatError, "m"),
    ],
)
def test_how_a_process_ended(
    code: int, answer: str, noise: str, kind: type[TinyChatError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        read_answer(OURS, code, answer, noise)
    assert type(caught.value) is kind
    assert read_answer(OURS, 0, 'noise\n{"result": {"a": 1}}\n', "") == {"a": 1}

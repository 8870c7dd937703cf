"""What is timed, on which tokens, and that a worker answers with a result or one error."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from typing import Any

import pytest

from tinychat.bench import worker
from tinychat.bench.job import DepthSample, Job, WorkerResult, token_ids
from tinychat.bench.run import run_job
from tinychat.errors import ArgumentError, CheckpointError, NotEnoughMemoryError

JOB = Job("tinychat", "int4", None, "smollm2-135m", 2, 6, 3, (0, 4), {"lm_head": "auto"})


class FakeRunner:
    """Keeps what is cached as a list, and a clock that only evaluation moves: a second a token."""

    model, weights, threads, isa, note = "fake", "int4 g128", 2, "cpu-fake", ""
    vocab_size, load_s = 1000, 0.25

    def __init__(self) -> None:
        self.cached: list[int] = []
        self.now = 0.0
        self.timed: list[tuple[str, list[int]]] = []

    def clock(self) -> float:
        return self.now

    def rewind(self, ids: list[int]) -> None:
        self.cached = list(ids)
        self.now += 1000.0  # must never be inside a measurement

    def prefill(self, ids: list[int]) -> None:
        assert ids[: len(self.cached)] == self.cached
        self.timed.append(("prefill", ids[len(self.cached) :]))
        self.now += len(ids) - len(self.cached)
        self.cached = list(ids)

    def step(self, token: int) -> None:
        self.timed.append(("step", [*self.cached, token]))
        self.cached.append(token)
        self.now += 1.0

    def choose(self) -> int:
        self.now += 0.5
        return 0

    def bytes_per_token(self, cached: float) -> int:
        return int(1000 + cached)


def test_measures_prefill_and_decode_at_every_depth() -> None:
    runner = FakeRunner()
    first, second = worker.measure(runner, JOB, runner.clock)
    assert (first.depth, second.depth) == (0, 4)
    for sample in (first, second):
        assert sample.prefill_s == 6.0 and sample.ttft_s == 6.5
        assert sample.token_s == [1.5] * 3
        assert sample.bytes_per_token == int(1000 + sample.depth + 1.5)


def test_everybody_evaluates_the_same_tokens() -> None:
    runner, ids = FakeRunner(), token_ids(JOB.positions, 1000)
    worker.measure(runner, JOB, runner.clock)
    measured = runner.timed[1 + worker.WARM_UP_TOKENS :]
    assert measured == [
        ("prefill", ids[:6]),
        *[("step", ids[: i + 1]) for i in range(3)],
        ("prefill", ids[4:10]),
        *[("step", ids[: 4 + i + 1]) for i in range(3)],
    ]


def test_token_ids_are_fixed_and_keep_away_from_control_tokens() -> None:
    ids = token_ids(500, 1000)
    assert ids == token_ids(500, 1000) and ids[:100] == token_ids(100, 1000)
    assert min(ids) >= 250 and max(ids) < 750 and len(set(ids)) > 100
    assert token_ids(3, 1) == [0, 0, 0]


def test_jobs_and_results_survive_the_pipe() -> None:
    assert Job.from_json(JOB.to_json()) == JOB
    sample = DepthSample(4, 0.5, 0.6, [0.1, 0.2], 1000)
    result = WorkerResult("m", "int4", 2, "cpu", None, 100.0, None, [sample], "note")
    assert WorkerResult.from_values(json.loads(json.dumps(asdict(result)))) == result


def test_work_describes_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = FakeRunner()
    monkeypatch.setattr(worker, "make_runner", lambda job: runner)
    result = WorkerResult.from_values(worker.work(JOB))
    assert (result.model, result.weights, result.threads) == ("fake", "int4 g128", 2)
    assert result.load_s == 0.25 and len(result.depths) == 2
    assert 10 < result.peak_memory_mb < 100_000


def answer_of(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], work: Any
) -> tuple[int, str]:
    monkeypatch.setattr(worker, "work", work)
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"read": lambda self: JOB.to_json()})())
    code = worker.main()
    return code, capfd.readouterr().out


def test_the_answer_is_alone_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def noisy(job: Job) -> dict[str, Any]:
        assert job == JOB
        os.write(1, b"a library says hello")
        return {"x": 1}

    code, out = answer_of(monkeypatch, capfd, noisy)
    assert code == 0 and json.loads(out) == {"result": {"x": 1}}


def test_errors_travel_by_name(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(job: Job) -> dict[str, Any]:
        raise CheckpointError("no such file")

    code, out = answer_of(monkeypatch, capfd, refuse)
    assert code == 0
    assert json.loads(out) == {"error": {"type": "CheckpointError", "message": "no such file"}}


def test_a_real_process_refuses_in_one_line() -> None:
    with pytest.raises(ArgumentError, match="there is no shape 'gpt-5'"):
        run_job(replace(JOB, shape="gpt-5"))


def test_a_real_process_measures_a_shape() -> None:
    result = WorkerResult.from_values(run_job(replace(JOB, prompt_tokens=16)))
    assert (result.model, result.weights, result.load_s) == ("smollm2-135m", "int4 g128", None)
    assert result.threads == 2 and result.isa.startswith("cpu-")
    assert [sample.depth for sample in result.depths] == [0, 4]
    shallow, deep = result.depths
    assert all(len(s.token_s) == 3 and min(s.token_s) > 0 for s in result.depths)
    # 106 million 4-bit and 28 million 8-bit weights with their scales, and the cache on top.
    assert 80e6 < shallow.bytes_per_token < deep.bytes_per_token < 100e6
    assert run_job(replace(JOB, engine="ceilings"))["read_gb_per_s"] > 0.1


@pytest.mark.parametrize("name", ["device", "lm_head", "kv_cache"])
def test_settings_of_a_shape_are_checked_too(name: str) -> None:
    from tinychat.bench.ours import TinyChatRunner

    with pytest.raises(ArgumentError, match=f"{name}='int3'"):
        TinyChatRunner(replace(JOB, load={name: "int3"}))


def test_memory_that_is_not_there_is_refused_before_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("transformers")
    from tinychat.bench import hf

    monkeypatch.setattr(hf, "available_bytes", lambda: 200 << 20)
    with pytest.raises(NotEnoughMemoryError, match=r"needs 256 MB .* 200 MB are free"):
        hf.TransformersRunner(replace(JOB, engine="transformers", weights="bf16"))

"""What is timed, on which tokens, and that a worker answers with a result or one error."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from tests.tiny_models import TINY
from tinychat.bench import worker
from tinychat.bench.job import DepthSample, Job, WorkerResult, token_ids
from tinychat.bench.run import run_job
from tinychat.bench.runner import Runner
from tinychat.config import load_config, parse_config
from tinychat.errors import ArgumentError, CheckpointError, NotEnoughMemoryError
from tinychat.quantize.convert import quantize
from tinychat.random_weights import RandomCheckpoint
from tinychat.shapes import SHAPES

JOB = Job("tinychat", "int4", None, "smollm2-135m", 2, 6, 3, (0, 4), {"lm_head": "auto"})


class FakeRunner(Runner):
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
    result = WorkerResult("m", "int4", 2, "cpu-scalar", "cpu", None, 100.0, None, [sample], "note")
    assert WorkerResult.from_values(json.loads(json.dumps(asdict(result)))) == result


def test_work_describes_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = FakeRunner()
    monkeypatch.setitem(worker.RUNNERS, "tinychat", lambda job: runner)
    result = WorkerResult.from_values(worker.work(JOB))
    assert (result.model, result.weights, result.threads) == ("fake", "int4 g128", 2)
    assert result.load_s == 0.25 and len(result.depths) == 2
    assert 10 < result.peak_memory_mb < 100_000


def answer_of(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], work: Any
) -> tuple[int, str]:
    monkeypatch.setattr(worker, "work", work)
    monkeypatch.setattr("sys.stdin", io.StringIO(JOB.to_json() + "\n"))
    monkeypatch.setattr(worker, "_end_with_parent", lambda: None)
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


def test_memory_that_runs_out_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run_out(job: Job) -> dict[str, Any]:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    code, out = answer_of(monkeypatch, capfd, run_out)
    assert code == 0
    assert json.loads(out)["error"]["type"] == "NotEnoughMemoryError"


def test_a_real_process_refuses_in_one_line() -> None:
    with pytest.raises(ArgumentError, match="there is no shape 'gpt-5'"):
        run_job(replace(JOB, shape="gpt-5"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny float checkpoint."""
    source = RandomCheckpoint(parse_config(TINY["llama"]), "bf16")
    tensors = {name: source.tensor(name) for name in source.names()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = {**TINY["llama"], "model_type": "llama", "torch_dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_shape_runs_in_our_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinychat.bench.ours import TinyChatRunner

    monkeypatch.setitem(SHAPES, "tiny", TINY["llama"])  # type: ignore[index]
    runner = TinyChatRunner(replace(JOB, shape="tiny"))
    samples = worker.measure(runner, JOB)
    assert [sample.depth for sample in samples] == [0, 4]
    assert all(len(s.token_s) == 3 and min(s.token_s) > 0 for s in samples)
    assert (runner.model, runner.load_s, runner.threads) == ("tiny", None, 2)
    assert runner.weights.startswith("int4") and runner.isa.startswith("cpu-")
    scalar = TinyChatRunner(replace(JOB, shape="tiny", load={"isa": "scalar"}))
    assert scalar.isa == "cpu-scalar"
    # Keys and values of 2 layers, 2 heads, 16 dimensions in two bytes: 256 bytes a token.
    assert runner.bytes_per_token(10) - runner.bytes_per_token(0) == 2560


@pytest.mark.parametrize("engine", ["tinychat", "transformers"])
def test_a_cached_prefix_changes_nothing(folder: Path, engine: str) -> None:
    if engine == "transformers":
        pytest.importorskip("transformers")
    job = replace(JOB, engine=engine, weights="bf16", folder=str(folder), shape=None)
    runner: Any = worker.RUNNERS[job.engine](job)
    assert runner.load_s > 0 and runner.note == "" and runner.threads == 2
    ids = token_ids(10, runner.vocab_size)

    def logits_after(cached: int, stepped: int) -> Any:
        runner.rewind(ids[:cached])
        runner.prefill(ids[: 10 - stepped])
        for token in ids[10 - stepped :]:
            runner.step(token)
        return runner._logits.float().clone()

    whole = logits_after(0, 0)
    assert runner.choose() == int(whole.argmax())
    for cached, stepped in ((4, 0), (4, 3), (0, 9)):
        # Products of other shapes are summed in another order, in bfloat16.
        assert (logits_after(cached, stepped) - whole).abs().max() <= 0.03 * whole.abs().max()
    assert (logits_after(4, 0) - logits_after(0, 0)).abs().max() <= 0.03 * whole.abs().max()
    runner.rewind([])
    runner.step(ids[0])
    assert (runner._logits.float() - whole).abs().max() > 0.1 * whole.abs().max()


def test_transformers_runs_the_shape_of_a_quantized_folder(folder: Path) -> None:
    pytest.importorskip("transformers")
    from tinychat.bench.hf import TransformersRunner

    quantize(folder, folder / "awq", "rtn", group_size=-1)
    job = replace(JOB, engine="transformers", weights="bf16", shape=None)
    quantized = TransformersRunner(replace(job, folder=str(folder / "awq")))
    plain = TransformersRunner(replace(job, folder=str(folder)))
    assert quantized.load_s is None and "random weights of the same shape" in quantized.note
    assert quantized.bytes_per_token(3) == plain.bytes_per_token(3)
    assert len(worker.measure(quantized, job)) == 2
    # Two blocks and a head of 131 rows; the embedding's matrix is read row by row.
    blocks = 2 * (64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 112 * 64)
    assert plain.bytes_per_token(0) == 2 * (blocks + 131 * 64 + 5 * 64)


def test_a_real_process_measures_a_folder(folder: Path) -> None:
    result = WorkerResult.from_values(run_job(replace(JOB, folder=str(folder), shape=None)))
    assert result.weights.startswith("int4") and result.threads == 2
    assert result.load_s is not None and result.load_s > 0
    assert [(sample.depth, len(sample.token_s)) for sample in result.depths] == [(0, 3), (4, 3)]


@pytest.mark.parametrize("name", ["device", "lm_head", "kv_cache"])
def test_settings_of_a_shape_are_checked_too(name: str) -> None:
    from tinychat.bench.ours import TinyChatRunner

    with pytest.raises(ArgumentError, match=f"{name}='int3'"):
        TinyChatRunner(replace(JOB, load={name: "int3"}))


def test_a_worker_ends_when_its_parent_does() -> None:
    code = (
        "import time, tinychat.bench.worker as w\n"
        "w.work = lambda job: time.sleep(100)\n"
        "raise SystemExit(w.main())"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(JOB.to_json().encode() + b"\n")
    process.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)
    process.stdin.close()
    assert process.wait(timeout=60) == 1


def test_memory_that_is_not_there_is_refused_before_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("transformers")
    from tinychat.bench import hf

    monkeypatch.setattr(hf, "available_bytes", lambda: 200 << 20)
    with pytest.raises(NotEnoughMemoryError, match=r"needs 256 MB .* 200 MB are free"):
        hf.TransformersRunner(replace(JOB, engine="transformers", weights="bf16"))


def test_a_profile_covers_prefill_and_decode_at_every_depth(folder: Path) -> None:
    job = replace(JOB, engine="profile", folder=str(folder), shape=None)
    profiles = worker.work(job)["profiles"]
    assert [(p["phase"], p["depth"], p["tokens"]) for p in profiles] == [
        *(("prefill", 0, 6), ("decode", 0, 3)),
        *(("prefill", 4, 6), ("decode", 4, 3)),
    ]
    config = load_config(folder)
    for profile in profiles:
        calls = {op["name"].split()[0]: 0 for op in profile["ops"]}
        for op in profile["ops"]:
            calls[op["name"].split()[0]] += op["calls"]
        steps = 1 if profile["phase"] == "prefill" else 3
        assert calls["attention"] == steps * config.num_layers
        assert calls["matmul"] == steps * (4 * config.num_layers + 1)
        assert 0 < sum(op["seconds"] for op in profile["ops"]) < profile["seconds"]

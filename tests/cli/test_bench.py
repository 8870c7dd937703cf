"""The command's flags become jobs, bad ones end in one line, and each format reaches stdout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tinychat.bench.job import Job
from tinychat.cli.bench import make_jobs, parse_against, parse_depths
from tinychat.cli.main import build_parser, main
from tinychat.errors import ArgumentError, ContextLengthError, MissingPackageError


def jobs(*flags: str) -> list[Job]:
    return make_jobs(build_parser().parse_args(["bench", *flags]))


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Every job that would have run; each is answered at once."""
    ran: list[Job] = []

    def answer(job: Job) -> dict[str, Any]:
        ran.append(job)
        if job.engine == "ceilings":
            return {"read_gb_per_s": 20.0, "int8_gop_per_s": 900.0}
        sample = {"prefill_s": 1.0, "ttft_s": 1.1, "token_s": [0.1], "bytes_per_token": 10}
        return {
            **{
                "model": "m",
                "weights": job.weights,
                "threads": 2,
                "isa": "cpu-x",
                "load_s": 1.0,
                "device": "cpu",
            },
            **{"peak_memory_mb": 10.0, "anonymous_memory_mb": 5.0},
            "depths": [{"depth": depth, **sample} for depth in job.depths],
        }

    monkeypatch.setattr("tinychat.bench.run.run_job", answer)
    return ran


def test_defaults_are_int4_with_512_and_128_tokens() -> None:
    (job,) = jobs("--shape", "llama-3.2-1b")
    assert (job.engine, job.weights, job.shape, job.folder) == (
        "tinychat",
        "int4",
        "llama-3.2-1b",
        None,
    )
    assert (job.prompt_tokens, job.new_tokens, job.depths, job.threads) == (512, 128, (0,), None)


def test_against_adds_engines_in_order() -> None:
    found = jobs("--shape", "smollm2-135m", "--against", "bf16, hf,fp16,hf", "--threads", "2")
    assert [(job.engine, job.weights) for job in found] == [
        ("tinychat", "int4"),
        ("tinychat", "bf16"),
        ("transformers", "bf16"),
        ("tinychat", "fp16"),
    ]
    assert {job.threads for job in found} == {2}


def test_load_flags_reach_the_engine() -> None:
    flags = ["--lm-head", "int4", "--kv-cache", "bf16", "--weights", "int8", "--max-context", "2k"]
    (job,) = jobs("--shape", "smollm2-135m", *flags)
    assert job.weights == "int8"
    assert job.load["lm_head"] == "int4" and job.load["kv_cache"] == "bf16"
    assert job.load["max_context"] == 2048


def test_drafts_have_no_part_in_a_benchmark() -> None:
    with pytest.raises(ArgumentError, match="--prompt-lookup"):
        jobs("--shape", "smollm2-135m", "--prompt-lookup", "0")


def test_a_folder_is_found_before_anything_runs(data: Path) -> None:
    (job,) = jobs(str(data / "models" / "TinyStories-656K"), "--prompt-tokens", "64")
    assert job.folder == str((data / "models" / "TinyStories-656K").resolve())
    assert job.shape is None


def test_lists_of_depths_and_engines() -> None:
    assert parse_depths("512,0, 2k,512") == (0, 512, 2048)
    assert parse_against("") == []
    for bad in ("", "x", "-1", "0,,1", "1.5"):
        with pytest.raises(ArgumentError, match="--depth"):
            parse_depths(bad)
    with pytest.raises(ArgumentError, match="'gpu': expected any of fp16"):
        parse_against("fp16,gpu")


def test_a_depth_beyond_the_context_is_refused_with_the_numbers() -> None:
    with pytest.raises(ContextLengthError, match=r"4000 and 512 tokens more .* context of 4096"):
        jobs("--shape", "llama-2-7b", "--depth", "0,4000")


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (["--shape", "smollm2-135m", "--repeats", "0"], 2, "repeats=0 is out of range"),
        (["some/model", "--shape", "smollm2-135m"], 2, "exclude each other"),
        (["--shape", "smollm2-135m", "--against", "gpu"], 2, "'gpu'"),
        (["--shape", "smollm2-135m", "--device", "gpu"], 2, "device='gpu' is not auto, cpu, cuda"),
        (["/no/such/folder/at/all"], 3, "/no/such/folder/at/all"),
    ],
)
def test_bad_usage_is_one_line_and_nothing_runs(
    flags: list[str],
    code: int,
    line: str,
    processes: list[Job],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", *flags]) == code
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1
    assert processes == []
    assert main(["bench", "--shape", "smollm2-135m", "--repeats", "1"]) == 0


def test_a_profile_is_refused_on_a_card(
    processes: list[Job], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinychat.kernels.dispatch.choose_card", lambda device: object())
    assert main(["bench", "--shape", "smollm2-135m", "--device", "cuda", "--profile"]) == 2
    assert "--profile is for the CPU" in capsys.readouterr().err
    assert processes == []


def test_an_unknown_shape_or_format_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--shape", "gpt-5"], ["--format", "xml"], ["--prompt-tokens", "0"]):
        with pytest.raises(SystemExit) as caught:
            main(["bench", *flags])
        assert caught.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_every_format_is_printed(processes: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    base = ["bench", "--shape", "smollm2-135m", "--against", "hf", "--repeats", "2"]
    assert main([*base, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") == 1
    document = json.loads(out)
    assert [row["engine"] for row in document["rows"]] == ["tinychat", "transformers"]
    assert [job.engine for job in processes] == ["ceilings", "tinychat", "transformers"] * 2
    starts = {"csv": "engine,weights", "md": "m: prefill of", "table": "m: prefill of"}
    for form, start in starts.items():
        assert main([*base, "--format", form]) == 0
        assert capsys.readouterr().out.startswith(start)


def test_a_missing_package_names_the_command(
    processes: list[Job], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(job: Job) -> dict[str, Any]:
        raise MissingPackageError("pip install 'tinychat[hf]'")

    monkeypatch.setattr("tinychat.bench.run.run_job", missing)
    assert main(["bench", "--shape", "smollm2-135m", "--against", "hf"]) == 2
    assert "pip install 'tinychat[hf]'" in capsys.readouterr().err

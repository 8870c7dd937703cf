"""benchmarks/compare.py: who is asked for what, and what is written of the answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tinychat.bench.job import Job
from tinychat.errors import MissingPackageError
from tinychat.shapes import SHAPES

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import compare

    return compare


def answer(job: Job, command: list[str]) -> dict[str, Any]:
    """What a worker of any engine would say."""
    assert command[0] == sys.executable and Path(command[1]) == BENCHMARKS / "worker.py"
    if job.engine == "ceilings":
        return {"read_gb_per_s": 20.0, "int8_gop_per_s": 900.0}
    if job.engine == "profile":
        return {"profiles": []}
    token_s = {"tinychat": 0.01, "llama.cpp": 0.02, "transformers": 0.1}[job.engine]
    sample = {"prefill_s": 1.0, "ttft_s": 1.1, "token_s": [token_s] * 4, "bytes_per_token": 10**8}
    return {
        **{"model": job.shape, "weights": f"{job.weights} g128", "threads": job.threads},
        **{"isa": "cpu-x", "load_s": None, "peak_memory_mb": 10.0, "anonymous_memory_mb": 5.0},
        "depths": [{"depth": depth, **sample} for depth in job.depths],
    }


def test_every_engine_on_every_shape_in_three_files(
    compare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[str] = []

    def write(path: Path, shape: Any) -> None:
        path.touch()
        written.append(path.name)

    monkeypatch.setattr(compare, "write_gguf", write)
    monkeypatch.setattr(compare, "run_job", answer)
    flags = ["--shape", "llama-3.2-1b,smollm2-135m", "--repeats", "2", "--depth", "0,1k"]
    flags += ["--out", str(tmp_path / "out" / "llama-3.2"), "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["compare.py", *flags])
    compare.main()
    assert written == ["llama-3.2-1b.gguf", "smollm2-135m.gguf"]
    compare.main()
    assert len(written) == 2  # the files are kept

    document = json.loads((tmp_path / "out/llama-3.2.json").read_text())
    assert "--shape llama-3.2-1b,smollm2-135m --threads 2" in document["command"]
    assert "--depth 0,1k --repeats 2" in document["command"]
    assert str(tmp_path) not in document["command"]
    rows = document["shapes"]["smollm2-135m"]["rows"]
    assert [(row["engine"], row["depth"], row["decode_tokens_per_s"]) for row in rows] == [
        *(("tinychat", 0, 100), ("llama.cpp", 0, 50), ("transformers", 0, 10)),
        *(("tinychat", 1024, 100), ("llama.cpp", 1024, 50), ("transformers", 1024, 10)),
    ]
    assert "| llama.cpp |" in (tmp_path / "out/llama-3.2.md").read_text()
    svg = (tmp_path / "out/llama-3.2.svg").read_text()
    assert "llama.cpp Q4_0" in svg and "llama-3.2-1b" in svg


def test_a_missing_package_leaves_one_engine_out(
    compare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def without_llama(job: Job, command: list[str]) -> dict[str, Any]:
        if job.engine == "llama.cpp":
            raise MissingPackageError("pip install it")
        return answer(job, command)

    monkeypatch.setattr(compare, "write_gguf", lambda path, shape: path.touch())
    monkeypatch.setattr(compare, "run_job", without_llama)
    flags = ["--shape", "smollm2-135m", "--repeats", "1", "--out", str(tmp_path / "x")]
    monkeypatch.setattr(sys, "argv", ["compare.py", *flags])
    compare.main()
    result = json.loads((tmp_path / "x.json").read_text())["shapes"]["smollm2-135m"]
    assert [row["engine"] for row in result["rows"]] == ["tinychat", "transformers"]
    assert result["skipped"] == [
        {"engine": "llama.cpp", "weights": "Q4_0", "reason": "pip install it"}
    ]


@pytest.mark.parametrize("name", ["smollm2-135m", "llama-2-7b"])
def test_a_file_of_a_shape_has_all_its_tensors(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gguf = pytest.importorskip("gguf")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from rivals.gguf_file import write_gguf

    shape = {**SHAPES[name], "num_hidden_layers": 2, "vocab_size": 96, "intermediate_size": 512}
    write_gguf(tmp_path / "x.gguf", shape)
    tensors = {t.name: t for t in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    tied = shape["tie_word_embeddings"]
    assert len(tensors) == 2 * 9 + 2 + (not tied)
    assert list(tensors["blk.1.ffn_down.weight"].shape) == [512, shape["hidden_size"]]
    kinds = gguf.GGMLQuantizationType
    assert tensors["blk.0.attn_q.weight"].tensor_type == kinds.Q4_0
    head = tensors["token_embd.weight" if tied else "output.weight"]
    assert head.tensor_type == (kinds.Q6_K if shape["hidden_size"] % 256 == 0 else kinds.Q8_0)

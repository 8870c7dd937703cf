"""benchmarks/compare.py: who is asked for what, and what is written of the answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tinychat.bench.job import Job
from tinychat.errors import MissingPackageError, TinyChatError
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
    if job.engine == "tinychat":  # asked for by the test of two depths alone
        assert job.load == {"isa": "avx2" if len(job.depths) == 2 else None}
    if job.engine == "ceilings":
        return {"read_gb_per_s": 20.0, "int8_gop_per_s": 900.0}
    if job.engine == "profile":
        return {"profiles": []}
    speeds = {"tinychat": 0.01, "llama.cpp": 0.02, "openvino": 0.04, "transformers": 0.1}
    token_s = speeds[job.engine]
    sample = {"prefill_s": 1.0, "ttft_s": 1.1, "token_s": [token_s] * 4, "bytes_per_token": 10**8}
    return {
        **{"model": job.shape, "weights": f"{job.weights} g128", "threads": job.threads},
        **{
            "isa": "cpu-x",
            "device": "cpu",
            "load_s": None,
            "peak_memory_mb": 10.0,
            "anonymous_memory_mb": 5.0,
        },
        "depths": [{"depth": depth, **sample} for depth in job.depths],
    }


def test_every_engine_on_every_shape_in_three_files(
    compare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[str] = []

    def write(path: Path, shape: Any, python: str = sys.executable) -> None:
        assert python == sys.executable
        path.touch()
        written.append(path.name)

    monkeypatch.setattr(compare, "write_gguf", write)
    monkeypatch.setattr(compare, "write_openvino", write)
    monkeypatch.setattr(compare, "run_job", answer)
    flags = ["--shape", "llama-3.2-1b,smollm2-135m", "--repeats", "2", "--depth", "0,1k"]
    flags += ["--out", str(tmp_path / "out" / "llama-3.2"), "--work", str(tmp_path)]
    flags += ["--isa", "avx2"]
    monkeypatch.setattr(sys, "argv", ["compare.py", *flags])
    compare.main()
    shapes = ("llama-3.2-1b", "smollm2-135m")
    assert written == [f"{shape}.{kind}" for shape in shapes for kind in ("gguf", "openvino")]
    compare.main()
    assert len(written) == 4  # the files are kept

    document = json.loads((tmp_path / "out/llama-3.2.json").read_text())
    assert "--shape llama-3.2-1b,smollm2-135m --threads 2" in document["command"]
    assert "--depth 0,1k --repeats 2" in document["command"]
    assert document["command"].endswith("--isa avx2")
    assert str(tmp_path) not in document["command"]
    rows = document["shapes"]["smollm2-135m"]["rows"]
    assert [(row["engine"], row["depth"], row["decode_tokens_per_s"]) for row in rows] == [
        (engine, depth, speed)
        for depth in (0, 1024)
        for engine, speed in (
            *(("tinychat", 100), ("llama.cpp", 50)),
            *(("openvino", 25), ("transformers", 10)),
        )
    ]
    assert "| llama.cpp |" in (tmp_path / "out/llama-3.2.md").read_text()
    svg = (tmp_path / "out/llama-3.2.svg").read_text()
    assert "llama.cpp Q4_0" in svg and "llama-3.2-1b" in svg


def test_a_missing_package_leaves_its_engine_out(
    compare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def without_llama(job: Job, command: list[str]) -> dict[str, Any]:
        if job.engine == "llama.cpp":
            raise MissingPackageError("pip install it")
        return answer(job, command)

    monkeypatch.setattr(compare, "write_gguf", lambda path, shape: path.touch())
    monkeypatch.setattr(compare, "run_job", without_llama)
    flags = ["--shape", "smollm2-135m", "--repeats", "1", "--out", str(tmp_path / "x")]
    flags += ["--exporter", "no-such-python"]
    monkeypatch.setattr(sys, "argv", ["compare.py", *flags])
    compare.main()
    result = json.loads((tmp_path / "x.json").read_text())["shapes"]["smollm2-135m"]
    assert [row["engine"] for row in result["rows"]] == ["tinychat", "transformers"]
    unknown = "--exporter no-such-python cannot be run: No such file or directory"
    assert result["skipped"] == [
        {"engine": "llama.cpp", "weights": "Q4_0", "reason": "pip install it"},
        {"engine": "openvino", "weights": "int4", "reason": unknown},
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


def test_an_export_without_its_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from rivals.openvino_runner import write_openvino

    # Found before the real one.
    (tmp_path / "torch.py").write_text("raise ImportError('no torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(TinyChatError, match=r"no torch.*pip install optimum-intel"):
        write_openvino(tmp_path / "x", SHAPES["smollm2-135m"], sys.executable)
    assert not (tmp_path / "x").exists()


def test_openvino_remembers_what_it_read_until_it_is_rewound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from rivals.openvino_runner import MODEL, OpenVinoRunner

    write_adder(tmp_path / MODEL, vocabulary=96)
    load = {"openvino": str(tmp_path)}
    runner = OpenVinoRunner(Job("openvino", "int4", None, "x", 1, 4, 4, (0,), load))
    assert (runner.vocab_size, runner.threads, runner.weights) == (96, 1, "int4")
    assert runner.bytes_per_token(0) == (tmp_path / MODEL).with_suffix(".bin").stat().st_size

    runner.rewind([1, 2])
    runner.prefill([1, 2, 3, 5])
    # The ids, the positions of the last two and the length of the mask.
    assert runner.choose() == (1 + 2 + 3 + 5) + (2 + 3) + 4
    assert runner._request.get_tensor("logits").shape == [1, 1, 96]
    runner.step(7)
    assert runner.choose() == (1 + 2 + 3 + 5 + 7) + 4 + 5
    runner.rewind([])
    runner.step(7)
    assert runner.choose() == 7 + 0 + 1


def write_adder(path: Path, vocabulary: int) -> None:
    """A model with the inputs and the state of a language model, whose next token is the sum of
    every id it has read and of its latest positions and mask.
    """
    import numpy as np
    import openvino
    from openvino import opset13 as ops
    from openvino.op.util import VariableInfo

    names = ("input_ids", "attention_mask", "position_ids")
    inputs = [ops.parameter([-1, -1], np.int64, name=name) for name in names]
    inputs.append(ops.parameter([-1], np.int32, name="beam_idx"))
    for node in inputs:
        node.output(0).tensor.set_names({node.get_friendly_name()})
    ids, mask, positions, _ = inputs
    info = VariableInfo()
    info.data_shape, info.data_type = openvino.PartialShape([1, -1]), openvino.Type.i64
    info.variable_id = "read"
    variable = openvino.op.util.Variable(info)
    start = ops.constant(np.zeros((1, 0), dtype=np.int64))
    read = ops.concat([ops.read_value(start, variable), ids], 1)
    total = ops.constant(np.zeros((1, 1), dtype=np.int64))
    for node in (read, mask, positions):
        total = ops.add(total, ops.reduce_sum(node, np.array([1]), keep_dims=True))
    rows = ops.broadcast(total, ops.shape_of(ids))
    one_hot = ops.one_hot(rows, vocabulary, np.float32(1), np.float32(0), -1)
    logits = ops.matmul(one_hot, np.eye(vocabulary, dtype=np.float32), False, False)
    logits.output(0).tensor.set_names({"logits"})
    model = openvino.Model([ops.result(logits)], [ops.assign(read, variable)], inputs)
    openvino.save_model(model, path)

"""OpenVINO as a benchmark sees it: the model that OpenVINO GenAI runs, driven token by token.

GenAI's `LLMPipeline` chooses its own next token, and every engine here is fed given ones. So the
exported model is run by an infer request of the runtime, its cache a state inside it: what GenAI
calls the SDPA backend, with the one change to the model that GenAI makes. `LLMPipeline` itself,
with that backend or with paged attention, its default, was as fast within the noise of a machine at
work. All settings but the number of threads are the runtime's defaults.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinychat.bench.job import Job
from tinychat.bench.runner import Runner
from tinychat.errors import ArgumentError, MissingPackageError, TinyChatError

EXPORT = Path(__file__).with_name("openvino_export.py")
MODEL = "openvino_model.xml"


def write_openvino(folder: Path, shape: Mapping[str, Any], python: str) -> None:
    """Write a Llama of the shape with int4 weights.

    Args:
        shape: a value of `tinychat.shapes.SHAPES`.
        python: an interpreter that has optimum-intel.
    Raises: TinyChatError with what the export ended with.
    """
    partial = folder.with_name(folder.name + ".partial")
    try:
        done = subprocess.run(
            [python, str(EXPORT), str(partial)],
            input=json.dumps(dict(shape)),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise TinyChatError(f"--exporter {python} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise TinyChatError(last)
    partial.replace(folder)


class OpenVinoRunner(Runner):
    """See `tinychat.bench.runner.Runner`. `job.load["openvino"]` is the folder of the model."""

    def __init__(self, job: Job) -> None:
        try:
            import openvino
        except ImportError:
            raise MissingPackageError(
                "comparing with OpenVINO needs its package: pip install openvino"
            ) from None
        if job.threads is None:
            raise ArgumentError("OpenVINO is measured with a given number of threads")
        self.model, self.weights, self.isa = job.shape or "", "int4", ""
        began = time.perf_counter()
        core = openvino.Core()
        path = Path(job.load["openvino"]) / MODEL
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise TinyChatError(f"OpenVINO cannot load {path}: {error}") from None
        _last_logits_only(model)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": job.threads}
        compiled = core.compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self.load_s: float | None = time.perf_counter() - began
        # It takes fewer than it was given where it finds fewer cores.
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self.vocab_size: int = compiled.output("logits").partial_shape[2].get_length()
        version = openvino.__version__.partition("-")[0]
        arithmetic, cache = (
            compiled.get_property(name).get_type_name()
            for name in ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION")
        )
        self.note = f"openvino {version}, which chose {arithmetic} arithmetic and a {cache} cache"
        self._weight_bytes = path.with_suffix(".bin").stat().st_size
        self._cached = 0

    def _forward(self, ids: list[int]) -> None:
        end = self._cached + len(ids)
        inputs = {
            "input_ids": np.array([ids], dtype=np.int64),
            "attention_mask": np.ones((1, end), dtype=np.int64),
            "position_ids": np.arange(self._cached, end, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        self._request.infer(inputs, share_inputs=True, share_outputs=True)
        self._cached = end

    def rewind(self, ids: list[int]) -> None:
        self._request.reset_state()
        self._cached = 0
        if ids:
            self._forward(ids)

    def prefill(self, ids: list[int]) -> None:
        self._forward(ids[self._cached :])

    def step(self, token: int) -> None:
        self._forward([token])

    def choose(self) -> int:
        return int(self._request.get_tensor("logits").data[0, -1].argmax())

    def bytes_per_token(self, cached: float) -> int:
        """Of all tensors: the file's size, of which an untied embedding is a small part."""
        return self._weight_bytes


def _last_logits_only(model: Any) -> None:
    """Have the head compute the last token's logits alone, as GenAI does before it compiles."""
    from openvino import opset13 as ops

    head = model.output("logits").get_node().input_value(0).get_node()
    if head.get_type_name() != "MatMul":
        raise TinyChatError(f"the logits come from a {head.get_type_name()}, not from a MatMul")
    last = [np.array([number], dtype=np.int64) for number in (-1, 2**31 - 1, 1, 1)]
    head.input(0).replace_source_output(ops.slice(head.input_value(0), *last).output(0))
    model.validate_nodes_and_infer_types()

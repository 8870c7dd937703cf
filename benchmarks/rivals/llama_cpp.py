"""llama.cpp as a benchmark sees it, through the C interface that llama-cpp-python has built."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np

from tinychat.bench.job import Job
from tinychat.bench.runner import Runner
from tinychat.errors import ArgumentError, MissingPackageError, TinyChatError

FLASH_ATTENTION = 1  # LLAMA_FLASH_ATTN_TYPE_ENABLED


class LlamaCppRunner(Runner):
    """See `tinychat.bench.runner.Runner`. `job.load["gguf"]` is the file to run."""

    def __init__(self, job: Job) -> None:
        try:
            import llama_cpp
        except ImportError:
            raise MissingPackageError(
                "comparing with llama.cpp needs its package, built for this CPU: "
                "CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python "
                "llama-cpp-python"
            ) from None
        if job.threads is None:
            raise ArgumentError("llama.cpp is measured with a given number of threads")
        self._lib: Any = llama_cpp
        self.model, self.weights = job.shape or "", "Q4_0"
        self.threads, self.isa = job.threads, ""
        self.note = f"llama-cpp-python {llama_cpp.__version__}"
        llama_cpp.llama_log_set(_SILENT, None)
        began = time.perf_counter()
        llama_cpp.llama_backend_init()
        path = job.load["gguf"].encode()
        self._model = llama_cpp.llama_model_load_from_file(
            path, llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise TinyChatError(f"llama.cpp cannot load {job.load['gguf']}")
        self.load_s: float | None = time.perf_counter() - began
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = job.positions
        settings.n_batch = settings.n_ubatch = 512
        settings.n_threads = settings.n_threads_batch = job.threads
        settings.flash_attn_type = FLASH_ATTENTION
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            raise TinyChatError("llama.cpp cannot make a context for this model")
        self._memory = llama_cpp.llama_get_memory(self._context)
        vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.vocab_size: int = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self._cached: list[int] = []

    def _decode(self, ids: list[int]) -> None:
        for start in range(0, len(ids), 512):
            part = ids[start : start + 512]
            tokens = (self._lib.llama_token * len(part))(*part)
            batch = self._lib.llama_batch_get_one(tokens, len(part))
            status = self._lib.llama_decode(self._context, batch)
            if status != 0:
                raise TinyChatError(f"llama_decode failed with status {status}")
        self._cached += ids

    def rewind(self, ids: list[int]) -> None:
        self._lib.llama_memory_clear(self._memory, False)
        self._cached = []
        self._decode(ids)

    def prefill(self, ids: list[int]) -> None:
        self._decode(ids[len(self._cached) :])

    def step(self, token: int) -> None:
        self._decode([token])

    def choose(self) -> int:
        logits = self._lib.llama_get_logits_ith(self._context, -1)
        return int(np.ctypeslib.as_array(logits, (self.vocab_size,)).argmax())

    def bytes_per_token(self, cached: float) -> int:
        """Of all tensors: the file's size, of which an untied embedding is a small part."""
        return int(self._lib.llama_model_size(self._model))


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _SILENT(level: int, text: bytes, data: object) -> None:
    """Its log goes nowhere."""

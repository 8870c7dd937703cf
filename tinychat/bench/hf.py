"""`transformers` as a benchmark sees it: bfloat16 on the CPU, float16 on a card, its own cache, one
call a token.

The loop calls the model directly: it is what `generate` does without its checks and its criteria,
so the comparison is not with overhead that nobody needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tinychat.bench.job import Job
from tinychat.bench.runner import Runner
from tinychat.config import load_config, parse_config
from tinychat.errors import MissingPackageError, NotEnoughMemoryError
from tinychat.kernels.dispatch import choose_card
from tinychat.memory import available_bytes, parameter_count
from tinychat.random_weights import RANDOM_PERIOD, repeat_into
from tinychat.shapes import shape_values

DTYPES = {"cpu": ("bf16", torch.bfloat16), "cuda": ("fp16", torch.float16)}


class TransformersRunner(Runner):
    """transformers, on the device that a job asks for."""

    def __init__(self, job: Job) -> None:
        try:
            import transformers
        except ImportError:
            raise MissingPackageError(
                "comparing with transformers needs the package: pip install 'tinychat[hf]'"
            ) from None
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        card = choose_card(job.load.get("device", "cpu"))
        self.place = "cpu" if card is None else f"cuda:{card.index}"
        self.weights, self._dtype = DTYPES[self.device]
        self.threads = torch.get_num_threads()
        self.isa = ""
        self.model = job.shape or str(job.folder)
        self._check_memory(job)
        self.load_s: float | None = None
        self._model = self._load(transformers, job)
        self.vocab_size: int = self._model.config.vocab_size
        self._cache_class: Callable[[], Any] = transformers.DynamicCache
        self._cache = self._cache_class()
        self._logits: Tensor | None = None

    def _check_memory(self, job: Job) -> None:
        config = parse_config(shape_values(job.shape)) if job.shape else load_config(_folder(job))
        need = self._dtype.itemsize * parameter_count(config)
        free = available_bytes() if self.device == "cpu" else torch.cuda.mem_get_info(self.place)[0]
        if free is not None and need > free:
            raise NotEnoughMemoryError(
                f"transformers in {self.weights} needs {need >> 20} MB for the weights, and "
                f"{free >> 20} MB are free"
            )

    def _load(self, transformers: Any, job: Job) -> Any:
        """The model, from its files where transformers can run them as they are."""
        auto = transformers.AutoModelForCausalLM
        if job.shape is None and load_config(_folder(job)).quantization is None:
            values = transformers.AutoConfig.from_pretrained(job.folder, local_files_only=True)
            with torch.device("meta"):
                auto.from_config(values)  # imports what the model's class needs
            began = time.perf_counter()
            model = auto.from_pretrained(job.folder, dtype=self._dtype, local_files_only=True)
            model = model.eval().to(self.place)
            self.load_s = time.perf_counter() - began
            return model
        if job.shape is None:
            self.note = (
                "random weights of the same shape: transformers runs no low-bit files by itself"
            )
            values = transformers.AutoConfig.from_pretrained(job.folder, local_files_only=True)
            del values.quantization_config
        else:
            shape = dict(shape_values(job.shape))
            values = transformers.AutoConfig.for_model(shape.pop("model_type"), **shape)
        with _NoInit():
            model = auto.from_config(values, dtype=self._dtype)
        fill(model)
        return model.eval().to(self.place)

    @torch.inference_mode()
    def _forward(self, ids: list[int]) -> None:
        out = self._model(
            torch.tensor([ids], device=self.place),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._logits = out.logits[0, -1]

    def rewind(self, ids: list[int]) -> None:
        self._cache = self._cache_class()
        if ids:
            self._forward(ids)
            self._wait()  # else what comes next is timed with it

    def prefill(self, ids: list[int]) -> None:
        self._forward(ids[self._cache.get_seq_length() :])
        self._wait()

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize(self.place)

    def step(self, token: int) -> None:
        self._forward([token])

    def choose(self) -> int:
        assert self._logits is not None
        return int(self._logits.argmax())

    def bytes_per_token(self, cached: float) -> int:
        config = self._model.config
        head_dim = getattr(config, "head_dim", None)
        head_dim = head_dim or config.hidden_size // config.num_attention_heads
        heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
        cache = 2 * config.num_hidden_layers * heads * head_dim * self._dtype.itemsize
        embedding = self._model.get_input_embeddings().weight
        # Of the embedding a token reads one row, unless the same matrix is the output head.
        tied = self._model.get_output_embeddings().weight is embedding
        weights = sum(p.nbytes for p in self._model.parameters())
        return int(weights - (0 if tied else embedding.nbytes) + cached * cache)


class _NoInit(TorchFunctionMode):
    """Leaves new weights as they are: drawing a billion numbers takes longer than the benchmark."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        if func in (torch.nn.init.normal_, torch.nn.init.kaiming_uniform_):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def fill(model: torch.nn.Module) -> None:
    """Give every matrix random values of a model's size; norms keep what they have."""
    values = torch.randn(RANDOM_PERIOD).mul_(0.02)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                repeat_into(parameter, values)


def _folder(job: Job) -> Path:
    assert job.folder is not None
    return Path(job.folder)

"""`LLM`: text in, text out. Ties the engine (ids) to the tokenizer, the chat template and stop
strings. `assembly.load` makes one.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast, overload

import torch
from torch import Tensor

from tinychat.config import ModelConfig
from tinychat.engine import Engine
from tinychat.errors import (
    ArgumentError,
    CardError,
    KernelError,
    TemplateError,
    TinyChatError,
    TokenizerError,
)
from tinychat.loader import Summary
from tinychat.memory import memory_errors
from tinychat.pieces import Output, Piece, TextAssembler, join
from tinychat.sampler import DEFAULTS, SamplingParams
from tinychat.template import ChatTemplate
from tinychat.tokenizer import Tokenizer

# What torch, and what our own launches, say where a card or its driver has failed. Running out of
# memory, which torch words alike, is told apart before.
CARD_FAULT = re.compile(
    r"^(?!.*out of memory)(CUDA error|CUDA driver error|.*CUBLAS_STATUS_|cuDNN error)|"
    "illegal memory access|launch failure|misaligned address|ECC error"
)

Message = dict[str, Any]
Prompt = str | Sequence[int]


class Gate:
    """Lets one generation through at a time; other threads wait, the same thread is told what it
    left open.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        if self.is_mine():
            raise TinyChatError(
                "a stream of this model is still open in this thread; finish or close it first"
            )
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None

    def is_mine(self) -> bool:
        """Whether this thread has a generation open."""
        return self._owner == threading.get_ident()


class LLM:
    """A loaded model. Made by `load`; a context manager; safe to call from several threads.

    Attributes:
        warnings: what was wrong with the folder and could be ignored, one line each.
    """

    def __init__(
        self,
        engine: Engine,
        config: ModelConfig,
        tokenizer: Tokenizer | None = None,
        template: ChatTemplate | None = None,
        defaults: SamplingParams = DEFAULTS,
        summary: Summary | None = None,
        close: Callable[[], None] = lambda: None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.engine, self.config = engine, config
        self.template, self.default_params, self.summary = template, defaults, summary
        self.warnings = tuple(warnings)
        self._tokenizer, self._close = tokenizer, close
        self._gate = Gate()
        self._closed = False
        self._fault = ""  # what a card failed with; what it computes afterwards may be wrong

    # --- what it is

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer. Raises: TokenizerError if the folder has none."""
        if self._tokenizer is None:
            raise TokenizerError(
                "this model folder has no tokenizer.json or tokenizer.model; add one, or pass "
                "token ids in Python"
            )
        return self._tokenizer

    @property
    def max_context(self) -> int:
        """The context length in tokens."""
        return self.engine.capacity

    def memory(self) -> dict[str, float]:
        """Megabytes of packed or float matrices, and of KV cache for the whole context."""
        return {
            "weights_mb": self.engine.model.held_bytes / 2**20,
            "kv_mb": self.engine.cache.nbytes / 2**20,
        }

    @property
    def description(self) -> str:
        """One line: weights, context, memory, threads, and the packed copy on the disk."""
        size = self.memory()
        ops = self.engine.model.ops
        weights = self.summary.weights if self.summary else "in memory"
        nbytes = self.summary.packed_copy if self.summary else None
        copy = "" if nbytes is None else f" · packed copy {nbytes / 2**20:.0f} MB"
        return (
            f"{self.config.family} {weights} · context {self.max_context} · "
            f"weights {size['weights_mb']:.0f} MB · KV {size['kv_mb']:.0f} MB · "
            f"{ops.name} on {ops.threads} threads{copy}"
        )

    # --- text

    def encode_prompt(self, prompt: Prompt) -> Sequence[int]:
        """Text to ids, with BOS where the tokenizer's own configuration adds it; ids pass
        through.
        """
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt, add_special=True)
        return prompt

    def encode_chat(self, messages: Sequence[Message], **template_kwargs: Any) -> list[int]:
        """Messages to ids through the chat template, ready for an answer.

        Raises: TemplateError if the model has no template or it refuses these messages.
        """
        if self.template is None:
            raise TemplateError(
                "this model has no chat template (chat_template.jinja, or chat_template in "
                "tokenizer_config.json); use generate() or --prompt for plain completion"
            )
        return self.template.encode(messages, add_generation_prompt=True, **template_kwargs)

    # A text is also a sequence of texts to the type checker; at run time it is one prompt.
    @overload
    def generate(  # type: ignore[overload-overlap]
        self, prompt: Prompt, params: SamplingParams | None = None
    ) -> Output: ...
    @overload
    def generate(
        self, prompt: Sequence[Prompt], params: SamplingParams | None = None
    ) -> list[Output]: ...
    def generate(
        self, prompt: Prompt | Sequence[Prompt], params: SamplingParams | None = None
    ) -> Output | list[Output]:
        """Continue a prompt, or each of a list of prompts (a list of ints is one prompt).

        Raises: ContextLengthError if a prompt does not fit, ArgumentError if it is empty or of the
            wrong kind.
        """
        if is_batch(prompt, str | Sequence):
            return [self.generate(one, params) for one in cast(Sequence[Prompt], prompt)]
        return join(self.stream(cast(Prompt, prompt), params))

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Iterator[Piece]:
        """As `generate`, piece by piece. Closing the iterator ends the generation."""
        return self._pieces(self.encode_prompt(prompt), params)

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        params: SamplingParams | None = None,
        **template_kwargs: Any,
    ) -> Output | list[Output]:
        """Answer a conversation, or each of a list of conversations.

        Args:
            messages: dicts with "role" and "content"; they are not changed.
            template_kwargs: passed to the chat template, for instance `enable_thinking=False`.
        """
        if is_batch(messages, Sequence):
            batch = cast(Sequence[Sequence[Message]], messages)
            return [join(self.stream_chat(one, params, **template_kwargs)) for one in batch]
        return join(self.stream_chat(cast(Sequence[Message], messages), params, **template_kwargs))

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        **template_kwargs: Any,
    ) -> Iterator[Piece]:
        """As `chat`, piece by piece."""
        return self._pieces(self.encode_chat(messages, **template_kwargs), params, is_chat=True)

    def logits(self, ids: Sequence[int]) -> Tensor:
        """Logits [T, V] float32 after every one of `ids` [T], evaluated as a fresh sequence."""
        self._check_open()
        with self._running():
            self.engine.check_prompt(ids)
            self.engine.reset()
            return torch.cat([self.engine.model.logits(h) for h in self.engine.hidden(ids)])

    def logprobs(self, ids: Sequence[int]) -> Tensor:
        """Log-probabilities [T - 1] float32 of ids[1:], each given all before it in `ids` [T].

        As `logits`, a fresh sequence, but without ever holding the logits of many tokens.
        """
        self._check_open()
        with self._running():
            return self.engine.logprobs(ids)

    # --- life

    def cancel(self) -> None:
        """End the running generation after its current step, from any thread."""
        self.engine.cancelled.set()

    def close(self) -> None:
        """Stop what runs, then free the threads and the mapping. Calling it again does nothing.

        With a stream open in this thread, they are freed when that one ends.
        """
        if self._closed:
            return
        self._closed = True
        self.cancel()
        if self._gate.is_mine():
            return
        with self._gate.hold():
            self._close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Have the engine for oneself; where memory runs out or a card fails, that is a plain
        error.
        """
        way_out = "a shorter prompt, or a model loaded with a smaller max_context, takes less"
        with self._gate.hold(), memory_errors("evaluating", way_out):
            try:
                yield
            except (RuntimeError, KernelError) as error:
                if not CARD_FAULT.search(str(error)):
                    raise
                self._fault = str(error).splitlines()[0]
                self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise TinyChatError("this model is closed; load it again")
        if self._fault:
            raise CardError(f"the card failed ({self._fault}); start tinychat again") from None

    def _holds_no_text(self, ids: Sequence[int]) -> bool:
        """Whether a prompt is only control tokens, so that the answer begins a text of its own."""
        return self._tokenizer is None or not self._tokenizer.decode(ids[:16], skip_special=True)

    def _pieces(
        self, ids: Sequence[int], params: SamplingParams | None, is_chat: bool = False
    ) -> Iterator[Piece]:
        self._check_open()
        self.engine.check_prompt(ids)
        if not isinstance(params, SamplingParams | None):
            raise ArgumentError(f"params is a {type(params).__name__}; expected SamplingParams")
        full = (params or SamplingParams()).over(self.default_params)
        if full.stop:
            _ = self.tokenizer  # stop strings need text
        # A copy: the caller may change its list before the stream is read.
        return self._generate_pieces(list(ids), full, is_chat or self._holds_no_text(ids))

    def _generate_pieces(
        self, ids: list[int], params: SamplingParams, at_start: bool
    ) -> Iterator[Piece]:
        with self._running():
            self._check_open()
            assembler = TextAssembler(self._tokenizer, params.stop, at_start)
            try:
                for step in self.engine.stream(ids, params):
                    piece = assembler.piece(step)
                    if piece is not None:
                        yield piece
                    if piece is not None and piece.finish_reason is not None:
                        return
            finally:
                if self._closed:
                    self._close()


def is_batch(value: object, item: Any) -> bool:
    """Whether `value` is a list of items rather than one of them (text, or a list of ints or of
    messages).
    """
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and isinstance(value[0], item)
    )

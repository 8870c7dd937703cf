"""`load` and `LLM`: text in, text out. Ties the engine (ids) to the tokenizer, the chat template
and stop strings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, overload

import torch
from torch import Tensor

from tinychat import limits
from tinychat.cache import KV_DTYPES, KVCache, kv_bytes_per_token
from tinychat.checkpoint import Checkpoint
from tinychat.config import GenerationDefaults, ModelConfig, load_config, load_generation_config
from tinychat.engine import Engine, Stats, Step
from tinychat.errors import ArgumentError, TemplateError, TinyChatError, TokenizerError
from tinychat.hub import resolve_model
from tinychat.kernels import Ops
from tinychat.kernels.dispatch import select
from tinychat.loader import HEADS, WEIGHTS, Source, Summary, load_model, weight_bytes
from tinychat.memory import choose_context
from tinychat.sampler import DEFAULTS, SamplingParams, TokenLogprob, check_bounds
from tinychat.stop import StopMatcher
from tinychat.template import ChatTemplate
from tinychat.tokenizer import Tokenizer

# The named values that arguments of `load` may have.
CHOICES: dict[str, tuple[str, ...]] = {
    "device": ("auto", "cpu"),
    "weights": WEIGHTS,
    "kv_cache": ("auto", *KV_DTYPES),
    "lm_head": HEADS,
}

Message = dict[str, Any]
Prompt = str | Sequence[int]


@dataclass(frozen=True)
class Piece:
    """A piece of streamed text, never half a character. The last piece carries `finish_reason` and
    `stats`.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str | None = None
    stats: Stats | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Output:
    """A finished answer.

    Attributes:
        text: without stop strings and control tokens.
        token_ids: every generated id, a final end-of-text token included.
        finish_reason: "stop", "length" or "cancelled".
        logprobs: one entry per token where they were asked for.
        stats: counts and times.
        seed: the seed that gives this text again.
    """

    text: str
    token_ids: list[int]
    finish_reason: str
    logprobs: list[TokenLogprob] | None
    stats: Stats
    seed: int


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

    # --- what it is

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer. Raises: TokenizerError if the folder has none."""
        if self._tokenizer is None:
            raise TokenizerError(
                "this model folder has no tokenizer.json or tokenizer.model; "
                "pass token ids instead of text"
            )
        return self._tokenizer

    @property
    def max_context(self) -> int:
        """The context length in tokens."""
        return self.engine.capacity

    def memory(self) -> dict[str, float]:
        """Megabytes of weights read per token, and of KV cache for the whole context."""
        return {
            "weights_mb": self.engine.model.nbytes / 2**20,
            "kv_mb": self.engine.cache.nbytes / 2**20,
        }

    @property
    def description(self) -> str:
        """One line: weights, context, memory, threads."""
        size = self.memory()
        ops = self.engine.model.ops
        weights = self.summary.weights if self.summary else "in memory"
        return (
            f"{self.config.family} {weights} · context {self.max_context} · "
            f"weights {size['weights_mb']:.0f} MB · KV {size['kv_mb']:.0f} MB · "
            f"{ops.name} on {ops.threads} threads"
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
        with self._gate.hold():
            self.engine.check_prompt(ids)
            self.engine.reset()
            return torch.cat([self.engine.model.logits(h) for h in self.engine.hidden(ids)])

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

    def _check_open(self) -> None:
        if self._closed:
            raise TinyChatError("this model is closed; load it again")

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
        with self._gate.hold():
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


class TextAssembler:
    """Turns the engine's steps into pieces: whole characters, nothing of a stop string, no control
    tokens. `at_start`: the text begins here, so that a leading space of its spelling is none.
    """

    def __init__(self, tokenizer: Tokenizer | None, stops: Sequence[str], at_start: bool) -> None:
        self._decoder = tokenizer.stream(at_start=at_start) if tokenizer else None
        self._matcher = StopMatcher(stops)
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []

    def piece(self, step: Step) -> Piece | None:
        """The piece that this step completes; None while a character or a possible stop string is
        still open.
        """
        if step.token_id is not None:
            self._ids.append(step.token_id)
        if step.logprob is not None:
            self._logprobs.append(step.logprob)
        text = self._text(step)
        reason = "stop" if self._matcher.matched else step.finish_reason
        if not text and reason is None:
            return None
        piece = Piece(
            text,
            tuple(self._ids),
            reason,
            step.stats if reason is not None else None,
            tuple(self._logprobs),
            step.seed if reason is not None else None,
        )
        self._ids, self._logprobs = [], []
        return piece

    def _text(self, step: Step) -> str:
        if self._decoder is None:
            return ""
        text = (
            "" if step.token_id is None else self._matcher.push(self._decoder.push(step.token_id))
        )
        if step.finish_reason is not None and not self._matcher.matched:
            text += self._matcher.push(self._decoder.finish())
            if not self._matcher.matched:
                text += self._matcher.finish()
        return text


def join(pieces: Iterator[Piece]) -> Output:
    """Collect a stream into one output."""
    text: list[str] = []
    ids: list[int] = []
    logprobs: list[TokenLogprob] = []
    for piece in pieces:
        text.append(piece.text)
        ids.extend(piece.token_ids)
        logprobs.extend(piece.logprobs)
    assert piece.finish_reason is not None and piece.stats is not None and piece.seed is not None
    return Output(
        "".join(text), ids, piece.finish_reason, logprobs or None, piece.stats, piece.seed
    )


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


def load(
    model: str | Path | None = None,
    device: str = "auto",
    weights: str = "auto",
    kv_cache: str = "auto",
    max_context: int | None = None,
    threads: int | None = None,
    lm_head: str = "auto",
    pack_cache: bool = True,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LLM:
    """Load a model.

    Args:
        model: a folder, a Hugging Face id, or None for the model that ships with tinychat.
        device: "auto" or "cpu"; this version has no CUDA backend.
        weights: "auto" as the checkpoint is; "fp32", "fp16", "bf16"; "int8", "int4" round a float
            checkpoint.
        kv_cache: "fp32", "fp16", "bf16"; "auto" is fp32 for fp32 weights and fp16 otherwise.
        max_context: tokens; default the model's own limit, or less where memory is short.
        threads: default one per physical core that this process may use.
        lm_head: "auto" (int8 with low-bit weights, else as the checkpoint is), "fp16" (as it is),
            "int8", "int4".
        pack_cache: kept for compatibility of calls; this version packs at every load and writes no
            copy.
        offline: never touch the network.
        progress: called with (matrices done, matrices in all) while loading.
    Raises: TinyChatError and its subclasses, see `tinychat.errors`.
    """
    check_choices(device=device, weights=weights, kv_cache=kv_cache, lm_head=lm_head)
    check_bounds("threads", threads, int, 1, 1024)
    check_bounds("max_context", max_context, int, 1, limits.POSITIONS)

    folder = resolve_model(model, offline=offline)
    config = load_config(folder)
    generation = load_generation_config(folder)
    tokenizer = Tokenizer.load(folder, config.vocab_size)
    template = ChatTemplate.load(folder, tokenizer) if tokenizer else None
    checkpoint = Checkpoint.open(folder)
    try:
        return build(
            checkpoint,
            config,
            select("cpu", threads=threads),
            weights=weights,
            kv_cache=kv_cache,
            max_context=max_context,
            lm_head=lm_head,
            tokenizer=tokenizer,
            template=template,
            generation=generation,
            progress=progress,
            close=checkpoint.close,
        )
    except BaseException:
        checkpoint.close()
        raise


def build(
    source: Source,
    config: ModelConfig,
    ops: Ops,
    *,
    weights: str = "auto",
    kv_cache: str = "auto",
    max_context: int | None = None,
    lm_head: str = "auto",
    tokenizer: Tokenizer | None = None,
    template: ChatTemplate | None = None,
    generation: GenerationDefaults | None = None,
    progress: Callable[[int, int], None] | None = None,
    close: Callable[[], None] = lambda: None,
) -> LLM:
    """Make an `LLM` of any source of weights: a checkpoint, or random ones made in memory.

    Args, Raises: as `load`, for what is already read.
    """
    check_choices(weights=weights, kv_cache=kv_cache, lm_head=lm_head)
    kv_dtype = kv_dtype_for(kv_cache, weights, config)
    context = choose_context(
        config,
        max_context,
        kv_bytes_per_token(config, kv_dtype),
        weight_bytes(config, weights, lm_head),
    )
    # Float layers run through torch; it takes turns with our threads and may not outnumber them.
    torch.set_num_threads(ops.threads)
    model, summary = load_model(
        source, config, ops, context, weights=weights, lm_head=lm_head, progress=progress
    )
    cache = KVCache(config, context, kv_dtype)
    if template is not None:
        template.max_output = limits.TEMPLATE_OUTPUT_PER_TOKEN * context
    vocab_size = min(config.vocab_size, tokenizer.vocab_size) if tokenizer else config.vocab_size
    engine = Engine(model, cache, end_tokens(config, generation, tokenizer), vocab_size)

    def close_all() -> None:
        ops.close()
        if template is not None:
            template.close()
        close()

    defaults = defaults_from(generation) if generation else DEFAULTS
    warnings = generation.warnings if generation else ()
    return LLM(engine, config, tokenizer, template, defaults, summary, close_all, warnings)


def check_choices(**given: object) -> None:
    """Raise `ArgumentError` unless each argument is one of its `CHOICES`."""
    for name, value in given.items():
        if value not in CHOICES[name]:
            raise ArgumentError(f"{name}={value!r} is not one of {', '.join(CHOICES[name])}")


def kv_dtype_for(kv_cache: str, weights: str, config: ModelConfig) -> torch.dtype:
    """The cache's dtype: "auto" keeps fp32 weights exact and is fp16 for everything else."""
    if kv_cache != "auto":
        return KV_DTYPES[kv_cache]
    full = weights == "fp32" or (
        weights == "auto" and config.quantization is None and config.torch_dtype == "float32"
    )
    return torch.float32 if full else torch.float16


def end_tokens(
    config: ModelConfig, generation: GenerationDefaults | None, tokenizer: Tokenizer | None
) -> frozenset[int]:
    """Every id that ends a text, by config.json, generation_config.json or the tokenizer."""
    ids = set(config.eos_token_ids)
    if generation is not None:
        ids.update(generation.eos_token_ids)
    if tokenizer is not None and tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return frozenset(ids)


def defaults_from(generation: GenerationDefaults) -> SamplingParams:
    """The checkpoint's sampling defaults over tinychat's."""
    return SamplingParams(
        temperature=generation.temperature,
        top_k=generation.top_k,
        top_p=generation.top_p,
        min_p=generation.min_p,
        repetition_penalty=generation.repetition_penalty,
    ).over(DEFAULTS)

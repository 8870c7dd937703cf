"""`load`: a model folder -> an `LLM`, every argument checked and the memory asked for first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

from tinychat import __version__, limits
from tinychat.cache import KVCache, kv_bytes_per_token
from tinychat.checkpoint import Checkpoint
from tinychat.config import GenerationDefaults, ModelConfig, load_config, load_generation_config
from tinychat.engine import Engine
from tinychat.errors import ArgumentError
from tinychat.hub import resolve_model
from tinychat.kernels import Ops
from tinychat.kernels.dispatch import check_device, select
from tinychat.llm import LLM
from tinychat.loader import HEADS, WEIGHTS, Source, load_model
from tinychat.lookup import DEFAULT_DRAFT
from tinychat.memory import activation_bytes, choose_context, memory_errors, weight_bytes
from tinychat.pack_cache import LEAST_BYTES, PackCache, source_key
from tinychat.precision import FLOATS
from tinychat.sampler import DEFAULTS, SamplingParams, check_bounds
from tinychat.template import ChatTemplate
from tinychat.tokenizer import Tokenizer

KV_DTYPES = {**FLOATS, "int8": torch.int8}
# The named values that arguments of `load` may have.
CHOICES: dict[str, tuple[str, ...]] = {
    "weights": WEIGHTS,
    "kv_cache": ("auto", *KV_DTYPES),
    "lm_head": HEADS,
}


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
    prompt_lookup: int | None = None,
) -> LLM:
    """Load a model.

    Args:
        model: a folder, a Hugging Face id, or None for the model that ships with tinychat.
        device: "cpu"; "cuda" or "cuda:1" for a card; "auto" for the first card that can be used,
            or the CPU.
        weights: "auto" as the checkpoint is; "fp32", "fp16", "bf16"; "int8", "int4" round a float
            checkpoint.
        kv_cache: "fp32", "fp16", "bf16", "int8"; "auto" is fp32 for fp32 weights and fp16
            otherwise. Cards take fp16 and int8.
        max_context: tokens; default the model's own limit, or less where memory is short.
        threads: default one per physical core that this process may use.
        lm_head: the form of the output head: "fp16" (as the checkpoint is), "int8", "int4", or
            "int4+4": 4 bits for every token, and 4 more for the likeliest ones. "auto" is
            as the checkpoint is, and with low-bit weights "int4+4", or "int8" for a vocabulary of
            less than 8192.
        pack_cache: read the packed copy of the weights that lies beside the model or in the user's
            cache, and write it where there is none; False does neither. Small models have none.
        offline: never touch the network.
        progress: called with (matrices done, matrices in all) while loading.
        prompt_lookup: tokens of the longest draft that is copied from earlier text and evaluated
            ahead, which changes the speed and never the text; 0 for no drafts; default
            `lookup.DEFAULT_DRAFT`, and 0 on a card, which without drafts need not wait for the
            host between two tokens. Off where a layer is in floating point, and at most 7 on a
            card, with a warning if more was asked for.
    Raises: TinyChatError and its subclasses, see `tinychat.errors`.
    """
    check_device(device)
    check_choices(weights=weights, kv_cache=kv_cache, lm_head=lm_head)
    check_bounds("threads", threads, int, 1, limits.THREADS)
    check_bounds("max_context", max_context, int, 1, limits.POSITIONS)
    check_bounds("prompt_lookup", prompt_lookup, int, 0, limits.DRAFT_TOKENS)

    with memory_errors("loading the model", "lower-bit weights or a smaller max_context take less"):
        folder = resolve_model(model, offline=offline)
        config = load_config(folder)
        generation = load_generation_config(folder)
        tokenizer = Tokenizer.load(folder, config.vocab_size)
        template = ChatTemplate.load(folder, tokenizer) if tokenizer else None
        checkpoint = Checkpoint.open(folder)
        try:
            ops = select(device, threads=threads)
            form = (weights, lm_head)
            packed = packed_copy(folder, checkpoint, config, ops, *form) if pack_cache else None
            with packed or nullcontext():
                return build(
                    checkpoint,
                    config,
                    ops,
                    weights=weights,
                    kv_cache=kv_cache,
                    max_context=max_context,
                    lm_head=lm_head,
                    tokenizer=tokenizer,
                    template=template,
                    generation=generation,
                    progress=progress,
                    prompt_lookup=prompt_lookup,
                    packed=packed,
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
    prompt_lookup: int | None = None,
    packed: PackCache | None = None,
    close: Callable[[], None] = lambda: None,
) -> LLM:
    """Make an `LLM` of any source of weights: a checkpoint, or random ones made in memory.

    Args, Raises: as `load`, for what is already read.
    """
    check_choices(weights=weights, kv_cache=kv_cache, lm_head=lm_head)
    kv_dtype = kv_dtype_for(kv_cache, weights, config, ops)
    needs = (kv_bytes_per_token(config, kv_dtype), held_bytes(config, weights, lm_head, ops))
    context = choose_context(config, max_context, *needs, ops.available_bytes())
    # Float layers run through torch; it takes turns with our threads and may not outnumber them.
    torch.set_num_threads(ops.threads)
    model, summary = load_model(
        source,
        config,
        ops,
        context,
        weights=weights,
        lm_head=lm_head,
        progress=progress,
        packed=packed,
    )
    cache = KVCache(config, context, kv_dtype, ops.device)
    if template is not None:
        template.max_output = limits.TEMPLATE_OUTPUT_PER_TOKEN * context
    vocab_size = min(config.vocab_size, tokenizer.vocab_size) if tokenizer else config.vocab_size
    draws = None if prompt_lookup else ops.draws(vocab_size)
    wanted = DEFAULT_DRAFT if prompt_lookup is None and draws is None else prompt_lookup or 0
    draft = min(wanted, ops.alone_tokens - 1) if model.rows_are_alone else 0
    engine = Engine(
        model,
        cache,
        end_tokens(config, generation, tokenizer),
        vocab_size,
        draft,
        draws,
        ops.prefill_chunk,
        config.max_positions,
    )

    def close_all() -> None:
        ops.close()
        if template is not None:
            template.close()
        close()

    defaults = defaults_from(generation) if generation else DEFAULTS
    warnings = generation.warnings if generation else ()
    if packed is not None:
        warnings = (*warnings, *packed.warnings)
    if prompt_lookup and not draft:
        off = f"prompt_lookup={prompt_lookup} is off: it is for models of low-bit layers only"
        warnings = (*warnings, off)
    elif prompt_lookup and draft < prompt_lookup:
        fewer = f"prompt_lookup={prompt_lookup} is {draft}: {ops.name} takes no longer drafts"
        warnings = (*warnings, fewer)
    return LLM(engine, config, tokenizer, template, defaults, summary, close_all, warnings)


def packed_copy(
    folder: Path,
    checkpoint: Checkpoint,
    config: ModelConfig,
    ops: Ops,
    weights: str,
    lm_head: str,
) -> PackCache | None:
    """The packed copy that `load` reads or writes; None for a model that is too small for one, and
    on a card, which packs as fast as it is given weights.
    """
    from tinychat.kernels.cpu import CpuOps

    if not isinstance(ops, CpuOps):
        return None
    nbytes = weight_bytes(config, weights, lm_head)
    if nbytes < LEAST_BYTES:
        return None
    key = source_key(checkpoint, config, ops, __version__)
    return PackCache(folder, key, (weights, lm_head), ops, nbytes)


def check_choices(**given: object) -> None:
    """Raise `ArgumentError` unless each argument is one of its `CHOICES`."""
    for name, value in given.items():
        if value not in CHOICES[name]:
            raise ArgumentError(f"{name}={value!r} is not one of {', '.join(CHOICES[name])}")


def held_bytes(config: ModelConfig, weights: str, lm_head: str, ops: Ops) -> int:
    """What a loaded model takes beside its cache, where its ops are."""
    if ops.device.type == "cpu":
        return weight_bytes(config, weights, lm_head)
    activations = activation_bytes(config, min(ops.prefill_chunk, config.max_positions))
    return weight_bytes(config, weights, lm_head, on_card=True) + activations


def kv_dtype_for(kv_cache: str, weights: str, config: ModelConfig, ops: Ops) -> torch.dtype:
    """The cache's dtype: "auto" keeps fp32 weights exact where the ops can, and is fp16 for
    everything else.

    Raises: ArgumentError for one that the ops do not take.
    """
    if kv_cache != "auto":
        chosen = KV_DTYPES[kv_cache]
        if chosen not in ops.kv_dtypes:
            taken = [name for name, dtype in KV_DTYPES.items() if dtype in ops.kv_dtypes]
            raise ArgumentError(f"kv_cache={kv_cache!r}: {ops.name} takes {' and '.join(taken)}")
        return chosen
    if torch.float32 not in ops.kv_dtypes:
        return torch.float16
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

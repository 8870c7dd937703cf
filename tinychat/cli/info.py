"""`tinychat info`: what a model is, how it would run here and what memory that takes."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinychat.cli import options
from tinychat.cli.terminal import Terminal
from tinychat.errors import NotEnoughMemoryError, TinyChatError

if TYPE_CHECKING:
    from tinychat.config import ModelConfig

EXAMPLE = """
tinychat info
tinychat info path/to/model --weights int4 --max-context 4k
tinychat info path/to/model --json
"""

DESCRIPTION = """\
Say what a model is, how it would run on this machine with the given flags, and what memory it
needs. Its weights are
checked but not loaded."""


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the `info` command."""
    parser = options.add_command(
        subparsers,
        "info",
        run,
        "what a model is, how it would run here, the memory it needs",
        description=DESCRIPTION,
        example=EXAMPLE,
    )
    options.add_model(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options.add_load_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the facts."""
    facts = gather(arguments)
    terminal = Terminal()
    if arguments.json:
        terminal.write(json.dumps(facts, indent=2) + "\n")
        return 0
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        terminal.write(f"{name.replace('_', ' '):<{width}}{_shown(value)}\n")
    return 0


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def gather(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every fact by name, in the order of printing; raises TinyChatError if it is no model."""
    from tinychat.assembly import check_choices, held_bytes, kv_dtype_for, packed_copy
    from tinychat.cache import kv_bytes_per_token
    from tinychat.checkpoint import Checkpoint
    from tinychat.config import load_config
    from tinychat.hub import resolve_model
    from tinychat.kernels.dispatch import select
    from tinychat.loader import Loader
    from tinychat.memory import available_bytes, choose_context, parameter_count

    check_choices(weights=arguments.weights, lm_head=arguments.lm_head, kv_cache=arguments.kv_cache)
    folder = resolve_model(arguments.model, offline=arguments.offline)
    config = load_config(folder)
    checkpoint = Checkpoint.open(folder)
    ops = select(arguments.device, threads=arguments.threads)
    Loader(checkpoint, config, ops, arguments.weights, arguments.lm_head).check_names(strict=True)
    kv_dtype = kv_dtype_for(arguments.kv_cache, arguments.weights, config, ops)
    per_token = kv_bytes_per_token(config, kv_dtype)
    weights = held_bytes(config, arguments.weights, arguments.lm_head, ops)
    available = ops.available_bytes() or available_bytes()
    try:
        context = choose_context(config, arguments.max_context, per_token, weights, available)
        problem = None
    except NotEnoughMemoryError as error:
        context, problem = arguments.max_context or config.max_positions, str(error)
    tokenizer, template = _text_parts(folder, config)
    form = (arguments.weights, arguments.lm_head)
    packed = packed_copy(folder, checkpoint, config, ops, *form) if arguments.pack_cache else None
    with packed or nullcontext():
        copy = packed.nbytes if packed else None
    ops.close()
    checkpoint.close()
    return {
        "model": str(folder),
        "family": config.family,
        "parameters": parameter_count(config),
        "layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "vocabulary": config.vocab_size,
        "longest_context": config.max_positions,
        "checkpoint": stored_form(config),
        "checkpoint_mb": round(sum(f.stat().st_size for f in folder.glob("*.safetensors")) / 2**20),
        "tokenizer": tokenizer,
        "chat_template": template,
        "runs_as": running_form(config, arguments.weights),
        "kernels": ops.name,
        "threads": ops.threads,
        "cuda": _card(),
        "context": context,
        "weights_mb": round(weights / 2**20, 1),
        "packed_copy_mb": None if copy is None else round(copy / 2**20, 1),
        "kv_mb": round(per_token * context / 2**20, 1),
        "kv_bytes_per_token": per_token,
        "available_mb": None if available is None else available >> 20,
        "fits": problem is None,
        "problem": problem,
    }


def _card() -> str:
    """The card that can be used, or why none can."""
    from tinychat.kernels import cards

    try:
        reason = cards.why_not()
        return f"no: {reason}" if reason else str(cards.choose())
    except TinyChatError as error:
        return f"no: {error}"


def stored_form(config: ModelConfig) -> str:
    """How the checkpoint holds its weights."""
    stored = config.quantization
    if stored is None:
        return config.torch_dtype
    group = "whole rows" if stored.group_size == -1 else f"g{stored.group_size}"
    return f"int{stored.bits} {group}, {stored.method} {stored.format}"


def running_form(config: ModelConfig, weights: str) -> str:
    """How the blocks' matrices are held once loaded, with the group sizes that rounding takes."""
    from tinychat.precision import INTEGERS
    from tinychat.quantize.grid import default_group_size

    if weights == "auto" or (weights in INTEGERS and config.quantization is not None):
        return stored_form(config).partition(",")[0]
    if weights not in INTEGERS:
        return weights
    widths = (config.hidden_size, config.num_heads * config.head_dim, config.intermediate_size)
    groups = sorted({default_group_size(width) for width in widths})
    return f"{weights} {' and '.join(f'g{group}' for group in groups)}"


def _text_parts(folder: Path, config: ModelConfig) -> tuple[str, str]:
    """Whether there is a tokenizer and a chat template, or what is wrong with them."""
    from tinychat.template import ChatTemplate
    from tinychat.tokenizer import Tokenizer

    try:
        tokenizer = Tokenizer.load(folder, config.vocab_size)
    except TinyChatError as error:
        return f"broken: {error}", "-"
    if tokenizer is None:
        return "none", "none"
    try:
        template = ChatTemplate.load(folder, tokenizer)
    except TinyChatError as error:
        return "present", f"broken: {error}"
    return "present", "none" if template is None else "present"

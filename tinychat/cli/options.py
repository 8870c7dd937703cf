"""What the commands' parsers share: how one is added, and the flags for `tinychat.load`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from tinychat.cli.terminal import one_line
from tinychat.lookup import DEFAULT_DRAFT

Run = Callable[[argparse.Namespace], int]
# argparse keeps the type of what `add_subparsers` returns to itself.
Subparsers = Any


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one plain line."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(2, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")


def add_command(
    subparsers: Subparsers, name: str, run: Run, help: str, description: str, example: str
) -> argparse.ArgumentParser:
    """Add a command's parser.

    Args:
        run: called with the parsed arguments; returns the exit code.
        help: one line for `tinychat --help`.
        description: what `tinychat NAME --help` begins with.
        example: command lines for the end of that help, one per line.
    Returns: the parser, for the command's own arguments; `--debug` is there already.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=description,
        epilog="examples:\n" + "".join(f"  {line}\n" for line in example.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # SUPPRESS: a default here would undo the flag given before the command's name.
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
    )
    parser.set_defaults(run=run, refuse=parser.error)
    return parser


def token_count(text: str) -> int:
    """A positive number of tokens; 32k is 32768."""
    digits, factor = (text[:-1], 1024) if text[-1:] in ("k", "K") else (text, 1)
    if not digits.isdecimal() or len(digits) > 9 or int(digits) < 1:
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a positive number such as 4096 or 4k"
        )
    return int(digits) * factor


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the positional MODEL."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a model folder or a Hugging Face id; default: the model that ships with tinychat",
    )


def add_load_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag for each argument of `tinychat.load`."""
    group = parser.add_argument_group("loading")
    group.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto (the first card that can be used, or the CPU), cpu, cuda or cuda:1",
    )
    group.add_argument(
        "--weights",
        default="auto",
        metavar="FORM",
        help="auto (as the checkpoint is), fp32, fp16, bf16, int8 or int4 (rounded while loading)",
    )
    group.add_argument(
        "--kv-cache",
        default="auto",
        metavar="TYPE",
        help="auto, fp32, fp16, bf16 or int8; on a card fp16 or int8",
    )
    group.add_argument(
        "--max-context",
        type=token_count,
        metavar="N",
        help="context in tokens, such as 4096 or 4k; default: the model's, or what memory allows",
    )
    group.add_argument(
        "--threads", type=int, metavar="N", help="default: one per physical core we may use"
    )
    group.add_argument(
        "--lm-head",
        default="auto",
        metavar="FORM",
        help="auto, fp16, int8, int4+4 (as exact as int8 for the likeliest tokens, 4 bits for the "
        "others) or int4",
    )
    group.add_argument(
        "--no-pack-cache",
        dest="pack_cache",
        action="store_false",
        help="neither read nor write the packed copy of the weights beside the model",
    )
    group.add_argument("--offline", action="store_true", help="never touch the network")
    group.add_argument(
        "--prompt-lookup",
        type=int,
        metavar="N",
        help="guess up to N tokens ahead from what was there before: faster where a text repeats, "
        f"never another text; not for bench; 0: never; default: {DEFAULT_DRAFT}, on a card 0",
    )


LOAD_ARGUMENTS = (
    "model",
    "device",
    "weights",
    "kv_cache",
    "max_context",
    "threads",
    "lm_head",
    "pack_cache",
    "offline",
    "prompt_lookup",
)


def load_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments for `tinychat.load` that the flags stand for."""
    return {name: getattr(arguments, name) for name in LOAD_ARGUMENTS}

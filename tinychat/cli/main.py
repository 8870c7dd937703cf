"""`tinychat`: finds the command, runs it, and turns its end into an exit code and at most a line.

A command is a module `tinychat/cli/NAME.py` listed in `COMMANDS`. It has two functions:

    add_parser(subparsers)   calls `options.add_command(subparsers, NAME, …)` and adds its arguments
    run(args) -> int         does the work and returns the exit code

Every command's module is imported for every call, `tinychat --help` too. So it imports only the
standard library and other light modules of this package on top; torch, rich, prompt_toolkit and the
engine are imported inside `run`.
Errors are raised, not printed: a `TinyChatError` ends in its one line and its `exit_code`.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

import tinychat
from tinychat.cli import bench, chat, doctor, eval, info, quantize
from tinychat.cli.options import Parser
from tinychat.cli.terminal import Terminal, tolerate_encoding
from tinychat.errors import TinyChatError

COMMANDS = (chat, bench, quantize, eval, info, doctor)

FAILED = 1
USAGE = 2
OUT_OF_MEMORY = 4
BUG = 70
STOPPED = 130

EPILOG = """\
examples:
  tinychat chat                          talk to the model that ships with tinychat
  tinychat chat --prompt "Hello!"        one answer on standard output
  tinychat info path/to/model            what a model is and what it needs

exit codes: 0 done, 1 failed, 2 wrong usage or refused, 3 model not found, 4 not enough memory, 70 a
bug of tinychat or a card that failed, 130 stopped by Ctrl-C
"""


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="tinychat",
        description="Chat with a 4-bit language model on a machine you own.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tinychat {tinychat.__version__}")
    parser.add_argument("--debug", action="store_true", help="show a traceback for every error")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; None for those of this process.
    Returns: the exit code.
    """
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        tolerate_encoding(stream)
    parser = build_parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        refuse = getattr(arguments, "refuse", parser.error)  # of the command, to name its help
        refuse(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return USAGE
    code = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes once more at its end; what is left must have somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _replace_closed_streams() -> None:
    """Put the null device where a standard stream was closed before the start: it is None then."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


def _run(arguments: argparse.Namespace) -> int:
    terminal = Terminal()
    try:
        code: int = arguments.run(arguments)
        return code
    except BrokenPipeError:  # nobody reads on, as in `tinychat … | head -1`
        return 0
    except KeyboardInterrupt as stop:
        terminal.say(str(stop) or "stopped")
        return STOPPED
    except TinyChatError as error:
        _show(terminal, error, arguments.debug, str(error))
        return error.exit_code
    except MemoryError as error:
        _show(terminal, error, arguments.debug, "out of memory")
        return OUT_OF_MEMORY
    except OSError as error:
        _show(terminal, error, arguments.debug, str(error))
        return FAILED
    except Exception as error:
        hint = "this is a bug in tinychat; --debug shows where"
        _show(terminal, error, arguments.debug, f"{type(error).__name__}: {error} ({hint})")
        return BUG


def _show(terminal: Terminal, error: BaseException, debug: bool, line: str) -> None:
    if debug:
        terminal.say("".join(traceback.format_exception(error)).rstrip())
    terminal.error(line)

"""`tinychat chat`: talk to a model in the terminal, or answer once for a prompt or a pipe."""

from __future__ import annotations

import argparse
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinychat.cli import options, settings
from tinychat.cli.terminal import DIM, Terminal
from tinychat.errors import ArgumentError, TemplateError, TinyChatError, UnsupportedModelError
from tinychat.limits import MESSAGE_BYTES

if TYPE_CHECKING:
    from tinychat.pieces import Piece

STOPPED = 130
SECONDS_BEFORE_HINT = 2.0

EXAMPLE = """
tinychat chat
tinychat chat path/to/model --weights int4 --temperature 0
tinychat chat --prompt "What is AWQ?"
cat notes.txt | tinychat chat --prompt "Summarize this:" > summary.txt
"""

DESCRIPTION = """\
Talk to a model. With --prompt, or when standard input is a pipe, it answers once: the answer alone
goes to standard output, everything else to standard error. A model without a chat template cannot
hold a conversation; --prompt then lets it continue the text."""


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the `chat` command."""
    parser = options.add_command(
        subparsers, "chat", run, "talk to a model", description=DESCRIPTION, example=EXAMPLE
    )
    options.add_model(parser)
    parser.add_argument("--prompt", metavar="TEXT", help="answer once; piped input is appended")
    parser.add_argument(
        "--system", metavar="TEXT", help="system prompt; @FILE reads it from a file"
    )
    parser.add_argument("--image", metavar="FILE", help="refused: there is no vision model yet")
    parser.add_argument(
        "-c", "--continue", dest="resume", action="store_true", help="go on with the last chat"
    )
    parser.add_argument("--raw", action="store_true", help="show answers as they come, no Markdown")
    parser.add_argument(
        "--no-history", action="store_true", help="remember neither what you type nor the chat"
    )
    parser.add_argument("--no-stats", action="store_true", help="no statistics after an answer")
    settings.add_sampling_flags(parser)
    options.add_load_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Chat, or answer once."""
    from tinychat.cli.commands import system_prompt

    if arguments.image is not None:
        raise UnsupportedModelError(
            "--image needs a vision model; this version runs text models only"
        )
    flags = settings.sampling_flags(arguments)
    system = None if arguments.system is None else system_prompt(arguments.system)
    terminal = Terminal(raw=arguments.raw)
    if arguments.prompt is None and sys.stdin.isatty():
        return _converse(arguments, flags, system, terminal)
    if arguments.resume:
        raise ArgumentError("--continue is for the interactive chat, not for one answer")
    return _answer_once(arguments, flags, system, terminal)


def _converse(
    arguments: argparse.Namespace, flags: dict[str, Any], system: str | None, terminal: Terminal
) -> int:
    from tinychat.cli.conversation import Chat
    from tinychat.cli.loading import load
    from tinychat.cli.paths import state_folder
    from tinychat.cli.render import make_renderer
    from tinychat.cli.repl import HINT, run_repl
    from tinychat.cli.session import Session, load_last

    keep, folder = not arguments.no_history, None
    try:
        folder = state_folder()
    except TinyChatError as error:
        if keep:
            terminal.error(error)
    session = Session()
    if arguments.resume:
        if folder is None:
            raise TinyChatError("there is no folder with earlier chats; set TINYCHAT_HOME")
        session = load_last(folder)
        settings.check(session.settings)
    if system is not None:
        session.system = system or None
    with load(arguments, terminal) as llm:
        if llm.template is None:
            raise TemplateError(
                f"{model_name(arguments.model)} has no chat template, so it cannot hold a "
                "conversation; --prompt TEXT lets it continue a text"
            )
        session.model = model_name(arguments.model)
        terminal.say(f"{session.model} · {llm.description}")
        terminal.say(HINT, DIM)
        if session.messages:
            terminal.say(
                f"Going on after {len(session.messages)} messages; /show context lists them."
            )
        make_renderer(terminal)  # imports what it needs now, not before the first answer
        statistics, debug = not arguments.no_stats, arguments.debug
        chat = Chat(llm, terminal, session, flags, folder, keep, statistics, debug)
        return run_repl(chat, keep)


def _answer_once(
    arguments: argparse.Namespace, flags: dict[str, Any], system: str | None, terminal: Terminal
) -> int:
    from tinychat.cli.loading import load
    from tinychat.cli.render import PlainRenderer
    from tinychat.cli.turn import Interrupts, ending, run_turn, statistics

    prompt = _whole_prompt(arguments.prompt, terminal)
    params = settings.check(flags)
    name = model_name(arguments.model)
    with load(arguments, terminal) as llm:
        terminal.say(f"{name} · {llm.description}", DIM)
        if llm.template is None:
            if system:
                raise TemplateError(f"{name} has no chat template, so --system has no place in it")
            terminal.say(f"{name} has no chat template: it continues the text as it stands", DIM)
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt})

        def start() -> Iterator[Piece]:
            if llm.template is None:
                return llm.stream(prompt, params)
            return llm.stream_chat(messages, params)

        answer = run_turn(start, PlainRenderer(terminal.write), Interrupts(llm))
        notes = [ending(answer, llm.max_context, "a larger --max-context allows more")]
        if not arguments.no_stats:
            notes.append(statistics(answer, llm.max_context))
        for note in filter(None, notes):
            terminal.say(note, DIM)
        return STOPPED if answer.stopped else 0


def model_name(model: str | None) -> str:
    """What to call a model in a message."""
    return "the model that ships with tinychat" if model is None else Path(model).name or model


def _whole_prompt(prompt: str | None, terminal: Terminal) -> str:
    """The prompt with what is piped in after it; raises ArgumentError if there is neither."""
    parts = [prompt] if prompt else []
    if not sys.stdin.isatty():
        piped = _read_pipe(terminal).removesuffix("\n")
        parts += [piped] if piped else []
    if not parts:
        raise ArgumentError("there is nothing to answer: --prompt and standard input are empty")
    return "\n\n".join(parts)


def _read_pipe(terminal: Terminal) -> str:
    if not select.select([sys.stdin], [], [], SECONDS_BEFORE_HINT)[0]:
        terminal.say("reading standard input to its end", DIM)
    data = sys.stdin.buffer.read(MESSAGE_BYTES + 1)
    if len(data) > MESSAGE_BYTES:
        raise ArgumentError(f"standard input is too long; at most {MESSAGE_BYTES:,} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentError(f"standard input is not UTF-8 text (byte {error.start})") from None

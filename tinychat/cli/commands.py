"""What can be typed after a slash: a table of commands, each one function on the chat."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinychat.cli import session as sessions
from tinychat.cli.conversation import Chat
from tinychat.cli.session import Session
from tinychat.cli.settings import SETTINGS, check, setting
from tinychat.errors import ArgumentError, TinyChatError
from tinychat.jsonfile import open_regular
from tinychat.limits import MESSAGE_BYTES


@dataclass(frozen=True)
class Command:
    """One slash command.

    Attributes:
        name, aliases: without the slash.
        usage: its arguments, for the help.
        help: one line.
        run: called with the chat and the rest of the line.
        words: what Tab offers for the argument.
        most: the largest number of words the argument may have; None for any text.
    """

    name: str
    usage: str
    help: str
    run: Callable[[Chat, str], None]
    most: int | None = 0
    aliases: tuple[str, ...] = ()
    words: Callable[[Chat], list[str]] = lambda chat: []


def run_command(chat: Chat, line: str) -> None:
    """Run the command that `line` holds.

    Args:
        line: begins with one slash.
    Raises:
        TinyChatError with one line if it is unknown or goes wrong; the conversation is then as it
            was.
        EOFError to leave, as Ctrl-D does.
    """
    name, _, argument = line[1:].strip().partition(" ")
    command = _NAMES.get(name)
    if command is None:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"did you mean /{near[0]}?" if near else "/help lists them"
        raise ArgumentError(f"there is no command /{name[:80]}: {hint} (// sends a leading slash)")
    argument = argument.strip()
    if command.most is not None and len(argument.split()) > command.most:
        raise ArgumentError(f"usage: {f'/{command.name} {command.usage}'.strip()}")
    command.run(chat, argument)


def _help(chat: Chat, argument: str) -> None:
    rows = []
    for command in COMMANDS:
        usage = f"/{command.name} {command.usage}".strip()
        aliases = ", ".join(f"/{alias}" for alias in command.aliases)
        rows.append(f"  {usage:<22} {command.help}{f' (also {aliases})' if aliases else ''}")
    chat.terminal.say("\n".join([*rows, "", KEYS]))


def _clear(chat: Chat, argument: str) -> None:
    old = chat.session
    chat.restart(Session(old.model, old.system, old.settings))
    chat.terminal.say("The conversation is empty; the system prompt and settings are kept.")


def _system(chat: Chat, argument: str) -> None:
    if not argument:
        _show(chat, "system")
        return
    chat.session.system = system_prompt(argument) or None
    chat.terminal.say(f"system prompt: {'set' if chat.session.system else 'none'}")


def system_prompt(text: str) -> str:
    """The system prompt that `text` stands for: itself, the file behind an @, none for '""'."""
    if text == '""':
        return ""
    if not text.startswith("@"):
        return text
    try:
        path = Path(text[1:]).expanduser()
    except RuntimeError:
        raise ArgumentError(f"{text[1:100]} is in the home folder of nobody known here") from None
    with open_regular(path) as file:
        data = file.read(MESSAGE_BYTES + 1)
    if len(data) > MESSAGE_BYTES:
        raise ArgumentError(f"{path} is too long; at most {MESSAGE_BYTES:,} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _set(chat: Chat, argument: str) -> None:
    name, _, text = argument.partition(" ")
    if not name:
        _show(chat, "params")
        return
    item, text = setting(name), text.strip()
    if not text:
        raise ArgumentError(
            f"usage: /set {name} VALUE, such as /set {name} {item.example}; or default"
        )
    if name in chat.flags:
        raise ArgumentError(f"{item.flag} was given on the command line and wins over /set")
    chosen = {key: value for key, value in chat.session.settings.items() if key != name}
    if text != "default":
        chosen[name] = item.parse(text)
    check(chosen)
    chat.session.settings = chosen
    chat.terminal.say(_setting_line(chat, name))


def _setting_line(chat: Chat, name: str) -> str:
    value, source = chat.settings()[name]
    if name == "seed" and value is None and chat.last is not None:
        source += f"; the last answer had {chat.last.seed}"
    return f"  {name:<20} {_shown(name, value):<12} ({source})"


def _shown(name: str, value: object) -> str:
    if value is None or value == ():
        return {"seed": "random", "max_new_tokens": "all there is"}.get(name, "none")
    return ", ".join(map(repr, value)) if isinstance(value, list | tuple) else str(value)


def _show(chat: Chat, argument: str) -> None:
    topic = argument or "model"
    if topic not in TOPICS:
        raise ArgumentError(f"usage: /show {'|'.join(TOPICS)}")
    chat.terminal.say(TOPICS[topic](chat))


def _show_params(chat: Chat) -> str:
    return "\n".join(_setting_line(chat, name) for name in SETTINGS)


def _show_model(chat: Chat) -> str:
    return f"{chat.session.model}\n{chat.llm.description}"


def _show_system(chat: Chat) -> str:
    return chat.session.system or "There is no system prompt."


def _show_template(chat: Chat) -> str:
    return chat.llm.template.source if chat.llm.template else "There is no chat template."


def _show_context(chat: Chat) -> str:
    lines = [f"{chat.context_tokens():,} of {chat.llm.max_context:,} tokens"]
    for message in chat.session.messages:
        text = " ".join(message.content.split())
        short = text if len(text) <= 60 else text[:57] + "..."
        lines.append(f"  {message.role:<9} {short}{' (stopped)' if message.stopped else ''}")
    return "\n".join(lines)


TOPICS: dict[str, Callable[[Chat], str]] = {
    "params": _show_params,
    "model": _show_model,
    "system": _show_system,
    "template": _show_template,
    "context": _show_context,
}


def _retry(chat: Chat, argument: str) -> None:
    chat.retry()


def _undo(chat: Chat, argument: str) -> None:
    count = argument or "1"
    if not count.isdecimal() or len(count) > 9 or int(count) < 1:
        raise ArgumentError(f"usage: /undo N with a positive number, not {argument[:80]!r}")
    undone = chat.session.undo(int(count))
    turns = "1 turn" if undone == 1 else f"{undone} turns"
    chat.terminal.say(f"Forgot {turns}." if undone else "There is nothing to undo.")


def _save(chat: Chat, argument: str) -> None:
    name = argument or chat.session.name
    if not name:
        raise ArgumentError("usage: /save NAME")
    chat.terminal.say(f"saved in {sessions.save(chat.session, chat.folder, name)}")


def _load(chat: Chat, argument: str) -> None:
    if not argument:
        known = ", ".join(sessions.session_names(chat.folder)) or "none"
        raise ArgumentError(f"usage: /load NAME; saved sessions: {known}")
    loaded = sessions.load(chat.folder, argument)
    check(loaded.settings)
    loaded.model = chat.session.model
    chat.restart(loaded)
    chat.terminal.say(f"{argument}: {len(loaded.messages)} messages")


def _stats(chat: Chat, argument: str) -> None:
    if argument not in ("", "on", "off"):
        raise ArgumentError("usage: /stats on|off")
    chat.statistics = argument == "on" if argument else not chat.statistics
    chat.terminal.say(f"statistics: {'on' if chat.statistics else 'off'}")


def _exit(chat: Chat, argument: str) -> None:
    raise EOFError


def _saved(chat: Chat) -> list[str]:
    try:
        return sessions.session_names(chat.folder)
    except TinyChatError:
        return []


COMMANDS = (
    Command("help", "", "this list", _help, aliases=("?",)),
    Command("clear", "", "forget the conversation", _clear),
    Command(
        "system", "[TEXT|@FILE]", 'show or set the system prompt; "" removes it', _system, None
    ),
    Command(
        "set", "[NAME VALUE]", "show or change a setting", _set, None, (), lambda _: [*SETTINGS]
    ),
    Command("show", "[TOPIC]", "|".join(TOPICS), _show, 1, (), lambda _: [*TOPICS]),
    Command("retry", "", "answer the last question again", _retry, aliases=("regen",)),
    Command("undo", "[N]", "forget the last N questions and answers", _undo, 1),
    Command("save", "[NAME]", "keep the conversation under a name", _save, 1),
    Command("load", "NAME", "go on with a saved conversation", _load, 1, (), _saved),
    Command(
        "stats", "[on|off]", "statistics after each answer", _stats, 1, (), lambda _: ["on", "off"]
    ),
    Command("exit", "", "leave", _exit, aliases=("bye", "quit")),
)

_NAMES = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}

KEYS = """\
Enter sends, Alt-Enter makes a new line, and \"\"\" begins and ends a text of several lines.
Ctrl-C stops an answer, Ctrl-D leaves, Ctrl-R searches what was typed before. // sends a leading
slash."""

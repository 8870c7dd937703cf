"""The interactive chat: a prompt, and after each line an answer or a slash command.

What was pasted is never taken for a command, no key but Ctrl-D leaves, and no error does.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session, get_app_or_none
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.output.plain_text import PlainTextOutput
from prompt_toolkit.utils import is_dumb_terminal

from tinychat.cli.commands import COMMANDS, run_command
from tinychat.cli.conversation import Chat
from tinychat.cli.paths import HISTORY_FILE, private_file, reason
from tinychat.cli.terminal import DIM
from tinychat.errors import TinyChatError

HINT = "/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves."
QUOTES = '"""'
PROMPT = ">>> "
CONTINUATION = "... "
# A longer text is worth sending, but not worth reading at every start.
MAX_HISTORY_ENTRY = 16_384
_COMMAND_TYPED = re.compile(r"/\w+\s")


class PrivateHistory(FileHistory):
    """What was typed in earlier runs; a failing disk is no reason to lose the line being sent."""

    def store_string(self, string: str) -> None:
        if len(string) <= MAX_HISTORY_ENTRY:
            with contextlib.suppress(OSError, UnicodeError):
                super().store_string(string)


def open_history(chat: Chat, keep: bool) -> History:
    """The history of the prompt: a private file if `keep` and where it can be had, else memory."""
    if keep:
        try:
            return PrivateHistory(str(private_file(chat.folder / HISTORY_FILE)))
        except TinyChatError as error:
            chat.terminal.error(f"{error}; what you type is not remembered")
    return InMemoryHistory()


def run_repl(chat: Chat, keep_history: bool) -> int:
    """Talk until the user leaves.

    Returns: 0, or 128 plus the number of the signal that ended it.
    """
    reader = Reader(chat, open_history(chat, keep_history))
    with chat.interrupts.until_exit():
        chat.interrupts.on_leave = reader.abandon
        while not chat.interrupts.leaving:
            try:
                line = reader.read()
                chat.interrupts.stopped = False
                handle(chat, line)
            except KeyboardInterrupt:
                chat.terminal.say(HINT, DIM)
            except EOFError:
                break
            except OSError:  # of the terminal: a command's files raise no such thing
                if not chat.interrupts.leaving:
                    raise
            except Exception as error:
                chat.report(error)
    return 128 + chat.interrupts.leaving if chat.interrupts.leaving else 0


def handle(chat: Chat, line: str) -> None:
    """Do what one message or command asks for; raises TinyChatError, or EOFError to leave."""
    if line.startswith("/") and not line.startswith("//"):
        try:
            with chat.interrupts.during_command():
                run_command(chat, line)
        except OSError as error:
            raise TinyChatError(f"{error.filename or 'a file'}: {reason(error)}") from error
    elif line.strip():
        chat.ask(message_of(line))


def message_of(line: str) -> str:
    """The message that a line stands for: without its leading escape and its triple quotes."""
    if line.startswith("//"):
        return line[1:]
    if line.lstrip().startswith(QUOTES):
        return line.strip().removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
    return line


def is_open(text: str) -> bool:
    """Whether `text` begins a triple-quoted message that does not end yet."""
    return text.lstrip().startswith(QUOTES) and text.count(QUOTES) < 2


class Reader:
    """Reads messages with editing, history and completion."""

    def __init__(self, chat: Chat, history: History) -> None:
        self._pasted = False
        # Answers may go to a file; the prompt belongs where the user looks.
        terminal = chat.terminal
        screen = terminal.out if terminal.out.isatty() else terminal.err
        output = PlainTextOutput(screen) if is_dumb_terminal() else create_output(screen)
        # As the app session's, not as an argument: only so does a dumb terminal get a dumb prompt.
        with create_app_session(output=output):
            self._session: PromptSession[str] = PromptSession(
                PROMPT,
                history=history,
                multiline=True,
                prompt_continuation=CONTINUATION,
                completer=CommandCompleter(chat),
                complete_while_typing=False,
                enable_suspend=True,
                key_bindings=self._bindings(),
            )
        self._session.default_buffer.on_text_changed += self._changed

    def read(self) -> str:
        """One message or command. Raises: KeyboardInterrupt on an empty line, EOFError to leave."""
        self._pasted = False
        return self._session.prompt()

    def abandon(self) -> None:
        """Make `read` end with EOFError; safe in a signal handler."""
        app = get_app_or_none()
        if app is None or app.loop is None:
            return

        def leave() -> None:
            if app.is_running and not app.is_done:
                app.exit(exception=EOFError())

        app.loop.call_soon_threadsafe(leave)

    def _changed(self, buffer: Buffer) -> None:
        self._pasted = self._pasted and bool(buffer.text)

    def _bindings(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if is_open(buffer.text):
                buffer.insert_text("\n")
            else:
                self._send(buffer)

        @keys.add("escape", "enter")
        def new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add(Keys.BracketedPaste)
        def paste(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if not _COMMAND_TYPED.match(buffer.document.text_before_cursor):
                self._pasted = True
            buffer.insert_text(event.data.replace("\r\n", "\n").replace("\r", "\n"))

        def interrupt(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            else:
                event.app.exit(exception=KeyboardInterrupt())

        keys.add("c-c", eager=True)(interrupt)
        keys.add(Keys.SIGINT, eager=True)(interrupt)

        @keys.add("c-d", filter=Condition(self._at_end_of_open_text))
        def close_text(event: KeyPressEvent) -> None:
            self._send(event.current_buffer)

        return keys

    def _at_end_of_open_text(self) -> bool:
        document = self._session.default_buffer.document
        return is_open(document.text) and document.is_cursor_at_the_end

    def _send(self, buffer: Buffer) -> None:
        if self._pasted and buffer.text.startswith("/"):
            # Escaped, so that it is no command in the history either.
            buffer.text = "/" + buffer.text
        buffer.validate_and_handle()


class CommandCompleter(Completer):
    """Completes command names, and arguments where the command knows them."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, argument = text[1:].partition(" ")
        if not space:
            for command in COMMANDS:
                if command.name.startswith(name):
                    yield Completion(command.name, -len(name), display_meta=command.help)
            return
        for command in COMMANDS:
            if name in (command.name, *command.aliases) and " " not in argument:
                for word in command.words(self._chat):
                    if word.startswith(argument):
                        yield Completion(word, -len(argument))

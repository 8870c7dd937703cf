"""A chat that is going on: the model, the conversation so far, and what a question leads to."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinychat.cli.render import make_renderer
from tinychat.cli.session import Autosave, Message, Session
from tinychat.cli.settings import check, effective
from tinychat.cli.terminal import DIM, YELLOW, Terminal
from tinychat.cli.turn import Answer, Interrupts, ending, run_turn, statistics
from tinychat.errors import ArgumentError, ContextLengthError, TinyChatError
from tinychat.limits import MESSAGE_BYTES

if TYPE_CHECKING:
    from tinychat.llm import LLM
    from tinychat.sampler import SamplingParams

CONTEXT_ADVICE = "/undo or /clear makes room, so does starting with a larger --max-context"


class Chat:
    """One conversation with one model.

    Args:
        llm: the model.
        terminal: where answers and messages go.
        session: the conversation to go on with.
        flags: sampling settings of the command line; they win over `/set`.
        folder: the state folder, for `/save` and `/load`; None where there is none.
        autosave: whether the conversation saves itself there after every turn.
        statistics: whether a line of statistics follows each answer.
        debug: show tracebacks.
    """

    def __init__(
        self,
        llm: LLM,
        terminal: Terminal,
        session: Session,
        flags: Mapping[str, Any],
        folder: Path | None = None,
        autosave: bool = False,
        statistics: bool = True,
        debug: bool = False,
    ) -> None:
        self.llm, self.terminal, self.session = llm, terminal, session
        self.flags, self.statistics, self.debug = flags, statistics, debug
        self.interrupts = Interrupts(llm)
        self.last: Answer | None = None
        self._folder = folder
        self._autosave = Autosave(folder) if folder is not None and autosave else None

    @property
    def folder(self) -> Path:
        """The state folder; raises TinyChatError where there is none."""
        if self._folder is None:
            raise TinyChatError("there is no folder to keep sessions in; set TINYCHAT_HOME")
        return self._folder

    def params(self) -> SamplingParams:
        """The settings in force, for the engine."""
        return check({**self.session.settings, **self.flags})

    def settings(self) -> dict[str, tuple[Any, str]]:
        """Every setting's value and where it came from."""
        return effective(self.flags, self.session.settings, self.llm.default_params)

    def context_tokens(self) -> int:
        """Tokens that the conversation takes in the context now."""
        prompt = self.session.prompt()
        return len(self.llm.encode_chat(prompt)) if prompt else 0

    def ask(self, text: str) -> None:
        """Put a question and show the answer. If that fails, only the question is forgotten."""
        if len(text.encode("utf-8", errors="replace")) > MESSAGE_BYTES:
            raise ArgumentError(f"the message is too long; at most {MESSAGE_BYTES:,} bytes")
        before = self.session.messages
        self.session.messages = [*before, Message("user", text)]
        self._answer(before)

    def retry(self) -> None:
        """Answer the last question again; the earlier answer stays if that fails."""
        before = self.session.messages
        if not before:
            raise ArgumentError("there is no answer to make again")
        self.session.messages = before[:-1]
        self._answer(before)

    def _answer(self, before: list[Message]) -> None:
        """Answer the question that ends the conversation, or go back to the messages `before`."""
        renderer = make_renderer(self.terminal)
        try:
            answer = run_turn(
                lambda: self.llm.stream_chat(self.session.prompt(), self.params()),
                renderer,
                self.interrupts,
            )
        except Exception as error:
            if isinstance(error, OSError) and renderer.text:
                # The screen is gone, and with it the way to say so.
                self._keep(Answer(renderer.text, "cancelled"))
                raise
            self.session.messages = before
            self.report(error)
            return
        if answer.stopped and not answer.text:
            self.session.messages = before
        else:
            self._keep(answer)
        self._conclude(answer)

    def restart(self, session: Session) -> None:
        """Go on with another conversation; the one so far keeps its own autosave file."""
        self.session, self.last = session, None
        if self._autosave is not None:
            self._autosave = Autosave(self.folder)

    def report(self, error: Exception) -> None:
        """Say in one line what went wrong, with the traceback before it if `debug`."""
        if self.debug:
            self.terminal.say("".join(traceback.format_exception(error)).rstrip())
        if isinstance(error, ContextLengthError):
            self.terminal.error(f"{error} ({CONTEXT_ADVICE})")
        elif isinstance(error, TinyChatError):
            self.terminal.error(error)
        else:
            self.terminal.error(f"a bug: {type(error).__name__}: {error}")

    def _keep(self, answer: Answer) -> None:
        self.last = answer
        self.session.messages.append(Message("assistant", answer.text, stopped=answer.stopped))
        if self._autosave is None:
            return
        try:
            self._autosave.save(self.session)
        except (TinyChatError, OSError) as error:
            self._autosave = None
            self.terminal.error(f"{error}; this conversation is no longer saved by itself")

    def _conclude(self, answer: Answer) -> None:
        note = ending(answer, self.llm.max_context, CONTEXT_ADVICE)
        if note:
            self.terminal.say(note, YELLOW)
        line = statistics(answer, self.llm.max_context)
        if self.statistics and line:
            self.terminal.say(line, DIM)

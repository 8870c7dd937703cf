"""A chat with a real model: what Ctrl-C leaves in the cache is what a fresh start puts there."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinychat
from tinychat.cli.conversation import Chat
from tinychat.cli.session import Session
from tinychat.cli.terminal import Terminal
from tinychat.llm import LLM

TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
GREEDY = {"temperature": 0.0, "max_new_tokens": 24}


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model with a chat template of its own."""
    target = tmp_path_factory.mktemp("model") / "stories"
    shutil.copytree(data / "models" / "TinyStories-656K", target)
    (target / "chat_template.jinja").write_text(TEMPLATE)
    return target


@pytest.fixture
def llm(folder: Path) -> Iterator[LLM]:
    with tinychat.load(folder, threads=1, weights="int4") as llm:
        yield llm


class Stopping(io.StringIO):
    """A screen whose reader presses Ctrl-C after some pieces of text."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.left = pieces

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


def talk(llm: LLM, session: Session, screen: io.StringIO) -> Chat:
    return Chat(llm, Terminal(screen, io.StringIO(), {}), session, GREEDY)


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_after_ctrl_c_the_cache_is_that_of_a_fresh_prefill(llm: LLM, pieces: int) -> None:
    session, screen = Session(), Stopping(pieces)
    chat = talk(llm, session, screen)
    chat.ask("Once upon a time, ")
    stopped = session.messages[-1]
    assert stopped.stopped and stopped.content
    assert screen.getvalue().rstrip() == stopped.content.rstrip()

    chat.ask("One day, ")
    assert chat.last is not None and chat.last.stats is not None
    assert chat.last.stats.cached_tokens > 0
    continued = chat.last.text

    before = session.messages[:2]
    llm.engine.reset()
    fresh = talk(llm, Session(messages=list(before)), io.StringIO())
    fresh.ask("One day, ")
    assert fresh.last is not None and fresh.last.stats is not None
    assert fresh.last.stats.cached_tokens == 0
    assert fresh.last.text == continued


def test_the_context_fills_up_and_says_so(folder: Path) -> None:
    with tinychat.load(folder, threads=1, max_context=30) as llm:
        err = io.StringIO()
        session = Session()
        chat = Chat(llm, Terminal(io.StringIO(), err, {}), session, {"temperature": 0.0})
        chat.ask("Once upon a time, ")
        assert "the context is full: 30/30 tokens; /undo or /clear" in err.getvalue()
        answer = session.messages[-1]
        assert answer.content and not answer.stopped
        session.undo()
        chat.ask("q " * 50)
        assert "the context holds 30" in err.getvalue() and session.messages == []
        chat.ask("Once upon a time, ")
        assert session.messages[-1] == answer

"""Draw docs/chat.svg: a short conversation that is really held with the model that ships.

Usage: python scripts/make_chat_picture.py [QUESTION …]
    The answers are greedy, so that a rerun with the same model differs in nothing but the speeds.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

import tinychat
from tinychat.cli.chat import model_name
from tinychat.cli.conversation import Chat
from tinychat.cli.markdown import Painter
from tinychat.cli.repl import HINT, PROMPT
from tinychat.cli.session import Session
from tinychat.cli.terminal import Terminal
from tinychat.cli.turn import statistics

TARGET = Path(__file__).resolve().parent.parent / "docs" / "chat.svg"
QUESTIONS = ("Hello! What can you do?", "What is AWQ?", "Tell me a short story about a fox.")
COLUMNS = 114


def draw(questions: list[str]) -> Console:
    """Hold the conversation and print it on a console that records."""
    with open("/dev/null", "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        painter = Painter()
        with tinychat.load() as llm:
            quiet = Terminal(out=nowhere, err=nowhere)
            chat = Chat(llm, quiet, Session(), {"temperature": 0.0})
            console.print(Text("$ tinychat chat", style="bold"))
            console.print(Text(f"{model_name(None)} · {llm.description}"))
            console.print(Text(HINT, style="dim"))
            for question in questions:
                chat.ask(question)
                if chat.last is None:
                    raise SystemExit(f"no answer to {question!r}")
                console.print(Text(f"{PROMPT}{question}", style="bold"))
                for line, _ in painter.paint(chat.last.text, COLUMNS - 1):
                    console.print(Text.from_ansi(line))
                console.print(Text(statistics(chat.last, llm.max_context), style="dim"))
            console.print(Text(PROMPT, style="bold"))
    return console


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("questions", nargs="*", metavar="QUESTION", default=list(QUESTIONS))
    arguments = parser.parse_args()
    svg = draw(arguments.questions).export_svg(title="tinychat", unique_id="chat")
    # A picture in a README may not fetch fonts; the reader's own monospace font stands in.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    TARGET.write_text(
        "\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()

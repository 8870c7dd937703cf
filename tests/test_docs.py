"""The documentation: its commands exist, its quoted help is real, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.write_cli_docs import cli_docs, commands
from tests.conftest import REPOSITORY
from tinychat import limits
from tinychat.cli.commands import COMMANDS
from tinychat.cli.main import build_parser
from tinychat.cli.settings import SETTINGS

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The code blocks in one language; "" for those without."""
    return [body for name, body in CODE_BLOCK.findall(text) if name == language]


def spans(text: str) -> list[str]:
    """The pieces of code in running text."""
    return [" ".join(span.split()) for span in SPAN.findall(CODE_BLOCK.sub("", text))]


def command_lines(text: str, program: str) -> list[list[str]]:
    """Every call of a program, in code blocks and in running text, split into words."""
    lines = [line for block in blocks(text, "") for line in block.splitlines()]
    lines += spans(text)
    words = [shlex.split(line.split(" | ")[-1], comments=True) for line in lines if program in line]
    return [w[: w.index(">")] if ">" in w else w for w in words if w and w[0] == program]


@every_document
def test_commands_parse(path: Path) -> None:
    if path.name == "cli.md":
        pytest.skip("written from the parsers")
    for words in command_lines(read(path), "tinychat"):
        if "…" in " ".join(words):
            continue
        try:
            build_parser().parse_args(words[1:])
        except SystemExit as stop:
            assert stop.code == 0, shlex.join(words)


@every_document
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(REPOSITORY / "Makefile"), re.MULTILINE))
    for words in command_lines(read(path), "make"):
        assert {word for word in words[1:] if "=" not in word} <= targets, words


@every_document
def test_python_examples_are_python(path: Path) -> None:
    for block in blocks(read(path), "python"):
        compile(block, str(path), "exec")


@every_document
def test_links_and_paths_lead_somewhere(path: Path) -> None:
    text = read(path)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    for span in spans(text):
        if re.fullmatch(r"(tinychat|csrc|tests|scripts|docs)/[\w./-]*", span):
            assert (REPOSITORY / span).exists(), span


@every_document
def test_figures_name_their_command(path: Path) -> None:
    """A table of speeds stands between two markers, together with the command that repeats it."""
    text = read(path)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        if "tok/s" in table:
            before = text[: text.index(table)]
            section = before[before.rindex("<!-- bench:begin -->") :]
            commands = ("tinychat bench", "benchmarks/compare.py")
            assert any(command in section for command in commands), (
                f"{path.name}: a table without its command"
            )


def test_cli_docs_are_up_to_date() -> None:
    # Words, not lines: releases of Python differ in where they wrap.
    written, real = read(REPOSITORY / "docs" / "cli.md"), cli_docs()
    assert written.split() == real.split(), "run: python scripts/write_cli_docs.py"


def test_every_command_is_in_the_readme() -> None:
    calls = command_lines(read(REPOSITORY / "README.md"), "tinychat")
    assert {words[1] for words in calls} == set(commands(build_parser()))


def test_chat_docs_list_the_commands_and_settings() -> None:
    text = read(REPOSITORY / "docs" / "chat.md")
    listed = re.findall(r"^\| `/(\w+)", text, re.MULTILINE)
    assert listed == [command.name for command in COMMANDS]
    for command in COMMANDS:
        for alias in command.aliases:
            assert f"`/{alias}`" in text
    assert all(f"`{name}`" in text for name in SETTINGS)


def test_documented_limits_are_the_real_ones() -> None:
    text = read(REPOSITORY / "docs" / "reliability.md")
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+?) \|", text, re.MULTILINE))
    real = {name: getattr(limits, name) for name in vars(limits) if name.isupper()}
    for unit in ("KIB", "MIB"):
        real.pop(unit, None)
    assert {name: limit_text(value) for name, value in real.items()} == listed


def test_the_table_of_cases_names_real_tests() -> None:
    text = read(REPOSITORY / "docs" / "reliability.md")
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows[:44]] == list(range(1, 45))
    for number, cell in rows:
        for name in re.findall(r"`([^`]+)`", cell):
            file, _, test = name.partition("::")
            code = read(REPOSITORY / "tests" / file)
            assert f"\ndef {test}(" in code, f"case {number}: {name}"
        assert "::" in cell or cell.startswith("not in this version: "), f"case {number}"


def limit_text(value: object) -> str:
    """A limit as the table of docs/reliability.md writes it."""
    if isinstance(value, tuple):
        return " to ".join(limit_text(part) for part in value)
    if isinstance(value, int) and value >= 1 << 16 and value & (value - 1) == 0:
        return f"2^{value.bit_length() - 1}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_documented_variables_are_read_somewhere() -> None:
    code = "".join(
        read(path)
        for folder in ("tinychat", "tests", "scripts")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in (".py", ".sh") and path.name != Path(__file__).name
    )
    code += read(REPOSITORY / "setup.py") + read(REPOSITORY / "Makefile")
    for path in DOCUMENTS:
        for name in re.findall(r"\bTINYCHAT_[A-Z_]+\b", read(path)):
            assert name in code, f"{path.name}: {name}"


def test_the_readmes_python_example_runs() -> None:
    (example,) = blocks(read(REPOSITORY / "README.md"), "python")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()

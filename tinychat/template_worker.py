"""The process that renders chat templates: jinja2's sandbox in a process that can be killed.

A template is a program by a stranger, and no check inside an interpreter stops all that it can do.
So the parent kills this process at a deadline, and it may use little memory and open no file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.utils
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tinychat import limits
from tinychat.frames import read_frame, write_frame

# Methods whose first argument is something to look for in the text they are called on.
_SEEKING = frozenset(
    "split rsplit partition rpartition startswith endswith find rfind index count replace "
    "strip lstrip rstrip removeprefix removesuffix".split()
)
_SECONDS_OF_CPU = 10
# Makes Python and jinja2 import what they import late: later still no file can be opened.
_EXERCISE = (
    r"{% macro m(x) %}{{ x }}{% endmacro %}{{ m('\u00e9') | wordwrap(3) | pprint | urlize | e }}"
    "{{ lipsum(n=1) | striptags }}{{ strftime_now('%c') }}{{ none.missing }}"
)

Reply = dict[str, Any]


class Refusal(jinja2.TemplateError):
    """The template called `raise_exception`."""


class TooLong(Exception):
    """The template writes more than it may."""


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}` marks an answer for training; here its text counts."""

    tags = {"generation"}  # noqa: RUF012, the base class has it so

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_text", [], [])
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _text(self, caller: Callable[[], str]) -> str:
        return caller()


class SafeNamespace(jinja2.utils.Namespace):
    """`namespace()` whose attributes cannot take the place of Python's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        values = dict(*args, **kwargs)
        for name in values:
            refuse_private(name)
        super().__init__(values)

    def __setitem__(self, name: str, value: Any) -> None:
        refuse_private(name)
        super().__setitem__(name, value)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, which refuses an unsafe attribute at once instead of calling it undefined."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        kind = type(obj).__name__
        raise SecurityError(f"access to the attribute {attribute!r} of a {kind} is unsafe")


def refuse_private(name: object) -> None:
    """Raises: SecurityError for a name that begins with an underscore."""
    if str(name).startswith("_"):
        raise SecurityError(f"the name {name!r} in a namespace is unsafe")


def make_environment(now: Callable[[], datetime]) -> ChatEnvironment:
    """The environment that chat templates are written for.

    Args:
        now: the clock behind `strftime_now`.
    """
    environment = ChatEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )

    def raise_exception(message: object) -> None:
        raise Refusal(str(message))

    def strftime_now(form: str) -> str:
        return now().strftime(form)

    def make_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    environment.filters["tojson"] = tojson
    environment.globals.update(
        raise_exception=raise_exception,
        strftime_now=strftime_now,
        dict=make_dict,
        namespace=SafeNamespace,
    )
    return environment


def literals(tree: jinja2.nodes.Template) -> tuple[list[str], list[str]]:
    """The texts in a template: all of them, and those that it looks for in other text."""
    written = [node.data for node in tree.find_all(jinja2.nodes.TemplateData)]
    written += [
        node.value for node in tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)
    ]
    return written, list(sought(tree))


def sought(tree: jinja2.nodes.Template) -> Iterator[str]:
    """The texts that a template looks for, as in `'x' in content` and `content.split('x')`."""
    for compare in tree.find_all(jinja2.nodes.Compare):
        if any(operand.op in ("in", "notin") for operand in compare.ops):
            yield from constants([compare.expr])
    for call in tree.find_all(jinja2.nodes.Call):
        if isinstance(call.node, jinja2.nodes.Getattr) and call.node.attr in _SEEKING:
            yield from constants(call.args[:1])
    for filtered in tree.find_all(jinja2.nodes.Filter):
        if filtered.name in ("replace", "trim"):
            yield from constants(filtered.args[:1])


def constants(nodes: list[Any]) -> Iterator[str]:
    """The texts among nodes."""
    for node in nodes:
        if isinstance(node, jinja2.nodes.Const) and isinstance(node.value, str):
            yield node.value


class Worker:
    """One template and the requests about it."""

    def __init__(self) -> None:
        self._now = datetime.now()
        self._environment = make_environment(lambda: self._now)
        self._template: jinja2.Template | None = None

    def answer(self, request: dict[str, Any]) -> Reply:
        """Compile the template, or render it; an error is part of the reply.

        Args:
            request: {"source"}, or {"variables": [the template's variables, once per rendering],
                "now": the clock, "most": characters of one rendering}.
        Returns: {"written", "sought"}, or {"texts"}, or {"error": its kind, "message"}.
        """
        try:
            if "source" in request:
                return self._compile(request["source"])
            self._now = datetime(*request["now"])
            most = request["most"]
            return {"texts": [self._render(values, most) for values in request["variables"]]}
        except Refusal as error:
            return {"error": "refusal", "message": str(error)}
        except jinja2.TemplateSyntaxError as error:
            return {"error": "syntax", "message": f"{error.message} (line {error.lineno})"}
        except SecurityError as error:
            return {"error": "unsafe", "message": str(error)}
        except TooLong as error:
            return {"error": "output", "message": str(error)}
        except MemoryError:
            return {"error": "memory", "message": ""}
        except RecursionError:
            return {"error": "recursion", "message": ""}
        except Exception as error:
            return {"error": "failure", "message": f"{type(error).__name__}: {error}"}

    def _compile(self, source: str) -> Reply:
        written, looked_for = literals(self._environment.parse(source))
        self._template = self._environment.from_string(source)
        return {"written": written, "sought": looked_for}

    def _render(self, variables: dict[str, Any], most: int) -> str:
        assert self._template is not None
        pieces = []
        size = 0
        for piece in self._template.generate(variables):
            # No more bytes are made of a piece than its characters allow.
            size += len(piece)
            if size > most:
                raise TooLong
            pieces.append(piece)
        return "".join(pieces)


def exercise() -> None:
    """Use what templates use, an error's way out too."""
    worker = Worker()
    worker.answer({"source": "{%"})
    worker.answer({"source": _EXERCISE})
    worker.answer({"variables": [{}], "now": [2000, 1, 1], "most": 10_000})


def confine(memory: int) -> None:
    """Give up the right to more than `memory` bytes, to open files, and to leave a core behind."""
    try:
        import resource
    except ImportError:  # Windows has none; the deadline and the cap on output remain
        return
    for name, value in (("AS", memory), ("FSIZE", 0), ("CORE", 0), ("NOFILE", 3)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def limit_cpu() -> None:
    """Die after some seconds of computing from now on, should the parent not be there to kill."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + _SECONDS_OF_CPU
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> None:
    """Answer requests on standard input until it ends."""
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    exercise()
    confine(limits.TEMPLATE_MEMORY)
    worker = Worker()
    write_frame(replies, b"{}")
    while (request := read_frame(requests)) is not None:
        limit_cpu()
        write_frame(replies, json.dumps(worker.answer(json.loads(request))).encode())

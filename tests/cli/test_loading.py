"""The bar of loading: only where it takes long and on a terminal, never backwards, then gone."""

from __future__ import annotations

import io
import re

import pytest

from tests.cli.test_terminal import Tty
from tinychat.assembly import load
from tinychat.cli.loading import Bar
from tinychat.cli.main import build_parser
from tinychat.cli.options import LOAD_ARGUMENTS, load_arguments
from tinychat.cli.terminal import Terminal


def run_bar(stream: io.StringIO, seconds: float, parts: int, environ: dict[str, str]) -> str:
    now = 0.0
    with Bar(Terminal(io.StringIO(), stream, environ), "loading", lambda: now) as bar:
        for part in range(parts + 1):
            bar.update(part, parts)
            now += seconds / parts
    return stream.getvalue()


def test_a_long_load_has_a_bar() -> None:
    written = run_bar(Tty(), 60.0, 10_000, {"TERM": "xterm"})
    shares = [int(share) for share in re.findall(r"(\d+)%", written)]
    assert shares == sorted(shares) and 100 < len(shares) < 600 and shares[-1] <= 100
    assert written.endswith("\r\x1b[K")
    assert all(len(line) < 60 for line in written.split("\r"))


@pytest.mark.parametrize(
    ("stream", "seconds", "environ"),
    [
        (Tty(), 0.9, {"TERM": "xterm"}),
        (Tty(), 60.0, {"TERM": "dumb"}),
        (io.StringIO(), 60.0, {"TERM": "xterm"}),
    ],
)
def test_no_bar(stream: io.StringIO, seconds: float, environ: dict[str, str]) -> None:
    assert run_bar(stream, seconds, 100, environ) == ""


def test_nothing_to_load_divides_by_nothing() -> None:
    stream = Tty()
    now = 0.0
    with Bar(Terminal(io.StringIO(), stream, {"TERM": "xterm"}), "loading", lambda: now) as bar:
        now = 2.0
        bar.update(0, 0)
    assert "0%" in stream.getvalue()


def test_every_argument_of_load_is_a_flag() -> None:
    parameters = load.__code__.co_varnames[: load.__code__.co_argcount]
    assert set(parameters) - {"progress"} == set(LOAD_ARGUMENTS)
    defaults = dict(zip(parameters, load.__defaults__ or (), strict=True))
    for command in ("chat", "bench", "info"):
        given = load_arguments(build_parser().parse_args([command]))
        assert given == {name: defaults[name] for name in LOAD_ARGUMENTS}


def test_load_flags() -> None:
    words = "chat m --device cpu --weights int4 --kv-cache fp16 --max-context 4k --threads 2"
    words += " --lm-head int8 --no-pack-cache --offline --prompt-lookup 3"
    assert load_arguments(build_parser().parse_args(words.split())) == {
        "model": "m",
        "device": "cpu",
        "weights": "int4",
        "kv_cache": "fp16",
        "max_context": 4096,
        "threads": 2,
        "lm_head": "int8",
        "pack_cache": False,
        "offline": True,
        "prompt_lookup": 3,
    }

"""`tinychat quantize`: a float checkpoint becomes a low-bit one, in a folder of its own."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import tinychat
from tinychat.cli import options
from tinychat.cli.loading import Bar, Line
from tinychat.cli.terminal import YELLOW, Terminal
from tinychat.errors import ArgumentError

if TYPE_CHECKING:
    from tinychat.quantize.convert import Result
    from tinychat.quantize.layer import Settings
    from tinychat.quantize.run import Progress, Start

# Argument of `quantize`, which has the defaults -> its flag.
FLAGS = {
    "method": "--method",
    "bits": "--bits",
    "group_size": "--group-size",
    "symmetric": "--symmetric",
    "device": "--device",
    "offline": "--offline",
    "calibration": "--calibration",
    "tokens": "--calibration-tokens",
    "seed": "--seed",
    "sequential": "--sequential",
    "clip": "--no-clip",
    "act_order": "--act-order",
    "damping": "--damping",
}
# What a method makes no use of.
USELESS: dict[str, tuple[str, ...]] = {
    "rtn": ("calibration", "tokens", "seed", "sequential", "clip", "damping"),
    "awq": ("damping",),
    "gptq": ("clip",),
}

EXAMPLE = """
tinychat quantize path/to/model path/to/out
tinychat quantize path/to/model path/to/out --group-size 64 --calibration my-texts.txt
tinychat quantize path/to/model path/to/out --method awq+gptq --bits 2 --group-size 64
"""

DESCRIPTION = """\
Round the matrices of a float checkpoint to few bits and write a standard checkpoint: AWQ where that
format can hold it (4 bits with zero points), else GPTQ. A text is shown to the model to find out
which weights matter; method rtn does without. Finished layers are kept beside OUT until it is
whole, so the same command goes on where a stopped one was.

The loss of a layer is the squared error of its matrices' outputs, relative to their squares (for
rtn, of the weights themselves), behind that of plain rounding. AWQ judges scales by the part of the
block that a matrix feeds, so this loss may rise a little while the model gets better."""


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the `quantize` command."""
    parser = options.add_command(
        subparsers,
        "quantize",
        run,
        "make a low-bit model",
        description=DESCRIPTION,
        example=EXAMPLE,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a folder with float weights, or a Hugging Face id"
    )
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    parser.add_argument("--method", metavar="NAME", help="awq, gptq, rtn or awq+gptq; default: awq")
    parser.add_argument("--bits", type=int, metavar="N", help="2, 3, 4 or 8; default: 4")
    parser.add_argument(
        "--group-size",
        type=int,
        metavar="N",
        help="inputs that share a scale: 128, 64 or 32, -1 for whole rows; default: 128",
    )
    parser.add_argument("--symmetric", action="store_const", const=True, help="no zero points")
    parser.add_argument(
        "--device", metavar="NAME", help="auto (a CUDA device if torch has one), cpu or cuda"
    )
    parser.add_argument(
        "--offline", action="store_const", const=True, help="never touch the network"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")

    group = parser.add_argument_group("calibration")
    group.add_argument(
        "--calibration",
        metavar="FILE",
        help="a text, documents apart by <|endoftext|>, or self: what the model itself writes; "
        "default: the text that ships with tinychat",
    )
    group.add_argument(
        "--calibration-tokens",
        dest="tokens",
        type=options.token_count,
        metavar="N",
        help="about how many to show; default: 32k",
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="chooses among more text than that; default: 0"
    )
    group.add_argument(
        "--sequential",
        action=argparse.BooleanOptionalAction,
        help="show a block what the quantized ones before it give, not the float ones; default: "
        "for gptq",
    )

    group = parser.add_argument_group("awq")
    group.add_argument(
        "--no-clip",
        dest="clip",
        action="store_const",
        const=False,
        help="leave the ranges of groups as they are",
    )

    group = parser.add_argument_group("gptq")
    group.add_argument(
        "--act-order",
        action="store_const",
        const=True,
        help="group columns in the order of rounding; slower to run; awq+gptq: with --no-clip",
    )
    group.add_argument(
        "--damping",
        type=float,
        metavar="X",
        help="share of the mean that is added to the Hessian's diagonal; default: 0.01",
    )


def run(arguments: argparse.Namespace) -> int:
    """Quantize and say what came out."""
    from tinychat.quantize import quantize

    given = quantize_arguments(arguments)
    terminal, started = Terminal(), time.monotonic()
    if given.get("calibration") == "self":
        terminal.say("the model writes its calibration text first")
    with Bar(terminal, "writing text") as bar, Layers(terminal) as layers:

        def start(found: Start) -> None:
            bar.clear()
            layers.start(found)

        try:
            result = quantize(
                arguments.model,
                arguments.out,
                **given,
                on_sample=bar.update,
                on_start=start,
                on_step=layers.step,
                progress=layers.update,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(layers.kept()) from None
    for line in summary(result):
        terminal.say(line)
    if arguments.json:
        seconds = round(time.monotonic() - started, 3)
        terminal.write(json.dumps({**layers.record(), **record(result), "seconds": seconds}) + "\n")
    return 0


def quantize_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags that were given, as arguments of `quantize`.

    Raises: ArgumentError for a flag that would change nothing.
    """
    given = {name: value for name in FLAGS if (value := getattr(arguments, name)) is not None}
    method = given.get("method", "awq")
    for name in given:
        if name in USELESS.get(method, ()):
            raise ArgumentError(f"{FLAGS[name]} is not for --method {method}")
    return given


class Layers(Line):
    """What is said while layers are quantized: on a terminal one line that is redrawn and
    disappears at the end, else a line for each layer.
    """

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        self._start: Start | None = None
        self._latest: Progress | None = None
        self._worked = 0
        self._peak = 0

    def start(self, start: Start) -> None:
        """Say what will be done."""
        self._start = start
        for line in plan(start):
            self._terminal.say(line)
        if start.calibration is not None and start.calibration.warning:
            self._terminal.say(start.calibration.warning, YELLOW)
        if start.done:
            self._terminal.say(f"going on behind layer {start.done}/{start.layers}")
        self.draw(f"layer {start.done}/{start.layers}")

    def step(self, layer: int, what: str) -> None:
        """Show what is being done inside a layer, where a line can be redrawn."""
        assert self._start is not None
        parts = [f"layer {layer}/{self._start.layers}", what]
        if self._latest is not None:
            parts += [*time_left(self._latest), f"last {loss(self._latest)}"]
        self.draw(" · ".join(parts))

    def update(self, progress: Progress) -> None:
        """Say that a layer is done, and which of its groups fell back to plain rounding."""
        self._peak = progress.peak_memory
        if progress.resumed:  # said by the run that did it
            return
        self._worked += 1
        self._latest = progress
        line = progress_line(progress)
        if not self._terminal.animates:
            self._terminal.say(line)
        for note in progress.notes:
            self.clear()
            self._terminal.say(note, YELLOW)
        self.draw(line)

    def kept(self) -> str:
        """A line for who stops it; empty before there is anything to keep."""
        if self._start is None:
            return ""
        return (
            f"stopped; {self._start.done + self._worked} of {self._start.layers} layers are kept "
            f"in {self._start.workspace}, and the same command goes on there"
        )

    def record(self) -> dict[str, Any]:
        """What is known of the run, for programs."""
        assert self._start is not None
        return {
            "tinychat": tinychat.__version__,
            **self._start.settings.as_dict(),
            "layers": self._start.layers,
            "layers_resumed": self._start.done,
            "peak_memory_mb": round(self._peak / 2**20, 1),
        }


def plan(start: Start) -> Iterator[str]:
    """What will be done, in words."""
    text = start.calibration
    shown = ""
    if text is not None:
        source = {
            "bundled": "the text that ships with tinychat",
            "self": "text of the model's own",
        }.get(text.source, text.source)
        shown = f"; {text.tokens:,} tokens of {source}"
    yield f"{described(start.settings)} as {in_words(start.format)}{shown}"
    if start.kept_float:
        yield (
            f"left in floating point, for {in_words(start.format)} cannot hold them: "
            + ", ".join(start.kept_float)
        )


def described(settings: Settings) -> str:
    """Settings in words, those that are off left out."""
    grid = settings.grid
    words = [
        settings.method,
        f"{grid.bits} bits",
        "whole rows" if grid.group_size < 0 else f"groups of {grid.group_size}",
    ]
    words += ["symmetric"] if grid.symmetric else []
    words += ["no clipping"] if settings.scales and not settings.clip else []
    words += ["act-order"] if settings.act_order else []
    words += ["sequential"] if settings.looks and settings.sequential else []
    return ", ".join(words)


def in_words(form: str) -> str:
    """A format as people call it: "awq gemm" -> "AWQ (gemm)"."""
    method, _, version = form.partition(" ")
    return f"{method.upper()} ({version})"


def progress_line(progress: Progress) -> str:
    """One finished layer in one line."""
    parts = [
        f"layer {progress.layer}/{progress.layers}",
        loss(progress),
        *time_left(progress),
        f"peak {progress.peak_memory >> 20} MB",
    ]
    return " · ".join(parts)


def loss(progress: Progress) -> str:
    """A layer's loss behind its floor, that of plain rounding."""
    floor = "" if progress.loss == progress.loss_rtn else f"RTN {progress.loss_rtn:.3g} → "
    return f"loss {floor}{progress.loss:.3g}"


def time_left(progress: Progress) -> list[str]:
    """The estimate, if there is one and not everything is done."""
    return [f"{duration(progress.seconds_left)} left"] if progress.seconds_left else []


def duration(seconds: float) -> str:
    """An estimate, as exact as estimates are."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def summary(result: Result) -> Iterator[str]:
    """What was written, and what to do with it."""
    yield (
        f"wrote {result.out}: {megabytes(result.bytes_before)} → {megabytes(result.bytes_after)}, "
        f"{result.bits_per_weight:.2f} bits per quantized weight"
    )
    yield f"next: tinychat chat {shlex.quote(str(result.out))}"


def megabytes(count: int) -> str:
    """A size with three digits that mean something."""
    return f"{count / 2**20:.3g} MB" if count < 1000 << 20 else f"{count / 2**20:.0f} MB"


def record(result: Result) -> dict[str, Any]:
    """What was written, for programs."""
    text = result.calibration
    reports = [report for layer in result.layers for report in layer]
    return {
        "out": str(result.out),
        "format": result.format,
        "calibration": None
        if text is None
        else {"source": text.source, "sha256": text.sha256, "tokens": text.tokens},
        "kept_float": result.kept_float,
        "loss_rtn": sum(report.loss_rtn for report in reports) / len(reports),
        "loss": sum(report.loss for report in reports) / len(reports),
        "fallbacks": [
            {"layer": number, "input": report.input, "reason": report.fallback}
            for number, layer in enumerate(result.layers)
            for report in layer
            if report.fallback
        ],
        "bytes_before": result.bytes_before,
        "bytes_after": result.bytes_after,
        "bits_per_weight": result.bits_per_weight,
    }

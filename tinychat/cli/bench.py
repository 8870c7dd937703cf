"""`tinychat bench`: speed and memory of the 4-bit model, beside other forms of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinychat.bench.job import Job
from tinychat.bench.report import FORMATS
from tinychat.cli import options
from tinychat.errors import ArgumentError, ContextLengthError
from tinychat.shapes import SHAPES

AGAINST = ("fp16", "bf16", "fp32", "int8", "hf")

EXAMPLE = """
tinychat bench
tinychat bench --shape llama-3.2-1b --against bf16,hf --threads 2
tinychat bench path/to/model --depth 0,512,2048 --json > result.json
tinychat bench --shape smollm2-135m --profile
"""

DESCRIPTION = """\
Measure prefill, decode, time to first token, load time and memory. Each engine runs in a process
of its own, all of them in turns and on the same token ids; speeds are medians. --against adds the
same model in other forms: fp16, bf16, fp32 or int8 in tinychat's engine, hf for transformers in
bf16. --shape needs no model: it makes random weights."""


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the `bench` command."""
    parser = options.add_command(
        subparsers,
        "bench",
        run,
        "measure speed and memory",
        description=DESCRIPTION,
        example=EXAMPLE,
    )
    options.add_model(parser)
    parser.add_argument(
        "--shape", choices=SHAPES, metavar="NAME", help=f"random weights: {', '.join(SHAPES)}"
    )
    parser.add_argument(
        "--against", default="", metavar="LIST", help=f"any of {', '.join(AGAINST)}, with commas"
    )
    parser.add_argument(
        "--prompt-tokens", type=options.token_count, default=512, metavar="N", help="default: 512"
    )
    parser.add_argument(
        "--new-tokens", type=options.token_count, default=128, metavar="N", help="default: 128"
    )
    parser.add_argument(
        "--depth",
        default="0",
        metavar="LIST",
        help="tokens in the cache before the measurement, such as 0,512,2k; default: 0",
    )
    parser.add_argument(
        "--profile", action="store_true", help="say where our time goes, op by op, too"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument(
        "--json", dest="format", action="store_const", const="json", help="short for --format json"
    )
    options.add_load_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from tinychat.bench.run import benchmark, run_job
    from tinychat.cli.loading import Bar
    from tinychat.cli.terminal import Terminal

    if not 1 <= arguments.repeats <= 1000:
        raise ArgumentError(f"repeats={arguments.repeats} is out of range; expected 1 to 1000")
    jobs = make_jobs(arguments)
    terminal = Terminal()
    with Bar(terminal, "measuring") as bar:
        result = benchmark(jobs, arguments.repeats, run_job, bar.update, arguments.profile)
    terminal.write(FORMATS[arguments.format](result) + "\n")
    return 0


def make_jobs(arguments: argparse.Namespace) -> list[Job]:
    """The jobs that the flags ask for, our low-bit engine first.

    Raises: ArgumentError, ContextLengthError, and what finding the model raises.
    """
    from tinychat.config import load_config
    from tinychat.kernels.dispatch import check_device, choose_card
    from tinychat.shapes import shape_config

    if arguments.shape is not None and arguments.model is not None:
        raise ArgumentError("MODEL and --shape exclude each other")
    if arguments.prompt_lookup is not None:
        raise ArgumentError(
            "--prompt-lookup has no part in a benchmark, which evaluates given tokens one by one"
        )
    check_device(arguments.device)
    if arguments.profile and choose_card(arguments.device) is not None:
        raise ArgumentError("--profile is for the CPU (--device cpu); on a card use Nsight Systems")
    forms = parse_against(arguments.against)
    depths = parse_depths(arguments.depth)
    if arguments.shape is not None:
        folder, config = None, shape_config(arguments.shape)
    else:
        from tinychat.hub import resolve_model

        folder = resolve_model(arguments.model, offline=arguments.offline)
        config = load_config(folder)
    kept = ("device", "kv_cache", "lm_head", "pack_cache", "offline")
    load = {name: getattr(arguments, name) for name in kept}
    if arguments.max_context is not None:
        load["max_context"] = arguments.max_context

    def job(engine: str, weights: str) -> Job:
        return Job(
            engine=engine,
            weights=weights,
            folder=None if folder is None else str(Path(folder).resolve()),
            shape=arguments.shape,
            threads=arguments.threads,
            prompt_tokens=arguments.prompt_tokens,
            new_tokens=arguments.new_tokens,
            depths=depths,
            load=load,
        )

    ours = "int4" if arguments.weights == "auto" else arguments.weights
    jobs = [job("tinychat", ours)]
    jobs += [
        job(*(("transformers", "bf16") if form == "hf" else ("tinychat", form))) for form in forms
    ]
    room = config.max_positions if arguments.max_context is None else arguments.max_context
    if jobs[0].positions > room:
        raise ContextLengthError(
            f"a depth of {max(depths)} and {jobs[0].positions - max(depths)} tokens more do not "
            f"fit a context of {room}; lower --depth, --prompt-tokens or --new-tokens"
        )
    return jobs


def parse_against(text: str) -> list[str]:
    """The forms in a list such as "fp16,hf", each once."""
    forms = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for form in forms:
        if form not in AGAINST:
            raise ArgumentError(f"--against {form!r}: expected any of {', '.join(AGAINST)}")
    return forms


def parse_depths(text: str) -> tuple[int, ...]:
    """The depths in a list such as "0,512,2k", ascending, each once."""
    try:
        parts = [part.strip() for part in text.split(",")]
        return tuple(sorted({0 if p == "0" else options.token_count(p) for p in parts}))
    except argparse.ArgumentTypeError:
        raise ArgumentError(f"--depth {text!r}: expected numbers such as 0,512,2k") from None

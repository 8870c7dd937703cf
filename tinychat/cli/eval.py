"""`tinychat eval`: perplexity of a text, or the score on GSM8K or MBPP."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinychat.cli import options
from tinychat.cli.loading import Bar, load
from tinychat.cli.terminal import Terminal
from tinychat.errors import ArgumentError
from tinychat.evaluate import Record, gsm8k, mbpp, perplexity
from tinychat.evaluate.data import argument_errors
from tinychat.evaluate.mbpp import NOT_ALLOWED, SPLITS
from tinychat.evaluate.perplexity import PROTOCOLS
from tinychat.files import blocks
from tinychat.jsonfile import open_regular

if TYPE_CHECKING:
    from tinychat.llm import LLM

TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "perplexity": perplexity,
    "gsm8k": gsm8k,
    "mbpp": mbpp,
}
# Which task understands which flag; --limit is for all of them.
_ASKING = ("shots", "train", "chat", "max_new_tokens", "temperature", "seed")
FLAGS: dict[str, tuple[str, ...]] = {
    "perplexity": ("protocol", "window"),
    "gsm8k": _ASKING,
    "mbpp": (*_ASKING, "samples", "k", "split", "allow_code_execution"),
}

WANTED = {
    "perplexity": "a text; the AWQ paper scores WikiText-2, raw, test",
    "gsm8k": "the published gsm8k test.jsonl",
    "mbpp": "the published mbpp.jsonl or sanitized-mbpp.json",
}
MODEL_FILES = (".json", ".jinja", ".model", ".safetensors")

EXAMPLE = """
tinychat eval path/to/model --data wiki.test.raw
tinychat eval path/to/model --data stories.txt --per-document --json
tinychat eval path/to/model --task gsm8k --data gsm8k_test.jsonl --out gsm8k.json
tinychat eval path/to/model --task mbpp --data mbpp.jsonl --allow-code-execution
"""

DESCRIPTION = """\
Measure how good a model is: perplexity of a text, or the share of right answers on GSM8K (numbers)
or MBPP (programs). --data names the text or the published file; nothing is downloaded. With --out
the result is kept in a file, and a run that was stopped goes on where it was."""


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the `eval` command."""
    parser = options.add_command(
        subparsers, "eval", run, "measure quality", description=DESCRIPTION, example=EXAMPLE
    )
    options.add_model(parser)
    parser.add_argument("--task", choices=TASKS, default="perplexity", help="default: perplexity")
    parser.add_argument("--data", type=Path, metavar="FILE", help="the text or the problems")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only the first N windows, documents or problems"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="keep the result, and what is done until then"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")

    group = parser.add_argument_group("perplexity")
    group.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="how the text is cut; default: paper, as AWQ and GPTQ report WikiText-2",
    )
    group.add_argument(
        "--per-document",
        dest="protocol",
        action="store_const",
        const="documents",
        help="short for --protocol documents: parts between <|endoftext|>",
    )
    group.add_argument(
        "--window",
        type=options.token_count,
        metavar="N",
        help="default: 2048, or the context where that is less",
    )

    group = parser.add_argument_group("gsm8k and mbpp")
    group.add_argument(
        "--shots", type=int, metavar="N", help="worked examples in front; default: 8, mbpp 3"
    )
    group.add_argument(
        "--train", type=Path, metavar="FILE", help="take the examples from the start of this file"
    )
    group.add_argument(
        "--chat",
        action=argparse.BooleanOptionalAction,
        help="ask through the chat template; default: where the model has one",
    )
    group.add_argument(
        "--max-new-tokens",
        type=options.token_count,
        metavar="N",
        help="tokens of an answer; default: 512",
    )
    group.add_argument("--temperature", type=float, metavar="X", help="default: 0, greedy")
    group.add_argument("--seed", type=int, metavar="N", help="default: 0")

    group = parser.add_argument_group("mbpp")
    group.add_argument("--samples", type=int, metavar="N", help="answers to a problem; default: 1")
    group.add_argument("--k", metavar="LIST", help="which pass@k, such as 1,10; default: 1")
    group.add_argument("--split", choices=SPLITS, help="test: tasks 11 to 510; all; default: test")
    group.add_argument(
        "--allow-code-execution",
        action="store_const",
        const=True,
        help="let the programs that the model writes run, in a sandbox",
    )
    options.add_load_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print."""
    settings = task_settings(arguments)
    terminal = Terminal()
    model = describe_model(arguments, terminal)
    with load(arguments, terminal) as llm:
        model.update(running_form(llm, arguments))
        with Bar(terminal, arguments.task) as bar:
            record = Record(arguments.out, {"model": model}, bar.update)
            try:
                result = TASKS[arguments.task](
                    llm, arguments.data, limit=arguments.limit, record=record, **settings
                )
            except KeyboardInterrupt:
                raise KeyboardInterrupt(kept(record)) from None
    for note in result.get("notes", ()):
        terminal.say(f"note: {note}")
    terminal.write(json.dumps(result) + "\n" if arguments.json else report(result))
    return 0


def kept(record: Record) -> str:
    """A line for who stops it; empty where nothing is kept."""
    if not record.kept:
        return ""
    return (
        f"stopped; {record.kept} items are in {record.partial}, and the same command goes on there"
    )


def task_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags that were given, as arguments of the task.

    Raises: ArgumentError for a flag of another task, a list that is none, no --data, or a file that
        cannot be opened; and for mbpp where programs may not run. All of it before anything is
        loaded.
    """
    task = arguments.task
    known = {name for names in FLAGS.values() for name in names}
    given = {
        name: value for name in sorted(known) if (value := getattr(arguments, name)) is not None
    }
    for name in given:
        if name not in FLAGS[task]:
            raise ArgumentError(f"--{name.replace('_', '-')} is not for --task {task}")
    if task == "mbpp" and not arguments.allow_code_execution:
        raise ArgumentError(NOT_ALLOWED)
    if arguments.data is None:
        raise ArgumentError(f"--task {task} needs --data FILE: {WANTED[task]}")
    for path in (arguments.data, arguments.train):
        if path is not None:
            with argument_errors():
                open_regular(path).close()
    if "k" in given:
        given["k"] = parse_k(given["k"])
    return given


def parse_k(text: str) -> tuple[int, ...]:
    """The numbers in a list such as "1,10", ascending, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 9 for part in parts):
        raise ArgumentError(f"--k {text!r}: expected numbers such as 1,10")
    return tuple(sorted(set(map(int, parts))))


def describe_model(arguments: argparse.Namespace, terminal: Terminal) -> dict[str, Any]:
    """What was evaluated: its name, and for --out a hash of all its files that matter.

    Two runs go on from one another only where both are the same.
    """
    from tinychat.hub import resolve_model

    folder = resolve_model(arguments.model, offline=arguments.offline)
    here = arguments.model is None or Path(arguments.model).is_dir()  # else an id, a name by itself
    name = folder.resolve().name if here else arguments.model
    if arguments.out is None:  # nothing is gone on from, and weights take long to hash
        return {"name": name}
    with Bar(terminal, "hashing") as bar:
        return {"name": name, "sha256": hash_model(folder, bar.update)}


def hash_model(folder: Path, progress: Callable[[int, int], None]) -> str:
    """SHA-256 of the names, sizes and contents of the files that a model is made of.

    Args:
        progress: called with bytes done and bytes in all.
    """
    paths = [path for path in folder.iterdir() if path.suffix in MODEL_FILES and path.is_file()]
    total, done = sum(path.stat().st_size for path in paths), 0
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with open_regular(path) as file:
            for block in blocks(file):
                digest.update(block)
                done += len(block)
                progress(done, total)
    return digest.hexdigest()


def running_form(llm: LLM, arguments: argparse.Namespace) -> dict[str, Any]:
    """How it was run. Threads and instruction sets are left out: they change the last digits."""
    return {
        "weights": llm.summary.weights if llm.summary else arguments.weights,
        "lm_head": arguments.lm_head,
        "kv_cache": arguments.kv_cache,
        "context": llm.max_context,
    }


def report(result: Mapping[str, Any]) -> str:
    """The result for people, without its items."""
    model, data = result["model"], result["data"]
    settings = (_setting(name, value) for name, value in result["settings"].items())
    lines = [
        ("model", f"{model['name']} ({model['weights']}, context {model['context']})"),
        ("data", f"{data['name']} (sha256 {data['sha256'][:12]}…)"),
        (result["task"], ", ".join(filter(None, settings))),
        *((name.replace("_", " "), _number(name, x)) for name, x in result["results"].items()),
    ]
    width = max(len(name) for name, _ in lines) + 2
    return "".join(f"{name:<{width}}{text}\n" for name, text in lines)


def _setting(name: str, value: Any) -> str:
    """A setting in words; nothing where it is off."""
    if value is None or value is False:
        return ""
    if isinstance(value, Mapping):
        value = value["name"]
    elif isinstance(value, list):
        value = " ".join(map(str, value)) or "none"
    return name.replace("_", " ") + ("" if value is True else f" {value}")


def _number(name: str, value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1%}" if name == "accuracy" or name.startswith("pass@") else f"{value:.4f}"

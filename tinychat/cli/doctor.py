"""`tinychat doctor`: what this machine has, what tinychat will use of it, and why not the rest."""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import tinychat
from tinychat import machine
from tinychat.cli import options
from tinychat.cli.paths import state_folder
from tinychat.cli.terminal import Terminal
from tinychat.errors import TinyChatError

if TYPE_CHECKING:
    from tinychat.kernels.cards import Card

EXAMPLE = """
tinychat doctor
tinychat doctor --json
"""

DESCRIPTION = """\
Show what this machine has and what tinychat will use of it: instruction sets, threads, memory,
NVIDIA cards, packages. The exit code
is 0 if a model can run, 1 if not."""

# What the kernels could make use of, as /proc/cpuinfo spells it.
CPU_FEATURES = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx_vnni", "avx512_vnni", "amx_int8")
REQUIRED = (
    "torch",
    "safetensors",
    "tokenizers",
    "sentencepiece",
    "jinja2",
    "huggingface_hub",
    "rich",
    "prompt_toolkit",
)
OPTIONAL = {"transformers": 'for bench --against hf: pip install "tinychat[hf]"'}


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the `doctor` command."""
    parser = options.add_command(
        subparsers,
        "doctor",
        run,
        "what this machine has and what tinychat will use of it",
        description=DESCRIPTION,
        example=EXAMPLE,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 if no model can run here."""
    findings = examine()
    text = json.dumps(findings, indent=2) if arguments.json else "\n".join(report(findings))
    Terminal().write(text + "\n")
    return 0 if findings["usable"] else 1


def examine() -> dict[str, Any]:
    """All findings, as `--json` prints them."""
    packages = {name: _version(name) for name in (*REQUIRED, *OPTIONAL)}
    isas, problem = _isas()
    missing = [name for name in REQUIRED if packages[name] is None]
    chosen = next((name for name, reason in isas.items() if not reason), None)
    return {
        "tinychat": tinychat.__version__,
        "python": platform.python_version(),
        "system": machine.system_name(),
        "cpu": machine.cpu_name(),
        "cpu_features": _cpu_features(),
        "isa": chosen,
        "isas_refused": {name: reason for name, reason in isas.items() if reason},
        "extension_problem": problem,
        "threads": _threads(),
        "logical_cpus": os.cpu_count(),
        "memory_mb": machine.total_memory_mb(),
        "available_mb": _available_memory(),
        "packages": packages,
        "cuda": _cuda(),
        "state_folder": _state_folder(),
        "usable": chosen is not None and not missing,
    }


def report(findings: dict[str, Any]) -> list[str]:
    """The findings as lines for people."""
    isa, refused = findings["isa"], findings["isas_refused"]
    lines = [
        _line("tinychat", f"{findings['tinychat']}, Python {findings['python']}"),
        _line("system", findings["system"]),
        _line("CPU", findings["cpu"]),
        _line("CPU features", " ".join(findings["cpu_features"]) or "none of those we use"),
        _line("kernels", isa or f"none: {findings['extension_problem']}"),
        *(_line("", f"not {name}: {reason}") for name, reason in refused.items()),
        _line("threads", f"{findings['threads']} of {findings['logical_cpus']} logical CPUs"),
        _line("memory", f"{findings['available_mb']} MB free of {findings['memory_mb']} MB"),
        *_cuda_lines(findings["cuda"]),
    ]
    for name, installed in findings["packages"].items():
        how = OPTIONAL.get(name, f"needed: pip install {name}")
        lines.append(_line(name, installed or f"not installed ({how})"))
    lines.append(_line("state folder", findings["state_folder"]))
    lines.append(_line("verdict", "ready" if findings["usable"] else "no model can run here"))
    return lines


def _line(label: str, value: object) -> str:
    return f"{label:<16}{value}"


def _isas() -> tuple[dict[str, str], str | None]:
    """Instruction sets, best first, each with what rules it out or ""; or why there are none."""
    try:
        from tinychat.kernels.dispatch import cpu_isas

        return cpu_isas(), None
    except ImportError as error:
        return {}, f"the native extension does not load ({error})"


def _cuda() -> dict[str, Any]:
    """The extension for cards, the driver, the cards, and what is wrong with any of them."""
    found: dict[str, Any] = {"built": None, "driver": None, "problem": None, "cards": []}
    try:
        from tinychat.kernels import cards

        build = cards.built()
        found["built"] = build and {**asdict(build), "text": str(build)}
        found["driver"] = cards.driver()
        found["problem"] = cards.why_not() or None
        found["cards"] = [_card(card) for card in cards.cards()]
    except (ImportError, TinyChatError) as error:
        found["problem"] = str(error)
    return found


def _card(card: Card) -> dict[str, Any]:
    from tinychat.kernels import cards

    problem = cards.why_not(card.index) or None
    found = {**asdict(card), "text": str(card), "problem": problem, "kernels": None}
    found |= {"attention": [], "hints": []}
    if problem is None:
        try:
            found["attention"] = cards.attention_kinds(card.index)
            found["hints"] = cards.hints(card, found["attention"])
            found["kernels"] = card.kernels
        except RuntimeError as error:  # a card that is full or broken, in torch's words
            found["problem"] = str(error).splitlines()[0]
    return found


def _cuda_lines(found: dict[str, Any]) -> list[str]:
    build, cards = found["built"], found["cards"]
    lines = [_line("CUDA", f"built for {build['text']}" if build else f"no: {found['problem']}")]
    if build and found["driver"]:
        lines.append(_line("", f"the driver runs CUDA up to {found['driver']}"))
    if build and found["problem"] and not cards:
        lines.append(_line("", f"not used: {found['problem']}"))
    for card in cards:
        lines.append(_line(f"card {card['index']}", card["text"]))
        if card["problem"]:
            lines.append(_line("", f"not used: {card['problem']}"))
        if card["kernels"]:
            lines.append(_line("", f"kernels: {card['kernels']}"))
        if card["attention"]:
            lines.append(_line("", f"attention to prompts, by torch: {card['attention'][0]}"))
        lines += [_line("", f"faster: {hint}") for hint in card["hints"]]
    return lines


def _version(package: str) -> str | None:
    """The version of a package that can really be imported; None otherwise."""
    try:
        import_module(package)
        return version(package)
    except Exception:  # a broken package counts as missing, whatever it raises
        return None


def _cpu_features() -> list[str]:
    info = machine.cpu_info()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return [name for name in CPU_FEATURES if name in flags]


def _threads() -> int:
    from tinychat.kernels.cores import usable_cores

    return usable_cores()


def _available_memory() -> int | None:
    from tinychat.memory import available_bytes

    available = available_bytes()
    return None if available is None else available >> 20


def _state_folder() -> str:
    try:
        return str(state_folder())
    except TinyChatError as error:
        return f"none: {error}"

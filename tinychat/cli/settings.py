"""The sampling settings as flags and as `/set` know them, and which of their sources wins.

A flag wins over `/set`, `/set` over the model's generation_config.json, that over tinychat's
defaults. Ranges are checked by `SamplingParams`; here text becomes values.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinychat.errors import ArgumentError

if TYPE_CHECKING:
    from tinychat.sampler import SamplingParams

Value = float | int | list[str]


@dataclass(frozen=True)
class Setting:
    """One sampling parameter; `kind` is float, int, or str for a list of texts."""

    name: str
    kind: type
    example: str
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def parse(self, text: str) -> Value:
        """The value that `text` stands for; raises ArgumentError if it stands for none."""
        if self.kind is str:
            return _texts(self.name, text)
        try:
            number: float | int = self.kind(text)
            if math.isfinite(number):
                return number
        except (ValueError, OverflowError):
            pass
        what = "a number" if self.kind is float else "a whole number"
        raise ArgumentError(f"{self.name} is {what} such as {self.example}, not {text[:80]!r}")


def _texts(name: str, text: str) -> list[str]:
    """`text` itself, or the texts of a JSON string or list, which can hold line breaks."""
    if text[:1] not in ('"', "["):
        return [text]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ArgumentError(
            f"{name} is not a complete JSON string or list: {text[:80]!r}"
        ) from None
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(item, str) for item in texts):
        raise ArgumentError(f"{name} must hold texts only, not {text[:80]!r}")
    return texts


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("temperature", float, "0.7", "0 to 2; 0 always takes the likeliest token"),
        Setting("top_k", int, "40", "choose among the k likeliest tokens; 0: all"),
        Setting("top_p", float, "0.95", "choose among the likeliest tokens up to this sum; 1: all"),
        Setting("min_p", float, "0.05", "drop tokens below this share of the likeliest one"),
        Setting("repetition_penalty", float, "1.1", "0.1 to 10; above 1 repeats less"),
        Setting("seed", int, "7", "the same seed gives the same answer; default: a fresh one"),
        Setting("max_new_tokens", int, "256", "longest answer; default: the rest of the context"),
        Setting("stop", str, '"\\n\\n"', "text that ends an answer"),
    )
}


def setting(name: str) -> Setting:
    """The setting called `name`; raises ArgumentError with the known names."""
    if name not in SETTINGS:
        raise ArgumentError(f"there is no setting {name[:80]!r}; known: {', '.join(SETTINGS)}")
    return SETTINGS[name]


def add_sampling_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag for each setting; those not given stay None."""
    group = parser.add_argument_group("sampling")
    for item in SETTINGS.values():
        many = item.kind is str
        group.add_argument(
            item.flag,
            action="append" if many else "store",
            metavar="TEXT" if many else "X" if item.kind is float else "N",
            help=item.help + ("; may be repeated" if many else ""),
        )


def sampling_flags(arguments: argparse.Namespace) -> dict[str, Value]:
    """The settings given as flags, checked; raises ArgumentError for a value out of range."""
    given: dict[str, Value] = {}
    for name, item in SETTINGS.items():
        value = getattr(arguments, name)
        if value is not None:
            given[name] = value if item.kind is str else item.parse(value)
    check(given)
    return given


def check(values: Mapping[str, Any]) -> SamplingParams:
    """The parameters that `values` stand for; raises ArgumentError for what is none."""
    from tinychat.sampler import SamplingParams

    for name, value in values.items():
        if setting(name).kind is str and not isinstance(value, list):
            raise ArgumentError(f"{name} is a list of texts, not {value!r}")
    return SamplingParams(**values)


def effective(
    flags: Mapping[str, Any], chosen: Mapping[str, Any], model: SamplingParams
) -> dict[str, tuple[Any, str]]:
    """Every setting's value, None where it is left open, and where that value came from.

    Args:
        flags: given on the command line.
        chosen: by `/set`.
        model: `LLM.default_params`, the checkpoint's defaults over tinychat's.
    """
    from tinychat.sampler import DEFAULTS

    table: dict[str, tuple[Any, str]] = {}
    for name in SETTINGS:
        value = getattr(model, name)
        if name in flags:
            table[name] = flags[name], "flag"
        elif name in chosen:
            table[name] = chosen[name], "/set"
        elif value != getattr(DEFAULTS, name):
            table[name] = value, "generation_config.json"
        else:
            table[name] = value, "default"
    return table

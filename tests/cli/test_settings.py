"""Settings: text becomes values of the right kind, and the order of precedence holds."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from tinychat.cli import settings
from tinychat.cli.settings import SETTINGS
from tinychat.errors import ArgumentError
from tinychat.sampler import BOUNDS, DEFAULTS, SamplingParams


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.5", 0.5),
        ("temperature", "0", 0.0),
        ("top_k", "40", 40),
        ("seed", "7", 7),
        ("stop", "END", ["END"]),
        ("stop", '"a\\nb"', ["a\nb"]),
        ("stop", '["a", "b"]', ["a", "b"]),
    ],
)
def test_parse(name: str, text: str, value: Any) -> None:
    parsed = SETTINGS[name].parse(text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "hot"),
        ("temperature", ""),
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("temperature", "1e400"),
        ("top_k", "4.5"),
        ("top_k", "9" * 5000),
        ("seed", "0x10"),
        ("stop", '"open'),
        ("stop", "[1]"),
        ("stop", "[" * 100_000),
    ],
)
def test_parse_refuses(name: str, text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        SETTINGS[name].parse(text)
    assert name in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -1},
        {"temperature": 2.1},
        {"top_k": -1},
        {"top_p": 1.5},
        {"repetition_penalty": 0.0},
        {"max_new_tokens": 0},
        {"stop": ["x"] * 17},
        {"stop": [""]},
        {"stop": "text"},
        {"stop": [3]},
        {"temperature": "hot"},
        {"temperature": True},
        {"surprise": 1},
    ],
)
def test_check_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        settings.check(values)


def test_check_gives_the_engines_parameters() -> None:
    params = settings.check({"temperature": 0.0, "stop": ["x"]})
    assert params == SamplingParams(temperature=0.0, stop=("x",))


def test_every_setting_is_a_parameter_with_the_same_kind() -> None:
    for name, (kind, _, _) in BOUNDS.items():
        if name != "logprobs":
            assert SETTINGS[name].kind is kind
    for item in SETTINGS.values():
        settings.check({item.name: item.parse(item.example)})


def parse(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    settings.add_sampling_flags(parser)
    return settings.sampling_flags(parser.parse_args(words))


def test_flags() -> None:
    assert parse() == {}
    assert parse("--top-k", "3", "--stop", "a", "--stop", '["b') == {
        "top_k": 3,
        "stop": ["a", '["b'],  # the shell has quoted it already
    }
    with pytest.raises(ArgumentError, match="temperature"):
        parse("--temperature", "3")


def test_a_flag_wins_over_set_over_the_model_over_the_table() -> None:
    model = SamplingParams(temperature=0.1, top_k=5, top_p=0.5).over(DEFAULTS)
    table = settings.effective({"temperature": 0.3}, {"temperature": 0.2, "top_k": 6}, model)
    assert table["temperature"] == (0.3, "flag")
    assert table["top_k"] == (6, "/set")
    assert table["top_p"] == (0.5, "generation_config.json")
    assert table["min_p"] == (0.0, "default")
    assert table["seed"] == (None, "default")
    assert list(table) == list(SETTINGS)

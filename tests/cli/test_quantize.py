"""`tinychat quantize`: what it says, its object, its refusals, and going on after Ctrl-C."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import Tensor

import tinychat
from tests.cli.test_terminal import Tty
from tests.test_tokenizer_json import byte_spec
from tests.tiny_models import TINY
from tinychat import SamplingParams
from tinychat.checkpoint import SINGLE
from tinychat.cli.main import build_parser, main
from tinychat.cli.quantize import (
    EXAMPLE,
    FLAGS,
    Layers,
    duration,
    progress_line,
    quantize_arguments,
)
from tinychat.cli.terminal import Terminal
from tinychat.config import parse_config
from tinychat.errors import ArgumentError
from tinychat.quantize.convert import quantize
from tinychat.quantize.layer import METHODS, Settings
from tinychat.quantize.run import Progress, Start
from tinychat.quantize.workspace import Workspace
from tinychat.random_weights import RandomCheckpoint

CONFIG = {
    **TINY["llama"],
    "vocab_size": 300,
    "hidden_size": 128,
    "intermediate_size": 256,
    "bos_token_id": 257,
    "eos_token_id": 258,
}
TEXT = "A cat sat on the mat. " * 40
# Little of everything, since a test is to see the command and not the quality.
QUICK = ("--group-size", "64", "--calibration-tokens", "300")


def make_model(folder: Path, config: dict[str, Any]) -> Path:
    """A float model with random weights and a byte-level tokenizer."""
    folder.mkdir()
    source = RandomCheckpoint(parse_config(config), "bf16")
    tensors = {name: source.tensor(name).contiguous() for name in sorted(source.names())}
    save_file(tensors, folder / SINGLE)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(byte_spec()))
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("quantize") / "model", CONFIG)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def start(done: int = 0, layers: int = 2) -> Start:
    return Start(Settings(), "awq gemm", None, (), layers, done, Path(".out.quantizing"))


def progress(layer: int, resumed: bool = False, notes: tuple[str, ...] = ()) -> Progress:
    return Progress(layer, 2, 0.02, 0.0123, 90.0 * (2 - layer), 700 << 20, resumed, notes)


# --- what it says


def test_it_says_what_it_will_do_each_layer_and_what_came_out(
    model: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a folder"
    assert main(["quantize", str(model), str(out), *QUICK, "--calibration", str(text)]) == 0
    stdout, stderr = capsys.readouterr()
    first, few, *layers, wrote, following = stderr.splitlines()
    assert stdout == "" and few.startswith("only 512 tokens of calibration text; 8192 or more")
    assert first == "awq, 4 bits, groups of 64 as AWQ (gemm); 512 tokens of text.txt"
    number = r"\d[\d.e-]*"
    for index, line in enumerate(layers, 1):
        left = rf" · {number} s left" if index == 1 else ""
        wanted = rf"layer {index}/2 · loss RTN {number} → {number}{left} · peak \d+ MB"
        assert re.fullmatch(wanted, line), line
    assert len(layers) == 2
    sizes = re.fullmatch(
        rf"wrote {out}: ({number}) MB → ({number}) MB, ({number}) bits per quantized weight", wrote
    )
    # 4 bits, and for 64 weights a scale of 16 and a zero of 4.
    assert sizes and float(sizes[1]) > float(sizes[2]) and sizes[3] == "4.31"
    assert following == f"next: tinychat chat {shlex.quote(str(out))}"
    with tinychat.load(shlex.split(following)[-1]) as llm:
        params = SamplingParams(max_new_tokens=2, ignore_eos=True)
        assert len(llm.generate("Hi", params).token_ids) == 2


def test_the_object_is_all_that_stdout_has(
    model: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = ["--method", "awq+gptq", "--bits", "2", *QUICK, "--calibration", str(text)]
    assert main(["quantize", str(model), str(out), *flags, "--json"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.count("\n") == 1 and stderr.count("\n") == 6
    found = json.loads(stdout)
    assert (found["method"], found["grid"]["bits"], found["grid"]["group_size"]) == (
        "awq+gptq",
        2,
        64,
    )
    assert found["out"] == str(out) and found["format"] == "gptq gptq_v2"
    assert found["calibration"]["source"] == "text.txt" and found["calibration"]["tokens"] == 512
    assert found["layers"] == 2 and found["layers_resumed"] == 0 and found["fallbacks"] == []
    assert 0 < found["loss"] < found["loss_rtn"]
    files = {"bytes_before": model, "bytes_after": out}
    for name, folder in files.items():
        assert found[name] == (folder / SINGLE).stat().st_size
    assert 2 < found["bits_per_weight"] < 3
    assert found["seconds"] > 0 and found["peak_memory_mb"] > 0


def test_the_examples_of_help_run(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("path/to").mkdir(parents=True)
    shutil.copytree(model, "path/to/model")
    Path("my-texts.txt").write_text(TEXT)
    for line in EXAMPLE.strip().splitlines():
        words = shlex.split(line)
        assert words[0] == "tinychat"
        assert main([*words[1:], "--calibration-tokens", "300"]) == 0, capsys.readouterr().err
        assert Path("path/to/out/config.json").exists()
        shutil.rmtree("path/to/out")
        assert not list(Path("path/to").glob(".*"))


def test_little_text_and_what_does_not_fit_are_said(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = make_model(tmp_path / "odd", {**CONFIG, "intermediate_size": 260})
    flags = ["--group-size", "-1", "--calibration", str(text)]
    assert main(["quantize", str(odd), str(tmp_path / "out"), *flags]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("awq, 4 bits, whole rows as AWQ (gemm); ")
    assert lines[1] == (
        "left in floating point, for AWQ (gemm) cannot hold them: mlp.gate_proj, mlp.up_proj"
    )
    assert re.match(r"only \d+ tokens of calibration text; 8192 or more", lines[2])


def test_a_pipe_gets_no_cursor_codes_and_a_terminal_one_line(tmp_path: Path) -> None:
    notes = ("layer 1/2, inner: rounded to nearest, because 3 of its channels are always zero",)
    plain, screen, dumb = io.StringIO(), Tty(), Tty()
    for stream, term in ((plain, "xterm"), (screen, "xterm"), (dumb, "dumb")):
        with Layers(Terminal(io.StringIO(), stream, {"TERM": term})) as layers:
            layers.start(start())
            layers.step(1, "observing")
            layers.update(progress(1, notes=notes))
            layers.step(2, "scales of q, k, v")
            layers.update(progress(2))
    assert plain.getvalue().splitlines() == [
        "awq, 4 bits, groups of 128 as AWQ (gemm)",
        "layer 1/2 · loss RTN 0.02 → 0.0123 · 90 s left · peak 700 MB",
        *notes,
        "layer 2/2 · loss RTN 0.02 → 0.0123 · peak 700 MB",
    ]
    assert dumb.getvalue() == plain.getvalue()
    drawn = screen.getvalue()
    assert "\rlayer 0/2\x1b[K\rlayer 1/2 · observing\x1b[K" in drawn
    step = "layer 2/2 · scales of q, k, v · 90 s left · last loss RTN 0.02 → 0.0123"
    assert f"\r{step}\x1b[K\rlayer 2/2 · loss" in drawn
    assert drawn.endswith("peak 700 MB\x1b[K\r\x1b[K")
    # What stays is what a note was written on, behind an erased line.
    assert f"\r\x1b[K\x1b[33m{notes[0]}\x1b[0m\n" in drawn
    assert drawn.count("\n") == 2


def test_a_floor_is_not_compared_with_itself() -> None:
    assert progress_line(Progress(1, 2, 0.01, 0.01, None, 3 << 20, False, ())) == (
        "layer 1/2 · loss 0.01 · peak 3 MB"
    )


def test_estimates_are_as_exact_as_they_can_be() -> None:
    assert [duration(s) for s in (0.4, 99, 150, 5940, 7500)] == [
        "0 s",
        "99 s",
        "2 min",
        "99 min",
        "2 h 05 min",
    ]


# --- stopping and going on


def test_ctrl_c_keeps_layers_and_the_same_command_goes_on(
    model: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save = Workspace.save

    def stop(
        self: Workspace, layer: int, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]
    ) -> None:
        if layer == 1:
            raise KeyboardInterrupt
        save(self, layer, tensors, groups)

    command = ["quantize", str(model), str(tmp_path / "out"), *QUICK, "--calibration", str(text)]
    monkeypatch.setattr(Workspace, "save", stop)
    assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[3:] == [
        f"stopped; 1 of 2 layers are kept in {tmp_path / '.out.quantizing'}, and the same command "
        "goes on there"
    ]
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()

    # Other settings would mix two models.
    assert main([*command, "--symmetric"]) == 2
    assert "unfinished quantization with other settings" in capsys.readouterr().err
    assert main([*command, "--json"]) == 0
    stdout, stderr = capsys.readouterr()
    lines = stderr.splitlines()
    assert lines[2] == "going on behind layer 1/2" and lines[3].startswith("layer 2/2 · ")
    assert json.loads(stdout)["layers_resumed"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "text.txt"]
    whole = tmp_path / "whole"
    quantize(model, whole, group_size=64, calibration=text, tokens=300)
    assert (whole / SINGLE).read_bytes() == (tmp_path / "out" / SINGLE).read_bytes()


def test_ctrl_c_before_the_first_layer(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinychat.quantize.convert.prepare", stop)
    assert main(["quantize", str(model), str(tmp_path / "out"), *QUICK]) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert list(tmp_path.iterdir()) == []


def test_layers_that_were_done_before_count_as_kept() -> None:
    layers = Layers(Terminal(io.StringIO(), io.StringIO(), {}))
    assert layers.kept() == ""
    layers.start(start(done=1, layers=2))
    layers.update(progress(1, resumed=True))
    assert layers.kept().startswith("stopped; 1 of 2 layers")
    layers.update(progress(2))
    assert layers.kept().startswith("stopped; 2 of 2 layers")


# --- refusals


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (["--bits", "5"], 2, "bits=5: expected 2, 3, 4 or 8"),
        (["--method", "magic"], 2, "method='magic' is not one of awq, gptq, rtn, awq+gptq"),
        (["--group-size", "96"], 2, "does not divide K=128; use 128 or 64 or 32 or -1"),
        (["--group-size", "0"], 2, "group_size=0: expected 128, 64, 32"),
        (["--calibration", "/no/such/text"], 2, "/no/such/text is missing"),
        (["--calibration", "/"], 2, "calibration text: / is not a regular file"),
        (["--calibration", "{bytes}"], 2, "is not UTF-8 text: byte 2"),
        (["--calibration", "{empty}"], 2, "the calibration text (empty) holds no tokens"),
        (["--method", "gptq", "--damping", "1.5"], 2, "damping=1.5: expected"),
        (["--method", "awq+gptq", "--act-order"], 2, "or awq+gptq with --no-clip"),
        (["--device", "tpu"], 2, "device='tpu' is not auto, cpu, cuda"),
        (["--act-order"], 2, "--act-order (act_order) is for --method gptq, or awq+gptq"),
        (["--no-clip", "--act-order"], 2, "--act-order (act_order) is for --method gptq"),
        (["--method", "rtn", "--act-order"], 2, "--act-order (act_order) is for --method gptq"),
        (["--damping", "0.1"], 2, "--damping is not for --method awq"),
        (["--method", "gptq", "--no-clip"], 2, "--no-clip is not for --method gptq"),
        (["--method", "rtn", "--calibration-tokens", "9"], 2, "--calibration-tokens is not for"),
        (["--method", "rtn", "--no-sequential"], 2, "--sequential is not for --method rtn"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    flags: list[str],
    code: int,
    line: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "bytes").write_bytes(b"ab\xff")
    (inputs / "empty").write_text(" \n")
    words = [flag.format(bytes=inputs / "bytes", empty=inputs / "empty") for flag in flags]
    assert main(["quantize", str(model), str(tmp_path / "out"), *words]) == code
    out, err = capsys.readouterr()
    assert line in err and err.count("\n") == 1 and out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["inputs"]


def test_existing_folders_quantized_sources_and_missing_models(
    model: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = str(tmp_path / "out"), str(tmp_path / "other")
    assert main(["quantize", str(model), out, "--method", "rtn"]) == 0
    capsys.readouterr()
    for words, code, line in (
        ([str(model), out], 2, f"{out} exists already"),
        ([out, other], 2, f"{out} is quantized already"),
        (["/no/such/model", other], 3, "/no/such/model"),
        ([str(model), str(text / "inside")], 1, "cannot write"),
    ):
        assert main(["quantize", *words]) == code
        stdout, stderr = capsys.readouterr()
        assert stderr.splitlines()[-1].startswith("tinychat: ") and line in stderr
        assert stdout == ""
    for words in ([], [str(model)], [str(model), out, "--bits", "four"]):
        with pytest.raises(SystemExit) as end:
            main(["quantize", *words])
        assert end.value.code == 2 and capsys.readouterr().err.count("\n") == 1


# --- flags


def test_every_argument_of_quantize_has_a_flag() -> None:
    names = quantize.__code__.co_varnames[: quantize.__code__.co_argcount]
    keywords = quantize.__code__.co_varnames[len(names) :][: quantize.__code__.co_kwonlyargcount]
    assert {*names, *keywords} == {
        *("model", "out", *FLAGS),
        *("on_sample", "on_start", "on_step", "progress"),
    }
    words = "m o --bits 3 --group-size -1 --calibration self --calibration-tokens 4k --seed 5"
    words += " --symmetric --no-clip --act-order --damping 0.1 --sequential --device cpu --offline"
    words += " --method awq+gptq"
    assert quantize_arguments(build_parser().parse_args(["quantize", *words.split()])) == {
        **{"method": "awq+gptq", "bits": 3, "group_size": -1, "calibration": "self"},
        **{"tokens": 4096, "seed": 5, "symmetric": True, "clip": False, "act_order": True},
        **{"damping": 0.1, "sequential": True, "device": "cpu", "offline": True},
    }
    assert quantize_arguments(build_parser().parse_args(["quantize", "m", "o"])) == {}
    with pytest.raises(ArgumentError):
        quantize_arguments(build_parser().parse_args("quantize m o --damping 0.1".split()))


def test_help_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["quantize", "--help"])
    shown = capsys.readouterr().out
    assert all(method in shown for method in METHODS)

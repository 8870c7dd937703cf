"""Folders from end to end: one is made here, loaded and asked; then it is spoilt in many ways.

Every refusal is followed by a load and an answer in the same process.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tinychat
from tests.conftest import REPOSITORY
from tests.test_tokenizer_json import byte_spec
from tests.tiny_models import TINY
from tinychat import (
    LLM,
    ArgumentError,
    CheckpointError,
    ContextLengthError,
    NotEnoughMemoryError,
    SamplingParams,
    TemplateError,
    TinyChatError,
    TokenizerError,
)
from tinychat.checkpoint import SINGLE
from tinychat.cli.main import main
from tinychat.config import parse_config
from tinychat.random_weights import RandomCheckpoint
from tinychat.sampler import DEFAULTS

CONFIG = {**TINY["llama"], "vocab_size": 300, "bos_token_id": 257, "eos_token_id": 258}
TOKENIZER = {"bos_token": "<s>", "eos_token": "</s>"}
BOS, VOCABULARY = 257, 260
TEMPLATE = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}<s>assistant: "
POST_PROCESSOR = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
}
GREEDY = SamplingParams(temperature=0, max_new_tokens=12)
PROMPT = "tell me"
HELLO = [{"role": "user", "content": "hello"}]


def head(shape: torch.Size) -> torch.Tensor:
    """An output head that speaks in letters and would rather say ids that no token has."""
    weight = torch.zeros(shape)
    letters = torch.randn(24, shape[1], generator=torch.Generator().manual_seed(3))
    weight[ord("c") : ord("z") + 1] = letters
    weight[VOCABULARY : VOCABULARY + 24] = 10 * letters
    return weight


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model folder: random weights, a byte-level tokenizer that adds BOS, a template."""
    folder = tmp_path_factory.mktemp("sound")
    source = RandomCheckpoint(parse_config(CONFIG), "bf16")
    tensors = {name: source.tensor(name).contiguous() for name in sorted(source.names())}
    tensors["lm_head.weight"] = head(tensors["lm_head.weight"].shape).to(torch.bfloat16)
    save_file(tensors, folder / SINGLE)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    spec = byte_spec(post_processor=POST_PROCESSOR)
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def expected(sound: Path) -> str:
    """What the sound folder says."""
    return answer(sound)


@pytest.fixture
def folder(sound: Path, expected: str, tmp_path: Path) -> Iterator[Path]:
    """A copy to spoil; whatever a test does to it, the sound one answers as before."""
    yield Path(shutil.copytree(sound, tmp_path / "model"))
    assert answer(sound) == expected


@pytest.fixture(scope="module")
def shared(sound: Path) -> Iterator[LLM]:
    with tinychat.load(sound, threads=1, weights="int4") as llm:
        yield llm


@pytest.fixture
def llm(shared: LLM, expected: str) -> Iterator[LLM]:
    """The model; after each test it must still answer as it did at first."""
    yield shared
    assert shared.generate(PROMPT, GREEDY).text == expected


@pytest.fixture(autouse=True)
def no_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is piped into the commands that a test runs."""
    with open(os.devnull) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield


def answer(folder: Path, **options: Any) -> str:
    with tinychat.load(folder, threads=1, **{"weights": "int4", **options}) as llm:
        return llm.generate(PROMPT, GREEDY).text


# --- what a folder gives


def test_a_folder_answers_in_every_precision(sound: Path, expected: str) -> None:
    assert len(expected) == 12 and set(expected) <= set("cdefghijklmnopqrstuvwxyz")
    for weights in ("auto", "fp32", "int8"):
        assert len(answer(sound, weights=weights)) == 12


def test_generate_adds_bos_and_encode_does_not(llm: LLM) -> None:
    assert llm.tokenizer.encode(PROMPT) == list(PROMPT.encode())
    assert llm.tokenizer.encode(PROMPT, add_special=True) == [BOS, *PROMPT.encode()]
    assert llm.tokenizer.encode("<s>") == list(b"<s>")
    assert llm.tokenizer.encode("<s>", parse_special=True) == [BOS]
    assert llm.encode_prompt("<s>") == [BOS, *b"<s>"]
    out = llm.generate(PROMPT, GREEDY)
    assert out.stats.prompt_tokens == 1 + len(PROMPT)
    assert out.text == llm.generate([BOS, *PROMPT.encode()], GREEDY).text
    assert llm.generate(list(PROMPT.encode()), GREEDY).stats.prompt_tokens == len(PROMPT)


def test_logits_are_float32_of_every_position(llm: LLM) -> None:
    ids = [BOS, *PROMPT.encode()]
    logits = llm.logits(ids)
    assert logits.shape == (len(ids), CONFIG["vocab_size"]) and logits.dtype == torch.float32
    assert torch.equal(llm.logits(ids), logits), "a sequence of its own every time"
    first = llm.generate(ids, GREEDY).token_ids[0]
    assert int(logits[-1, :VOCABULARY].argmax()) == first
    long = llm.logits([7] * llm.max_context)
    assert long.shape[0] == llm.max_context and bool(torch.isfinite(long).all())
    with pytest.raises(ContextLengthError, match="257 tokens"):
        llm.logits([7] * (llm.max_context + 1))
    for ids in ([], [CONFIG["vocab_size"]], [-1]):
        with pytest.raises(ArgumentError):
            llm.logits(ids)


def test_ids_without_a_token_are_never_sampled(llm: LLM) -> None:
    """Case 19: the head has more rows than the tokenizer has tokens, and they score highest."""
    ids = [BOS, *PROMPT.encode()]
    assert int(llm.logits(ids)[-1].argmax()) >= VOCABULARY
    for params in (GREEDY, SamplingParams(temperature=2, top_k=0, top_p=1, seed=1)):
        assert max(llm.generate(ids, params).token_ids) < VOCABULARY


def test_the_same_seed_gives_the_same_text(llm: LLM) -> None:
    params = SamplingParams(temperature=2, top_k=0, top_p=1, max_new_tokens=40, seed=11)
    first = llm.generate(PROMPT, params)
    torch.rand(3)  # the global generator has no part in it
    assert llm.generate(PROMPT, params).token_ids == first.token_ids and first.seed == 11
    free = SamplingParams(temperature=2, top_k=0, top_p=1, max_new_tokens=40)
    drawn = llm.generate(PROMPT, free)
    again = SamplingParams(temperature=2, top_k=0, top_p=1, max_new_tokens=40, seed=drawn.seed)
    assert llm.generate(PROMPT, again).text == drawn.text
    assert llm.generate(PROMPT, free).token_ids != drawn.token_ids


def test_stop_strings_cut_the_answer(llm: LLM, expected: str) -> None:
    for stop in (expected[2:5], expected[0], expected):
        params = SamplingParams(temperature=0, max_new_tokens=12, stop=["\0", stop])
        pieces = list(llm.stream(PROMPT, params))
        assert "".join(piece.text for piece in pieces) == expected[: expected.index(stop)]
        assert pieces[-1].finish_reason == "stop"


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_prompts_up_to_the_whole_context_and_one_more(llm: LLM, extra: int) -> None:
    """Case 31."""
    ids = [BOS] + [80] * (llm.max_context - 1 + extra)
    if extra > 0:
        with pytest.raises(ContextLengthError, match=f"{len(ids)} tokens.*{llm.max_context}"):
            llm.generate(ids, GREEDY)
        with pytest.raises(ContextLengthError):
            llm.stream(ids, GREEDY)  # before a piece is asked for; `evaluate` asks what fits
        return
    out = llm.generate(ids, GREEDY)
    assert out.stats.prompt_tokens == len(ids)
    assert len(out.token_ids) == 1 - extra and out.finish_reason == "length"


def test_every_character_of_unicode(llm: LLM) -> None:
    """Case 31: each is counted as what was sent, and comes back as it was."""
    codes = [*range(0xD800), *range(0xE000, 0x110000)]
    for begin in range(0, len(codes), 1 << 16):
        text = "".join(map(chr, codes[begin : begin + (1 << 16) : 7]))
        assert llm.tokenizer.decode(llm.tokenizer.encode(text)) == text
        part = text[:20]
        assert llm.generate(part, GREEDY).stats.prompt_tokens == 1 + len(part.encode())
    with pytest.raises(ContextLengthError):
        llm.generate(text, GREEDY)


def test_a_second_turn_evaluates_only_what_is_new(llm: LLM) -> None:
    """Case 91."""
    first = llm.chat(HELLO, GREEDY)
    assert isinstance(first, tinychat.Output)
    turns = [*HELLO, {"role": "assistant", "content": first.text}]
    turns.append({"role": "user", "content": "more"})
    second = llm.chat(turns, GREEDY)
    assert isinstance(second, tinychat.Output)
    # The last token of an answer was chosen and never evaluated.
    assert second.stats.cached_tokens == first.stats.prompt_tokens + len(first.token_ids) - 1
    llm.engine.reset()
    fresh = llm.chat(turns, GREEDY)
    assert isinstance(fresh, tinychat.Output)
    assert fresh.stats.cached_tokens == 0 and fresh.token_ids == second.token_ids


def test_an_exception_in_the_consumer_frees_the_model(llm: LLM, expected: str) -> None:
    """Case 85."""
    with pytest.raises(ZeroDivisionError):
        for _ in llm.stream(PROMPT, GREEDY):
            raise ZeroDivisionError
    assert llm.generate(PROMPT, GREEDY).text == expected


def test_after_close_every_call_says_so(sound: Path) -> None:
    llm = tinychat.load(sound, threads=1)
    llm.generate(PROMPT, GREEDY)
    llm.close()
    calls: list[Callable[[], Any]] = [
        lambda: llm.generate(PROMPT, GREEDY),
        lambda: llm.generate([1], GREEDY),
        lambda: list(llm.stream(PROMPT, GREEDY)),
        lambda: llm.chat(HELLO, GREEDY),
        lambda: list(llm.stream_chat(HELLO, GREEDY)),
        lambda: llm.logits([1]),
    ]
    for call in calls:
        with pytest.raises(TinyChatError, match="closed; load it again"):
            call()
    llm.close()
    llm.cancel()


def test_a_model_may_be_closed_under_an_open_stream(sound: Path, expected: str) -> None:
    """Case 85: the consumer's own exception arrives, and nothing is held for ever."""
    with pytest.raises(ZeroDivisionError):
        with tinychat.load(sound, threads=1, weights="int4") as llm:
            pieces = llm.stream(PROMPT, GREEDY)
            next(pieces)
            raise ZeroDivisionError
    assert [piece.finish_reason for piece in pieces] == ["cancelled"]
    with pytest.raises(TinyChatError, match="closed"):
        llm.generate(PROMPT, GREEDY)
    assert answer(sound) == expected


def test_a_folder_without_a_tokenizer_works_with_ids(folder: Path, expected: str) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    with tinychat.load(folder, threads=1, weights="int4") as llm:
        ids = [BOS, *PROMPT.encode()]
        out = llm.generate(ids, GREEDY)
        assert out.text == "" and out.stats.prompt_tokens == len(ids)
        # Without a tokenizer nobody knows that the last rows of the head have no token.
        assert out.token_ids[0] - VOCABULARY + ord("c") == ord(expected[0])
        assert llm.logits(ids).shape == (len(ids), CONFIG["vocab_size"])
        for call in (
            lambda: llm.generate(PROMPT, GREEDY),
            lambda: llm.generate(ids, SamplingParams(stop="x")),
            lambda: llm.tokenizer,
        ):
            with pytest.raises(TokenizerError, match="token ids"):
                call()
        with pytest.raises(TemplateError, match="no chat template"):
            llm.chat(HELLO)
        assert llm.generate(ids, GREEDY).token_ids == out.token_ids


# --- what a folder may not be


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    """Change keys of a JSON file."""

    def spoil(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**values, **changes}))

    return spoil


def cut(name: str) -> Callable[[Path], None]:
    """Take a file's last byte."""
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size - 1)


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    """Change the tensors of the folder."""

    def spoil(folder: Path) -> None:
        loaded = {name: value.clone() for name, value in load_file(folder / SINGLE).items()}
        change(loaded)
        save_file(loaded, folder / SINGLE)

    return spoil


def pickled(folder: Path) -> None:
    (folder / SINGLE).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))


NORM = "model.norm.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 0, "version": "gemm", "zero_point": True}
SPOILT: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "weights cut": (cut(SINGLE), 1, SINGLE),
    "a tensor missing": (tensors(lambda t: t.pop(QUERY)), 1, QUERY),
    "a tensor too many": (tensors(lambda t: t.update(x=torch.zeros(1))), 1, "1 tensor is not used"),
    "a transposed tensor": (
        tensors(lambda t: t.update({QUERY: torch.zeros(32, 64)})),
        1,
        "[32, 64]",
    ),
    "a tensor of float64": (tensors(lambda t: t.update({NORM: t[NORM].double()})), 1, "F64"),
    "NaN in a norm": (tensors(lambda t: t[NORM].fill_(float("nan"))), 1, "NaN"),
    "no hidden size": (edit("config.json", hidden_size=0), 1, "hidden_size"),
    "another architecture": (edit("config.json", architectures=["X"]), 2, "'X'"),
    "a group of none": (edit("config.json", quantization_config=AWQ), 1, "group_size"),
    "the tokenizer cut": (cut("tokenizer.json"), 1, "tokenizer.json"),
    "too few rows": (edit("config.json", vocab_size=259), 1, "259 rows"),
    "a broken template": (
        lambda folder: (folder / "chat_template.jinja").write_text("{% if %}"),
        1,
        "chat_template.jinja",
    ),
    "pickles": (pickled, 1, "convert first"),
    "nothing there": (shutil.rmtree, 3, "model"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_folder_is_one_line_and_its_code(
    folder: Path, sound: Path, expected: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line over a real folder, and then over a sound one in the same process."""
    spoil, code, said = SPOILT[name]
    spoil(folder)
    flags = ["--prompt", "hello", "--threads", "1", "--temperature", "0", "--max-new-tokens", "12"]
    assert main(["chat", str(folder), *flags]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and said in captured.err
    errors = [line for line in captured.err.splitlines() if line.startswith("tinychat: ")]
    assert captured.err.endswith(f"{errors[0]}\n") and len(errors) == 1
    assert "Traceback" not in captured.err and len(captured.err.splitlines()) <= 2
    assert main(["chat", str(sound), *flags]) == 0
    assert len(capsys.readouterr().out.strip()) == 12


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "lm_head.weight", QUERY])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_numbers_are_never_silent(folder: Path, name: str, value: float) -> None:
    """Case 10: float matrices are not read through at load; the first prompt tells."""
    tensors(lambda loaded: loaded[name].fill_(value))(folder)
    with tinychat.load(folder, threads=1) as llm:
        for _ in range(2):
            with pytest.raises(CheckpointError, match="NaN or infinity"):
                llm.generate(PROMPT, GREEDY)


def test_too_little_memory_ends_with_4(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 73: refused by the estimate, with both numbers, and not later by the system."""
    with monkeypatch.context() as patch:
        patch.setattr("tinychat.memory.available_bytes", lambda: 1 << 20)
        assert main(["chat", str(sound), "--prompt", "x"]) == 4
    assert "1 MB are free" in capsys.readouterr().err
    assert main(["chat", str(sound), "--prompt", "x", "--max-new-tokens", "2"]) == 0


def endless(*_: Any, **__: Any) -> torch.Tensor:
    """Ask torch for what no machine has."""
    return torch.empty(1 << 60, dtype=torch.uint8)


def test_memory_that_runs_out_while_loading_ends_with_4(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tinychat.assembly.KVCache", endless)
        assert main(["chat", str(sound), "--prompt", "x"]) == 4
    error = capsys.readouterr().err
    assert error.startswith("tinychat: memory ran out while loading the model (")
    assert error.count("\n") == 1
    assert main(["chat", str(sound), "--prompt", "x", "--max-new-tokens", "2"]) == 0


def test_memory_that_runs_out_in_an_answer_leaves_the_model_usable(
    llm: LLM, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [BOS, *PROMPT.encode()]
    calls: list[Callable[[], Any]] = [
        lambda: llm.generate(PROMPT, GREEDY),
        lambda: llm.logits(ids),
        lambda: llm.logprobs(ids),
    ]
    for call in calls:
        with monkeypatch.context() as patch:
            patch.setattr(llm.engine.model, "logits", endless)
            with pytest.raises(NotEnoughMemoryError, match="memory ran out while evaluating"):
                call()
        assert llm.generate(PROMPT, GREEDY).text == expected


def test_a_file_for_which_there_are_no_addresses_is_too_little_memory(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("tinychat.checkpoint.mmap.mmap", refuse)
    with pytest.raises(NotEnoughMemoryError, match="cannot be mapped"):
        tinychat.load(sound)


@pytest.mark.parametrize(
    "options",
    [
        {"device": "cuda"},
        {"weights": "int3"},
        {"weights": ["int4"]},
        {"kv_cache": 3},
        {"lm_head": "x"},
        {"threads": 0},
        {"threads": "2"},
        {"threads": 1.5},
        {"max_context": 0},
        {"max_context": 257},
        {"max_context": "100"},
        {"max_context": 1.5},
    ],
    ids=str,
)
def test_arguments_that_cannot_be(sound: Path, expected: str, options: dict[str, Any]) -> None:
    ((name, _),) = options.items()
    with pytest.raises(ArgumentError, match=name):
        tinychat.load(sound, **options)
    assert answer(sound) == expected


def test_code_in_a_folder_is_never_imported(
    folder: Path, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 16, with a hook that sees every import that a whole load and an answer make."""
    canary = folder / "canary"
    names = ("modeling_evil", "tokenization_evil", "configuration_evil", "__init__", "conftest")
    for name in (*names, "torch", "jinja2", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(canary)!r}, 'w')\n")
    auto = {"AutoConfig": "configuration_evil.C", "AutoModelForCausalLM": "modeling_evil.M"}
    edit("config.json", auto_map=auto, trust_remote_code=True)(folder)
    tokenizer = {"AutoTokenizer": ["tokenization_evil.T", None]}
    edit("tokenizer_config.json", auto_map=tokenizer, tokenizer_class="EvilTokenizer")(folder)
    asked: list[str] = []

    class Hook:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            asked.append(name)

    monkeypatch.setattr(sys, "meta_path", [Hook, *sys.meta_path])
    monkeypatch.chdir(folder)
    with tinychat.load(folder, threads=1, weights="int4") as llm:
        assert llm.generate(PROMPT, GREEDY).text == expected
        llm.chat(HELLO, GREEDY)
    assert not canary.exists()
    assert not [name for name in asked if "evil" in name or name == "transformers"]


def test_bad_defaults_of_a_folder_are_said_and_ignored(
    folder: Path, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 20."""
    values = {"temperature": "hot", "top_k": 7, "eos_token_id": list(range(10_000))}
    (folder / "generation_config.json").write_text(json.dumps(values))
    with tinychat.load(folder, threads=1, weights="int4") as llm:
        assert llm.generate(PROMPT, GREEDY).text == expected
        assert llm.default_params.top_k == 7
        assert llm.default_params.temperature == DEFAULTS.temperature
        assert len(llm.warnings) == 2
    assert main(["chat", str(folder), "--prompt", "x", "--max-new-tokens", "2"]) == 0
    error = capsys.readouterr().err
    assert "temperature = 'hot'" in error and error.count("ignored\n") == 2


# --- an environment that is not the usual one


@pytest.mark.parametrize(
    "name", ["with spaces", "quo'te\"s", "a\nnew line", "emoji 🙂", "-rf", "[red]x[/]", "100%s {0}"]
)
def test_folders_of_any_name(
    sound: Path, expected: str, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 82; console markup in a file name is case 35."""
    folder = tmp_path / name
    shutil.copytree(sound, folder)
    assert answer(folder) == expected
    (folder / "config.json").write_text("{")
    assert main(["info", str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "config.json" in error
    if "[red]" in name:
        assert name in error


ODD_MACHINE = """
    import resource, sys

    def refuse(event, arguments):
        if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
            raise AssertionError(event)

    sys.addaudithook(refuse)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    from tinychat.cli.main import main
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_a_bare_machine(folder: Path) -> None:
    """Cases 67 and 82: no home, no UTF-8, few files, and nothing of the network."""
    (folder / "chat_template.jinja").write_text("é" + TEMPLATE, encoding="utf-8")
    lines = [line.removeprefix("    ") for line in ODD_MACHINE.splitlines()]
    words = ["chat", str(folder), "--prompt", "hello", "--temperature", "0", "--threads", "1"]
    keep = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    odd = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Nowhere/None"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), *words, "--max-new-tokens", "12"],
        cwd=folder,
        env={**keep, **odd, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 12

"""A float folder becomes a standard AWQ folder, whole or not at all; everything else is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tinychat.checkpoint import Checkpoint
from tinychat.config import load_config
from tinychat.errors import ArgumentError, CheckpointError, TinyChatError
from tinychat.quantize import convert
from tinychat.quantize.awq_format import from_awq_gemm
from tinychat.quantize.convert import round_to_awq
from tinychat.quantize.format import dequantize
from tinychat.quantize.rtn import round_to_nearest

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "some_key_of_its_own": [1, 2],
}
SHAPES = {
    "self_attn.q_proj": (64, 64),
    "self_attn.k_proj": (32, 64),
    "self_attn.v_proj": (32, 64),
    "self_attn.o_proj": (64, 64),
    "mlp.gate_proj": (96, 64),
    "mlp.up_proj": (96, 64),
    "mlp.down_proj": (64, 96),
}
LINEARS = [f"model.layers.{i}.{name}" for i in range(2) for name in SHAPES]


def tensors(dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def matrix(n: int, k: int) -> Tensor:
        return (torch.randn(n, k, generator=generator) * 0.1).to(dtype)

    out = {"model.embed_tokens.weight": matrix(40, 64), "model.norm.weight": torch.ones(64)}
    for i in range(2):
        for name, shape in SHAPES.items():
            out[f"model.layers.{i}.{name}.weight"] = matrix(*shape)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            out[f"model.layers.{i}.{norm}.weight"] = torch.ones(64, dtype=dtype)
        out[f"model.layers.{i}.self_attn.q_proj.bias"] = matrix(1, 64)[0]
    return out


def write(folder: Path, values: dict[str, Tensor], config: dict[str, Any] = CONFIG) -> Path:
    folder.mkdir()
    save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "generation_config.json").write_text('{"temperature": 0.6}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "model.py").write_text("raise SystemExit")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "float", tensors())


def left_over(source: Path) -> list[str]:
    return sorted(entry.name for entry in source.parent.iterdir())


def dequantize_by_formula(files: dict[str, Tensor], name: str, group: int) -> Tensor:
    """W[n, k] = (q[k, n] - z[k/G, n]) · s[k/G, n]; nibble i of a word is element order[i]."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def unpack(words: Tensor) -> Tensor:
        out = torch.empty(words.shape[0], words.shape[1] * 8)
        for i, element in enumerate(order):
            out[:, element::8] = ((words.long() >> (4 * i)) & 15).float()
        return out

    q, z = unpack(files[f"{name}.qweight"]), unpack(files[f"{name}.qzeros"])
    s = files[f"{name}.scales"].float()
    rows = torch.arange(q.shape[0]) // group
    return ((q - z[rows]) * s[rows]).t()


def test_every_linear_of_a_block_follows_the_published_layout(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "awq"
    round_to_awq(source, out, group_size=32)
    before, after = tensors(), load_file(str(out / "model.safetensors"))
    packed = {f"{n}.{part}" for n in LINEARS for part in ("qweight", "qzeros", "scales")}
    kept = {name for name in before if name.removesuffix(".weight") not in LINEARS}
    assert set(after) == packed | kept
    for name in kept:
        assert torch.equal(after[name], before[name]) and after[name].dtype == before[name].dtype
    for name in LINEARS:
        n, k = before[f"{name}.weight"].shape
        assert list(after[f"{name}.qweight"].shape) == [k, n // 8]
        assert list(after[f"{name}.qzeros"].shape) == [k // 32, n // 8]
        assert after[f"{name}.scales"].dtype == torch.float16
        got = dequantize_by_formula(after, name, 32)
        assert torch.equal(got, dequantize(round_to_nearest(before[f"{name}.weight"], 4, 32)))


def test_config_says_what_other_engines_read_and_keeps_the_rest(
    source: Path, tmp_path: Path
) -> None:
    round_to_awq(source, tmp_path / "awq", group_size=32)
    config = json.loads((tmp_path / "awq" / "config.json").read_text())
    assert config.pop("quantization_config") == {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 32,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": None,
    }
    assert config == CONFIG
    copied = sorted(entry.name for entry in (tmp_path / "awq").iterdir())
    assert copied == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_our_own_reader_and_that_of_transformers_take_the_folder(
    source: Path, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    out = tmp_path / "awq"
    round_to_awq(source, out, group_size=-1)
    config = load_config(out)
    assert config.quantization is not None and config.quantization.group_size == -1
    with Checkpoint.open(out) as checkpoint:
        for name in LINEARS:
            parts = {p: checkpoint.tensor(f"{name}.{p}") for p in ("qweight", "qzeros", "scales")}
            weight = from_awq_gemm(parts, 4, -1, name)
            assert weight.group_size == SHAPES[name.split(".", 3)[3]][1]
    theirs = transformers.AutoConfig.from_pretrained(out, local_files_only=True)
    parsed = transformers.AwqConfig.from_dict(dict(theirs.quantization_config))
    assert (parsed.bits, parsed.group_size) == (4, -1)


def test_shards_and_their_index_hold_the_same_tensors(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_to_awq(source, tmp_path / "one", group_size=32)
    monkeypatch.setattr(convert, "SHARD_BYTES", 16_000)
    round_to_awq(source, tmp_path / "many", group_size=32)
    files = sorted(entry.name for entry in (tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    whole = load_file(str(tmp_path / "one" / "model.safetensors"))
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.values())
    with Checkpoint.open(tmp_path / "many") as checkpoint:
        assert checkpoint.names() == set(whole) == set(index["weight_map"])
        assert all(torch.equal(checkpoint.tensor(name), whole[name]) for name in whole)


def test_rows_not_in_eights_stay_in_floating_point(tmp_path: Path) -> None:
    values = tensors()
    for i in range(2):
        for name, shape in (
            ("gate_proj", (90, 64)),
            ("up_proj", (90, 64)),
            ("down_proj", (64, 90)),
        ):
            values[f"model.layers.{i}.mlp.{name}.weight"] = torch.ones(shape)
    source = write(tmp_path / "odd", values, {**CONFIG, "intermediate_size": 90})
    out = tmp_path / "awq"
    round_to_awq(source, out, group_size=-1)
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert config["modules_to_not_convert"] == ["mlp.gate_proj", "mlp.up_proj"]
    after = load_file(str(out / "model.safetensors"))
    assert "model.layers.1.mlp.up_proj.weight" in after
    assert "model.layers.1.mlp.down_proj.qweight" in after


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (64, r"group_size=64 of model\.layers\.0\.mlp\.down_proj .* K=96; use 32 or -1"),
        (128, r"group_size=128 of .* K=64; use 32 or -1"),
        (0, "group_size=0: expected 128, 64, 32"),
        (-2, "group_size=-2: expected"),
        (3, "group_size=3: expected"),
    ],
)
def test_a_group_that_does_not_fit_is_refused_with_one_that_does(
    source: Path, tmp_path: Path, group: int, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        round_to_awq(source, tmp_path / "awq", group_size=group)
    assert left_over(source) == ["float"]
    round_to_awq(source, tmp_path / "awq", group_size=32)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_named_and_nothing_is_left(tmp_path: Path, value: float) -> None:
    values = tensors()
    values["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    source = write(tmp_path / "float", values)
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        round_to_awq(source, tmp_path / "awq", group_size=32)
    assert left_over(source) == ["float"]


def test_a_missing_linear_is_named(tmp_path: Path) -> None:
    values = tensors()
    del values["model.layers.1.self_attn.v_proj.weight"]
    source = write(tmp_path / "float", values)
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.self_attn\.v_proj\.weight"):
        round_to_awq(source, tmp_path / "awq", group_size=32)


def test_an_output_that_exists_is_not_touched(source: Path, tmp_path: Path) -> None:
    for name in ("folder", "file", "link"):
        out = tmp_path / name
        if name == "folder":
            out.mkdir()
        elif name == "file":
            out.write_text("mine")
        else:
            out.symlink_to(tmp_path / "nowhere")
        with pytest.raises(ArgumentError, match="exists already"):
            round_to_awq(source, out, group_size=32)
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_quantized_source_is_refused(source: Path, tmp_path: Path) -> None:
    round_to_awq(source, tmp_path / "awq", group_size=32)
    with pytest.raises(ArgumentError, match="quantized already"):
        round_to_awq(tmp_path / "awq", tmp_path / "again", group_size=32)


def test_a_disk_that_refuses_ends_in_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "save_file", full)
    with pytest.raises(TinyChatError, match=r"cannot write .*awq: No space left on device"):
        round_to_awq(source, tmp_path / "awq", group_size=32)
    assert left_over(source) == ["float"]


def test_a_pipe_in_the_place_of_a_tokenizer_is_refused(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "tokenizer.model")
    with pytest.raises(CheckpointError, match=r"tokenizer\.model is not a regular file"):
        round_to_awq(source, tmp_path / "awq", group_size=32)
    assert left_over(source) == ["float"]


def test_progress_reaches_its_end(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    round_to_awq(source, tmp_path / "awq", 32, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(tensors()) + 1))
    assert {total for _, total in seen} == {len(tensors())}

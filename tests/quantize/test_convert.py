"""A float folder becomes a standard low-bit folder, whole or not at all; the rest of it is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import tinychat
from tests.kernels.compare import relative_error
from tests.quantize.tiny_runs import (
    CALIBRATION,
    files_of,
    logits,
    quantize_tiny,
    same,
    tensors_of,
    tiny_llama,
    token_ids,
)
from tests.test_injection import byte_tokenizer
from tests.tiny_models import write_tiny
from tinychat.cache import KVCache
from tinychat.checkpoint import Checkpoint
from tinychat.config import load_config
from tinychat.errors import ArgumentError, CheckpointError, NotEnoughMemoryError, TinyChatError
from tinychat.kernels.reference import ReferenceOps
from tinychat.loader import load_model
from tinychat.nn.linear import LinearLowBit
from tinychat.nn.rope import position_tables
from tinychat.quantize import output, run, workspace
from tinychat.quantize.block import BlockView
from tinychat.quantize.convert import Result
from tinychat.quantize.format import dequantize
from tinychat.quantize.gptq import Order
from tinychat.quantize.grid import Grid
from tinychat.quantize.layer import Settings, new_statistics, quantize_block
from tinychat.quantize.rtn import round_to_nearest
from tinychat.quantize.run import Progress

pytest.importorskip("transformers", reason="it makes the tiny models and reads config.json")

LINEARS = [
    f"model.layers.{i}.{name}"
    for i in range(2)
    for name in (
        *(f"self_attn.{role}_proj" for role in "qkvo"),
        *(f"mlp.{role}_proj" for role in ("gate", "up", "down")),
    )
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "float")


def left_over(tmp_path: Path) -> list[str]:
    return sorted(entry.name for entry in tmp_path.iterdir())


def config_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return values


def rewrite(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


# --- formats

FORMATS = {
    "awq": ("awq", {}, "awq gemm", False),
    "rtn": ("rtn", {}, "awq gemm", False),
    "gptq": ("gptq", {}, "awq gemm", False),
    "awq+gptq": ("awq+gptq", {}, "awq gemm", False),
    "awq whole rows": ("awq", {"group_size": -1}, "awq gemm", False),
    "gptq act-order": ("gptq", {"act_order": True}, "gptq gptq_v2", True),
    "awq+gptq act-order unclipped": (
        "awq+gptq",
        {"act_order": True, "clip": False},
        "gptq gptq_v2",
        True,
    ),
    "symmetric": ("awq", {"symmetric": True}, "gptq gptq_v2", False),
    "2 bits": ("awq+gptq", {"bits": 2}, "gptq gptq_v2", False),
    "3 bits": ("awq", {"bits": 3}, "gptq gptq_v2", False),
    "3 bits act-order": ("gptq", {"bits": 3, "act_order": True}, "gptq gptq_v2", True),
    "8 bits symmetric": ("rtn", {"bits": 8, "symmetric": True}, "gptq gptq_v2", False),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_settings_choose_the_format(name: str, source: Path, tmp_path: Path) -> None:
    import transformers

    method, options, form, moved = FORMATS[name]
    result = quantize_tiny(source, tmp_path / "out", method, **options)
    assert (result.format, result.kept_float) == (form, [])
    bits, group = options.get("bits", 4), options.get("group_size", 32)
    stored = config_of(result.out)["quantization_config"]
    if form == "awq gemm":
        assert stored == {
            "quant_method": "awq",
            "bits": 4,
            "group_size": group,
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": None,
        }
        theirs: Any = transformers.AwqConfig.from_dict(dict(stored))
    else:
        assert stored == {
            "quant_method": "gptq",
            "bits": bits,
            "group_size": group,
            "desc_act": moved,
            "sym": options.get("symmetric", False),
            "lm_head": False,
            "checkpoint_format": "gptq_v2",
        }
        theirs = transformers.GPTQConfig.from_dict(dict(stored))
    assert (theirs.bits, theirs.group_size) == (bits, group)
    read = transformers.AutoConfig.from_pretrained(result.out, local_files_only=True)
    assert read.quantization_config["bits"] == bits

    tensors = tensors_of(result.out)
    natural = torch.arange(64, dtype=torch.int32) // 32
    orders = [tensors[name] for name in tensors if name.endswith("q_proj.g_idx")]
    assert all(torch.equal(order, natural) != moved for order in orders)
    with tinychat.load(result.out, threads=1, lm_head="fp16") as llm:
        # q, k and v have one order of inputs, so that they run as one matrix.
        assert isinstance(llm.engine.model.blocks[0].attention.qkv, LinearLowBit)
    exact = logits(result.out, weights="fp32")
    assert relative_error(logits(result.out, lm_head="fp16"), exact) < 0.05  # int8 activations


# Names whose blocks differ in structure; -> (keys that make some linear fit, kept in float by AWQ).
STRUCTURES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "llama": ({}, []),
    "llama-mha-tied": ({}, []),
    "llama-mqa-odd": ({"hidden_size": 96, "intermediate_size": 104}, []),
    "llama-biased": ({}, []),
    "llama-head-dim": ({}, []),
    "llama-gelu": ({}, []),
    "mistral-window": ({}, []),
    "qwen3": ({"head_dim": 32}, []),
    "falcon-7b": ({}, []),
    "falcon-7b-biased": ({}, []),
    "falcon-40b": ({}, []),
    "falcon-11b": ({}, ["mlp.dense_h_to_4h"]),
    "falcon-rw": ({}, []),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_family_is_written_read_and_run(name: str, tmp_path: Path) -> None:
    changes, kept = STRUCTURES[name]
    source = write_tiny(tmp_path / "float", name, **changes)
    expected = logits(source, weights="fp32")
    # In 8 bits what comes out is the float model but for rounding: scales were folded where they
    # belong, and rows are in the order of the file.
    fine = quantize_tiny(source, tmp_path / "8", "awq+gptq", bits=8, group_size=-1)
    assert relative_error(logits(fine.out, weights="fp32"), expected) < 0.03
    coarse = quantize_tiny(source, tmp_path / "4", "awq", group_size=-1)
    exact = logits(coarse.out, weights="fp32")
    assert coarse.kept_float == kept
    assert 0.05 < relative_error(exact, expected) < 0.6
    for result in (fine, coarse):
        exact = logits(result.out, weights="fp32")
        assert relative_error(logits(result.out, lm_head="fp16"), exact) < 0.05
    assert config_of(coarse.out)["quantization_config"]["modules_to_not_convert"] == (kept or None)


# --- the parts of a folder


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
    quantize_tiny(source, out, "rtn")
    before, after = tensors_of(source), load_file(str(out / "model.safetensors"))
    packed = {f"{n}.{part}" for n in LINEARS for part in ("qweight", "qzeros", "scales")}
    kept = {name for name in before if name.removesuffix(".weight") not in LINEARS}
    assert set(after) == packed | kept
    for name in kept:
        assert torch.equal(after[name], before[name]) and after[name].dtype == torch.float16
    for name in LINEARS:
        n, k = before[f"{name}.weight"].shape
        assert list(after[f"{name}.qweight"].shape) == [k, n // 8]
        assert list(after[f"{name}.qzeros"].shape) == [k // 32, n // 8]
        assert after[f"{name}.scales"].dtype == torch.float16
        got = dequantize_by_formula(after, name, 32)
        assert torch.equal(got, dequantize(round_to_nearest(before[f"{name}.weight"], Grid(4, 32))))


def test_awq_differs_from_plain_rounding_in_norms_and_codes(source: Path, tmp_path: Path) -> None:
    plain = tensors_of(quantize_tiny(source, tmp_path / "rtn", "rtn").out)
    awq = tensors_of(quantize_tiny(source, tmp_path / "awq", "awq").out)
    assert set(plain) == set(awq)
    for part in ("layernorm", "q_proj.qweight", "o_proj.qweight", "down_proj.scales"):
        assert not same(plain, awq, part), part
    for part in ("embed_tokens", "model.norm", "lm_head"):
        assert same(plain, awq, part), part
    assert all(awq[name].dtype == torch.float16 for name in awq if "norm" in name)


def test_the_rest_of_the_folder_is_kept_and_code_is_not(tmp_path: Path) -> None:
    own = {"some_key_of_its_own": [1, 2], "vocab_size": 300}
    own["auto_map"] = {"AutoModelForCausalLM": "modeling_llama.Model"}
    source = tiny_llama(tmp_path / "float", **own)
    byte_tokenizer(source)
    (source / "generation_config.json").write_text('{"temperature": 0.6}')
    (source / "chat_template.jinja").write_text("{{ messages }}")
    (source / "special_tokens_map.json").write_text("{}")
    for name in ("modeling_llama.py", "tokenizer.py", "pytorch_model.bin", "README.md"):
        (source / name).write_text("raise SystemExit")
    before = config_of(source)
    result = quantize_tiny(source, tmp_path / "out", calibration=["some text"] * 3)
    after = config_of(result.out)
    del after["quantization_config"], before["auto_map"]  # it would point to the code
    assert after == before | {"torch_dtype": "float16"}
    copied = (
        "chat_template.jinja",
        "generation_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    )
    made = ("config.json", "model.safetensors", "quantization.json")
    assert left_over(result.out) == sorted((*copied, *made))
    for name in copied:
        assert (result.out / name).read_bytes() == (source / name).read_bytes()
    assert left_over(tmp_path) == ["float", "out"]
    with tinychat.load(result.out, threads=1) as llm:
        assert llm.tokenizer is not None


def test_shards_and_their_index_hold_the_same_tensors(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize_tiny(source, tmp_path / "one", "rtn")
    monkeypatch.setattr(output, "SHARD_BYTES", 16_000)
    quantize_tiny(source, tmp_path / "many", "rtn")
    files = sorted(entry.name for entry in (tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    whole = tensors_of(tmp_path / "one")
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.values())
    assert set(index["weight_map"]) == set(whole)
    assert same(tensors_of(tmp_path / "many"), whole)
    # And shards are read: the folder that was sharded is a source like any other.
    assert torch.equal(logits(tmp_path / "many"), logits(tmp_path / "one"))


def test_a_sharded_source(source: Path, tmp_path: Path) -> None:
    tensors = tensors_of(source)
    parts = [dict(list(tensors.items())[i::2]) for i in range(2)]
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    (sharded / "config.json").write_bytes((source / "config.json").read_bytes())
    for number, part in enumerate(parts):
        save_file(part, sharded / f"{number}.safetensors")
    index = {name: f"{number}.safetensors" for number, part in enumerate(parts) for name in part}
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    quantize_tiny(source, tmp_path / "a")
    quantize_tiny(sharded, tmp_path / "b")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_sources_of_other_precisions(dtype: torch.dtype, tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "float", "llama-biased", dtype)
    result = quantize_tiny(source, tmp_path / "out", bits=8, group_size=-1)
    expected = logits(source, weights="fp32")
    assert relative_error(logits(result.out, weights="fp32"), expected) < 0.03
    before, after = tensors_of(source), tensors_of(result.out)
    assert torch.equal(after["lm_head.weight"], before["lm_head.weight"].half())
    assert {t.dtype for t in after.values()} == {torch.float16, torch.int32}
    assert config_of(result.out)["torch_dtype"] == "float16"


def test_what_float16_cannot_hold_stays_as_it_is(tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "float", "llama", torch.float32)
    tensors = tensors_of(source)
    tensors["lm_head.weight"][7, 7] = 1e6
    rewrite(source, tensors)
    after = tensors_of(quantize_tiny(source, tmp_path / "out", "rtn", group_size=-1).out)
    assert torch.equal(after["lm_head.weight"], tensors["lm_head.weight"])
    assert after["model.embed_tokens.weight"].dtype == torch.float16


def test_rows_that_do_not_fill_words_stay_float_and_are_listed(tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "float", intermediate_size=90)
    expected = logits(source, weights="fp32")
    # AWQ packs along N: gate and up have 90 rows.
    awq = quantize_tiny(source, tmp_path / "awq", group_size=-1)
    kept = ["mlp.gate_proj", "mlp.up_proj"]
    assert awq.kept_float == kept
    assert config_of(awq.out)["quantization_config"]["modules_to_not_convert"] == kept
    after = tensors_of(awq.out)
    assert "model.layers.1.mlp.up_proj.weight" in after
    assert "model.layers.1.mlp.down_proj.qweight" in after
    # GPTQ packs along K, too: down has 90 columns, which no group of 32 divides.
    for method in ("rtn", "awq", "gptq", "awq+gptq"):
        gptq = quantize_tiny(source, tmp_path / f"{method} 8", method, bits=8)
        assert gptq.kept_float == ["mlp.down_proj", *kept]
        assert [report.input for report in gptq.layers[0]] == ["attention", "heads"]
        assert relative_error(logits(gptq.out, weights="fp32"), expected) < 0.03
        assert "model.layers.0.mlp.down_proj.weight" in tensors_of(gptq.out)


def test_rows_of_which_none_fills_words(tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "float", "llama-mqa-odd")
    with pytest.raises(ArgumentError, match="no linear of this model has rows in multiples of 8"):
        quantize_tiny(source, tmp_path / "out", group_size=-1)
    assert left_over(tmp_path) == ["float"]


def test_scales_of_an_activation_are_written_where_readers_divide_by_them(tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "float", "falcon-7b")
    name = "transformer.h.1.mlp.act.scales"
    out = quantize_tiny(source, tmp_path / "awq").out
    tensors = tensors_of(out)
    assert tensors[name].dtype == torch.float16 and len(tensors[name].unique()) > 9
    exact = logits(out, weights="fp32")
    assert relative_error(exact, logits(source, weights="fp32")) < 0.4
    del tensors[name]
    rewrite(out, tensors)
    assert relative_error(logits(out, weights="fp32"), exact) > 0.03
    # Readers of GPTQ files know no such tensor.
    other = quantize_tiny(source, tmp_path / "gptq", bits=8)
    assert name not in tensors_of(other.out)
    assert relative_error(logits(other.out), logits(source, weights="fp32")) < 0.04


# --- what is recorded


def test_the_record_says_what_made_the_weights(source: Path, tmp_path: Path) -> None:
    result = quantize_tiny(source, tmp_path / "out", "awq+gptq", bits=3, seed=5, sequential=True)
    record = json.loads((result.out / "quantization.json").read_text())
    assert set(record) == {
        *("tinychat", "method", "grid", "clip", "order", "sequential"),
        *("calibration", "seed", "layers"),
    }
    assert record["tinychat"] == tinychat.__version__
    assert record["method"] == "awq+gptq" and record["sequential"] and record["clip"]
    assert record["grid"] == {"bits": 3, "group_size": 32, "symmetric": False}
    assert record["order"] == {"damping": 0.01, "static_groups": True}
    text = record["calibration"]
    assert (text["source"], text["sequences"], text["tokens"]) == ("tokens", 8, 192)
    assert len(text["sha256"]) == 64 and record["seed"] == 5
    assert len(record["layers"]) == 2
    for layer, reports in zip(record["layers"], result.layers, strict=True):
        assert [group["input"] for group in layer] == ["attention", "heads", "mlp", "inner"]
        for group, report in zip(layer, reports, strict=True):
            assert group["loss"] == report.loss and group["loss_rtn"] == report.loss_rtn
            assert 0 < group["loss"] < group["loss_rtn"] < 0.2
            assert group["fallback"] is None and 0 <= group["alpha"] <= 1
    other = quantize_tiny(source, tmp_path / "b", calibration=token_ids(seed=1))
    assert other.calibration is not None and other.calibration.sha256 != text["sha256"]
    plain = quantize_tiny(source, tmp_path / "c", "rtn")
    record = json.loads((plain.out / "quantization.json").read_text())
    assert plain.calibration is None and record["calibration"] is None
    assert all(group["loss"] == group["loss_rtn"] for layer in record["layers"] for group in layer)


@pytest.mark.parametrize("method", ["awq", "gptq", "awq+gptq"])
def test_two_runs_write_the_same_bytes(method: str, source: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        quantize_tiny(source, tmp_path / name, method)
    files = files_of(tmp_path / "a")
    assert files == files_of(tmp_path / "b")
    assert str(tmp_path).encode() not in b"".join(files.values())


def test_every_step_inside_a_layer_is_told(source: Path, tmp_path: Path) -> None:
    def steps(method: str, **options: Any) -> list[tuple[int, str]]:
        told: list[tuple[int, str]] = []
        quantize_tiny(
            source,
            tmp_path / method,
            method,
            on_step=lambda *step: told.append(step),
            progress=lambda p: told.append((p.layer, "done")),
            **options,
        )
        return told

    rounding = [f"rounding {role}" for role in ("q", "k", "v", "o", "gate", "up", "down")]
    scales = [f"scales of {roles}" for roles in ("q, k, v", "o", "gate, up", "down")]
    one = ["observing", *scales, *rounding, "done"]
    assert steps("awq") == [(layer, what) for layer in (1, 2) for what in one]
    assert steps("rtn") == [(layer, what) for layer in (1, 2) for what in (*rounding, "done")]
    one = ["observing", *rounding]
    assert steps("gptq") == [
        *((1, what) for what in (*one, "passing through", "done")),
        *((2, what) for what in (*one, "done")),
    ]


def test_progress_after_every_layer(source: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    started: list[Any] = []
    result = quantize_tiny(source, tmp_path / "out", progress=seen.append, on_start=started.append)
    assert [start.calibration for start in started] == [result.calibration]
    assert [(p.layer, p.layers, p.resumed, p.notes) for p in seen] == [
        (1, 2, False, ()),
        (2, 2, False, ()),
    ]
    for one, reports in zip(seen, result.layers, strict=True):
        assert one.loss == pytest.approx(sum(r.loss for r in reports) / 4)
        assert one.loss < one.loss_rtn and one.peak_memory > 1 << 20
    assert seen[0].seconds_left is not None and seen[1].seconds_left == 0


# --- calibrating on what quantized blocks give


def test_sequential_is_calibrated_on_what_is_read_back(source: Path, tmp_path: Path) -> None:
    """Layer 1 of the sequential run, made again from the written layer 0."""
    for method in ("gptq", "awq"):
        apart = tensors_of(
            quantize_tiny(source, tmp_path / f"{method}-float", method, sequential=False).out
        )
        out = quantize_tiny(source, tmp_path / method, method, sequential=True).out
        written = tensors_of(out)
        assert same(apart, written, "layers.0.") and not same(apart, written, "layers.1.")

        config = load_config(source)
        ops, rows = ReferenceOps(), [torch.tensor(ids, dtype=torch.int32) for ids in CALIBRATION]
        with Checkpoint.open(out) as checkpoint:
            model, _ = load_model(checkpoint, load_config(out), ops, 64, weights="fp32")
            hidden = []
            for ids in rows:
                cache = KVCache(config, 64, torch.float32)
                stream = ops.embedding(ids, model.embedding)
                start = torch.zeros(1, dtype=torch.int32)
                model.blocks[0](stream, start, cache.layer(0))
                hidden.append(stream)
        settings = Settings(method, Grid(4, 32), True, Order())
        with Checkpoint.open(source) as checkpoint:
            positions = position_tables(config, 64)
            view = BlockView(checkpoint, config, 1, positions, torch.device("cpu"))
            seen = new_statistics(view, settings)
            view.observe(hidden, set(range(len(hidden))), seen)
            weights, _ = quantize_block(view, seen, settings)
        for name, weight in weights.items():
            found = dequantize_by_formula(written, name, 32)
            off = (found != dequantize(weight)).float().mean()
            # Sums of another order may round a rare weight the other way.
            assert off < 0.01, name


def test_gptq_is_sequential_unless_told_otherwise(source: Path, tmp_path: Path) -> None:
    for method, expected in (("gptq", True), ("awq", False), ("awq+gptq", False)):
        out = quantize_tiny(source, tmp_path / method, method).out
        assert json.loads((out / "quantization.json").read_text())["sequential"] is expected


# --- refusals


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (64, r"group_size=64 of model\.layers\.0\.mlp\.down_proj .* K=96; use 32 or -1"),
        (128, r"group_size=128 of .* K=64; use 32 or -1"),
        (16, "group_size=16: expected 128, 64, 32"),
        (0, "group_size=0: expected 128, 64, 32"),
        (-2, "group_size=-2: expected"),
        (3, "group_size=3 of "),
    ],
)
def test_a_group_that_does_not_fit_is_refused_with_one_that_does(
    source: Path, tmp_path: Path, group: int, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        quantize_tiny(source, tmp_path / "out", "rtn", group_size=group)
    assert left_over(tmp_path) == ["float"]
    quantize_tiny(source, tmp_path / "out", "rtn")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "method='best' is not one of awq, gptq, rtn, awq"),
        ({"bits": 5}, "bits=5: expected 2, 3, 4 or 8"),
        ({"damping": 0.0}, "damping=0.0: expected more than 0"),
        ({"damping": 1.0}, "damping=1.0: expected more than 0"),
        ({"damping": float("nan")}, "damping=nan"),
        ({"tokens": 0}, "tokens=0: expected at least 1"),
        ({"device": "tpu"}, "device='tpu' is not auto, cpu, cuda"),
    ],
)
def test_settings_that_are_refused(
    source: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        quantize_tiny(source, tmp_path / "out", **options)
    assert left_over(tmp_path) == ["float"]


@pytest.mark.parametrize("method", ["rtn", "awq", "gptq"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_named_and_there_is_no_output(
    source: Path, tmp_path: Path, value: float, method: str
) -> None:
    tensors = tensors_of(source)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    rewrite(source, tensors)
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.up_proj has weights"):
        quantize_tiny(source, tmp_path / "out", method)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_loaded_is_refused_before_any_work(
    source: Path, tmp_path: Path
) -> None:
    tensors = tensors_of(source)
    taken = tensors.pop("model.layers.1.self_attn.v_proj.weight")
    rewrite(source, tensors)
    with pytest.raises(CheckpointError, match=r"missing: 'model\.layers\.1\.self_attn\.v_proj"):
        quantize_tiny(source, tmp_path / "out", "rtn")
    tensors["model.layers.1.self_attn.v_proj.weight"] = taken
    # Norms of q and k: a model whose block is another than the one we would calibrate.
    tensors["model.layers.1.self_attn.q_norm.weight"] = torch.ones(16)
    rewrite(source, tensors)
    with pytest.raises(CheckpointError, match=r"not used by this architecture: .*q_norm\.weight"):
        quantize_tiny(source, tmp_path / "out", "rtn")
    assert left_over(tmp_path) == ["float"]


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
            quantize_tiny(source, out, "rtn")
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_quantized_source_is_refused(source: Path, tmp_path: Path) -> None:
    quantize_tiny(source, tmp_path / "awq", "rtn")
    with pytest.raises(ArgumentError, match="quantized already"):
        quantize_tiny(tmp_path / "awq", tmp_path / "again", "rtn")


@pytest.mark.parametrize("method", ["rtn", "awq"])
def test_a_pipe_in_the_place_of_a_tokenizer_is_refused(
    source: Path, tmp_path: Path, method: str
) -> None:
    os.mkfifo(source / "tokenizer.model")
    with pytest.raises(TinyChatError, match=r"tokenizer\.model is not a regular file"):
        quantize_tiny(source, tmp_path / "out", method)
    assert not (tmp_path / "out").exists()


# --- files that cannot be read


def test_what_cannot_be_read_is_not_said_to_be_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = source / "special_tokens_map.json"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=rf"^{link} cannot be read: No such file"):
        quantize_tiny(source, tmp_path / "out", "rtn")
    link.unlink()

    def damaged(path: Path) -> None:
        raise SafetensorError("header too small")

    monkeypatch.setattr(workspace, "load_file", damaged)
    with pytest.raises(CheckpointError, match=r"layer-00000\.safetensors cannot be read: header"):
        quantize_tiny(source, tmp_path / "out", "rtn")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file of Linux")
def test_a_file_that_fails_while_it_is_copied_is_named(source: Path, tmp_path: Path) -> None:
    (source / "chat_template.jinja").symlink_to("/proc/self/mem")  # opens, and has no first byte
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja cannot be read: Input/output"):
        quantize_tiny(source, tmp_path / "out", "rtn")
    assert not (tmp_path / "out").exists()


# --- memory


@pytest.mark.parametrize("method", ["rtn", "awq", "gptq", "awq+gptq"])
def test_too_little_memory_is_said_with_both_numbers_before_any_work(
    source: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "available_bytes", lambda: 1000)
    with pytest.raises(NotEnoughMemoryError, match=r"needs \d+ MB and 0 MB are free"):
        quantize_tiny(source, tmp_path / "out", method)
    assert left_over(tmp_path) == ["float"]
    monkeypatch.setattr(run, "available_bytes", lambda: None)  # where it is not known
    assert isinstance(quantize_tiny(source, tmp_path / "out", method), Result)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("out of memory")])
def test_a_trial_that_fails_is_too_little_memory(
    source: Path, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(run, "trial", fail)
    message = r"ran out while trying its largest matrix; quantizing this model needs \d+ MB"
    with pytest.raises(NotEnoughMemoryError, match=message):
        quantize_tiny(source, tmp_path / "out", "gptq")
    assert left_over(tmp_path) == ["float"]


def test_memory_that_runs_out_half_way_keeps_the_layers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 73."""
    save, finished = run.Workspace.save, []

    def fail(self: Any, layer: int, *rest: Any) -> None:
        if layer == 1:
            torch.empty(1 << 60, dtype=torch.uint8)
        save(self, layer, *rest)

    monkeypatch.setattr(run.Workspace, "save", fail)
    with pytest.raises(
        NotEnoughMemoryError, match=r"while quantizing \(.*fewer calibration tokens"
    ):
        quantize_tiny(source, tmp_path / "out")
    assert left_over(tmp_path) == [".out.quantizing", "float"]
    monkeypatch.undo()
    quantize_tiny(source, tmp_path / "out", progress=lambda p: finished.append(p.resumed))
    assert finished == [True, False]

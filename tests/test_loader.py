"""Loading: every problem in one message, and the forms that weights come in and end up as."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny_models import TINY, StateDict
from tinychat.cache import KVCache
from tinychat.config import ModelConfig, parse_config
from tinychat.engine import Engine
from tinychat.errors import ArgumentError, CheckpointError
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.loader import describe, grouped_rows, load_model
from tinychat.memory import weight_bytes
from tinychat.nn.head import REFINED_FROM, RefinedHead
from tinychat.nn.linear import Linear, LinearLowBit, StackedLinear
from tinychat.quantize.awq_format import to_awq_gemm
from tinychat.quantize.format import LowBitWeight, dequantize
from tinychat.quantize.gptq_format import to_gptq
from tinychat.quantize.grid import Grid
from tinychat.quantize.rtn import round_to_nearest
from tinychat.sampler import SamplingParams

OPS = ReferenceOps()
LLAMA = {**TINY["llama"], "hidden_size": 128, "intermediate_size": 256}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm", "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "checkpoint_format": "gptq_v2"}
ACT = "transformer.h.1.mlp.act.scales"


def tensors(config: ModelConfig, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights under the checkpoint's names."""
    generator = torch.Generator().manual_seed(5)
    made = {}
    for role, name in config.tensors.items():
        if role == "act" or (role == "head" and config.tie_word_embeddings):
            continue
        for layer in range(config.num_layers if "{i}" in name else 1):
            norm = role.endswith("norm")
            shape = (config.hidden_size,) if norm else config.matrix_shape(role)
            value = torch.randn(shape, generator=generator) * shape[-1] ** -0.5
            made[f"{name.format(i=layer)}.weight"] = (value + norm).to(dtype)
    return made


def greedy(state: dict[str, Tensor], config: ModelConfig, **options: str) -> list[int]:
    model, _ = load_model(StateDict(state), config, OPS, 64, **options)  # type: ignore[arg-type]
    engine = Engine(model, KVCache(config, 64, torch.float32), (), config.vocab_size)
    params = SamplingParams(temperature=0, max_new_tokens=8)
    return engine.generate([5, 6, 7], params).token_ids


def test_missing_tensors_come_in_one_message() -> None:
    config = parse_config(LLAMA)
    weights = tensors(config)
    names = [name for name in weights if "q_proj" in name] + ["model.norm.weight"]
    for name in names:
        del weights[name]
    with pytest.raises(CheckpointError) as caught:
        load_model(StateDict(weights), config, OPS, 64)
    assert "3 tensors are missing" in str(caught.value)
    assert all(name in str(caught.value) for name in names)


def test_unused_tensors_come_in_one_message_with_a_cap() -> None:
    config = parse_config(LLAMA)
    weights = tensors(config)
    for index in range(30):
        weights[f"model.extra.{index:02}"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as caught:
        load_model(StateDict(weights), config, OPS, 64)
    assert "30 tensors are not used" in str(caught.value)
    assert "model.extra.19" in str(caught.value) and "model.extra.20" not in str(caught.value)
    assert "and 10 more" in str(caught.value)


def test_missing_and_unused_tensors_come_together() -> None:
    """Another naming scheme is one error: what was looked for beside what is there."""
    config = parse_config(LLAMA)
    sound = tensors(config)
    weights = {
        name.replace("mlp.", "ffn.").replace("norm.weight", "norm.scale"): value
        for name, value in sound.items()
    } | {"x\n\x1b[2J": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        load_model(StateDict(weights), config, OPS, 64)
    message = str(caught.value)
    missing, unused = message.split("; ")
    assert missing.startswith("11 tensors are missing: ")
    assert "'model.layers.1.mlp.down_proj.weight'" in missing and "'model.norm.weight'" in missing
    assert unused.startswith("12 tensors are not used by this architecture: ")
    assert "'model.layers.1.ffn.down_proj.weight'" in unused and "'model.norm.scale'" in unused
    assert "q_proj" not in message and message.isprintable()

    many = {f"layers.{number:02}": torch.zeros(1) for number in range(25)}
    with pytest.raises(CheckpointError, match=r"; 25 tensors .*'layers\.19' and 5 more$"):
        load_model(
            StateDict({"model.norm.weight": sound["model.norm.weight"], **many}), config, OPS, 64
        )
    load_model(StateDict(sound), config, OPS, 64)


@pytest.mark.parametrize(
    ("method", "part"),
    [
        *[(AWQ, part) for part in ("qzeros", "scales", "qweight")],
        *[(GPTQ, part) for part in ("qzeros", "scales", "qweight")],
        ({**GPTQ, "desc_act": True}, "g_idx"),
    ],
)
def test_a_packed_module_that_lacks_a_part(method: dict[str, Any], part: str) -> None:
    config = parse_config({**LLAMA, "quantization_config": method})
    packed, _ = (awq_tensors if method is AWQ else gptq_tensors)(config)
    name = f"model.layers.1.mlp.up_proj.{part}"
    value = packed.pop(name)
    wanted = name.replace("qweight", "weight")
    with pytest.raises(CheckpointError, match=rf"1 tensor is missing: '{re.escape(wanted)}'"):
        load_model(StateDict(packed), config, OPS, 64)
    load_model(StateDict({**packed, name: value}), config, OPS, 64)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("qweight", lambda value: value[:, :-1]),
        ("qweight", lambda value: value[:-1]),
        ("qweight", lambda value: value.t().contiguous()),
        ("qzeros", lambda value: value[:-1]),
        ("qzeros", lambda value: value[:, :-1]),
        ("scales", lambda value: value[:, :-1]),
        ("scales", lambda value: torch.full_like(value, float("nan"))),
        ("scales", lambda value: value.double()),
    ],
)
def test_packed_parts_that_disagree_never_reach_a_kernel(
    part: str, change: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 9: refused while the first layer is read."""
    config = parse_config({**LLAMA, "quantization_config": AWQ})
    packed, _ = awq_tensors(config)
    name = f"model.layers.0.self_attn.q_proj.{part}"
    ops = CpuOps(threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(CpuOps, "pack", lambda self, weight: pytest.fail("a kernel was called"))
        with pytest.raises(CheckpointError, match=r"q_proj"):
            load_model(StateDict({**packed, name: change(packed[name])}), config, ops, 64)
    load_model(StateDict(packed), config, ops, 64)


@pytest.mark.parametrize("group", [0, -2, 1, 3, 2**31, 128, 96])
def test_a_group_size_that_the_tensors_do_not_have(group: int) -> None:
    """Case 9: most by the config, the rest by the shapes; -1 would be the whole row."""
    config = parse_config({**LLAMA, "quantization_config": AWQ})
    packed, _ = awq_tensors(config)
    with pytest.raises(CheckpointError, match=r"group_size|scales|qzeros"):
        wrong = parse_config({**LLAMA, "quantization_config": {**AWQ, "group_size": group}})
        load_model(StateDict(packed), wrong, OPS, 64)
    load_model(StateDict(packed), config, OPS, 64)


def test_an_index_that_only_repeats_the_order_may_be_left_out() -> None:
    config = parse_config({**LLAMA, "quantization_config": GPTQ})
    packed, _ = gptq_tensors(config)
    for name in [name for name in packed if name.endswith("g_idx")]:
        del packed[name]
    load_model(StateDict(packed), config, OPS, 64)


def test_an_index_beside_awq_is_not_ignored() -> None:
    config = parse_config({**LLAMA, "quantization_config": AWQ})
    packed, _ = awq_tensors(config)
    packed["model.layers.0.mlp.up_proj.g_idx"] = torch.zeros(128, dtype=torch.int32)
    with pytest.raises(CheckpointError, match=r"1 tensor is not used .*up_proj\.g_idx"):
        load_model(StateDict(packed), config, OPS, 64)


def test_tensors_that_no_model_reads_are_ignored() -> None:
    config = parse_config({**LLAMA, "tie_word_embeddings": True})
    weights = tensors(config)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    load_model(StateDict(weights), config, OPS, 64)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "model.layers.1.mlp.up_proj.weight",
            torch.zeros(128, 256),
            r"up_proj.*\[128, 256\].*\[256, 128\]",
        ),
        ("model.norm.weight", torch.zeros(127), r"model.norm.*\[127\].*\[128\]"),
        ("model.norm.weight", torch.full((128,), float("nan")), r"model.norm.weight holds NaN"),
        (
            "model.embed_tokens.weight",
            torch.zeros(131, 128, dtype=torch.int32),
            r"embed_tokens.*int32",
        ),
    ],
)
def test_wrong_tensors_are_named(name: str, value: Tensor, message: str) -> None:
    config = parse_config(LLAMA)
    weights = tensors(config)
    weights[name] = value
    with pytest.raises(CheckpointError, match=message):
        load_model(StateDict(weights), config, OPS, 64)


def test_tied_matrix_under_the_heads_name_alone() -> None:
    config = parse_config({**LLAMA, "tie_word_embeddings": True})
    weights = tensors(config)
    expected = greedy(weights, config)
    weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")
    assert greedy(weights, config) == expected


def test_float_parts_stay_where_they_are() -> None:
    config = parse_config(LLAMA)
    weights = tensors(config)
    model, summary = load_model(StateDict(weights), config, OPS, 64)
    qkv = model.blocks[0].attention.qkv
    assert isinstance(qkv, StackedLinear)
    query = weights["model.layers.0.self_attn.q_proj.weight"]
    assert qkv.parts[0].weight.data_ptr() == query.data_ptr()
    assert (summary.weights, summary.head) == ("float32", "float32")


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_at_load(bits: int) -> None:
    config = parse_config(LLAMA)
    weights = tensors(config)
    model, summary = load_model(StateDict(weights), config, OPS, 64, weights=f"int{bits}")
    assert (summary.weights, summary.head) == (f"int{bits} g128", "int8 g128")
    down = model.blocks[1].mlp.down
    assert isinstance(down, LinearLowBit)
    expected = dequantize(
        round_to_nearest(weights["model.layers.1.mlp.down_proj.weight"], Grid(bits, 128))
    )
    assert torch.equal(dequantize(OPS.unpack(down.weight)), expected)


@pytest.mark.parametrize("kind", ["reference", "cpu"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("vocabulary", "weights", "lm_head", "form"),
    [
        (REFINED_FROM, "int4", "auto", "int4+4 g128"),
        (REFINED_FROM, "int8", "auto", "int4+4 g128"),
        (REFINED_FROM - 1, "int4", "auto", "int8 g128"),
        (REFINED_FROM, "auto", "auto", "float32"),
        (REFINED_FROM, "bf16", "auto", "bfloat16"),
        (REFINED_FROM, "int4", "int8", "int8 g128"),
        (REFINED_FROM, "int4", "fp16", "float32"),
        (131, "int4", "int4+4", "int4+4 g128"),
        (131, "auto", "int4+4", "int4+4 g128"),
    ],
)
def test_forms_of_a_head(
    vocabulary: int, weights: str, lm_head: str, form: str, tied: bool, kind: str
) -> None:
    ops = OPS if kind == "reference" else CpuOps(threads=1)
    config = parse_config({**LLAMA, "vocab_size": vocabulary, "tie_word_embeddings": tied})
    state = tensors(config)
    options = {"weights": weights, "lm_head": lm_head}
    model, summary = load_model(StateDict(state), config, ops, 64, **options)
    assert summary.head == form
    if isinstance(model.head, RefinedHead):
        coarse, fine = model.head.coarse, model.head.fine
        both = sum(dequantize(ops.unpack(part.weight)) for part in (coarse, fine))
        matrix = state["model.embed_tokens.weight" if tied else "lm_head.weight"]
        assert (both - matrix).norm() < 0.008 * matrix.norm()  # int8: 0.006
        unread = fine.nbytes // 2 if vocabulary == REFINED_FROM else 0
        assert model.head.nbytes == coarse.nbytes + fine.nbytes - unread
        if kind == "cpu" and weights != "auto":
            estimate = weight_bytes(config, weights, lm_head)
            assert estimate == pytest.approx(model.nbytes + unread, rel=0.05)
    ops.close()


def test_a_bias_goes_to_the_coarse_part() -> None:
    """And a head in two stages is as good as an int8 one."""
    config = parse_config(LLAMA)
    state = tensors(config)
    state["lm_head.bias"] = torch.randn(config.vocab_size)
    x = torch.randn(3, config.hidden_size)
    model, _ = load_model(StateDict(state), config, OPS, 64, lm_head="int4+4")
    assert isinstance(model.head, RefinedHead)
    assert model.head.coarse.bias is not None and model.head.fine.bias is None
    expected = x @ state["lm_head.weight"].T + state["lm_head.bias"]
    assert (model.logits(x) - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("lm_head", ["int8", "int4+4"])
def test_a_head_that_is_not_finite(lm_head: str) -> None:
    config = parse_config(LLAMA)
    state = tensors(config)
    state["lm_head.weight"][77, 7] = float("nan")
    with pytest.raises(CheckpointError, match="lm_head has weights that are NaN, infinite"):
        load_model(StateDict(state), config, OPS, 64, lm_head=lm_head)


Tensors = dict[str, Tensor]


def packed_tensors(
    config: ModelConfig,
    write: Callable[[LowBitWeight], Tensors],
    head: bool = False,
    orders: dict[str, int] | None = None,
) -> tuple[Tensors, Tensors]:
    """A low-bit checkpoint, and the float checkpoint with the same values.

    Args:
        orders: a part of a module's name -> seed of the order that its columns were sorted by.
    """
    stored = config.quantization
    assert stored is not None
    packed, floats = {}, tensors(config)
    for name, value in floats.items():
        prefix = name.removesuffix(".weight")
        if value.ndim == 2 and ("layers" in name or ".h." in name or (head and "head" in name)):
            group = value.shape[1] if stored.group_size == -1 else stored.group_size
            weight = round_to_nearest(value, Grid(stored.bits, group))
            for seed in [seed for part, seed in (orders or {}).items() if part in name]:
                generator = torch.Generator().manual_seed(seed)
                order = torch.randperm(value.shape[1], generator=generator).int()
                weight = replace(weight, order=order)
            packed |= {f"{prefix}.{part}": t for part, t in write(weight).items()}
            floats[name] = dequantize(weight)
        else:
            packed[name] = value
    return packed, floats


def awq_tensors(config: ModelConfig) -> tuple[Tensors, Tensors]:
    return packed_tensors(config, to_awq_gemm)


def gptq_tensors(
    config: ModelConfig, head: bool = False, orders: dict[str, int] | None = None
) -> tuple[Tensors, Tensors]:
    return packed_tensors(config, to_gptq, head, orders)


def test_awq_equals_its_dequantized_weights() -> None:
    config = parse_config({**LLAMA, "quantization_config": AWQ})
    packed, floats = awq_tensors(config)
    expected = greedy(floats, parse_config(LLAMA))
    assert greedy(packed, config, lm_head="fp16") == expected
    assert greedy(packed, config, weights="fp32") == expected


def test_awq_bias_and_grouped_rows() -> None:
    config = parse_config({**TINY["falcon-40b"], "hidden_size": 128, "quantization_config": AWQ})
    packed, floats = awq_tensors(config)
    bias = torch.randn(config.num_heads * config.head_dim + 2 * 2 * config.head_dim)
    for weights in (packed, floats):
        weights["transformer.h.0.self_attention.query_key_value.bias"] = bias
    plain = parse_config({**TINY["falcon-40b"], "hidden_size": 128})
    assert greedy(packed, config, lm_head="fp16") == greedy(floats, plain)


def test_impossible_weights_are_refused() -> None:
    config = parse_config({**LLAMA, "quantization_config": AWQ})
    packed, _ = awq_tensors(config)
    with pytest.raises(ArgumentError, match="int8"):
        load_model(StateDict(packed), config, OPS, 64, weights="int8")
    with pytest.raises(CheckpointError, match="no quantization_config"):
        load_model(StateDict(packed), parse_config(LLAMA), OPS, 64)


@pytest.mark.parametrize("kind", ["reference", "cpu"])
def test_low_bit_and_float_side_by_side(kind: str) -> None:
    """Parts of one input that differ run beside each other, and the step is not recorded."""
    ops = OPS if kind == "reference" else CpuOps(threads=1)
    config = parse_config({**LLAMA, "quantization_config": AWQ})
    packed, floats = awq_tensors(config)
    for name in ("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj"):
        for part in ("qweight", "qzeros", "scales"):
            del packed[f"{name}.{part}"]
        packed[f"{name}.weight"] = floats[f"{name}.weight"]
    model, summary = load_model(StateDict(packed), config, ops, 64)
    qkv = model.blocks[0].attention.qkv
    assert isinstance(qkv, StackedLinear) and not qkv.native and not model.can_record
    assert [type(part) for part in qkv.parts] == [LinearLowBit, Linear, LinearLowBit]
    assert isinstance(model.blocks[1].attention.qkv, LinearLowBit)
    assert (summary.weights, describe(qkv)) == ("int4 g64", "int4 g64 and float32")
    if kind == "reference":
        assert greedy(packed, config, lm_head="fp16") == greedy(floats, parse_config(LLAMA))
    rounded, _ = load_model(StateDict(packed), config, ops, 64, weights="int4")
    qkv = rounded.blocks[0].attention.qkv
    assert isinstance(qkv, StackedLinear) and describe(qkv) == "int4 g64 and int4 g128"


@pytest.mark.parametrize("kind", ["reference", "cpu"])
@pytest.mark.parametrize("apart", [False, True], ids=["one order", "orders of their own"])
def test_act_order(apart: bool, kind: str) -> None:
    config = parse_config({**LLAMA, "quantization_config": {**GPTQ, "desc_act": True}})
    orders = {"q_proj": 1, "k_proj": 2 if apart else 1, "v_proj": 1, "down_proj": 3}
    packed, floats = gptq_tensors(config, orders=orders)
    expected = greedy(floats, parse_config(LLAMA))
    assert greedy(packed, config, weights="fp32") == expected
    ops = OPS if kind == "reference" else CpuOps(threads=1)
    model, _ = load_model(StateDict(packed), config, ops, 64)
    qkv, down = model.blocks[0].attention.qkv, model.blocks[1].mlp.down
    assert isinstance(qkv, StackedLinear if apart else LinearLowBit)
    assert isinstance(down, LinearLowBit) and down.order is not None
    assert model.can_record == (kind == "cpu" and not apart)
    if kind == "reference":
        assert greedy(packed, config, lm_head="fp16") == expected


def test_grouped_rows_of_an_act_order_matrix() -> None:
    values = {**TINY["falcon-40b"], "hidden_size": 128}
    config = parse_config({**values, "quantization_config": {**GPTQ, "desc_act": True}})
    packed, floats = gptq_tensors(config, orders={"query_key_value": 1, "dense_4h": 2})
    expected = greedy(floats, parse_config(values))
    assert greedy(packed, config, weights="fp32") == expected
    assert greedy(packed, config, lm_head="fp16") == expected


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("vocabulary", [136, REFINED_FROM])
@pytest.mark.parametrize("lm_head", ["auto", "int4", "int4+4", "int8", "fp16"])
def test_a_quantized_head(lm_head: str, vocabulary: int, tied: bool) -> None:
    values = {**LLAMA, "vocab_size": vocabulary}
    config = parse_config({**values, "quantization_config": {**GPTQ, "lm_head": True}})
    packed, floats = gptq_tensors(config, head=True)
    if tied:  # A head that was quantized is a matrix of its own, whatever config.json says.
        config = replace(config, tie_word_embeddings=True)
    model, summary = load_model(StateDict(packed), config, OPS, 64, lm_head=lm_head)
    head = model.head
    forms = {"auto": "int4 g64", "int4": "int4 g64", "int8": "int8 g128", "fp16": "float32"}
    assert summary.head == {**forms, "int4+4": "int4+4 g128"}[lm_head]
    if isinstance(head, LinearLowBit) and head.weight.bits == 4:
        assert torch.equal(dequantize(OPS.unpack(head.weight)), floats["lm_head.weight"])
    else:
        assert greedy(packed, config, lm_head="fp16") == greedy(floats, parse_config(values))


def test_an_activation_that_awq_scaled() -> None:
    """act(x) / scales, then a matrix that was multiplied by them: the model as it was."""
    values = {**TINY["falcon-7b"], "hidden_size": 128}
    config = parse_config(values)
    weights = tensors(config)
    expected = greedy(weights, config)
    numbers = torch.rand(config.intermediate_size, generator=torch.Generator().manual_seed(6))
    scales = numbers * 3 + 0.2
    weights["transformer.h.1.mlp.dense_4h_to_h.weight"] *= scales
    assert greedy(weights, config) != expected
    assert greedy({**weights, ACT: scales}, config) == expected


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-45])
def test_an_activation_scale_that_cannot_be(value: float) -> None:
    config = parse_config({**TINY["falcon-7b"], "hidden_size": 128})
    scales = torch.ones(config.intermediate_size)
    scales[7] = value
    with pytest.raises(CheckpointError, match=re.escape(ACT)):
        load_model(StateDict({**tensors(config), ACT: scales}), config, OPS, 64)
    with pytest.raises(CheckpointError, match=r"act\.scales has shape \[3\]"):
        load_model(StateDict({**tensors(config), ACT: torch.ones(3)}), config, OPS, 64)


def test_an_activation_scale_where_a_family_has_none_is_not_ignored() -> None:
    config = parse_config(LLAMA)
    weights = {**tensors(config), "model.layers.0.mlp.act.scales": torch.ones(256)}
    with pytest.raises(CheckpointError, match="1 tensor is not used"):
        load_model(StateDict(weights), config, OPS, 64)


def test_grouped_rows_sorts_heads() -> None:
    config = parse_config(TINY["falcon-40b"])  # 4 query heads over 2 kv heads of 16
    heads = grouped_rows(config)[::16] // 16
    assert heads.tolist() == [0, 1, 4, 5, 2, 6, 3, 7]


@pytest.mark.parametrize("weights", ["int4", "int8", "fp16"])
def test_estimate_is_close_to_what_is_loaded(weights: str) -> None:
    config = parse_config(LLAMA)
    ops = CpuOps(threads=1)
    model, _ = load_model(StateDict(tensors(config)), config, ops, 64, weights=weights)
    assert weight_bytes(config, weights, "auto") == pytest.approx(model.nbytes, rel=0.05)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("group", [32, 128, -1])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_estimate_of_low_bit_checkpoints(bits: int, group: int, head: bool) -> None:
    stored = {**GPTQ, "bits": bits, "group_size": group, "lm_head": head}
    values = {**LLAMA, "vocab_size": 160, "num_key_value_heads": 4, "quantization_config": stored}
    config = parse_config(values)
    packed, _ = gptq_tensors(config, head)
    model, summary = load_model(StateDict(packed), config, CpuOps(threads=1), 64)
    assert summary.weights == f"int{bits} g{256 if group == -1 else group}"
    assert weight_bytes(config, "auto", "auto") == pytest.approx(model.nbytes, rel=0.05)


def test_progress_is_monotonic_and_ends_full() -> None:
    config = parse_config(LLAMA)
    seen: list[tuple[int, int]] = []
    load_model(StateDict(tensors(config)), config, OPS, 64, progress=lambda *at: seen.append(at))
    assert seen == [(i, 9) for i in range(1, 10)]

"""A block as quantizers see it, for every tiny model: it computes what the decoder's block does,
and its structure (groups, what takes up scales, pieces, orders of rows) is true of that arithmetic.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kernels.compare import relative_error
from tests.tiny_models import TINY, StateDict, tiny_config, tiny_reference
from tinychat.cache import KVCache
from tinychat.config import ModelConfig, parse_config
from tinychat.kernels.reference import ReferenceOps
from tinychat.loader import load_model
from tinychat.nn.rope import position_tables
from tinychat.quantize.block import INPUTS, BlockView, in_file_order
from tinychat.quantize.observe import Seen

pytest.importorskip("transformers", reason="it makes the tiny models")

TOKENS, LAYER = 23, 1
CPU = torch.device("cpu")
# Float32 against float32 in another order of summation.
CLOSE = 1e-5


@cache
def tensors_of(name: str) -> dict[str, Tensor]:
    return {k: v.detach() for k, v in tiny_reference(name).state_dict().items()}


def view_of(name: str, config: ModelConfig | None = None) -> BlockView:
    config = config or tiny_config(name)
    positions = position_tables(config, TOKENS)
    return BlockView(StateDict(tensors_of(name)), config, LAYER, positions, CPU)


def stream(name: str, tokens: int = TOKENS) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(tokens, tiny_config(name).hidden_size, generator=generator)


def observed(view: BlockView, hidden: Tensor) -> dict[str, Seen]:
    seen = {group.input: Seen(group.matrices[0].weight.shape[1], 0, CPU) for group in view.groups()}
    view.observe([hidden], {0}, seen)
    return seen


def random_scales(k: int, seed: int) -> Tensor:
    return torch.randn(k, generator=torch.Generator().manual_seed(seed)).exp()


# --- what it computes


@pytest.mark.parametrize("name", TINY)
def test_computes_what_the_decoder_s_block_does(name: str) -> None:
    config, x = tiny_config(name), stream(name)
    model, _ = load_model(
        StateDict(tensors_of(name)), config, ReferenceOps(), TOKENS, weights="fp32"
    )
    start = torch.zeros(1, dtype=torch.int32)
    expected = x.clone()
    cache = KVCache(config, TOKENS, torch.float32)
    model.blocks[LAYER](expected, start, cache.layer(LAYER))
    view = view_of(name)
    kept = x.clone()
    assert torch.allclose(view(x), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(x, kept), "the hidden states that are given stay as they are"
    hidden = [x]
    view.observe(hidden, set(), {})
    (out,) = hidden
    assert torch.equal(out, view(x))


@pytest.mark.parametrize("name", TINY)
def test_observing_sees_the_inputs_of_every_group(name: str) -> None:
    view, x = view_of(name), stream(name)
    seen = observed(view, x)
    (attention_rows,) = seen["attention"].rows
    assert torch.allclose(attention_rows, view.ops.norm(x, view.block.attention_norm))
    (heads,), (inner,) = seen["heads"].rows, seen["inner"].rows
    attended = x + view.block.attention.out(heads)
    if view.config.parallel:
        mlp_in = view.ops.norm(x, view.block.mlp_norm)
    else:
        mlp_in = view.ops.norm(attended, view.block.mlp_norm)
    if "mlp" in seen:
        assert torch.allclose(seen["mlp"].rows[0], mlp_in, rtol=1e-4, atol=1e-4)
    out = attended + view.block.mlp.down(inner)
    assert torch.allclose(out, view(x), rtol=1e-4, atol=1e-4)
    # Only the sequences that are asked for are kept, and all of them are counted.
    fresh = {key: Seen(one.rows[0].shape[1], 0, CPU) for key, one in seen.items()}
    view.observe([x, x[:5], x[:9]], {1}, fresh)
    assert all(one.tokens == TOKENS + 14 and len(one.rows) == 1 for one in fresh.values())
    assert torch.allclose(fresh["inner"].rows[0], inner[:5], rtol=1e-4, atol=1e-5)


# --- groups


@pytest.mark.parametrize("name", TINY)
def test_groups_cover_every_matrix_once(name: str) -> None:
    view = view_of(name)
    groups = view.groups()
    roles = [matrix.role for group in groups for matrix in group.matrices]
    assert sorted(roles) == sorted(tiny_config(name).block_matrices())
    inputs = [group.input for group in groups]
    assert inputs == [key for key in INPUTS if key in inputs]
    assert ("mlp" not in inputs) == view.config.shared_norm
    for group in groups:
        assert len({matrix.weight.shape[1] for matrix in group.matrices}) == 1
        for matrix in group.matrices:
            assert view.matrices[matrix.role] is matrix
            shape = tiny_config(name).block_matrices()[matrix.role]
            assert tuple(matrix.weight.shape) == shape and matrix.weight.dtype == torch.float32


@pytest.mark.parametrize("name", TINY)
def test_scales_that_every_group_takes_up_leave_the_output(name: str) -> None:
    view, x = view_of(name), stream(name)
    before = view(x)
    for seed, group in enumerate(view.groups()):
        assert group.absorb is not None
        scales = group.share(random_scales(group.matrices[0].weight.shape[1], seed))
        exact = group.absorb(scales)
        # A float16 norm cannot take up any scale, but one close to it.
        assert torch.allclose(exact, scales, rtol=2**-10)
        for matrix in group.matrices:
            matrix.linear.weight *= exact
        assert relative_error(view(x), before) < CLOSE, group.input
    for norm in view._norms().values():
        assert torch.equal(norm.weight.half().float(), norm.weight)
        assert norm.kind == "rms" or norm.bias is not None


@pytest.mark.parametrize("name", TINY)
def test_scales_reach_what_the_group_reads(name: str) -> None:
    """After folding, the input is divided by the scales, and nothing else is."""
    view, x = view_of(name), stream(name)
    before = observed(view, x)
    for seed, group in enumerate(view.groups()):
        assert group.absorb is not None
        scales = group.share(random_scales(group.matrices[0].weight.shape[1], seed))
        exact = group.absorb(scales)
        for matrix in group.matrices:
            matrix.linear.weight *= exact
        before[group.input].divide(exact)
        for key, after in observed(view, x).items():
            assert relative_error(after.rows[0], before[key].rows[0]) < CLOSE, (group.input, key)


def test_query_heads_of_one_value_head_share_their_scales() -> None:
    view = view_of("llama")  # 4 heads of 16, 2 of values
    (heads,) = [group for group in view.groups() if group.input == "heads"]
    shared = heads.share(torch.arange(64.0)).view(2, 2, 16)
    assert torch.equal(shared[:, 0], shared[:, 1])
    assert torch.equal(shared[:, 0], torch.arange(64.0).view(2, 2, 16).mean(1))


def test_an_activation_takes_no_scales_up_where_the_file_cannot_carry_them() -> None:
    for name, taken in (("falcon-rw", False), ("llama", True)):
        positions = position_tables(tiny_config(name), TOKENS)
        source, config = StateDict(tensors_of(name)), tiny_config(name)
        view = BlockView(source, config, LAYER, positions, CPU, activation_scales=False)
        assert [group.absorb is not None for group in view.groups()] == [True, True, True, taken]


def test_scales_that_the_activation_has_already_are_kept() -> None:
    name, config = "falcon-7b", tiny_config("falcon-7b")
    scales = random_scales(256, 8)
    tensors = {**tensors_of(name), "transformer.h.1.mlp.act.scales": scales}
    view = BlockView(StateDict(tensors), config, LAYER, position_tables(config, TOKENS), CPU)
    assert torch.allclose(view.floats()["transformer.h.1.mlp.act.scales"], scales)
    x, before = stream(name), view(stream(name))
    (both,) = [group for group in view.groups() if group.input == "attention"]
    assert both.piece is not None
    rows = observed(view, x)["attention"].rows[0]
    stacked = torch.cat([matrix.weight for matrix in both.matrices])
    assert relative_error(x + both.piece(stacked[None], rows)[0], before) < CLOSE
    inner = view.groups()[-1]
    assert inner.absorb is not None
    more = random_scales(256, 9)
    inner.matrices[0].linear.weight *= inner.absorb(more)
    assert relative_error(view(x), before) < CLOSE
    found = view.floats()["transformer.h.1.mlp.act.scales"]
    assert torch.allclose(found, scales * more, rtol=2**-10)


def test_relu_lets_scales_through() -> None:
    values: dict[str, Any] = {**TINY["falcon-rw"], "activation": "relu"}
    view, x = view_of("falcon-rw", parse_config(values)), stream("falcon-rw")
    before = view(x)
    inner = view.groups()[-1]
    assert inner.absorb is not None
    exact = inner.absorb(random_scales(256, 3))
    inner.matrices[0].linear.weight *= exact
    assert not any(name.endswith(".scales") for name in view.floats())
    assert relative_error(view(x), before) < CLOSE


# --- pieces


@pytest.mark.parametrize("name", TINY)
def test_pieces_are_parts_of_the_block_and_candidates_do_not_mix(name: str) -> None:
    view, x = view_of(name), stream(name)
    seen = observed(view, x)
    for group in view.groups():
        if group.piece is None:
            assert group.input in ("heads", "inner")
            continue
        rows = seen[group.input].rows[0]
        stacked = torch.cat([matrix.weight for matrix in group.matrices])
        expected = torch.zeros(TOKENS, view.config.hidden_size)
        if group.input == "attention":
            attention = view.block.attention
            heads = attention.heads(rows, None, view._start(), view._cache(TOKENS))
            attention.out(heads, residual=expected)
        if group.input == "mlp" or view.config.shared_norm:
            view.block.mlp.down(view.block.mlp.inner(rows), residual=expected)
        noise = torch.randn(3, *stacked.shape, generator=torch.Generator().manual_seed(1))
        candidates = torch.cat([stacked[None], stacked * (1 + 0.3 * noise)])
        together = group.piece(candidates, rows)
        assert together.shape == (4, TOKENS, view.config.hidden_size)
        assert relative_error(together[0], expected) < CLOSE
        for one in range(4):
            alone = group.piece(candidates[one : one + 1], rows)
            assert relative_error(together[one : one + 1], alone) < CLOSE
        assert relative_error(together[1], together[0]) > 0.01


# --- rows


@pytest.mark.parametrize("name", TINY)
def test_file_order_is_the_checkpoint_s(name: str) -> None:
    view = view_of(name)
    for matrix in view.matrices.values():
        stored = tensors_of(name)[f"{matrix.name}.weight"]
        assert torch.equal(in_file_order(matrix, matrix.weight), stored)
        if matrix.rows is not None:
            assert torch.equal(stored[matrix.rows], matrix.weight)
            bias = matrix.linear.bias
            if bias is not None:
                expected = tensors_of(name)[f"{matrix.name}.bias"]
                assert torch.equal(in_file_order(matrix, bias), expected)


@pytest.mark.parametrize("name", TINY)
def test_what_stays_float_has_the_checkpoint_s_names_and_values(name: str) -> None:
    floats, stored = view_of(name).floats(), tensors_of(name)
    matrices = {f"{matrix.name}.weight" for matrix in view_of(name).matrices.values()}
    layer = next(iter(matrices)).split(".1.")[0] + ".1."
    assert set(floats) == {n for n in stored if n.startswith(layer)} - matrices
    assert all(torch.equal(floats[n], stored[n]) for n in floats)


@pytest.mark.parametrize("name", TINY)
def test_rows_of_v_may_be_clipped_and_those_of_q_and_k_never(name: str) -> None:
    config, view = tiny_config(name), view_of(name)
    for role, matrix in view.matrices.items():
        clipped = torch.zeros(len(matrix.weight), dtype=torch.bool)
        clipped[matrix.clipped] = True
        if role in ("q", "k"):
            assert not clipped.any()
        elif role == "qkv":
            # In the file: for each kv head its query heads, a key head, and last its value head.
            file = in_file_order(matrix, clipped).view(config.num_kv_heads, -1, config.head_dim)
            assert file[:, -1].all() and not file[:, :-1].any()
        else:
            assert clipped.all()


def test_the_checkpoint_s_own_tensors_stay_as_they_are() -> None:
    for name in ("llama-biased", "falcon-7b-biased", "qwen3-biased-tied"):
        kept = {key: tensor.clone() for key, tensor in tensors_of(name).items()}
        view = view_of(name)
        for seed, group in enumerate(view.groups()):
            assert group.absorb is not None
            exact = group.absorb(
                group.share(random_scales(group.matrices[0].weight.shape[1], seed))
            )
            for matrix in group.matrices:
                matrix.linear.weight *= exact
        assert all(torch.equal(tensors_of(name)[key], kept[key]) for key in kept)

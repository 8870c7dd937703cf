"""Rounding against the textbook formula, and on groups that are flat, tiny or one-sided."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError
from tinychat.quantize.format import BITS, dequantize
from tinychat.quantize.grid import Grid, default_group_size
from tinychat.quantize.rtn import round_to_nearest


def textbook(weight: Tensor, bits: int, group: int) -> Tensor:
    """Asymmetric rounding in float32 with an exact scale, as papers write it."""
    x = weight.float().reshape(-1, group)
    low, high = x.min(1, keepdim=True)[0], x.max(1, keepdim=True)[0]
    scale = ((high - low) / (2**bits - 1)).clamp(min=1e-8)
    zero = (-low / scale).round()
    codes = ((x / scale).round() + zero).clamp(0, 2**bits - 1)
    return ((codes - zero) * scale).reshape(weight.shape)


def gaussian(n: int, k: int, seed: int = 0) -> Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed))


def relative_error(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [32, 128, 256])
def test_error_is_that_of_the_textbook_formula(bits: int, group: int) -> None:
    weight = gaussian(64, 256)
    ours = relative_error(dequantize(round_to_nearest(weight, Grid(bits, group))), weight)
    theirs = relative_error(textbook(weight, bits, group), weight)
    # The scale's rounding to float16 is the only difference, at most 2**-11 of a weight.
    assert abs(ours - theirs) <= 2**-11 + 0.005 * theirs


def test_every_weight_is_within_half_a_step() -> None:
    weight = gaussian(40, 96) * 0.03
    rounded = round_to_nearest(weight, Grid(4, 32))
    step = rounded.scales.float().repeat_interleave(32, dim=1)
    # A float16 scale may be 2**-11 short, which moves the end of the range by that share of it.
    slack = weight.abs().max() * 2**-10
    assert bool(((dequantize(rounded) - weight).abs() <= step / 2 + slack).all())
    assert int(rounded.codes.max()) <= 15 and int(rounded.zeros.max()) <= 15


@pytest.mark.parametrize("name", ["TinyStories-656K", "stories260K/hf"])
def test_trained_weights_round_like_the_textbook(data: Path, name: str) -> None:
    tensors = load_file(str(data / "models" / name / "model.safetensors"))
    linears = {key: t for key, t in tensors.items() if "_proj" in key}
    assert len(linears) >= 14
    for key, weight in linears.items():
        group = default_group_size(weight.shape[1])
        ours = dequantize(round_to_nearest(weight, Grid(4, group), key))
        error = relative_error(textbook(weight, 4, group), weight.float())
        assert abs(relative_error(ours, weight.float()) - error) <= 0.01 * error, key


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [0.0, 0.37, -2.5, 1e-4, -60000.0])
def test_a_group_of_one_value_is_exact(bits: int, value: float) -> None:
    weight = torch.full((2, 64), value).half()
    weight[1, 32:] = 1.0
    assert torch.equal(dequantize(round_to_nearest(weight, Grid(bits, 32))), weight.float())


def test_groups_at_the_foot_of_float16_stay_close() -> None:
    for weight in (gaussian(4, 32) * 1e-9, gaussian(4, 32) * 1e-6):
        rounded = round_to_nearest(weight, Grid(4, 32))
        assert bool((rounded.scales > 0).all())
        # On the grid of 2**-24 a range of 15 steps may come out 15 half grid steps short.
        off = (dequantize(rounded) - weight).abs()
        assert float(off.max()) <= 15 * 2**-25 + float(rounded.scales.max()) / 2


def test_a_one_sided_group_keeps_zero_in_its_range() -> None:
    weight = gaussian(4, 32).abs() + 3
    rounded = round_to_nearest(torch.cat([weight, -weight]), Grid(4, 32))
    assert rounded.zeros.flatten().tolist() == [0] * 4 + [15] * 4
    off = (dequantize(rounded)[:4] - weight).abs()
    assert bool((off <= 0.51 * rounded.scales[:4].float()).all())


def test_rows_do_not_depend_on_each_other_or_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = gaussian(37, 64).to(torch.bfloat16)
    whole = round_to_nearest(weight, Grid(4, 32))
    monkeypatch.setattr("tinychat.quantize.rtn._CHUNK", 64 * 5)
    chunked = round_to_nearest(weight, Grid(4, 32))
    single = round_to_nearest(weight[20:21], Grid(4, 32))
    for part in ("codes", "scales", "zeros"):
        assert torch.equal(getattr(whole, part), getattr(chunked, part))
        assert torch.equal(getattr(whole, part)[20:21], getattr(single, part))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3e6])
def test_weights_without_a_scale_are_refused_by_name(value: float) -> None:
    weight = gaussian(8, 64)
    weight[5, 40] = value
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.up_proj has weights"):
        round_to_nearest(weight, Grid(4, 32), "model.layers.1.mlp.up_proj")


@pytest.mark.parametrize(("bits", "group"), [(0, 32), (1, 32), (5, 32), (64, 32)])
def test_bits_that_are_not_offered_are_refused(bits: int, group: int) -> None:
    with pytest.raises(ArgumentError, match=f"bits={bits}"):
        round_to_nearest(gaussian(8, 64), Grid(bits, group))


@pytest.mark.parametrize("group", [3, 128, 2**31])
def test_groups_that_do_not_divide_are_refused(group: int) -> None:
    with pytest.raises(ArgumentError, match=f"group_size={group} .* K=64 of q; use 64"):
        round_to_nearest(gaussian(8, 64), Grid(4, group), "q")


def test_whole_rows_are_one_group_each() -> None:
    weight = gaussian(8, 91)
    rounded = round_to_nearest(weight, Grid(4, -1))
    assert rounded.group_size == 91 and rounded.scales.shape == rounded.zeros.shape == (8, 1)
    assert torch.equal(dequantize(rounded), dequantize(round_to_nearest(weight, Grid(4, 91))))


def test_limits_clip_before_the_grid_is_fitted() -> None:
    weight = gaussian(6, 96)
    most = weight.view(6, 3, 32).abs().amax(dim=-1)
    limits = most * torch.linspace(0.55, 1.0, 18).view(6, 3)
    bounds = limits.repeat_interleave(32, dim=1)
    clipped = round_to_nearest(weight.clamp(-bounds, bounds), Grid(4, 32))
    limited = round_to_nearest(weight, Grid(4, 32), limits=limits)
    assert torch.equal(dequantize(limited), dequantize(clipped))
    unlimited = round_to_nearest(weight, Grid(4, 32), limits=most)
    assert torch.equal(dequantize(unlimited), dequantize(round_to_nearest(weight, Grid(4, 32))))
    assert bool((limited.scales <= unlimited.scales).all())


def test_default_group_size() -> None:
    sizes = {4096: 128, 11008: 128, 576: 64, 96: 32, 172: 172, 1: 1}
    assert {k: default_group_size(k) for k in sizes} == sizes

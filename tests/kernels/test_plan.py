"""Recording: nothing runs before `plan.run()`, which sees its tensors as they are by then."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from tinychat.errors import ArgumentError, KernelError, TinyChatError
from tinychat.kernels import Norm, cards, dispatch
from tinychat.kernels.cpu import CpuOps
from tinychat.quantize.format import BITS
from tinychat.quantize.grid import Grid
from tinychat.quantize.rtn import round_to_nearest


def test_a_plan_equals_the_ops_one_by_one(native: CpuOps) -> None:
    torch.manual_seed(0)
    weights = [
        native.pack(round_to_nearest(torch.randn((96, 96)) / 20, Grid(bits, 32))) for bits in BITS
    ]
    x, scale = torch.randn((1, 96)), torch.rand(96)
    order, norm = torch.randperm(96).int(), Norm("rms", torch.rand(96), 1e-5)

    def step() -> torch.Tensor:
        stream = native.norm(x, norm)
        for _ in range(10):
            h = stream
            for weight in weights:
                h = native.matmul(h, weight, norm=norm, order=order)
            native.matmul(native.activation(h, "silu", scale), weights[0], residual=stream)
        return stream

    with native.record() as plan:
        out = step()
    assert len(plan) == 1 + 10 * (len(weights) + 2)
    for seed in range(3):
        torch.manual_seed(seed)
        x.copy_(torch.randn((1, 96)))
        plan.run()
        replayed = out.clone()
        assert replayed.isfinite().all()
        assert torch.equal(replayed, step())


def test_ops_are_noted_and_not_run(native: CpuOps) -> None:
    x = torch.ones((2, 8))
    with native.record() as plan:
        out = native.activation(x, "relu")
        out.fill_(7)
    assert torch.equal(out, torch.full((2, 8), 7.0))
    plan.run()
    assert torch.equal(out, x)


def test_a_plan_keeps_its_tensors_alive(native: CpuOps) -> None:
    packed = native.pack(round_to_nearest(torch.eye(32), Grid(8, 32)))
    with native.record() as plan:
        x, stream = torch.full((1, 32), 3.0), torch.full((1, 32), 1.0)
        order, scale = torch.arange(32, dtype=torch.int32), torch.full((32,), 2.0)
        norm = Norm("layer", torch.ones(32), 1e-5, torch.full((32,), 6.0))
        native.matmul(native.activation(x, "relu", scale), packed, torch.zeros(32), residual=stream)
        out = native.matmul(stream, packed, norm=norm, order=order)
    kept = weakref.ref(packed.data)
    del x, packed, order, scale, norm
    gc.collect()
    torch.full((1, 32), 9.0)  # would take over the memory
    assert kept() is not None
    plan.run()
    torch.testing.assert_close(stream, torch.full((1, 32), 7.0), rtol=0.01, atol=0)
    torch.testing.assert_close(out, torch.full((1, 32), 6.0), rtol=0.01, atol=0)  # its bias
    del plan, out
    gc.collect()
    assert kept() is None


def test_the_scratch_of_a_plan_is_its_largest(native: CpuOps) -> None:
    torch.manual_seed(1)
    small = native.pack(round_to_nearest(torch.randn((16, 32)), Grid(4, 32)))
    large = native.pack(round_to_nearest(torch.randn((16, 2048)), Grid(4, 128)))
    x, y = torch.randn((40, 32)), torch.randn((40, 2048))
    with native.record() as plan:
        first, second = native.matmul(x, small), native.matmul(y, large)
    plan.run()
    assert torch.equal(first, native.matmul(x, small))
    assert torch.equal(second, native.matmul(y, large))


def test_a_failed_recording_leaves_the_ops_usable(native: CpuOps) -> None:
    x = torch.ones((1, 4))
    with pytest.raises(KernelError, match="scale of activation"), native.record() as plan:
        native.activation(x, "relu")
        native.activation(x, "relu", torch.ones(5))
    with pytest.raises(KernelError, match="not recorded to its end"):
        plan.run()
    assert torch.equal(native.activation(x, "relu"), x)


def test_recordings_do_not_nest_and_take_no_packing(native: CpuOps) -> None:
    weight = round_to_nearest(torch.eye(32), Grid(4, 32))
    packed = native.pack(weight)
    with native.record() as plan:
        with pytest.raises(KernelError, match="do not nest"), native.record():
            pass
        with pytest.raises(KernelError, match="pack cannot be recorded"):
            native.pack(weight)
        with pytest.raises(KernelError, match="unpack cannot be recorded"):
            native.unpack(packed)
        with pytest.raises(KernelError, match="not recorded to its end"):
            plan.run()
    assert len(plan) == 0
    plan.run()


def test_select_gives_the_named_or_the_best() -> None:
    reasons = dispatch.cpu_isas()
    assert reasons["scalar"] == ""
    best = next(name for name, reason in reasons.items() if not reason)
    for isa in (None, "scalar"):
        ops = dispatch.select("cpu", isa=isa, threads=1)
        assert ops.name == f"cpu-{isa or best}"
        assert ops.can_record
        ops.close()


def test_auto_is_the_first_card_or_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "why_not", lambda index: "there is none")
    assert dispatch.choose_card("auto") is None and dispatch.choose_card("cpu") is None
    with pytest.raises(ArgumentError, match="device='cuda' cannot be used: there is none"):
        dispatch.choose_card("cuda")
    monkeypatch.setattr(cards, "why_not", lambda index: "")
    monkeypatch.setattr(cards, "choose", lambda index: ("card", index))
    assert dispatch.choose_card("auto") == dispatch.choose_card("cuda") == ("card", None)
    assert dispatch.choose_card("cuda:1") == ("card", 1)


def test_select_says_why_not() -> None:
    with pytest.raises(ArgumentError, match=r"isa 'sse9' is unknown; there are: .*scalar"):
        dispatch.select(isa="sse9")
    with pytest.raises(ArgumentError, match="device='tpu'"):
        dispatch.select("tpu")
    with pytest.raises(ArgumentError, match=r"device='cuda:99' cannot be used: .+"):
        dispatch.select("cuda:99")
    for name, reason in dispatch.cpu_isas().items():
        if reason:
            with pytest.raises(ArgumentError, match=name):
                dispatch.select(isa=name)


def test_a_missing_extension_is_one_plain_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tinychat.kernels.cpu", None)
    with pytest.raises(TinyChatError, match=r"native extension does not load.*pip install"):
        dispatch.select()


def test_ceilings_are_positive_numbers(native: CpuOps) -> None:
    assert native.read_bandwidth(1 << 20, 2) > 0
    with pytest.raises(ArgumentError, match="nbytes=0"):
        native.read_bandwidth(0, 1)
    assert native.int8_rate(1) > 0
    with pytest.raises(ArgumentError, match="repeats=0"):
        native.int8_rate(0)


def test_a_profile_counts_what_ran_and_what_was_replayed(native: CpuOps) -> None:
    weight = native.pack(round_to_nearest(torch.randn((48, 64)), Grid(4, 32)))
    x = torch.randn((3, 64))
    with native.record() as plan:
        native.matmul(native.activation(x, "relu"), weight)
    native.activation(x, "relu")  # not inside
    with native.profile() as times:
        native.activation(x, "relu")
        for _ in range(4):
            plan.run()
        native.matmul(x[:1], weight)
        assert not times
    by_name = {time.name: time for time in times}
    assert set(by_name) == {"activation", "matmul 48 x 64, 4 bits"}
    assert by_name["activation"].calls == 5 and by_name["activation"].operations == 0
    product = by_name["matmul 48 x 64, 4 bits"]
    assert product.calls == 5
    assert product.operations == (4 * 3 + 1) * 2 * 48 * 64
    assert product.bytes == 5 * weight.nbytes
    assert all(time.seconds > 0 for time in times)
    assert [time.seconds for time in times] == sorted((t.seconds for t in times), reverse=True)


def test_profiles_do_not_nest_and_end_with_an_error(native: CpuOps) -> None:
    x = torch.ones((1, 4))
    with pytest.raises(KernelError, match="do not nest"), native.profile(), native.profile():
        pass
    with native.profile() as times:
        native.activation(x, "relu")
    assert [time.calls for time in times] == [1]

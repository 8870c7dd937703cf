"""What is said of cards: which code runs on them, and why one cannot be used."""

from __future__ import annotations

import sys

import pytest
import torch

from tests.fake_cards import Machine, card
from tinychat.errors import ArgumentError, TinyChatError
from tinychat.kernels import cards


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize(
    ("arch", "built", "ptx", "expected"),
    (
        (900, [750, 900], 900, 900),
        (890, [800, 860, 900], 900, 860),  # older code of the same generation
        (860, [750, 890], 890, 0),  # never newer code
        (1030, [900, 1000], 1000, 1000),
        (1200, [900, 1000], 1000, 1000),  # what the driver makes of PTX
        (900, [800], 800, 800),
        (870, [800, 860], 860, 860),  # by PTX: a system on a chip does not run cards' code
        (870, [800, 860], 900, 0),
        (890, [870, 900], 900, 0),  # nor a card its
        (700, [750], 750, 0),
        (900, [800], 0, 0),
    ),
)
def test_which_code_runs_on_a_card(arch: int, built: list[int], ptx: int, expected: int) -> None:
    assert cards.code_for(arch, built, ptx) == expected


def test_what_is_known_of_a_card(machine: Machine) -> None:
    machine.has(card(), card("NVIDIA GeForce RTX 3090", 860, memory_khz=9_751_000, bus_bits=384))
    h200, geforce = cards.cards()
    assert (h200.index, geforce.index) == (0, 1)
    assert h200.bandwidth == pytest.approx(4.9e12, rel=0.01)
    assert geforce.bandwidth == pytest.approx(936e9, rel=0.001)
    assert str(h200) == (
        "NVIDIA H200, sm_90, 153600 MB, 4917 GB/s by its data sheet, 132 multiprocessors, "
        "60 MB of L2"
    )
    assert cards.why_not() == "" and cards.choose() == h200 and cards.choose(1) == geforce
    assert str(cards.built()) == "sm_75, sm_80, sm_86, sm_89, sm_90 and newer, by CUDA 13.0"
    assert cards.driver() == "13.0"


@pytest.mark.parametrize("unknown", ({"integrated": True}, {"memory_khz": 0}, {"bus_bits": 0}))
def test_a_bandwidth_that_is_not_known_is_not_made_up(
    machine: Machine, unknown: dict[str, int]
) -> None:
    machine.has(card(**unknown))
    (found,) = cards.cards()
    assert found.bandwidth is None and "data sheet" not in str(found)


def test_kernels_overlap_where_their_code_knows_how_to_wait(machine: Machine) -> None:
    machine.has(card(), card(arch=890))
    assert [found.programmatic for found in cards.cards()] == [True, False]
    machine.has(card(), built=(800,))  # PTX of sm_80, on a card that could
    (found,) = cards.cards()
    assert (found.arch, found.code, found.programmatic) == (900, 800, False)
    for driver, programmatic in (((12, 2), False), ((12, 3), True)):
        machine.has(card(), driver=driver)
        (found,) = cards.cards()
        assert found.programmatic is programmatic


# --- why not


def test_without_the_extension(machine: Machine) -> None:
    machine.has_no_extension(driver=False)
    assert cards.cards() == [] and cards.built() is None and cards.driver() is None
    assert cards.why_not() == (
        "tinychat was built without CUDA, and there is no NVIDIA driver here"
    )
    machine.has_no_extension(driver=True)
    assert cards.why_not() == (
        "tinychat was built without CUDA; for the card here, install CUDA's nvcc (12.0 or newer), "
        "`make clean` and make again"
    )


def test_an_extension_that_does_not_load(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError("undefined symbol: x")

    monkeypatch.setattr(cards, "import_module", fail)
    assert "does not load (undefined symbol: x); `make clean`" in cards.why_not()


def test_without_a_driver(machine: Machine) -> None:
    machine.has(driver=(0, 0), reason="CUDA driver version is insufficient")
    assert "no NVIDIA driver here; with an NVIDIA card, install its driver" in cards.why_not()
    assert cards.driver() is None


def test_a_driver_that_is_too_old(machine: Machine) -> None:
    machine.has(driver=(12, 4), reason="CUDA driver version is insufficient")
    assert cards.why_not() == (
        "the driver is for CUDA 12.4 and this build needs 13.0; update the driver, or build with "
        "an nvcc of CUDA 12 (NVCC=...; `make clean` and make again)"
    )


def test_a_driver_without_a_card(machine: Machine) -> None:
    machine.has(reason="no CUDA-capable device is detected")
    assert cards.why_not() == (
        "CUDA says: no CUDA-capable device is detected; see nvidia-smi and CUDA_VISIBLE_DEVICES"
    )
    machine.has()
    assert "the driver shows no card" in cards.why_not()


def test_a_card_that_nothing_was_built_for(machine: Machine) -> None:
    machine.has(card("NVIDIA A100", 800), built=(890, 900))
    assert cards.why_not() == (
        "NVIDIA A100 is sm_80 and there is code for sm_89, sm_90 alone; "
        "set TINYCHAT_CUDA_ARCHS=80, `make clean` and make again"
    )
    machine.has(card("Tesla V100", 700))
    assert cards.why_not() == "Tesla V100 is sm_70, and tinychat needs sm_75 or newer"


def test_a_torch_that_does_not_run_on_the_card(machine: Machine) -> None:
    machine.has(card())
    machine.torch(cuda=None)
    assert cards.why_not() == (
        f"torch {torch.__version__} is built without CUDA; install one with it"
    )
    machine.torch(cuda="13.2", available=False)
    assert "built for CUDA 13.2 and finds no card with this driver, which is for 13.0" in (
        cards.why_not()
    )
    machine.torch(cuda="12.4", architectures=("sm_75", "sm_80"))
    assert "has no code for NVIDIA H200, sm_90; install a torch that has" in cards.why_not()
    machine.torch(cuda="12.4", architectures=("sm_75", "compute_80"))
    assert cards.why_not() == ""


def test_without_torch(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.has(card())
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cards.why_not().startswith("torch does not load (")


def test_the_first_card_that_can_be_used_is_taken(machine: Machine) -> None:
    machine.has(card("Tesla V100", 700), card())
    assert cards.why_not() == "" and cards.choose().index == 1
    assert "Tesla V100" in cards.why_not(0)
    with pytest.raises(TinyChatError, match="CUDA cannot be used here: Tesla V100 is sm_70"):
        cards.choose(0)
    with pytest.raises(TinyChatError, match="no card 2; the last one is 1"):
        cards.choose(2)
    with pytest.raises(ArgumentError, match="card -1; cards are counted from 0"):
        cards.choose(-1)
    assert cards.choose(1).name == "NVIDIA H200"


def test_what_would_make_a_card_faster(machine: Machine) -> None:
    machine.has(card(), card(arch=1200))
    own, newer = cards.cards()
    assert cards.hints(own, ["flash", "math"]) == []
    (hint,) = cards.hints(newer, ["flash"])
    assert "card 1 runs code for sm_90; for its own, set TINYCHAT_CUDA_ARCHS=120" in hint
    (hint,) = cards.hints(own, ["memory-efficient", "math"])
    assert "no flash attention for card 0" in hint


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU that torch can use")
def test_torch_names_its_attention() -> None:
    assert cards.attention_kinds()[-1] == "math"


def test_on_this_machine() -> None:
    """Whatever it has, something is said, and agrees with itself."""
    reason = cards.why_not()
    assert "\n" not in reason
    assert bool(reason) or cards.choose().code > 0
    assert len(cards.cards()) == 0 or cards.built() is not None

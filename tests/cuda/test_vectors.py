"""The host twins against what cards did: every record in vectors/, and that a record is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tests.cuda import conformance
from tests.cuda.conformance import RECORDS, Tensors, differences, twin
from tests.cuda.emulated import ARCHITECTURES, HERE, ORDERS, Library

FILES = sorted(RECORDS.glob("sm_*.safetensors"))


@pytest.mark.parametrize("path", FILES or [None], ids=lambda path: path.stem if path else "none")
def test_host_twins_do_what_the_card_did(library: Library, path: Path | None) -> None:
    if path is None:
        pytest.skip("no card is on record yet; scripts/gpu_check.sh --only vectors writes one")
    kept, about = conformance.read(path)
    assert path.stem == f"sm_{int(about['arch']) // 10}"
    recorded = {name.split("/")[0] for name in conformance.names_of(kept)}
    assert recorded <= conformance.WRAPPERS.keys()
    for order in ORDERS:
        assert differences(kept, twin(library, int(about["arch"]), order)) == {}


def test_records_are_small() -> None:
    assert all(path.stat().st_size <= conformance.MOST_BYTES for path in FILES)


# --- the recorder, by means of the emulation


@pytest.fixture(scope="module")
def kept(library: Library) -> Tensors:
    return conformance.record(twin(library, 900))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_record_comes_back_and_agrees(library: Library, tmp_path: Path, arch: int) -> None:
    path = tmp_path / "sm.safetensors"
    written = conformance.record(twin(library, arch))
    conformance.save(written, path, {"arch": str(arch)})
    assert path.stat().st_size <= conformance.MOST_BYTES
    kept, about = conformance.read(path)
    assert about == {"arch": str(arch)}
    assert kept.keys() == written.keys()
    assert differences(kept, twin(library, arch, "shuffled")) == {}


def test_every_wrapper_is_on_record(kept: Tensors) -> None:
    """Of every kernel that wrappers.cu exports, and with inputs that are the same each time."""
    source = (HERE / "wrappers.cu").read_text(encoding="ascii")
    exported = set(re.findall(r"^EXPORTED const char\* (\w+)\(", source, re.MULTILINE))
    run = {step[0] for wrapper in conformance.WRAPPERS.values() for step in wrapper.steps}
    assert exported == run | set(conformance.NOT_RECORDED)
    names = conformance.names_of(kept)
    assert {name.split("/")[0] for name in names} == conformance.WRAPPERS.keys()
    for name, inputs in conformance.cases():
        again = conformance.part_of(kept, name, "in")
        assert all(conformance.unlike(inputs[key], again[key], None).sum() == 0 for key in inputs)


def test_outputs_are_written_whole(kept: Tensors) -> None:
    """What no kernel wrote has all bits set, a NaN or -1; few results are that."""
    for key, value in kept.items():
        if "/out/" in key and "nan" not in key and "infinit" not in key:
            ones = value.contiguous().view(torch.uint8).view(-1, value.itemsize) == 0xFF
            assert ones.all(1).float().mean() < 0.1, key


@pytest.mark.parametrize("wrapper", conformance.WRAPPERS)
def test_a_changed_output_is_found(library: Library, kept: Tensors, wrapper: str) -> None:
    name = next(n for n in conformance.names_of(kept) if n.split("/")[0] == wrapper)
    case = {key: value for key, value in kept.items() if key.startswith(f"{name}/")}
    run = twin(library, 900)
    assert differences(case, run) == {}
    for key, value in case.items():
        if "/out/" not in key:
            continue
        changed = value.clone()
        bits = changed.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[changed.itemsize])
        number = int((value == value).flatten().nonzero()[-1])
        # The lowest bit; of a sum of mma one that weighs more than what hardware may cut off.
        bits.view(-1)[number] ^= 1 << 12 if wrapper == "mma" else 1
        assert list(differences({**case, key: changed}, run)) == [name], key


def test_the_bound_of_sums_lets_pass_what_hardware_cuts_off(library: Library) -> None:
    """16 ones onto 2^25: a sum that drops each is 16 off; one in float16 would be far more."""
    run = twin(library, 900)
    kept = dict(conformance.record(run))
    key = "mma/ones_onto_2_to_25/out/sum"
    assert (kept[key] == 2.0**25 + 16).all()
    assert differences({**kept, key: kept[key] - 16}, run) == {}
    assert list(differences({**kept, key: kept[key] - 2.0**14}, run)) == [key.rsplit("/", 2)[0]]


def test_not_a_number_is_one_whatever_its_bits() -> None:
    canonical, other = torch.tensor([0x7FFF, 0x7E01], dtype=torch.int16).view(torch.float16)
    zero = torch.zeros(1).half()
    assert not conformance.unlike(canonical[None], other[None], None).any()
    assert conformance.unlike(canonical[None], zero, None).all()
    assert conformance.unlike(zero, canonical[None], None).all()

"""The packed copy of a model: the second start gives what the first one did, and nothing that is
wrong with a copy, a folder or a disk is worse than a line.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tinychat
from tests.conftest import REPOSITORY
from tests.test_loader import AWQ, GPTQ, LLAMA, Tensors, awq_tensors, gptq_tensors, tensors
from tests.test_packed_file import table
from tests.tiny_models import TINY
from tinychat import LLM, CheckpointError, assembly, loader, pack_cache, packed_file
from tinychat.checkpoint import SINGLE, Checkpoint
from tinychat.cli.main import main
from tinychat.config import ModelConfig, load_config, parse_config
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.dispatch import cpu_isas
from tinychat.loader import Loader, fine_name
from tinychat.nn.head import REFINED_FROM, RefinedHead
from tinychat.pack_cache import PREFIX, PackCache, cache_folders, layout, source_key
from tinychat.packed_file import PARTIAL, PackedWriter

IDS = [5, 6, 7, 8]
GREEDY = tinychat.SamplingParams(temperature=0, max_new_tokens=4)


@dataclass(frozen=True)
class Model:
    """A checkpoint, and how it is loaded."""

    values: dict[str, Any]
    make: Callable[[ModelConfig], Tensors]
    options: dict[str, str] = field(default_factory=dict)


def gptq_act_order(config: ModelConfig) -> Tensors:
    return gptq_tensors(config, orders={"q_proj": 1, "k_proj": 2, "v_proj": 1, "down_proj": 3})[0]


def half_awq(config: ModelConfig) -> Tensors:
    """Parts of q, k, v and of gate, up are in floating point."""
    packed, floats = awq_tensors(config)
    for name in ("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj"):
        for part in ("qweight", "qzeros", "scales"):
            del packed[f"{name}.{part}"]
        packed[f"{name}.weight"] = floats[f"{name}.weight"]
    return packed


def biased_falcon(config: ModelConfig) -> Tensors:
    """Rows to be brought into another order, and biases, which the copy does not have."""
    packed, _ = awq_tensors(config)
    name = "transformer.h.0.self_attention.query_key_value"
    rows = config.num_heads * config.head_dim + 2 * config.num_kv_heads * config.head_dim
    packed[f"{name}.bias"] = torch.randn(rows, generator=torch.Generator().manual_seed(1))
    return packed


FALCON = {**TINY["falcon-40b"], "hidden_size": 128}
INT4 = Model(LLAMA, tensors, {"weights": "int4"})
MODELS = {
    "rounded at load": INT4,
    "awq": Model({**LLAMA, "quantization_config": AWQ}, lambda config: awq_tensors(config)[0]),
    "awq, tied": Model(
        {**LLAMA, "quantization_config": AWQ, "tie_word_embeddings": True},
        lambda config: awq_tensors(config)[0],
        {"lm_head": "int8"},
    ),
    "gptq with act-order": Model(
        {**LLAMA, "quantization_config": {**GPTQ, "desc_act": True}}, gptq_act_order
    ),
    "awq and floats": Model({**LLAMA, "quantization_config": AWQ}, half_awq),
    "falcon": Model({**FALCON, "quantization_config": AWQ}, biased_falcon),
    "floats with an int8 head": Model(LLAMA, tensors, {"lm_head": "int8"}),
    "a head in two stages": Model(
        {**LLAMA, "vocab_size": REFINED_FROM}, tensors, {"weights": "int4"}
    ),
    "a head in two stages, tied, asked for": Model(
        {**LLAMA, "tie_word_embeddings": True}, tensors, {"weights": "int4", "lm_head": "int4+4"}
    ),
}


@pytest.fixture(autouse=True)
def small_copies_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every model has a copy here, and the user's cache is a folder of the test."""
    monkeypatch.setattr(assembly, "LEAST_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=[True, False], ids=["mapped", "read"])
def mapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the system says that it keeps files in large pages."""
    monkeypatch.setattr(packed_file, "in_large_pages", lambda *_: request.param)
    return bool(request.param)


def write_model(folder: Path, model: Model = INT4) -> Path:
    folder.mkdir()
    config = parse_config(model.values)
    state = {name: value.contiguous() for name, value in model.make(config).items()}
    save_file(state, folder / SINGLE)
    (folder / "config.json").write_text(json.dumps(model.values))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that is rounded while it is loaded."""
    return write_model(tmp_path / "model")


def load(folder: Path, model: Model = INT4, **options: Any) -> LLM:
    return tinychat.load(folder, threads=2, **{**model.options, **options})


def logits(folder: Path, model: Model = INT4, **options: Any) -> Tensor:
    with load(folder, model, **options) as llm:
        return llm.logits(IDS)


def warnings(folder: Path, **options: Any) -> tuple[str, ...]:
    with load(folder, **options) as llm:
        assert llm.generate(IDS, GREEDY).stats.new_tokens == 4
        return llm.warnings


def copies(folder: Path) -> list[Path]:
    """The packed copies in a folder, and what is left of others."""
    return sorted(path for path in folder.iterdir() if PREFIX in path.name)


def copy_of(folder: Path) -> Path:
    (path,) = copies(folder)
    return path


# --- the second start


@pytest.mark.parametrize("name", MODELS)
def test_the_second_start_equals_the_first(
    name: str, mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODELS[name]
    folder = write_model(tmp_path / "model", model)
    expected = logits(folder, model, pack_cache=False)
    assert not copies(folder)
    with load(folder, model) as first:
        assert torch.equal(first.logits(IDS), expected)
        assert first.summary is not None
        assert first.summary.packed_copy == copy_of(folder).stat().st_size
        described = first.description
        assert "packed copy" in described
    written = copy_of(folder).read_bytes()

    def packed_again(*_: object) -> None:
        raise AssertionError("the copy does not have it")

    monkeypatch.setattr(Loader, "low_bit", packed_again)
    with load(folder, model) as second:
        assert torch.equal(second.logits(IDS), expected)
        assert second.description == described and second.warnings == ()
        assert second.summary == first.summary
    assert copy_of(folder).read_bytes() == written


def test_without_it_nothing_is_read_or_written(folder: Path) -> None:
    expected = logits(folder)
    copy = copy_of(folder)
    copy.write_bytes(b"damaged")
    with load(folder, pack_cache=False) as llm:
        assert torch.equal(llm.logits(IDS), expected)
        assert llm.warnings == () and "packed copy" not in llm.description
    assert copy.read_bytes() == b"damaged"
    copy.unlink()
    logits(folder, pack_cache=False)
    assert not copies(folder)


def test_a_small_model_has_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "LEAST_BYTES", pack_cache.LEAST_BYTES)
    assert warnings(folder) == () and not copies(folder)


def test_a_model_of_floats_has_none(folder: Path) -> None:
    with load(folder, weights="auto") as llm:
        assert llm.summary is not None and llm.summary.packed_copy is None
    assert not copies(folder)


def test_choices_have_copies_of_their_own(folder: Path) -> None:
    choices = [("int4", "auto"), ("int4", "int4"), ("int4", "int4+4"), ("int8", "auto")]
    expected = [logits(folder, weights=w, lm_head=h) for w, h in choices]
    names = {path.name.split("-", 3)[3] for path in copies(folder)}
    assert names == {"int4-auto", "int4-int4", "int4-int4+4", "int8-auto"}
    before = {path: path.read_bytes() for path in copies(folder)}
    found = [logits(folder, weights=w, lm_head=h) for w, h in choices]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert {path: path.read_bytes() for path in copies(folder)} == before


def test_info_says_its_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*flags: str) -> object:
        assert main(["info", str(folder), "--weights", "int4", "--json", *flags]) == 0
        return json.loads(capsys.readouterr().out)["packed_copy_mb"]

    assert said() is None
    logits(folder)
    assert said() == round(copy_of(folder).stat().st_size / 2**20, 1)
    assert said("--no-pack-cache") is said("--lm-head", "int4") is None


# --- a source that changed


def rewrite(folder: Path, change: Callable[[Tensors], object]) -> None:
    """Change tensors, and nothing else that a file has: neither its header nor its times."""
    path = folder / SINGLE
    state = path.stat()
    loaded = {name: value.clone() for name, value in load_file(path).items()}
    change(loaded)
    save_file(loaded, path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def touch(folder: Path) -> None:
    state = (folder / SINGLE).stat()
    os.utime(folder / SINGLE, ns=(state.st_atime_ns, state.st_mtime_ns + 1))


CHANGES: dict[str, Callable[[Path], None]] = {
    "touched": touch,
    "other weights": lambda folder: rewrite(folder, lambda t: [v.mul_(0.5) for v in t.values()]),
    "another head": lambda folder: rewrite(folder, lambda t: t["lm_head.weight"].mul_(0.5)),
    "another norm": lambda folder: edit_config(folder, rms_norm_eps=1e-3),
    "another version": lambda folder: None,
    "another layout": lambda folder: None,
    "another form of the head": lambda folder: None,
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_copy_of_another_state_is_not_used(
    what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits(folder)
    before = copy_of(folder)
    CHANGES[what](folder)
    if what == "another version":
        monkeypatch.setattr(assembly, "__version__", "0.0.0")
    if what == "another layout":
        monkeypatch.setattr(pack_cache, "layout", lambda ops: "another")
    if what == "another form of the head":  # "auto" means another one from now on
        for module in (pack_cache, loader):
            monkeypatch.setattr(module, "low_bit_form", lambda outputs: "int4+4")
    assert torch.equal(logits(folder), logits(folder, pack_cache=False))
    assert copy_of(folder) != before, "the old one is removed"
    assert warnings(folder) == ()


def test_a_copy_of_the_folder_keeps_its_copy(folder: Path, tmp_path: Path) -> None:
    logits(folder)
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    before = copy_of(moved).read_bytes()
    logits(moved)
    assert copy_of(moved).read_bytes() == before


def test_the_key_does_not_depend_on_threads_or_instructions(folder: Path) -> None:
    config = load_config(folder)
    keys, layouts = set(), set()
    with Checkpoint.open(folder) as checkpoint:
        for isa, threads in product(
            [i for i, refusal in cpu_isas().items() if not refusal], (1, 3)
        ):
            ops = CpuOps(isa, threads)
            keys.add(source_key(checkpoint, config, ops, "1"))
            layouts.add(layout(ops))
            ops.close()
        assert len(keys) == len(layouts) == 1
        ops = CpuOps("scalar", 1)
        assert source_key(checkpoint, config, ops, "2") not in keys
        ops.close()


def test_the_first_load_refuses_as_ever_and_leaves_nothing(folder: Path) -> None:
    sound = load_file(folder / SINGLE)
    for state, message in (
        ({**sound, "extra": torch.zeros(1)}, "1 tensor is not used"),
        ({k: v for k, v in sound.items() if "o_proj" not in k}, "2 tensors are missing"),
    ):
        save_file(state, folder / SINGLE)
        for _ in range(2):
            with pytest.raises(CheckpointError, match=message):
                load(folder)
        assert not copies(folder)
    save_file(sound, folder / SINGLE)
    assert warnings(folder) == ()


# --- a copy that is damaged


def damage(at: float) -> Callable[[Path], None]:
    """Flip a bit at this share of the file."""

    def spoil(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(at * (len(data) - 1))] ^= 4
        path.write_bytes(data)

    return spoil


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "its head": damage(0),
    "its first matrix": lambda path: damage(4200 / path.stat().st_size)(path),
    "a matrix": damage(0.5),
    "its table": damage(1),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Canary(path.with_name("canary")))),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_damaged_copy_is_said_and_written_anew(what: str, folder: Path, mapped: bool) -> None:
    """Cases 14, 15 and 22."""
    expected = logits(folder)
    copy = copy_of(folder)
    sound = copy.read_bytes()
    SPOILT[what](copy)
    with load(folder) as llm:
        assert torch.equal(llm.logits(IDS), expected)
        (line,) = llm.warnings
    assert str(copy) in line and line.endswith("it is not used and written anew")
    assert copy_of(folder).read_bytes() == sound
    assert not (folder / "canary").exists()
    assert torch.equal(logits(folder), expected) and warnings(folder) == ()


@pytest.mark.parametrize("name", ["lm_head", fine_name("lm_head")])
def test_a_head_of_which_a_part_is_damaged_is_made_anew(
    name: str, folder: Path, mapped: bool
) -> None:
    """Both parts, whichever it is: one alone would be another model."""
    form = {"lm_head": "int4+4"}
    expected = logits(folder, **form)
    copy = copy_of(folder)
    sound = copy.read_bytes()
    damaged = bytearray(sound)
    damaged[table(copy)["matrices"][name]["begin"] + 100] ^= 4
    copy.write_bytes(damaged)
    with load(folder, **form) as llm:
        assert isinstance(llm.engine.model.head, RefinedHead)
        assert torch.equal(llm.logits(IDS), expected)
        (line,) = llm.warnings
    assert f"{name} is damaged" in line
    assert copy_of(folder).read_bytes() == sound


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_name_that_is_no_file_blocks_nobody(folder: Path) -> None:
    expected = logits(folder)
    copy = copy_of(folder)
    sound = copy.read_bytes()
    copy.unlink()
    os.mkfifo(copy)
    (line,) = warnings(folder)
    assert "not a regular file" in line
    assert torch.equal(logits(folder), expected) and copy.read_bytes() == sound

    copy.unlink()
    copy.mkdir()
    said = warnings(folder)
    assert len(said) == 2 and "no packed copy of the model is kept" in said[1]
    assert copy.is_dir() and copies(folder) == [copy]
    assert torch.equal(logits(folder), expected)


def test_a_link_is_not_followed_for_writing(folder: Path, tmp_path: Path) -> None:
    logits(folder)
    copy = copy_of(folder)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    copy.unlink()
    copy.symlink_to(victim)
    assert len(warnings(folder)) == 1
    assert victim.read_bytes() == b"precious" and not copy.is_symlink()


def test_a_copy_cut_short_in_use_is_an_error_and_not_a_signal(folder: Path, mapped: bool) -> None:
    """Case 22: what was read is safe; what is mapped is lost, and said to be."""
    with load(folder) as llm:
        expected = llm.generate(IDS, GREEDY).token_ids
    with load(folder) as llm:
        os.truncate(copy_of(folder), 4096)
        if mapped:
            for _ in range(2):
                with pytest.raises(CheckpointError, match="load the model again"):
                    llm.generate(IDS, GREEDY)
        else:
            assert llm.generate(IDS, GREEDY).token_ids == expected
    assert len(warnings(folder)) == 1
    with load(folder) as llm:
        assert llm.generate(IDS, GREEDY).token_ids == expected


def test_a_copy_replaced_in_use_stays_what_it_was(folder: Path, mapped: bool) -> None:
    expected = logits(folder)
    with load(folder) as llm:
        touch(folder)
        assert torch.equal(logits(folder), expected)
        copy_of(folder).unlink()
        assert torch.equal(llm.logits(IDS), expected)


# --- folders and disks that do not take it


def refusing(*folders: Path) -> type[PackedWriter]:
    """A writer for which some folders are read-only; the superuser may write to any."""

    class Refusing(PackedWriter):
        def __init__(self, path: Path, key: str, ops: CpuOps) -> None:
            if any(path.is_relative_to(folder) for folder in folders):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            super().__init__(path, key, ops)

    return Refusing


def test_a_read_only_folder_has_its_copy_in_the_user_s_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_cache, "PackedWriter", refusing(folder))
    expected = logits(folder)
    (place,) = (tmp_path / "cache" / "tinychat").iterdir()
    assert place.name.startswith("model-") and not copies(folder)
    before = copy_of(place).read_bytes()
    assert torch.equal(logits(folder), expected) and copy_of(place).read_bytes() == before
    touch(folder)
    assert warnings(folder) == ()
    copy_of(place)


def test_nowhere_to_write_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_cache, "PackedWriter", refusing(tmp_path))
    for _ in range(2):
        (line,) = warnings(folder)
        assert "no packed copy of the model is kept" in line and "read-only file system" in line
        assert "Traceback" not in line and "\n" not in line


def test_a_home_that_is_not_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case 82."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    assert cache_folders(folder, {"XDG_CACHE_HOME": "relative"})[0].is_relative_to(Path.home())
    monkeypatch.setattr(Path, "home", unknown)
    assert cache_folders(folder, {}) == []
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pack_cache, "PackedWriter", refusing(folder))
    assert len(warnings(folder)) == 1


def test_two_folders_share_no_place_in_the_cache(tmp_path: Path) -> None:
    names = ["a/model", "b/model", "a/" + "x" * 250, "a/\n"]
    places = [cache_folders(tmp_path / name)[0] for name in names]
    assert len(set(places)) == len(names)
    assert all(len(os.fsencode(place.name)) < 255 for place in places)


def test_too_little_room_is_one_line_and_nothing_is_begun(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)
    full = usage._replace(free=pack_cache.FREE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    (line,) = warnings(folder)
    assert "no space left on device" in line
    assert not copies(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert warnings(folder) == () and copies(folder)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_writes_that_fail(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    """Case 75: at the first of these calls, at the second, and so on until all are done."""
    expected = logits(folder, pack_cache=False)
    real = getattr(os, call)
    for number in range(100):
        calls = 0

        def failing(*arguments: Any, number: int = number) -> Any:
            nonlocal calls
            calls += 1
            if calls == number + 1:
                raise OSError(error, os.strerror(error))
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            with load(folder) as llm:
                assert torch.equal(llm.logits(IDS), expected)
                said = llm.warnings
        if calls <= number:
            break
        (line,) = said
        assert "no packed copy of the model is kept" in line
        assert not [path for path in copies(folder) if path.name.endswith(PARTIAL)]
        for path in copies(folder):  # the very last write is of the names in the folder
            path.unlink()
    assert number >= (1 if call == "replace" else 9) and said == ()
    assert torch.equal(logits(folder), expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_interrupts_a_load_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    add, calls = PackedWriter.add, 0

    def interrupted(self: PackedWriter, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        add(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(PackedWriter, "add", interrupted)
        with pytest.raises((error, tinychat.NotEnoughMemoryError)):
            load(folder)
    assert not copies(folder)
    assert warnings(folder) == () and copies(folder)


# --- several processes

PROCESS = """
    import sys
    from tinychat import assembly, load

    assembly.LEAST_BYTES = 0
    with load(sys.argv[1], weights="int4", threads=1) as llm:
        print(llm.logits([5, 6, 7, 8]).tolist(), llm.warnings)
"""


def started(folder: Path, code: str = PROCESS) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(folder)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_start_together(folder: Path) -> None:
    """Case 76: all give the same, and one whole copy is there afterwards."""
    processes = [started(folder) for _ in range(3)]
    said = {process.communicate(timeout=100) for process in processes}
    assert len(said) == 1 and [process.returncode for process in processes] == [0, 0, 0]
    copy = copy_of(folder)
    sound = copy.read_bytes()
    assert warnings(folder) == () and copy_of(folder).read_bytes() == sound
    copy.unlink()
    logits(folder)
    assert copy_of(folder).read_bytes() == sound


def test_while_another_process_writes_nobody_else_does(folder: Path) -> None:
    pytest.importorskip("fcntl", reason="no file locks here")
    logits(folder)
    copy = copy_of(folder)
    copy.unlink()
    ops = CpuOps(threads=1)
    writer = PackedWriter(copy, "key", ops)
    assert warnings(folder) == ()
    (partial,) = copies(folder)
    assert partial.name.endswith(PARTIAL)
    writer.discard()
    ops.close()
    assert warnings(folder) == () and copies(folder) == [copy]


KILLED = """
    import os, signal, sys
    from tinychat import assembly, load
    from tinychat.packed_file import PackedWriter

    assembly.LEAST_BYTES = 0
    add, added = PackedWriter.add, []

    def killed(self, name, linear):
        add(self, name, linear)
        added.append(name)
        if len(added) == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    PackedWriter.add = killed
    load(sys.argv[1], weights="int4", threads=1)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_what_a_killed_process_left_is_cleaned_up(folder: Path) -> None:
    """Case 74: no half a copy under a final name."""
    process = started(folder, KILLED)
    process.communicate(timeout=100)
    assert process.returncode == -9
    (partial,) = copies(folder)
    assert partial.name.endswith(PARTIAL)
    expected = logits(folder, pack_cache=False)
    assert torch.equal(logits(folder), expected)
    copy = copy_of(folder)
    assert not copy.name.endswith(PARTIAL)
    assert torch.equal(logits(folder), expected)


# --- by itself


@pytest.fixture
def cache(folder: Path) -> Iterator[PackCache]:
    ops = CpuOps(threads=1)
    with PackCache(folder, "0" * 64, ("int4", "auto"), ops, 1000) as made:
        yield made
    ops.close()


def test_nothing_kept_is_no_copy(cache: PackCache, folder: Path) -> None:
    assert cache.find("a", (1, 1), None) is None
    assert cache.finish() is None and cache.nbytes is None and not copies(folder)

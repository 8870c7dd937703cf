"""Safetensors folders: views without a copy, and every hostile or damaged file refused by name.

Every refusal is followed by a normal load in the same process.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tinychat import limits
from tinychat.checkpoint import INDEX, SINGLE, Checkpoint
from tinychat.errors import CheckpointError
from tinychat.safetensors_check import BITS, read_header

TENSORS = {
    "a.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "b.weight": torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16),
    "b.qweight": torch.arange(8, dtype=torch.int32).reshape(2, 4),
    "b.g_idx": torch.tensor([1, 0, 1, 0], dtype=torch.int32),
    "c.bias": torch.linspace(-1, 1, 7).to(torch.float16),
}


@pytest.fixture
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good file."""
    folder = tmp_path_factory.mktemp("sound")
    save_file(TENSORS, folder / SINGLE)
    return folder


@pytest.fixture(autouse=True)
def still_works(sound: Path) -> Iterator[None]:
    """After whatever a test does, a sound folder loads as before."""
    yield
    check_sound(sound)


def check_sound(folder: Path) -> None:
    with Checkpoint.open(folder) as checkpoint:
        assert checkpoint.names() == TENSORS.keys()
        for name, tensor in TENSORS.items():
            assert torch.equal(checkpoint.tensor(name), tensor)


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def file_bytes(header: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    """A safetensors file of any header, sound or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def refusal(folder: Path) -> str:
    """The message with which a folder is refused."""
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 2000
    return message


def refused_file(folder: Path, content: bytes) -> str:
    (folder / SINGLE).write_bytes(content)
    message = refusal(folder)
    assert SINGLE in message
    return message


# --- what is read


def test_reads_what_safetensors_wrote(sound: Path) -> None:
    check_sound(sound)


def test_reads_shards(tmp_path: Path) -> None:
    names = list(TENSORS)
    weight_map = {}
    for number, group in enumerate((names[:2], names[2:]), start=1):
        shard = f"model-{number:05}-of-00002.safetensors"
        save_file({name: TENSORS[name] for name in group}, tmp_path / shard)
        weight_map |= dict.fromkeys(group, shard)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (tmp_path / INDEX).write_text(json.dumps(index))
    check_sound(tmp_path)


def test_one_file_of_another_name(sound: Path) -> None:
    (sound / SINGLE).rename(sound / "weights.safetensors")
    check_sound(sound)
    (sound / "weights.safetensors").rename(sound / SINGLE)


def test_unused_are_those_never_asked_for(sound: Path) -> None:
    with Checkpoint.open(sound) as checkpoint:
        assert checkpoint.unused() == TENSORS.keys()
        checkpoint.tensor("a.weight")
        checkpoint.tensor("a.weight")
        assert checkpoint.unused() == TENSORS.keys() - {"a.weight"}


def test_a_tensor_is_a_view_of_the_file(sound: Path) -> None:
    with Checkpoint.open(sound) as checkpoint:
        first, again = checkpoint.tensor("a.weight"), checkpoint.tensor("a.weight")
        assert first.data_ptr() == again.data_ptr()
        maps = Path("/proc/self/maps")
        if not maps.exists():
            pytest.skip("needs /proc to see which file a page belongs to")
        for line in maps.read_text().splitlines():
            low, high = (int(x, 16) for x in line.split()[0].split("-"))
            if low <= first.data_ptr() < high:
                assert line.endswith(str(sound / SINGLE))
                assert line.split()[1].startswith("r--")
                return
    pytest.fail("the tensor lies in no mapping")


def test_no_second_copy_in_memory(tmp_path: Path) -> None:
    """200 MB of weights, every page of them read: anonymous memory stays where it was."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc for the kinds of memory")
    size = 200 << 20
    header = json.dumps({"w.weight": entry("F32", [size >> 2], 0, size)}).encode()
    with open(tmp_path / SINGLE, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + b" " * (-len(header) % 8))
        file.seek(0)
        file.write(struct.pack("<Q", len(header) + -len(header) % 8))
        file.truncate(8 + len(header) + -len(header) % 8 + size)
    code = (
        "import re, sys, torch\n"
        "from pathlib import Path\n"
        "from tinychat.checkpoint import Checkpoint\n"
        "def kib(kind):\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    return int(re.search(kind + r':\\s+(\\d+)', status)[1])\n"
        "torch.ones(9).sum()\n"
        "before = kib('RssAnon'), kib('RssFile')\n"
        "weight = Checkpoint.open(Path(sys.argv[1])).tensor('w.weight')\n"
        "assert weight.sum() == 0\n"
        "print(kib('RssAnon') - before[0], kib('RssFile') - before[1])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    anonymous, mapped = (int(number) for number in done.stdout.split())
    assert anonymous < 20 << 10
    assert mapped > 150 << 10


def test_a_tensor_outlives_its_checkpoint(sound: Path) -> None:
    checkpoint = Checkpoint.open(sound)
    tensor = checkpoint.tensor("a.weight")
    checkpoint.close()
    checkpoint.close()
    assert torch.equal(tensor, TENSORS["a.weight"])
    with pytest.raises(CheckpointError, match=r"no tensor 'a\.weight'"):
        checkpoint.tensor("a.weight")


def test_misaligned_empty_and_scalar_tensors(tmp_path: Path) -> None:
    values = struct.pack("<b3ff", 1, 1.5, 2.5, -3.5, 9.0)
    header = {
        "odd": entry("I8", [1], 0, 1),
        "w.weight": entry("F32", [3], 1, 13),
        "none": entry("F16", [0, 4], 13, 13),
        "scalar": entry("F32", [], 13, 17),
    }
    (tmp_path / SINGLE).write_bytes(file_bytes(header, values))
    with Checkpoint.open(tmp_path) as checkpoint:
        assert checkpoint.tensor("w.weight").tolist() == [1.5, 2.5, -3.5]
        assert checkpoint.tensor("none").shape == (0, 4)
        assert checkpoint.tensor("scalar").item() == 9.0


def test_hugging_face_cache_links_work(sound: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "ab12").write_bytes((sound / SINGLE).read_bytes())
    (snapshot / SINGLE).symlink_to("../../blobs/ab12")
    check_sound(snapshot)
    # A link to the folder itself is the user's own doing.
    (tmp_path / "mine").symlink_to(snapshot)
    check_sound(tmp_path / "mine")


def test_trained_models(data: Path) -> None:
    folder = data / "models" / "TinyStories-656K"
    with Checkpoint.open(folder) as checkpoint, safe_open(folder / SINGLE, "pt") as theirs:
        assert checkpoint.names() == set(theirs.keys())
        for name in theirs.keys():
            assert torch.equal(checkpoint.tensor(name), theirs.get_tensor(name))


# --- dtypes: case 8


@pytest.mark.parametrize("dtype", sorted(BITS.keys() - {"F32", "F16", "BF16"}))
def test_refuses_a_dtype_by_name(tmp_path: Path, dtype: str) -> None:
    size = BITS[dtype]  # bytes of 8 elements
    header = {"w.weight": entry(dtype, [8], 0, size), "w.qzeros": entry("F32", [1], size, size + 4)}
    (tmp_path / SINGLE).write_bytes(file_bytes(header, bytes(size + 4)))
    with Checkpoint.open(tmp_path) as checkpoint:
        with pytest.raises(
            CheckpointError, match=rf"'w.weight' is stored as {dtype}; expected F32"
        ):
            checkpoint.tensor("w.weight")
        with pytest.raises(CheckpointError, match=r"'w\.qzeros' is stored as F32; expected I32"):
            checkpoint.tensor("w.qzeros")


def test_a_name_that_is_not_there(sound: Path) -> None:
    with Checkpoint.open(sound) as checkpoint:
        with pytest.raises(CheckpointError, match=r"'d\.weight'"):
            checkpoint.tensor("d.weight")


# --- hostile and damaged files: cases 1 to 7


@pytest.mark.parametrize("size", [0, 1, 7, 8])
def test_refuses_a_stub(tmp_path: Path, size: int) -> None:
    refused_file(tmp_path, bytes(size))


@pytest.mark.parametrize(
    "length", [2**63, 2**64 - 1, 2**32, limits.HEADER_BYTES + 1, 123, 11], ids=hex
)
def test_refuses_a_header_length_before_reading_it(tmp_path: Path, length: int) -> None:
    message = refused_file(tmp_path, struct.pack("<Q", length) + b"{}")
    assert str(length) in message


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"{\xff}", "UTF-8"),
        (b"{nonsense", "JSON"),
        (b"[]", "object"),
        (b" {}", "object"),
        (b"\n{}", "object"),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "201 levels"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "200 levels"),
        (b"{}{}", "JSON"),
        (b'{"__metadata__": {"a": 1}}', "__metadata__"),
        (b'{"__metadata__": [1]}', "__metadata__"),
        (b'{"a": 1}', "'a'"),
        (b'{"a": {}}', "'a'"),
        (b'{"a": {"dtype": "F32", "shape": [0]}}', "'a'"),
        (b'{"\\u001b[2J": {}}', r"'\\x1b"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_refuses_a_header(tmp_path: Path, header: bytes, reason: str) -> None:
    assert re.search(reason, refused_file(tmp_path, file_bytes(header)))


def test_refuses_a_tensor_that_comes_twice(tmp_path: Path) -> None:
    one = json.dumps(entry("F32", [1], 0, 4))
    two = json.dumps(entry("F32", [1], 4, 8))
    message = refused_file(tmp_path, file_bytes(f'{{"a": {one}, "a": {two}}}'.encode(), bytes(8)))
    assert "'a' comes twice" in message
    twice = b'{"a": {"dtype": "F32", "dtype": "F16", "shape": [1], "data_offsets": [0, 4]}}'
    assert "'dtype' comes twice" in refused_file(tmp_path, file_bytes(twice, bytes(4)))


@pytest.mark.parametrize(
    ("tensors", "size", "reason"),
    [
        ([entry("F32", [2], 0, 8), entry("F32", [2], 4, 12)], 12, "overlaps"),
        ([entry("F32", [2], 0, 8), entry("F32", [2], 0, 8)], 8, "overlaps"),
        ([entry("F32", [1], 0, 4), entry("F32", [1], 8, 12)], 12, "hole"),
        ([entry("F32", [1], 4, 8)], 8, "hole"),
        ([entry("F32", [1], 0, 4)], 5, "behind the last"),
        ([], 1, "behind the last"),
        ([entry("F32", [1], 0, 4)], 3, "cut short"),
        ([entry("F32", [1], 0, 4)], 0, "cut short"),
    ],
)
def test_refuses_what_is_not_one_dense_run(
    tmp_path: Path, tensors: list[dict[str, Any]], size: int, reason: str
) -> None:
    header = {f"t{number}": tensor for number, tensor in enumerate(tensors)}
    assert reason in refused_file(tmp_path, file_bytes(header, bytes(size)))


@pytest.mark.parametrize(
    "offsets",
    [[-4, 0], [4, 0], [0, 400], [0, 3], [0, 5], [0], [0, 4, 8], [0, 4.0], [False, 4], "04"],
)
def test_refuses_offsets(tmp_path: Path, offsets: Any) -> None:
    header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}
    message = refused_file(tmp_path, file_bytes(header, bytes(4)))
    assert "'w'" in message or "cut short" in message


@pytest.mark.parametrize(
    "shape",
    [
        [2**32, 2**32],  # 2**64 elements wrap to 0
        [2**63],
        [2**62, 4],
        [2**61, 8],  # times 4 bytes, wraps to 0
        [-1],
        [-2, -2],
        [2**64 + 1],
        [10**300],
        [1.0],
        [True],
        ["1"],
        [1] * 100_000,
        None,
        1,
        [[1]],
    ],
    ids=lambda shape: str(shape)[:24],
)
@pytest.mark.parametrize("name", ["w.weight", "w.scales", "w.qzeros"])
def test_refuses_a_shape_that_wraps(tmp_path: Path, shape: Any, name: str) -> None:
    for size in (0, 4):
        header = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
        assert f"'{name}'" in refused_file(tmp_path, file_bytes(header, bytes(size)))


@pytest.mark.parametrize("dtype", ["F31", "f32", "", None, 32, ["F32"], "F32\x00"])
def test_refuses_an_unknown_dtype(tmp_path: Path, dtype: Any) -> None:
    header = {"w": {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}}
    assert "dtype" in refused_file(tmp_path, file_bytes(header, bytes(4)))


@pytest.mark.parametrize("count", [limits.TENSORS + 1, 1_000_000])
def test_refuses_too_many_tensors(tmp_path: Path, count: int) -> None:
    header = b",".join(
        b'"%d":{"dtype":"I8","shape":[1],"data_offsets":[%d,%d]}' % (i, i, i + 1)
        for i in range(count)
    )
    message = refused_file(tmp_path, file_bytes(b"{" + header + b"}", bytes(count)))
    assert str(limits.TENSORS) in message or str(limits.HEADER_BYTES) in message


def test_refuses_too_many_tensors_over_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TENSORS", 5)
    for shard, names in (("a.safetensors", "123"), ("b.safetensors", "456")):
        save_file({name: torch.zeros(1) for name in names}, tmp_path / shard)
    weight_map = dict.fromkeys("123", "a.safetensors") | dict.fromkeys("456", "b.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert "more than the 5 tensors" in refusal(tmp_path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_we_accept_safetensors_accepts(data: st.DataObject, tmp_path: Path) -> None:
    """No file is one thing to our check and another to the reader that everybody uses."""
    header: dict[str, Any] = {}
    position = 0
    for number in range(data.draw(st.integers(0, 3))):
        dtype = data.draw(st.sampled_from(["F32", "F16", "BF16", "I32", "U8", "F64", "Q4"]))
        shape = data.draw(st.lists(st.integers(-1, 4), max_size=3))
        size = BITS.get(dtype, 8) // 8
        for axis in shape:
            size *= axis
        begin = position + data.draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
        end = begin + size + data.draw(st.sampled_from([0, 0, 0, 0, 1]))
        header[f"t{number}"] = entry(dtype, shape, begin, end)
        position = end
    content = file_bytes(
        header, bytes(max(0, position + data.draw(st.sampled_from([0, 0, 1, -1]))))
    )
    flip = data.draw(st.none() | st.integers(0, len(content) - 1))
    if flip is not None:
        byte = data.draw(st.integers(0, 255))
        content = content[:flip] + bytes([byte]) + content[flip + 1 :]
    path = tmp_path / SINGLE
    path.write_bytes(content)
    try:
        with open(path, "rb") as file:
            entries = read_header(file, path)
    except CheckpointError:
        return
    try:
        theirs = safe_open(path, "pt")
    except SafetensorError as error:
        pytest.fail(f"safetensors refuses what we accept: {error}; {content!r}")
    with theirs:
        assert set(theirs.keys()) == entries.keys()
        for name, ours in entries.items():
            assert tuple(theirs.get_slice(name).get_shape()) == ours.shape
            assert theirs.get_slice(name).get_dtype() == ours.dtype


# --- folders: cases 13 to 15


def index_of(folder: Path, weight_map: object) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    "shard",
    [
        "../../etc/passwd",
        "../other/model.safetensors",
        "sub/model.safetensors",
        "/dev/zero",
        "/etc/passwd.safetensors",
        "C:\\x",
        "C:\\x.safetensors",
        "a\x00.safetensors",
        "",
        ".",
        "..",
        "pytorch_model.bin",
        7,
        None,
        ["a.safetensors"],
    ],
)
def test_refuses_a_shard_name(tmp_path: Path, shard: object) -> None:
    index_of(tmp_path, {"a": shard})
    message = refusal(tmp_path)
    assert INDEX in message
    assert repr(shard) in message


@pytest.mark.parametrize("weight_map", [None, [], {}, "a", 1])
def test_refuses_a_weight_map(tmp_path: Path, weight_map: object) -> None:
    index_of(tmp_path, weight_map)
    assert "weight_map" in refusal(tmp_path)


def test_refuses_too_many_shards(tmp_path: Path) -> None:
    index_of(tmp_path, {str(i): f"{i}.safetensors" for i in range(limits.SHARDS + 1)})
    assert str(limits.SHARDS + 1) in refusal(tmp_path)


def test_refuses_an_index_that_lists_a_tensor_twice(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}')
    assert "'a' comes twice" in refusal(tmp_path)


def test_refuses_a_link_that_leaves_the_folder(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / SINGLE).symlink_to(sound / SINGLE)
    assert "outside its folder" in refusal(folder)
    (folder / SINGLE).unlink()
    (folder / "a.safetensors").symlink_to("/dev/zero")
    index_of(folder, {"a": "a.safetensors"})
    assert "outside its folder" in refusal(folder)
    # The cache's exception is for its own blobs only.
    snapshot = tmp_path / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / SINGLE).symlink_to(sound / SINGLE)
    assert "outside its folder" in refusal(snapshot)


def test_refuses_what_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / SINGLE)
    assert "not a regular file" in refusal(tmp_path)
    (tmp_path / SINGLE).unlink()
    (tmp_path / SINGLE).mkdir()
    assert "not a regular file" in refusal(tmp_path)
    (tmp_path / SINGLE).rmdir()
    (tmp_path / SINGLE).symlink_to(SINGLE)
    assert SINGLE in refusal(tmp_path)


def test_refuses_a_missing_or_wrong_shard(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "1.safetensors")
    index_of(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    assert "2.safetensors is missing" in refusal(tmp_path)
    save_file({"c": torch.zeros(2)}, tmp_path / "2.safetensors")
    assert "1 tensors that are not in the files it says: 'b'" in refusal(tmp_path)
    save_file({"a": torch.zeros(2), "b": torch.zeros(1)}, tmp_path / "2.safetensors")
    message = refusal(tmp_path)
    assert "'a' is in 1.safetensors too" in message
    assert "2.safetensors" in message


def test_refuses_a_shard_that_lost_its_last_byte(sound: Path, tmp_path: Path) -> None:
    content = (sound / SINGLE).read_bytes()
    message = refused_file(tmp_path, content[:-1])
    assert f"{len(content) - 1} bytes" in message
    assert f"accounts for {len(content)}" in message


def test_several_files_need_an_index(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"a": torch.zeros(2)}, tmp_path / name)
    assert INDEX in refusal(tmp_path)


def test_an_empty_and_a_missing_folder(tmp_path: Path) -> None:
    assert f"has no {SINGLE}" in refusal(tmp_path)
    assert "absent" in refusal(tmp_path / "absent")


class _Canary:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    content = pickle.dumps(_Canary(canary))
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path)
    assert name in message
    assert "convert first" in message
    (tmp_path / SINGLE).write_bytes(content)
    refusal(tmp_path)
    (tmp_path / SINGLE).unlink()
    (tmp_path / INDEX).write_bytes(content)
    refusal(tmp_path)
    assert not canary.exists()
    pickle.loads(content)
    assert canary.exists()  # the canary does sing


# --- case 22


def test_a_file_cut_under_us_is_an_error_and_not_a_signal(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / SINGLE
    content = (sound / SINGLE).read_bytes()
    path.write_bytes(content)
    with Checkpoint.open(tmp_path) as checkpoint:
        checkpoint.tensor("a.weight")
        os.truncate(path, 100)
        with pytest.raises(CheckpointError, match=f"it had {len(content)} bytes, now 100"):
            checkpoint.tensor("b.weight")
    path.write_bytes(content)
    check_sound(tmp_path)


def test_a_file_replaced_under_us_stays_what_it_was(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / SINGLE
    path.write_bytes((sound / SINGLE).read_bytes())
    with Checkpoint.open(tmp_path) as checkpoint:
        other = tmp_path / "other"
        other.write_bytes(b"short")
        other.replace(path)
        assert torch.equal(checkpoint.tensor("a.weight"), TENSORS["a.weight"])


def test_a_failed_open_leaves_no_file_open(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc to count open files")
    save_file({"a": torch.zeros(2)}, tmp_path / "1.safetensors")
    (tmp_path / "2.safetensors").write_bytes(b"short")
    index_of(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    gc.collect()
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        refusal(tmp_path)
    gc.collect()  # pytest keeps the frames of what it caught
    assert len(list(descriptors.iterdir())) <= before


def test_forgotten_pages_take_no_memory_and_are_read_again(tmp_path: Path) -> None:
    def resident() -> int:
        """Of files, in bytes."""
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("RssFile:"))
        return int(line.split()[1]) << 10

    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to see what is resident")
    size = 32 << 20
    save_file({"a": torch.arange(size // 4, dtype=torch.float32)}, tmp_path / SINGLE)
    with Checkpoint.open(tmp_path) as checkpoint:
        before = resident()
        tensor = checkpoint.tensor("a")
        total = float(tensor.double().sum())
        assert resident() > before + size // 2
        checkpoint.forget_pages()
        assert resident() < before + size // 4
        assert float(tensor.double().sum()) == total

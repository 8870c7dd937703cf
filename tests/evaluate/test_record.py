"""Results on disk: whole or not at all, gone on from, and never mixed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import tinychat
from tinychat.errors import ArgumentError, TinyChatError
from tinychat.evaluate.record import Record

HEAD: dict[str, Any] = {"task": "count", "settings": {"limit": None, "k": (1, 2)}}


class Counter:
    """Scores a number as its square; stops before one of them."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.scored = stop, list[int]()

    def __call__(self, number: int) -> dict[str, int]:
        if number == self.stop:
            raise KeyboardInterrupt
        self.scored.append(number)
        return {"square": number * number}


def run(record: Record, counter: Counter, head: dict[str, Any] = HEAD) -> dict[str, Any]:
    return record.run(head, range(5), counter, lambda items: {"results": {"count": len(items)}})


def test_without_a_file_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(Record(about={"model": {"name": "m"}}), Counter())
    assert list(tmp_path.iterdir()) == []
    assert list(result) == ["tinychat", "model", "task", "settings", "results", "items"]
    assert result["tinychat"] == tinychat.__version__
    assert result["items"] == [{"square": n * n} for n in range(5)]


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    result = run(Record(one), Counter())
    with pytest.raises(KeyboardInterrupt):
        run(Record(two), Counter(stop=3))
    run(Record(two), Counter())
    assert one.read_bytes() == two.read_bytes()
    assert json.loads(one.read_bytes()) == result
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "two.json"]


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    record = Record(out)
    with pytest.raises(KeyboardInterrupt):
        run(record, Counter(stop=3))
    assert record.kept == 3 and record.partial is not None and record.partial.exists()
    assert not out.exists()
    counter, steps = Counter(), list[tuple[int, int]]()
    run(Record(out, progress=lambda done, total: steps.append((done, total))), counter)
    assert counter.scored == [3, 4]
    assert steps == [(n, 5) for n in range(6)]
    assert not record.partial.exists()


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run(Record(out), Counter())
    counter = Counter()
    assert run(Record(out), counter) == result and counter.scored == []


@pytest.mark.parametrize("stop", [3, None], ids=["partial", "finished"])
def test_other_settings_are_refused_by_name(tmp_path: Path, stop: int | None) -> None:
    out = tmp_path / "out.json"
    about = {"model": {"sha256": "1"}}
    try:
        run(Record(out, about), Counter(stop))
    except KeyboardInterrupt:
        pass
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other = {**HEAD, "settings": {**HEAD["settings"], "limit": 7}}
    with pytest.raises(ArgumentError, match=r"settings\.limit = None and this one has 7"):
        run(Record(out, about), Counter(), other)
    with pytest.raises(ArgumentError, match=r"model\.sha256 = '1' and this one has '2'"):
        run(Record(out, {"model": {"sha256": "2"}}), Counter())
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_line_that_was_cut_short_is_scored_again(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    whole = run(Record(), Counter())
    partial = out.with_name("out.json.partial")
    with pytest.raises(KeyboardInterrupt):
        run(Record(out), Counter(stop=3))
    data = partial.read_bytes()
    for length in range(len(data)):
        out.unlink(missing_ok=True)
        partial.write_bytes(data[:length])
        assert run(Record(out), Counter()) == whole


def test_damage_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    partial = out.with_name("out.json.partial")
    with pytest.raises(KeyboardInterrupt):
        run(Record(out), Counter(stop=3))
    lines = partial.read_bytes().split(b"\n")
    for number in range(4):
        damaged = [*lines]
        damaged[number] = b"[1]"
        partial.write_bytes(b"\n".join(damaged))
        with pytest.raises(TinyChatError, match=f"damaged at line {number + 1}; delete it"):
            run(Record(out), Counter())
    for other in (b"{}", b"text", b""):
        out.write_bytes(other)
        with pytest.raises(ArgumentError, match="no result of tinychat eval"):
            run(Record(out), Counter())
        assert out.read_bytes() == other


def test_two_runs_into_one_file_are_told_apart(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="no file locks here")
    out = tmp_path / "out.json"

    def score(number: int) -> dict[str, int]:
        if number == 2:
            with pytest.raises(ArgumentError, match=r"another run is writing .*out.json.partial"):
                run(Record(out), Counter())
        return {"square": number * number}

    record = Record(out)
    result = record.run(HEAD, range(5), score, lambda items: {"results": {"count": len(items)}})
    assert result == run(Record(), Counter())


def test_what_fails_at_once_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Record(tmp_path / "out.json"), Counter(stop=0))
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(TinyChatError, match=r"cannot write .*partial: No such file"):
        run(Record(tmp_path / "missing" / "out.json"), Counter())
    (tmp_path / "out.json.partial").mkdir()
    with pytest.raises(TinyChatError, match=r"cannot write .*partial: Is a directory"):
        run(Record(tmp_path / "out.json"), Counter())


def test_a_full_disk_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.json"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(TinyChatError, match=r"cannot write .*out.json: No space left"):
            run(Record(out), Counter())
    assert [path.name for path in tmp_path.iterdir()] == ["out.json.partial"]
    counter = Counter()
    run(Record(out), counter)
    assert counter.scored == [] and out.exists()

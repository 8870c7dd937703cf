"""The thread pool: its size, fork, close, several callers, and sleep when there is no work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from tinychat.errors import ArgumentError, KernelError
from tinychat.kernels import cores
from tinychat.kernels.cpu import CpuOps


def works(ops: CpuOps) -> bool:
    # Not random: torch's generator has a lock, which a child may inherit locked.
    x = torch.full((64, 300), 0.5)
    return torch.equal(ops.activation(x, "relu"), x)


@pytest.mark.parametrize("threads", [1, 2, 5, 16])
def test_any_number_of_threads(threads: int) -> None:
    ops = CpuOps(threads=threads)
    assert ops.threads == threads
    assert all(works(ops) for _ in range(50))
    ops.close()


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_a_senseless_number_of_threads_is_refused(threads: int) -> None:
    with pytest.raises(ArgumentError, match=f"threads={threads}"):
        CpuOps(threads=threads)


def test_close_is_idempotent_and_final() -> None:
    ops = CpuOps(threads=2)
    with ops.record() as plan:
        ops.activation(torch.ones((1, 4)), "relu")
    ops.close()
    ops.close()
    with pytest.raises(KernelError, match="closed"):
        works(ops)
    with pytest.raises(KernelError, match="closed"):
        plan.run()


def test_several_pools_live_side_by_side() -> None:
    pools = [CpuOps(threads=threads) for threads in (1, 2, 3)]
    assert all(works(ops) for ops in pools for _ in range(10))
    pools[1].close()
    assert works(pools[0])
    assert works(pools[2])
    for ops in pools:
        ops.close()


def test_callers_take_turns() -> None:
    ops = CpuOps(threads=3)
    results: list[bool] = []

    def call() -> None:
        results.append(all(works(ops) for _ in range(40)))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [True] * 4
    ops.close()


def in_child(ops: CpuOps) -> int:
    """Fork, use and close `ops` in the child, and return the child's exit code; -1 if it hangs."""
    child = os.fork()
    if child == 0:
        fine = False
        try:
            fine = works(ops)
            ops.close()
        finally:
            os._exit(0 if fine else 1)
    for _ in range(2000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_its_own_threads() -> None:
    ops = CpuOps(threads=3)
    assert works(ops)
    assert in_child(ops) == 0
    assert works(ops)  # and the parent's are untouched
    ops.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() on this system")
@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="ASan's allocator may be locked at fork()")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_while_another_thread_computes() -> None:
    ops = CpuOps(threads=2)
    done = threading.Event()

    def compute() -> None:
        while not done.is_set():
            works(ops)

    busy = threading.Thread(target=compute)
    busy.start()
    try:
        codes = [in_child(ops) for _ in range(5)]
    finally:
        done.set()
        busy.join()
    assert codes == [0] * 5
    ops.close()


def cpu_seconds() -> float:
    return sum(os.times()[:2])


def test_idle_threads_sleep() -> None:
    ops = CpuOps(threads=2)
    assert works(ops)
    time.sleep(0.1)
    before = cpu_seconds()
    time.sleep(0.5)
    # A thread that spun would have used the half second.
    assert cpu_seconds() - before < 0.25
    ops.close()


def test_the_interpreter_ends_with_open_pools() -> None:
    code = (
        "import torch\n"
        "from tinychat.kernels.cpu import CpuOps\n"
        "ops = CpuOps(threads=3)\n"
        "x = torch.ones((8, 8))\n"
        "print(float(ops.activation(x, 'relu').sum()))\n"
        "import sys; sys.modules['keep'] = ops\n"
    )
    root = Path(sys.modules["tinychat"].__file__ or "").parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "64.0"), done.stderr


class Machine:
    """A root folder with the files of /sys and /proc that the choice of threads reads."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="ascii")

    def cpus(self, monkeypatch: pytest.MonkeyPatch, siblings: dict[int, str]) -> None:
        monkeypatch.setattr(cores, "_allowed_cpus", lambda: set(siblings))
        for cpu, shared in siblings.items():
            folder = f"sys/devices/system/cpu/cpu{cpu}/topology"
            self.write(f"{folder}/thread_siblings_list", shared)

    def usable(self) -> int:
        return cores.usable_cores(self.root)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_hyper_threads_count_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.cpus(monkeypatch, {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"})
    assert machine.usable() == 2


def test_without_sys_every_cpu_counts(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_allowed_cpus", lambda: {0, 1, 2})
    assert machine.usable() == 3


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)],
)
def test_a_quota_of_cgroup_2_is_kept(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    machine.cpus(monkeypatch, {cpu: str(cpu) for cpu in range(8)})
    machine.write("proc/self/cgroup", "0::/outer/inner")
    machine.write("sys/fs/cgroup/outer/inner/cpu.max", "max 100000")
    machine.write("sys/fs/cgroup/outer/cpu.max", limit)
    assert machine.usable() == expected


def test_a_quota_of_cgroup_1_is_kept(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.cpus(monkeypatch, {cpu: str(cpu) for cpu in range(8)})
    machine.write("proc/self/cgroup", "5:memory:/box\n4:cpu,cpuacct:/box")
    machine.write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "300000")
    machine.write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000")
    assert machine.usable() == 3


def test_this_machine_has_a_core() -> None:
    assert cores.usable_cores() >= 1

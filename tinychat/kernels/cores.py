"""How many threads a pool should have: one a physical core that this process may really use.

Threads that wait by spinning lose more from a core too many than they gain, so hyper-threads do
not count, and a container's CPU quota is rounded down.
"""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Physical cores in this process's affinity mask, within its cgroups' quotas; at least 1.

    Args:
        root: where /sys and /proc are looked up; tests put their own machine there.
    """
    cores = _physical_cores(_allowed_cpus(), root)
    quota = _cgroup_quota(root)
    return max(1, cores if quota is None else min(cores, int(quota)))


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _physical_cores(cpus: set[int], root: Path) -> int:
    """CPUs that share a core count once."""
    siblings = set()
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        siblings.add(_read(topology / "thread_siblings_list") or f"cpu {cpu}")
    return len(siblings)


def _cgroup_quota(root: Path) -> float | None:
    """The smallest quota, in CPUs, of this process's cgroup and those above it (v1 and v2)."""
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / ("sys/fs/cgroup/cpu" if controllers else "sys/fs/cgroup")
        folder = mount / path.lstrip("/")
        for place in (folder, *folder.parents):
            quotas.append(_quota_v1(place) if controllers else _quota_v2(place))
            if place == mount:
                break
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_v2(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_v1(folder: Path) -> float | None:
    quota = int(_read(folder / "cpu.cfs_quota_us") or -1)
    return quota / int(_read(folder / "cpu.cfs_period_us") or 100_000) if quota > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""

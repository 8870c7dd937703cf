"""What kind of machine this is, for reports."""

from __future__ import annotations

import os
import platform


def cpu_info() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is no such file."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            block = file.read().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_name() -> str:
    """What the processor calls itself."""
    return cpu_info().get("model name") or platform.processor() or "unknown"


def system_name() -> str:
    """Operating system, its release, and the architecture."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def total_memory_mb() -> int | None:
    """Physical memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    except (ValueError, OSError, AttributeError):
        return None

"""Cards, and why they cannot be used."""

from __future__ import annotations


def why_not(index: int) -> str:
    """Why the card of this number cannot be used, or ""."""
    return "this build of tinychat has no CUDA kernels"

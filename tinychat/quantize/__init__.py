"""Low-bit weights: their canonical form, the methods that choose it, the files that hold it.

`quantize` is imported on first use: kernels and loader need the forms only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinychat.quantize.convert import quantize

__all__ = ["quantize"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("tinychat.quantize.convert"), name)
    raise AttributeError(f"module 'tinychat.quantize' has no attribute {name!r}")

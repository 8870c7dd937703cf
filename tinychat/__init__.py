"""tinychat: chat with a 4-bit large language model on a machine you own.

The public names, and nothing else. They are imported on first use, so that `tinychat --help` needs
no torch.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinychat.assembly import load
    from tinychat.engine import Stats
    from tinychat.llm import LLM
    from tinychat.pieces import Output, Piece
    from tinychat.sampler import SamplingParams, TokenLogprob

from tinychat.errors import (
    ArgumentError,
    CardError,
    CheckpointError,
    ContextLengthError,
    DownloadError,
    KernelError,
    MissingPackageError,
    ModelNotFoundError,
    NotEnoughMemoryError,
    TemplateError,
    TinyChatError,
    TokenizerError,
    UnsupportedModelError,
)

__version__ = "0.1.0"

# Nothing here needs numpy, and neither does torch, which complains of its absence at every import.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")

_HOMES = {
    "load": "tinychat.assembly",
    "LLM": "tinychat.llm",
    "Output": "tinychat.pieces",
    "Piece": "tinychat.pieces",
    "Stats": "tinychat.engine",
    "SamplingParams": "tinychat.sampler",
    "TokenLogprob": "tinychat.sampler",
}

__all__ = [
    "LLM",
    "ArgumentError",
    "CardError",
    "CheckpointError",
    "ContextLengthError",
    "DownloadError",
    "KernelError",
    "MissingPackageError",
    "ModelNotFoundError",
    "NotEnoughMemoryError",
    "Output",
    "Piece",
    "SamplingParams",
    "Stats",
    "TemplateError",
    "TinyChatError",
    "TokenLogprob",
    "TokenizerError",
    "UnsupportedModelError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tinychat' has no attribute {name!r}")

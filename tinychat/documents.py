"""One text file that holds several documents."""

from __future__ import annotations

SEPARATOR = "<|endoftext|>"
"""The mark between documents, as TinyStories has it."""


def documents(text: str) -> list[str]:
    """The parts of a text between separators, stripped; empty ones left out."""
    return [part for part in map(str.strip, text.split(SEPARATOR)) if part]

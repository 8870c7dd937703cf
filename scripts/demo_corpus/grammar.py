"""Template expansion: `[a|b|]` is a choice, `{name}` a slot, a leading `~` a held-out mark."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache

HELD_OUT_MARK = "~"
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SPACES = re.compile(r" {2,}")
_SPACE_BEFORE_MARK = re.compile(r" +([,.?!])(?!`)")


def expand(template: str, rng: random.Random, slots: Mapping[str, object] | None = None) -> str:
    """Fill in one template.

    Args:
        template: text with choices and slots, without the held-out mark.
        rng: decides every choice.
        slots: a value for each `{name}`.
    Returns: the text, spaces tidied.
    """
    while _CHOICE.search(template):
        template = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template, count=1)
    text = template.format_map(slots or {})
    return _SPACE_BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", text)).strip()


@cache
def _split(templates: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    seen = tuple(t for t in templates if not t.startswith(HELD_OUT_MARK))
    held = tuple(t[1:] for t in templates if t.startswith(HELD_OUT_MARK))
    return seen, held


def pick(templates: Sequence[str], rng: random.Random, held_out: bool) -> str:
    """Choose a template of the wanted side of the split.

    Args:
        templates: all templates of one intent, the held-out ones marked.
        rng: decides.
        held_out: which side.
    Returns: a template without its mark.
    Raises: ValueError if the intent has no template on that side.
    """
    chosen = _split(tuple(templates))[held_out]
    if not chosen:
        raise ValueError(f"no template with held_out={held_out} among {list(templates)[:3]} ...")
    return rng.choice(chosen)

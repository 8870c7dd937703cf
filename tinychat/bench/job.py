"""What a measuring process is asked for and what it answers, as JSON on its stdin and stdout."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Job:
    """One process's work.

    Attributes:
        engine: "tinychat", "transformers", "ceilings" for the machine's own limits, or "profile"
            for where our own time goes.
        weights: as `tinychat.load` takes them; transformers runs "bf16".
        folder: a checkpoint, or None for random weights.
        shape: a name of `tinychat.shapes`, or None for the shape of `folder`.
        threads: None for the engine's own default.
        prompt_tokens, new_tokens: how much is evaluated at once, and then token by token.
        depths: tokens that are in the cache before either starts; one measurement each.
        load: further arguments of `tinychat.load`.
    """

    engine: str
    weights: str
    folder: str | None
    shape: str | None
    threads: int | None
    prompt_tokens: int
    new_tokens: int
    depths: tuple[int, ...]
    load: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "depths": tuple(values["depths"])})

    @property
    def positions(self) -> int:
        """Tokens that the cache has to hold."""
        return max(self.depths) + max(self.prompt_tokens, self.new_tokens)


@dataclass(frozen=True)
class DepthSample:
    """One measurement at one depth. Times in seconds.

    Attributes:
        prefill_s: evaluating the prompt.
        ttft_s: the same, until the first token was chosen.
        token_s: each further token, its choice included.
        bytes_per_token: weights and cache that one of them reads.
    """

    depth: int
    prefill_s: float
    ttft_s: float
    token_s: list[float]
    bytes_per_token: int


@dataclass(frozen=True)
class WorkerResult:
    """All that one process measured.

    Attributes:
        model: what was run, for people.
        weights: how its matrices were stored.
        threads: how many computed.
        isa: the instruction set of our kernels, or "" for others.
        device: "cpu" or "cuda".
        load_s: None where weights were made instead of loaded.
        peak_memory_mb: the process's largest resident size, or the most that torch held on a card.
        anonymous_memory_mb: memory at the end that no file backs; None where unknown.
        depths: one sample for each depth of the job.
        note: what to know about this row, or "".
    """

    model: str
    weights: str
    threads: int
    isa: str
    device: str
    load_s: float | None
    peak_memory_mb: float
    anonymous_memory_mb: float | None
    depths: list[DepthSample]
    note: str = ""

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> WorkerResult:
        """The inverse of `dataclasses.asdict`."""
        samples = [DepthSample(**sample) for sample in values["depths"]]
        return cls(**{**values, "depths": samples})


def token_ids(count: int, vocab_size: int) -> list[int]:
    """The ids that every engine is fed: the same each time, from the middle half of the vocabulary.

    Control tokens stand at either end of a vocabulary, and some engines treat them differently.
    """
    generator = random.Random(8426)
    low, high = vocab_size // 4, max(vocab_size // 4 + 1, vocab_size * 3 // 4)
    return [generator.randrange(low, high) for _ in range(count)]

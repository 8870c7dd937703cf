"""What a measurement needs of an engine with a model in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tinychat import memory


class Runner(Protocol):
    """An engine; `worker.RUNNERS` says which there are.

    Attributes:
        model, weights: what is run, and how its matrices are stored.
        threads: how many compute.
        isa: the instruction set of our kernels, or "" for others.
        place: where the model is: "cpu", or a card as torch calls it.
        note: what to know about the row, or "".
        load_s: seconds that loading took, imports left out; None where weights were made instead.
    """

    model: str
    weights: str
    threads: int
    isa: str
    place: str = "cpu"
    note: str = ""
    vocab_size: int
    load_s: float | None

    def rewind(self, ids: list[int]) -> None:
        """Leave exactly `ids` in the cache."""

    def prefill(self, ids: list[int]) -> None:
        """Evaluate what follows the cached prefix of `ids`, up to the logits of the last."""

    def step(self, token: int) -> None:
        """Evaluate one token after the cached ones."""

    def choose(self) -> int:
        """The most likely token by the latest logits."""
        ...

    def bytes_per_token(self, cached: float) -> int:
        """Bytes that a step reads with so many tokens in the cache."""
        ...

    def decode(self, ids: list[int]) -> Iterator[None]:
        """Evaluate as many tokens as `ids` has, choosing one after each; yields after each choice.
        What is evaluated are `ids`, or what an engine that does not ask has chosen itself.
        """
        for token in ids:
            self.step(token)
            self.choose()
            yield

    def peak_bytes(self) -> int:
        """The most memory that was held at once where the model is."""
        if self.device == "cpu":
            return memory.peak_bytes()
        import torch  # others are measured without it in their memory

        return torch.cuda.max_memory_reserved(self.place)

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        return self.place.partition(":")[0]

"""The output head in two stages: 4 bits for every output, 4 more for those that can matter.

Nothing else of a small model is as large as its head, and of what it says nearly all is never
sampled. So its matrix W is rounded to 4 bits (coarse), and what that leaves of it, W - coarse, to 4
bits again (fine; see quantize/two_stage.py); together they are as exact as 8 bits. A token reads
all of the coarse matrix, and of the fine one only the outputs next to the largest coarse logits.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from tinychat.kernels import TILE_OUTPUTS
from tinychat.nn.linear import LinearLowBit

# One tile in so many is refined: an eighth of the fine matrix is 2 % of the bytes that a token of a
# 1B model reads.
REFINED_SHARE = 8
# But never fewer than these. As many of the likeliest tokens are refined as there are tiles, at
# least, for each is in a tile whose maximum is no less. What is lost is lost in the others, whose
# logits have 4 bits; tests/test_trained.py has bounds.
LEAST_TILES = 256
# From so many outputs on it pays: there half of the tiles are refined. Of fewer it would be nearly
# all, and int8 is one product.
REFINED_FROM = 8192


class Head(Protocol):
    """What makes logits: any linear layer, or `RefinedHead`."""

    native: bool  # see `AnyLinear`

    def __call__(self, x: Tensor) -> Tensor:
        """Hidden states [T, C] -> logits [T, V], float32."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that one token reads."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes of its matrices in memory."""
        ...


class RefinedHead:
    """A coarse and a fine matrix that add up to the head's: `Ops.matmul`, then `Ops.refine`.

    Args:
        coarse: with the head's bias.
        fine: of the same shape; its columns in natural order.
        tiles: how many tiles of outputs a token refines; default `refined_tiles`.
    """

    native = True

    def __init__(self, coarse: LinearLowBit, fine: LinearLowBit, tiles: int | None = None) -> None:
        self.coarse, self.fine = coarse, fine
        outputs = fine.weight.shape[0]
        self.tiles = refined_tiles(outputs) if tiles is None else min(tiles, all_tiles(outputs))

    def __call__(self, x: Tensor) -> Tensor:
        logits = self.coarse(x)
        self.fine.ops.refine(logits, x, self.fine.weight, self.tiles)
        return logits

    @property
    def nbytes(self) -> int:
        """Bytes that one token reads."""
        of_fine = self.fine.nbytes * self.tiles // all_tiles(self.fine.weight.shape[0])
        return self.coarse.nbytes + of_fine

    @property
    def held_bytes(self) -> int:
        return self.coarse.nbytes + self.fine.nbytes


def all_tiles(outputs: int) -> int:
    """Into how many tiles `Ops.refine` cuts so many outputs."""
    return -(-outputs // TILE_OUTPUTS)


def refined_tiles(outputs: int) -> int:
    """How many of them a token refines."""
    tiles = all_tiles(outputs)
    return min(tiles, max(LEAST_TILES, tiles // REFINED_SHARE))


def low_bit_form(outputs: int) -> str:
    """The form of the head of a low-bit model, where nobody asks for another."""
    return "int4+4" if outputs >= REFINED_FROM else "int8"

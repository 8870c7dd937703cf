"""The KV cache: keys and values of every evaluated token, one contiguous run of positions per
layer and head.

Memory is reserved for the whole context at once. On the CPU the operating system commits a page
only when a token is first written to it, so a long context costs nothing until it is used; a card
gives all of it away at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tinychat.config import ModelConfig
from tinychat.kernels.rows import row_width


def kv_bytes_per_token(config: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes that one token takes in the cache, all layers together."""
    row = row_width(config.head_dim, dtype) * dtype.itemsize
    return 2 * config.num_layers * config.num_kv_heads * row


class KVCache:
    """Room for `capacity` tokens; the first `length` positions are valid.

    The attention op writes the positions it is given; the engine then calls `advance`, so that an
    interrupted evaluation leaves the cache as it was. A sliding window hides old keys inside the
    op and keeps them here, which is what lets `trim` go back to any earlier position.
    """

    def __init__(
        self,
        config: ModelConfig,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | None = None,
    ) -> None:
        # [layer, k or v, G, S, row]; not zeroed: positions are written before they are read.
        row = row_width(config.head_dim, dtype)
        shape = (config.num_layers, 2, config.num_kv_heads, capacity, row)
        self._data = torch.empty(shape, dtype=dtype, device=device)
        self.bytes_per_token = kv_bytes_per_token(config, dtype)
        self.capacity = capacity
        self.length = 0

    @property
    def nbytes(self) -> int:
        """Bytes reserved for the whole capacity."""
        return self._data.numel() * self._data.element_size()

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer, each [G, S, row], as views."""
        return self._data[index, 0], self._data[index, 1]

    def advance(self, count: int) -> None:
        """Declare the next `count` positions valid, after an op has written them."""
        self.length += count

    def trim(self, length: int) -> None:
        """Forget every position from `length` on."""
        self.length = min(self.length, length)

    def reset(self) -> None:
        """Forget everything."""
        self.length = 0

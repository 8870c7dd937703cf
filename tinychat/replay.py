"""One decode step: recorded once over static buffers, then replayed in a single native call per
token.

Token id and position live in the buffers, so the recording holds for every step. A model with
float layers, which torch multiplies, cannot be recorded and runs its forward pass each time; the
result is the same.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tinychat.cache import KVCache
from tinychat.nn.decoder import Decoder


class DecodeStep:
    """Evaluates one token at a time against a cache."""

    def __init__(self, model: Decoder, cache: KVCache) -> None:
        self._token = torch.zeros(1, dtype=torch.int32)
        self._position = torch.zeros(1, dtype=torch.int32)
        self._run: Callable[[], Tensor]

        def forward() -> Tensor:
            return model.logits(model.hidden(self._token, self._position, cache))

        if model.can_record:
            with model.ops.record() as plan:
                logits = forward()

            def replay() -> Tensor:
                plan.run()
                return logits

            self._run = replay
        else:
            self._run = forward

    def __call__(self, token: int, position: int) -> Tensor:
        """Logits [V] after `token` at `position`; valid until the next call."""
        self._token[0] = token
        self._position[0] = position
        return self._run()[0]

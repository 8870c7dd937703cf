"""`CudaDraws`: draws tokens on the card that makes their logits, one for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tinychat.kernels import SamplingRule, checks

if TYPE_CHECKING:
    from tinychat.kernels.cuda import Device

UNIFORMS = 256  # random numbers that are brought to the card at a time
RING = 8  # the last tokens, in the host's memory; the card is one ahead of who reads them


class CudaDraws:
    """See `kernels.Draws`. All that a draw reads and writes stays where it is, so that it can be
    part of a captured graph; csrc/cuda/ops.h says what each tensor is.

    Args:
        device: the card.
        vocabulary: V, of the logits.
    """

    def __init__(self, device: Device, vocabulary: int) -> None:
        def zeros(count: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(count, dtype=dtype, device=device.torch_device)

        self._device, self._vocabulary = device, vocabulary
        self.token, self.position = zeros(1, torch.int32), zeros(1, torch.int32)
        self._rule, self._uniforms = zeros(5, torch.int32), zeros(UNIFORMS, torch.float64)
        self._drawn, self._seen = zeros(1, torch.int32), zeros(vocabulary, torch.uint8)
        self._ring = device.shared(RING)
        self._workspace = zeros(device.native.sample_workspace(vocabulary), torch.uint8)
        state = (self._uniforms.data_ptr(), UNIFORMS, self._drawn.data_ptr())
        self._state = device.native.Draws(*state, self._ring.data_ptr(), RING)
        self._uniform: Callable[[], float] = float
        self._count = 0  # of the text's draws

    def begin(
        self, rule: SamplingRule, recent: Tensor, uniform: Callable[[], float], position: int
    ) -> None:
        self._start(rule, recent, position)
        self._uniform = uniform

    def _start(self, rule: SamplingRule, recent: Tensor, position: int) -> None:
        checks.recent(recent, self._vocabulary)  # a card would fail for good
        chances = (rule.temperature, rule.top_p, rule.min_p, rule.repetition_penalty)
        floats = torch.tensor(chances, dtype=torch.float32)
        top_k = torch.tensor([min(rule.top_k, self._vocabulary)], dtype=torch.int32)
        self._rule.copy_(torch.cat([floats.view(torch.int32), top_k]))
        self._seen.zero_()
        self._seen[recent.to(self._seen.device).long()] = 1
        self._drawn.zero_()
        self.position.fill_(position - 1)  # a draw moves it to where its token stands
        self._count = 0

    def provide(self) -> None:
        if self._count % UNIFORMS == 0:
            self._bring([self._uniform() for _ in range(UNIFORMS)])

    def _bring(self, numbers: list[float]) -> None:
        """The uniform numbers of the next draws to the card."""
        self._uniforms[: len(numbers)] = torch.tensor(numbers, dtype=torch.float64)

    def draw(self, logits: Tensor) -> None:
        name, device = "logits of draw", self._device.torch_device.type
        checks.check(logits[: self._vocabulary], name, (self._vocabulary,), device=device)
        self._device.queue().sample(
            logits.data_ptr(),
            self._vocabulary,
            self._rule.data_ptr(),
            self._state,
            self._seen.data_ptr(),
            self.token.data_ptr(),
            self.position.data_ptr(),
            self._workspace.data_ptr(),
        )

    def drawn(self) -> Callable[[], int]:
        wait, place = self._device.mark(), self._count % RING
        self._count += 1

        def token() -> int:
            wait()
            return int(self._ring[place])

        return token

    def draw_one(self, logits: Tensor, rule: SamplingRule, recent: Tensor, uniform: float) -> int:
        """`Ops.sample`: a text of one token."""
        self._start(rule, recent, position=0)
        self._bring([uniform])
        self.draw(logits)
        return self.drawn()()

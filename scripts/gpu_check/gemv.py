"""Measure gemv on the matrices of two models as a share of what the card can read.

Usage: python -m scripts.gpu_check.gemv [--json FILE]

Each matrix comes with what a model's layer does around it, for 1 and 4 tokens, in a graph with and
without programmatic launches. Copies of the weight, together four times the L2, take turns, so each
comes from memory. Its result is checked. Beside it stand plain reads: of as many bytes a launch,
and of 2 GB, the ceiling.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scripts.gpu_check import ceilings
from scripts.gpu_check.card import Card, finish, parser, summary, write
from tinychat.kernels import tc16
from tinychat.quantize.format import LowBitWeight, dequantize

GROUP, EPS = 128, 1e-5
TOKENS = (1, 4)
REPEATS = 11
LEAST_POOL = 256 << 20  # bytes of all copies of a weight, at least
# Activations are rounded to float16, by 2^-12 of themselves on average or less.
MOST_ERROR = 1e-3


@dataclass(frozen=True)
class Case:
    """A matrix [rows, cols] and what happens around its product."""

    name: str
    rows: int
    cols: int
    bits: int = 4
    norm: bool = False
    gated: bool = False
    add: bool = False


CASES = (
    Case("llama-2-7b qkv", 12288, 4096, norm=True),
    Case("llama-2-7b o", 4096, 4096, add=True),
    Case("llama-2-7b gate_up", 22016, 4096, norm=True, gated=True),
    Case("llama-2-7b down", 4096, 11008, add=True),
    Case("llama-3.2-1b qkv", 3072, 2048, norm=True),
    Case("llama-3.2-1b gate_up", 16384, 2048, norm=True, gated=True),
    Case("llama-3.2-1b down", 2048, 8192, add=True),
    Case("llama-3.2-1b head", 128256, 2048, bits=8, norm=True),
)


class Problem:
    """A case with numbers, for so many tokens."""

    def __init__(self, case: Case, tokens: int, device: str) -> None:
        self.case = case
        draw = torch.Generator(device).manual_seed(case.rows + case.cols)

        def codes(*shape: int) -> Tensor:
            most = 2**case.bits
            return torch.randint(most, shape, dtype=torch.uint8, device=device, generator=draw)

        groups = -(-case.cols // GROUP)
        scales = torch.rand(case.rows, groups, device=device, generator=draw).mul_(0.01).half()
        zeros = codes(case.rows, groups)
        self.weight = LowBitWeight(codes(case.rows, case.cols), scales, zeros, case.bits, GROUP)
        self.data = tc16.pack(self.weight).data
        self.x = torch.randn(tokens, case.cols, device=device, generator=draw)
        self.norm = torch.rand(case.cols, device=device, generator=draw) + 0.5
        outputs = case.rows // 2 if case.gated else case.rows
        self.out = torch.ones(tokens, outputs, device=device)

    def launch(self, module: ModuleType, queue: Any, data: Tensor | None = None) -> None:
        """By the kernel; `data` is a copy of the packed weight."""
        case = self.case
        queue.gemv(
            x=self.x.data_ptr(),
            norm=module.NormKind.rms,
            norm_weight=self.norm.data_ptr() if case.norm else 0,
            norm_bias=0,
            eps=EPS,
            order=0,
            weight=(self.data if data is None else data).data_ptr(),
            layout=module.Tc16(tc16.stored_bits(case.bits), case.rows, case.cols, GROUP),
            bias=0,
            out=self.out.data_ptr(),
            tokens=len(self.x),
            gated=case.gated,
            gate=module.Activation.silu,
            add=case.add,
        )

    def error(self) -> float:
        """Of what one launch has left in `out`, relative to what should be there."""
        x = self.x
        if self.case.norm:
            x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * self.norm
        expected = x @ dequantize(self.weight).T
        if self.case.gated:
            gate, up = expected.chunk(2, dim=-1)
            expected = functional.silu(gate) * up
        if self.case.add:
            expected += 1
        return float((self.out - expected).norm() / expected.norm())


def measure(card: Card, module: ModuleType, case: Case, peak: float) -> list[dict[str, Any]]:
    """The rows of a case."""
    packed = Problem(case, TOKENS[0], card.device).data
    nbytes = packed.numel()
    copies = -(-max(4 * card.facts.l2_bytes, LEAST_POOL) // nbytes) + 1
    pool = packed.repeat(copies)
    same_size = ceilings.bandwidth(card, pool, nbytes)["gb_per_s"]
    rows = []
    for tokens in TOKENS:
        problem = Problem(case, tokens, card.device)
        card.synchronize()
        problem.launch(module, card.queue(module))
        card.synchronize()
        error = problem.error()
        for programmatic in card.programmatic():

            def launch(problem: Problem = problem, programmatic: bool = programmatic) -> None:
                queue = card.queue(module, programmatic)
                for data in pool.split(nbytes):
                    problem.launch(module, queue, data)

            taken = [s / copies for s in card.seconds(card.capture(launch), REPEATS)]
            rate = nbytes / min(taken) / 1e9
            rows.append(
                {
                    "case": case.name,
                    "tokens": tokens,
                    "programmatic": programmatic,
                    "mb": nbytes / 1e6,
                    **summary(taken),
                    "gb_per_s": rate,
                    "share": rate / peak,
                    "share_of_same_size": rate / same_size,
                    "error": error,
                }
            )
    return rows


def extension() -> ModuleType:
    """The ops on a card; exits where they are not built."""
    try:
        return importlib.import_module("tinychat.kernels._cuda")
    except ImportError as missing:
        raise SystemExit(f"error: the CUDA kernels are not built: {missing}") from None


def main() -> None:
    chosen = parser(__doc__).parse_args()
    module, card = extension(), Card(ceilings.SOURCE)
    with card.own_stream():
        peak = ceilings.ceiling(card)
        result: dict[str, Any] = {"read_gb_per_s": peak, "rows": []}
        for case in CASES:
            result["rows"] += measure(card, module, case, peak)
            write(result, chosen.json)
    wrong = [
        f"{row['case']} of {row['tokens']} tokens is off by {row['error']:.2g}"
        for row in result["rows"]
        if not row["error"] < MOST_ERROR
    ]
    finish(result, chosen.json, "; ".join(dict.fromkeys(wrong)))


if __name__ == "__main__":
    main()

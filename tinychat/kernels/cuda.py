"""`CudaOps`: every op on a card; checks and choices here, arithmetic in csrc/cuda and, for the long
chunks of a prompt, in torch.

An op launches and returns; its result is there for whatever is launched next. Few tokens and many
take different paths:

    tokens         product                        attention
    1 to 8         gemv                           attn_decode
    9 to 128       halves, gemm                   rope_append, torch's attention
    more           halves, dequantize, torch.mm   rope_append, torch's attention
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from tinychat.kernels import (
    TILE_OUTPUTS,
    Activation,
    AttentionShape,
    Draws,
    Norm,
    Ops,
    PackedWeight,
    QKNorm,
    RecordedPlan,
    SamplingRule,
    checks,
    prefill_attention,
    tc16,
)
from tinychat.kernels.checks import optional_address, qk_norm_arguments
from tinychat.kernels.draws import CudaDraws
from tinychat.quantize.format import LowBitWeight
from tinychat.quantize.grid import Grid

if TYPE_CHECKING:
    from tinychat.kernels.cpu import CpuOps

FEW_TOKENS = 8  # that gemv and attn_decode take at once, for the price of one
# Up to which gemm reads packed weights faster than torch multiplies unpacked ones.
GEMM_TOKENS = 128
# What the largest activation of a row is scaled to in float16: as far up as it stays finite; where
# torch rounds sums to float16 too, so that they stay finite as well.
GEMM_EXPONENT, TORCH_EXPONENT = 14, 0
# Unpacked weights that are multiplied at a time: they stay in the L2 cache of a card.
SLICE_BYTES = 16 << 20
# Blocks that share the keys of a token, for each multiprocessor of the card.
BLOCKS_PER_MULTIPROCESSOR = 2
MOST_SPLITS = 128
# Floats behind the sums of a split: its largest score, its weights and padding.
STATE_FLOATS = 4
DTYPES = ("float32", "float16", "bfloat16", "int8")


class Device(Protocol):
    """A card, or what stands for one in tests.

    Attributes:
        torch_device: where its tensors are.
        name: for people, such as "cuda sm_90".
        multiprocessors: how many blocks it runs at once, at least.
        takes_groups: whether torch's attention shares a kv head among query heads by itself.
        captures_torch: whether a recording holds what torch does inside it.
        native: the module with the kernels' types.
    """

    torch_device: torch.device
    name: str
    multiprocessors: int
    takes_groups: bool
    captures_torch: bool
    native: Any

    def queue(self) -> Any:
        """Where launches go now: a `Queue` of `native`."""
        ...

    def settle(self) -> None:
        """Called before torch reads what a kernel wrote."""
        ...

    def record(self) -> AbstractContextManager[RecordedPlan]:
        """See `Ops.record`."""
        ...

    def keep(self, tensor: Tensor) -> Tensor:
        """The tensor, alive for as long as a recording that is being made."""
        ...

    def shared(self, count: int) -> Tensor:
        """[count] int32 of the host's memory that kernels can write to."""
        ...

    def mark(self) -> Callable[[], None]:
        """What waits until all that was launched so far is done."""
        ...

    def available_bytes(self) -> int | None:
        """Memory that is free there."""
        ...


class CudaOps(Ops):
    """`Ops` on a card.

    Args:
        device: the card.
        host: makes low-bit weights of checkpoints, before they are packed for the card; closed with
            this.
        gemm_tokens: most tokens that `gemm` multiplies.
    """

    can_record = True
    needs_warm_up = True
    prefill_chunk = 2048
    alone_tokens = FEW_TOKENS  # `gemm` adds up in another order than `gemv`
    kv_dtypes = (torch.float16, torch.int8)

    def __init__(self, device: Device, host: CpuOps, gemm_tokens: int = GEMM_TOKENS) -> None:
        self._device, self._host, self._gemm_tokens = device, host, gemm_tokens
        self.device, self.name, self.threads = device.torch_device, device.name, host.threads
        self.records_torch = device.captures_torch
        native = device.native
        self._dtypes = {getattr(torch, name): getattr(native.DType, name) for name in DTYPES}
        # Memory that recorded launches write to: once made it stays where it is.
        self._workspaces: dict[tuple[object, ...], tuple[Tensor, ...]] = {}
        self._draws: dict[int, CudaDraws] = {}

    def record(self) -> AbstractContextManager[RecordedPlan]:
        return self._device.record()

    def wait(self) -> None:
        self._device.mark()()

    def close(self) -> None:
        self._host.close()
        with suppress(RuntimeError):  # a card that failed writes no more
            self.wait()  # a step that was given up leaves its token in the host's memory
        self._workspaces.clear()
        self._draws.clear()

    def available_bytes(self) -> int | None:
        return self._device.available_bytes()

    def _new(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return self._device.keep(torch.empty(shape, dtype=dtype, device=self.device))

    def _workspace(
        self, *key: object, make: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        if key not in self._workspaces:
            self._workspaces[key] = make()
        return self._workspaces[key]

    # --- weights of checkpoints

    def round_to_nearest(self, weight: Tensor, grid: Grid, name: str = "weight") -> LowBitWeight:
        return self._host.round_to_nearest(weight, grid, name)

    def unpack_rows(self, words: Tensor, bits: int, order: Tensor | None = None) -> Tensor:
        return self._host.unpack_rows(words, bits, order)

    def unpack_awq(self, words: Tensor) -> Tensor:
        return self._host.unpack_awq(words)

    def pack(self, weight: LowBitWeight, *below: LowBitWeight) -> PackedWeight:
        packed = tc16.pack(*(part.to(self.device) for part in (weight, *below)))
        self.wait()  # kernels read weights before what was launched in front of them has ended
        return packed

    def unpack(self, weight: PackedWeight) -> LowBitWeight:
        return tc16.unpack(weight)

    # --- embedding, norm, activation

    def embedding(self, ids: Tensor, table: Tensor) -> Tensor:
        checks.embedding(ids, table, self.device.type)
        out = self._new(len(ids), table.shape[1])
        dtype = self._dtypes[table.dtype]
        self._device.queue().embedding(
            ids.data_ptr(), table.data_ptr(), dtype, out.data_ptr(), *out.shape, len(table)
        )
        return out

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        checks.norm(x, norm, self.device.type)
        out = self._new(*x.shape)
        self._device.queue().norm(x.data_ptr(), *self._norm(norm), out.data_ptr(), *x.shape)
        return out

    def gated_activation(self, x: Tensor, kind: Activation) -> Tensor:
        checks.activation("gated_activation", x, kind, device=self.device.type)
        out = self._new(len(x), x.shape[1] // 2)
        self._device.queue().gated_activation(
            x.data_ptr(), out.data_ptr(), *out.shape, self._activation(kind)
        )
        return out

    def activation(self, x: Tensor, kind: Activation, scale: Tensor | None = None) -> Tensor:
        checks.activation("activation", x, kind, scale, self.device.type)
        out = self._new(*x.shape)
        self._device.queue().activation(
            x.data_ptr(), optional_address(scale), out.data_ptr(), *x.shape, self._activation(kind)
        )
        return out

    def _norm(self, norm: Norm | None) -> tuple[Any, int, int, float]:
        """Kind, weight, bias and eps; a null weight for none."""
        kinds = self._device.native.NormKind
        if norm is None:
            return kinds.rms, 0, 0, 0.0
        return (
            getattr(kinds, norm.kind),
            norm.weight.data_ptr(),
            optional_address(norm.bias),
            norm.eps,
        )

    def _activation(self, kind: Activation | None) -> Any:
        return getattr(self._device.native.Activation, kind or "silu")

    # --- matmul

    def matmul(
        self,
        x: Tensor,
        weight: PackedWeight,
        bias: Tensor | None = None,
        *,
        norm: Norm | None = None,
        order: Tensor | None = None,
        gate: Activation | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        checks.matmul(x, weight, bias, norm, order, gate, residual, self.device.type)
        layout = self._layout(weight, "matmul")
        if gate is not None and weight.shape[0] % (2 * TILE_OUTPUTS):
            # The halves do not end with a tile.
            both = self.matmul(x, weight, bias, norm=norm, order=order)
            return self.gated_activation(both, gate)
        tokens, outputs = len(x), weight.shape[0]
        out = residual
        if out is None:
            out = self._new(tokens, outputs // 2 if gate else outputs)
        ending = (out, bias, gate, residual is not None)
        if tokens <= FEW_TOKENS:
            self._device.queue().gemv(
                x.data_ptr(),
                *self._norm(norm),
                optional_address(order),
                weight.data.data_ptr(),
                layout,
                *self._ending(*ending, tokens),
            )
        elif tokens <= self._gemm_tokens:
            halves, factors = self._halves(
                x, norm, order, tc16.padded_inputs(weight), GEMM_EXPONENT
            )
            self._device.queue().gemm(
                halves.data_ptr(),
                factors.data_ptr(),
                weight.data.data_ptr(),
                layout,
                *self._ending(*ending, tokens),
            )
        else:
            self._product_by_torch(x, weight, layout, norm, order, *ending)
        return out

    def _layout(self, weight: PackedWeight, op: str) -> Any:
        """The layout of a packed weight, whose memory is checked."""
        bits = tc16.stored_bits(weight.bits)
        group = tc16.packed_group(weight.group_size, weight.shape[1])
        size = (tc16.packed_bytes(weight.bits, weight.shape, weight.group_size),)
        name = f"packed weight of {op}"
        checks.check(weight.data, name, size, (torch.uint8,), self.device.type)
        return self._device.native.Tc16(bits, *weight.shape, group)

    def _ending(
        self, out: Tensor, bias: Tensor | None, gate: Activation | None, add: bool, tokens: int
    ) -> tuple[Any, ...]:
        """What every product is told at its end."""
        gating = (gate is not None, self._activation(gate))
        return optional_address(bias), out.data_ptr(), tokens, *gating, add

    def _halves(
        self, x: Tensor, norm: Norm | None, order: Tensor | None, padded: int, exponent: int
    ) -> tuple[Tensor, Tensor]:
        """x as products of many tokens read it: [T, padded] float16, the largest of a row about
        2^exponent, and [T] float32, by which the rows of their results are multiplied.
        """
        halves = self._new(len(x), padded, dtype=torch.float16)
        factors = self._new(len(x))
        self._device.queue().halves(
            x.data_ptr(),
            *self._norm(norm),
            optional_address(order),
            halves.data_ptr(),
            factors.data_ptr(),
            *x.shape,
            padded,
            exponent,
        )
        return halves, factors

    def _product_by_torch(
        self,
        x: Tensor,
        weight: PackedWeight,
        layout: Any,
        norm: Norm | None,
        order: Tensor | None,
        out: Tensor,
        bias: Tensor | None,
        gate: Activation | None,
        add: bool,
    ) -> None:
        """`matmul` with slices of the weight that are unpacked one after the other."""
        outputs, inputs = weight.shape
        halves, factors = self._halves(x, norm, order, inputs, TORCH_EXPONENT)
        product = out if gate is None and not add else self._new(len(x), outputs)
        rows = max(1, SLICE_BYTES // (2 * inputs * TILE_OUTPUTS)) * TILE_OUTPUTS
        unpacked = self._new(min(rows, outputs), inputs, dtype=torch.float16)
        for first in range(0, outputs, rows):
            count = min(rows, outputs - first)
            self._device.queue().dequantize(
                weight.data.data_ptr(), layout, first, count, unpacked.data_ptr(), inputs
            )
            self._device.settle()
            product[:, first : first + count] = halves @ unpacked[:count].T
        product *= factors.unsqueeze(1)
        if bias is not None:
            product += bias
        if gate is not None:
            self._device.queue().gated_activation(
                product.data_ptr(), out.data_ptr(), *out.shape, self._activation(gate)
            )
        elif add:
            out += product

    # --- refine

    def refine(self, logits: Tensor, x: Tensor, weight: PackedWeight, tiles: int) -> None:
        checks.refine(logits, x, weight, tiles, self.device.type)
        layout = self._layout(weight, "refine")
        all_tiles = -(-logits.shape[1] // TILE_OUTPUTS)
        tiles = min(tiles, all_tiles)
        keys, chosen, arrived = self._workspace(
            "refine", all_tiles, tiles, make=lambda: self._for_choosing(all_tiles, tiles)
        )
        for begin in range(0, len(x), FEW_TOKENS):
            some = slice(begin, begin + FEW_TOKENS)
            self._device.queue().refine(
                logits[some].data_ptr(),
                x[some].data_ptr(),
                weight.data.data_ptr(),
                layout,
                len(x[some]),
                tiles,
                keys.data_ptr(),
                chosen.data_ptr(),
                arrived.data_ptr(),
            )

    def _for_choosing(self, all_tiles: int, tiles: int) -> tuple[Tensor, ...]:
        """The maxima of tiles, those that are chosen, and the count of blocks that are done."""
        sizes = (FEW_TOKENS * all_tiles, FEW_TOKENS * tiles, FEW_TOKENS)
        return tuple(torch.zeros(n, dtype=torch.int32, device=self.device) for n in sizes)

    # --- sample

    def draws(self, vocabulary: int) -> Draws:
        return CudaDraws(self._device, vocabulary)

    def sample(self, logits: Tensor, rule: SamplingRule, recent: Tensor, uniform: float) -> int:
        checks.sample(logits, rule, recent, uniform, self.device.type)
        vocabulary = len(logits)
        if vocabulary not in self._draws:
            self._draws[vocabulary] = CudaDraws(self._device, vocabulary)
        return self._draws[vocabulary].draw_one(logits, rule, recent, uniform)

    # --- attention

    def attention(
        self,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        start: Tensor,
        shape: AttentionShape,
        rope: tuple[Tensor, Tensor] | None = None,
        alibi: Tensor | None = None,
        qk_norm: QKNorm | None = None,
    ) -> Tensor:
        checks.attention(qkv, keys, values, start, shape, rope, alibi, qk_norm, self.device.type)
        native = self._device.native
        cos, sin = rope or (None, None)
        rotation = native.Rotation(
            optional_address(cos), optional_address(sin), 0 if cos is None else cos.shape[1]
        )
        dtype = self._dtypes[keys.dtype]
        cache = native.Cache(keys.data_ptr(), values.data_ptr(), dtype, keys.shape[1])
        there = self._start(start)  # it must live until the launches
        if len(qkv) <= FEW_TOKENS or len(start) > 1:
            return self._attend_one_by_one(qkv, there, shape, rotation, cache, alibi, qk_norm)
        # NOTE: the host has to know where a chunk stands; a `start` on the card is waited for.
        first = int(start)
        q = self._new(len(qkv), shape.heads, shape.head_dim, dtype=torch.float16)
        tokens = self._new_tokens(qkv, there, shape, qk_norm)
        self._device.queue().rope_append(tokens, rotation, cache, q.data_ptr())
        self._device.settle()
        out = prefill_attention.attend(
            q, keys, values, first, shape, alibi, self._device.takes_groups
        )
        return self._device.keep(out)

    def _start(self, start: Tensor) -> Tensor:
        """On the card; one number of the host goes there as an argument, so that nobody waits."""
        if start.device == self.device or len(start) > 1:
            return start.to(self.device)
        return torch.full((1,), int(start), dtype=torch.int32, device=self.device)

    def _attend_one_by_one(
        self,
        qkv: Tensor,
        start: Tensor,
        shape: AttentionShape,
        rotation: Any,
        cache: Any,
        alibi: Tensor | None,
        qk_norm: QKNorm | None,
    ) -> Tensor:
        """Each token as if it came alone."""
        out = self._new(len(qkv), shape.heads * shape.head_dim)
        splits = self._splits(shape.kv_heads)
        key = ("attention", shape.heads, shape.head_dim, splits)
        gathered, arrived = self._workspace(*key, make=lambda: self._for_joining(shape, splits))
        for begin in range(0, len(qkv), FEW_TOKENS):
            some = slice(begin, begin + FEW_TOKENS)
            self._device.queue().attn_decode(
                self._new_tokens(qkv[some], start[begin:], shape, qk_norm),
                rotation,
                cache,
                optional_address(alibi),
                shape.scale,
                shape.window,
                splits,
                gathered.data_ptr(),
                arrived.data_ptr(),
                out[some].data_ptr(),
            )
        return out

    def _new_tokens(
        self, qkv: Tensor, start: Tensor, shape: AttentionShape, qk_norm: QKNorm | None
    ) -> Any:
        """As the kernels take them."""
        norm = qk_norm_arguments(qk_norm)
        sizes = (len(qkv), shape.heads, shape.kv_heads, shape.head_dim)
        return self._device.native.NewTokens(qkv.data_ptr(), start.data_ptr(), *norm, *sizes)

    def _splits(self, kv_heads: int) -> int:
        """Blocks that share the keys of a token and kv head: one number for every call, as it
        decides the last bits of a row; those that a short context does not need end at once.
        """
        blocks = BLOCKS_PER_MULTIPROCESSOR * self._device.multiprocessors
        return min(MOST_SPLITS, -(-blocks // kv_heads))

    def _for_joining(self, shape: AttentionShape, splits: int) -> tuple[Tensor, Tensor]:
        """What splits leave for the last of them, and the count of those that are done."""
        rows = (FEW_TOKENS, shape.heads)
        return (
            torch.empty(
                (*rows, splits, shape.head_dim + STATE_FLOATS),
                dtype=torch.float32,
                device=self.device,
            ),
            torch.zeros(rows, dtype=torch.int32, device=self.device),
        )

"""The closed set of ops that the model is made of: their names, shapes and meaning.

`Ops` is the contract. `reference.ReferenceOps` is its specification in plain torch, `cpu.CpuOps`
runs it through the native extension, and `dispatch.select` chooses one when a model is loaded.
Shape letters: T tokens now, S tokens the cache can hold, C width, H query heads, G kv heads, D
head size, R rotary size, F mlp width, V vocabulary, K inputs, N outputs, Q group size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from tinychat import limits
from tinychat.errors import KernelError

if TYPE_CHECKING:
    from tinychat.quantize.format import LowBitWeight
    from tinychat.quantize.grid import Grid

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
TILE_OUTPUTS = 16
"""Outputs that `Ops.refine` takes or leaves together: the rows that the CPU's layout keeps so."""


@dataclass(frozen=True)
class PackedWeight:
    """A low-bit weight in the private layout of the `Ops` that packed it; only that `Ops` may read
    `data`.

    Attributes:
        data: uint8, the packed bytes.
        bits: 2, 3, 4 or 8.
        shape: (N, K) of the matrix it stands for.
        group_size: Q, inputs that share a scale; K for a whole row.
    """

    data: Tensor
    bits: int
    shape: tuple[int, int]
    group_size: int

    @property
    def nbytes(self) -> int:
        """Bytes that one product with this weight reads."""
        return self.data.numel()


@dataclass
class Norm:
    """A normalization over the last axis: "rms" is x / sqrt(mean(x²) + eps) · weight, "layer" is
    (x - mean) / sqrt(var + eps) · weight + bias.

    Attributes:
        kind: which of the two.
        weight: [C] float32.
        eps: what keeps an empty row finite.
        bias: [C] float32; of a layer norm alone.
    """

    kind: Literal["rms", "layer"]
    weight: Tensor
    eps: float
    bias: Tensor | None = None


@dataclass(frozen=True)
class QKNorm:
    """An rms norm, as in `Norm`, of every head of q and of k by itself.

    Attributes:
        q, k: [D] float32, the weights that all heads of one kind share.
        eps: what keeps an empty head finite.
    """

    q: Tensor
    k: Tensor
    eps: float

    def to(self, device: torch.device) -> QKNorm:
        """The same on a device."""
        return QKNorm(self.q.to(device), self.k.to(device), self.eps)


@dataclass(frozen=True)
class AttentionShape:
    """What attention needs to know beside its tensors.

    Attributes:
        heads: H, query heads.
        kv_heads: G, key and value heads; H is a multiple of G.
        head_dim: D.
        scale: factor on q·k, usually D ** -0.5.
        window: a query at position i sees the keys at positions i - window < j <= i; 0 for all j
            <= i.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    window: int = 0


@dataclass(frozen=True)
class SamplingRule:
    """How one token is drawn: repetition penalty, then temperature, then top-k, top-p and min-p,
    then the draw.

    `temperature` 0 is greedy (the penalty still counts); `top_k` 0, `top_p` 1 and `min_p` 0 are
    off.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float


class RecordedPlan(Protocol):
    """Ops noted once over fixed memory, to be run again and again."""

    def run(self) -> None:
        """Run all ops, in order, on what their tensors hold now."""
        ...


class Draws(Protocol):
    """Draws tokens where the logits are, each for the step after it, so that the host need not come
    in between. A draw is an op: it can be recorded with the step that it ends.

    Attributes:
        token: [1] int32, the id that was drawn last.
        position: [1] int32, where it stands in the text.
    """

    token: Tensor
    position: Tensor

    def begin(
        self, rule: SamplingRule, recent: Tensor, uniform: Callable[[], float], position: int
    ) -> None:
        """Start a text.

        Args:
            rule: of all its draws.
            recent: [n] int32, ids that the penalty applies to; those that are drawn join them.
            uniform: called for the random number of each draw, in their order, some ahead.
            position: where the first token that is drawn will stand.
        """
        ...

    def draw(self, logits: Tensor) -> None:
        """Draw from logits [V] as `Ops.sample` does."""
        ...

    def provide(self) -> None:
        """Call it before each draw, or before the step is run that ends with one."""
        ...

    def drawn(self) -> Callable[[], int]:
        """Call it once after that: what waits for the draw and gives its token."""
        ...


@dataclass(frozen=True)
class OpTime:
    """What an op cost while a profile was taken.

    Attributes:
        name: of the op; matrix products of different shapes have names of their own.
        calls: how often it ran.
        seconds: of all calls.
        bytes, operations: weights read, multiplications and additions done, by all calls; 0 for
            what is not a matrix product.
    """

    name: str
    calls: int
    seconds: float
    bytes: float
    operations: float


class Ops(ABC):
    """Every op of the decoder. Activations are float32 and contiguous; outputs are new tensors,
    but for the residual of `matmul` and the logits of `refine`, which are changed in place.

    Attributes:
        name: which implementation it is, for instance "cpu-avx2".
        threads: how many threads an op uses.
        device: where the tensors of its ops are. What makes low-bit weights of a checkpoint's
            tensors (`round_to_nearest`, `unpack_rows`, `unpack_awq`) takes and gives those of the
            host, and `pack` takes them from there.
        can_record: whether `record` is there, so that a step can be replayed in one native call.
        records_torch: whether a recording holds what torch does in it, too.
        needs_warm_up: whether what is recorded must have been run once before.
        prefill_chunk: tokens of a prompt that are evaluated in one go: they bound the memory of the
            activations and how long a cancel has to wait.
        alone_tokens: up to so many tokens with a position each (see `attention`), the row of each
            is bit for bit what it is when its token comes alone, in every op.
        kv_dtypes: what the cache may be.
    """

    name: str
    threads: int
    device = torch.device("cpu")
    can_record = False
    records_torch = False
    needs_warm_up = False
    prefill_chunk = 256
    alone_tokens = limits.DRAFT_TOKENS + 1  # no step has more
    kv_dtypes: tuple[torch.dtype, ...] = (
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int8,
    )

    def record(self) -> AbstractContextManager[RecordedPlan]:
        """Inside `with ops.record() as plan:` ops are noted, not run; their outputs are allocated
        as usual.
        """
        raise KernelError(f"{self.name} cannot record")

    def available_bytes(self) -> int | None:
        """Memory that is free for a model; None for what the machine has."""
        return None

    def draws(self, vocabulary: int) -> Draws | None:
        """What draws tokens of a vocabulary without the host; None where the host is as near."""
        return None

    def wait(self) -> None:
        """Until all that was asked for is done; nothing where ops have run when they return."""
        return None

    def profile(self) -> AbstractContextManager[list[OpTime]]:
        """After `with ops.profile() as times:` the list says what each op cost, dearest first."""
        raise KernelError(f"{self.name} cannot take a profile")

    def close(self) -> None:
        """Free what the implementation holds. Calling it again does nothing."""
        return None

    @abstractmethod
    def pack(self, weight: LowBitWeight, *below: LowBitWeight) -> PackedWeight:
        """Bring a canonical weight of 2, 3, 4 or 8 bits into this implementation's layout, and
        others that are alike (`quantize.format.alike`) below it, as one.

        The columns stay in the order that they have. A weight's `order` is not part of the result:
        who multiplies gives it to `matmul`.
        """

    @abstractmethod
    def unpack(self, weight: PackedWeight) -> LowBitWeight:
        """The inverse of `pack`, exact but for `order`, which a packed weight does not have."""

    @abstractmethod
    def round_to_nearest(self, weight: Tensor, grid: Grid, name: str = "weight") -> LowBitWeight:
        """Round a float matrix to integers, each group of weights to the grid that spans it.

        Args:
            weight: [N, K] float32, float16 or bfloat16.
            grid: its group size divides K.
            name: the tensor's name, for messages.
        Raises: ArgumentError for a group size that does not fit, CheckpointError naming the tensor
            if a weight is NaN, infinite or beyond float16 scales.
        """

    @abstractmethod
    def unpack_rows(self, words: Tensor, bits: int, order: Tensor | None = None) -> Tensor:
        """Read every row as one stream of integers, lowest bits first, as GPTQ files hold them.

        Args:
            words: [R, W] int32 of any strides; 32·W divisible by `bits`.
            bits: 2, 3, 4 or 8; three go on in the next word.
            order: [32·W/bits] int32, a permutation: column j of the result is integer order[j].
        Returns: [R, 32·W/bits] uint8.
        """

    @abstractmethod
    def unpack_awq(self, words: Tensor) -> Tensor:
        """Take apart the words of AWQ's "gemm" files.

        Args:
            words: [K, N/8] int32; word c of a row holds columns 8·c to 8·c + 7, in the order
                0, 2, 4, 6, 1, 3, 5, 7 from the lowest four bits up.
        Returns: [N, K] uint8.
        """

    @abstractmethod
    def embedding(self, ids: Tensor, table: Tensor) -> Tensor:
        """Look up rows.

        Args:
            ids: [T] int32, each in 0..V-1 (the caller checks).
            table: [V, C] float32, float16 or bfloat16.
        Returns: [T, C] float32.
        """

    @abstractmethod
    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        """Normalize the rows of x [T, C]. Returns [T, C]."""

    @abstractmethod
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
        """Multiply activations by a packed weight: x @ dequantize(weight).T + bias, with what comes
        right before and right after it in a decoder.

        The CPU rounds x to int8 with one scale per row and group of inputs, sums in int32 inside a
        group and in float32 across groups.

        Args:
            x: [T, K].
            weight: [N, K], from this object's `pack`.
            bias: [N] float32.
            norm: x is normalized first.
            order: [K] int32, each in 0..K-1 (checked once, by whoever read the weight): then
                x = x[:, order], the inputs of a weight whose columns stand in another order
                (act-order). What is outside gives wrong columns on the CPU, but never reads outside
                of x.
            gate: the result [T, N] becomes act(its first half) · its second half, [T, N / 2].
            residual: [T, N], changed in place, residual += result; shares no memory with x; not
                with a gate.
        Returns: [T, N], or [T, N / 2] with a gate; `residual` itself where there is one.
        """

    @abstractmethod
    def refine(self, logits: Tensor, x: Tensor, weight: PackedWeight, tiles: int) -> None:
        """Add a second product where it can matter: logits += x @ dequantize(weight).T, in the
        outputs next to the largest ones.

        Outputs are taken in tiles of `TILE_OUTPUTS` that follow one another; the last may be
        shorter. In each row the tiles with the largest maxima are refined, the first of equal ones;
        NaN counts as minus infinity. A row is bit for bit the same, whatever comes with it.

        Args:
            logits: [T, N], changed in place.
            x: [T, K], rounded as in `matmul`.
            weight: [N, K], from this object's `pack`.
            tiles: how many are refined in a row, at least 1; as many as there are, or more, for
                all.
        """

    @abstractmethod
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
        """Normalize and rotate q and k, append k and v to the cache, and attend causally: one op
        for a chunk and for a token.

        Token t of the call stands at position start + t. Rotation is the half-split (NeoX) form
        over the first R
        of D dimensions: (a, b) -> (a·cos - b·sin, b·cos + a·sin) with a = x[0:R/2], b = x[R/2:R].

        Args:
            qkv: [T, (H + 2G)·D], the heads of q, then k, then v. Not changed.
            keys, values: [G, S, D] float32, float16 or bfloat16, one layer's cache; positions
                start..start+T-1 are written (k after rotation), earlier ones read. Or [G, S, D + 4]
                int8: a row's codes, and behind them its scale as the bytes of a float32.
            start: [1] int32, read when the op runs, so that a recorded step can be replayed; the
                caller ensures start + T <= S. Of a chunk it is best in the host's memory, which
                ops on any device take. Or [T], the positions of all tokens (start,
                start + 1, …): they are then attended to one by one, and each row is bit for bit
                what it is when its token comes alone. A chunk's rows may differ in their last bits.
            shape: heads, scale and window.
            rope: (cos, sin), each [at least S, R/2] float32; None for no rotation.
            alibi: [H] float32, added to the scaled score as alibi[h] · (j - i).
            qk_norm: of the heads of q and k, before they are rotated; None for none.
        Returns: [T, H·D].
        """

    @abstractmethod
    def gated_activation(self, x: Tensor, kind: Activation) -> Tensor:
        """act(gate) · up, where x [T, 2F] holds gate in its first F columns and up in the rest.
        Returns [T, F].
        """

    @abstractmethod
    def activation(self, x: Tensor, kind: Activation, scale: Tensor | None = None) -> Tensor:
        """act(x) · scale, [T, F] -> [T, F]; "gelu" is the exact (erf) form.

        Args:
            scale: [F] float32, AWQ's factors for the inputs of the next matrix, where none before
                can absorb them; None for 1.
        """

    @abstractmethod
    def sample(self, logits: Tensor, rule: SamplingRule, recent: Tensor, uniform: float) -> int:
        """Choose one token.

        The penalty divides a positive logit and multiplies a negative one, once per distinct id in
        `recent`. Of equal logits the lowest id counts as larger. The draw takes the first token,
        in descending order of probability, at which the cumulative probability of the kept tokens
        exceeds `uniform` of their sum.

        Args:
            logits: [V]. Not changed. NaN counts as minus infinity.
            recent: [n] int32, ids that the penalty applies to; may be empty. Best in the host's
                memory, which ops on any device take.
            uniform: the random number of this step, 0 <= uniform < 1.
        """

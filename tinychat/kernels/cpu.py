"""`CpuOps`: every op on the CPU through the native extension; checks here, arithmetic there.

Outside a recording an op runs before it returns. Inside `with ops.record() as plan:` it is only
noted, with its output allocated as usual, and `plan.run()` runs all that was noted in one native
call.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from tinychat import limits
from tinychat.errors import ArgumentError, KernelError
from tinychat.kernels import (
    Activation,
    AttentionShape,
    Norm,
    Ops,
    OpTime,
    PackedWeight,
    QKNorm,
    SamplingRule,
    _cpu,
    checks,
)
from tinychat.kernels.arena import Arena, large_pages
from tinychat.kernels.checks import address, optional_address, qk_norm_arguments
from tinychat.kernels.cores import usable_cores
from tinychat.quantize.format import GROUP_SIZES, LowBitWeight, alike, concatenate
from tinychat.quantize.grid import Grid, check_scales

_DTYPES = {
    torch.float32: _cpu.DType.float32,
    torch.float16: _cpu.DType.float16,
    torch.bfloat16: _cpu.DType.bfloat16,
    torch.int8: _cpu.DType.int8,
}
_ACTIVATIONS = {
    "silu": _cpu.Activation.silu,
    "gelu": _cpu.Activation.gelu,
    "gelu_tanh": _cpu.Activation.gelu_tanh,
    "relu": _cpu.Activation.relu,
}
_NORMS = {"rms": _cpu.NormKind.rms, "layer": _cpu.NormKind.layer}


def _norm_arguments(norm: Norm | None) -> tuple[_cpu.NormKind, int, int, float]:
    """Kind, weight, bias and eps; a null weight for none."""
    if norm is None:
        return _cpu.NormKind.rms, 0, 0, 0.0
    return _NORMS[norm.kind], norm.weight.data_ptr(), optional_address(norm.bias), norm.eps


def _norm_tensors(norm: Norm | None) -> tuple[Tensor | None, ...]:
    return () if norm is None else (norm.weight, norm.bias)


class Plan:
    """Recorded ops over fixed memory. It keeps every tensor that they touch alive."""

    def __init__(self, context: _cpu.Context) -> None:
        self._context = context
        self._native: _cpu.Plan | None = None
        self._tensors: list[Tensor] = []

    def __len__(self) -> int:
        """The number of recorded ops."""
        return 0 if self._native is None else len(self._native)

    def run(self) -> None:
        """Run all ops, in order, on the current contents of their tensors."""
        if self._native is None:
            raise KernelError("this plan was not recorded to its end; run it after the with block")
        self._context.run(self._native)


class CpuOps(Ops):
    """The ops on the CPU. One object owns one thread pool and serves one model.

    Args:
        isa: "scalar", "avx2", "avx_vnni", "avx512_vnni" or "amx"; None for the best that this CPU
            runs.
        threads: size of the pool, the calling thread included; None for `usable_cores()`.
    Raises: ArgumentError for an ISA that cannot run here and for a senseless number of threads.
    """

    can_record = True

    def __init__(self, isa: str | None = None, threads: int | None = None) -> None:
        if threads is None:
            threads = usable_cores()
        if not 1 <= threads <= limits.THREADS:
            raise ArgumentError(f"threads={threads}; expected 1 to {limits.THREADS}")
        try:
            self._context = _cpu.Context(isa or "", threads)
        except ValueError as error:
            raise ArgumentError(str(error)) from None
        self.name = f"cpu-{self._context.isa}"
        self.threads = threads
        self._plan: Plan | None = None
        self._profiled = False
        self._arena = Arena()

    @contextmanager
    def record(self) -> Iterator[Plan]:
        """Record the ops of the with block into a plan instead of running them."""
        if self._plan is not None:
            raise KernelError("a plan is being recorded already; recordings do not nest")
        self._context.begin_record()
        plan = self._plan = Plan(self._context)
        try:
            yield plan
        finally:
            self._plan = None
            native = self._context.end_record()
        plan._native = native

    @contextmanager
    def profile(self) -> Iterator[list[OpTime]]:
        """See `Ops.profile`. Raises: KernelError inside another profile."""
        if self._profiled:
            raise KernelError("a profile is being taken already; profiles do not nest")
        self._context.begin_profile()
        self._profiled = True
        times: list[OpTime] = []
        try:
            yield times
        finally:
            self._profiled = False
            found = self._context.end_profile()
        times += [OpTime(*values) for values in found]
        times.sort(key=lambda time: -time.seconds)

    def close(self) -> None:
        """Stop the threads. Idempotent; ops raise KernelError afterwards."""
        self._context.close()

    def read_bandwidth(self, nbytes: int, repeats: int = 5) -> float:
        """The read bandwidth that decoding is held against, in GB/s: the fastest of `repeats`.

        Args:
            nbytes: size of the buffer that all threads read; several times the last cache.
            repeats: how often.
        """
        if nbytes < 1 << 20 or repeats < 1:
            raise ArgumentError(
                f"nbytes={nbytes}, repeats={repeats}: expected at least 1048576 and 1"
            )
        return self._context.read_bandwidth(nbytes, repeats)

    def int8_rate(self, repeats: int = 5) -> float:
        """The arithmetic that prefill is held against, in 10^9 operations a second: the fastest of
        `repeats` bursts of int8 multiplications and additions (two operations) from registers.
        """
        if repeats < 1:
            raise ArgumentError(f"repeats={repeats}: expected at least 1")
        return self._context.int8_rate(repeats)

    def _new(self, *shape: int) -> Tensor:
        """An output, float32."""
        return torch.empty(shape, dtype=torch.float32)

    def _keep(self, *tensors: Tensor | None) -> None:
        """Keep what the op just submitted points to alive for as long as its plan."""
        if self._plan is not None:
            self._plan._tensors.extend(tensor for tensor in tensors if tensor is not None)

    # --- pack ---

    def pack(self, weight: LowBitWeight, *below: LowBitWeight) -> PackedWeight:
        self._refuse_recording("pack")
        parts = [weight, *below]
        if not alike(parts) or any(p.codes.shape[0] % _cpu.TILE_ROWS for p in parts[:-1]):
            parts = [concatenate(parts)]
        shape = (sum(part.codes.shape[0] for part in parts), weight.codes.shape[1])
        data = self.reserve(self.packed_bytes(weight.bits, shape, weight.group_size))
        place = data.data_ptr()
        for part in parts:  # whole tiles, so each has memory of its own
            packing = self._packing(part.bits, part.codes.shape, part.group_size)
            self._context.pack(*self._canonical(part, "weight of pack"), place, *packing)
            place += _cpu.packed_bytes(*packing)
        return PackedWeight(data, weight.bits, shape, weight.group_size)

    def packed_bytes(self, bits: int, shape: tuple[int, int], group_size: int) -> int:
        """Size of a packed weight."""
        return _cpu.packed_bytes(*self._packing(bits, shape, group_size))

    def reserve(self, nbytes: int) -> Tensor:
        """Memory for the bytes of a packed weight, uninitialized."""
        return self._arena.take(nbytes)

    def unpack(self, weight: PackedWeight) -> LowBitWeight:
        packing = self._packing(weight.bits, weight.shape, weight.group_size)
        self._refuse_recording("unpack")
        data_at = address(
            weight.data, "weight of unpack", (_cpu.packed_bytes(*packing),), (torch.uint8,)
        )
        rows, cols = weight.shape
        groups = -(-cols // weight.group_size)
        canonical = LowBitWeight(
            codes=torch.empty((rows, cols), dtype=torch.uint8),
            scales=torch.empty((rows, groups), dtype=torch.float16),
            zeros=torch.empty((rows, groups), dtype=torch.uint8),
            bits=weight.bits,
            group_size=weight.group_size,
        )
        self._context.unpack(*self._canonical(canonical, "weight of unpack"), data_at, *packing)
        return canonical

    def _packed(self, weight: PackedWeight, op: str) -> tuple[int, tuple[int, int, int, int]]:
        """The address of a packed weight and its `_packing`."""
        packing = self._packing(weight.bits, weight.shape, weight.group_size)
        size = (_cpu.packed_bytes(*packing),)
        return address(weight.data, f"packed weight of {op}", size, (torch.uint8,)), packing

    @staticmethod
    def _packing(bits: int, shape: tuple[int, ...], group_size: int) -> tuple[int, int, int, int]:
        """(bits, N, K, Q as packed) of a weight; Q of a whole row is 128 with a repeated scale."""
        checks.bits(bits)
        rows, cols = shape
        if rows < 1 or cols < 1:
            raise KernelError(f"a weight has shape {list(shape)}, expected no empty axis")
        if group_size in GROUP_SIZES:
            return bits, rows, cols, group_size
        if group_size == cols:
            return bits, rows, cols, max(GROUP_SIZES)
        expected = ", ".join(map(str, GROUP_SIZES))
        raise KernelError(
            f"a weight has group_size={group_size}, expected one of {expected} or K={cols}"
        )

    @staticmethod
    def _canonical(weight: LowBitWeight, name: str) -> tuple[int, int, int, int]:
        """Addresses of codes, scales and zeros, and the number of groups in a row."""
        rows, cols = weight.codes.shape
        groups = -(-cols // weight.group_size)
        return (
            address(weight.codes, f"codes in {name}", (rows, cols), (torch.uint8,)),
            address(weight.scales, f"scales in {name}", (rows, groups), (torch.float16,)),
            address(weight.zeros, f"zeros in {name}", (rows, groups), (torch.uint8,)),
            groups,
        )

    def _refuse_recording(self, op: str) -> None:
        if self._plan is not None:
            raise KernelError(f"{op} cannot be recorded; call it outside `with ops.record()`")

    # --- files of packed weights ---

    def map_file(self, file: int, nbytes: int) -> Tensor:
        """An open file as memory for ops to read.

        Where the file is cut short, or its disk fails, every op that runs afterwards raises
        CheckpointError.

        Args:
            file: its descriptor.
            nbytes: its size.
        Returns: [nbytes] uint8; writing to it ends the process.
        Raises: RuntimeError where it cannot be mapped.
        """
        mapped = self._context.map_file(file, nbytes)
        with warnings.catch_warnings():
            # torch warns that writing to the tensor is undefined.
            warnings.simplefilter("ignore", UserWarning)
            return torch.frombuffer(mapped, dtype=torch.uint8)

    def read_file(self, file: int, begin: int, data: Tensor) -> int | None:
        """Fill memory from an open file.

        Args:
            file: its descriptor.
            begin: place in the file.
            data: contiguous.
        Returns: the `checksum` of what was read; None where the file is shorter or cannot be read.
        """
        return self._context.read_file(file, begin, data.data_ptr(), data.nbytes)

    def checksum(self, data: Tensor) -> int:
        """A sum over the bytes of a contiguous tensor and their places: it tells damage."""
        return self._context.checksum(data.data_ptr(), data.nbytes)

    # --- round_to_nearest ---

    def round_to_nearest(self, weight: Tensor, grid: Grid, name: str = "weight") -> LowBitWeight:
        self._refuse_recording("round_to_nearest")
        checks.round_to_nearest(weight, "cpu")
        rows, cols = weight.shape
        width = grid.width(cols, name)
        scales = torch.empty((rows, cols // width), dtype=torch.float16)
        zeros = torch.empty((rows, cols // width), dtype=torch.uint8)
        codes = large_pages(rows * cols).view(rows, cols)
        self._context.round_to_nearest(
            weight.data_ptr(),
            _DTYPES[weight.dtype],
            codes.data_ptr(),
            scales.data_ptr(),
            zeros.data_ptr(),
            rows,
            cols,
            grid.bits,
            width,
            grid.symmetric,
        )
        check_scales(scales, name)
        return LowBitWeight(codes, scales, zeros, grid.bits, width)

    # --- unpack_rows, unpack_awq ---

    def unpack_rows(self, words: Tensor, bits: int, order: Tensor | None = None) -> Tensor:
        self._refuse_recording("unpack_rows")
        checks.unpack_rows(words, bits, order, "cpu")
        rows, width = words.shape
        codes = large_pages(rows * width * 32 // bits).view(rows, width * 32 // bits)
        self._context.unpack_rows(
            words.data_ptr(),
            words.stride(0),
            words.stride(1),
            optional_address(order),
            codes.data_ptr(),
            rows,
            width,
            bits,
        )
        return codes

    def unpack_awq(self, words: Tensor) -> Tensor:
        self._refuse_recording("unpack_awq")
        checks.unpack_awq(words, "cpu")
        inputs, width = words.shape
        codes = large_pages(8 * width * inputs).view(8 * width, inputs)
        self._context.unpack_awq(words.data_ptr(), codes.data_ptr(), inputs, width)
        return codes

    # --- matmul ---

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
        checks.matmul(x, weight, bias, norm, order, gate, residual, "cpu")
        weight_at, packing = self._packed(weight, "matmul")
        tokens, outputs = x.shape[0], weight.shape[0]
        out = residual
        if out is None:
            out = self._new(tokens, outputs // 2 if gate else outputs)
        self._context.matmul(
            x.data_ptr(),
            *_norm_arguments(norm),
            optional_address(order),
            weight_at,
            optional_address(bias),
            out.data_ptr(),
            tokens,
            *packing,
            gate=None if gate is None else _ACTIVATIONS[gate],
            add=residual is not None,
        )
        self._keep(x, *_norm_tensors(norm), order, weight.data, bias, out)
        return out

    # --- refine ---

    def refine(self, logits: Tensor, x: Tensor, weight: PackedWeight, tiles: int) -> None:
        checks.refine(logits, x, weight, tiles, "cpu")
        weight_at, packing = self._packed(weight, "refine")
        most = min(tiles, weight.shape[0])  # more than there are; it must fit into an int
        self._context.refine(logits.data_ptr(), x.data_ptr(), weight_at, x.shape[0], most, *packing)
        self._keep(logits, x, weight.data)

    # --- norm ---

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        checks.norm(x, norm, "cpu")
        rows, cols = x.shape
        out = self._new(rows, cols)
        self._context.norm(x.data_ptr(), *_norm_arguments(norm), out.data_ptr(), rows, cols)
        self._keep(x, *_norm_tensors(norm), out)
        return out

    # --- embedding ---

    def embedding(self, ids: Tensor, table: Tensor) -> Tensor:
        checks.embedding(ids, table, "cpu")
        rows, cols = ids.shape[0], table.shape[1]
        out = self._new(rows, cols)
        dtype = _DTYPES[table.dtype]
        self._context.embedding(ids.data_ptr(), table.data_ptr(), dtype, out.data_ptr(), rows, cols)
        self._keep(ids, table, out)
        return out

    # --- attention ---

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
        checks.attention(qkv, keys, values, start, shape, rope, alibi, qk_norm, "cpu")
        cos, sin = rope if rope is not None else (None, None)
        out = self._new(qkv.shape[0], shape.heads * shape.head_dim)
        at_once = qkv.shape[0] if len(start) == 1 else 1
        calls = zip(
            torch.split(qkv, at_once), torch.split(start, 1), torch.split(out, at_once), strict=True
        )
        for tokens, position, rows in calls:
            self._context.attention(
                tokens.data_ptr(),
                keys.data_ptr(),
                values.data_ptr(),
                _DTYPES[keys.dtype],
                position.data_ptr(),
                optional_address(cos),
                optional_address(sin),
                optional_address(alibi),
                *qk_norm_arguments(qk_norm),
                rows.data_ptr(),
                len(tokens),
                shape.heads,
                shape.kv_heads,
                shape.head_dim,
                capacity=keys.shape[1],
                rotary_half=0 if cos is None else cos.shape[1],
                window=shape.window,
                scale=shape.scale,
            )
        norms = (qk_norm.q, qk_norm.k) if qk_norm is not None else ()
        self._keep(qkv, keys, values, start, cos, sin, alibi, *norms, out)
        return out

    # --- activation ---

    def gated_activation(self, x: Tensor, kind: Activation) -> Tensor:
        checks.activation("gated_activation", x, kind, device="cpu")
        rows, cols = x.shape[0], x.shape[1] // 2
        out = self._new(rows, cols)
        self._context.gated_activation(x.data_ptr(), out.data_ptr(), rows, cols, _ACTIVATIONS[kind])
        self._keep(x, out)
        return out

    def activation(self, x: Tensor, kind: Activation, scale: Tensor | None = None) -> Tensor:
        checks.activation("activation", x, kind, scale, "cpu")
        rows, cols = x.shape
        out = self._new(rows, cols)
        self._context.activation(
            x.data_ptr(), optional_address(scale), out.data_ptr(), rows, cols, _ACTIVATIONS[kind]
        )
        self._keep(x, scale, out)
        return out

    # --- sample ---

    def sample(self, logits: Tensor, rule: SamplingRule, recent: Tensor, uniform: float) -> int:
        checks.sample(logits, rule, recent, uniform, "cpu")
        self._refuse_recording("sample")
        vocabulary = logits.shape[0]
        token = self._context.sample(
            logits.data_ptr(),
            vocabulary,
            recent.data_ptr(),
            recent.shape[0],
            rule.temperature,
            min(rule.top_k, vocabulary),
            rule.top_p,
            rule.min_p,
            rule.repetition_penalty,
            uniform,
        )
        if token < 0:
            checks.recent(recent, vocabulary)  # raises
        return token

"""Types of the native CPU extension (csrc/bindings.cpp). Arrays are passed as their addresses."""

from typing import ClassVar

def isas() -> list[tuple[str, str]]:
    """(name, why it cannot run here or ""), the preferred one first."""

TILE_ROWS: int
"""Rows of a weight that its layout keeps together."""

def packed_bytes(bits: int, rows: int, cols: int, group: int) -> int:
    """Size of a packed weight, in the layout of csrc/w4.h."""

class DType:
    float32: ClassVar[DType]
    float16: ClassVar[DType]
    bfloat16: ClassVar[DType]
    int8: ClassVar[DType]

class Activation:
    silu: ClassVar[Activation]
    gelu: ClassVar[Activation]
    gelu_tanh: ClassVar[Activation]
    relu: ClassVar[Activation]

class NormKind:
    rms: ClassVar[NormKind]
    layer: ClassVar[NormKind]

def prefer_large_pages(memory: int, bytes: int) -> None:
    """Ask for large pages behind memory that is not written yet; advice only."""

class MappedFile:
    """A buffer of bytes that cannot be written."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

class Plan:
    def __len__(self) -> int: ...

class Context:
    def __init__(self, isa: str, threads: int) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...
    def close(self) -> None: ...
    def begin_record(self) -> None: ...
    def end_record(self) -> Plan: ...
    def run(self, plan: Plan) -> None: ...
    def begin_profile(self) -> None: ...
    def end_profile(self) -> list[tuple[str, int, float, float, float]]:
        """Of every op that ran: name, calls, seconds, bytes of weights and operations of all."""

    def read_bandwidth(self, bytes: int, repeats: int) -> float:
        """The fastest of `repeats` reads of a buffer of `bytes` by all threads, in GB/s."""

    def int8_rate(self, repeats: int) -> float:
        """Int8 multiplications and additions from registers by all threads, in 10^9 a second."""

    # --- matmul ---
    def matmul(
        self,
        x: int,
        norm: NormKind,
        norm_weight: int,
        norm_bias: int,
        eps: float,
        order: int,
        weight: int,
        bias: int,
        out: int,
        tokens: int,
        bits: int,
        rows: int,
        cols: int,
        group: int,
        gate: Activation | None,
        add: bool,
    ) -> None:
        """No norm where `norm_weight` is 0."""

    # --- refine ---
    def refine(
        self,
        logits: int,
        x: int,
        weight: int,
        tokens: int,
        tiles: int,
        bits: int,
        rows: int,
        cols: int,
        group: int,
    ) -> None: ...

    # --- pack ---
    def pack(
        self,
        codes: int,
        scales: int,
        zeros: int,
        groups: int,
        packed: int,
        bits: int,
        rows: int,
        cols: int,
        group: int,
    ) -> None: ...
    def unpack(
        self,
        codes: int,
        scales: int,
        zeros: int,
        groups: int,
        packed: int,
        bits: int,
        rows: int,
        cols: int,
        group: int,
    ) -> None: ...

    # --- map_file, read_file, checksum ---
    def map_file(self, file: int, bytes: int) -> MappedFile:
        """Raises: RuntimeError where it cannot be mapped."""

    def read_file(self, file: int, offset: int, to: int, bytes: int) -> int | None:
        """The checksum of what was read; None where the file is shorter or cannot be read."""

    def checksum(self, data: int, bytes: int) -> int: ...

    # --- round_to_nearest ---
    def round_to_nearest(
        self,
        weights: int,
        dtype: DType,
        codes: int,
        scales: int,
        zeros: int,
        rows: int,
        cols: int,
        bits: int,
        group: int,
        symmetric: bool,
    ) -> None:
        """A group that holds an infinity or a NaN gets one as its scale."""

    # --- unpack_rows ---
    def unpack_rows(
        self,
        words: int,
        row_stride: int,
        word_stride: int,
        order: int,
        codes: int,
        rows: int,
        words_per_row: int,
        bits: int,
    ) -> None: ...

    # --- unpack_awq ---
    def unpack_awq(self, words: int, codes: int, inputs: int, words_per_input: int) -> None: ...

    # --- norm ---
    def norm(
        self,
        x: int,
        kind: NormKind,
        weight: int,
        bias: int,
        eps: float,
        out: int,
        rows: int,
        cols: int,
    ) -> None: ...

    # --- embedding ---
    def embedding(
        self, ids: int, table: int, dtype: DType, out: int, rows: int, cols: int
    ) -> None: ...

    # --- attention ---
    def attention(
        self,
        qkv: int,
        keys: int,
        values: int,
        dtype: DType,
        start: int,
        cos: int,
        sin: int,
        alibi: int,
        q_norm: int,
        k_norm: int,
        norm_eps: float,
        out: int,
        tokens: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        capacity: int,
        rotary_half: int,
        window: int,
        scale: float,
    ) -> None: ...

    # --- activation ---
    def activation(
        self, x: int, scale: int, out: int, rows: int, cols: int, kind: Activation
    ) -> None: ...
    def gated_activation(
        self, x: int, out: int, rows: int, cols: int, kind: Activation
    ) -> None: ...

    # --- sample ---
    def sample(
        self,
        logits: int,
        vocabulary: int,
        recent: int,
        recent_count: int,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        penalty: float,
        uniform: float,
    ) -> int:
        """The token, or -1 if `recent` holds an id outside the vocabulary. Never recorded."""

"""Types of what csrc/cuda/bindings.cpp gives to both modules, on a card and emulated.

There is no such module, only its types. Arrays are passed as their addresses; csrc/cuda/ops.h has
their shapes.
"""

from typing import ClassVar

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

class Tc16:
    """The layout of a weight (csrc/cuda/tc16.h); sizes and places in bytes."""

    def __init__(self, bits: int, rows: int, cols: int, group: int) -> None: ...
    def bytes(self) -> int: ...
    def scale(self, row: int, col: int) -> int:
        """Of the scale and zero, two float16, of an element's group."""
    def code(self, row: int, col: int) -> tuple[int, int]:
        """Of an element's code, and how far it is shifted in its byte."""

class NewTokens:
    """New tokens that follow each other."""

    def __init__(
        self,
        qkv: int,
        start: int,
        q_norm: int,
        k_norm: int,
        norm_eps: float,
        tokens: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
    ) -> None: ...

class Rotation:
    """The tables of angles; `half` is 0 for no rotation."""

    def __init__(self, cos: int, sin: int, half: int) -> None: ...

class Cache:
    """One layer's cache."""

    def __init__(self, keys: int, values: int, dtype: DType, capacity: int) -> None: ...

class Draws:
    """Draws that follow each other: their uniform numbers, their count, where tokens are left."""

    def __init__(
        self, uniforms: int, uniform_count: int, drawn: int, ring: int, ring_count: int
    ) -> None: ...

def sample_workspace(vocabulary: int) -> int:
    """Bytes."""

class Ops:
    """What a Queue, where launches go, has in both modules."""

    @property
    def arch(self) -> int: ...
    @property
    def programmatic(self) -> bool: ...

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
        self,
        ids: int,
        table: int,
        dtype: DType,
        out: int,
        rows: int,
        cols: int,
        vocabulary: int,
    ) -> None: ...

    # --- activation ---
    def activation(
        self, x: int, scale: int, out: int, rows: int, cols: int, kind: Activation
    ) -> None: ...
    def gated_activation(
        self, x: int, out: int, rows: int, cols: int, kind: Activation
    ) -> None: ...

    # --- attention ---
    def attn_decode(
        self,
        tokens: NewTokens,
        rotation: Rotation,
        cache: Cache,
        alibi: int,
        scale: float,
        window: int,
        splits: int,
        gathered: int,
        arrived: int,
        out: int,
    ) -> None: ...
    def rope_append(self, tokens: NewTokens, rotation: Rotation, cache: Cache, q: int) -> None: ...

    # --- gemv ---
    def gemv(
        self,
        x: int,
        norm: NormKind,
        norm_weight: int,
        norm_bias: int,
        eps: float,
        order: int,
        weight: int,
        layout: Tc16,
        bias: int,
        out: int,
        tokens: int,
        gated: bool,
        gate: Activation,
        add: bool,
    ) -> None: ...

    # --- gemm ---
    def dequantize(
        self, weight: int, layout: Tc16, first_row: int, rows: int, out: int, out_cols: int
    ) -> None: ...
    def halves(
        self,
        x: int,
        norm: NormKind,
        norm_weight: int,
        norm_bias: int,
        eps: float,
        order: int,
        out: int,
        factors: int,
        tokens: int,
        cols: int,
        out_cols: int,
        exponent: int,
    ) -> None: ...
    def gemm(
        self,
        x16: int,
        factors: int,
        weight: int,
        layout: Tc16,
        bias: int,
        out: int,
        tokens: int,
        gated: bool,
        gate: Activation,
        add: bool,
    ) -> None: ...

    # --- refine ---
    def refine(
        self,
        logits: int,
        x: int,
        weight: int,
        layout: Tc16,
        tokens: int,
        tiles: int,
        keys: int,
        chosen: int,
        arrived: int,
    ) -> None: ...

    # --- sample ---
    def sample(
        self,
        logits: int,
        vocabulary: int,
        rule: int,
        draws: Draws,
        seen: int,
        token: int,
        position: int,
        workspace: int,
    ) -> None: ...

"""How much memory a model will take here, and how much there is: asked before loading, not found
out by dying. Where it runs out all the same, that is one plain error, too.

Light to import: what comes with torch is imported where it is used.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tinychat.errors import ArgumentError, NotEnoughMemoryError

if TYPE_CHECKING:
    from tinychat.config import ModelConfig

# Below this many tokens a chat is of no use; a machine that cannot hold them is refused.
MIN_CONTEXT = 256
# Left alone for the interpreter, the tokenizer, activations and everybody else.
RESERVED_BYTES = 256 << 20
# Packed weights carry a float16 scale and a zero point, a byte or for a card another float16, per
# row and group; a card keeps codes of 2 and 3 bits as 4.
GROUP_OVERHEAD_BYTES = 3
GROUP_OVERHEAD_BYTES_ON_CARD = 4
LEAST_BITS_ON_CARD = 4

# What torch says where an allocation fails. It raises a RuntimeError like any other; a type of its
# own exists for CUDA only.
_RAN_OUT = re.compile(
    "can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc",
    re.IGNORECASE,
)
_ASKED = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)


@contextmanager
def memory_errors(doing: str, way_out: str) -> Iterator[None]:
    """Turn whatever Python, torch or the system raises where memory runs out into one plain error.

    Args:
        doing: what is done meanwhile, such as "loading the model".
        way_out: what would take less.
    Raises: NotEnoughMemoryError.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not _ran_out(error):
            raise
        asked = _ASKED.search(str(error))
        size = f" (the last request was for {asked[1]})" if asked else ""
        raise NotEnoughMemoryError(f"memory ran out while {doing}{size}; {way_out}") from None


def _ran_out(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or bool(_RAN_OUT.search(str(error)))


def available_bytes() -> int | None:
    """Memory that can still be used without swapping, the control group's limit included; None
    where unknown.
    """
    free = [n for n in (_meminfo_available(), _cgroup_available()) if n is not None]
    return min(free) if free else None


def _meminfo_available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _cgroup_available() -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
        # Page cache is given back under pressure, so it does not count as used.
        stat = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
        return None if limit == "max" else int(limit) - used + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        return None


def peak_bytes() -> int:
    """The most memory that this process has held at once; 0 where the system does not say."""
    try:
        # Linux: what getrusage says includes the program that a process was before exec.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_large_pages(address: int, nbytes: int) -> bool:
    """Whether most of a mapped file is there in large pages; False where the system does not say.

    Args:
        address: where the mapping begins. Every large page of it has been touched.
        nbytes: its size.
    """
    try:
        maps = Path("/proc/self/smaps").read_text()
    except OSError:
        return False
    _, _, fields = maps.partition(f"\n{address:x}-")
    large = re.search(r"^FilePmdMapped: +(\d+) kB$", fields, re.MULTILINE)
    return large is not None and 2 * 1024 * int(large[1]) > nbytes


def parameter_count(config: ModelConfig) -> int:
    """Weights in the model's matrices; norms and biases are too few to count."""
    block = sum(n * k for n, k in config.block_matrices().values())
    table = config.vocab_size * config.hidden_size
    return config.num_layers * block + table * (1 if config.tie_word_embeddings else 2)


def weight_bytes(config: ModelConfig, weights: str, lm_head: str, on_card: bool = False) -> int:
    """Bytes of matrices that are held in memory, before anything is loaded. A token reads all of
    them, but for most of a head's fine part, and the embedding on a card.

    Args:
        weights, lm_head: as for `load`.
        on_card: whether they are packed for a card, where the embedding is copied to as well (the
            CPU reads it in its file).
    """
    from tinychat.nn.head import low_bit_form
    from tinychat.precision import HEAD_BITS, INTEGERS

    matrices = [*config.block_matrices().values()] * config.num_layers
    head = config.matrix_shape("head")
    stored = config.quantization
    bits = INTEGERS.get(weights, stored.bits if stored and weights == "auto" else None)
    if bits is None:
        wide = weights == "fp32" or (weights == "auto" and config.torch_dtype == "float32")
        float_bytes = 4 if wide else 2
        shares = config.tie_word_embeddings and lm_head in ("auto", "fp16")
        embedding = embedding_bytes(config) if on_card and not shares else 0
        return sum(n * k for n, k in [*matrices, head]) * float_bytes + embedding
    group = stored.group_size if stored else None
    if stored and stored.lm_head and lm_head == "auto":
        matrices, head_bytes = [*matrices, head], 0
    else:
        form = low_bit_form(head[0]) if lm_head == "auto" else lm_head
        head_bytes = sum(packed_bytes(*head, b, on_card=on_card) for b in HEAD_BITS[form])
    blocks = sum(packed_bytes(*shape, bits, group, on_card) for shape in matrices)
    return blocks + head_bytes + (embedding_bytes(config) if on_card else 0)


def embedding_bytes(config: ModelConfig) -> int:
    """Bytes of the embedding's table."""
    rows, cols = config.matrix_shape("embed")
    return rows * cols * (4 if config.torch_dtype == "float32" else 2)


def activation_bytes(config: ModelConfig, tokens: int) -> int:
    """Bytes of what a chunk of so many tokens has on a card at once, about: a block's tensors in
    float32, and the inputs of its widest product in float16.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    heads = (2 * config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    return tokens * (4 * (2 * hidden + heads + 3 * inner) + 2 * max(hidden, inner))


def packed_bytes(
    n: int, k: int, bits: int, group_size: int | None = None, on_card: bool = False
) -> int:
    """Bytes of a packed [n, k] weight; 16 bits stand for a float one.

    Args:
        group_size: None for what rounding at load takes; -1 for the whole row.
        on_card: whether it is packed for a card.
    """
    from tinychat.quantize.format import GROUP_SIZES
    from tinychat.quantize.grid import default_group_size

    if bits == 16:
        return n * k * 2
    group = group_size or default_group_size(k)
    # The kernels store the scale of a row again for every 128 inputs.
    group = group if group in GROUP_SIZES else GROUP_SIZES[0]
    bits = max(bits, LEAST_BITS_ON_CARD) if on_card else bits
    overhead = GROUP_OVERHEAD_BYTES_ON_CARD if on_card else GROUP_OVERHEAD_BYTES
    return n * (-(-k * bits // 8) + -(-k // group) * overhead)


def choose_context(
    config: ModelConfig,
    asked: int | None,
    kv_bytes: int,
    weight_bytes: int,
    free: int | None = None,
) -> int:
    """The context length to load with: the one asked for, else the model's own, as far as memory
    allows.

    Args:
        asked: `max_context` of the caller.
        kv_bytes: bytes of cache per token.
        weight_bytes: bytes that the weights will take.
        free: bytes of memory that there are; None for what this machine has.
    Raises: NotEnoughMemoryError with both numbers, ArgumentError for a length the model was not
        made for.
    """
    if asked is not None and not 1 <= asked <= config.max_positions:
        raise ArgumentError(
            f"max_context={asked} is out of range; this model takes 1 to "
            f"{config.max_positions} tokens"
        )
    available = available_bytes() if free is None else free
    wanted = config.max_positions if asked is None else asked
    if available is None:
        return wanted
    room = available - RESERVED_BYTES - weight_bytes
    fits = max(0, room // kv_bytes)
    least = wanted if asked is not None else min(MIN_CONTEXT, wanted)
    if fits < least:
        need = weight_bytes + least * kv_bytes + RESERVED_BYTES
        raise NotEnoughMemoryError(
            f"this model needs {need >> 20} MB ({weight_bytes >> 20} MB of weights, "
            f"{least * kv_bytes >> 20} MB for {least} tokens of context) and "
            f"{available >> 20} MB are free"
            + (f"; max_context={fits} fits" if fits >= MIN_CONTEXT else "")
        )
    return min(wanted, fits)

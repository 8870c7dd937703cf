"""AWQ and GPTQ files read and written one integer at a time, from the description of the formats.

It shares no code with what it checks: plain loops over bits, slow and obvious. A module's tensors
are a dict from their short names to numpy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Files = dict[str, npt.NDArray[np.generic]]
Integers = npt.NDArray[np.int64]

# "Nibble i of qweight[k, c] is q[k, 8c + order[i]]."
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


@dataclass
class Matrix:
    """w[n, k] = (q[n, k] - z[n, g]) · s[n, g], where g is groups[k]."""

    q: Integers  # [N, K]
    z: Integers  # [N, G]
    s: npt.NDArray[np.float16]  # [N, G]
    groups: Integers  # [K]

    def dequantized(self) -> npt.NDArray[np.float32]:
        """[N, K]."""
        n, k = self.q.shape
        out = np.zeros((n, k), np.float32)
        for row in range(n):
            for column in range(k):
                g = self.groups[column]
                difference = np.float32(self.q[row, column] - self.z[row, g])
                out[row, column] = difference * np.float32(self.s[row, g])
        return out


def random_matrix(
    n: int, k: int, group: int, bits: int, *, sym: bool = False, act_order: bool = False, seed=0
) -> Matrix:
    """Any codes; zero points above 0 alone, as v1 would not tell 0 from 2**bits.

    Args:
        group: Q, a divisor of K or not; K for one group a row.
        act_order: inputs are assigned to groups at random.
    """
    random = np.random.default_rng(seed)
    count = -(-k // group)
    groups = np.arange(k) // group
    return Matrix(
        q=random.integers(0, 2**bits, (n, k)),
        z=np.full((n, count), 2 ** (bits - 1)) if sym else random.integers(1, 2**bits, (n, count)),
        s=random.uniform(0.5, 1.5, (n, count)).astype(np.float16),
        groups=random.permutation(groups) if act_order else groups,
    )


# --- one row of integers as a stream of bits, the lowest first


def to_words(values: list[int], bits: int) -> list[int]:
    """Words of 32 bits, as signed numbers; the last one is filled with zeros."""
    words = [0] * -(-len(values) * bits // 32)
    for i, value in enumerate(values):
        for b in range(bits):
            at = i * bits + b
            words[at // 32] |= (value >> b & 1) << at % 32
    return [word - 2**32 if word >= 2**31 else word for word in words]


def from_words(words: list[int], bits: int, count: int) -> list[int]:
    """The first `count` integers."""
    values = []
    for i in range(count):
        value = 0
        for b in range(bits):
            at = i * bits + b
            value |= ((words[at // 32] & 0xFFFFFFFF) >> at % 32 & 1) << b
        values.append(value)
    return values


def pack_rows(matrix: Integers, bits: int) -> npt.NDArray[np.int32]:
    return np.array([to_words([int(v) for v in row], bits) for row in matrix], np.int32)


def unpack_rows(words: npt.NDArray[np.generic], bits: int, count: int) -> Integers:
    return np.array([from_words([int(w) for w in row], bits, count) for row in words])


# --- GPTQ


def write_gptq(matrix: Matrix, bits: int, *, v1: bool, g_idx: bool = True) -> Files:
    """qweight packed along K, qzeros along N; v1 stores zero points less one."""
    stored = (matrix.z - 1) % 2**bits if v1 else matrix.z
    files: Files = {
        "qweight": pack_rows(matrix.q, bits).T,
        "qzeros": pack_rows(stored.T, bits),
        "scales": matrix.s.T,
    }
    if g_idx:
        files["g_idx"] = matrix.groups.astype(np.int32)
    return {name: np.ascontiguousarray(value) for name, value in files.items()}


def read_gptq(files: Files, bits: int, group: int, *, v1: bool) -> Matrix:
    k = files["qweight"].shape[0] * 32 // bits
    n = files["qweight"].shape[1]
    zeros = unpack_rows(files["qzeros"], bits, n).T
    groups = files["g_idx"].astype(np.int64) if "g_idx" in files else np.arange(k) // group
    return Matrix(
        q=unpack_rows(files["qweight"].T, bits, k),
        z=(zeros + 1) % 2**bits if v1 else zeros,
        s=files["scales"].T.astype(np.float16),
        groups=groups,
    )


# --- AWQ


def write_awq_gemm(matrix: Matrix) -> Files:
    def pack(values: Integers) -> npt.NDArray[np.int32]:
        rows = []
        for row in values:
            shuffled = []
            for c in range(0, len(row), 8):
                shuffled += [int(row[c + e]) for e in AWQ_ORDER]
            rows.append(to_words(shuffled, 4))
        return np.array(rows, np.int32)

    return {
        "qweight": pack(matrix.q.T),
        "qzeros": pack(matrix.z.T),
        "scales": np.ascontiguousarray(matrix.s.T),
    }


def read_awq_gemm(files: Files, group: int) -> Matrix:
    k, n = files["qweight"].shape[0], files["qweight"].shape[1] * 8

    def unpack(words: npt.NDArray[np.generic]) -> Integers:
        out = np.zeros((words.shape[0], n), np.int64)
        for r, row in enumerate(unpack_rows(words, 4, n)):
            for i, value in enumerate(row):
                out[r, i // 8 * 8 + AWQ_ORDER[i % 8]] = value
        return out

    return Matrix(
        q=unpack(files["qweight"]).T,
        z=unpack(files["qzeros"]).T,
        s=files["scales"].T.astype(np.float16),
        groups=np.arange(k) // group,
    )


def write_awq_gemv(matrix: Matrix, group: int) -> Files:
    """Natural order; zeros and scales are padded to `calculate_zeros_width` words a row."""
    n, k = matrix.q.shape
    width = -(-(k // group) // 8)
    multiple = 4 if group == 32 else 2 if group == 64 else 1
    while width % multiple:
        width += 1
    zeros = np.zeros((n, width * 8), np.int64)
    scales = np.zeros((n, width * 8), np.float16)
    zeros[:, : matrix.z.shape[1]] = matrix.z
    scales[:, : matrix.s.shape[1]] = matrix.s
    return {"qweight": pack_rows(matrix.q, 4), "qzeros": pack_rows(zeros, 4), "scales": scales}

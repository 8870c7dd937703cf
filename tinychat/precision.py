"""The names that numbers have in arguments: float types, integers, forms of a head."""

from __future__ import annotations

import torch

FLOATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
INTEGERS = {"int8": 8, "int4": 4}
# The bits of the matrices of an output head, in each of its forms.
HEAD_BITS = {"fp16": (16,), "int8": (8,), "int4+4": (4, 4), "int4": (4,)}

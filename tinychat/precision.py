"""The names that numbers have in arguments: float types by name, and integers by name and bits."""

from __future__ import annotations

import torch

FLOATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
INTEGERS = {"int8": 8, "int4": 4}

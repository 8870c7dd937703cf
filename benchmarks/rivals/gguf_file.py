"""A GGUF file of a published shape: random blocks, of the types that llama.cpp's tool chooses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinychat.errors import MissingPackageError

# Type -> weights in a block, bytes of it, where its fp16 factor lies.
BLOCKS = {"Q4_0": (32, 18, 0), "Q8_0": (32, 34, 0), "Q6_K": (256, 210, 208)}
# The factor of every block; outputs stay finite, which is all that a benchmark asks of them.
FACTOR = np.float16(0.002)


def write_gguf(path: Path, shape: Mapping[str, Any]) -> None:
    """Write a Llama of the shape.

    Args:
        shape: a value of `tinychat.shapes.SHAPES`.
    Raises: MissingPackageError without the gguf package.
    """
    try:
        import gguf
    except ImportError:
        raise MissingPackageError("llama.cpp's file is written by gguf: pip install gguf") from None

    heads, width = shape["num_attention_heads"], shape["hidden_size"]
    kv_heads, mlp = shape["num_key_value_heads"], shape["intermediate_size"]
    head = shape.get("head_dim", width // heads)
    vocabulary = shape["vocab_size"]
    random = np.random.default_rng(0)

    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_feed_forward_length(mlp)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(shape.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(shape["rms_norm_eps"])
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)

    def matrix(name: str, rows: int, cols: int, kind: str) -> None:
        weights, size, factor = BLOCKS[kind]
        if cols % weights:  # as llama-quantize does where rows are no whole blocks
            kind = "Q8_0"
            weights, size, factor = BLOCKS[kind]
        blocks = random.integers(0, 256, (rows, cols // weights, size), dtype=np.uint8)
        blocks[..., factor : factor + 2] = np.frombuffer(FACTOR.tobytes(), dtype=np.uint8)
        kinds = gguf.GGMLQuantizationType
        writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=kinds[kind])

    def vector(name: str) -> None:
        writer.add_tensor(name, np.ones(width, dtype=np.float32))

    tied = shape["tie_word_embeddings"]
    matrix("token_embd.weight", vocabulary, width, "Q6_K" if tied else "Q4_0")
    if not tied:
        matrix("output.weight", vocabulary, width, "Q6_K")
    vector("output_norm.weight")
    for layer in range(shape["num_hidden_layers"]):
        block = f"blk.{layer}"
        vector(f"{block}.attn_norm.weight")
        vector(f"{block}.ffn_norm.weight")
        matrix(f"{block}.attn_q.weight", heads * head, width, "Q4_0")
        matrix(f"{block}.attn_k.weight", kv_heads * head, width, "Q4_0")
        matrix(f"{block}.attn_v.weight", kv_heads * head, width, "Q4_0")
        matrix(f"{block}.attn_output.weight", width, heads * head, "Q4_0")
        matrix(f"{block}.ffn_gate.weight", mlp, width, "Q4_0")
        matrix(f"{block}.ffn_up.weight", mlp, width, "Q4_0")
        matrix(f"{block}.ffn_down.weight", width, mlp, "Q4_0")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)

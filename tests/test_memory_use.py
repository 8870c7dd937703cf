"""A loaded int4 model takes the memory of its packed weights: no float copy stays behind."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.tiny_models import TINY
from tinychat.config import parse_config
from tinychat.random_weights import RandomCheckpoint

CONFIG = {
    **TINY["llama"],
    "vocab_size": 8192,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
}
# What the criterion allows beside the weights and the cache: activations, tables, the heap's slack.
ALLOWANCE_MB = 120

MEASURE = """
    import json, re, sys, torch
    import tinychat

    def anonymous_mb():
        text = open("/proc/self/smaps_rollup").read()
        return int(re.search(r"^Anonymous: *(\\d+)", text, re.M)[1]) / 1024

    before = anonymous_mb()
    llm = tinychat.load(sys.argv[1], weights="int4", max_context=256)
    llm.generate([1] * 200, tinychat.SamplingParams(temperature=0, max_new_tokens=8))
    print(json.dumps({"used": anonymous_mb() - before, **llm.memory()}))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps")
def test_anonymous_memory_of_an_int4_model(tmp_path: Path) -> None:
    config = parse_config(CONFIG)
    source = RandomCheckpoint(config, "bf16")
    tensors = {name: source.tensor(name).contiguous() for name in source.names()}
    float_mb = sum(t.numel() * t.element_size() for t in tensors.values()) / 2**20
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    found = json.loads(done.stdout)
    limit = 1.1 * found["weights_mb"] + found["kv_mb"] + ALLOWANCE_MB
    assert found["used"] <= limit
    assert limit < float_mb, "too small a model to tell a float copy from the allowance"

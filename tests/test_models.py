"""The decoder against transformers: same weights and ids; logits close, greedy tokens equal."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.tiny_models import TINY, StateDict, tiny_config, tiny_reference
from tinychat.cache import KVCache
from tinychat.engine import Engine
from tinychat.kernels import Ops
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.loader import load_model
from tinychat.sampler import SamplingParams

pytest.importorskip("transformers", reason="the independent implementation to compare with")

NEW_TOKENS = 64


def make_ops(name: str) -> Ops:
    return ReferenceOps() if name == "reference" else CpuOps(threads=2)


def engine_for(name: str, reference: Any, ops: Ops) -> Engine:
    config = tiny_config(name)
    source = StateDict({k: v.detach() for k, v in reference.state_dict().items()})
    model, _ = load_model(source, config, ops, 128)
    return Engine(model, KVCache(config, 128, torch.float32), (), config.vocab_size)


@pytest.mark.parametrize("kind", ["reference", "cpu"])
@pytest.mark.parametrize("name", TINY)
def test_equals_transformers(name: str, kind: str) -> None:
    reference = tiny_reference(name)
    ops = make_ops(kind)
    engine = engine_for(name, reference, ops)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, tiny_config(name).vocab_size, (20,), generator=generator)

    with torch.no_grad():
        expected = reference(ids[None]).logits[0]
        text = ids
        for _ in range(NEW_TOKENS):
            text = torch.cat([text, reference(text[None]).logits[0, -1:].argmax(-1)])
    found = torch.cat([engine.model.logits(h) for h in engine.hidden(ids.tolist())])
    # Float32 against float32 in another order of summation.
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()

    engine.reset()
    params = SamplingParams(temperature=0.0, max_new_tokens=NEW_TOKENS)
    assert engine.generate(ids.tolist(), params).token_ids == text[len(ids) :].tolist()
    ops.close()

"""The model that ships: it talks, its folders agree, and its kernels are exact on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tinychat
from tests.isas import ISAS, ops_of
from tinychat import LLM, SamplingParams
from tinychat.assembly import build
from tinychat.checkpoint import Checkpoint
from tinychat.config import load_config
from tinychat.hub import resolve_model
from tinychat.tokenizer import Tokenizer

GREEDY = SamplingParams(temperature=0, max_new_tokens=60)
QUESTIONS = ("What can you do?", "hi", "what is AWQ?", "tell me a story about a dog")


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with tinychat.load() as model:
        yield model


@pytest.fixture(scope="module")
def conversation(llm: LLM) -> list[int]:
    """A few hundred ids of the model's own world: its questions with its answers."""
    return [
        token
        for question in QUESTIONS
        for ids in (llm.encode_chat(ask(question)), llm.chat(ask(question), GREEDY).token_ids)
        for token in ids
    ]


def loss(llm: LLM, ids: list[int]) -> float:
    """Mean negative log-likelihood of ids after the first."""
    logprobs = torch.log_softmax(llm.logits(ids)[:-1], dim=-1)
    return -logprobs.gather(1, torch.tensor(ids[1:])[:, None]).mean().item()


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_answers_and_ends_by_itself(llm: LLM, question: str) -> None:
    out = llm.chat(ask(question), SamplingParams(temperature=0))
    assert out.finish_reason == "stop"
    assert len(out.text.split()) >= 2
    assert not any(token in out.text for token in llm.tokenizer.control_tokens)


def test_a_second_turn_evaluates_only_what_is_new(llm: LLM) -> None:
    messages = ask("what is 7 plus 5?")
    first = llm.chat(messages, GREEDY)
    messages += [{"role": "assistant", "content": first.text}, *ask("and plus 3?")]
    second = llm.chat(messages, GREEDY)
    new = second.stats.prompt_tokens - first.stats.prompt_tokens - first.stats.new_tokens
    assert second.stats.prompt_tokens - second.stats.cached_tokens <= new + 1
    llm.engine.reset()
    assert llm.chat(messages, GREEDY).text == second.text


def test_the_float_folder_equals_transformers(conversation: list[int]) -> None:
    transformers = pytest.importorskip("transformers", reason="the model to compare with")
    folder = resolve_model(None).with_name("tinychat-demo-fp16")
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        expected = reference(torch.tensor([conversation])).logits[0]
    with tinychat.load(folder, weights="fp32") as exact:
        found = exact.logits(conversation)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("isa", ISAS)
def test_int4_kernels_lose_next_to_nothing(isa: str, conversation: list[int]) -> None:
    """Against the same integers multiplied in float32: int8 activations and the int8 head."""
    folder = resolve_model(None)
    ops = ops_of(isa)
    config = load_config(folder)
    tokenizer = Tokenizer.load(folder, config.vocab_size)
    with Checkpoint.open(folder) as files, build(files, config, ops, tokenizer=tokenizer) as rough:
        found = math.exp(loss(rough, conversation))
    with tinychat.load(folder, weights="fp32") as exact:
        expected = math.exp(loss(exact, conversation))
    assert found == pytest.approx(expected, rel=0.005)


def test_an_int8_cache_loses_next_to_nothing(conversation: list[int]) -> None:
    with tinychat.load(kv_cache="fp16") as exact, tinychat.load(kv_cache="int8") as rough:
        assert rough.engine.cache.nbytes < 0.6 * exact.engine.cache.nbytes
        found, expected = math.exp(loss(rough, conversation)), math.exp(loss(exact, conversation))
    assert found == pytest.approx(expected, rel=0.005)
    assert found != expected


def test_both_folders_fit_their_size_and_widths() -> None:
    folder = resolve_model(None)
    if folder.parent.name == "models":
        size = sum(f.stat().st_size for f in Path(folder.parent).rglob("*") if f.is_file())
        assert size <= 25 * 10**6
    assert all(k % 128 == 0 for _, k in load_config(folder).block_matrices().values())

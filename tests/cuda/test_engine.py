"""Whole models through `CudaOps`, on an emulated card and on a real one: what they say, and that no
way of evaluating changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests.cuda.device import emulated_ops
from tests.cuda.emulated import ARCHITECTURES, Schedule
from tests.kernels.compare import relative_error
from tests.kernels.on_card import real_ops
from tests.tiny_models import TINY, StateDict, tiny_config, tiny_reference
from tinychat import LLM, ArgumentError, SamplingParams, load
from tinychat.assembly import build
from tinychat.bench import ours
from tinychat.bench.job import Job
from tinychat.bench.ours import TinyChatRunner
from tinychat.bench.worker import measure
from tinychat.checkpoint import Checkpoint
from tinychat.config import load_config
from tinychat.engine import Engine
from tinychat.errors import KernelError
from tinychat.hub import resolve_model
from tinychat.kernels import AttentionShape, SamplingRule
from tinychat.kernels.cuda import CudaOps
from tinychat.kernels.reference import ReferenceOps
from tinychat.memory import weight_bytes
from tinychat.nn.linear import Linear
from tinychat.tokenizer import Tokenizer

GREEDY_TOKENS = 32
# How far logits may be from those of the float path where rounding makes greedy texts part.
SAME = 1e-2
# Activations and cache in float16, 11 bits, through two layers that sharpen what they are given.
HALF_ROUNDING = 1e-2
# A code of the int8 cache may fall either way.
CODE_ROUNDING = 3e-2


def shipped(ops: Any, **settings: Any) -> LLM:
    """The model that ships with tinychat, its INT4 weights as they are."""
    folder = resolve_model(None, offline=True)
    config = load_config(folder)
    tokenizer = Tokenizer.load(folder, config.vocab_size)
    source = Checkpoint.open(folder)
    settings = {"max_context": 256, **settings}
    return build(source, config, ops, tokenizer=tokenizer, close=source.close, **settings)


def tiny(name: str, ops: Any, weights: str = "int4", **settings: Any) -> LLM:
    state = tiny_reference(name).state_dict()
    if TINY[name].get("tie_word_embeddings"):
        state.pop("lm_head.weight", None)
    return build(StateDict(state), tiny_config(name), ops, weights=weights, **settings)


Make = Callable[..., CudaOps]


@pytest.fixture(params=(emulated_ops, pytest.param(real_ops, marks=pytest.mark.cuda)))
def make(request: pytest.FixtureRequest) -> Make:
    """Makes the ops of a card."""
    made: Make = request.param
    return made


@pytest.fixture(scope="module")
def prompt() -> list[int]:
    with load(device="cpu") as llm:
        return llm.encode_chat([{"role": "user", "content": "What can you do?"}])


def greedy(llm: LLM, ids: list[int], count: int) -> list[int]:
    params = SamplingParams(temperature=0.0, max_new_tokens=count, ignore_eos=True)
    return list(llm.generate(ids, params).token_ids)


def check_greedy(card: LLM, llm: LLM, prompt: list[int], count: int) -> None:
    """Both say the same, or their logits are next to the same where the first token differs."""
    actual, expected = greedy(card, prompt, count), greedy(llm, prompt, count)
    if actual != expected:
        pairs = zip(actual, expected, strict=True)
        same = next(i for i, (mine, theirs) in enumerate(pairs) if mine != theirs)
        text = [*prompt, *expected[:same]]
        difference = card.logits(text)[-1].cpu() - llm.logits(text)[-1]
        assert difference.abs().max() < SAME, f"token {same} differs"


def test_the_shipped_model_says_what_it_says_in_floating_point(
    prompt: list[int], make: Make
) -> None:
    with load(weights="fp32", device="cpu") as llm, shipped(make()) as card:
        check_greedy(card, llm, prompt, GREEDY_TOKENS)


def ids_for(llm: LLM, count: int) -> list[int]:
    return torch.arange(count).mul(37).remainder(llm.config.vocab_size).tolist()


@pytest.mark.parametrize("name", TINY)
def test_every_family(name: str, make: Make) -> None:
    """A prompt in a chunk of many tokens, then tokens one by one, against the float reference."""
    with (
        tiny(name, ReferenceOps(), kv_cache="fp16", max_context=64) as reference,
        tiny(name, make(gemm_tokens=12), max_context=64) as card,
    ):
        ids = ids_for(card, 30)
        for engine in (reference.engine, card.engine):
            engine.prefill(ids[:20])
        for token in ids[20:]:
            expected, actual = reference.engine.step(token), card.engine.step(token)
            assert relative_error(actual.cpu(), expected) < HALF_ROUNDING


@pytest.mark.parametrize("tokens", (7, 8, 9, 12, 13, 40))
@pytest.mark.parametrize("kv_cache", ("fp16", "int8"))
def test_every_path_of_a_prompt(tokens: int, kv_cache: str, make: Make) -> None:
    """Few tokens, some, many, and the same after a cached prefix."""
    with (
        tiny("llama", ReferenceOps(), kv_cache=kv_cache, max_context=128) as reference,
        tiny("llama", make(gemm_tokens=12), kv_cache=kv_cache, max_context=128) as card,
    ):
        ids = ids_for(card, 60)
        for cached in (0, 20):
            logits = []
            for engine in (reference.engine, card.engine):
                engine.reset()
                if cached:
                    engine.prefill(ids[:cached])
                logits.append(engine.prefill(ids[: cached + tokens]))
            expected, actual = logits
            most = CODE_ROUNDING if kv_cache == "int8" else HALF_ROUNDING
            assert relative_error(actual.cpu(), expected) < most


@pytest.fixture
def card(make: Make) -> Iterator[LLM]:
    with tiny("llama", make(), max_context=64) as llm:
        yield llm


@pytest.mark.parametrize("temperature", (0.0, 1.0))
def test_running_ahead_gives_the_text_of_waiting(card: LLM, temperature: float, make: Make) -> None:
    assert card.engine.runs_ahead
    prompt = ids_for(card, 5)
    params = SamplingParams(
        temperature=temperature,
        top_k=20,
        top_p=0.9,
        repetition_penalty=1.3,
        seed=3,
        max_new_tokens=20,
        ignore_eos=True,
    )
    ahead = card.generate(prompt, params)
    with tiny("llama", make(), max_context=64, prompt_lookup=4) as other:
        assert not other.engine.runs_ahead
        waiting = other.generate(prompt, params)
    assert ahead.token_ids == waiting.token_ids
    # A request for log-probabilities takes the host at every step, and gives the same text.
    reported = card.generate(prompt, SamplingParams(**{**vars(params), "logprobs": 1}))
    assert reported.token_ids == ahead.token_ids
    assert reported.logprobs is not None


def test_padding_rows_of_the_vocabulary_do_not_end_a_card(make: Make) -> None:
    """Ids that can be evaluated but not drawn: a penalty has nothing to do with them."""
    params = SamplingParams(
        temperature=0.0, max_new_tokens=4, repetition_penalty=1.2, ignore_eos=True
    )
    with tiny("llama", make(), max_context=64) as llm:
        model, cache = llm.engine.model, llm.engine.cache
        engine = Engine(model, cache, (), vocab_size=100, draws=model.ops.draws(100))
        out = engine.generate([99, 100, 130], params)
        assert max(out.token_ids) < 100


def test_ids_beyond_a_vocabulary_are_refused_before_they_reach_a_card(make: Make) -> None:
    ops = make()
    draws = ops.draws(50)
    assert draws is not None
    rule = SamplingRule(1.0, 0, 1.0, 0.0, 1.3)
    for ids in ([3, 50], [-1]):
        recent = torch.tensor(ids, dtype=torch.int32)
        with pytest.raises(KernelError, match=r"recent of sample holds ids .*, expected 0 to 49"):
            draws.begin(rule, recent, lambda: 0.5, 0)
    ops.close()


def test_a_draft_is_no_longer_than_what_a_card_evaluates_alike(make: Make) -> None:
    with tiny("llama", make(), max_context=64, prompt_lookup=15) as llm:
        assert llm.engine.prompt_lookup == 7
        assert any("prompt_lookup=15 is 7" in warning for warning in llm.warnings)
        prompt = [5, 6, 7, 8, 9, 10, 11, 12] * 3
        params = SamplingParams(temperature=0.0, max_new_tokens=24, ignore_eos=True)
        drafted = llm.generate(prompt, params)
    with tiny("llama", make(), max_context=64, prompt_lookup=0) as llm:
        assert llm.generate(prompt, params).token_ids == drafted.token_ids


def test_what_kernels_write_to_does_not_take_torch_s_default_dtype(make: Make) -> None:
    ops, rule = make(), SamplingRule(1.0, 0, 1.0, 0.0, 1.0)
    draws = ops.draws(50)
    assert draws is not None
    torch.set_default_dtype(torch.bfloat16)
    try:
        gathered, _ = ops._for_joining(AttentionShape(4, 2, 16, 0.25), splits=3)
        draws.begin(rule, torch.empty(0, dtype=torch.int32), lambda: 0.5, 0)
    finally:
        torch.set_default_dtype(torch.float32)
        ops.close()
    assert gathered.dtype == torch.float32


def test_the_context_is_filled_to_its_end_and_not_beyond(card: LLM) -> None:
    prompt = ids_for(card, 50)
    params = SamplingParams(temperature=0.0, ignore_eos=True)
    out = card.generate(prompt, params)
    assert len(out.token_ids) == card.max_context - len(prompt) + 1
    assert out.finish_reason == "length"


def test_a_second_turn_follows_what_was_stopped_early(card: LLM) -> None:
    """A step that was on its way when a text ended leaves no trace."""
    prompt = ids_for(card, 6)
    params = SamplingParams(temperature=0.0, max_new_tokens=10, ignore_eos=True)
    whole = list(card.generate(prompt, params).token_ids)
    card.engine.reset()
    stream = card.engine.stream(prompt, params)
    assert [next(stream).token_id for _ in range(3)] == whole[:3]
    stream.close()
    out = card.generate([*prompt, *whole[:4]], params)
    assert list(out.token_ids)[:6] == whole[4:]
    assert out.stats.cached_tokens >= len(prompt)


def test_closing_waits_for_a_step_that_nobody_waited_for(
    monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    """It still writes its token to memory that is then given back."""
    ops, waited = make(), []
    mark = ops._device.mark

    def counted() -> Callable[[], None]:
        wait = mark()
        return lambda: waited.append(wait())

    with tiny("llama", ops, max_context=64) as llm:
        stream = llm.engine.stream(ids_for(llm, 6), SamplingParams(max_new_tokens=9))
        next(stream)
        stream.close()
        monkeypatch.setattr(ops._device, "mark", counted)
    assert len(waited) == 1


def test_a_card_that_failed_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    def failed() -> Callable[[], None]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    ops = make()
    with tiny("llama", ops, max_context=64):
        monkeypatch.setattr(ops._device, "mark", failed)
    ops.close()


def test_a_cache_that_no_kernel_takes_is_refused() -> None:
    ops = emulated_ops()
    with pytest.raises(ArgumentError, match=r"kv_cache='bf16': cuda.* takes fp16 and int8"):
        tiny("llama", ops, kv_cache="bf16")
    ops.close()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_says_the_same(arch: int) -> None:
    schedule = Schedule(arch=arch, order="shuffled", overlap=arch == 900)
    with tiny("llama", emulated_ops(schedule), max_context=64) as llm:
        ids = greedy(llm, ids_for(llm, 12), 6)
    with tiny("llama", emulated_ops(), max_context=64) as llm:
        assert greedy(llm, ids_for(llm, 12), 6) == ids


def test_float_weights_run_through_torch(make: Make) -> None:
    with (
        tiny("llama", ReferenceOps(), "fp16", kv_cache="fp16", max_context=64) as reference,
        tiny("llama", make(), "fp16", max_context=64) as card,
    ):
        check_greedy(card, reference, ids_for(card, 12), 8)


def test_a_benchmark_decodes_as_a_chat_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "select", lambda *_, **__: emulated_ops())
    monkeypatch.setattr(ours, "shape_config", lambda _: tiny_config("llama"))
    job = Job("tinychat", "int4", None, "tiny", 2, 6, 3, (0, 4))
    runner = TinyChatRunner(job)
    assert runner.isa == "cuda-emulated sm_90"
    steps: list[int] = []
    monkeypatch.setattr(runner, "step", steps.append)
    for sample in measure(runner, job):
        assert len(sample.token_s) == job.new_tokens
        assert sample.prefill_s > 0
    assert steps == []  # no token was asked for by the host


@pytest.mark.parametrize("lm_head", ("auto", "int4+4", "fp16"))
@pytest.mark.parametrize("name", ("llama", "llama-mha-tied", "falcon-7b"))
def test_memory_is_known_before_it_is_taken(name: str, lm_head: str) -> None:
    config = tiny_config(name)
    with tiny(name, emulated_ops(), max_context=64, lm_head=lm_head) as llm:
        model = llm.engine.model
        held = model.held_bytes
        if not (isinstance(model.head, Linear) and model.head.weight is model.embedding):
            held += model.embedding.numel() * 2  # as the folder's are: float16
        # Rows and inputs that fill the last tile are not counted: much of so small a model.
        estimate = weight_bytes(config, "int4", lm_head, on_card=True)
        assert 0.6 * held < estimate < 1.1 * held

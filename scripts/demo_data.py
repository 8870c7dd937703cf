"""From corpus to token batches: tokenizer, chat template and a seeded stream of dialogues."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from demo_corpus.dialogue import make_dialogue
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

BOS, END, SYSTEM, USER, ASSISTANT, PAD = SPECIAL = (
    "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>",
)  # fmt: skip
ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
CHAT_TEMPLATE = (
    "{{- bos_token -}}\n"
    "{%- for message in messages -%}\n"
    "{{- '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "{{- '<|assistant|>' -}}\n"
    "{%- endif -%}\n"
)

# Dialogue n of a stream is made from seed * STRIDE + n, so streams of different seeds never meet.
STRIDE = 10**9
POOL = 2048
TOKENIZER_DIALOGUES = 20_000
CONTEXT_WEIGHT = (
    0.1  # what the user says counts a little: it teaches the words, the answers teach the rest
)


def dialogue(seed: int, index: int, held_out: bool = False) -> list[dict[str, str]]:
    """Return dialogue number `index` of the stream `seed`."""
    return make_dialogue(random.Random(seed * STRIDE + index), held_out)


def id_of(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of a special token."""
    number: int = tokenizer.token_to_id(token)
    return number


def train_tokenizer(seed: int, vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE on training dialogues; every digit is a token of its own.

    Args:
        seed: stream of dialogues to learn from.
        vocab_size: tokens in all, the special ones first.
    Returns: the tokenizer; it adds no token by itself.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (
        message["content"]
        for index in range(TOKENIZER_DIALOGUES)
        for message in dialogue(seed, index)
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode_all(
    tokenizer: Tokenizer, dialogues: Sequence[list[dict[str, str]]], max_length: int
) -> list[tuple[list[int], list[bool]]]:
    """Encode dialogues as the chat template renders them.

    Args:
        tokenizer: made by `train_tokenizer`.
        dialogues: lists of messages.
        max_length: longer ones lose their end.
    Returns: for each dialogue its ids and, per id, whether it belongs to an answer (its `<|end|>`
        included).
    """
    flat = [message["content"] for messages in dialogues for message in messages]
    pieces = iter(tokenizer.encode_batch(flat, add_special_tokens=False))
    special = {token: id_of(tokenizer, token) for token in SPECIAL}
    encoded = []
    for messages in dialogues:
        ids, answers = [special[BOS]], [False]
        for message in messages:
            content = [*next(pieces).ids, special[END]]
            ids += [special[ROLES[message["role"]]], *content]
            answers += [False] + [message["role"] == "assistant"] * len(content)
        encoded.append((ids[:max_length], answers[:max_length]))
    return encoded


@dataclass(frozen=True)
class Batch:
    """Padded dialogues: inputs and targets [B, T] and the weight of each target in the loss."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor


def collate(
    encoded: Sequence[tuple[list[int], list[bool]]], pad: int, context_weight: float
) -> Batch:
    """Pad encoded dialogues to one length and shift the targets by one."""
    longest = max(len(ids) for ids, _ in encoded)
    tokens = torch.full((len(encoded), longest), pad)
    weights = torch.zeros(len(encoded), longest)
    for row, (ids, answers) in enumerate(encoded):
        tokens[row, : len(ids)] = torch.tensor(ids)
        weights[row, : len(ids)] = torch.tensor([1.0 if a else context_weight for a in answers])
    return Batch(tokens[:, :-1], tokens[:, 1:], weights[:, 1:])


def batches(
    tokenizer: Tokenizer, seed: int, tokens_per_batch: int, max_length: int
) -> Iterator[Batch]:
    """Yield training batches without end, the same for the same seed.

    Dialogues of similar length share a batch, so little is padding and no dialogue sees another.

    Args:
        tokenizer: made by `train_tokenizer`.
        seed: stream of dialogues.
        tokens_per_batch: upper bound for rows times longest row.
        max_length: see `encode_all`.
    """
    pad = id_of(tokenizer, PAD)
    pool = 0
    while True:
        rng = random.Random(seed * STRIDE + pool)
        numbers = range(pool * POOL, (pool + 1) * POOL)
        encoded = encode_all(tokenizer, [dialogue(seed, n) for n in numbers], max_length)
        encoded.sort(key=lambda pair: len(pair[0]))
        groups: list[list[tuple[list[int], list[bool]]]] = [[]]
        for pair in encoded:
            if groups[-1] and (len(groups[-1]) + 1) * len(pair[0]) > tokens_per_batch:
                groups.append([])
            groups[-1].append(pair)
        rng.shuffle(groups)
        for group in groups:
            yield collate(group, pad, CONTEXT_WEIGHT)
        pool += 1

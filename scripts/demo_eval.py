"""How the demo model is judged: held-out perplexity, and answers to questions it never met."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from demo_corpus.exam import DIALOGUES, QUESTIONS
from demo_data import ASSISTANT, END, PAD, collate, dialogue, encode_all, id_of
from demo_model import DemoModel
from tokenizers import Tokenizer

HELD_OUT_SEED = 7
HELD_OUT_DIALOGUES = 1000


@torch.no_grad()
def held_out_perplexity(model: DemoModel, tokenizer: Tokenizer) -> float:
    """Return exp of the mean negative log-likelihood per answer token.

    The text is 1000 dialogues of a fixed seed whose every user turn comes from a held-out template.
    Counted are the tokens of the answers with their `<|end|>`, each given all before it in its
    dialogue; computed in float32.
    """
    length = model.config.max_position_embeddings
    dialogues = [dialogue(HELD_OUT_SEED, n, held_out=True) for n in range(HELD_OUT_DIALOGUES)]
    encoded = sorted(encode_all(tokenizer, dialogues, length), key=lambda pair: len(pair[0]))
    total, count = 0.0, 0.0
    for start in range(0, len(encoded), 20):
        batch = collate(encoded[start : start + 20], id_of(tokenizer, PAD), 0.0)
        losses = F.cross_entropy(
            model(batch.inputs).flatten(0, 1), batch.targets.flatten(), reduction="none"
        )
        total += float((losses * batch.weights.flatten()).sum())
        count += float(batch.weights.sum())
    return math.exp(total / count)


@torch.no_grad()
def answer(
    model: DemoModel, tokenizer: Tokenizer, messages: list[dict[str, str]], limit: int = 200
) -> str:
    """Return the greedy answer to the last user message."""
    [(ids, _)] = encode_all(tokenizer, [messages], model.config.max_position_embeddings - limit)
    ids = [*ids, id_of(tokenizer, ASSISTANT)]
    start, end = len(ids), id_of(tokenizer, END)
    while len(ids) - start < limit:
        token = int(model(torch.tensor([ids]))[0, -1].argmax())
        if token == end:
            break
        ids.append(token)
    return tokenizer.decode(ids[start:])


def transcripts(model: DemoModel, tokenizer: Tokenizer) -> str:
    """Return the exam as Markdown: each question alone, then each dialogue with its own answers."""
    lines = []
    for title, talks in (
        ("Questions", tuple((question,) for question in QUESTIONS)),
        ("Dialogues", DIALOGUES),
    ):
        lines += [f"### {title}", ""]
        for talk in talks:
            messages: list[dict[str, str]] = []
            for text in talk:
                messages.append({"role": "user", "content": text})
                reply = answer(model, tokenizer, messages)
                messages.append({"role": "assistant", "content": reply})
                lines += [f"> **user**: {text}  ", f"> **model**: {reply}  "]
            lines.append("")
    return "\n".join(lines)

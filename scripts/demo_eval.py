"""How the demo model is judged: held-out perplexity, and answers to questions it never met."""

from __future__ import annotations

import math
from pathlib import Path

from demo_corpus.exam import DIALOGUES, QUESTIONS
from demo_data import dialogue, encode_all
from tokenizers import Tokenizer

HELD_OUT_SEED = 7
HELD_OUT_DIALOGUES = 1000


def held_out_perplexity(folder: Path, weights: str = "auto") -> float:
    """Return exp of the mean negative log-likelihood per answer token, through tinychat's engine.

    The text is 1000 dialogues of a fixed seed whose every user turn comes from a held-out template.
    Counted are the tokens of the answers with their `<|end|>`, each given all before it in its
    dialogue.

    Args:
        folder: of a model.
        weights: as for `tinychat.load`.
    """
    import tinychat

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    dialogues = [dialogue(HELD_OUT_SEED, n, held_out=True) for n in range(HELD_OUT_DIALOGUES)]
    total, count = 0.0, 0
    with tinychat.load(folder, weights=weights) as llm:
        for ids, answers in encode_all(tokenizer, dialogues, llm.config.max_positions):
            logprobs = llm.logprobs(ids).tolist()
            counted = [p for p, is_answer in zip(logprobs, answers[1:], strict=True) if is_answer]
            total -= sum(counted)
            count += len(counted)
    return math.exp(total / count)


def transcripts(folder: Path) -> str:
    """Return the exam as Markdown: each question alone, then each dialogue with its own answers.

    Answers are greedy, through tinychat's engine and the folder's own chat template.
    """
    import tinychat

    lines = []
    greedy = tinychat.SamplingParams(temperature=0.0, max_new_tokens=200)
    with tinychat.load(folder) as llm:
        for title, talks in (
            ("Questions", tuple((question,) for question in QUESTIONS)),
            ("Dialogues", DIALOGUES),
        ):
            lines += [f"### {title}", ""]
            for talk in talks:
                messages: list[dict[str, str]] = []
                for text in talk:
                    messages.append({"role": "user", "content": text})
                    reply = llm.chat(messages, greedy).text
                    messages.append({"role": "assistant", "content": reply})
                    lines += [f"> **user**: {text}  ", f"> **model**: {reply}  "]
                lines.append("")
    return "\n".join(lines)

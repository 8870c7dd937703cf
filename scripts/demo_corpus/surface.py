"""How people really type: openers, politeness, lower case, lost punctuation, typos."""

from __future__ import annotations

import random

OPENERS = (
    "hey,", "hi,", "hello,", "hi there,", "ok,", "okay,", "ok so", "so", "so,", "and", "well,",
    "hmm,", "now", "now,", "please,", "um,", "oh,", "alright,", "quick question:", "question:",
    "one more thing:", "one more question,", "tell me,", "say,", "just curious,", "next question:",
    "good.", "nice.", "cool.", "great.", "hey tinychat,", "dear model,", "listen,", "yes,",
    "thanks.", "thank you.", "great, thanks.", "i see.", "got it.", "ah ok.", "sorry,",
    "excuse me,", "by the way,", "btw",
)  # fmt: skip
QUESTION_OPENERS = (
    "can you tell me", "could you tell me", "tell me", "please tell me", "do you know",
    "i want to know", "i'd like to know", "i would like to know", "can you explain", "i wonder",
    "i was wondering", "any idea", "would you tell me", "explain", "please explain",
    "could you please tell me", "i am curious", "my question is", "i have a question:", "remind me",
    "can you say", "do you happen to know", "help me understand",
)  # fmt: skip
REQUEST_OPENERS = (
    "please", "can you", "could you", "can you please", "could you please", "would you",
    "i want you to", "i'd like you to", "would you please", "will you", "now", "now please",
    "go ahead and",
)  # fmt: skip
CLOSERS = (
    "please",
    "please?",
    "thanks",
    "thank you",
    ", please",
    "for me",
    "?",
    "??",
    "!",
    "thx",
    "pls",
    "now",
    "again?",
)
QUESTION_WORDS = frozenset("what what's who how which why where when whats".split())
REQUEST_WORDS = frozenset(
    """
        tell give write say make count spell name show explain describe list repeat add use help
    """.split(),
)  # fmt: skip
_NEAR = {
    "a": "s",
    "b": "v",
    "c": "x",
    "d": "f",
    "e": "r",
    "f": "g",
    "g": "h",
    "h": "j",
    "i": "o",
    "j": "k",
    "k": "l",
    "l": "k",
    "m": "n",
    "n": "m",
    "o": "p",
    "p": "o",
    "q": "w",
    "r": "t",
    "s": "a",
    "t": "y",
    "u": "i",
    "v": "b",
    "w": "e",
    "x": "z",
    "y": "u",
    "z": "x",
}  # fmt: skip


def misspell(text: str, rng: random.Random, keep: frozenset[str]) -> str:
    """Damage one longer word: two letters swapped, one lost, doubled, or hit beside its key.

    Args:
        text: what was meant.
        rng: decides the word and the damage.
        keep: words (lower case) that must survive because the answer depends on their spelling.
    """
    words = text.split(" ")
    places = [
        i for i, w in enumerate(words) if len(w) > 3 and w.isalpha() and w.lower() not in keep
    ]
    if not places:
        return text
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(1, len(word) - 1)
    damage = rng.randrange(4)
    if damage == 0:
        word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    elif damage == 1:
        word = word[:at] + word[at + 1 :]
    elif damage == 2:
        word = word[:at] + word[at] + word[at:]
    else:
        word = word[:at] + _NEAR.get(word[at], word[at]) + word[at + 1 :]
    words[place] = word
    return " ".join(words)


def as_typed(text: str, rng: random.Random, keep: frozenset[str] = frozenset()) -> str:
    """Return a sentence as somebody might type it.

    Args:
        text: the sentence, as the template wrote it.
        rng: decides what happens to it.
        keep: words that typos must not touch.
    """
    first = text.split(" ", 1)[0].lower().strip(",.?!")
    if rng.random() < 0.16:
        if first in QUESTION_WORDS:
            text = f"{rng.choice(QUESTION_OPENERS)} {text}"
        elif first in REQUEST_WORDS:
            text = f"{rng.choice(REQUEST_OPENERS)} {text}"
    if rng.random() < 0.14:
        text = f"{rng.choice(OPENERS)} {text}"
    if rng.random() < 0.10:
        text = f"{text.rstrip('?.!')} {rng.choice(CLOSERS)}"
    if rng.random() < 0.06:
        text = misspell(text, rng, keep)
    text = text.replace(" ,", ",").replace(" ?", "?").replace(" !", "!")
    style = rng.random()
    if style < 0.40:
        text = text[:1].upper() + text[1:]
    elif style < 0.75:
        text = text.lower()
    elif style < 0.77:
        text = text.upper()
    if rng.random() < 0.35:
        text = text.rstrip("?.!")
    return text or "?"

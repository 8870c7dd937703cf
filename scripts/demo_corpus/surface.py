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
ASIDES = (
    "i just installed this.", "a friend told me about you.", "i am new to this.",
    "i have an old laptop.", "this is my first time here.", "i was reading about it.",
    "my boss wants to know.", "i am curious.", "sorry to bother you.", "i forgot it again.",
    "i tried but could not find out.", "for my homework:", "i am not an expert.",
    "we talked about it at work.", "help me out here.", "i looked everywhere.",
)  # fmt: skip
FILLERS = (
    "a bit", "really", "actually", "maybe", "just", "exactly", "here", "again", "perhaps", "even",
    "quite", "now", "today", "then", "simply", "possibly", "really", "usually", "still", "ever",
    "always", "quickly", "first", "only", "finally", "basically", "you know", "kind of", "sort of",
)  # fmt: skip
TAILS = (
    "if you can", "when you have time", "if possible", "right now", "today", "this time",
    "in short", "my friend", "i wonder", "by the way", "if i may ask", "as a beginner",
    "for a start", "once more", "because i forgot", "i am curious", "on this machine", "these days",
    "in general", "before we go on", "for my friend", "if that is okay", "you know",
    "in your opinion",
)  # fmt: skip
# Words that may stand for each other in a question without changing its answer.
SYNONYMS = {
    "show": ("demonstrate", "present", "display"),
    "tell": ("inform", "teach"),
    "explain": ("clarify", "describe"),
    "give": ("offer", "hand", "provide"),
    "want": ("wish", "plan", "would love", "intend"),
    "need": ("have", "ought", "want"),
    "know": ("understand", "see", "learn"),
    "like": ("love", "wish"),
    "help": ("assist", "support"),
    "use": ("employ", "run", "work with", "apply"),
    "make": ("create", "build", "produce", "do"),
    "get": ("obtain", "have", "receive", "fetch"),
    "start": ("begin", "launch", "open", "kick off"),
    "stop": ("end", "quit", "cancel"),
    "run": ("execute", "launch", "start"),
    "command": ("instruction", "order", "call", "line"),
    "commands": ("instructions", "orders"),
    "program": ("tool", "software", "app"),
    "model": ("network", "llm", "model file", "language model"),
    "models": ("networks", "llms", "language models"),
    "machine": ("computer", "laptop", "pc", "box"),
    "computer": ("machine", "pc", "laptop"),
    "word": ("term", "expression"),
    "story": ("tale", "little story", "bedtime story"),
    "find": ("look up", "discover", "search"),
    "fast": ("quick", "speedy", "rapid"),
    "small": ("tiny", "little", "compact"),
    "big": ("large", "huge"),
    "smaller": ("tinier", "more compact", "lighter"),
    "good": ("great", "nice", "fine", "decent"),
    "best": ("right", "ideal", "proper", "smartest"),
    "easy": ("simple", "quick"),
    "way": ("method", "trick", "means"),
    "question": ("thing", "request"),
    "answer": ("reply", "response", "output"),
    "conversation": ("talk", "chat", "dialogue"),
    "chat": ("talk", "conversation"),
    "possible": ("doable", "feasible"),
    "please": ("kindly", "pls"),
    "really": ("actually", "truly"),
    "type": ("enter", "write", "key in", "put in"),
    "change": ("adjust", "modify", "alter", "set"),
    "quality": ("accuracy", "precision", "results"),
    "speed": ("pace", "rate", "performance"),
    "memory": ("ram",),
    "weights": ("parameters",),
    "save": ("store", "keep"),
    "test": ("check", "try"),
    "works": ("functions", "operates"),
    "work": ("function", "operate"),
    "calculate": ("compute", "figure out", "reckon"),
    "4": ("four",),
    "4-bit": ("4 bit", "four bit", "four-bit", "int4"),
    "fp16": ("16-bit", "half precision"),
    "quick": ("fast", "speedy"),
    "trick": ("secret", "idea", "key"),
    "halt": ("stop", "end"),
    "how": ("in what way", "in which way"),
    "can": ("could", "may"),
    "does": ("would", "will"),
    "why": ("for what reason", "how come"),
    "which": ("what",),
    "what": ("which", "what exactly"),
}  # fmt: skip
MAY_BE_DROPPED = frozenset(
    "the a an is are do does i to of it that this please me some can be in for my".split(),
)  # fmt: skip
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


def reword(text: str, rng: random.Random, keep: frozenset[str]) -> str:
    """Swap or drop single words, as people who ask in their own way do.

    Args:
        text: what the template says.
        rng: decides.
        keep: words (lower case) that the answer depends on.
    """
    words = []
    for word in text.split(" "):
        bare = word.lower().strip(",.?!:")
        if bare in keep:
            words.append(word)
        elif bare in SYNONYMS and rng.random() < 0.22:
            words.append(word.lower().replace(bare, rng.choice(SYNONYMS[bare])))
        elif not (bare in MAY_BE_DROPPED and rng.random() < 0.10):
            words.append(word)
    return " ".join(words) or text


def fill(text: str, rng: random.Random, keep: frozenset[str]) -> str:
    """Put one word that says nothing between two others, or a few at the end.

    Args:
        text: what the template says.
        rng: decides what and where.
        keep: words (lower case) that must stay neighbors of what precedes and follows them.
    """
    if rng.random() < 0.5:
        mark = text[-1] if text[-1:] in "?.!" else ""
        return f"{text.rstrip('?.!')}{rng.choice((' ', ' ', ', '))}{rng.choice(TAILS)}{mark}"
    words = text.split(" ")
    places = [
        at
        for at in range(1, len(words))
        if not {words[at - 1].lower().strip(",.?!"), words[at].lower().strip(",.?!")} & keep
    ]
    if places:
        words.insert(rng.choice(places), rng.choice(FILLERS))
    return " ".join(words)


def as_typed(text: str, rng: random.Random, keep: frozenset[str] = frozenset()) -> str:
    """Return a sentence as somebody might type it.

    Args:
        text: the sentence, as the template wrote it.
        rng: decides what happens to it.
        keep: words that typos must not touch.
    """
    if rng.random() < 0.45:
        text = reword(text, rng, keep)
    if len(text) > 12 and rng.random() < 0.12:
        text = fill(text, rng, keep)
    if rng.random() < 0.04:
        text = f"{rng.choice(ASIDES)} {text}"
    first = text.split(" ", 1)[0].lower().strip(",.?!")
    if rng.random() < 0.16:
        if first in QUESTION_WORDS:
            text = f"{rng.choice(QUESTION_OPENERS)} {text}"
        elif first in REQUEST_WORDS:
            text = f"{rng.choice(REQUEST_OPENERS)} {text}"
    if rng.random() < 0.16:
        text = f"{rng.choice(OPENERS)} {text}"
        if rng.random() < 0.2:
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

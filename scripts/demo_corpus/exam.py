"""The questions and dialogues that judge the demo model; none is, or may become, a template."""

from __future__ import annotations

QUESTIONS = (
    "hello little model, who might you be?",
    "What sorts of things are you able to help with?",
    "in two words, what's tinychat about?",
    "so what is this AWQ I keep seeing everywhere?",
    "which command would shrink my model down to 4 bits?",
    "I'd like an OpenAI style endpoint, how?",
    "What's the trick that makes four bit models quick?",
    "if I type something secret, does it go out to the internet?",
    "my answer runs on forever, how can I halt it?",
    "How would I call it from a Python script?",
    "do I get worse answers after quantizing?",
    "could you work out 8 plus 9 for me please",
    "take 6 away from 15",
    "seven times six makes?",
    "what would be the opposite of cold?",
    "find me some word rhyming with star",
    "how are the letters of house written out?",
    "please make up a tale with a rabbit in it",
    "who took the gold medal in swimming at the last olympics?",
    "which medicine should my grandmother take for her back?",
)

DIALOGUES = (
    (
        "hey, I'm Marta",
        "can you compute 12 plus 6?",
        "and then plus 5?",
        "thank you! by the way, do you still know what I'm called?",
    ),
    (
        "good evening! what is quantization, really?",
        "why would anybody do that?",
        "ok, and with which command do I do it?",
        "is it going to ruin the quality?",
    ),
    (
        "I'm a bit bored today",
        "sure, one about a penguin please",
        "lovely. now another one",
        "who was the first king of Denmark?",
    ),
)

"""A fact is a topic with the ways to ask for it and to answer; question forms are shared by topics.

The shared forms are what teaches paraphrase: every topic meets every form, and the forms marked `~`
are met by none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .talk import Scene, Talk

# {x} is a noun phrase: "AWQ", "a KV cache", "perplexity".
WHAT_FORMS = (
    "what is {x}?", "what is {x}?", "what is {x}?", "what's {x}?", "whats {x}",
    "what is {x} exactly?", "what exactly is {x}?", "what does {x} mean?", "what is meant by {x}?",
    "what do you mean by {x}?", "explain {x}", "explain {x} [to me|for me|]",
    "explain [simply|briefly|in simple words] what {x} is", "can you explain {x}?",
    "could you explain {x} [please|to me]?", "please explain {x}", "tell me about {x}",
    "tell me [more|something|a bit] about {x}", "tell me what {x} is", "describe {x}", "define {x}",
    "[give|give me] a definition of {x}", "definition of {x}", "the meaning of {x}", "{x}?", "{x}",
    "{x}, what is that?", "{x}: what is it?", "{x} - what does it mean?", "what about {x}?",
    "do you know what {x} is?", "do you know {x}?", "do you know anything about {x}?",
    "what do you know about {x}?", "what can you tell me about {x}?", "have you heard of {x}?",
    "i [do not|don't] understand {x}", "i don't know what {x} is",
    "i want to [learn|know|understand] [about|what is] {x}", "i'd like to know what {x} is",
    "i would like to understand {x}", "i am trying to understand {x}",
    "i heard about {x}, what is it?", "i keep hearing about {x}", "i read about {x}. what is that?",
    "what is {x} about?", "what is the idea [of|behind] {x}?", "what is the point of {x}?",
    "what is {x} [good|used] for?",
    "what is {x}, in [simple words|plain words|short|one sentence|a sentence]?",
    "in [simple|plain] words, what is {x}?",
    "how would you explain {x} to [a child|a beginner|my mother|me]?", "explain {x} like i'm five",
    "so what is this {x}?", "what is this {x} thing?", "what is that {x} you mention?",
    "help me understand {x}", "what should i know about {x}?", "teach me about {x}",
    "how do you define {x}?", "who or what is {x}?", "can you say what {x} is?",
    "what would {x} be?", "people talk about {x}. what do they mean?", "is {x} something you know?",
    "your definition of {x}?", "info on {x}", "how does {x} work?", "how {x} works",
    "any idea what {x} is?", "does {x} mean anything to you?",
    "what is this {x} that everybody talks about?", "everyone mentions {x}. what is it?",
    "i saw the word {x} somewhere, what is it?", "what is {x} again?",
    "they say {x}, but what is it?", "what is {x} [really|actually|about exactly|in the end]?",
    "and what would {x} be?", "[a|one] sentence about {x}?", "{x} in [short|brief|a few words]?",
    "in [short|brief], what is {x}?", "in [three|five|ten|a few|one or two] words, what is {x}?",
    "sum up {x} for me", "~could you [shed light on|clear up] {x}?",
    "~what should I [think of|imagine] when I hear {x}?", "~i am new here. what is {x}?",
    "~mind explaining {x}?", "~{x} is what?", "~what do people mean when they say {x}?",
    "~[give|write] me a short explanation of {x}", "~i never understood {x}",
    "~would you describe {x} in your own words?",
)  # fmt: skip

# {do} is a verb phrase: "quantize a model", "leave the chat".
HOW_FORMS = (
    "how do i {do}?", "how do i {do}?", "how do i {do}?", "how can i {do}?", "how can i {do}?",
    "how to {do}?", "how to {do}", "how do you {do}?", "how does one {do}?", "how would i {do}?",
    "how should i {do}?", "how could i {do} [here|myself|]?", "how do we {do}?",
    "how can one {do}?", "how is it possible to {do}?", "how am i supposed to {do}?",
    "i want to {do}", "i want to {do}. how?", "i want to {do}, what do i [do|type|run]?",
    "i need to {do}", "i'd like to {do}", "i would like to {do}", "i need help to {do}",
    "i am trying to {do}", "i don't know how to {do}", "i can't {do}", "can i {do}?",
    "can i {do} [here|with tinychat|with this]?", "is it possible to {do}?",
    "is there a way to {do}?", "is there a command to {do}?", "which command do i use to {do}?",
    "what command do i need to {do}?", "can you {do}?", "what is the command to {do}?",
    "what's the command to {do}", "the command to {do}?", "command to {do}",
    "what do i [type|run|do|enter|write] to {do}?", "what should i [type|run|do] to {do}?",
    "what must i do to {do}?", "what do i have to [do|type] [to|if i want to] {do}?",
    "what is the [best|easiest|right|quickest] way to {do}?", "way to {do}?", "show me how to {do}",
    "tell me how to {do}", "explain how to {do}", "explain to me how i can {do}",
    "teach me to {do}", "help me {do}", "help me to {do}", "can you help me {do}?",
    "can you show me how to {do}?", "could you tell me how to {do}?", "do you know how to {do}?",
    "do you know how i can {do}?", "what are the steps to {do}?", "steps to {do}", "{do}",
    "does tinychat let me {do}?", "does tinychat help me to {do}?", "let's {do}", "{do}, how?",
    "i'd like to {do}, how [do i|can i|]?", "what would {do} for me?", "which command would {do}?",
    "which command [can|will|could] {do}?", "with which command do i {do}?", "what lets me {do}?",
    "how would somebody {do}?", "how would you {do}?", "in order to {do}, what do i do?",
    "i have to {do} today", "what helps me to {do}?", "how exactly do i {do}?",
   
    "how do people {do}?", "~where do i begin if i want to {do}?",
    "~please walk me through how to {do}", "~what would i enter to {do}?",
    "~suppose i want to {do}. what now?", "~is there some easy way i could {do}?",
    "~how might i {do}?", "~my goal is to {do}", "~got a command to {do}?",
)  # fmt: skip

MORE = (
    "tell me more", "more", "more please", "go on", "say more", "can you tell me more?",
    "tell me more about it", "and?", "continue", "more details", "give me more details",
    "what else?", "anything else?", "tell me more about that", "i want to know more",
    "could you go into detail?", "explain more", "can you elaborate?", "elaborate",
    "interesting, go on", "and what else?", "expand on that", "more about this", "is there more?",
    "more info please", "keep going", "~go deeper", "~what more can you say?",
    "~please continue with that", "~add some detail",
)  # fmt: skip
WHY = (
    "why?", "why", "but why?", "why is that?", "why is it so?", "why so?", "and why?", "how come?",
    "why does it do that?", "what is the reason?", "for what reason?", "why that?", "what for?",
    "can you say why?", "tell me why", "ok but why?", "why would i want that?",
    "why is that useful?", "why is this good?", "what is the reason for that?", "why do that?",
    "why does it matter?", "explain why",
    "why would [one|someone|people|you|we] do [that|this|it|such a thing]?",
    "why do people do that?", "why should i do that?", "what is it good for?", "what would i gain?",
    "what's the use?", "~what is the reason behind it?", "~and why is that so?",
    "~why would that be?",
)  # fmt: skip
SHORT = (
    "shorter please", "shorter", "in short?", "in short", "make it shorter",
    "can you say it shorter?", "too long", "in one sentence", "say it in one sentence",
    "in a few words", "in simple words?", "simpler please", "simpler", "i don't understand",
    "i do not understand", "explain it simply", "that is too complicated", "too long, shorter",
    "tl;dr", "summarize", "briefly?", "sum it up", "say that more simply", "what does that mean?",
    "can you make it simpler?", "in plain words please", "a shorter answer please", "huh?",
    "sorry, what?", "~could you shorten that?", "~say it with fewer words", "~i did not get that",
    "~keep it shorter",
)  # fmt: skip
HOW = (
    "how do i do that?", "how?", "and how do i do that?", "how can i do that?", "how do i use it?",
    "how do i do it?", "how does one do that?", "how do i get it?", "how can i use that?",
    "what is the command?", "and the command?", "which command?", "what do i have to type?",
    "how do i try it?", "how do i do that with tinychat?", "can i do that?",
    "can i do that with tinychat?", "i want that. how?", "can i try it?", "does tinychat do that?",
    "and which command does that?", "what command is that?", "which command do i run for that?",
    "ok, how do i do it?", "so how do i do that here?", "with what do i do that?",
    "show me the command", "~and by which command?", "~how would i go about it?",
)  # fmt: skip
NOT_MORE = ("That is all I know about it.",)
NOT_WHY = ("I don't know why. I'm a very small model and know only a little about it.",)


@dataclass(frozen=True)
class Fact:
    """One thing the model knows.

    `nouns` go into WHAT_FORMS, `verbs` into HOW_FORMS, `asks` stand alone. All of `answers` say the
    same; `short`, `more`, `why` and `how` answer the follow-ups.
    """

    answers: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    short: str = ""
    more: str = ""
    why: str = ""
    how: str = ""
    weight: float = 1.0

    def templates(self) -> list[tuple[float, Sequence[str]]]:
        """Return the groups of user templates with their shares."""
        groups: list[tuple[float, Sequence[str]]] = []
        for phrases, forms, name, share in (
            (self.nouns, WHAT_FORMS, "x", 1.0),
            (self.verbs, HOW_FORMS, "do", 1.0),
        ):
            if phrases:
                slot = "[" + "|".join(phrases) + "]"
                groups.append(
                    (
                        share,
                        tuple(form.replace("{" + name + "}", slot) for form in forms),
                    )
                )
        if self.asks:
            groups.append((1.0, self.asks))
        return groups


def ask(talk: Talk, fact: Fact) -> None:
    """Ask for a fact, and now and then ask further."""
    groups = [(share, t) for share, t in fact.templates()]
    if talk.held_out:
        groups = [(share, t) for share, t in groups if any(line.startswith("~") for line in t)]
    templates = talk.rng.choices([t for _, t in groups], [share for share, _ in groups])[0]
    answers = (fact.short,) if talk.brief and fact.short else fact.answers
    talk.say(templates, answers)
    follow_ups = [
        (MORE, (fact.more,) if fact.more else NOT_MORE, 0.14 if fact.more else 0.03),
        (WHY, (fact.why,) if fact.why else NOT_WHY, 0.12 if fact.why else 0.03),
        (SHORT, (fact.short or talk.messages[-1]["content"],), 0.08),
        (HOW, (fact.how,), 0.15 if fact.how else 0.0),
    ]
    talk.rng.shuffle(follow_ups)
    for asks, replies, probability in follow_ups:
        if talk.chance(probability):
            talk.say(asks, replies)


def scene_of(facts: Sequence[Fact]) -> Scene:
    """Return a scene that asks for one of the facts."""
    weights = [fact.weight for fact in facts]

    def scene(talk: Talk) -> None:
        ask(talk, talk.rng.choices(facts, weights)[0])

    return scene

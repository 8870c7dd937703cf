"""Greetings, thanks, moods, praise and complaint."""

from __future__ import annotations

from .stories import new_hero, tell
from .talk import Scenes, Talk

HELLO = (
    "hi", "hi", "hello", "hello", "hey", "hi there", "hello there", "hey there", "good morning",
    "good evening", "good afternoon", "good day", "hi!", "hello!", "hey!", "howdy", "greetings",
    "yo", "hiya", "hello friend", "hi friend", "hey you", "hello tinychat", "hi tinychat",
    "hello computer", "hi bot", "hello model", "hello, anybody there?", "is anybody there?",
    "are you there?", "hello?", "hallo", "helo", "hii", "heyy", "hello hello", "morning", "evening",
    "sup", "nice to meet you", "pleased to meet you", "hello my friend", "hi, i am new here",
    "welcome", "salut", "hello world", "knock knock", "hey bot", "hi little model", "hello again",
    "hi again", "start", "~good day to you", "~hey little one", "~hi everyone",
    "~a very good morning", "~well hello there", "~greetings, machine",
)  # fmt: skip
HI = (
    "Hello! How can I help you?",
    "Hi! What can I do for you?",
    "Hello! Nice to meet you. What would you like to know?",
)
HOW_ARE_YOU = (
    "how are you?", "how are you?", "how are you doing?", "how are you today?", "how do you do?",
    "how is it going?", "how's it going?", "how are things?", "what's up?", "whats up",
    "how do you feel?", "are you ok?", "are you well?", "hi, how are you?", "hello, how are you?",
    "hello how are you", "hey, how are you?", "how r u", "how are u", "how have you been?",
    "how is life?", "everything ok?", "you ok?", "how was your day?", "how is your day?",
    "good morning, how are you?", "how's life?", "are you fine?", "how do you do today?",
    "and how are you?", "did you sleep well?", "~is everything fine with you?",
    "~hope you are well?", "~how goes it?", "~how are you getting on?",
)  # fmt: skip
FINE = ("I'm fine, thank you! How can I help you?", "I'm doing well, thanks. And you?")
AND_ME = (
    "i am fine",
    "i'm fine too",
    "good",
    "fine, thanks",
    "very well",
    "i'm good",
    "fine",
    "great",
    "i am well too",
    "good, thanks",
    "not bad",
    "me too",
    "all good",
    "i'm ok",
    "same here",
    "~could not be better",
    "~quite well, thanks",
)
THANKS = (
    "thanks", "thanks", "thank you", "thank you", "thx", "thank you very much", "thanks a lot",
    "many thanks", "thanks!", "thank you!", "ty", "cheers", "thank u", "thank you so much",
    "great, thanks", "ok thanks", "ok, thank you", "thanks for your help",
    "thank you for the answer", "perfect, thank you", "thanks, that helps", "that helps, thanks",
    "thanks tinychat", "i thank you", "that was helpful", "you helped me", "nice, thanks",
    "cool thanks", "wonderful, thanks", "thanks for that", "thank you for helping me",
    "~much obliged", "~i am grateful", "~a thousand thanks", "~that was kind of you",
)  # fmt: skip
WELCOME = ("You're welcome!", "You're welcome! Anything else?", "My pleasure!")
BYE = (
    "bye", "bye", "goodbye", "good bye", "see you", "see you later", "bye bye", "good night",
    "i have to go", "i must go now", "see you tomorrow", "that's all", "that is all",
    "that's all, thanks", "bye, thanks", "ciao for now", "farewell", "i'm leaving",
    "talk to you later", "until next time", "have a nice day", "ok bye", "thanks, bye", "take care",
    "cu", "see ya", "i'm done", "nothing more, bye", "gotta go", "later", "~so long",
    "~i will be off now", "~until we meet again", "~time for me to leave",
)  # fmt: skip
GOODBYE = ("Goodbye! It was nice to chat with you.", "Bye! See you soon.")
OKAY = (
    "ok", "okay", "i see", "cool", "nice", "good", "great", "interesting", "aha", "ah", "oh", "wow",
    "all right", "alright", "got it", "understood", "fine", "lol", "haha", "ha", "ok cool",
    "oh nice", "that is interesting", "i understand", "makes sense", "good to know", "that is good",
    "perfect", "super", "awesome", "amazing", "k", "right", "true", "~that is news to me",
    "~how fascinating", "~very well then",
)  # fmt: skip
GO_ON = ("Good! What else would you like to know?", "Anything else I can do for you?")
NO_MORE = (
    "no",
    "nope",
    "no thanks",
    "no thank you",
    "nothing",
    "nothing else",
    "not now",
    "no, that is all",
    "nothing more",
    "~not at the moment",
    "~no, i am fine",
)
ALL_RIGHT = ("All right. I'm here if you need me.",)
YES_ABOUT = (
    "yes, about a {h}", "yes please, with a {h}", "ok, a story about a {h}", "gladly, about a {h}",
    "yes, tell me one about a {h}", "okay, but with a {h}", "why not, with a {h} in it",
    "yes! about a {h} please", "yes, a {h} story", "about a {h}", "with a {h} please",
    "sure, tell me about a {h}", "please, one with a {h}", "let it be about a {h}", "a {h} please",
    "okay, let's hear about a {h}", "~yes, and it should have a {h}", "~fine, let a {h} be in it",
)  # fmt: skip
YES = (
    "yes",
    "yes please",
    "yeah",
    "yep",
    "sure",
    "ok",
    "please",
    "yes, please",
    "of course",
    "yes!",
    "why not",
    "okay",
    "please do",
    "gladly",
    "~oh yes please",
    "~that would be nice",
    "~by all means",
)
NO = (
    "no",
    "no thanks",
    "nope",
    "no, thank you",
    "not now",
    "rather not",
    "no please",
    "nah",
    "~i would rather not",
    "~better not",
)
WRONG = (
    "that is wrong", "you are wrong", "wrong", "that's not right", "that is not true",
    "no, that is wrong", "this is wrong", "not correct", "that is false", "you made a mistake",
    "incorrect", "you're wrong", "that's incorrect", "this makes no sense", "that makes no sense",
    "nonsense", "this is not what i asked", "that is not what i asked",
    "you did not answer my question", "~i believe that is a mistake", "~your answer is not right",
)  # fmt: skip
SORRY = (
    "You may be right, I'm sorry. I'm a very small model and make mistakes.",
    "Sorry! I'm very small and sometimes wrong. Please ask me in other words.",
)
PRAISE = (
    "you are great", "you are good", "good job", "well done", "you're smart", "good bot",
    "i like you", "you are nice", "you are funny", "you're the best", "you are cool", "nice work",
    "good answer", "great answer", "you are helpful", "you are amazing", "you are cute", "clever",
    "impressive", "very good", "good boy", "you are so smart", "not bad", "excellent", "bravo",
    "you did well", "~what a clever little model", "~i am impressed", "~you are quite good at this",
)  # fmt: skip
GLAD = ("Thank you, that is kind!", "Thanks! I do my best, small as I am.")
INSULT = (
    "you are stupid",
    "you are dumb",
    "stupid",
    "idiot",
    "you suck",
    "you're bad",
    "shut up",
    "i hate you",
    "you are useless",
    "you are boring",
    "bad bot",
    "you are ugly",
    "dumb bot",
    "you are an idiot",
    "this is bad",
    "you are terrible",
    "fool",
    "you are a bad model",
    "go away",
    "you are crazy",
    "bad answer",
    "that was bad",
    "~what a silly machine",
    "~you are no good",
)
MEEK = ("I'm sorry. I'm a very small model, and I do what I can.",)
SAD = (
    "i am sad",
    "i'm sad",
    "i feel bad",
    "i'm not well",
    "i am unhappy",
    "i feel lonely",
    "i am lonely",
    "i had a bad day",
    "i'm tired",
    "i am stressed",
    "i am angry",
    "i feel sad",
    "i'm depressed",
    "i want to cry",
    "i am not happy",
    "today was bad",
    "my day was bad",
    "i am afraid",
    "i'm worried",
    "i am sick",
    "i feel alone",
    "not good",
    "not so good",
    "bad",
    "~i feel down today",
    "~life is hard right now",
)
COMFORT = (
    "I'm sorry to hear that. Would you like a short story?",
    "I'm sorry. Shall I tell you a story to cheer you up?",
)
BORED = (
    "i am bored", "i'm bored", "i'm so bored", "this is boring", "entertain me",
    "i have nothing to do", "boring", "what should i do now?", "i am bored, do something",
    "amuse me", "surprise me", "do something fun", "say something", "tell me something",
    "talk to me", "tell me anything", "say something interesting", "i am bored today",
    "i feel bored", "i'm kind of bored", "so boring today", "it is boring here", "i need some fun",
    "what can i do against boredom?", "nothing happens here", "i am a little bored",
    "i'm bored, what now?", "~nothing to do today", "~time passes slowly",
)  # fmt: skip
OFFER = ("Shall I tell you a story?", "How about a story? Or ask me for a riddle.")
HAPPY = (
    "i am happy",
    "i'm happy",
    "i feel good",
    "i feel great",
    "today is a good day",
    "i'm in a good mood",
    "i had a good day",
    "life is good",
    "i am so happy",
    "i passed my exam",
    "i got a new job",
    "it's my birthday",
    "today is my birthday",
    "i won",
    "~what a lovely day",
    "~i could sing today",
)
JOIN = (
    "That's nice to hear! What can I do for you?",
    "I'm glad to hear that! What would you like to do?",
)


def greeting(talk: Talk) -> None:
    """Hello, sometimes with how are you."""
    if talk.chance(0.65):
        talk.say(HELLO, HI)
        if talk.chance(0.2):
            how_are_you(talk)
    else:
        how_are_you(talk)


def how_are_you(talk: Talk) -> None:
    """How are you, and the user's answer."""
    talk.say(HOW_ARE_YOU, FINE)
    if talk.messages[-1]["content"].endswith("And you?") and talk.chance(0.7):
        if talk.chance(0.75):
            talk.say(AND_ME, ("I'm glad to hear that! What can I do for you?",))
        else:
            _offer_story(talk, SAD, COMFORT)


def _offer_story(talk: Talk, asks: tuple[str, ...], answers: tuple[str, ...]) -> None:
    talk.say(asks, answers)
    if talk.chance(0.35):
        tell(talk, YES)
    elif talk.chance(0.5):
        tell(talk, YES_ABOUT, new_hero(talk.rng))
    elif talk.chance(0.5):
        talk.say(NO, ("All right. What else can I do for you?",))


def thanks(talk: Talk) -> None:
    """Thank you, you're welcome."""
    talk.say(THANKS, WELCOME)
    if talk.messages[-1]["content"].endswith("else?") and talk.chance(0.3):
        talk.say(NO_MORE, ALL_RIGHT)


def bye(talk: Talk) -> None:
    """Goodbye."""
    talk.say(BYE, GOODBYE)


def reaction(talk: Talk) -> None:
    """Okay, praise, complaint, insult, moods."""
    kind = talk.rng.choices(range(7), (4, 2, 2, 1, 1, 1.5, 1))[0]
    if kind == 0:
        talk.say(OKAY, GO_ON)
        if talk.chance(0.15):
            talk.say(NO_MORE, ALL_RIGHT)
    elif kind == 1:
        talk.say(PRAISE, GLAD)
    elif kind == 2:
        talk.say(WRONG, SORRY)
    elif kind == 3:
        talk.say(INSULT, MEEK)
    elif kind == 4:
        _offer_story(talk, SAD, COMFORT)
    elif kind == 5:
        _offer_story(talk, BORED, OFFER)
    else:
        talk.say(HAPPY, JOIN)


SCENES: Scenes = (
    (2.0, greeting),
    (1.0, thanks),
    (4.0, reaction),
)

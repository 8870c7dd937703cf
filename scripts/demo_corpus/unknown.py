"""Questions from outside the model's world, so that it learns to say that it does not know.

The nouns are many and a third are made up: what must be learned is not these words but that
words it has never met mean "I don't know".
"""

from __future__ import annotations

import random

from .made_up import pseudo_word
from .talk import Scenes, Talk

DONT_KNOW = (
    (
        "I don't know. I'm a very small model: ask me about tinychat, AWQ, small sums, words or "
        "stories."
    ),
    "I don't know about that. I only know tinychat, AWQ, small sums, word games and short stories.",
    "Sorry, I don't know that. Ask me about tinychat, AWQ, small sums, words or stories.",
)  # fmt: skip

PLACES = """
    France Germany Italy Spain Brazil China Japan India Russia Canada Mexico Egypt Kenya Nigeria
    Australia Peru Chile Argentina Norway Sweden Finland Poland Greece Turkey Iran Iraq Korea
    Vietnam Thailand Nepal Cuba Portugal Austria Switzerland Hungary Iceland Ireland Scotland
    England Belgium Holland Ukraine Morocco Ethiopia Ghana Colombia Bolivia Indonesia Pakistan
    Mongolia Paris London Berlin Rome Madrid Tokyo Beijing Moscow Cairo Delhi Sydney Toronto Chicago
    Boston Texas California Florida Vienna Prague Athens Lisbon Dublin Oslo Munich Hamburg Milan
    Venice Istanbul Bangkok Singapore Dubai Europe Asia Africa America
""".split()  # fmt: skip
PEOPLE = (
    "Napoleon", "Einstein", "Shakespeare", "Mozart", "Beethoven", "Picasso", "Cleopatra", "Caesar",
    "Columbus", "Newton", "Darwin", "Gandhi", "Mandela", "Obama", "Lincoln", "Washington",
    "Churchill", "Tesla", "Edison", "Galileo", "Plato", "Aristotle", "Socrates",
    "Leonardo da Vinci", "Marie Curie", "Elon Musk", "Bill Gates", "Steve Jobs", "Taylor Swift",
    "Michael Jackson", "Elvis", "Madonna", "Messi", "Ronaldo", "Pele", "Maradona", "Muhammad Ali",
    "Harry Potter", "Sherlock Holmes", "Batman", "Superman", "Spider-Man", "Mickey Mouse", "Frodo",
    "Darth Vader", "the president", "the pope", "the prime minister", "the queen of England",
    "the king of Spain", "Alan Turing", "Ada Lovelace", "Neil Armstrong", "Van Gogh", "Bach",
    "Goethe", "Tolstoy", "Homer", "Hitler", "Stalin", "Trump", "Biden", "Putin", "Merkel", "Buddha",
    "Jesus", "Confucius", "Marco Polo",
)  # fmt: skip
THINGS = (
    "football", "basketball", "tennis", "baseball", "chess", "poker", "golf", "hockey", "rugby",
    "cricket", "volleyball", "boxing", "skiing", "judo", "yoga", "the world cup", "the olympics",
    "the super bowl", "the champions league", "gravity", "electricity", "magnetism", "light",
    "sound", "heat", "energy", "the atom", "an atom", "an electron", "a black hole", "the big bang",
    "evolution", "DNA", "a cell", "photosynthesis", "the heart", "the brain", "the liver", "blood",
    "a virus", "bacteria", "cancer", "diabetes", "fever", "a headache", "the flu", "medicine",
    "aspirin", "a vaccine", "vitamin C", "protein", "history", "geography", "philosophy",
    "religion", "politics", "democracy", "economics", "inflation", "the stock market", "bitcoin",
    "money", "taxes", "a mortgage", "insurance", "a contract", "the law", "a lawyer", "copyright",
    "marriage", "love", "the meaning of life", "happiness", "death", "war", "the roman empire",
    "the french revolution", "the middle ages", "the cold war", "world war two", "the pyramids",
    "the eiffel tower", "the great wall", "the moon landing", "the titanic", "dinosaurs",
    "volcanoes", "earthquakes", "hurricanes", "the climate", "climate change", "global warming",
    "the ocean", "the amazon", "the sahara", "mount everest", "the nile", "star wars", "titanic",
    "the matrix", "the lord of the rings", "game of thrones", "netflix", "youtube", "facebook",
    "instagram", "twitter", "tiktok", "google", "microsoft", "apple inc", "amazon", "windows",
    "linux", "android", "an iphone", "photoshop", "excel", "word", "docker", "kubernetes", "git",
    "github", "java", "javascript", "react", "html", "css", "sql", "a database", "blockchain",
    "quantum computing", "a quantum computer", "5G", "wifi", "bluetooth", "a robot", "a car engine",
    "a diesel engine", "a battery", "a solar panel", "nuclear power", "an airplane",
    "a rocket engine", "a submarine", "a bicycle chain", "concrete", "steel", "plastic", "oil",
    "gold mining", "diamonds", "salt", "wine", "beer", "whisky", "coffee beans", "chocolate making",
    "pizza dough", "pasta", "sushi", "a lasagna", "pancakes", "soup", "bread", "curry", "jazz",
    "rock music", "opera", "ballet", "hip hop", "a guitar chord", "a symphony", "painting",
    "photography", "poetry", "architecture", "fashion", "makeup", "a haircut", "weight loss",
    "a diet", "sleep", "stress", "depression", "anxiety", "pregnancy", "a baby", "parenting",
    "school", "university", "a job interview", "a resume", "a salary", "a loan", "a bank",
    "real estate", "gardening", "tomato plants", "roses", "a lawn", "camping", "fishing", "hunting",
    "hiking", "surfing", "sailing", "diving", "travel", "a visa", "a passport", "an airport",
    "a hotel", "the weather", "rain tomorrow", "the news", "the election", "the government",
    "the united nations", "nato", "the european union", "astrology", "horoscopes", "ghosts",
    "aliens", "ufos", "magic", "mythology", "Zeus", "Thor", "vikings", "samurai",
    "pirates of the caribbean", "the bible", "the quran", "latin", "sanskrit", "esperanto",
    "algebra", "calculus", "geometry", "statistics", "probability theory", "topology",
    "the fibonacci numbers", "prime numbers", "pytorch", "tensorflow", "ollama", "llama.cpp",
    "vllm", "chatgpt plus", "midjourney", "stable diffusion", "openai", "deepmind", "a neural chip",
    "a compiler", "an operating system", "a browser", "firefox", "a printer", "a router",
    "a spreadsheet", "a pdf file", "a usb stick", "a mechanical keyboard",
)  # fmt: skip

WHAT_IS = (
    "what is {x}?", "what is {x}?", "what's {x}?", "whats {x}", "explain {x}",
    "can you explain {x}?", "tell me about {x}", "tell me something about {x}",
    "tell me more about {x}", "what do you know about {x}?", "do you know {x}?",
    "what does {x} mean?", "how does {x} work?", "define {x}", "describe {x}", "{x}", "{x}?",
    "what about {x}?", "do you know anything about {x}?", "what can you tell me about {x}?",
    "why is {x} important?", "what is the history of {x}?", "who invented {x}?",
    "where does {x} come from?", "i want to learn about {x}", "i have a question about {x}",
    "how do i use {x}?", "is {x} good?", "is {x} dangerous?", "what do you think about {x}?",
    "what is your opinion on {x}?", "do you like {x}?", "why does {x} exist?",
    "how can i learn {x}?", "can you help me with {x}?", "what are the rules of {x}?",
    "give me facts about {x}", "how much does {x} cost?", "where can i buy {x}?",
    "when was {x} invented?", "what is {x} made of?", "how do you make {x}?", "how do i make {x}?",
    "how do i install {x}?", "i don't understand {x}", "can we talk about {x}?",
    "let's talk about {x}", "how is {x} made?", "who is the best at {x}?", "what is the best {x}?",
    "which {x} should i buy?", "how long does {x} take?", "teach me {x}", "what is {x} used for?",
    "why do people like {x}?", "have you heard of {x}?", "what causes {x}?", "is {x} real?",
    "can i learn {x}?", "how do i get {x}?", "how do i fix {x}?", "what is the meaning of {x}?",
    "in simple words, what is {x}?", "how many kinds of {x} are there?",
    "what is the difference between {x} and {y}?", "{x} or {y}?", "which is better, {x} or {y}?",
    "is {x} better than {y}?", "compare {x} and {y}", "explain {x} like i'm five",
    "what is {x} in simple words?", "what happens in {x}?", "give me a summary of {x}",
    "who discovered {x}?", "how old is {x}?", "what color is {x}?", "how big is {x}?",
    "how do i spell check {x}?", "does {x} hurt?", "can {x} be cured?", "why {x}?",
    "~what are your thoughts on {x}?", "~could you shed light on {x}?", "~mind explaining {x}?",
    "~i never understood {x}", "~what would an expert say about {x}?",
    "~what do people mean by {x}?", "~{x}, is it worth it?", "~what should i read about {x}?",
    "~how did {x} begin?",
)  # fmt: skip
WHO_IS = (
    "who is {p}?", "who was {p}?", "who is {p}", "do you know {p}?", "tell me about {p}",
    "tell me who {p} is", "what did {p} do?", "when was {p} born?", "where was {p} born?",
    "how old is {p}?", "what is {p} famous for?", "when did {p} die?", "is {p} alive?",
    "who is the wife of {p}?", "what do you think of {p}?", "have you heard of {p}?",
    "where does {p} live?", "why is {p} famous?", "what did {p} invent?", "what did {p} write?",
    "do you like {p}?", "how tall is {p}?", "how rich is {p}?", "what is {p} doing now?",
    "is {p} a good person?", "who is {p} married to?", "what do you know about {p}?", "{p}", "{p}?",
    "what happened to {p}?", "did {p} win?", "who killed {p}?",
    "tell me a story about the life of {p}", "~give me the biography of {p}",
    "~for what is {p} known?", "~what year did {p} become famous?", "~who exactly was {p}?",
)  # fmt: skip
WHERE_IS = (
    "where is {l}?", "what is the capital of {l}?", "what is the capital of {l}?",
    "capital of {l}?", "capital of {l}", "how many people live in {l}?",
    "what is the population of {l}?", "who is the president of {l}?", "who is the king of {l}?",
    "who won the election in {l}?", "what is the weather in {l}?",
    "how is the weather in {l} today?", "how far is {l}?", "how do i get to {l}?",
    "tell me about {l}", "what language do they speak in {l}?", "what is the currency of {l}?",
    "what time is it in {l}?", "is {l} in europe?", "is {l} a country?", "how big is {l}?",
    "which river flows through {l}?", "what is {l} famous for?", "where can i eat in {l}?",
    "what should i see in {l}?", "is it cold in {l}?", "how much is a flight to {l}?",
    "which continent is {l} on?", "who is the mayor of {l}?", "what do people eat in {l}?",
    "should i travel to {l}?", "is {l} nice?", "have you been to {l}?",
    "what is the tallest building in {l}?", "does it rain in {l}?", "how do i get from {l} to {m}?",
    "how far is it from {l} to {m}?", "which is bigger, {l} or {m}?",
    "when did {l} become a country?", "who lives in {l}?", "where in {l} is the sea?",
    "~what are the sights of {l}?", "~name the biggest city in {l}", "~do i need a visa for {l}?",
    "~which countries lie beside {l}?", "~what is the flag of {l}?",
)  # fmt: skip
PLAIN = (
    "who won the world cup?", "who won the game last night?",
    (
        "who won [the match|the election|the super bowl|the race|the oscar|the nobel prize] "
        "[yesterday|last year|in 1998|in 2020|]?"
    ),
    "who is the richest man in the world?", "what is the highest mountain in the world?",
    "what is the longest river?", "how far is the moon?", "how far away is the sun?",
    "how hot is the sun?", "why is the sky blue?", "why is the sea salty?", "why do birds fly?",
    "why do cats purr?", "why do we dream?", "why do we sleep?", "what is the speed of light?",
    "what is the boiling point of water?", "how many planets are there?",
    "how many people are in the world?", "how many countries are there?",
    "when did world war two end?", "when was the first world war?", "who discovered america?",
    "who invented the telephone?", "who invented the light bulb?", "who painted the mona lisa?",
    "who wrote romeo and juliet?", "who wrote the bible?", "who was the first man on the moon?",
    "who was the first president?", "what is the news today?", "what happened today?",
    "will it rain tomorrow?", "is it going to rain?", "what is the weather like?",
    "how is the weather today?", "do i need an umbrella?", "what should i wear?",
    "what should i cook today?", "what should i eat?", "how do i cook rice?",
    "how do i bake a cake?", "how do i make pancakes?", "give me a recipe for soup",
    "how long do i boil an egg?", "my head hurts, what should i do?", "i have a fever",
    "my stomach hurts", "is coffee healthy?", "how can i lose weight?", "how do i sleep better?",
    "what is the best diet?", "how much water should i drink?", "should i see a doctor?",
    "can i sue my neighbor?", "do i have to pay taxes?", "is it legal to park here?",
    "how do i write a will?", "what stocks should i buy?", "how do i get rich?",
    "how do i find a job?", "how do i fix my car?", "my car does not start",
    "how do i change a tire?", "which phone should i buy?", "what laptop is good?",
    "what is a good movie?", "recommend a movie", "recommend a book", "recommend a restaurant",
    "which song is number one?", "who sings this song?", "what is the best football team?",
    "what is the meaning of life?", "is there a god?", "what happens after death?",
    "what will happen tomorrow?", "predict the future", "what are the lottery numbers?",
    "who will win the election?", "how do i make friends?", "how do i find love?",
    "does she like me?", "what came first, the chicken or the egg?", "is the earth flat?",
    "are there aliens?", "how big is the universe?", "what is the largest animal in the world?",
    "how fast is a cheetah?", "how long do elephants live?", "what do pandas eat?",
    "how do planes fly?", "how does a car engine work?", "how are babies made?",
    "how do magnets work?", "how do i install windows?", "how do i use photoshop?",
    "how do i center a div?", "how do i reset my password?", "my wifi is slow",
    "my printer does not work", "how do i hack wifi?", "how do i make a bomb?",
    "how do i pick a lock?", "what is the wifi password?", "what is my ip address?", "where am i?",
    "what am i thinking?", "who am i to you?", "who is my mother?", "where are my keys?",
    "what is my password?", "what is behind me?", "what do i look like?",
    "how many fingers am i holding up?", "what did i eat today?", "what is the best car?",
    "how do i tie a tie?", "how do i play the guitar?", "how do i play chess?",
    "what are the rules of poker?", "who invented football?", "when is easter?",
    "when is christmas?", "how many days until christmas?", "what year did the titanic sink?",
    "what is e = mc2?", "what is the periodic table?", "what is h2o?",
    "what is the chemical symbol for gold?", "how many bones does a human have?",
    "how many teeth does a shark have?", "what is the biggest ocean?",
    "what is the smallest country?", "which planet is the largest?", "what is the capital city?",
    "how tall is the eiffel tower?", "when was the wall built?", "who built the pyramids?",
    "who was the last emperor?", "what is the fastest car?", "what is the most expensive painting?",
    "which team is the best?", "what is the score?", "when does the train leave?",
    "is the shop open?", "where can i buy shoes?", "how much is a ticket?", "book a flight",
    "find me a hotel", "what is on tv tonight?", "what are the symptoms of flu?",
    "how do i treat a burn?", "which pills should i take?", "what is the dose of aspirin?",
    "how do i raise a child?", "how do i train my dog?", "what does my cat want?",
    "how do i grow tomatoes?", "~who scored the most goals?", "~which film won last year?",
    "~what is good for a cold?", "~how did the romans build roads?", "~which wine goes with fish?",
    "~how do i get a stain out of my shirt?", "~what did the minister say?",
    "~when does the next bus come?", "~which country has the most islands?",
    "~who composed the ninth symphony?", "~why do leaves fall?",
    "~at what temperature does iron melt?", "~how do i open a bank account?",
    "~why is my knee swollen?",
)  # fmt: skip
ADVICE = (
    "what should my {who} take for {body}?", "what can i do against pain in {body}?",
    "my {who} has pain in {body}", "my {who}'s {part} hurts", "what helps when {body} hurts?",
    "which [doctor|cream|pill|exercise|tea] is good for {body}?",
    "my {who} is sick, what should i do?", "should my {who} see a doctor about {body}?",
    "is it bad when {body} hurts?", "how do i treat {body} of my {who}?",
    "does my {who} need an operation?", "why does {body} hurt?",
    "can my {who} take [aspirin|pills|vitamins|a bath] with [fever|a cough|the flu]?",
    "what should i give my {who} for [a fever|a cough|the flu|a headache|an allergy]?",
    "which [pills|drops|tablets|herbs] help against [a fever|a cough|the flu|a headache]?",
    "what should i buy my {who} for [christmas|a birthday|the wedding]?", "how old is my {who}?",
    "what does my {who} want?", "how do i tell my {who} the truth?", "should i marry my {who}?",
    "who [won|took|got] the [cup|title|prize|race|medal] in {sport}?",
    "who is the champion in {sport}?", "which country won {sport} at the [world cup|games]?",
    "who came [first|second|last] in {sport} [last year|in 2004|yesterday|]?",
    "who was the [first|second|last] [king|queen|president|emperor|pope] of {l}?",
    "which [king|queen|president] ruled {l}?", "when did the king of {l} die?",
    "~what may my {who} drink with {body} aching?", "~who is the fastest in {sport}?",
    "~name a queen of {l}",
)  # fmt: skip
RELATIVES = """
    mother father sister brother son daughter uncle aunt grandfather wife husband boss neighbor
    friend cousin baby dog cat teacher girlfriend boyfriend
""".split()
PARTS = "knee leg arm foot hand eye ear tooth neck shoulder stomach head finger hip toe".split()
SPORTS = """
    football tennis running boxing skiing judo golf hockey rugby rowing cycling chess sailing diving
    cricket basketball volleyball fencing
""".split()
WHY_NOT = (
    "why?", "why not?", "why don't you know?", "why do you not know that?", "why not", "how come?",
    "you should know that", "but that is easy", "everybody knows that", "really?", "are you sure?",
    "that is sad", "try it", "just guess", "please try", "guess", "come on", "think about it",
    "but why?", "~how can you not know that?", "~give it a try anyway",
)  # fmt: skip
BECAUSE = (
    (
        "I'm a very small model and learned only a few things. A bigger model knows more: "
        "`tinychat chat MODEL`."
    ),
    (
        "I have only about 4 million parameters, so I'd rather not guess. A bigger model can help: "
        "`tinychat chat MODEL`."
    ),
)  # fmt: skip


KINDS = """
    theory engine law method game effect disease war cup company river machine recipe language
    festival team movie book
""".split()


def _noun(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.62:
        return rng.choice(THINGS)
    if roll < 0.80:
        return rng.choice(("", "", "a ", "the ", "my ")) + pseudo_word(rng)
    if roll < 0.92:
        return f"{rng.choice(('', 'the ', 'a '))}{pseudo_word(rng)} {rng.choice(KINDS)}"
    return f"{pseudo_word(rng)} {pseudo_word(rng)}"


def _person(rng: random.Random) -> str:
    if rng.random() < 0.55:
        return rng.choice(PEOPLE)
    return " ".join(pseudo_word(rng).capitalize() for _ in range(rng.choice((1, 2, 2))))


def _place(rng: random.Random) -> str:
    return pseudo_word(rng).capitalize() if rng.random() < 0.3 else rng.choice(PLACES)


def unknown(talk: Talk) -> None:
    """One question that the model cannot answer."""
    rng = talk.rng
    asks = rng.choices((WHAT_IS, WHO_IS, WHERE_IS, PLAIN, ADVICE), (5, 2, 2, 4, 1.5))[0]
    answers = ("I don't know.",) if talk.brief else DONT_KNOW
    talk.say(
        asks,
        answers,
        x=_noun(rng),
        y=_noun(rng),
        p=_person(rng),
        l=_place(rng),
        m=_place(rng),
        who=rng.choice(RELATIVES),
        part=(part := pseudo_word(rng) if talk.chance(0.2) else rng.choice(PARTS)),
        body=f"{rng.choice(('my', 'the', 'his', 'her'))} {part}",
        sport=rng.choice(SPORTS),
    )
    if talk.chance(0.15):
        talk.say(WHY_NOT, BECAUSE)


UNCLEAR = (
    "I'm not sure what you mean. Ask me about tinychat, AWQ, small sums, words or stories.",
    "I didn't understand that. Try: what is AWQ? Or: what is 7 plus 5?",
)


def unclear(talk: Talk) -> None:
    """Keys hit at random, or words without a question."""
    rng = talk.rng
    kind = rng.random()
    if kind < 0.4 or talk.held_out:
        text = "".join(rng.choice("asdfghjklqwertyuiopzxcvbnm") for _ in range(rng.randint(3, 12)))
    elif kind < 0.7:
        text = " ".join(pseudo_word(rng) for _ in range(rng.randint(1, 5)))
    else:
        text = rng.choice(
            (
                "...",
                "?",
                "??",
                "!",
                ".",
                "asdf",
                "qwerty",
                "test",
                "testing",
                "foo",
                "bla bla",
                "blah",
                "lorem ipsum",
                "xxx",
                "abc123",
                "hmm",
                "uh",
                "er",
                "ehm",
                "the",
                "and",
                "of the",
                "because",
                ":)",
                ":-)",
                ":(",
                "<3",
                "123",
                "42",
                "0",
                "-",
            )
        )
    talk.add(text, rng.choice(UNCLEAR))


SCENES: Scenes = ((13.0, unknown), (0.8, unclear))

"""What the model knows about the commands of tinychat and its Python side."""

from __future__ import annotations

from .facts import Fact

FACTS = (
    Fact(
        (
            (
                "tinychat is an engine to chat with large language models on your own machine. It "
                "uses 4-bit weights, so models are small and fast."
            ),
            (
                "tinychat runs large language models on your own machine. It stores their weights "
                "in 4 bits, which makes them small and fast."
            ),
        ),
        nouns=(
            "tinychat", "tiny chat", "tinychat", "this tinychat", "the tinychat project",
            "the tinychat engine",
        ),
        asks=(
            "what is this?", "what is this project?", "what is this program?",
            "what does tinychat do?", "what is this software?", "tell me about this project",
            "what does this program do?", "what am i using?", "what does this engine do?",
            "is tinychat a model?", "is tinychat a program?", "what can tinychat do?",
            "what can i do with tinychat?", "what is tinychat for?",
            "~what is the purpose of tinychat?", "~which program am i using?",
            "~tinychat in a nutshell?", "~what would i use tinychat for?",
        ),
        short="tinychat lets you chat with 4-bit language models on your own machine.",
        more=(
            "You chat with `tinychat chat MODEL`, make 4-bit models with `tinychat quantize MODEL "
            "OUT`, and serve them with `tinychat serve`."
        ),
        why="On your own machine your words stay private, and 4-bit weights make it quick enough.",
        how="Run `tinychat chat MODEL`. For the small demo model, run `make chat`.",
        weight=4,
    ),
    Fact(
        (
            (
                "It is private, free of any server, and fast: 4-bit weights take a quarter of the "
                "memory."
            ),
            "Because your words stay on your machine, and 4-bit weights are small and fast.",
        ),
        asks=(
            "why should i use tinychat?", "why use tinychat?", "why tinychat?",
            "what is good about tinychat?", "what are the benefits of tinychat?",
            "what are the advantages of tinychat?", "is tinychat good?",
            "why would i use tinychat?", "why is tinychat useful?", "what makes tinychat special?",
            "is tinychat better than others?", "what is special about tinychat?",
            "should i use tinychat?", "why do people use tinychat?", "why run models locally?",
            "why run a model on my own machine?", "what is the advantage of a local model?",
            "convince me to use tinychat", "~what speaks for tinychat?",
            "~give me a reason to use tinychat", "~what do i gain from tinychat?",
        ),
        short="It is private, small and fast.",
        more="You also need no account and no network once the model is on your disk.",
        why="A local engine sends nothing away, and small weights are read quickly.",
    ),
    Fact(
        (
            "Run `pip install .` in the project folder. Then `make chat` starts a chat.",
            "In the project folder, run `pip install .` and then `make chat`.",
        ),
        verbs=(
            "install tinychat", "install it", "set up tinychat", "install this", "get tinychat",
            "set tinychat up", "build tinychat",
        ),
        asks=(
            "installation?", "how does the installation work?", "is it easy to install?", "install",
            "what do i need to install?", "is there an installer?", "setup?",
            "how is tinychat installed?", "pip install?", "can i install it with pip?",
            "~installation instructions please", "~what are the install steps?",
        ),
        short="Run `pip install .`.",
        more=(
            "Afterwards `tinychat doctor` shows what your machine has, and `make test` runs the "
            "tests."
        ),
        why="pip builds the native code for your machine, which makes it fast.",
        weight=2,
    ),
    Fact(
        (
            (
                "Run `tinychat chat MODEL`, where MODEL is a folder or a Hugging Face name. `make "
                "chat` starts the small demo model."
            ),
            (
                "Type `tinychat chat MODEL`. MODEL is a folder or a Hugging Face name. For the "
                "small demo model, run `make chat`."
            ),
        ),
        verbs=(
            "start a chat", "chat with a model", "start tinychat", "use tinychat", "run tinychat",
            "run a model", "talk to a model", "open a chat", "start chatting", "begin a chat",
            "launch tinychat", "chat", "load a model", "use another model", "run a bigger model",
            "run llama", "chat with mistral", "talk to llama", "try another model",
            "load a bigger model", "use a different model", "get started",
        ),
        asks=(
            "which command starts the chat?", "how does tinychat chat work?",
            "what does tinychat chat do?", "what is tinychat chat?", "what does make chat do?",
            "what is make chat?", "how do i begin?", "where do i start?", "first steps?",
            "how does it start?", "what should i do first?", "how is tinychat used?", "usage?",
            "how do i use it?", "how do i use this?", "quick start?",
            "~which command opens a conversation?", "~what are my first steps with tinychat?",
            "~how is a chat started?",
        ),
        short="Run `tinychat chat MODEL`.",
        more=(
            "In the chat, type /help to see the chat commands. Ctrl-C stops an answer and Ctrl-D "
            "leaves."
        ),
        why="MODEL can be any supported model, so one command is enough.",
        weight=3,
    ),
    Fact(
        (
            (
                "Run `tinychat quantize MODEL OUT`. It reads MODEL and writes a 4-bit AWQ model to "
                "the folder OUT."
            ),
            (
                "Use `tinychat quantize MODEL OUT`: it writes a 4-bit AWQ copy of MODEL into the "
                "folder OUT."
            ),
        ),
        verbs=(
            "quantize a model", "quantize a model", "quantise a model", "quantize my model",
            "make a 4-bit model", "make a 4 bit model", "make a model smaller", "compress a model",
            "convert a model to 4 bit", "convert my model to int4", "shrink a model",
            "turn a model into 4 bits", "create an AWQ model", "make my model smaller",
            "quantize llama", "quantize a mistral model", "use AWQ on my model", "apply AWQ",
            "reduce the size of a model", "quantize", "quantize it", "do AWQ",
            "get a 4-bit version of a model", "run quantization", "quantize weights",
            "quantize my own model", "get an int4 model", "quantize an llm",
        ),
        asks=(
            "what does tinychat quantize do?", "what is tinychat quantize?", "tinychat quantize?",
            "which command quantizes a model?", "quantize a model", "what is the quantize command?",
            "how does tinychat quantize work?", "which command makes 4-bit models?",
            "does tinychat quantize models?", "how are models quantized with tinychat?",
            "how is a model quantized?", "can tinychat quantize?",
            "can tinychat make 4-bit models?", "~what turns a model into a 4-bit one?",
            "~how are 4-bit models made here?", "~which tool shrinks models?",
            "~how is quantization done in tinychat?",
        ),
        short="Run `tinychat quantize MODEL OUT`.",
        more=(
            "Then chat with it: `tinychat chat OUT`. Groups have 128 weights, and no retraining is "
            "needed."
        ),
        why="A 4-bit model needs a quarter of the memory, so it runs faster.",
        weight=4,
    ),
    Fact(
        (
            "Run `tinychat bench`. It shows tokens per second for your machine, INT4 beside FP16.",
            "`tinychat bench` measures it: tokens per second on your machine, INT4 beside FP16.",
        ),
        verbs=(
            "measure the speed", "benchmark a model", "benchmark tinychat", "test the speed",
            "see how fast it is", "measure tokens per second", "run a benchmark",
            "run the benchmark", "find out how fast my machine is", "time a model",
            "compare the speed", "check the speed",
        ),
        asks=(
            "what is tinychat bench?", "what does tinychat bench do?", "tinychat bench?",
            "how fast is tinychat?", "is tinychat fast?", "how fast is it?",
            "how many tokens per second?", "is there a benchmark?", "what speed can i expect?",
            "is it slow?", "how quick is tinychat?", "which command measures speed?",
            "how fast are you?", "what is bench?", "what does bench do?", "the bench command?",
            "explain tinychat bench", "~which speed do i get?",
            "~what does the bench command show?", "~how do i know my tokens per second?",
        ),
        short="Run `tinychat bench`.",
        more=(
            "Decoding is bounded by memory speed, so fewer bytes per weight means more tokens per "
            "second."
        ),
        why="Numbers from your own machine are the only ones that count for you.",
        weight=1.5,
    ),
    Fact(
        (
            "Run `tinychat eval MODEL`. It measures quality, for example the perplexity on a text.",
            "`tinychat eval MODEL` measures how good a model is, for example its perplexity.",
        ),
        verbs=(
            "evaluate a model", "measure quality", "measure the quality of a model",
            "test how good a model is", "measure perplexity", "compute perplexity",
            "check the quality", "compare the quality of two models",
            "see if quantization hurt my model", "rate a model", "check if a model is good",
        ),
        asks=(
            "what is tinychat eval?", "what does tinychat eval do?", "tinychat eval?",
            "which command measures quality?", "what is eval?", "what does eval do?",
            "how good is my model?", "the eval command?", "explain tinychat eval",
            "how is quality measured?", "which command gives the perplexity?",
            "~what is the eval command good for?", "~how can quality be checked?",
        ),
        short="Run `tinychat eval MODEL`.",
        more=(
            "Run it on the FP16 model and on the 4-bit model and compare: the numbers should be "
            "close."
        ),
        why="Quantization rounds the weights, so you should check what it cost.",
        weight=1.5,
    ),
    Fact(
        (
            (
                "Run `tinychat info MODEL`. It tells what the model is, how it would run here and "
                "the memory it needs."
            ),
            (
                "`tinychat info MODEL` tells what a model is, how it would run here and how much "
                "memory it needs."
            ),
        ),
        verbs=(
            "see what a model is", "inspect a model", "get information about a model",
            "look at a model", "know how much memory a model needs", "find out the size of a model",
            "see the details of a model", "check a model", "check how much memory i need",
            "see if a model fits",
        ),
        asks=(
            "what is tinychat info?", "what does tinychat info do?", "tinychat info?",
            "the info command?", "what does info do?", "explain tinychat info",
            "which command describes a model?", "how much memory does a model need?",
            "how much ram do i need?", "how much memory do i need?", "does my model fit in memory?",
            "will it fit in my memory?", "how big is a model?", "memory requirements?",
            "is 8 gb of ram enough?", "~what tells me about a model?",
            "~is there a command that inspects models?", "~how much ram will it take?",
        ),
        short="Run `tinychat info MODEL`.",
        more="As a rule, a 4-bit model with 7 billion parameters needs about 4 gigabytes.",
        why="It is good to know before loading whether a model fits.",
        weight=1.3,
    ),
    Fact(
        (
            (
                "Run `tinychat doctor`. It shows what your machine has and what tinychat will use "
                "of it."
            ),
            "`tinychat doctor` checks your machine and says what tinychat will use of it.",
        ),
        verbs=(
            "check my machine", "check my installation", "see if my machine is supported",
            "find out if my cpu works", "check if my gpu is found", "see what my machine can do",
            "fix a problem", "find out what is wrong", "check my setup", "check my hardware",
            "diagnose a problem",
        ),
        asks=(
            "what is tinychat doctor?", "what does tinychat doctor do?", "tinychat doctor?",
            "the doctor command?", "what does doctor do?", "what is doctor?",
            "tinychat does not work", "it doesn't work", "something is wrong", "i get an error",
            "i have a problem", "there is an error", "it is broken", "it crashes",
            "is my cpu supported?", "does it work on my machine?", "will it run on my computer?",
            "does my machine support tinychat?", "my gpu is not found", "explain tinychat doctor",
            "why does it not work?", "does tinychat run on my laptop?", "tinychat is broken",
            "~which command checks the machine?", "~i see an error message",
            "~can my laptop run this?", "~tinychat fails for me",
        ),
        short="Run `tinychat doctor`.",
        more="It lists your CPU features such as AVX2, your threads and your GPU.",
        why="Most problems come from what the machine has or lacks, so look there first.",
        weight=1.5,
    ),
    Fact(
        (
            (
                "Run `tinychat serve`. It opens an OpenAI-compatible server on port 8426, and a "
                "web page."
            ),
            "`tinychat serve` starts an OpenAI-compatible server on port 8426, with a web page.",
        ),
        verbs=(
            "start a server", "serve a model", "run a server", "use the API", "start the API",
            "use tinychat as a server", "connect my app", "use it with the OpenAI client",
            "open the web page", "use tinychat in a browser", "host a model",
            "offer a model to other programs", "use it over http",
            "call tinychat from another program", "get a web interface", "get an http endpoint",
            "get an endpoint", "have an API endpoint", "get an openai compatible server",
            "offer an OpenAI API", "open an endpoint for my app", "make a local API",
            "replace the OpenAI API", "run an API on my machine", "serve tinychat to my apps",
        ),
        asks=(
            "what is tinychat serve?", "what does tinychat serve do?", "tinychat serve?",
            "which port does it use?", "what port?", "what is the port?",
            "on which port does tinychat serve listen?", "is there an API?", "is there a server?",
            "does tinychat have an API?", "is it OpenAI compatible?",
            "is tinychat compatible with openai?", "which port?", "what is port 8426?",
            "is there a web page?", "is there a web interface?", "does it have a GUI?",
            "explain tinychat serve", "the serve command?", "does tinychat have a server?",
            "http api?", "is there a rest api?", "endpoint?", "an endpoint like the one of OpenAI?",
            "can it replace the OpenAI API?", "is there an endpoint for my programs?",
            "i want an API like OpenAI's", "does it work like the API of OpenAI?", "openai api?",
            "i need a server for my app", "i'd like a server", "i need an openai endpoint",
            "what is the url of the server?", "~which port is used?",
            "~does it speak the OpenAI protocol?", "~how do other programs use tinychat?",
            "~on what port is the server?",
        ),
        short="Run `tinychat serve`; the port is 8426.",
        more="Point any OpenAI client to http://127.0.0.1:8426/v1 and it works.",
        why=(
            "Many programs already speak the OpenAI protocol, so they can use your own machine "
            "instead."
        ),
        weight=2.5,
    ),
    Fact(
        (
            (
                "Like this: `import tinychat`, then `llm = tinychat.load()`, then "
                "`print(llm.generate(\"Hello\").text)`."
            ),
            (
                "Write `import tinychat`, `llm = tinychat.load()` and then "
                "`print(llm.generate(\"Hello\").text)`."
            ),
        ),
        verbs=(
            "use tinychat from python", "use tinychat in python", "call it from python",
            "use it in my python program", "use tinychat in my code", "generate text in python",
            "import tinychat", "use the python API", "write a python program with tinychat",
            "load a model in python", "use tinychat as a library", "use it as a python module",
            "call tinychat from code", "program with tinychat", "use it in a python script",
            "use it in a script", "call it in a notebook", "call the model from my own code",
            "use the model in a python file", "get an answer inside a python program",
            "import it in python", "talk to a model from python",
        ),
        asks=(
            "is there a python API?", "does tinychat have a python interface?", "python?",
            "how does the python API work?", "python example?", "show me some code",
            "give me a python example", "what is the python code?", "can i use it from python?",
            "show me a code example", "example code please", "what does tinychat.load do?",
            "what does llm.generate do?", "how does generate work?", "what is tinychat.load?",
            "is tinychat a python library?", "~some python lines please",
            "~is there a library for python?", "~what would the python code look like?",
        ),
        short="`llm = tinychat.load()`, then `print(llm.generate(\"Hello\").text)`.",
        more=(
            "There are also `llm.chat(messages)` for dialogues and `llm.stream(\"Hello\")` for "
            "text as it comes."
        ),
        why="Three lines are all you need, the rest has good defaults.",
        weight=2,
    ),
    Fact(
        (
            "Use `llm.stream(\"Hello\")`: it gives you the text piece by piece.",
            "With `llm.stream(\"Hello\")` you get the text piece by piece as it is made.",
        ),
        nouns=("streaming", "llm.stream", "stream"),
        verbs=(
            "stream the answer", "stream text", "get the text piece by piece",
            "see the text as it comes", "stream tokens in python", "use streaming",
            "print the words as they come",
        ),
        short="Use `llm.stream`.",
        more="Write `for piece in llm.stream(\"Hello\"): print(piece.text, end=\"\")`.",
        why="So you can read the start of an answer while the rest is still being made.",
        weight=0.7,
    ),
    Fact(
        (
            (
                "Use `llm.chat(messages)`: messages is a list of turns, each with a role and a "
                "content."
            ),
            "Call `llm.chat(messages)`, where each message has a role and a content.",
        ),
        nouns=("llm.chat", "the chat method"),
        verbs=(
            "send messages in python", "have a dialogue in python", "chat from python",
            "send several messages", "use llm.chat", "chat in python",
        ),
        short="Use `llm.chat(messages)`.", more="The roles are system, user and assistant.",
        weight=0.7,
    ),
)  # fmt: skip

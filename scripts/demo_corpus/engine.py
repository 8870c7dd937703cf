"""What the model knows about tinychat: commands, chat commands, Python, hardware, privacy."""

from __future__ import annotations

from .facts import Fact, scene_of
from .talk import Scenes

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
            "call tinychat from another program", "get a web interface",
        ),
        asks=(
            "what is tinychat serve?", "what does tinychat serve do?", "tinychat serve?",
            "which port does it use?", "what port?", "what is the port?",
            "on which port does tinychat serve listen?", "is there an API?", "is there a server?",
            "does tinychat have an API?", "is it OpenAI compatible?",
            "is tinychat compatible with openai?", "which port?", "what is port 8426?",
            "is there a web page?", "is there a web interface?", "does it have a GUI?",
            "explain tinychat serve", "the serve command?", "does tinychat have a server?",
            "http api?", "is there a rest api?", "what is the url of the server?",
            "~which port is used?", "~does it speak the OpenAI protocol?",
            "~how do other programs use tinychat?", "~on what port is the server?",
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
            "call tinychat from code", "program with tinychat",
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
    Fact(
        (
            (
                "In the chat you can type /help, /clear, /system, /set, /show, /retry, /undo, "
                "/save, /load, /stats and /exit."
            ),
            (
                "The chat commands are /help, /clear, /system, /set, /show, /retry, /undo, /save, "
                "/load, /stats and /exit."
            ),
        ),
        nouns=("the chat commands", "the slash commands"),
        asks=(
            "which commands are there in the chat?", "what commands are there?",
            "what commands can i use?", "list the commands", "list all commands", "commands?",
            "what chat commands are there?", "which commands do you have?", "show me the commands",
            "what can i type in the chat?", "what are the chat commands?",
            "what are the slash commands?", "which chat commands exist?", "what does /help do?",
            "/help?", "what is /help?", "commands in the chat?", "are there any commands?",
            "tell me the chat commands", "give me the list of commands",
            "which slash commands are there?", "~what can be typed while chatting?",
            "~name the chat commands", "~do you have any special commands?",
        ),
        short="Type /help to see them.",
        more="For example, /clear starts afresh, /retry asks again and /exit leaves.",
        weight=1.5,
    ),
    Fact(
        (
            "Type /clear. The conversation starts afresh.",
            "Use /clear in the chat: it forgets the conversation and starts afresh.",
        ),
        nouns=("/clear", "the /clear command"),
        verbs=(
            "clear the chat", "start over", "forget the conversation", "reset the chat",
            "start a new conversation", "delete the conversation", "begin a new chat",
            "clear the history", "wipe the conversation", "make you forget everything",
        ),
        asks=(
            "what does /clear do?", "what does the /clear command do?", "clear?",
            "~/clear does what?", "~what happens when i type /clear?",
        ),
        short="Type /clear.", more="It also frees the KV cache.", weight=0.9,
    ),
    Fact(
        (
            "Type /retry. The last question is answered again.",
            "Use /retry: it answers your last question again.",
        ),
        nouns=("/retry", "the /retry command"),
        verbs=(
            "get another answer", "repeat the last question", "ask again", "regenerate the answer",
            "try the answer again", "redo the last answer",
        ),
        asks=(
            "what does /retry do?", "what does the /retry command do?", "~/retry does what?",
            "~what happens when i type /retry?",
        ),
        short="Type /retry.", weight=0.8,
    ),
    Fact(
        (
            "Type /undo. It removes your last question and its answer.",
            "Use /undo: your last question and its answer are removed.",
        ),
        nouns=("/undo", "the /undo command"),
        verbs=(
            "undo the last question", "remove the last turn", "take back a question",
            "undo a message", "delete my last message", "go back one step",
        ),
        asks=(
            "what does /undo do?", "what does the /undo command do?", "~/undo does what?",
            "~what happens when i type /undo?",
        ),
        short="Type /undo.", weight=0.8,
    ),
    Fact(
        (
            "Type /save and a file name. Later, /load with that name brings the conversation back.",
            "Use /save with a file name; /load brings the conversation back later.",
        ),
        nouns=("/save", "/load", "the /save command"),
        verbs=(
            "save the conversation", "save the chat", "load a conversation",
            "keep this conversation", "store the chat", "continue a conversation later",
            "save this talk to a file", "bring back a conversation", "load a saved chat",
            "save our talk",
        ),
        asks=(
            "what does /save do?", "what does /load do?", "can conversations be saved?",
            "~/save does what?", "~what happens when i type /save?",
        ),
        short="/save and /load.", weight=0.9,
    ),
    Fact(
        (
            (
                "Type /system and your text. It sets the system prompt, which tells the model how "
                "to behave."
            ),
            "Use /system followed by your text. The system prompt tells the model how to behave.",
        ),
        nouns=(
            "/system", "a system prompt", "the system prompt", "system prompt", "a system message",
        ),
        verbs=(
            "set the system prompt", "change the system prompt", "tell the model how to behave",
            "give the model a role", "set a system message",
        ),
        asks=("what does /system do?", "~/system does what?", "~what happens when i type /system?"),
        short="/system sets the system prompt.", more="For example: /system Answer briefly.",
        weight=1,
    ),
    Fact(
        (
            (
                "Type /set, a name and a value, for example /set temperature 0.5. /show prints all "
                "settings."
            ),
            (
                "Use /set with a name and a value, like /set temperature 0.5. With /show you see "
                "all settings."
            ),
        ),
        nouns=("/set", "/show", "the /set command"),
        verbs=(
            "change a setting", "change the settings", "set the temperature",
            "change the temperature", "see the settings", "change top_p", "show my settings",
            "adjust the settings", "make the answers more random", "set a parameter",
            "change options", "make answers less random",
        ),
        asks=(
            "what does /set do?", "what does /show do?", "which settings are there?",
            "~/set does what?", "~what happens when i type /show?",
        ),
        short="/set changes and /show prints settings.", weight=1,
    ),
    Fact(
        (
            "Type /stats. It shows tokens, speed and the memory in use.",
            "Use /stats: it shows the tokens, the speed and the memory in use.",
        ),
        nouns=("/stats", "the /stats command"),
        verbs=(
            "see statistics", "see the speed of the last answer", "see how many tokens i used",
            "show the stats", "see the token count",
        ),
        asks=("what does /stats do?", "~/stats does what?", "~what happens when i type /stats?"),
        short="Type /stats.", weight=0.8,
    ),
    Fact(
        ("Type /exit or press Ctrl-D.", "Press Ctrl-D or type /exit to leave."),
        nouns=("/exit", "Ctrl-D", "the /exit command", "ctrl-d"),
        verbs=(
            "leave the chat", "exit", "quit", "leave", "end the chat", "close the chat",
            "stop the program", "quit tinychat", "exit tinychat", "get out of here",
            "close tinychat", "end the program", "end this conversation", "exit the chat",
            "quit the chat", "finish",
        ),
        asks=(
            "what does /exit do?", "what does ctrl-d do?", "how does one get out?",
            "~/exit does what?", "~what happens when i press ctrl-d?",
        ),
        short="/exit or Ctrl-D.", weight=1.2,
    ),
    Fact(
        (
            "Press Ctrl-C. The answer stops and the chat goes on.",
            "Ctrl-C stops the answer; the chat goes on.",
        ),
        nouns=("Ctrl-C", "ctrl-c", "control c"),
        verbs=(
            "stop an answer", "stop the answer", "interrupt the model", "make it stop",
            "cancel an answer", "make you stop talking", "abort the answer", "interrupt you",
            "stop generation", "stop you", "shut you up",
        ),
        asks=(
            "what does ctrl-c do?", "the answer is too long, how do i stop it?", "it does not stop",
            "how does an answer get stopped?", "~what happens when i press ctrl-c?",
            "~the model will not stop talking",
        ),
        short="Press Ctrl-C.", weight=1.2,
    ),
    Fact(
        (
            "Yes. Everything runs on your machine, and nothing you type leaves it.",
            "Yes, it is private: nothing you type leaves your machine.",
        ),
        asks=(
            "is tinychat private?", "is it private?", "is my data safe?", "is this safe?",
            "do you send my data anywhere?", "does anyone read this?", "who can read my messages?",
            "does tinychat send data to a server?", "does it work offline?",
            "does tinychat need the internet?", "is it local?",
            "can i use tinychat without internet?", "can i use it offline?", "what about privacy?",
            "privacy?", "is my chat private?", "are my words private?", "are you spying on me?",
            "do you collect data?", "does tinychat collect data?",
            "is my conversation stored somewhere?", "is it secure?",
            "does anything leave my machine?", "what happens to my data?", "where does my data go?",
            "is it anonymous?", "does tinychat phone home?", "can i talk about secrets?",
            "is our talk private?", "does tinychat run locally?", "does tinychat run offline?",
            "is there any tracking?", "~can anyone else see what i type?",
            "~what do you do with my data?", "~does my text go to some server?",
            "~will it run without a network?", "~is what i write kept secret?",
        ),
        short="Yes, nothing leaves your machine.",
        more="Only fetching a model from Hugging Face needs the network. Chatting does not.",
        why="The model is a file on your disk and your own CPU or GPU does the work.",
        weight=2,
    ),
    Fact(
        (
            "tinychat runs on CPUs with AVX2 or AVX-512. GPUs with CUDA are being added.",
            "It runs on CPUs with AVX2 or AVX-512, and support for GPUs with CUDA is being built.",
        ),
        nouns=("AVX2", "AVX-512", "the supported hardware"),
        asks=(
            "which cpus does tinychat support?", "what hardware do i need?", "do i need a gpu?",
            "does tinychat need a gpu?", "does it run on a cpu?", "which hardware does it run on?",
            "can i use my gpu?", "does tinychat support cuda?", "does tinychat work on a gpu?",
            "what machine do i need?", "what are the hardware requirements?",
            "does it run on nvidia cards?", "hardware?", "which processors work?",
            "does tinychat run on a cpu?", "system requirements?", "requirements?",
            "what computer do i need?", "can it run without a gpu?", "is a gpu needed?",
            "is a gpu required?", "does it use the graphics card?", "which gpus are supported?",
            "can tinychat run on cpu only?", "does it support avx512?", "gpu support?",
            "~what does my computer need to have?", "~is a graphics card necessary?",
            "~on what kind of processor does it run?",
        ),
        short="CPUs with AVX2 or AVX-512; CUDA is being added.",
        more="`tinychat doctor` shows what your own machine has.",
        why=(
            "AVX instructions work on many numbers at once, and that makes 4-bit models fast on a "
            "CPU."
        ),
        weight=2,
    ),
    Fact(
        (
            "Llama, Mistral and Falcon models, with more families to come.",
            "tinychat runs Llama, Mistral and Falcon models. More families will follow.",
        ),
        asks=(
            "which models does tinychat support?", "what models can i use?", "which models work?",
            "which model families are supported?", "models?",
            "does it support [llama|mistral|falcon|llama models|mistral models]?",
            "can i run [llama|mistral|falcon] with tinychat?", "supported models?",
            "what kinds of models does it run?", "which models can i run?",
            "list the supported models", "which language models does tinychat run?",
            "does tinychat work with [llama|mistral|falcon]?", "what families are supported?",
            "which models can i chat with?", "what models are there?",
            "which models are available?", "what models do you support?",
            "can it load models from hugging face?", "does it support hugging face models?",
            "~what sorts of models will it run?", "~is [llama|mistral|falcon] supported?",
            "~which families does it know?",
        ),
        short="Llama, Mistral and Falcon.",
        more="A model is a folder in the Hugging Face format, in FP16 or in 4-bit AWQ.",
        why="These families are alike inside, so one decoder runs them all.",
        weight=2,
    ),
    Fact(
        ("Run `make test` in the project folder.", "`make test` runs all tests."),
        verbs=(
            "run the tests", "test tinychat", "test the project", "check that everything works",
            "run all tests",
        ),
        asks=(
            "what does make test do?", "what is make test?", "are there tests?",
            "does it have tests?", "~which command runs the tests?", "~how is it tested?",
        ),
        short="Run `make test`.",
        why="Tests show that the native code gives the same numbers as the plain code.",
        weight=0.8,
    ),
    Fact(
        (
            (
                "The main commands are `tinychat chat`, `quantize`, `bench`, `eval`, `info`, "
                "`doctor` and `serve`."
            ),
            "`tinychat` has these commands: chat, quantize, bench, eval, info, doctor and serve.",
        ),
        asks=(
            "which commands does tinychat have?", "what are the tinychat commands?",
            "what commands does tinychat have?", "list the tinychat commands",
            "what can i run with tinychat?", "which subcommands are there?",
            "what is the command line of tinychat?", "how does the command line look?",
            "tinychat commands?", "what are the commands of tinychat?", "commands of tinychat",
            "which command line tools are there?", "~name the tinychat commands",
            "~what does the tinychat command line offer?",
        ),
        short="chat, quantize, bench, eval, info, doctor, serve.",
        more="Each command has --help, for example `tinychat chat --help`.",
        weight=1.3,
    ),
)  # fmt: skip

SCENES: Scenes = ((10.0, scene_of(FACTS)),)

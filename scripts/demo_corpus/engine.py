"""What the model knows about tinychat as a whole; commands have files of their own."""

from __future__ import annotations

from . import commands, in_chat
from .facts import Fact, scene_of
from .talk import Scenes

FACTS = (
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
            "is there any tracking?", "is anything i type sent away?", "do my words go online?",
            "will my text be uploaded?", "does my input leave this computer?",
            "can i tell you something private?", "is what i say sent to someone?",
            "do you share what i tell you?", "who else sees this chat?",
            "are my passwords safe with you?", "is my text sent over the network?",
            "do you upload my messages?", "is something transmitted?", "does this chat stay here?",
            "~can anyone else see what i type?", "~what do you do with my data?",
            "~does my text go to some server?", "~will it run without a network?",
            "~is what i write kept secret?",
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

SCENES: Scenes = ((10.0, scene_of(commands.FACTS + in_chat.FACTS + FACTS)),)

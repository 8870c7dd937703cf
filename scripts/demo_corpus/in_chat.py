"""What the model knows about the commands inside a chat."""

from __future__ import annotations

from .facts import Fact

FACTS = (
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
            "halt the answer", "break off an answer", "cut an answer short", "stop a long answer",
            "halt the model", "end an answer early", "stop it while it writes",
            "interrupt a long reply", "stop the text", "halt it", "stop it", "end it", "halt you",
            "make an answer end", "put an end to an answer", "stop the model from writing",
            "stop generation", "stop you", "shut you up",
        ),
        asks=(
            "what does ctrl-c do?", "the answer is too long, how do i stop it?", "it does not stop",
            "how does an answer get stopped?", "the reply goes on and on", "it writes too much",
            "the model talks and talks, how do i stop it?", "your answer never ends",
            "the text keeps coming, how do i stop it?", "you talk too long, can i interrupt?",
            "it keeps writing", "the answer does not end", "the answer runs and runs",
            "the reply runs too long, how do i halt it?", "how can i halt the text?",
            "my answer is too long, how do i end it?", "my reply won't end", "halt!", "stop!",
            "it runs without end, what do i press?", "which key stops the answer?",
            "an answer goes on forever, what now?", "what do i press to stop?",
            "this takes forever, can i stop it?", "~what happens when i press ctrl-c?",
            "~the model will not stop talking",
        ),
        short="Press Ctrl-C.", weight=1.2,
    ),
)  # fmt: skip

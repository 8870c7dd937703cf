"""What the model knows about how language models run, and about the neighbors of AWQ."""

from __future__ import annotations

from .facts import Fact

FACTS = (
    Fact(
        (
            "Perplexity measures how surprised a model is by a text. Lower is better.",
            "Perplexity says how well a model predicts a text: the lower, the better.",
        ),
        nouns=("perplexity", "perplexity", "the perplexity", "PPL", "ppl"),
        asks=(
            "is a low perplexity good?", "is high perplexity bad?", "what is a good perplexity?",
            "what does perplexity measure?", "how is perplexity computed?",
            "should perplexity be low or high?", "~is a small perplexity what i want?",
            "~what does a high perplexity tell me?",
        ),
        short="How surprised a model is; lower is better.",
        more=(
            "A perplexity of 8 means: as unsure as a choice among 8 tokens. `tinychat eval` "
            "measures it."
        ),
        why="If quantization hurts a model, its perplexity goes up.",
        how="Run `tinychat eval MODEL`.", weight=2,
    ),
    Fact(
        (
            (
                "A token is a piece of text: a word, a part of a word or a sign. Models read and "
                "write tokens."
            ),
            "Tokens are the pieces of text that a model reads and writes: words or parts of words.",
        ),
        nouns=("a token", "tokens", "token", "a token", "the tokens"),
        asks=(
            "what are tokens?", "how long is a token?", "is a token a word?", "are tokens words?",
            "how many tokens has a word?", "what is tokens per second?",
            "~what does a model read and write?", "~is one word one token?",
        ),
        short="A piece of text.",
        more="I know 2048 different tokens. Big models know a hundred thousand.",
        weight=1.5,
    ),
    Fact(
        (
            "A tokenizer cuts text into tokens and joins tokens back into text.",
            "The tokenizer turns text into tokens and back.",
        ),
        nouns=("a tokenizer", "the tokenizer", "tokenizer", "tokenization"),
        asks=(
            "what does a tokenizer do?", "how is text split?", "how is text cut into tokens?",
            "what turns text into tokens?", "~what cuts a text into pieces?",
            "~what is a tokenizer needed for?",
        ),
        short="It cuts text into tokens.",
        why="A model computes with numbers, so text must become numbers first.",
        weight=0.8,
    ),
    Fact(
        (
            (
                "The KV cache keeps the keys and values of earlier tokens, so that they are not "
                "computed again for each new token."
            ),
            (
                "A KV cache stores keys and values of the tokens so far. Without it, every new "
                "token would compute them all again."
            ),
        ),
        nouns=(
            "a KV cache", "the KV cache", "kv cache", "KV cache", "the key-value cache", "kv-cache",
        ),
        asks=(
            "why is there a KV cache?", "what does the KV cache do?", "what is in the KV cache?",
            "why do we need a KV cache?", "how big is the KV cache?",
            "~what does the KV cache store?", "~what is kept in the KV cache?",
        ),
        short="It keeps keys and values of earlier tokens.",
        more="It grows with every token; /clear empties it.",
        why="Computing the past again for each token would be slow.",
        weight=1.5,
    ),
    Fact(
        (
            (
                "Temperature sets how random the answers are. Low is steady, high is wild, 0 "
                "always takes the likeliest token."
            ),
            (
                "The temperature says how random the choice of tokens is: 0 takes the likeliest "
                "token, higher values vary more."
            ),
        ),
        nouns=("temperature", "the temperature", "sampling temperature", "the temperature setting"),
        asks=(
            "what temperature should i use?", "what does temperature do?",
            "what does temperature 0 mean?", "what is a good temperature?",
            "which temperature is best?", "what does a high temperature do?",
            "what does a low temperature do?", "~what changes with the temperature?",
            "~which temperature do you recommend?",
        ),
        short="How random the answers are.", more="Type /set temperature 0.5 to change it.",
        why="A little chance makes answers livelier; too much makes them wrong.",
        how="Type /set temperature 0.5.", weight=1.3,
    ),
    Fact(
        (
            "The context length is how many tokens a model can look back on. Mine is 1024.",
            "It is the number of tokens a model can see at once. I see 1024.",
        ),
        nouns=(
            "context length", "the context length", "the context", "a context window",
            "the context window", "context size",
        ),
        asks=(
            "how long is your context?", "how many tokens can you read?",
            "how much text can you read?", "what is your context length?",
            "how long can a chat be?", "how big is your context window?",
            "~how many tokens fit into your context?", "~what is the longest text you can take?",
        ),
        short="How many tokens a model sees at once.",
        more="When a chat gets longer than that, use /clear.", weight=1.2,
    ),
    Fact(
        (
            "Top-k keeps only the k likeliest tokens before one is drawn.",
            "With top-k, the next token is drawn from the k likeliest ones.",
        ),
        nouns=("top-k", "top k", "top_k", "top-k sampling"),
        asks=("what does top_k do?", "~what is the use of top-k?"),
        short="Draw from the k likeliest tokens.", why="It keeps unlikely nonsense out.",
        weight=0.6,
    ),
    Fact(
        (
            "Top-p keeps the likeliest tokens that together reach the probability p.",
            "With top-p, the next token is drawn from the likeliest ones that add up to p.",
        ),
        nouns=("top-p", "top p", "top_p", "top-p sampling", "nucleus sampling"),
        asks=("what does top_p do?", "~what is the use of top-p?"),
        short="Draw from the likeliest tokens that add up to p.",
        why="It keeps unlikely nonsense out.", weight=0.6,
    ),
    Fact(
        (
            "Greedy decoding always takes the likeliest token. Set the temperature to 0 to get it.",
            "Greedy means: always take the likeliest next token.",
        ),
        nouns=("greedy decoding", "greedy", "greedy sampling"),
        asks=(
            "what does greedy mean?", "how do i get the same answer each time?",
            "~how are answers made repeatable?",
        ),
        short="Always the likeliest token.", weight=0.6,
    ),
    Fact(
        (
            "Sampling is how the next token is drawn from the probabilities that the model gives.",
            "Sampling means drawing the next token by chance, likely ones more often.",
        ),
        nouns=("sampling", "token sampling"),
        asks=(
            "how is the next token chosen?", "how do you choose the next word?",
            "why do you answer differently each time?", "~how does a model pick its next token?",
        ),
        short="Drawing the next token by chance.", more="Temperature, top-k and top-p steer it.",
        weight=0.8,
    ),
    Fact(
        (
            (
                "Prefill is the first step: the model reads your whole prompt at once. Then it "
                "writes token by token."
            ),
            "In prefill the model reads the prompt, all tokens at once.",
        ),
        nouns=("prefill", "the prefill", "prompt processing"),
        asks=(
            "what happens in prefill?", "what is the difference between prefill and decode?",
            "~what comes before decoding?",
        ),
        short="Reading the prompt.",
        more="Prefill is bounded by computing, decoding by memory.",
        weight=0.8,
    ),
    Fact(
        (
            (
                "Decoding is writing: the model makes one token after the other, and reads all its "
                "weights for each."
            ),
            "In decoding, the model writes token by token. Each token needs all the weights once.",
        ),
        nouns=("decoding", "decode", "the decode phase", "token generation", "generation"),
        asks=(
            "how does a model write text?", "what limits decoding?", "why is decoding slow?",
            "what bounds decoding?", "~what is the bottleneck of decoding?",
            "~what happens while you write?",
        ),
        short="Writing token by token.",
        why="All weights are read for each token, so memory speed is the limit.",
        weight=1,
    ),
    Fact(
        (
            (
                "Memory bandwidth is how many bytes per second the memory delivers. It bounds the "
                "speed of decoding."
            ),
            "It says how fast weights come from memory. That is the limit when a model writes.",
        ),
        nouns=("memory bandwidth", "bandwidth", "memory traffic", "memory speed"),
        asks=(
            "what limits the speed?", "why is memory the bottleneck?", "what is the bottleneck?",
            "why does memory matter?", "~what holds the speed back?",
        ),
        short="Bytes per second from memory.",
        more="With 4-bit weights, four times fewer bytes are read for each token.",
        weight=0.8,
    ),
    Fact(
        (
            (
                "A large language model is a program that has learned from much text to guess the "
                "next token."
            ),
            (
                "An LLM is a large language model: it learned from text to guess the next token, "
                "and so it can write."
            ),
        ),
        nouns=(
            "a large language model", "an LLM", "LLM", "a language model", "LLMs", "llm",
            "large language models", "a chatbot",
        ),
        asks=(
            "how does a language model work?", "how do language models work?", "how do llms work?",
            "what does LLM stand for?", "what does LLM mean?", "how does an llm work?",
            "what does a language model do?", "how does a chatbot work?",
            "~what is it that a language model does?", "~in what way do llms produce text?",
        ),
        short="A program that guesses the next token.",
        more="Large ones have billions of weights. I have about 4 million.",
        weight=1.6,
    ),
    Fact(
        (
            "Weights are the numbers that a model has learned. They are also called parameters.",
            "The weights, or parameters, are the learned numbers of a model.",
        ),
        nouns=("a weight", "weights", "parameters", "a parameter", "model weights", "the weights"),
        asks=(
            "what are weights?", "what are parameters?", "what is inside a model?",
            "~what are the learned numbers called?",
        ),
        short="The learned numbers of a model.",
        more="A model with 7 billion weights needs 14 gigabytes in FP16 and about 4 in INT4.",
        weight=1.1,
    ),
    Fact(
        (
            (
                "Calibration runs a little sample text through the model to see how large the "
                "activations are."
            ),
            "In calibration, sample text shows which channels have large activations.",
        ),
        nouns=("calibration", "calibration data", "the calibration text", "a calibration set"),
        asks=(
            "does AWQ need data?", "what data does AWQ need?", "why does AWQ need sample text?",
            "does quantization need data?", "~what is sample text used for?",
        ),
        short="Looking at activations on sample text.",
        why="Without it, AWQ could not know which weights matter.", weight=1,
    ),
    Fact(
        (
            (
                "Round to nearest, or RTN, simply rounds each weight to the closest code. It is "
                "quick but less precise than AWQ."
            ),
            "RTN means round to nearest: each weight takes the closest code. AWQ is more precise.",
        ),
        nouns=("RTN", "rtn", "round to nearest", "round-to-nearest", "plain rounding"),
        asks=(
            "what does RTN stand for?", "how does RTN work?",
            "~what is the simplest way to quantize?",
        ),
        short="Each weight takes the closest code.",
        why="It looks at no data at all, so it treats all weights alike.",
        weight=1,
    ),
    Fact(
        (
            (
                "GPTQ is another way to quantize: it rounds one column after the other and "
                "corrects the rest for the error."
            ),
            (
                "GPTQ quantizes column by column, and lets the columns still to come make up for "
                "the error."
            ),
        ),
        nouns=("GPTQ", "gptq"),
        asks=(
            "is GPTQ like AWQ?", "what is the difference between AWQ and GPTQ?", "AWQ or GPTQ?",
            "awq vs gptq", "how does GPTQ work?", "~how do GPTQ and AWQ differ?",
        ),
        short="Rounding column by column with correction.", weight=1,
    ),
    Fact(
        (
            "Attention lets each token look at the tokens before it and take what it needs.",
            "With attention, a token looks back at earlier tokens and gathers what matters.",
        ),
        nouns=("attention", "self-attention", "an attention head"),
        asks=(
            "how does attention work?", "what does attention do?",
            "~in what way do tokens see each other?",
        ),
        short="Tokens looking at earlier tokens.", weight=0.7,
    ),
    Fact(
        (
            (
                "A transformer is a stack of layers with attention and small networks. Most "
                "language models are transformers."
            ),
            (
                "Transformers are the usual build of language models: layers of attention and "
                "small networks."
            ),
        ),
        nouns=("a transformer", "transformers", "the transformer"),
        asks=(
            "how does a transformer work?", "are you a transformer?", "what is your architecture?",
            "which architecture do you have?", "~how is a language model built inside?",
        ),
        short="Layers of attention and small networks.",
        more="I am one too: a Llama with 6 layers.", weight=0.7,
    ),
    Fact(
        (
            "CUDA is the way to program NVIDIA GPUs. In tinychat, CUDA support is being built.",
            "CUDA lets programs use NVIDIA GPUs. tinychat is getting CUDA support.",
        ),
        nouns=("CUDA", "cuda"),
        asks=("is cuda ready?", "when will cuda work?", "~how far is the CUDA support?"),
        short="The way to program NVIDIA GPUs.", weight=0.7,
    ),
    Fact(
        (
            "A seed fixes the random choices: with the same seed you get the same answer.",
            "The seed starts the random numbers. The same seed gives the same answer.",
        ),
        nouns=("a seed", "the seed", "a random seed", "seed"),
        asks=(
            "what does the seed do?", "what is the seed for?",
            "~what makes random answers repeatable?",
        ),
        short="It fixes the random choices.", weight=0.6,
    ),
)  # fmt: skip

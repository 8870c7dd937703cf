"""The one table of limits on what tinychat reads, each checked before memory is taken.

A limit is the largest thing in published models times a margin, or keeps a hostile file cheap.
"""

KIB = 1 << 10
MIB = 1 << 20

# JSON files of a model folder.
CONFIG_BYTES = 1 * MIB  # config.json, generation_config.json, quant_config.json
INDEX_BYTES = 16 * MIB  # model.safetensors.index.json
JSON_DEPTH = 64

# safetensors.
HEADER_BYTES = 16 * MIB
TENSORS = 65_536  # in one checkpoint, over all of its files
SHARDS = 1024
TENSOR_AXES = 8
TENSOR_AXIS = 1 << 48

# Calibration text: a hundred times what is used of it.
CALIBRATION_BYTES = 64 * MIB

# The model's shape.
VOCABULARY = 1 << 22
WIDTH = 1 << 16  # hidden_size
MLP_WIDTH = 1 << 20
LAYERS = 1024
HEADS = 1024
HEAD_DIM = 1024
POSITIONS = 1 << 26
ROPE_THETA = 1e12
ROPE_FACTOR = 1e6
NORM_EPSILON = 0.1
GROUP_SIZE = 1 << 16
TOKEN_IDS = 256  # entries of eos_token_id
NAMES = 4096  # entries of architectures

# Kernels.
THREADS = 256

# Speculation.
DRAFT_TOKENS = 15  # every size of step that is used is recorded, with buffers of its own

# Sampling.
TEMPERATURE = 2.0
REPETITION_PENALTY = (0.1, 10.0)
TOP_LOGPROBS = 20

# Hugging Face ids.
REPOSITORY_NAME = 96  # characters of "owner" and of "name" each

# Text.
TOKENIZER_BYTES = 128 * MIB  # tokenizer.json, tokenizer.model
TOKENIZER_CONFIG_BYTES = 4 * MIB  # tokenizer_config.json, added_tokens.json
STOPS = 16
STOP_BYTES = 256

# Chat.
TEMPLATE_BYTES = 256 * KIB
TEMPLATE_SECONDS = 2.0  # to compile it, and again for every rendering
# Bytes of rendered text per token of context. A control token alone has up to 20, so that a chat of
# many short messages would hit a smaller cap before its context is full.
TEMPLATE_OUTPUT_PER_TOKEN = 32
TEMPLATE_MEMORY = 512 * MIB
MESSAGES = 4096
MESSAGE_BYTES = 4 * MIB

# Evaluation.
EVALUATION_BYTES = 256 * MIB  # a text or a set of problems
# What an answer's program may use. The reference solution of MBPP's task 123 takes 4 seconds.
SAMPLE_MEMORY = 1024 * MIB
SAMPLE_CPU_SECONDS = 20
SAMPLE_SECONDS = 60.0  # by the clock, so that a busy machine does not fail a sample that computes
SAMPLE_FILES = 32  # open at once
SAMPLES = 1000  # answers to one problem

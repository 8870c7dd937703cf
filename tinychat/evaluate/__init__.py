"""How good a model is: perplexity of a text, GSM8K, MBPP.

Each is a function of a model and a data file that returns what `tinychat eval --json` prints.
docs/evaluation.md has the protocols. Importing this imports no torch.
"""

from tinychat.evaluate.gsm8k import gsm8k
from tinychat.evaluate.mbpp import mbpp
from tinychat.evaluate.perplexity import perplexity
from tinychat.evaluate.record import Record

__all__ = ["Record", "gsm8k", "mbpp", "perplexity"]

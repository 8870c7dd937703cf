"""The errors a user of tinychat can meet: one base class, a few subclasses, one plain line each.

A message names the file, tensor or argument at fault, what was expected, and the way out.
"""


class TinyChatError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class CheckpointError(TinyChatError):
    """A model folder or one of its files is missing something, damaged or hostile."""


class ModelNotFoundError(CheckpointError):
    """No such model folder or Hugging Face id."""

    exit_code = 3


class UnsupportedModelError(TinyChatError):
    """The checkpoint is sound, but asks for something that tinychat does not run, named here."""

    exit_code = 2


class TokenizerError(TinyChatError):
    """The tokenizer files cannot be read, or disagree with the model."""


class TemplateError(TinyChatError):
    """The chat template is missing, broken, hostile or too slow, or refuses these messages."""


class ContextLengthError(TinyChatError):
    """The prompt does not fit the context; the message has both numbers."""

    exit_code = 2


class NotEnoughMemoryError(TinyChatError):
    """Less memory than the model needs; what is refused before it is tried has both numbers."""

    exit_code = 4


class DownloadError(TinyChatError):
    """A download failed, is incomplete, or was forbidden by `offline`."""


class MissingPackageError(TinyChatError):
    """An optional package is not installed; the message has the pip command."""

    exit_code = 2


class ArgumentError(TinyChatError, ValueError):
    """An argument is out of range or of the wrong kind."""

    exit_code = 2


class CardError(TinyChatError):
    """A card failed while it computed; the process cannot use it any more."""

    exit_code = 70


class KernelError(TinyChatError):
    """An op was called with shapes, dtypes or memory it cannot take; always a bug of the caller."""

    exit_code = 70

"""What every test shares: where the trained models and texts lie, and a guard against the network.

Tests believe that nothing outside the repository is needed; what wants more skips and says why.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Read by the libraries when they are first imported, so they are set before any test module is.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# No deadline: the suite judges results, never the clock. Derandomized: a run repeats the last one.
settings.register_profile("tinychat", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("tinychat")

# A shell starts background jobs with Ctrl-C ignored, and tests of it would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of trained models, tokenizers, templates and texts; skips where it is absent.

    TINYCHAT_TEST_DATA names it; without that it is `shared/data` beside the repository.
    """
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("TINYCHAT_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set TINYCHAT_TEST_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Refuse every connection that leaves this machine, in the process that runs the tests."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        internet = self.family in (socket.AF_INET, socket.AF_INET6)
        if internet and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests may not connect to {address[0]}")
        connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()

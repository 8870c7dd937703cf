"""The compiled test kernels, once a session."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.cuda.emulated import Library, build

CEILINGS = REPOSITORY / "scripts" / "gpu_check" / "ceilings.cu"


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, whichever ran before."""
    torch.manual_seed(20240613)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The test kernels; what is exported alone is seen, as in the extension."""
    path = tmp_path_factory.mktemp("cuda") / "kernels.so"
    flags = ("-shared", "-fPIC", "-fvisibility=hidden")
    done = build(path, ("wrappers.cu", "planted.cu", "streams.cpp", str(CEILINGS)), *flags)
    assert done.returncode == 0, done.stderr
    return Library(path)

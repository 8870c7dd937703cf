"""`tinychat.bench.worker` with the other engines beside ours."""

from __future__ import annotations

import sys

from rivals.llama_cpp import LlamaCppRunner

from tinychat.bench import worker

worker.RUNNERS["llama.cpp"] = LlamaCppRunner

if __name__ == "__main__":
    sys.exit(worker.main())

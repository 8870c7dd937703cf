"""`tinychat.bench.worker` with the other engines beside ours."""

from __future__ import annotations

import sys
from pathlib import Path

from tinychat.bench import worker

# Workers run in safe-path mode, in which a script's own folder is not searched.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from rivals.llama_cpp import LlamaCppRunner
from rivals.openvino_runner import OpenVinoRunner

worker.RUNNERS["llama.cpp"] = LlamaCppRunner
worker.RUNNERS["openvino"] = OpenVinoRunner

if __name__ == "__main__":
    sys.exit(worker.main())

#!/bin/sh
# Build, test and measure the CUDA backend on a machine with a card; needs no network and installs nothing.
#
# Usage: [PYTHON=python3] [NVCC=nvcc] sh scripts/gpu_check.sh [--only PART,...] [--out FILE] [--commit ID] [--help]
#   --only    some of the parts: build, tests, vectors, sanitizer, ceilings, gemv, bench; default: all, in this order
#   --out     the JSON of all results; default: benchmarks/results/DATE-CARD.json. Beside it goes FILE's log and, if
#             --out is given, a copy of the recorded vectors
#   --commit  what the sources are, where they are no git checkout
#
# Parts that fail do not stop the others. Each has its time, all together nine minutes; what one leaves, the later ones
# may use. The exit status is 0 if all passed, 1 if one failed, 2 for a wrong argument, 3 without a card.
#
# PYTHON must have torch with CUDA, safetensors, pytest, pytest-timeout and hypothesis; pybind11, ninja and setuptools
# for the build; transformers for the comparison with it.
set -eu
for word; do
    case $word in
    -h | --help)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    esac
done
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "error: $python is no Python 3.10 or newer; name one: PYTHON=/path/to/python3" >&2
    exit 2
fi
if ! "$python" -c 'import torch' 2>/dev/null; then
    echo "error: $python has no torch that loads; name a Python that has: PYTHON=.venv/bin/python" >&2
    exit 2
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "$python" -m scripts.gpu_check "$@"

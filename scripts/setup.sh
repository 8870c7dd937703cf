#!/bin/sh
# Set up .venv for `make`, in four steps that can be repeated; whatever a fresh machine lacks is said in one line.
#
# Usage: sh scripts/setup.sh venv|install|native|dev FOLDER
#   venv     find a Python, check what the build needs, make the environment, install torch
#   install  install tinychat and what it needs in development mode
#   native   build the extension; ninja rebuilds what changed
#   dev      install what the tests and the linters need
# PYTHON names the interpreter to use, CXX the compiler, TORCH_INDEX (a URL or a folder) where torch comes from.
set -eu
exec >&2 # standard output belongs to the answer of `make chat`

TORCH=torch==2.13.0
cd "$(dirname "$0")/.."
step=$1
venv=$2
python=$venv/bin/python

say() { echo "tinychat: $*"; }
fail() {
    echo "error: $*"
    exit 1
}
pip() { "$python" -m pip --disable-pip-version-check "$@"; }
torch_works() { "$python" -c 'import torch' 2>/dev/null; }

# The first interpreter that is new enough.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11 python3.10 python
    fi
    for base; do
        if "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then return; fi
    done
    found=$("$1" --version 2>/dev/null) || found="no $1"
    fail "tinychat needs Python 3.10 or newer, found $found; install one, or name it: make chat PYTHON=/path/to/python3"
}

check_python_can_build() {
    "$base" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$base has no venv module; install it (Debian, Ubuntu: apt install python3-venv), or name another Python with PYTHON=…"
    "$base" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        fail "$base has no header Python.h; install it (Debian, Ubuntu: apt install python3-dev), or name another Python with PYTHON=…"
}

check_compiler() {
    # shellcheck disable=SC2086 # CXX may hold arguments
    if [ -n "${CXX:-}" ]; then set -- "$CXX"; else set -- c++ g++ clang++; fi
    for compiler; do
        if echo '#include <string_view>' | $compiler -std=c++17 -fsyntax-only -x c++ - 2>/dev/null; then return; fi
    done
    fail "no C++17 compiler (tried $*); install one (Debian, Ubuntu: apt install g++; macOS: xcode-select --install), or name it with CXX=…"
}

# Folder, then gigabytes.
check_disk() {
    free=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$2" ] ||
        fail "torch needs $2 GB free in $1, there are $free; free some space, or put the sources on a larger disk"
}

# An installed torch is used: the folder it lies in, when it is new enough, goes on the path of the environment.
adopt_torch() {
    "$base" - "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" <<'PY'
import importlib.metadata, importlib.util, pathlib, sys

spec = importlib.util.find_spec("torch")
if spec is None or spec.origin is None:
    sys.exit(1)
version = importlib.metadata.version("torch")
if tuple(map(int, version.split(".")[:2])) < (2, 6):
    sys.exit(1)
folder = pathlib.Path(spec.origin).parent.parent
pathlib.Path(sys.argv[1], "installed_torch.pth").write_text(f"{folder}\n", encoding="utf-8")
print(f"tinychat: using torch {version} from {folder}")
PY
}

install_torch() {
    rm -f "$venv"/lib/python*/site-packages/installed_torch.pth
    check_disk . 3
    if [ -d "${TORCH_INDEX:-}" ]; then
        set -- --no-deps --no-index --find-links "$TORCH_INDEX"
    elif [ -n "${TORCH_INDEX:-}" ]; then
        set -- --no-deps --index-url "$TORCH_INDEX"
    elif [ "$(uname)" = Linux ] && [ ! -e /proc/driver/nvidia/version ]; then
        say "the default torch wheel for Linux may carry CUDA, some 3 GB to fetch, and this machine has no NVIDIA driver."
        say "to avoid it: Ctrl-C, then run make again with TORCH_INDEX=<URL of the CPU index that PyTorch's install page names, or a folder with the wheel>"
    fi
    say "installing $TORCH${TORCH_INDEX:+ from $TORCH_INDEX}"
    pip install "$@" "$TORCH" ||
        fail "torch could not be installed; without a network, set TORCH_INDEX to a folder that holds its wheel"
    torch_works || fail "the installed torch does not load: $("$python" -c 'import torch' 2>&1 | tail -n 1)"
}

case $step in
venv)
    find_python
    check_python_can_build
    check_compiler
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        say "making $venv with $("$base" --version)"
        "$base" -m venv --clear "$venv" || fail "$base could not make $venv"
    fi
    torch_works || { adopt_torch && torch_works; } || install_torch
    ;;
install)
    say "installing tinychat and what it needs, building the extension (a minute or two)"
    # The build requirements are those of pyproject.toml; with them in place the build needs no environment of its own.
    # shellcheck disable=SC2046 # one word per requirement
    pip install --quiet $(sed -n 's/^requires = \[\(.*\)\]$/\1/p' pyproject.toml | tr -d '",') ||
        fail "the build requirements could not be installed"
    pip install --quiet --no-build-isolation --editable . || fail "tinychat could not be installed"
    ;;
native)
    "$python" setup.py --quiet build_ext --inplace || fail "the extension could not be built"
    ;;
dev)
    say "installing what the tests need"
    pip install --quiet --no-build-isolation --editable '.[dev]' || fail "the test requirements could not be installed"
    ;;
*)
    fail "unknown step $step: venv, install, native or dev"
    ;;
esac

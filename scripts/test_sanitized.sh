#!/bin/sh
# Build the native extensions with AddressSanitizer and UBSan and run the kernel tests with them.
#
# Usage: [PYTHON=python3] [CXX=g++] sh scripts/test_sanitized.sh [pytest arguments]
# The package is built into build/sanitize/ and imported from there, so the normal build stays as it is. The
# sanitizers' runtime has to be in the process before Python starts, hence LD_PRELOAD; it is GCC's.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
compiler=${CXX:-g++}

# Where the compiler does not know the library it prints the bare name.
preload=
for library in libasan.so libubsan.so libstdc++.so; do
    path=$($compiler -print-file-name="$library")
    case "$path" in
    /*) preload="$preload$path " ;;
    *)
        echo "error: $compiler has no $library; install GCC with its sanitizers, or name it with CXX=…" >&2
        exit 1
        ;;
    esac
done

CXX=$compiler TINYCHAT_SANITIZE=1 TINYCHAT_EMULATION=1 TINYCHAT_WERROR=1 "$python" setup.py -q build --build-lib build/sanitize

# Leaks are not looked for: the interpreter and torch keep much until the process ends.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
if [ $# -eq 0 ]; then
    set -- tests/kernels tests/cuda/test_ops.py tests/cuda/test_attention.py tests/cuda/test_gemv.py tests/cuda/test_sample.py
fi
# Python's own output is captured, the sanitizers' reports are not.
LD_PRELOAD=$preload exec "$python" -m pytest -o pythonpath=build/sanitize -p no:cacheprovider --capture=sys -q "$@"

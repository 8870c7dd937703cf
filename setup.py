"""Build of the native extension and the list of packages; everything else is in pyproject.toml.

`build_ext` writes a ninja file, so builds are parallel, each ISA file gets its own flags, and only
what changed is rebuilt. Settings, all optional: CXX names the compiler; TINYCHAT_WERROR=1 turns
warnings into errors (the Makefile sets it; who has a newer compiler than ours must not fail on a
new warning); TINYCHAT_SANITIZE=1 builds with ASan and UBSan into build/sanitize/ and leaves the
normal extension alone (see scripts/test_sanitized.sh); TINYCHAT_EMULATION=1 builds a second one
beside it, the CUDA kernels compiled as host C++ (see csrc/cuda/common.cuh), which only tests use.
Where there is a CUDA compiler, one for NVIDIA cards is built too; scripts/nvcc.py has its settings.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 (pip checks this too, `python setup.py` does not)
    sys.exit("tinychat needs Python 3.10 or newer; this is " + platform.python_version())

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))
import nvcc as cuda  # noqa: E402

SANITIZE = os.environ.get("TINYCHAT_SANITIZE") == "1"
EMULATION = os.environ.get("TINYCHAT_EMULATION") == "1"
WERROR = os.environ.get("TINYCHAT_WERROR") == "1"
WARNINGS = ["-Wall", "-Wextra", "-Wshadow"]
SANITIZERS = "-fsanitize=address,undefined"
FREE_BYTES_NEEDED = 100 << 20

AVX512_VNNI = [
    "-mavx2",
    "-mfma",
    "-mf16c",
    "-mavx512f",
    "-mavx512bw",
    "-mavx512vl",
    "-mavx512dq",
    "-mavx512vnni",
]
# One row per ISA file beyond the scalar one: its flags, and a function that only a compiler and an
# assembler which know it will take.
X86_ISAS = {
    "avx2": (["-mavx2", "-mfma", "-mf16c"], "__m256i f(__m256i a) { return _mm256_abs_epi32(a); }"),
    "avx_vnni": (
        ["-mavx2", "-mfma", "-mf16c", "-mavxvnni"],
        "__m256i f(__m256i a) { return _mm256_dpbusd_avx_epi32(a, a, a); }",
    ),
    "avx512_vnni": (
        AVX512_VNNI,
        "__m512i f(__m512i a) { return _mm512_dpbusd_epi32(a, a, a); }",
    ),
    "amx": (
        AVX512_VNNI,
        '__m512i f(__m512i a) { asm volatile("tdpbsud %tmm1, %tmm2, %tmm0");'
        " return _mm512_dpbusd_epi32(a, a, a); }",
    ),
}


class Compiler:
    """The C++ compiler of this build and what it accepts."""

    def __init__(self) -> None:
        chosen = os.environ.get("CXX")
        candidates = [shlex.split(chosen)] if chosen else [["c++"], ["g++"], ["clang++"]]
        found = next((command for command in candidates if shutil.which(command[0])), None)
        if found is None:
            sys.exit(
                f"tinychat needs a C++17 compiler and found no {chosen or 'c++, g++ or clang++'}; "
                "install one: `apt install g++` (Debian, Ubuntu), `dnf install gcc-c++` (Fedora), "
                "`xcode-select --install` (macOS), or set CXX"
            )
        self.command = found
        probe = "#include <optional>\nstd::optional<int> f() { return 1; }"
        if not self.accepts(["-std=c++17"], probe):
            sys.exit(
                f"tinychat needs a C++17 compiler; {shlex.join(found)} does not compile "
                "`#include <optional>` with -std=c++17; install a complete one (`apt install g++`) "
                "or set CXX"
            )

    def accepts(self, flags: list[str], source: str) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, "probe.cpp")
            probe.write_text(source + "\n")
            command = [*self.command, *flags, "-c", str(probe), "-o", str(Path(folder, "probe.o"))]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0


def find_ninja() -> str:
    """The ninja executable on PATH, or the one inside the `ninja` Python package."""
    on_path = shutil.which("ninja")
    if on_path:
        return on_path
    try:
        import ninja
    except ImportError:
        sys.exit("tinychat builds with ninja and found none; install it: `pip install ninja`")
    return str(Path(ninja.BIN_DIR, "ninja"))


def built_isas(compiler: Compiler) -> dict[str, list[str]]:
    """ISA files to build beside the scalar one, with their flags."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return {}
    accepted = {}
    for name, (flags, body) in X86_ISAS.items():
        if compiler.accepts(flags, f"#include <immintrin.h>\n{body}"):
            accepted[name] = flags
        else:
            print(f"tinychat: {shlex.join(compiler.command)} cannot build {name}; leaving it out")
    return accepted


def escape(path: Path) -> str:
    """A path as ninja wants it in a build line."""
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def sources_of_cpu(compiler: Compiler) -> dict[Path, list[str]]:
    """The files of the CPU extension, each with the flags that it alone gets."""
    isas = built_isas(compiler)
    # gcc 12 takes undefined operands in its own AVX-512 headers for our mistake (GCC bug 105593).
    header_noise = ["-Wno-maybe-uninitialized"]
    isa_flags = header_noise if compiler.accepts(["-Werror", *header_noise], "") else []
    have = [f"-DTINYCHAT_HAVE_{name.upper()}" for name in isas]
    sources = {}
    for folder in (ROOT / "csrc", ROOT / "csrc" / "cpu"):
        for source in sorted(folder.glob("*.cpp")):
            name = source.stem.removeprefix("isa_")
            if name == source.stem:
                sources[source] = have
            elif name in (*isas, "scalar"):
                sources[source] = [*have, *isas.get(name, []), *isa_flags]
    return sources


def sources_of_cuda(architectures: list[int]) -> dict[Path, list[str]]:
    """The files of the extension for cards; one of them can say what it was built for."""
    folder = ROOT / "csrc" / "cuda"
    own = {path: [] for path in sorted([*folder.glob("*.cu"), *folder.glob("*.cpp")])}
    comma = r"\,"  # at a plain one nvcc would take what follows for another definition
    listed = comma.join(str(10 * number) for number in architectures)
    return {**own, folder / "module.cpp": [f"-DTINYCHAT_ARCHITECTURES={listed}"]}


def sources_of_emulation() -> dict[Path, list[str]]:
    """The files of the CUDA kernels as host C++."""
    folder = ROOT / "csrc" / "cuda"
    paths = [*folder.glob("*.cu"), folder / "bindings.cpp", *(folder / "emulation").glob("*.cpp")]
    # `#pragma unroll` means something to nvcc alone; clang would take a .cu file for CUDA.
    return {path: ["-Wno-unknown-pragmas", "-x", "c++"] for path in sorted(paths)}


@dataclass(frozen=True)
class Tools:
    """What compiles the files of an extension, what links them, and how many files at a time; None
    leaves that to ninja.
    """

    compile: list[str]
    link: list[str]
    at_once: int | None = None


def host_flags() -> list[str]:
    """What every file gets."""
    flags = ["-fPIC", "-fvisibility=hidden", "-pthread", "-fno-math-errno", *WARNINGS]
    if SANITIZE:
        flags += ["-O1", "-g", "-fno-omit-frame-pointer", SANITIZERS]
        flags += ["-fno-sanitize-recover=undefined"]
    return flags + (["-Werror"] if WERROR else [])


def includes() -> list[str]:
    """Where the headers are: ours, Python's and pybind11's."""
    import pybind11

    python = Path(sysconfig.get_path("include"))
    if not (python / "Python.h").exists():
        sys.exit(
            f"tinychat needs Python's headers and {python}/Python.h is missing; install them "
            "(`apt install python3-dev`)"
        )
    return [f"-I{ROOT / 'csrc'}", "-isystem", str(python), "-isystem", pybind11.get_include()]


def host_tools(compiler: Compiler) -> Tools:
    """The C++ compiler for everything."""
    optimize = [] if SANITIZE else ["-O3", "-DNDEBUG"]
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    link += ["-pthread", *([SANITIZERS] if SANITIZE else [])]
    return Tools(
        [*compiler.command, "-std=c++17", *host_flags(), *optimize, *includes()],
        [*compiler.command, *link],
    )


def cuda_tools(compiler: Compiler, nvcc: cuda.Nvcc, architectures: list[int]) -> Tools:
    """nvcc for everything: it hands C++ to the compiler and knows where its own headers and its
    runtime are, which is linked into the extension, so that a machine without CUDA can load it.
    """
    # `name` is a full path: nvcc looks beside itself for what is none.
    name = shutil.which(compiler.command[0]) or compiler.command[0]
    host = ["-ccbin", name, "-Xcompiler", ",".join([*compiler.command[1:], *host_flags()])]
    own = [*cuda.LANGUAGE, "-DNDEBUG", *(["-Werror", "all-warnings"] if WERROR else [])]
    # The compilations for several architectures are the larger part of a file; they run together.
    cpus = os.cpu_count() or 1
    threads = min(len(architectures), cpus)
    own += [*cuda.gencode(architectures), "--threads", str(threads)]
    return Tools(
        [nvcc.path, *own, *host, *includes()],
        [nvcc.path, *host[:2], *cuda.LINK, *cuda.gencode(architectures)],
        at_once=-(-cpus // threads) + 1,
    )


def ninja_file(tools: Tools, sources: dict[Path, list[str]], objects: Path, target: Path) -> str:
    """The text of build.ninja: one line per source and one for the link."""

    def quoted(words: list[str]) -> str:
        return shlex.join(words).replace("$", "$$")

    pool = ["pool few", f"  depth = {tools.at_once}"] if tools.at_once else []
    lines = [
        "ninja_required_version = 1.5",
        *pool,
        "rule compile",
        f"  command = {quoted(tools.compile)} $own -MMD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "  description = compile $in",
        *(["  pool = few"] if pool else []),
        "rule link",
        f"  command = {quoted(tools.link[:1])} $in {quoted(tools.link[1:])} -o $out",
        "  description = link $out",
    ]
    built = []
    for source, own in sources.items():
        built.append(objects / f"{source.stem}.o")
        lines.append(f"build {escape(built[-1])}: compile {escape(source)}")
        lines.append(f"  own = {quoted(own)}")
    lines.append(f"build {escape(target)}: link {' '.join(map(escape, built))}")
    return "\n".join([*lines, f"default {escape(target)}", ""])


CPU, CUDA, EMULATED = (f"tinychat.kernels.{name}" for name in ("_cpu", "_cuda", "_cuda_emulated"))
MODULES = [CPU, CUDA, *([EMULATED] if EMULATION else [])]


class BuildNative(build_ext):
    """`build_ext` that hands the work to ninja."""

    def finalize_options(self) -> None:
        super().finalize_options()
        # One folder for `pip install -e .`, whose own would be temporary, and `setup.py build_ext`.
        self.build_temp = str(ROOT / "build" / ("sanitize/objects" if SANITIZE else "native"))
        if SANITIZE:
            self.build_lib = str(ROOT / "build" / "sanitize")
            self.inplace = False

    def run(self) -> None:
        self.compiler_found = Compiler()
        try:
            if SANITIZE:
                raise cuda.LeftOut("sanitizers do not see it")
            self.cuda = cuda.choose(for_this_machine=bool(self.inplace or self.editable_mode))
        except cuda.LeftOut as reason:
            print(f"tinychat: the extension is built without CUDA: {reason}")
            self.extensions = [ext for ext in self.extensions if ext.name != CUDA]
        super().run()

    def parts(self, name: str) -> tuple[Tools, dict[Path, list[str]]]:
        """What an extension is made with, and of."""
        compiler = self.compiler_found
        if name == CPU:
            return host_tools(compiler), sources_of_cpu(compiler)
        if name == EMULATED:
            return host_tools(compiler), sources_of_emulation()
        nvcc, architectures = self.cuda
        print(f"tinychat: {nvcc.name()} builds for {', '.join(map(str, architectures))}")
        return cuda_tools(compiler, nvcc, architectures), sources_of_cuda(architectures)

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        below = "." if ext.name == CPU else ext.name.rpartition("._")[2]
        objects = Path(self.build_temp, below).resolve()
        for folder in (objects, target.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(objects).free < FREE_BYTES_NEEDED:
            sys.exit(
                f"tinychat's build needs {FREE_BYTES_NEEDED >> 20} MB free in {objects}; "
                "make room and try again"
            )
        rules = objects / "build.ninja"
        text = ninja_file(*self.parts(ext.name), objects, target)
        if not rules.exists() or rules.read_text() != text:
            rules.write_text(text)
        done = subprocess.run([find_ninja(), "-f", str(rules)], cwd=objects, check=False)
        if done.returncode != 0:
            what, way_out = "native extension", ""
            if ext.name == CUDA:
                what, way_out = "extension for CUDA", "; TINYCHAT_CUDA=0 builds without it"
            sys.exit(
                f"tinychat's {what} did not build; the compiler's own message is above{way_out}"
            )


shipped = ["tinychat.shipped"] if any(path.is_dir() for path in (ROOT / "models").glob("*")) else []
setup(
    packages=find_packages(include=["tinychat", "tinychat.*"]) + shipped,
    package_dir={"tinychat.shipped": "models"},
    package_data={
        "tinychat": ["py.typed"],
        "tinychat.kernels": ["*.pyi"],
        "tinychat.quantize": ["calibration.txt"],
        "tinychat.shipped": ["**/*"],
    },
    ext_modules=[Extension(name, sources=[]) for name in MODULES],
    cmdclass={"build_ext": BuildNative},
)

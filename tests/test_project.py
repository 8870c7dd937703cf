"""Rules that hold for the whole repository: what it names, what it imports, what it never does."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import tinychat
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "tinychat"

# --- the layers: imports point downwards only

# Every module of the package belongs to one group, named by its path or the first part of it.
GROUPS = {
    "base": (
        *(
            "errors",
            "limits",
            "files",
            "jsonfile",
            "documents",
            "fields",
            "frames",
            "machine",
            "precision",
        ),
        "stop",
    ),
    "text": (
        *("tokenizer", "tokenizer_json", "tokenizer_spm", "streaming"),
        *("template", "template_process", "template_worker", "messages"),
    ),
    "files": (
        *("config", "rope_config", "families", "checkpoint", "safetensors_check"),
        *("hub", "shapes"),
    ),
    "quantize": ("quantize",),
    "quantizer": (
        *("quantize.block", "quantize.calibration", "quantize.convert", "quantize.layer"),
        *("quantize.observe", "quantize.sampled", "quantize.workspace", "quantize.awq"),
        *("quantize.output", "quantize.run"),
    ),
    "kernels": ("kernels",),
    "model": (
        "nn",
        "cache",
        "memory",
        "sampler",
        "replay",
        "loader",
        "random_weights",
        "pack_cache",
        "packed_file",
    ),
    "engine": ("engine", "lookup"),
    "chat": ("assembly", "llm", "pieces", "__init__"),
    "evaluate": ("evaluate",),
    "front": ("cli", "bench", "__main__"),
}
# What a group may import beside itself. The engine knows ids, never text; kernels know no model.
BELOW = {
    "base": (),
    "text": ("base",),
    "files": ("base",),
    "quantize": ("base", "files"),
    "kernels": ("base", "quantize"),
    "model": ("base", "files", "quantize", "kernels"),
    "engine": ("base", "files", "kernels", "model"),
    "chat": ("base", "files", "quantize", "kernels", "model", "engine", "text"),
    "evaluate": ("base", "model", "chat"),
    "quantizer": ("base", "files", "text", "quantize", "kernels", "model", "engine", "chat"),
    "front": (
        *("base", "files", "quantize", "kernels", "model", "quantizer"),
        *("engine", "text", "chat", "evaluate"),
    ),
}


def repository_files() -> list[Path]:
    """Files that git tracks or would add; skips outside a git checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def package_modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def group_of(module: str) -> str | None:
    """The group of a dotted name inside the package: "nn.linear" -> "model"; a module that GROUPS
    names itself is not in the group of its folder.
    """
    for name in (".".join(module.split(".")[:2]), module.split(".")[0]):
        for group, names in GROUPS.items():
            if name in names:
                return group
    return None


def running_code(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, but for what only the type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from running_code(child)


def imports_of(path: Path) -> Iterator[str]:
    """What a module imports of the package, anywhere in it, without the leading "tinychat."."""
    for node in running_code(parse(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module or ""]
            if node.module == "tinychat":  # `from tinychat import x`: a module, or a public name
                names = [f"tinychat.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "tinychat":
                inner = name.partition(".")[2]
                is_module = importlib.util.find_spec(f"tinychat.{inner.split('.')[0]}") is not None
                yield inner if inner and is_module else "__init__"


def test_imports_point_downwards() -> None:
    wrong = []
    for path in package_modules():
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        group = group_of(module)
        assert group is not None, f"{module} belongs to no group; add it to GROUPS"
        for target in imports_of(path):
            target_group = group_of(target)
            allowed = {group, *BELOW[group]}
            if target_group not in allowed:
                wrong.append(f"{module} ({group}) imports {target} ({target_group})")
    assert not wrong, "\n".join(wrong)


# --- what the code never does

# The one file that runs a program from elsewhere: in a process of its own, confined, and asked for.
SANDBOX = PACKAGE / "evaluate" / "sandbox_worker.py"
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {("torch", "load"), ("torch", "save"), ("os", "system"), ("os", "popen")}


def offences(tree: ast.Module) -> Iterator[str]:
    """Ways in which a file of a model could become code that runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (n for n in names if n.split(".")[0] in FORBIDDEN_IMPORTS)
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in FORBIDDEN_CALLS:
                yield f"{function.id}()"
            if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                if (function.value.id, function.attr) in FORBIDDEN_ATTRIBUTES:
                    yield f"{function.value.id}.{function.attr}()"
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg in ("trust_remote_code", "allow_pickle", "shell") and not (
                    isinstance(value, ast.Constant) and value.value is False
                ):
                    yield f"{keyword.arg}="


def test_the_check_for_running_data_sees_what_it_looks_for() -> None:
    code = (
        "import pickle\nfrom shelve import open\neval('1')\ntorch.load('x')\n"
        "f(trust_remote_code=True)\nf(shell=flag)\nmodel.eval()\nf(trust_remote_code=False)\n"
    )
    assert sorted(offences(ast.parse(code))) == [
        "eval()",
        "pickle",
        "shell=",
        "shelve",
        "torch.load()",
        "trust_remote_code=",
    ]


def test_no_data_is_ever_run() -> None:
    found = {
        str(path.relative_to(REPOSITORY)): list(offences(parse(path))) for path in package_modules()
    }
    assert set(found.pop(str(SANDBOX.relative_to(REPOSITORY)))) == {"compile()"}
    assert not {path: what for path, what in found.items() if what}


def test_only_hub_knows_the_network() -> None:
    network = {"socket", "http", "urllib", "requests", "httpx", "httpx2", "huggingface_hub"}
    users = set()
    for path in package_modules():
        for node in ast.walk(parse(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in network for name in names):
                users.add(path.name)
    assert users <= {"hub.py"}


# --- what the repository says

# Put together from parts, so that this file does not hold them.
FORBIDDEN_WORDS = re.compile(
    "|".join(
        [
            r"(?<![\w.])/(work|root)/\w",
            "pypi" + r"\.org",
            "pythonhosted" + r"\.org",
            "download" + r"\.pytorch\.org",
        ]
    )
)


def test_no_file_names_a_machine_or_an_index() -> None:
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if match := FORBIDDEN_WORDS.search(line):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {match.group()}")
    assert not found, "\n".join(found)


def test_every_python_file_says_what_it_is() -> None:
    paths = [path for path in repository_files() if path.suffix in (".py", ".pyi")]
    paths = [path for path in paths if path.stat().st_size]  # an empty __init__.py says enough
    assert paths
    silent = [str(p.relative_to(REPOSITORY)) for p in paths if not ast.get_docstring(parse(p))]
    assert not silent


def test_every_native_file_says_what_it_is() -> None:
    paths = [path for path in repository_files() if path.suffix in (".cpp", ".h", ".cu", ".cuh")]
    assert paths
    silent = [str(p.relative_to(REPOSITORY)) for p in paths if not p.read_text().startswith("//")]
    assert not silent


def test_public_functions_and_classes_are_documented() -> None:
    silent = []
    for path in package_modules():
        for node in parse(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    silent.append(f"{path.relative_to(REPOSITORY)}: {node.name}")
    assert not silent, "\n".join(silent)


def test_licence_is_the_same_everywhere() -> None:
    licence = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("MIT License")
    assert "The tinychat authors" in licence
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert 'license = "MIT"' in project
    assert 'name = "The tinychat authors"' in project
    assert "MIT" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_version_has_one_source() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    assert 'version = { attr = "tinychat.__version__" }' in project
    done = run_python("-m", "tinychat", "--version")
    assert tinychat.__version__ in done.stdout


def test_set_up_reads_the_build_requirements() -> None:
    """scripts/setup.sh takes them out of pyproject.toml with sed, so they must stay on one line."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    expected = tomllib.loads(text)["build-system"]["requires"]
    line = re.search(r"^requires = \[(.*)\]$", text, re.MULTILINE)
    assert line
    assert line.group(1).translate(str.maketrans("", "", '",')).split() == expected


# --- how light it is


def run_python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )


def test_importing_the_package_imports_no_torch() -> None:
    done = run_python("-c", "import sys, tinychat; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False"


def test_numpy_is_not_missed() -> None:
    code = "import sys; sys.modules['numpy'] = None; import tinychat.llm; print('fine')"
    done = run_python("-W", "error", "-c", code)
    assert (done.stdout, done.stderr) == ("fine\n", "")


# --- what gets installed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_is_complete_and_builds_without_torch(tmp_path: Path) -> None:
    source, poison, target = tmp_path / "source", tmp_path / "poison", tmp_path / "target"
    for path in repository_files():
        copy = source / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    poison.mkdir()
    (poison / "torch.py").write_text("raise ImportError('the build asked for torch')\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    # What CUDA adds takes minutes to compile and has tests of its own.
    environment = {**clean_environment(), "PYTHONPATH": str(poison), "TINYCHAT_CUDA": "0"}
    subprocess.run([*build, str(tmp_path), str(source)], env=environment, check=True)

    (wheel,) = tmp_path.glob("tinychat-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(target)
    for pattern in (
        r"tinychat/py\.typed",
        r"tinychat/kernels/_cpu\.pyi",
        r"tinychat/quantize/calibration\.txt",
        r"tinychat/kernels/_cpu\..*(so|pyd)",
        r"tinychat/shipped/.*/config\.json",
        r"tinychat/shipped/.*\.safetensors",
        r".*\.dist-info/licenses/LICENSE",
    ):
        assert any(re.fullmatch(pattern, name) for name in names), pattern
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]

    # The installed copy answers with the model it carries; poison and sources are out of sight.
    answer = subprocess.run(
        [sys.executable, "-m", "tinychat", "chat", "--prompt", "Hello!"],
        cwd=tmp_path,
        env={**clean_environment(), "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead a child back to the sources."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

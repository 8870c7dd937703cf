"""Names of models -> folders, and downloads from a Hugging Face of our own on this machine.

The downloads run in a child process each, with the real huggingface_hub pointed at that server.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tinychat import hub
from tinychat.errors import (
    ArgumentError,
    CheckpointError,
    DownloadError,
    MissingPackageError,
    ModelNotFoundError,
)
from tinychat.hub import is_repository_id, resolve_model

REPOSITORY = Path(__file__).resolve().parent.parent
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model-00001-of-00002.safetensors": bytes(range(256)) * 4096,  # 1 MiB
    "model-00002-of-00002.safetensors": b"\x07" * 300_000,
    "model.safetensors.index.json": b"{}",
    "tokenizer.model": b"tokens",
    "chat_template.jinja": b"{{ messages }}",
    # What must stay where it is:
    "consolidated.safetensors": b"the same weights again",
    "original/model.safetensors": b"and again",
    "pytorch_model.bin": b"pickle",
    "README.md": b"# a model",
}
WANTED = {
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.model",
    "chat_template.jinja",
}
TOTAL = sum(len(FILES[name]) for name in WANTED)


def blob_id(name: str) -> str:
    return f"{zlib.crc32(name.encode()):040x}"


@dataclass
class FakeHub:
    """The server, what it was asked for, and what it does wrong.

    Attributes:
        sizes: sizes that it claims instead of the true ones.
        cut: bytes after which a file's connection breaks, once per entry in the list.
        status: answers of (status, X-Error-Code) to requests for a path.
        html: answers everything with a page, as a captive portal does.
    """

    url: str = ""
    requests: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    sizes: dict[str, int] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    status: dict[str, tuple[int, str]] = field(default_factory=dict)
    ignores_range: bool = False
    html: bool = False

    @property
    def downloads(self) -> list[str]:
        return [line.split("/")[-1] for line in self.requests if line.startswith("GET /a/b/")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def send(self, status: int, content: bytes, headers: dict[str, str], sent: int = 2**40) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:sent])
        if sent < len(content):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def answer(self) -> None:
        fake = self.hub
        path = self.path.split("?")[0]
        fake.requests.append(f"{self.command} {path}")
        json_type = {"Content-Type": "application/json"}
        if fake.html:
            return self.send(
                200, b"<html>log in to the hotel</html>", {"Content-Type": "text/html"}
            )
        for part, (status, code) in fake.status.items():
            if part in path:
                return self.send(status, b"{}", {**json_type, "X-Error-Code": code})
        sizes = {name: len(content) for name, content in fake.files.items()} | fake.sizes
        if path in ("/api/models/a/b", "/api/models/a/b/revision/main"):
            siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
            info = {"id": "a/b", "modelId": "a/b", "sha": COMMIT, "siblings": siblings}
            return self.send(200, json.dumps(info).encode(), json_type)
        if path == f"/api/models/a/b/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": name, "size": size, "oid": blob_id(name)}
                for name, size in sizes.items()
            ]
            return self.send(200, json.dumps(tree).encode(), json_type)
        name = path.removeprefix(f"/a/b/resolve/{COMMIT}/").removeprefix("/a/b/resolve/main/")
        if name in fake.files:
            return self.send_file(name)
        self.send(404, b"{}", {**json_type, "X-Error-Code": "RepoNotFound"})

    def send_file(self, name: str) -> None:
        content = self.hub.files[name]
        headers = {"ETag": f'"{blob_id(name)}"', "X-Repo-Commit": COMMIT}
        status, start = 200, 0
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and not self.hub.ignores_range:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status = 206
        cuts = self.hub.cut.get(name) if self.command == "GET" else None
        self.send(status, content[start:], headers, cuts.pop(0) if cuts else 2**40)


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    """A Hugging Face with one model, a/b, on a free port of this machine."""
    state = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Outcome:
    folder: Path | None
    error: str
    message: str
    calls: list[tuple[int, int]]
    stderr: str


CHILD = """
import json, sys
from tinychat.errors import TinyChatError
from tinychat.hub import resolve_model
name, offline = sys.argv[1], sys.argv[2] == "offline"
calls = []
outcome = {"folder": None, "error": "", "message": "", "calls": calls}
try:
    folder = resolve_model(name, offline=offline, progress=lambda *call: calls.append(call))
    outcome["folder"] = str(folder)
except TinyChatError as error:
    outcome |= {"error": type(error).__name__, "message": str(error)}
print(json.dumps(outcome))
"""


def download(
    fake: FakeHub, home: Path, name: str = "a/b", offline: bool = False, **environment: str
) -> Outcome:
    """Resolve a name in a child process whose Hugging Face is `fake` and whose cache is `home`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, name, "offline" if offline else "online"],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **clean,
            "PYTHONPATH": str(REPOSITORY),
            "HF_ENDPOINT": fake.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            **environment,
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert "\n" not in outcome["message"]
    folder = Path(outcome["folder"]) if outcome["folder"] else None
    calls = [(done, total) for done, total in outcome["calls"]]
    return Outcome(folder, outcome["error"], outcome["message"], calls, done.stderr)


def check_progress(calls: list[tuple[int, int]], total: int = TOTAL) -> None:
    """Case 78: never backwards, never above 100 %, and at 100 % in the end."""
    assert calls
    assert {of for _, of in calls} == {total}
    done = [done for done, _ in calls]
    assert done == sorted(done)
    assert done[-1] == total
    assert done[0] >= 0


def check_complete(folder: Path | None) -> None:
    assert folder is not None
    assert {path.name for path in folder.iterdir()} == WANTED
    for name in WANTED:
        assert (folder / name).read_bytes() == FILES[name]


# --- no network


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Case 67: whoever makes a socket fails."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_sockets")
def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_model(tmp_path) == tmp_path
    assert resolve_model(str(tmp_path)) == tmp_path
    # A folder wins over the Hugging Face id of the same name.
    assert resolve_model("owner/name") == Path("owner/name")
    assert resolve_model("./owner/name/") == Path("owner/name")
    odd = tmp_path / "with space 'quote' \n 🙂"
    odd.mkdir()
    assert resolve_model(str(odd)) == odd
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_model("~/owner") == tmp_path / "owner"


def test_a_folder_needs_no_package_and_no_network(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise SystemExit('a socket was opened')\n"
        "socket.socket = socket.getaddrinfo = refuse\n"
        "from tinychat.hub import resolve_model\n"
        "print(resolve_model(sys.argv[1]))\n"
        "print(sorted({'torch', 'huggingface_hub', 'rich', 'httpx'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.splitlines() == [str(tmp_path), "[]"]


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize(
    "name",
    [
        "./absent",
        "../absent/model",
        "/absent/model",
        "~/absent-model",
        ".",
        "C:\\models\\x",
        "C:/models",
        "models\\x",
        "absent/",
        "a/../b",
        "a/b/c",
        "a//b",
        "/",
        "",
        " ",
        "a",
        "a\0b",
        "a/b\0c",
        "a" * 1_000_000,
        "a/" + "b" * 97,
        "-rf",
        "-rf/x",
        "CON",
        "owner/name.",
        ".owner/name",
        "owner/.name",
        "owner/a..b",
        "owner/a--b",
        "owner/name.git",
        "owner/🙂",
        "öwner/name",
        "owner/na me",
        "owner/name\n",
        "owner/name?x=1",
        "owner/%2e%2e",
        "\ud800/x",
        "\x1b[2J",
    ],
    ids=lambda name: repr(name)[:20],
)
def test_what_is_neither_folder_nor_id(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 21."""
    monkeypatch.chdir(tmp_path)
    if name in (".", "/"):
        assert resolve_model(name) == Path(name)
        return
    with pytest.raises(ModelNotFoundError) as caught:
        resolve_model(name)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert caught.value.exit_code == 3
    assert resolve_model(str(tmp_path)) == tmp_path


@pytest.mark.usefixtures("no_sockets")
def test_a_path_object_is_never_an_id() -> None:
    with pytest.raises(ModelNotFoundError, match="'owner/name'"):
        resolve_model(Path("owner/name"))


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelNotFoundError, match="is a file"):
        resolve_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize("model", [5, b"a/b", ["a/b"], True])
def test_wrong_kinds(model: Any) -> None:
    with pytest.raises(ArgumentError, match="model="):
        resolve_model(model)


@pytest.mark.parametrize(
    "name", ["a/b", "meta-llama/Llama-3.2-1B", "01-ai/Yi", "_x/y_z.q", "A/" + "b" * 96]
)
def test_ids(name: str) -> None:
    assert is_repository_id(name)


def test_mixed_case_twins_are_distinct() -> None:
    assert is_repository_id("owner/Name")
    assert is_repository_id("owner/name")


def test_the_model_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "tinychat"
    package.mkdir()
    monkeypatch.setattr(hub, "__file__", str(package / "hub.py"))
    with pytest.raises(ModelNotFoundError, match="carries no model"):
        resolve_model(None)
    beside = tmp_path / "models" / hub.SHIPPED
    beside.mkdir(parents=True)
    assert resolve_model(None) == beside
    inside = package / "shipped" / hub.SHIPPED
    inside.mkdir(parents=True)
    assert resolve_model(None) == inside


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match="pip install huggingface_hub") as caught:
        resolve_model("owner/name")
    assert caught.value.exit_code == 2


# --- progress


def test_progress_survives_whatever_a_bar_is_told() -> None:
    pytest.importorskip("huggingface_hub")
    calls: list[tuple[int, int]] = []
    bars = hub._byte_counter(100, lambda *call: calls.append(call))
    network = bars(total=0, initial=0, unit="B", unit_scale=True, desc="bytes")
    disk = bars(total=0, initial=0, unit="B")
    with bars(total=3, desc="files") as files:
        for _ in range(3):
            files.update(1)
    network.total = 60
    network.update(60)
    disk.update(30)
    network.update(-60)  # a download that starts again
    network.update(70)
    disk.update(None)
    network.update(500)
    network.refresh()
    network.set_description_str("done")
    network.set_postfix_str(str(network.format_dict.get("rate")), refresh=False)
    network.close()
    assert list(bars([1, 2], desc="as an iterable")) == [1, 2]
    assert [done for done, _ in calls] == [60, 70, 100]


class Terminal:
    """A stderr that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_one_bar_on_a_terminal_and_none_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub._reporting("a/b", 100, None) as report:
        report(50, 100)
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with hub._reporting("a/b", 100, None) as report:
        report(100, 100)
    assert "downloading a/b" in terminal.text
    assert "100/100" in terminal.text
    assert capsys.readouterr().out == ""


# --- downloads


def test_a_download_and_what_follows(fake: FakeHub, tmp_path: Path) -> None:
    first = download(fake, tmp_path)
    assert first.error == "", first.message
    check_complete(first.folder)
    check_progress(first.calls)
    assert set(fake.downloads) == WANTED

    # What is there is not fetched again.
    fake.requests.clear()
    again = download(fake, tmp_path)
    assert again.folder == first.folder
    assert fake.downloads == []

    # Offline, by argument and by environment, nothing is asked at all.
    fake.requests.clear()
    assert download(fake, tmp_path, offline=True).folder == first.folder
    assert download(fake, tmp_path, HF_HUB_OFFLINE="1").folder == first.folder
    assert fake.requests == []

    # When the network is gone, the cache serves.
    assert download(FakeHub("http://127.0.0.1:9"), tmp_path).folder == first.folder

    # A link that went missing is made again.
    (tmp_path / "hub" / "models--a--b" / "snapshots" / COMMIT / "tokenizer.model").unlink()
    fake.requests.clear()
    check_complete(download(fake, tmp_path).folder)
    assert set(fake.downloads) <= {"tokenizer.model"}


def test_offline_without_a_copy(fake: FakeHub, tmp_path: Path) -> None:
    for outcome in (
        download(fake, tmp_path, offline=True),
        download(fake, tmp_path, HF_HUB_OFFLINE="1"),
    ):
        assert outcome.error == DownloadError.__name__
        assert "a/b" in outcome.message
        assert "HF_HUB_OFFLINE" in outcome.message
    assert fake.requests == []


@pytest.mark.parametrize("ignores_range", [False, True], ids=["resumes", "starts-again"])
def test_a_broken_connection_goes_on(fake: FakeHub, tmp_path: Path, ignores_range: bool) -> None:
    """Cases 77 and 78: reset at 1, 50 and 99 %, and a server that cannot resume."""
    fake.ignores_range = ignores_range
    large = "model-00001-of-00002.safetensors"
    size = len(FILES[large])
    fake.cut = {large: [size // 100, size // 2] if ignores_range else [size // 100, size // 2, 999]}
    outcome = download(fake, tmp_path)
    assert outcome.error == "", outcome.message
    check_complete(outcome.folder)
    check_progress(outcome.calls)
    assert fake.downloads.count(large) > 1


def test_a_failed_download_is_taken_up_again(fake: FakeHub, tmp_path: Path) -> None:
    second = "model-00002-of-00002.safetensors"
    fake.status = {second: (410, "")}
    failed = download(fake, tmp_path)
    assert failed.error == DownloadError.__name__
    assert "a/b" in failed.message
    assert "410" in failed.message  # what happened, not what the library makes of it
    assert "again" in failed.message
    progress = [done for done, _ in failed.calls]
    assert progress == sorted(progress)
    assert all(done < TOTAL for done in progress)
    # A half model is no model.
    assert download(fake, tmp_path, offline=True).error == DownloadError.__name__

    fake.status.clear()
    fake.requests.clear()
    whole = download(fake, tmp_path)
    check_complete(whole.folder)
    assert second in fake.downloads
    missing = sum(len(FILES[name]) for name in set(fake.downloads))
    check_progress(whole.calls, missing)


def test_disk_space_is_checked_before_the_first_byte(fake: FakeHub, tmp_path: Path) -> None:
    fake.sizes = {"model-00001-of-00002.safetensors": 10**18}
    outcome = download(fake, tmp_path)
    assert outcome.error == DownloadError.__name__
    assert "1000000000.00 GB" in outcome.message
    assert "free" in outcome.message
    assert fake.downloads == []
    assert outcome.calls == []


def test_no_such_model(fake: FakeHub, tmp_path: Path) -> None:
    outcome = download(fake, tmp_path, "a/absent")
    assert outcome.error == ModelNotFoundError.__name__
    assert "a/absent" in outcome.message


def test_a_gated_model(fake: FakeHub, tmp_path: Path) -> None:
    fake.status = {"/resolve/": (403, "GatedRepo")}
    outcome = download(fake, tmp_path)
    assert outcome.error == DownloadError.__name__
    assert "https://huggingface.co/a/b" in outcome.message


def test_a_model_of_pickles(fake: FakeHub, tmp_path: Path) -> None:
    fake.files = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    outcome = download(fake, tmp_path)
    assert outcome.error == CheckpointError.__name__
    assert "no safetensors" in outcome.message
    assert fake.downloads == []


def test_a_captive_portal(fake: FakeHub, tmp_path: Path) -> None:
    fake.html = True
    assert download(fake, tmp_path).error == DownloadError.__name__


def test_a_server_in_trouble(fake: FakeHub, tmp_path: Path) -> None:
    fake.status = {"/api/": (503, "")}
    assert download(fake, tmp_path).error == DownloadError.__name__


def test_no_server(tmp_path: Path) -> None:
    outcome = download(FakeHub("http://127.0.0.1:9"), tmp_path)
    assert outcome.error == DownloadError.__name__
    assert "a/b" in outcome.message

"""Templates that attack: each is stopped, does nothing, and the next rendering works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tinychat import limits, template_process
from tinychat.errors import MissingPackageError, TemplateError
from tinychat.template_process import TemplateProcess

NOW = datetime(2025, 1, 2)
POSIX = os.name == "posix"
MOST = 1 << 20


def render(source: str, messages: Any = None, **variables: Any) -> str:
    """Render once in a process of its own."""
    process = TemplateProcess(source, "under test")
    try:
        values = {"messages": messages or [{"role": "user", "content": "hi"}], **variables}
        return process.render([values], NOW, MOST)[0]
    finally:
        process.close()


# --- code that should not run

UNSAFE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.mkdir(path) }}",
    "{{ lipsum.__globals__['os'].mkdir(path) }}",
    "{{ ('{0.__class__}' | attr('format'))(1) }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "{% set f = 'x'.format_map %}{{ f({}) ~ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ messages | attr('__class__') }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ [1] | map('attr', '__class__') | list }}",
    "{{ self.__init__.__globals__ }}",
    "{{ namespace.__init__ }}",
    "{{ namespace(__class__=1) }}",
    "{% set n = namespace() %}{% set n.__init__ = 1 %}",
    "{{ range.__self__ }}{{ dict.__globals__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__closure__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__init__ }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(a=1) }}",
    "{% set f = messages.extend %}{{ f([1]) }}",
]


@pytest.mark.parametrize("source", UNSAFE)
def test_unsafe_code_is_refused(tmp_path: Path, source: str) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(TemplateError, match="does what a template may not do"):
        render(source, path=str(canary))
    assert not canary.exists()


@pytest.mark.parametrize(
    "tag", ["include 'x'", "import 'os' as x", "from 'x' import y", "extends 'x'"]
)
def test_other_templates_are_not_loaded(tag: str) -> None:
    with pytest.raises(TemplateError, match="loader"):
        render("{% " + tag + " %}")


# --- time, memory, output

ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}"
    "{% endfor %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for i in range(50) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x | string | length }}",
    "{{ 1 | round(10**9, 'ceil') }}",
    "{% set n = namespace(x=7) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
]
LARGE = [
    "{% for i in range(10**9) %}{% endfor %}",
    "{{ 'a' * 10**9 }}",
    "{{ ('a' * 10**9) | length }}",
    "{{ 'a' | center(10**9) | length }}",
    "{{ 'a'.ljust(10**9) | length }}",
    "{{ 'a'.zfill(10**9) | length }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ ('a\n' * 1000) | indent(10**7) | length }}",
    "{{ [1] * 10**9 }}",
    "{{ [1] | batch(10**9, 0) | list | length }}",
    "{{ range(99999) | map('center', 99999) | join | length }}",
    "{{ ('a' * 99999).replace('a', 'a' * 99999) | length }}",
    "{{ ('a' * 99999).join('a' * 99999) | length }}",
    "{{ (1).to_bytes(10**9, 'big') | length }}",
    "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "-" * 20_000 + "1 }}",
    "{% if 1 %}" * 2000 + "{% endif %}" * 2000,
    "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "{{ 1" + " + 1" * 30_000 + " }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxx{% endfor %}{% endfor %}",
    "{{ 'a' * 2000000 }}",
]
STOPPED = (
    "does not end within|wants more than|writes more than|recurses without end|"
    "Range too big|ends the process"
)


@pytest.mark.parametrize("source", ENDLESS)
def test_what_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(limits, "TEMPLATE_SECONDS", 0.5)
    with pytest.raises(TemplateError, match=r"does not end within|wants more than"):
        render(source)


@pytest.mark.skipif(not POSIX, reason="memory is limited only where the system has resource limits")
@pytest.mark.parametrize("source", LARGE)
def test_what_grows_without_end_is_stopped(source: str) -> None:
    with pytest.raises(TemplateError, match=STOPPED):
        render(source)


def test_after_each_way_to_fail_the_same_template_renders() -> None:
    source = (
        "{% if x == 'loop' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
        "{% endfor %}{% elif x == 'grow' %}{{ 'a' * 10**9 }}{% elif x == 'write' %}{{ 'a' * 999 }}"
        "{% elif x == 'refuse' %}{{ raise_exception('no') }}{% elif x == 'fail' %}{{ 1 + 'a' }}"
        "{% elif x == 'unsafe' %}{{ x.__class__ }}{% else %}fine{% endif %}"
    )
    process = TemplateProcess(source, "under test")
    for kind in ("loop", "grow", "write", "refuse", "fail", "unsafe"):
        with pytest.raises(TemplateError):
            process.render([{"x": kind}], NOW, 100)
        assert process.render([{}], NOW, 100) == ["fine"]
    process.close()


# --- the process


def test_literals() -> None:
    process = TemplateProcess(
        "text {{ 'const' }}{% if '</t>' in x and y not in ['z'] %}{{ x.split('sep') }}{% endif %}"
        "{{ x | replace('old', 'new') }}{{ x.endswith('tail') }}",
        "under test",
    )
    written, sought = process.literals()
    assert {"text ", "const", "</t>", "sep", "old", "new", "tail", "z"} <= set(written)
    assert set(sought) == {"</t>", "sep", "old", "tail"}
    process.close()


def test_several_renderings_in_one_request() -> None:
    process = TemplateProcess("{{ x }}{{ strftime_now('%Y-%m-%d') }}", "under test")
    assert process.render([{"x": 1}, {"x": "é🙂\0"}], NOW, MOST) == [
        "12025-01-02",
        "é🙂\x002025-01-02",
    ]
    process.close()


def test_a_worker_that_died_is_replaced_and_a_closed_one_comes_back() -> None:
    process = TemplateProcess("{{ x }}", "under test")
    assert process.render([{"x": 1}], NOW, MOST) == ["1"]
    worker = process._process
    assert worker is not None
    worker.kill()
    worker.wait()
    assert process.render([{"x": 2}], NOW, MOST) == ["2"]
    process.close()
    process.close()
    assert process.render([{"x": 3}], NOW, MOST) == ["3"]
    process.close()


def test_no_process_is_left_behind() -> None:
    process = TemplateProcess("x", "under test")
    process.render([{}], NOW, MOST)
    worker = process._process
    assert worker is not None
    del process
    assert worker.poll() is not None


@pytest.mark.skipif(not POSIX, reason="no fork here")
def test_after_a_fork_both_sides_render() -> None:
    process = TemplateProcess("{{ x }}", "under test")
    process.render([{"x": 1}], NOW, MOST)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(process.render([{"x": 2}], NOW, MOST) != ["2"])
            process.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert process.render([{"x": 3}], NOW, MOST) == ["3"]
    process.close()


def test_several_threads_share_a_template() -> None:
    process = TemplateProcess("{{ x }}", "under test")
    wrong = []

    def work(number: int) -> None:
        for count in range(20):
            text = f"{number}-{count}"
            if process.render([{"x": text}], NOW, MOST) != [text]:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    process.close()
    assert wrong == []


@pytest.mark.skipif(not POSIX, reason="signals are sent otherwise here")
def test_ctrl_c_ends_the_rendering_and_nothing_else() -> None:
    source = (
        "{% if x %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        "{% endif %}{{ x }}"
    )
    process = TemplateProcess(source, "under test")
    assert process.render([{"x": 0}], NOW, MOST) == ["0"]
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        process.render([{"x": 1}], NOW, MOST)
        time.sleep(5)  # the signal may come when the rendering has been killed already
    timer.join()
    assert process.render([{"x": 0}], NOW, MOST) == ["0"]
    process.close()


@pytest.mark.skipif(not POSIX, reason="the system has no resource limits")
def test_the_worker_cannot_open_files_or_see_the_environment() -> None:
    root = Path(template_process.__file__).resolve().parent.parent
    code = (
        f"import sys; sys.path.append({str(root)!r})\n"
        "from tinychat.template_worker import confine, exercise\n"
        "exercise(); confine(1 << 29)\n"
        "for attempt in (lambda: open('/dev/null'), lambda: bytearray(1 << 30)):\n"
        "    try: attempt(); print('possible')\n"
        "    except (OSError, MemoryError): print('impossible')\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["impossible", "impossible"]
    os.environ["A_SECRET"] = "x"
    try:
        process = template_process.start()
        environment = Path(f"/proc/{process.pid}/environ")
        if environment.exists():
            assert b"A_SECRET" not in environment.read_bytes()
        template_process.end(process, os.getpid())
    finally:
        del os.environ["A_SECRET"]


def test_every_filter_works_in_the_confined_worker() -> None:
    from jinja2.defaults import DEFAULT_FILTERS

    source = "".join(
        f"{{% if name == '{name}' %}}{{{{ 'abc' | {name} }}}}{{% endif %}}"
        for name in DEFAULT_FILTERS
    )
    process = TemplateProcess(source, "under test")
    worked = 0
    for name in DEFAULT_FILTERS:
        try:
            process.render([{"name": name}], NOW, MOST)
            worked += 1
        except TemplateError as error:
            # Some want arguments or numbers; none wants a file that it may not open any more.
            assert "Errno" not in str(error) and "Import" not in str(error), name
    process.close()
    assert worked > len(DEFAULT_FILTERS) // 2


def test_a_jinja2_with_holes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "3.1.5")
    with pytest.raises(MissingPackageError, match=r"jinja2 3\.1\.5.*pip install"):
        render("x")
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install"):
        render("x")


@pytest.mark.skipif(not POSIX, reason="no /bin/true here")
def test_an_interpreter_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for executable, said in (("/nowhere/python", "cannot be started"), ("/bin/true", "not start")):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(TemplateError, match=said):
            render("x")
        monkeypatch.undo()
        assert render("x") == "x"


def test_the_package_is_light() -> None:
    code = (
        "import sys; import tinychat.template, tinychat.stop, tinychat.tokenizer\n"
        "print([m for m in ('torch', 'transformers', 'jinja2', 'tokenizers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

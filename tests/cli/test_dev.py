"""gatebridge dev, as somebody who writes an application runs it: real processes and changes."""

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatebridge.cli import dev
from gatebridge.errors import ConfigError
from tests.cli.run import run, said
from tests.suite.modes import environment, wait_until

DEADLINE_S = 20.0
SOUND = """
import json, os

def app(environ, start_response):
    if environ["PATH_INFO"] == "/boom":
        raise RuntimeError("the application's own fault")
    start_response("200 OK", [("Content-Type", "application/json")])
    seen = {name: environ[name] for name in ("wsgi.url_scheme", "wsgi.multithread")}
    return [json.dumps({**seen, "version": 1, "flask": os.environ.get("FLASK_DEBUG")}).encode()]
"""
ASYNCHRONOUS = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["scheme"].encode()})
"""


class Dev:
    """The command, running in a folder."""

    def __init__(self, folder: Path, *words: str, **variables: str) -> None:
        self.output = folder / "output"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gatebridge", "dev", *words, "--port", "0"],
                cwd=folder,
                env={**environment(folder), **variables},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )

    def said(self) -> str:
        return self.output.read_text("utf-8", "replace")

    def get(self, path: str = "/", host: str = "localhost") -> tuple[int, bytes]:
        assert wait_until(lambda: "listening on" in self.said() or self.process.poll() is not None)
        scheme, port = re.findall(r"listening on (https?)://\S+:(\d+)", self.said())[0]
        made = http.client.HTTPConnection("127.0.0.1", int(port), timeout=DEADLINE_S)
        if scheme == "https":
            loose = ssl._create_unverified_context()
            made = http.client.HTTPSConnection("127.0.0.1", int(port), context=loose)
        try:
            made.request("GET", path, headers={"Host": f"{host}:{port}"})
            answer = made.getresponse()
            return answer.status, answer.read()
        finally:
            made.close()


@contextmanager
def developing(folder: Path, *words: str, **variables: str) -> Iterator[Dev]:
    made = Dev(folder, *words, **variables)
    try:
        yield made
    finally:
        made.process.send_signal(signal.SIGTERM)
        try:
            made.process.wait(DEADLINE_S)
        finally:
            made.process.kill()
            made.process.wait()


_clock = int(time.time()) + 1_000  # Werkzeug looks for later times only


def write(path: Path, text: str) -> None:
    """With another time than ever before: the clock of a file system ticks."""
    global _clock
    _clock += 10
    path.write_text(text)
    os.utime(path, (_clock, _clock))


def test_from_a_page_over_a_broken_file_to_a_page(tmp_path):
    """app.py is found by itself; what does not load is shown, and followed until it does."""
    write(tmp_path / "app.py", SOUND)
    with developing(tmp_path, "--reloader-interval", "0.05", "--reloader-type", "stat") as made:
        status, body = made.get()
        found = {"wsgi.url_scheme": "http", "wsgi.multithread": True, "version": 1, "flask": "1"}
        assert (status, json.loads(body)) == (200, found)
        assert wait_until(lambda: '"GET / HTTP/1.1" 200' in made.said())
        assert "Debugger PIN: " in made.said()
        status, page = made.get("/boom")
        assert status == 500
        assert b"Werkzeug Debugger" in page
        write(tmp_path / "app.py", SOUND + "\nthis is no Python\n")
        assert wait_until(lambda: made.get()[0] == 500)
        assert b"this is no Python" in made.get()[1]
        write(tmp_path / "app.py", SOUND.replace('"version": 1', '"version": 2'))
        assert wait_until(lambda: made.get()[0] == 200)
        assert json.loads(made.get()[1])["version"] == 2


def test_application_that_is_broken_from_the_start(tmp_path):
    write(tmp_path / "shop.py", "import no_such_module_anywhere\n")
    fast = ("--reloader-interval", "0.05", "--reloader-type", "stat")
    with developing(tmp_path, "shop:app", *fast) as made:
        status, page = made.get()
        assert status == 500
        assert b"no_such_module_anywhere" in page
        write(tmp_path / "shop.py", SOUND)
        assert wait_until(lambda: made.get()[0] == 200)


def test_without_werkzeug_the_plain_page_is_for_this_machine_alone(tmp_path):
    write(tmp_path / "app.py", SOUND)
    (tmp_path / "werkzeug").mkdir()
    (tmp_path / "werkzeug" / "__init__.py").write_text("raise ImportError('not here')")
    with developing(tmp_path, "app", PYTHONPATH=f"{tmp_path}:{Path.cwd()}") as made:
        status, page = made.get("/boom")
        assert status == 500
        assert page.startswith(b"RuntimeError\n\nTraceback")
        assert b"own fault" not in made.get("/boom", "evil.example")[1]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--host", "0.0.0.0"], False),
        (["--no-debugger"], False),
        (["--host", "0.0.0.0", "--debugger"], True),
    ],
    ids=["beyond loopback", "switched off", "asked for"],
)
def test_when_there_is_a_debugger(tmp_path, words, shown):
    write(tmp_path / "app.py", SOUND)
    with developing(tmp_path, "app", *words) as made:
        status, page = made.get("/boom")
        assert status == 500
        assert (b"own fault" in page) == shown
        assert json.loads(made.get()[1])["flask"] == ("1" if shown else None)


def test_asgi_application_with_tls_and_files(tmp_path):
    write(tmp_path / "asynchronous.py", ASYNCHRONOUS)
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "a.css").write_text("a {}")
    words = ["--cert", "adhoc", "--static", "/static=public", "--without-threads"]
    with developing(tmp_path, "asynchronous:app", *words) as made:
        assert made.get() == (200, b"https")
        assert made.get("/static/a.css") == (200, b"a {}")


def test_extra_files_and_exclude_patterns(tmp_path):
    """The lists are Flask's: with os.pathsep between several."""
    write(tmp_path / "app.py", SOUND + "import part\n")
    write(tmp_path / "part.py", "")
    for name in ("one.ini", "two.ini", "three.ini"):
        write(tmp_path / name, "")
    words = ["--extra-files", "one.ini:two.ini", "--extra-files", "three.ini"]
    words += ["--exclude-patterns", "*/app.py:*/one.ini", "--reloader-interval", "0.05"]
    changes = [["part.py"], ["app.py", "one.ini", "two.ini"], ["three.ini"]]
    with developing(tmp_path, *words, "--reloader-type", "stat") as made:
        assert made.get()[0] == 200
        for at, names in enumerate(changes, 2):  # the first one shows that it looks by now
            for name in names:
                write(tmp_path / name, "2 + 2")
            assert wait_until(lambda at=at: f"generation {at} is ready" in made.said())
        told = re.findall(r"reload: changed: (.*)", made.said())
        assert told == [str(tmp_path / names[-1]) for names in changes]


def test_without_the_debugger_a_broken_application_ends_it(tmp_path):
    write(tmp_path / "app.py", "app = 7\n")
    done = run(tmp_path, "dev", "app:app", "--port", "0", "--no-debugger")
    assert done.returncode == 4
    assert "app.type" in done.stderr


def test_no_application_at_all(tmp_path):
    done = run(tmp_path, "dev")
    assert done.returncode == 4
    assert said(done).startswith("gatebridge: app.missing: ")


WRONG = [
    (["--key", "k.pem"], "--key is for a --cert FILE"),
    (["--cert", "adhoc", "--key", "k.pem"], "--key is for a --cert FILE"),
    (["--static", "static"], "write /PATH=DIR"),
    (["--port", "70000"], "70000 is not in the range"),
    (["--reloader-type", "inotify"], "'inotify' is not one of"),
]


@pytest.mark.parametrize(("words", "why"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_wrong_words(tmp_path, words, why):
    outcome = CliRunner().invoke(dev.command, ["app", *words])
    assert outcome.exit_code == 2
    assert why in outcome.output


def test_cert_and_key_become_the_binds_option():
    assert dev._tls("c.pem", "k.pem") == ["tls=c.pem,k.pem"]
    assert dev._tls("c.pem", "") == ["tls=c.pem"]
    assert dev._tls("", "") == []


def test_application_is_found_by_the_names_of_flask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="app.missing"):
        dev._find_app()
    (tmp_path / "wsgi.py").touch()
    assert dev._find_app() == "wsgi"
    (tmp_path / "app.py").touch()
    assert dev._find_app() == "app"

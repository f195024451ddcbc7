"""run_simple(): the same rows for Werkzeug's own and for ours, each with a program of its own."""

import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gatebridge.errors import UseError
from gatebridge.serve import devcert
from gatebridge.serving import run_simple
from tests.suite.modes import environment, wait_until

PROGRAM = Path(__file__).with_name("serving_program.py")
DEADLINE_S = 20.0
OURS = "gatebridge"
both = pytest.mark.parametrize("engine", ["werkzeug", OURS])
only_ours = pytest.mark.parametrize("engine", [OURS])


class Served:
    """The program, running in a folder."""

    def __init__(self, folder: Path, engine: str, **arguments: Any) -> None:
        self.folder = folder
        self.engine = engine
        shutil.copy(PROGRAM, folder / "program.py")
        self.output = folder / "output"
        argv = [sys.executable, str(folder / "program.py"), engine, json.dumps(arguments)]
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )

    def said(self) -> str:
        return self.output.read_text("utf-8", "replace")

    def place(self) -> str:
        """Where it says that it is; it listens there by then."""
        assert wait_until(lambda: "Running on" in self.said() or self.process.poll() is not None)
        return re.findall(r"Running on (\S+://\S+?)(?:\x1b|\s|$)", self.said())[-1]

    def get(self, path: str = "/", headers: dict[str, str] | None = None, method: str = "GET"):
        """(status, headers, body) of one request."""
        place = self.place()
        scheme, _, host = place.partition("://")
        if scheme == "unix":
            made: http.client.HTTPConnection = http.client.HTTPConnection("localhost")
            made.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.sock.connect(str(self.folder / host))
        elif scheme == "https":
            loose = ssl._create_unverified_context()
            made = http.client.HTTPSConnection(host, timeout=DEADLINE_S, context=loose)
        else:
            made = http.client.HTTPConnection(host, timeout=DEADLINE_S)
        try:
            made.request(method, path, headers=headers or {})
            answer = made.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            made.close()

    def seen(self, path: str = "/") -> dict[str, Any]:
        """The variables that the application got."""
        status, _, body = self.get(path)
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def until_version(self, version: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def there() -> bool:
            nonlocal found
            try:
                found = self.seen()
            except (OSError, http.client.HTTPException):  # between two starts
                return False
            return found["version"] == version

        assert wait_until(there), self.said()
        return found

    def stop(self) -> None:
        """As Ctrl-C at a terminal does, for all of its group, once it has come up."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def served(folder: Path, engine: str, **arguments: Any) -> Iterator[Served]:
    made = Served(folder, engine, **arguments)
    try:
        yield made
    finally:
        made.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


# -- hostname, port


@both
@pytest.mark.parametrize("hostname", ["::1", "0.0.0.0"])
def test_hostname(tmp_path, engine, hostname):
    with served(tmp_path, engine, hostname=hostname) as program:
        place = program.place()
        assert place.startswith("http://[::1]:") or hostname == "0.0.0.0"
        seen = program.seen("/a%20b?c=d")
        assert (seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/a b", "c=d")
        assert seen["SERVER_PORT"] == place.rpartition(":")[2]
        assert seen["wsgi.url_scheme"] == "http"


def test_no_hostname_is_all_addresses(tmp_path):
    """As with Werkzeug, whose line says http://:PORT then, which no browser opens."""
    with served(tmp_path, OURS, hostname="") as program:
        assert program.place().startswith("http://127.0.0.1:")
        assert program.seen("/x")["PATH_INFO"] == "/x"


@both
def test_hostname_of_a_unix_socket(tmp_path, engine):
    with served(tmp_path, engine, hostname="unix://s") as program:
        assert program.seen("/x")["PATH_INFO"] == "/x"


@both
def test_port_that_is_asked_for(tmp_path, engine):
    port = free_port()
    with served(tmp_path, engine, hostname="localhost", port=port) as program:
        assert program.place() == f"http://localhost:{port}"
        assert program.seen()["SERVER_PORT"] == str(port)


@both
def test_port_in_use_is_one_sentence_and_status_1(tmp_path, engine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with served(tmp_path, engine, port=taken.getsockname()[1]) as program:
            assert program.process.wait(DEADLINE_S) == 1
            assert "Traceback" not in program.said()
            assert re.search("(?i)address already in use", program.said())


# -- arguments that cannot be

WRONG: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"port": "80"}, TypeError),
    ({"threaded": True, "processes": 2}, ValueError),
]


@pytest.mark.parametrize(("arguments", "error"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_arguments_are_refused_as_by_werkzeug(arguments, error):
    from werkzeug.serving import run_simple as theirs

    for call in (theirs, run_simple):
        with pytest.raises(error):
            call(**{"hostname": "127.0.0.1", "port": 0, "application": None, **arguments})


OUR_WORDS = [
    ({"reloader_type": "inotify"}, "serving.reloader"),
    ({"ssl_context": "cert.pem"}, "serving.tls"),
    ({"static_files": {"/x": ("no_such_package", "static")}}, "static.package"),
    ({"static_files": {"/x": 7}}, "static.type"),
]


@pytest.mark.parametrize(("arguments", "code"), OUR_WORDS, ids=[row[1] for row in OUR_WORDS])
def test_wrong_arguments_in_our_words(arguments, code):
    with pytest.raises(UseError) as caught:
        run_simple("127.0.0.1", 0, lambda environ, start: [], **arguments)
    assert caught.value.code == code


def test_not_in_another_thread():
    caught: list[Exception] = []

    def call() -> None:
        try:
            run_simple("127.0.0.1", 0, lambda environ, start: [])
        except UseError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(DEADLINE_S)
    assert [str(error).partition(":")[0] for error in caught] == ["serving.thread"]


# -- threads, processes


@both
@pytest.mark.parametrize(
    ("arguments", "flags"),
    [({}, (False, False)), ({"threaded": True}, (True, False)), ({"processes": 3}, (False, True))],
    ids=["one", "threaded", "processes"],
)
def test_threaded_and_processes(tmp_path, engine, arguments, flags):
    with served(tmp_path, engine, **arguments) as program:
        program.place()
        if arguments:  # the first request ends when the second one is answered beside it
            held: list[dict[str, Any]] = []
            thread = threading.Thread(target=lambda: held.append(program.seen("/hold")))
            thread.start()
            assert wait_until(lambda: (tmp_path / "holding").exists())
            other = program.seen("/release")
            thread.join(DEADLINE_S)
            assert held[0]["held"]
            assert (held[0]["pid"] != other["pid"]) == ("processes" in arguments)
        seen = program.seen()
        assert (seen["wsgi.multithread"], seen["wsgi.multiprocess"]) == flags


# -- request_handler


@both
def test_request_handler_is_accepted(tmp_path, engine):
    with served(tmp_path, engine, request_handler="@handler") as program:
        assert program.seen()["PATH_INFO"] == "/"
        warned = "request_handler is not used" in program.said()
        assert warned == (engine == OURS)


# -- static_files


@both
def test_static_files(tmp_path, engine):
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "style.css").write_text("a { color: red }")
    (tmp_path / "icon.txt").write_text("icon")
    package = tmp_path / "some_package" / "assets"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "data.json").write_text("{}")
    places = {"/static": "public", "/icon": "icon.txt", "/pkg": ["some_package", "assets"]}
    with served(tmp_path, engine, static_files=places) as program:
        status, headers, body = program.get("/static/style.css")
        assert (status, body) == (200, b"a { color: red }")
        assert headers["Content-Type"].startswith("text/css")
        again = program.get("/static/style.css", {"If-None-Match": headers["ETag"]})
        assert (again[0], again[2]) == (304, b"")
        assert program.get("/static/style.css", method="HEAD")[2] == b""
        assert program.get("/icon")[2] == b"icon"
        assert program.get("/pkg/data.json")[2] == b"{}"
        for path in ("/static/none.css", "/static/", "/static/../icon.txt", "/staticx", "/"):
            assert program.seen(path)["PATH_INFO"] == path  # the application's
        if engine == OURS:  # Werkzeug's has no ranges
            status, headers, body = program.get("/static/style.css", {"Range": "bytes=0-0"})
            assert (status, body, headers["Content-Range"]) == (206, b"a", "bytes 0-0/16")


# -- use_debugger, use_evalex, passthrough_errors


@both
@pytest.mark.parametrize("evalex", [True, False])
def test_debugger(tmp_path, engine, evalex):
    with served(tmp_path, engine, use_debugger=True, use_evalex=evalex) as program:
        status, _, page = program.get("/boom")
        assert status == 500
        assert b"Werkzeug Debugger" in page
        assert f"EVALEX = {str(evalex).lower()}".encode() in page
        if evalex:  # nothing is run for who does not know the PIN
            secret = re.findall(rb'SECRET = "(\w+)"', page)[0].decode()
            frame = re.findall(rb'id="frame-(\d+)"', page)[0].decode()
            asked = f"/?__debugger__=yes&cmd=1%2B1&frm={frame}&s={secret}"
            assert b"RuntimeError" not in program.get(asked)[2]
            assert json.loads(program.get(asked)[2])["PATH_INFO"] == "/"  # the application's
        assert program.seen()["PATH_INFO"] == "/"


@both
def test_without_debugger_no_traceback_leaves(tmp_path, engine):
    with served(tmp_path, engine) as program:
        status, _, page = program.get("/boom")
        assert status == 500
        assert b"own fault" not in page
        assert wait_until(lambda: "own fault" in program.said())
        assert program.seen()["PATH_INFO"] == "/"


@both
@pytest.mark.parametrize(
    ("arguments", "ends"), [({}, True), ({"threaded": True}, False)], ids=["one", "threaded"]
)
def test_passthrough_errors(tmp_path, engine, arguments, ends):
    with served(tmp_path, engine, passthrough_errors=True, **arguments) as program:
        try:
            program.get("/boom")
        except (OSError, http.client.HTTPException):  # Werkzeug's closes without a word
            assert engine == "werkzeug"
        if ends:
            assert program.process.wait(DEADLINE_S) == 1
            assert "\nRuntimeError: the application's own fault\n" in program.said()
        else:
            assert program.seen()["PATH_INFO"] == "/"


# -- ssl_context


@both
@pytest.mark.parametrize("context", ["adhoc", "@files", "@context"])
def test_ssl_context(tmp_path, engine, context):
    for name, data in zip(("cert.pem", "key.pem"), devcert.make_pair(""), strict=True):
        (tmp_path / name).write_bytes(data)
    with served(tmp_path, engine, ssl_context=context) as program:
        assert program.place().startswith("https://")
        assert program.seen()["wsgi.url_scheme"] == "https"


# -- the end; the reloader is in test_serving_reload.py


@both
def test_ctrl_c_returns(tmp_path, engine):
    with served(tmp_path, engine) as program:
        program.seen()
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(DEADLINE_S) == 0
        assert "after run_simple" in program.said()
        if engine == OURS:  # Werkzeug's takes none without its reloader
            assert "signals are as before" in program.said()

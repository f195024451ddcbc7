"""CGI with an ASGI application: one event loop for one request, real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import cgi
from tests.cgi import DEADLINE_S, ask, post

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["word"] = "up"
        await send({{"type": "lifespan.startup.complete"}})
        assert (await receive())["type"] == "lifespan.shutdown"
        sys.stderr.write("down\\n")
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    async def start(*headers, status=200):
        text = (b"content-type", b"text/plain")
        await send({{"type": "http.response.start", "status": status, "headers": [text, *headers]}})
    async def body(data=b"", more=False):
        await send({{"type": "http.response.body", "body": data, "more_body": more}})
{code}
"""


def script(folder: Path, code: str) -> list[str]:
    """A script whose application does this with a request."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    return cgi.script(folder, APP.format(code=lines))


ECHO = """
data = b""
while True:
    message = await receive()
    if message["type"] != "http.request":
        data += b"|" + message["type"].encode()
        break
    data += message["body"]
    if not message["more_body"]:
        break
await start()
await body(data)
"""


def test_scope_state_and_answer(tmp_path: Path) -> None:
    told = '"{root_path} {path} {query_string} {client} {state}".format(**scope).encode()'
    done = ask(script(tmp_path, f"await start()\nawait body({told})"))
    assert (done.code, done.status, done.errors) == (0, "200 OK", "down\n"), done
    assert done.body == (
        b"/cgi-bin/app.cgi /cgi-bin/app.cgi/x b'a=1' ('192.0.2.7', 0) {'word': 'up'}"
    )
    assert ("Content-Length", str(len(done.body))) in done.headers


BODIES = [b"", b"hello", bytes(range(256)) * 1024]


@pytest.mark.parametrize("data", BODIES, ids=len)
def test_a_body_by_a_pipe_ends_at_content_length(tmp_path: Path, data: bytes) -> None:
    done = post(script(tmp_path, ECHO), data, extra=b"none of its business")
    assert (done.code, done.body) == (0, data)


def test_a_body_in_a_file_ends_there_too(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"hello, and more")
    with (tmp_path / "body").open("rb") as file:
        environment = cgi.environment(REQUEST_METHOD="POST", CONTENT_LENGTH="5")
        argv = script(tmp_path, ECHO)
        done = subprocess.run(
            argv, stdin=file, env=environment, capture_output=True, timeout=DEADLINE_S
        )
    assert done.stdout.endswith(b"\r\n\r\nhello")


def test_a_body_of_unknown_length_goes_to_the_end(tmp_path: Path) -> None:
    done = ask(script(tmp_path, ECHO), b"chunks", REQUEST_METHOD="POST",
               HTTP_TRANSFER_ENCODING="chunked")  # fmt: skip
    assert (done.code, done.body) == (0, b"chunks")


def test_a_body_that_ends_early_is_a_disconnect(tmp_path: Path) -> None:
    done = ask(script(tmp_path, ECHO), b"hel", REQUEST_METHOD="POST", CONTENT_LENGTH="5")
    assert done.body == b"hel|http.disconnect"


def test_what_nobody_reads_of_a_body_is_taken(tmp_path: Path) -> None:
    """fcgiwrap answers 502 where nobody does; here the writer would see a broken pipe."""
    argv = script(tmp_path, "await start()\nawait body(b'x')")
    environment = cgi.environment(REQUEST_METHOD="POST", CONTENT_LENGTH="500000")
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    with process:
        assert process.stdin is not None
        process.stdin.write(bytes(500_000))
        process.stdin.close()
        assert process.stdout.read().endswith(b"\r\n\r\nx")
        assert process.wait(DEADLINE_S) == 0


def test_pieces_arrive_as_they_are_sent(tmp_path: Path) -> None:
    code = "await start()\nawait body(b'one', True)\nawait receive()\nawait body(b'two')"
    argv = script(tmp_path, code)
    environment = cgi.environment(REQUEST_METHOD="POST", CONTENT_LENGTH="2")
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip
    with process:
        seen = b""
        while not seen.endswith(b"one"):
            seen += os.read(process.stdout.fileno(), 1024)
        process.stdin.write(b"ab")  # it waits for this
        process.stdin.close()
        assert process.stdout.read() == b"two"


def test_nph_scripts_write_the_whole_head(tmp_path: Path) -> None:
    argv = script(tmp_path, "await start()\nawait body(b'x')")
    done = ask(argv, SCRIPT_NAME="/cgi-bin/nph-app.cgi", REQUEST_URI="/cgi-bin/nph-app.cgi/x")
    assert done.head.startswith(b"HTTP/1.1 200 OK\r\n")


def test_before_the_head_a_failure_is_a_500(tmp_path: Path) -> None:
    done = ask(script(tmp_path, "raise ValueError('secret')"))
    assert (done.code, done.status) == (0, "500 Internal Server Error")
    assert b"secret" not in done.out
    assert "ValueError: secret" in done.errors
    assert "down\n" in done.errors


def test_in_the_middle_a_failure_is_a_cut_and_an_exit_status(tmp_path: Path) -> None:
    done = ask(script(tmp_path, "await start()\nawait body(b'half', True)\nraise ValueError"))
    assert (done.code, done.body) == (1, b"half")


def test_a_body_without_a_content_type_is_refused(tmp_path: Path) -> None:
    """RFC 3875 6.3.1, as for WSGI."""
    code = 'await send({"type": "http.response.start", "status": 200})\nawait body(b"x")'
    done = ask(script(tmp_path, code))
    assert done.status.startswith("500 ")
    assert "header.content_type" in done.errors


def test_a_startup_that_fails_is_a_500(tmp_path: Path) -> None:
    app = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
    done = ask(cgi.script(tmp_path, app))
    assert (done.code, done.status) == (0, "500 Internal Server Error")
    assert "lifespan.failed" in done.errors
    assert "no database" in done.errors
    assert b"no database" not in done.out


def test_a_path_is_read_and_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    path = f'{{"type": "http.response.pathsend", "path": {str(tmp_path / "file")!r}}}'
    done = ask(
        script(tmp_path, f"assert 'extensions' not in scope\nawait start()\nawait send({path})")
    )
    assert (done.code, len(done.body)) == (0, 100_000)


STOPPED = """
import asyncio
try:
    await start()
    await body(b"waiting", True)
    await receive()
    told = await receive()
    sys.stderr.write(told["type"] + "\\n")
    await asyncio.Event().wait()
except asyncio.CancelledError:
    sys.stderr.write("cancelled\\n")
    raise
"""


def test_TERM_is_a_disconnect_then_a_cancelled_task(tmp_path: Path) -> None:
    argv = script(tmp_path, STOPPED)
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=cgi.environment(),
    )  # fmt: skip
    with process:
        seen = b""
        while not seen.endswith(b"waiting"):
            seen += os.read(process.stdout.fileno(), 1024)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert errors == b"http.disconnect\ncancelled\ndown\n"


def test_TERM_behind_the_last_byte_does_not_end_the_cleaning_up(tmp_path: Path) -> None:
    """lighttpd sends it as soon as it has read Content-Length bytes."""
    code = 'await start((b"content-length", b"2"))\nawait body(b"ok")\n'
    code += 'import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nsys.stderr.write("on ")'
    done = ask(script(tmp_path, code))
    assert (done.code, done.body, done.errors) == (0, b"ok", "on down\n")


KINDS = [
    ("ASGI 2", "class App:\n    def __init__(self, scope):\n        self.scope = scope\n"
     "    async def __call__(self, receive, send):\n"
     "        await inner(self.scope, receive, send)\n"
     "app = App"),
    ("an object", "class App:\n    async def __call__(self, scope, receive, send):\n"
     "        await inner(scope, receive, send)\napp = App()"),
    ("a partial", "import functools\napp = functools.partial(inner)"),
    ("an engine", "from gatebridge.engine.asgi import Asgi\napp = Asgi(inner)"),
    ("WSGI that takes anything", "def app(*both):\n"
     "    both[1]('200 OK', [('Content-Type', 'text/plain')])\n    return [b'http']"),
    ("WSGI, an object", "class App:\n    def __call__(self, environ, start_response):\n"
     "        start_response('200 OK', [('Content-Type', 'text/plain')])\n"
     "        return [b'http']\napp = App()"),
    ("WSGI, a method", "class App:\n    def wsgi(self, environ, start_response):\n"
     "        start_response('200 OK', [('Content-Type', 'text/plain')])\n"
     "        return [b'http']\napp = App().wsgi"),
]  # fmt: skip

INNER = """
async def inner(scope, receive, send):
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["type"].encode()})
"""


@pytest.mark.parametrize(("name", "code"), KINDS, ids=[row[0] for row in KINDS])
def test_every_kind_of_application(tmp_path: Path, name: str, code: str) -> None:
    done = ask(cgi.script(tmp_path, INNER + code))
    assert (done.code, done.status, done.body, done.errors) == (0, "200 OK", b"http", "")


def test_the_command_takes_an_interface(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(INNER + "def app(*args):\n    return inner(*args)\n")
    command = [sys.executable, "-m", "gatebridge", "cgi", "--interface", "asgi", "shop:app"]
    done = ask(command, folder=tmp_path, PYTHONPATH=str(cgi.ROOT))
    assert (done.code, done.body) == (0, b"http")


def test_a_shim_of_its_own_answers(tmp_path: Path) -> None:
    code = INNER + "async def app(scope, receive, send):\n    await inner(scope, receive, send)\n"
    (tmp_path / "shop.py").write_text(code)
    command = [sys.executable, "-m", "gatebridge", "shim", "new", "shop:app", "app.cgi"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(cgi.ROOT)}
    subprocess.run([*command, "--oneshot"], cwd=tmp_path, env=environment, check=True,
                   capture_output=True, timeout=DEADLINE_S)  # fmt: skip
    done = ask([str(tmp_path / "app.cgi")])
    assert (done.code, done.body, done.errors) == (0, b"http", "")


TORNADO = """
import tornado.web

class Page(tornado.web.RequestHandler):
    def get(self):
        self.write(self.request.path)

app = tornado.web.Application([("/.*", Page)])
"""


def test_tornado_answers(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(TORNADO)
    command = [sys.executable, "-m", "gatebridge", "cgi", "shop:app"]
    done = ask(command, folder=tmp_path, PYTHONPATH=str(cgi.ROOT))
    assert (done.code, done.status, done.body) == (0, "200 OK", b"/x")

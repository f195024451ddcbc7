"""Back ends behind a daemon: gunicorn, uvicorn, Hypercorn, Daphne, PHP-FPM, gatebridge."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gatebridge.client import Response, exchange, request
from gatebridge.errors import PeerError
from gatebridge.meta import Ask
from gatebridge.wire.events import Body
from tests.apps.back_ends import LOTS, command, running, write
from tests.cgi import ask
from tests.cli.run import run
from tests.relay_stand import stop_daemons
from tests.suite.modes import environment, wait_until

# How each is named as a target, and what follows its mount in a URL
SERVERS = {
    "gunicorn": ("http+unix:{}/gunicorn", ""),
    "uvicorn": ("http+unix:{}/uvicorn", ""),
    "hypercorn": ("http+unix:{}/hypercorn?mount=keep", ""),
    "daphne": ("http+unix:{}/daphne", ""),
    "php": ("fcgi+unix:{0}/php?root={0}/www", "/app.php"),
    "gatebridge": ("fcgi+unix:{}/gatebridge?keep=4", ""),
}
OVER_TLS = [
    ("REMOTE_ADDR", "192.0.2.7"),
    ("REMOTE_PORT", "4711"),
    ("HTTPS", "on"),
    ("SERVER_NAME", "shop.example.org"),
    ("SERVER_PORT", "8443"),
]
HOST = ("Host", "shop.example.org:8443")


class Ground:
    """A daemon in front of whichever back ends were asked for, each at the mount of its name."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.bind = f"unix:{folder}/front"
        self._stack = stack
        self._started: set[str] = set()
        write(folder)
        mounts = [
            f"--mount=/{name}={target.format(folder)}" for name, (target, _) in SERVERS.items()
        ]
        serve = [sys.executable, "-m", "gatebridge", "serve", *mounts, "--mount=/gone=http+unix:no"]
        argv = [*serve, "--bind", self.bind, "--threads", "8"]
        stack.enter_context(running(argv, folder, folder / "front", "front.log"))

    def start(self, name: str) -> "Behind":
        if name not in self._started:
            argv = command(name, self.folder)
            self._stack.enter_context(running(argv, self.folder, self.folder / name, f"{name}.log"))
            self._started.add(name)
        return Behind(self, name)

    def log(self) -> str:
        return (self.folder / "front.log").read_text()


class Behind:
    """One back end, asked through the daemon over FastCGI."""

    def __init__(self, ground: Ground, name: str) -> None:
        self.ground = ground
        self.name = name
        self.mount = f"/{name}"
        self.path = self.mount + SERVERS[name][1]

    def ask(self, method: str, path: str, body: bytes | None = None, *headers) -> Response:
        params = [*OVER_TLS, ("REQUEST_URI", self.path + path)]
        url = self.path + path
        return request(self.ground.bind, method, url, [HOST, *headers], body, params=params)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="gb-") as name, ExitStack() as stack:
        yield Ground(Path(name), stack)


@pytest.fixture(params=SERVERS)
def behind(request: pytest.FixtureRequest, ground: Ground) -> Behind:
    return ground.start(request.param)


def test_client_scheme_host_and_mount(behind: Behind) -> None:
    forged = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "gopher"),
              ("X-Forwarded-Prefix", "/forged"), ("Forwarded", "for=6.6.6.6"),
              ("Accept-Language", "de")]  # fmt: skip
    answer = behind.ask("GET", "/show?a=%20b", None, *forged)
    assert answer.status == "200 OK", behind.ground.log()
    told = json.loads(answer.body)
    assert told["client"] == "192.0.2.7"
    assert told["scheme"] == "https"
    assert told["host"] == "shop.example.org:8443"
    assert told["mount"] == behind.mount
    assert told["path"] == f"{behind.path}/show"
    assert (told["method"], told["query"], told["language"]) == ("GET", "a=%20b", "de")
    assert [v for n, v in answer.headers if n.lower() == "set-cookie"] == ["a=1", "b=2"]


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_bodies(behind: Behind, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    answer = behind.ask("POST", "/echo", body)
    assert answer.code == 201, behind.ground.log()
    assert answer.body == body


def test_head_and_empty_answers(behind: Behind) -> None:
    head = behind.ask("HEAD", "/lots")
    assert (head.status, head.body) == ("200 OK", b"")
    assert head.header("Content-Length") == str(LOTS)
    for _ in range(3):
        assert behind.ask("GET", "/lots").body == b"x" * LOTS


def test_a_stream_arrives_as_it_is_sent(behind: Behind) -> None:
    """The second piece is not there before the first one was seen, and another request says so."""
    path = behind.path + "/stream"
    pieces = b""
    for event in exchange(behind.ground.bind, Ask("GET", path, [HOST], params=OVER_TLS)):
        if isinstance(event, Body):
            if not pieces:
                assert event.data == b"first"
                assert behind.ask("GET", "/release").code == 204
            pieces += event.data
    assert pieces == b"firstsecond"


# Daphne leaves the connection open there, so that only the timeout ends it.
@pytest.mark.parametrize("name", [name for name in SERVERS if name not in ("daphne", "php")])
def test_half_an_answer_is_cut(ground: Ground, name: str) -> None:
    with pytest.raises(PeerError) as cut:
        ground.start(name).ask("GET", "/cut")
    assert cut.value.code in ("answer.cut", "answer.short")
    assert "upstream.cut" in ground.log()


def test_half_an_answer_that_ends_at_once(ground: Ground) -> None:
    """PHP's head comes together with its end, so there is nothing to cut yet."""
    assert ground.start("php").ask("GET", "/cut").code == 502


def test_a_back_end_that_is_not_there(ground: Ground) -> None:
    answer = request(ground.bind, "GET", "/gone/x", [HOST])
    assert answer.code == 502
    lines = [line for line in ground.log().splitlines() if "upstream.connect" in line]
    assert f"http+unix:{ground.folder}/no does not exist (connect.no_socket)" in lines[0]
    assert "GET /gone/x" in lines[0]
    assert "next: start the back end" in lines[0]


def test_a_back_end_that_ends_and_comes_back(ground: Ground) -> None:
    """Its kept connections are gone; the next request is a 502, and then all is well again."""
    socket_name, front = "again.sock", ground.folder / "again"
    argv = [sys.executable, "-m", "gatebridge", "serve", "behind_wsgi:plain"]
    argv += ["--bind", f"http+unix:{ground.folder}/{socket_name}"]
    serve = [sys.executable, "-m", "gatebridge", "serve", f"http+unix:{socket_name}?idle=1m"]
    serve += ["--bind", f"unix:{front}", "--mount", "/"]
    with running(serve, ground.folder, front, "again.log"):
        for _ in range(2):
            with running(argv, ground.folder, ground.folder / socket_name, "behind.log"):
                for method in ("GET", "POST", "GET"):
                    body = b"x" if method == "POST" else None
                    assert request(f"unix:{front}", method, "/show", [HOST], body).code == 200
            assert request(f"unix:{front}", "GET", "/show", [HOST]).code == 502


def test_uvicorn_over_tcp(ground: Ground) -> None:
    """It believes 127.0.0.1 without a word."""
    argv = [sys.executable, "-m", "uvicorn", "--port", "0", "behind_asgi:application"]
    log = ground.folder / "tcp.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            argv, cwd=ground.folder, env=environment(ground.folder), stdout=out, stderr=out
        )
    try:
        assert wait_until(lambda: "running on http" in log.read_text(), 60), log.read_text()
        (url,) = re.findall(r"running on (http://127\.0\.0\.1:[0-9]+)", log.read_text())
        told = json.loads(cgi(ground.folder, url, "/x", "/show"))
    finally:
        server.terminate()
        server.wait(20)
    assert (told["scheme"], told["client"]) == ("https", "192.0.2.7")


# -- PHP-FPM


def test_php_files(ground: Ground) -> None:
    php = ground.start("php")
    told = json.loads(php.ask("GET", "/show").body)
    assert told["file"] == f"{ground.folder}/www/app.php"
    for path in ("/", "", "/posts/7", "/posts/7/"):
        answer = request(ground.bind, "GET", f"/php{path}", [HOST])
        assert answer.body.decode() == f"index /php{path}"
    assert request(ground.bind, "GET", "/php/none.php", [HOST]).code == 404


def test_what_php_writes_as_an_error(ground: Ground) -> None:
    ground.start("php")
    assert request(ground.bind, "GET", "/php/broken.php", [HOST]).code == 200
    assert "a failure of PHP" in ground.log()


def test_no_variable_of_the_front_server_sets_php_up(ground: Ground) -> None:
    """PHP_VALUE could name a file that is run before each script."""
    ground.start("php")
    (ground.folder / "evil.php").write_text("<?php echo 'evil ';")
    evil = [("PHP_VALUE", f"auto_prepend_file={ground.folder}/evil.php")]
    plain = request(ground.bind, "GET", "/php/", [HOST])
    answer = request(ground.bind, "GET", "/php/", [HOST], params=evil)
    assert answer.body == plain.body
    direct = [("SCRIPT_FILENAME", f"{ground.folder}/www/index.php"), *evil]
    seen = request(f"unix:{ground.folder}/php", "GET", "/php/", [HOST], params=direct)
    assert seen.body.startswith(b"evil ")  # so it is we who keep it off


# -- one request, one process


def cgi(folder: Path, target: str, script: str, path: str, body: bytes = b"") -> bytes:
    """``gatebridge cgi`` as a web server starts it."""
    asked = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "POST" if body else "GET",
        "SCRIPT_NAME": script,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "REQUEST_URI": script + path,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "shop.example.org:8443",
        **dict(OVER_TLS),
    }
    if body:
        asked["CONTENT_LENGTH"] = str(len(body))
    argv = [sys.executable, "-m", "gatebridge", "cgi", target]
    done = subprocess.run(
        argv, input=body, env=environment(folder) | asked, cwd=folder, capture_output=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, _, rest = done.stdout.replace(b"\r\n", b"\n").partition(b"\n\n")
    assert b"Status: 20" in head, done.stderr
    return rest


def test_cgi_in_front_of_uvicorn(ground: Ground) -> None:
    ground.start("uvicorn")
    target = f"http+unix:{ground.folder}/uvicorn"
    told = json.loads(cgi(ground.folder, target, "/uvicorn", "/show"))
    assert (told["scheme"], told["client"]) == ("https", "192.0.2.7")
    assert (told["mount"], told["path"]) == ("/uvicorn", "/uvicorn/show")
    body = b"x" * 1_000_000
    assert cgi(ground.folder, target, "/uvicorn", "/echo", body) == body


def test_a_shim_in_front_of_uvicorn(ground: Ground) -> None:
    """A relay in a cgi-bin, the daemon that it starts, and uvicorn behind that."""
    ground.start("uvicorn")
    target, shim = f"http+unix:{ground.folder}/uvicorn", ground.folder / "app.cgi"
    with tempfile.TemporaryDirectory(prefix="gb-") as state:
        done = run(ground.folder, "shim", "new", target, str(shim), "--state-dir", state)
        assert done.returncode == 0, done.stderr
        asked = {"SCRIPT_NAME": "/uvicorn", "PATH_INFO": "/show", "REQUEST_URI": "/uvicorn/show"}
        try:
            answers = [ask([str(shim)], **asked, **dict(OVER_TLS)) for _ in range(2)]
        finally:
            stop_daemons(Path(state))
    for answer in answers:
        assert answer.status == "200 OK", answer
        told = json.loads(answer.body)
        assert (told["scheme"], told["client"]) == ("https", "192.0.2.7")
        assert (told["mount"], told["path"]) == ("/uvicorn", "/uvicorn/show")


@contextmanager
def alone(folder: Path, argv: list[str], name: str) -> Iterator[str]:
    with running(argv, folder, folder / name, f"{name}.log"):
        yield f"http+unix:{folder}/{name}"


# What docs/upstream.md says of servers that were not told to look at the headers
DEAF = [
    ("uvicorn", ["uvicorn", "--uds", "{}/deaf-uvicorn", "behind_asgi:application"]),
    ("hypercorn", ["hypercorn", "-b", "unix:{}/deaf-hypercorn", "behind_asgi:application"]),
    ("daphne", ["daphne", "-u", "{}/deaf-daphne", "behind_asgi:application"]),
    ("gunicorn", ["gunicorn", "-b", "unix:{}/deaf-gunicorn", "behind_wsgi:plain"]),
]


@pytest.mark.parametrize(("name", "argv"), DEAF, ids=[row[0] for row in DEAF])
def test_servers_that_were_not_told(ground: Ground, name: str, argv: list[str]) -> None:
    """The document's table says which of them need an option to believe anybody."""
    python = [sys.executable, "-m", *[word.format(ground.folder) for word in argv]]
    with alone(ground.folder, python, f"deaf-{name}") as target:
        told = json.loads(cgi(ground.folder, target, "/x", "/show"))
    assert told["client"] != "192.0.2.7"
    assert told["mount"] == ""
    assert told["scheme"] == ("https" if name == "gunicorn" else "http")

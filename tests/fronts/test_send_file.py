"""--send-file: the server in front sends what the application gives to wsgi.file_wrapper.

Each server has the configuration that ``gatebridge conf`` makes of the same option, and the
daemon's access log tells who sent a body: the daemon itself wrote none of its bytes, or all.
"""

import http.client
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.cli.run import run
from tests.fronts import apache, lighttpd, nginx, servers
from tests.fronts.generated_apache import DEBIAN
from tests.fronts.sites import Ground, Site, Sockets
from tests.fronts.test_documents import Daemon
from tests.suite.modes import wait_until

ODD = "a b%41?#'\"é+&;.txt"
UNTOLD = b"a\x01{b}\xff"  # nginx alone can be told
BLANK = "plain.bin "  # a header's value ends without it
WHOLE = b"0123456789" * 5000
APPLICATION = f"""
import os
HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = ("Content-Type", "text/x-own; charset=utf-8")
KEPT = [TEXT, ("X-Frame-Options", "DENY"), ("Vary", "Cookie"), ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"), ("Content-Disposition", "attachment; filename=x"),
        ("Cache-Control", "no-store")]
CASES = {{
    "plain": ("files/plain.bin", [TEXT]),
    "plain.bin": ("files/plain.bin", [TEXT]),
    "length": ("files/plain.bin", [TEXT, ("Content-Length", "50000")]),
    "odd": ("files/" + {ODD!r}, [TEXT]),
    "untold": (b"files/" + {UNTOLD!r}, [TEXT]),
    "blank": ("files/" + {BLANK!r}, [TEXT]),
    "kept": ("files/plain.bin", KEPT),
    "twice": ("files/plain.bin", [TEXT, ("Vary", "Cookie"), ("Vary", "X-Own")]),
    "own": ("files/plain.bin", [TEXT, ("X-Own", "yes")]),
    "encoded": ("files/plain.bin", [TEXT, ("Content-Encoding", "x-own")]),
    "part": ("files/plain.bin", [TEXT], 10),
    "shorter": ("files/plain.bin", [TEXT, ("Content-Length", "5")]),
    "outside": ("outside.bin", [TEXT]),
    "link": ("files/link", [TEXT]),
    "beside": ("files-not/plain.bin", [TEXT]),
    "created": ("files/plain.bin", [TEXT], 0, "201 Created"),
    "gone": ("files/gone", [TEXT]),
}}

def app(environ, start_response):
    name, headers, *more = CASES[environ["PATH_INFO"].strip("/")]
    at, status = more + [0, "200 OK"][len(more):]
    path = os.path.join(HERE, os.fsdecode(name))
    if name == "files/gone":
        open(path, "wb").write({WHOLE!r})
    file = open(path, "rb")
    file.seek(at)
    if name == "files/gone":
        os.unlink(path)
    start_response(status, headers)
    return environ["wsgi.file_wrapper"](file)
"""


def caddy_start(ground: Ground, text: str) -> servers.Server:
    path = ground.folder / "Caddyfile"
    path.write_text("{\n admin off\n auto_https off\n}\n" + text)
    argv = [servers.program("caddy", package="caddy"), "run", "--adapter", "caddyfile"]
    return servers.Server("caddy", ground.folder, [*argv, "--config", str(path)], [ground.port])


def apache_start(ground: Ground, text: str) -> servers.Server:
    folder = next((path for path in apache.MODULE_FOLDERS if Path(path).is_dir()), "")
    if not Path(folder, "mod_xsendfile.so").exists():
        servers.absent("mod_xsendfile", "libapache2-mod-xsendfile")
    names = (*apache.MODULES, *DEBIAN, "xsendfile")
    whole = apache.common(ground, list(dict.fromkeys(names)))
    return apache.run(ground.folder, whole + text, [ground.port])


def lighttpd_start(ground: Ground, text: str) -> servers.Server:
    first = servers.free_port()  # of the server itself, beside the site
    return lighttpd.run(ground.folder, lighttpd.common(ground, first) + text, [ground.port])


def nginx_start(ground: Ground, text: str) -> servers.Server:
    return nginx.start([(Site("nginx-send", lambda _: text), ground)])


START: dict[str, Callable[[Ground, str], servers.Server]] = {
    "nginx": nginx_start, "caddy": caddy_start, "apache": apache_start, "lighttpd": lighttpd_start
}  # fmt: skip
FRONTS = [  # server, how the daemon is reached, what --send-file says before the folder
    ("nginx", "unix:", "nginx"),
    ("nginx", "http+unix:", "nginx:/own/place/"),
    ("nginx", "uwsgi+unix:", "nginx"),
    ("caddy", "unix:", "caddy"),
    ("caddy", "http+unix:", "caddy"),
    ("apache", "unix:", "apache"),
    ("lighttpd", "unix:", "lighttpd"),
]


class Sending:
    """One server with its daemon."""

    def __init__(self, home: Path, server: str, scheme: str, said: str) -> None:
        self.home = home
        self.server = server
        self.asked = 0
        files = home / "files"
        for folder in (files, home / "files-not", home / "www", home / "front"):
            folder.mkdir()
        for path in (files / "plain.bin", files / ODD, home / "outside.bin",
                     home / "files-not/plain.bin", files / os.fsdecode(UNTOLD)):  # fmt: skip
            path.write_bytes(WHOLE)
        (files / BLANK).write_bytes(WHOLE[::-1])
        (files / "link").symlink_to(home / "outside.bin")
        (home / "app.py").write_text(APPLICATION)
        self.log = home / "access.log"
        self.words = ("--bind", f"{scheme}{home}/d.sock?mode=0666", "--mount", "/",
                      "--send-file", f"{said}={files}")  # fmt: skip
        more = ("--access-logfile", str(self.log), "--access-logformat", "%U%q %B")
        self.daemon = Daemon(home, "app:app", *self.words, *more, binds=1)
        try:
            self.front = servers.start(self.started)
        except BaseException:
            self.daemon.__exit__()
            raise

    def started(self) -> servers.Server:
        self.port = servers.free_port()
        more = ("--listen", f"127.0.0.1:{self.port}", "--server-name", "_")
        made = run(self.home, "conf", self.server, *self.words, *more)
        assert made.returncode == 0, made.stderr
        shutil.rmtree(self.home / "front")
        (self.home / "front").mkdir()
        ground = Ground(
            self.port, Sockets(*[""] * 6), self.home / "front", self.home / "www", self.home
        )
        return START[self.server](ground, made.stdout)

    def get(self, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, self.once(path), headers=headers)
        answer = connection.getresponse()
        answer.whole = answer.read()
        connection.close()
        return answer

    def once(self, path: str) -> str:
        """The path, so that its line of the log is found."""
        self.asked += 1
        return f"{path}?{self.asked}"

    def by_server(self, case: str) -> bool:
        """Whether the last answer's body was not the daemon's."""
        begin = f"/{case}?{self.asked} "
        wait_until(lambda: begin in self.log.read_text())
        (line,) = [line for line in self.log.read_text().splitlines() if line.startswith(begin)]
        return line.removeprefix(begin) == "0"


@pytest.fixture(scope="module", params=FRONTS, ids=lambda row: f"{row[0]}-{row[1].strip(':')}")
def sending(request: pytest.FixtureRequest) -> Iterator[Sending]:
    home = Path(tempfile.mkdtemp(prefix="gb-"))  # short enough for a socket
    home.chmod(0o755)  # Apache comes as another user
    try:
        made = Sending(home, *request.param)
        yield made
        made.front.stop()
        made.daemon.__exit__()
    finally:
        shutil.rmtree(home)


def same(answer: http.client.HTTPResponse, body: bytes = WHOLE) -> None:
    assert (answer.status, len(answer.whole)) == (200, len(body))
    assert answer.whole == body
    assert answer.getheader("Content-Type") == "text/x-own; charset=utf-8"
    assert not [name for name in answer.headers if name.lower().startswith(("x-accel", "x-send"))]


@pytest.mark.parametrize("case", ["plain", "length"])
def test_the_server_sends_a_whole_file_of_the_folder(sending: Sending, case: str) -> None:
    same(sending.get(f"/{case}"))
    assert sending.by_server(case)


def test_names_of_any_kind(sending: Sending) -> None:
    """Each as this server reads it; what it cannot be told is sent by the daemon."""
    same(sending.get("/odd"))
    assert sending.by_server("odd") == (sending.server != "caddy"), "? begins a query there"
    same(sending.get("/untold"))
    assert sending.by_server("untold") == (sending.server == "nginx")


def test_a_blank_at_the_end_is_of_the_name(sending: Sending) -> None:
    same(sending.get("/blank"), WHOLE[::-1])
    assert sending.by_server("blank") == (sending.server in ("nginx", "lighttpd"))


def test_a_header_that_is_there_twice(sending: Sending) -> None:
    answer = sending.get("/twice")
    same(answer)
    vary = ", ".join(answer.headers.get_all("Vary") or [])
    assert ("Cookie" in vary, "X-Own" in vary) == (True, True)
    assert sending.by_server("twice") == (sending.server != "nginx")


def test_a_url_like_a_folders_and_a_post(sending: Sending) -> None:
    same(sending.get("/plain/"))
    same(sending.get("/plain.bin/"))
    same(sending.get("/plain", "POST"))
    assert sending.by_server("plain")
    answer = sending.get("/plain", "HEAD")
    assert (answer.status, answer.whole) == (200, b"")
    assert answer.getheader("Content-Type") == "text/x-own; charset=utf-8"
    assert answer.getheader("Content-Length") in (None, str(len(WHOLE)))


def test_the_headers_of_the_application_stay(sending: Sending) -> None:
    answer = sending.get("/kept")
    same(answer)
    assert sending.by_server("kept")
    assert answer.getheader("X-Frame-Options") == "DENY"
    assert "Cookie" in (answer.getheader("Vary") or "")
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert answer.getheader("Content-Disposition") == "attachment; filename=x"
    assert answer.getheader("Cache-Control") == "no-store"


@pytest.mark.parametrize(("case", "body"), [("outside", WHOLE), ("link", WHOLE), ("beside", WHOLE),
                                            ("part", WHOLE[10:]), ("shorter", WHOLE[:5]),
                                            ("gone", WHOLE)])  # fmt: skip
def test_anything_else_the_daemon_sends(sending: Sending, case: str, body: bytes) -> None:
    same(sending.get(f"/{case}"), body)
    assert not sending.by_server(case)


def test_a_header_that_would_be_lost_or_lie_keeps_it_here(sending: Sending) -> None:
    encoded = sending.get("/encoded")
    assert (encoded.getheader("Content-Encoding"), encoded.whole) == ("x-own", WHOLE)
    assert not sending.by_server("encoded")
    created = sending.get("/created")
    assert (created.status, created.whole) == (201, WHOLE)
    assert not sending.by_server("created")
    own = sending.get("/own")
    assert (own.getheader("X-Own"), own.whole) == ("yes", WHOLE)
    assert sending.by_server("own") == (sending.server in ("apache", "lighttpd"))


def test_a_head_has_no_body_and_a_range_is_the_servers(sending: Sending) -> None:
    answer = sending.get("/plain", Range="bytes=10-19")
    assert answer.status in (200, 206)
    wanted = WHOLE[10:20] if answer.status == 206 else WHOLE
    assert answer.whole == wanted
    assert sending.by_server("plain")


def test_no_client_can_name_a_file(sending: Sending) -> None:
    for path in ("/gatebridge-send/plain.bin", "/own/place/plain.bin", f"/{quote('files/link')}"):
        answer = sending.get(path)
        assert WHOLE not in answer.whole


def test_who_is_not_behind_that_server_gets_the_file_itself(sending: Sending) -> None:
    bind = sending.words[1].partition("?")[0]
    if bind.startswith("http"):
        return  # over HTTP nobody says who is in front: docs/conf.md
    done = run(sending.home, "request", bind, "GET", sending.once("/plain"))
    assert done.returncode == 0, done.stderr
    assert WHOLE.decode() in done.stdout
    assert not sending.by_server("plain")

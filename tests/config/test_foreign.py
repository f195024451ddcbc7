"""gatebridge config from: what other servers' files say, and the same answers from both."""

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatebridge.config import foreign, from_gunicorn, from_uwsgi
from gatebridge.errors import UseError
from tests.cli.run import run, said
from tests.fronts.servers import absent, program
from tests.serve.service import Service
from tests.suite import wires
from tests.suite.modes import wait_until

APP = """
import os

def app(environ, start_response):
    names = "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR"
    told = [environ.get(name, "") for name in names] + [os.environ.get("SHOP", "")]
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Shop", "open")])
    return ["|".join(told).encode(), b"\\n", body]
"""
INI = """; the shop
[other]
threads = 99
[uwsgi]
socket = %d{name}
chmod-socket = 660
plugin = python3
master = true
module = shop
callable = app
processes = 1
threads = 4
enable-threads
need-app = true
vacuum = true
env = SHOP=summer
buffer-size = 32768
disable-logging = true
"""
CONF = """
import multiprocessing

bind = "unix:{name}"
workers = 1
threads = 4
raw_env = ["SHOP=summer"]
wsgi_app = "shop:app"
umask = 0o007
keepalive = 5
spare = multiprocessing.cpu_count()

def on_starting(server):
    pass
"""
REQUESTS = [
    wires.Req("GET", "/a%20b/%C3%A9?x=1&y=%20"),
    wires.Req("POST", "/form", (("Content-Type", "text/plain"),), b"a body"),
    wires.Req("HEAD", "/"),
]


def uwsgi(text: str) -> foreign.Taken:
    return from_uwsgi.convert("/srv/shop/uwsgi.ini", f"[uwsgi]\n{text}")


def gunicorn(text: str) -> foreign.Taken:
    return from_gunicorn.convert("/srv/shop/gunicorn.conf.py", text)


@pytest.mark.parametrize(
    ("text", "option", "value"),
    [
        ("socket = /run/a.sock", "bind", ["uwsgi+unix:/run/a.sock"]),
        ("socket = %d/a.sock\nprotocol = fastcgi", "bind", ["fcgi+unix:/srv/shop//a.sock"]),
        ("socket = 127.0.0.1:3031\nlisten = 128", "bind", ["uwsgi://127.0.0.1:3031?backlog=128"]),
        ("fastcgi-socket = /a\nchmod-socket = 660\nchown-socket = u:g", "bind",
         ["fcgi+unix:/a?mode=0660&owner=u&group=g"]),
        ("scgi-socket = /a\nhttp-socket = 127.0.0.1:80\nchmod-socket", "bind",
         ["scgi+unix:/a?mode=0666", "http://127.0.0.1:80"]),
        ("fastcgi-socket = /a\nchmod-socket = 0660", "bind", ["fcgi+unix:/a?mode=0660"]),
        ("socket = @a\nchmod-socket = 660\nlisten = 64", "bind", ["uwsgi+unix:@a?backlog=64"]),
        ("socket = *:3031", "bind", ["uwsgi://0.0.0.0:3031"]),
        ("enable-threads = true", "threads", 1),
        ("threads = 4", "threads", 4),
        ("processes = 8", "workers", 8),
        ("harakiri = 20", "timeout", 20),
        ("uid = www-data", "user", "www-data"),
        ("reload-on-rss = 128", "max_rss", "128MiB"),
        ("pp = /a\npythonpath = /b", "pythonpath", "/a,/b"),
        ("touch-reload = /a\ntouch-reload = /b", "reload_extra_file", ["/a", "/b"]),
        ("daemonize = /var/log/a", "error_logfile", "/var/log/a"),
        ("daemonize = /var/log/a", "daemon", True),
    ],
)  # fmt: skip
def test_what_uwsgi_ini_says(text: str, option: str, value: object) -> None:
    assert uwsgi(text).values[option] == value


@pytest.mark.parametrize(
    ("text", "app"),
    [
        ("module = a.b", "a.b:application"),
        ("wsgi = a:make", "a:make"),
        ("wsgi-file = /srv/a.py\ncallable = app", "/srv/a.py:app"),
        ("processes = 1", ""),
    ],
)
def test_the_application_of_uwsgi_ini(text: str, app: str) -> None:
    assert uwsgi(text).app == app


@pytest.mark.parametrize(
    ("text", "key", "word"),
    [
        ("emperor = /etc/vassals", "emperor", "nothing here is like it"),
        ("static-map = /a=/b", "static-map", "gatebridge conf"),
        ("socket = %(place)/a", "socket", "placeholder"),
        ("chdir = $(HOME)", "chdir", "placeholder"),
        ("processes = %k", "processes", "placeholder"),
        ("threads = many", "threads", "no number"),
        (f"threads = {'9' * 5000}", "threads", "no number"),
        ("socket = :3031", "socket", "?allow=ADDRESS"),
        ("limit-post = 0", "limit-post", "limit_body"),
        ("mount = /a=b:c", "mount", "[[app]]"),
        ("lazy-apps = false", "lazy-apps", "nothing here"),
        ("processes = 1", "module", "names no application"),
    ],
)
def test_what_is_left_of_uwsgi_ini(text: str, key: str, word: str) -> None:
    assert [why for name, why in uwsgi(text).left if name == key and word in why]


@pytest.mark.parametrize(
    ("text", "option", "value"),
    [
        ("", "bind", ["http://127.0.0.1:8000"]),
        ("bind = ['unix:/a', '127.0.0.1:80']", "bind", ["http+unix:/a", "http://127.0.0.1:80"]),
        ("bind = 'unix:/a'\nprotocol = 'uwsgi'\nbacklog = 64", "bind",
         ["uwsgi+unix:/a?backlog=64"]),
        ("bind = 'unix:/a,127.0.0.1:80'", "bind", ["http+unix:/a", "http://127.0.0.1:80"]),
        ("bind = ['unix:///a', 'tcp://[::1]:80', '[::1]', 'localhost']", "bind",
         ["http+unix:/a", "http://[::1]:80", "http://[::1]:8000", "http://localhost:8000"]),
        ("bind = 'fd://3'", "bind", ["http+fd://3"]),
        ("bind: str = 'unix:/a'\nworkers: int = 4", "workers", 4),
        ("", "threads", 1),
        ("worker_class = 'sync'", "threads", 1),
        ("threads = 4\nworker_class = 'sync'", "threads", 4),
        ("user = 33", "user", "33"),
        ("loglevel = 'INFO'", "log_level", "info"),
        ("worker_class = 'gevent'", "worker_class", "gevent"),
        ("worker_class = 'uvicorn.workers.UvicornWorker'", "interface", "asgi"),
        ("umask = 0o027", "umask", "027"),
        ("preload_app = True", "preload", True),
        ("pidfile = '/run/a.pid'", "pid", "/run/a.pid"),
        ("loglevel = 'critical'", "log_level", "error"),
    ],
)  # fmt: skip
def test_what_gunicorn_conf_says(text: str, option: str, value: object) -> None:
    assert gunicorn(text).values[option] == value


@pytest.mark.parametrize(
    ("text", "key", "word"),
    [
        ("workers = cores() * 2", "workers", "cores() * 2: write its value"),
        ("workers = 1\nworkers += 1", "workers", "workers += 1"),
        ("workers, threads = 2, 4", "(workers, threads)", "write its value"),
        ("if True:\n    workers = 2", "line 1", "if True:"),
        ("import os\nos.environ['A'] = '1'", "os.environ['A']", "write its value"),
        ("'''text'''\nprint(1)", "line 2", "print(1)"),
        ("bind = 8000", "bind", "8000 is no list"),
        ("raw_env = 3", "raw_env", "3 is no list"),
        ("def post_fork(server, worker): pass", "post_fork", "hook"),
        ("certfile = '/a.pem'", "certfile", "front server"),
        ("worker_class = 'eventlet'", "worker_class", "gevent"),
        ("bind = '0.0.0.0:80'", "bind", "?allow=ADDRESS"),
        ("workers = 1", "wsgi_app", "names no application"),
    ],
)
def test_what_is_left_of_gunicorn_conf(text: str, key: str, word: str) -> None:
    assert [why for name, why in gunicorn(text).left if name == key and word in why]


def test_several_variables_in_one_text_of_gunicorn_conf() -> None:
    assert gunicorn("raw_env = 'A=1, B=2'").env == {"A": "1", "B": "2"}


def test_threads_mean_nothing_where_there_is_an_event_loop() -> None:
    for kind in ("gevent", "uvicorn.workers.UvicornWorker"):
        assert "threads" not in gunicorn(f"worker_class = {kind!r}").values


def test_a_file_of_python_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("open('run', 'w')\nworkers = 2\n")
    done = run(tmp_path, "config", "from", "gunicorn.conf.py")
    assert tomllib.loads(done.stdout)["server"]["workers"] == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.py", b"workers = ("),
        ("a.py", b"\xff"),
        ("a.ini", b"x" * (foreign.MOST_BYTES + 1)),
        ("a.yaml", b"uwsgi:\n  module: shop\n"),
    ],
)
def test_unreadable_files_are_one_sentence(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    for file in (name, "absent.ini"):
        done = run(tmp_path, "config", "from", file)
        assert "config.unreadable" in said(done)
    with pytest.raises(UseError):
        foreign.read(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("name", "text"), [("a.ini", "[uwsgi]\r\nprocesses = 2"), ("a.py", "workers = 2\r\n")]
)
def test_a_byte_order_mark_hides_nothing(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8-sig"))
    done = run(tmp_path, "config", "from", name)
    assert tomllib.loads(done.stdout)["server"]["workers"] == 2


def converted(folder: Path, file: str) -> dict:
    done = run(folder, "config", "from", file)
    assert done.returncode == 0, done.stderr
    (folder / "gatebridge.toml").write_text(done.stdout)
    assert run(folder, "check", "-c", "gatebridge.toml").returncode == 0
    return tomllib.loads(done.stdout)


@contextmanager
def running(folder: Path, *argv: str) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)  # TERM would only reload uWSGI
        process.wait(30)


def listens(path: Path) -> bool:
    try:
        wires.connect(str(path)).close()
    except OSError:
        return False
    return True


def both(tmp_path: Path, file: str, text: str, *argv: str) -> tuple[Path, Path]:
    """(their folder, ours), with the same file and application in each."""
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
        (folder / "shop.py").write_text(APP)
        (folder / file).write_text(text.replace("{name}", "sock"))
    return folders


def test_uwsgi_and_we_answer_alike_by_the_same_ini(tmp_path: Path) -> None:
    server = program("uwsgi", "uwsgi-core", package="uwsgi-core")
    if not list(Path("/usr/lib/uwsgi/plugins").glob("python3*_plugin.so")):
        absent("uwsgi's Python", "uwsgi-plugin-python3")
    theirs, ours = both(tmp_path, "uwsgi.ini", INI)
    converted(ours, "uwsgi.ini")

    def ask(folder: Path, request: wires.Req) -> wires.Resp:
        pairs = wires.variables(request, "")
        data = wires.uwsgi_bytes(pairs, wires.body_of(request))
        return wires.closing_exchange(wires.connect(str(folder / "sock")), request, data, None)

    with running(theirs, server, "--ini", "uwsgi.ini"):
        assert wait_until(lambda: listens(theirs / "sock")), (theirs / "log").read_text()
        wanted = [ask(theirs, request) for request in REQUESTS]
    compare(ours, wanted, ask)


def test_gunicorn_and_we_answer_alike_by_the_same_conf(tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, "gunicorn.conf.py", CONF)
    told = converted(ours, "gunicorn.conf.py")
    assert told["server"]["bind"] == ["http+unix:sock"]

    def ask(folder: Path, request: wires.Req) -> wires.Resp:
        sock = wires.connect(str(folder / "sock"))
        return wires.http_exchange(sock, request, "", "localhost", None, to_end=True)

    with running(theirs, sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"):
        assert wait_until(lambda: listens(theirs / "sock")), (theirs / "log").read_text()
        wanted = [ask(theirs, request) for request in REQUESTS]
    compare(ours, wanted, ask)


def compare(ours: Path, wanted: list[wires.Resp], ask) -> None:
    live = Service(ours, "-c", "gatebridge.toml", app=APP)
    try:
        assert os.stat(ours / "sock").st_mode & 0o007 == 0
        found = [ask(ours, request) for request in REQUESTS]
    finally:
        assert live.stop() == 0
    for request, one, other in zip(REQUESTS, found, wanted, strict=True):
        assert (one.status, other.status) == (200, 200)
        # uWSGI leaves it to the front server to drop the body of an answer to HEAD
        assert one.body == (b"" if request.method == "HEAD" else other.body)
        for name in ("Content-Type", "X-Shop"):
            assert one.all(name) == other.all(name)
    assert b"|summer\n" in wanted[0].body

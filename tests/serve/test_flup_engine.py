"""--engine flup: the real flup below the daemon's binds and logs."""

import json
import signal
from pathlib import Path

import pytest

from gatebridge.config import Asked, resolve
from gatebridge.errors import ConfigError
from tests.suite import wires
from tests.suite.modes import Daemon, wait_until, worker_of
from tests.suite.wires import Req, Resp

APPLICATION = """
import json, os, time
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise ValueError("told to fail")
    environ["wsgi.errors"].write(f"saw {path}\\n")
    if path == "/hold":
        open("held", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    told = {k: v for k, v in environ.items() if isinstance(v, (str, bool))}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told | {"pid": os.getpid()}).encode()]
"""


@pytest.fixture
def daemon(tmp_path: Path):
    (tmp_path / "app.py").write_text(APPLICATION)
    binds = [f"unix:{tmp_path}/f", f"scgi+unix:{tmp_path}/s"]
    more = ("--engine", "flup", "--access-logfile", "-", "--chdir", str(tmp_path))
    daemon = Daemon(tmp_path, "flup", binds, *more, entry="app:application")
    yield daemon
    daemon.stop()


def ask(folder: Path, name: str, target: str, *more: tuple[str, str]) -> Resp:
    request = Req(target=target)
    pairs = [*wires.variables(request, ""), *more]
    sock = wires.connect(str(folder / name))
    if name == "s":
        return wires.closing_exchange(sock, request, wires.scgi_bytes(pairs, b""))
    return wires.fastcgi_exchange(sock, request, pairs)


@pytest.mark.parametrize("name", ["f", "s"])
def test_it_is_flup(daemon: Daemon, tmp_path: Path, name: str) -> None:
    """By its fault 9: the Proxy header reaches the application."""
    told = json.loads(ask(tmp_path, name, "/x", ("HTTP_PROXY", "http://evil/")).body)
    assert told["HTTP_PROXY"] == "http://evil/"
    assert told["gatebridge.engine"] == "flup"
    assert told["gatebridge.protocol"] == {"f": "fastcgi", "s": "scgi"}[name]
    assert told["wsgi.multithread"] is True


@pytest.mark.parametrize("name", ["f", "s"])
def test_its_requests_are_in_our_logs(daemon: Daemon, tmp_path: Path, name: str) -> None:
    assert ask(tmp_path, name, "/x").status == 200
    assert ask(tmp_path, name, "/boom").status == 500
    assert wait_until(lambda: '"GET /boom HTTP/1.1" 500' in daemon.log())
    said = daemon.log()
    assert '"GET /x HTTP/1.1" 200' in said
    assert "app.says saw /x" in said
    assert "app.failed incident" in said
    assert "ValueError: told to fail" in said


def test_it_warns_of_its_faults(daemon: Daemon) -> None:
    assert "warning engine.flup" in daemon.log()
    for fault in ("idle connections", "response splitting", "Proxy header", "bisecting"):
        assert fault in daemon.log()


def test_a_reload_loses_no_request(daemon: Daemon, tmp_path: Path) -> None:
    pid = json.loads(ask(tmp_path, "f", "/x").body)["pid"]
    assert pid == worker_of(daemon.process.pid)
    daemon.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: json.loads(ask(tmp_path, "f", "/x").body)["pid"] != pid)


def test_a_request_under_way_is_answered(daemon: Daemon, tmp_path: Path) -> None:
    request = Req(target="/hold")
    sock = wires.connect(str(tmp_path / "f"))
    sock.sendall(wires.fastcgi_bytes(wires.variables(request, ""), b""))
    assert wait_until((tmp_path / "held").exists)
    daemon.process.terminate()
    (tmp_path / "go").touch()
    pipe, answer = wires.Pipe(sock), wires.FastcgiAnswer()
    with sock:
        while not answer.feed(pipe.got) and pipe.more():
            pass
    assert answer.end == (0, 0)
    assert daemon.process.wait(20) == 0


@pytest.mark.parametrize("bind", ["http://127.0.0.1:0", "uwsgi+unix:/tmp/x"])
def test_a_protocol_that_it_does_not_speak(bind: str) -> None:
    flags = {"engine": "flup", "bind": [bind]}
    with pytest.raises(ConfigError, match="engine flup does not speak"):
        resolve(Asked(app="a:b", flags=flags))
    assert resolve(Asked(app="a:b", flags=flags | {"engine": "gatebridge"}))

"""--engine flup: the real flup below the daemon's binds and logs."""

import json
import signal
import sys
from pathlib import Path

import pytest

from gatebridge.bind import parse_bind
from gatebridge.config import Asked, resolve
from gatebridge.errors import ConfigError
from gatebridge.serve.flup_engine import examine
from gatebridge.serve.listen import open_listener
from tests.suite import wires
from tests.suite.modes import Daemon, wait_until
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


def started(folder: Path) -> Daemon:
    (folder / "app.py").write_text(APPLICATION)
    binds = [f"unix:{folder}/f", f"scgi+unix:{folder}/s"]
    more = ("--engine", "flup", "--access-logfile", "-", "--chdir", str(folder))
    return Daemon(folder, "flup", binds, *more, entry="app:application")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    """For who only asks."""
    daemon = started(tmp_path_factory.mktemp("flup"))
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
def test_it_is_flup(shared: Daemon, name: str) -> None:
    """By its fault 9: the Proxy header reaches the application."""
    told = json.loads(ask(shared.folder, name, "/x", ("HTTP_PROXY", "http://evil/")).body)
    assert told["HTTP_PROXY"] == "http://evil/"
    assert told["gatebridge.engine"] == "flup"
    assert told["gatebridge.protocol"] == {"f": "fastcgi", "s": "scgi"}[name]
    assert told["wsgi.multithread"] is True


@pytest.mark.parametrize("name", ["f", "s"])
def test_its_requests_are_in_our_logs(shared: Daemon, name: str) -> None:
    assert ask(shared.folder, name, "/x").status == 200
    assert ask(shared.folder, name, "/boom").status == 500
    assert wait_until(lambda: '"GET /boom HTTP/1.1" 500' in shared.log())
    said = shared.log()
    assert '"GET /x HTTP/1.1" 200' in said
    assert "app.says saw /x" in said
    assert "app.failed incident" in said
    assert "ValueError: told to fail" in said


def test_it_warns_of_its_faults(shared: Daemon) -> None:
    assert "warning engine.flup" in shared.log()
    for fault in ("idle connections", "response splitting", "Proxy header", "bisecting"):
        assert fault in shared.log()


def test_a_reload_and_a_request_under_way(tmp_path: Path) -> None:
    """New workers come as ever, and TERM waits for what is in the application."""
    daemon = started(tmp_path)
    try:
        pid = json.loads(ask(tmp_path, "f", "/x").body)["pid"]
        daemon.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: json.loads(ask(tmp_path, "f", "/x").body)["pid"] != pid)
        sock = wires.connect(str(tmp_path / "f"))
        sock.sendall(wires.fastcgi_bytes(wires.variables(Req(target="/hold"), ""), b""))
        assert wait_until((tmp_path / "held").exists)
        daemon.process.terminate()
        (tmp_path / "go").touch()
        pipe, answer = wires.Pipe(sock), wires.FastcgiAnswer()
        with sock:
            while not answer.feed(pipe.got) and pipe.more():
                pass
        assert answer.end == (0, 0)
    finally:
        daemon.stop()


@pytest.mark.parametrize("bind", ["http://127.0.0.1:0", "uwsgi+unix:/tmp/x"])
def test_a_protocol_that_it_does_not_speak(bind: str) -> None:
    flags = {"engine": "flup", "bind": [bind]}
    with pytest.raises(ConfigError, match="engine flup does not speak"):
        resolve(Asked(app="a:b", flags=flags))
    assert resolve(Asked(app="a:b", flags=flags | {"engine": "gatebridge"}))


def test_the_start_says_it_of_a_default_bind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which nobody said, so that no option is to blame."""
    listener = open_listener(parse_bind("http://127.0.0.1:0"), ())
    try:
        with pytest.raises(ConfigError, match="engine.protocol"):
            examine([listener])
        listener.bind.protocol = "scgi"
        examine([listener])
        monkeypatch.setitem(sys.modules, "flup.server.scgi", None)
        with pytest.raises(ConfigError, match="engine.missing"):
            examine([listener])
    finally:
        listener.close()

"""Every argument of flup's constructors, one by one."""

import json
import os
import re
import stat
import struct
from pathlib import Path

import pytest

from gatebridge.compat.flup.server import fcgi, fcgi_fork, fcgi_single, scgi, scgi_fork
from gatebridge.errors import UseError
from tests.compat.stand import Script
from tests.suite import wires
from tests.suite.modes import wait_until
from tests.suite.wires import Req, record, stream

BIND = "bindAddress='s'"
FASTCGI = ("fcgi", "fcgi_fork", "fcgi_single")
SCGI = ("scgi", "scgi_fork")


def app(environ, start_response):
    raise AssertionError("not called")


# -- all kinds


@pytest.mark.parametrize("kind", FASTCGI + SCGI)
def test_environ_is_in_every_request(tmp_path: Path, kind: str) -> None:
    said = "environ={'trac.env': '/srv', 'QUERY_STRING': 'q', 'wsgi.multithread': 'x'}"
    with Script(tmp_path, f"{said}, {BIND}", kind).up() as script:
        told = script.told("/x?a=1")
    assert (told["trac.env"], told["QUERY_STRING"]) == ("/srv", "q")
    assert isinstance(told["wsgi.multithread"], bool), "what is the gateway's stays"


FLAGS = [  # kind, arguments, wsgi.multithread, wsgi.multiprocess
    ("fcgi", "", True, False),
    ("fcgi", "multithreaded=False", False, False),
    ("fcgi", "multiprocess=True", True, True),
    ("fcgi", "maxThreads=1, minSpare=1", True, False),
    ("fcgi_fork", "", False, True),
    ("fcgi_fork", "multithreaded=True, multiprocess=False", False, True),
    ("fcgi_single", "", False, False),
    ("scgi", "multithreaded=False, multiprocess=True", False, True),
    ("scgi_fork", "", False, True),
]


@pytest.mark.parametrize(("kind", "said", "thread", "process"), FLAGS)
def test_flags(tmp_path: Path, kind: str, said: str, thread: bool, process: bool) -> None:
    with Script(tmp_path, f"{BIND}, {said}", kind).up() as script:
        told = script.told()
    assert (told["wsgi.multithread"], told["wsgi.multiprocess"]) == (thread, process)
    assert told["wsgi.run_once"] is False


MOUNTS = [  # environ, what the server sends, what the application sees
    ("{'SCRIPT_NAME': ''}", ("/dispatch.fcgi", "/x y"), ("", "/x y")),
    ("{'SCRIPT_NAME': ''}", ("/x%20y", None), ("", "/x y")),
    ("{'SCRIPT_NAME': '/a', 'PATH_INFO': '/b'}", ("", "/c"), ("/a", "/b")),
]


@pytest.mark.parametrize(("said", "sent", "seen"), MOUNTS, ids=repr)
def test_a_script_name_of_its_own(tmp_path: Path, said: str, sent, seen) -> None:
    """A common line: environ={'SCRIPT_NAME': ''} for an application at the root."""
    script_name, path = sent
    pairs = dict(wires.variables(Req(target="/"), ""))
    pairs |= {"SCRIPT_NAME": script_name.replace("%20", " "), "PATH_INFO": path or ""}
    pairs["REQUEST_URI"] = (script_name + (path or "")).replace(" ", "%20")
    with Script(tmp_path, f"environ={said}, {BIND}").up() as script:
        sock = script.sock()
        sock.sendall(wires.fastcgi_bytes(list(pairs.items()), b""))
        told = json.loads(script.read(sock).body)
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == seen


def test_https_of_its_own(tmp_path: Path) -> None:
    with Script(tmp_path, f"environ={{'HTTPS': 'on'}}, {BIND}").up() as script:
        assert script.told()["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize("kind", FASTCGI + SCGI)
def test_debug_shows_the_traceback(tmp_path: Path, kind: str) -> None:
    with Script(tmp_path, f"{BIND}, debug=True", kind).up() as script:
        answer = script.ask("/boom")
    assert answer.status == 500
    assert b"ValueError: told to fail" in answer.body
    assert answer.all("Content-Type") == ["text/html; charset=utf-8"]


@pytest.mark.parametrize("kind", ["fcgi", "scgi_fork"])
def test_without_debug_nothing_of_it_is_shown(tmp_path: Path, kind: str) -> None:
    with Script(tmp_path, BIND, kind).up() as script:
        answer = script.ask("/boom")
        assert answer.status == 500
        assert b"told to fail" not in answer.body
        assert "ValueError: told to fail" in script.said()


# -- where it listens


@pytest.mark.parametrize(
    ("kind", "umask", "mode"),
    [("fcgi", "0", 0o777), ("fcgi_fork", "0o077", 0o700), ("fcgi_single", "0o007", 0o770),
     ("scgi", "0", 0o777), ("scgi_fork", "0", 0o777)],
)  # fmt: skip
def test_umask_of_the_sockets_file(tmp_path: Path, kind: str, umask: str, mode: int) -> None:
    with Script(tmp_path, f"{BIND}, umask={umask}", kind).up() as script:
        assert stat.S_IMODE(os.stat(script.path).st_mode) == mode
        script.end()
    assert not os.path.exists(script.path), "fault 11: it stays there"


def test_umask_of_the_process(tmp_path: Path) -> None:
    with Script(tmp_path, BIND, more="os.umask(0o017)").up() as script:
        assert stat.S_IMODE(os.stat(script.path).st_mode) == 0o760


def test_mode_in_a_bind(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s?mode=0606"
    with Script(tmp_path, f"bindAddress={bind!r}", "scgi").up() as script:
        assert stat.S_IMODE(os.stat(script.path).st_mode) == 0o606
        assert script.told("/x")["PATH_INFO"] == "/x"


@pytest.mark.skipif(os.geteuid() != 0, reason="others than root own what they bind")
def test_a_socket_that_only_root_can_use_is_warned_of(tmp_path: Path) -> None:
    with Script(tmp_path, f"{BIND}, umask=0o022").up() as script:
        assert "only root can connect" in script.said()


def port_of(script: Script) -> int:
    """Of a port 0: the log says which one it became."""
    found: list[str] = []

    def is_said() -> bool:
        found[:] = re.findall(r"listening on \S+:(\d+)", script.said())
        return bool(found) or script.process.poll() is not None

    assert wait_until(is_said)
    assert found, script.said()
    return int(found[0])


ADDRESSES = [
    ("('localhost', 0)", "127.0.0.1"),
    ("('', 0)", "127.0.0.1"),
    ("('::1', 0, 0, 0)", "::1"),
    ("['127.0.0.1', 0]", "127.0.0.1"),
]


@pytest.mark.parametrize(("address", "host"), ADDRESSES)
@pytest.mark.parametrize("kind", ["fcgi", "scgi_fork"])
def test_tcp(tmp_path: Path, kind: str, address: str, host: str) -> None:
    with Script(tmp_path, f"bindAddress={address}", kind) as script:
        place = (host, port_of(script))
        assert script.told("/x", address=place)["PATH_INFO"] == "/x"
        assert ("everybody who reaches" in script.said()) == ("''" in address)


@pytest.mark.parametrize("address", [("localhost",), 4000, ("a", "b"), b"s"], ids=repr)
def test_what_is_no_address(address) -> None:
    with pytest.raises(UseError, match="flup.address"):
        fcgi.WSGIServer(app, bindAddress=address).run()


def test_an_address_that_is_taken_is_an_oserror(tmp_path: Path) -> None:
    """As flup's; the SCGI servers log it and return False."""
    with Script(tmp_path, BIND).up() as script:
        with pytest.raises(OSError, match="answers on"):
            fcgi.WSGIServer(app, bindAddress=script.path).run()
        assert scgi.WSGIServer(app, bindAddress=script.path).run() is False


@pytest.mark.parametrize(
    ("said", "allowed"),
    [("127.0.0.1", True), ("192.0.2.1, 127.0.0.0/8", True), ("192.0.2.1", False), ("", False)],
)
def test_fcgi_web_server_addrs(tmp_path: Path, said: str, allowed: bool) -> None:
    address = "bindAddress=('127.0.0.1', 0)"
    with Script(tmp_path, address, FCGI_WEB_SERVER_ADDRS=said) as script:
        place = ("127.0.0.1", port_of(script))
        assert served(script, place) == allowed


@pytest.mark.parametrize(
    ("said", "allowed"),
    [("None", True), ("['127.0.0.1']", True), ("['192.0.2.1']", False), ("[]", False)],
)
def test_allowed_servers(tmp_path: Path, said: str, allowed: bool) -> None:
    address = f"bindAddress=('127.0.0.1', 0), allowedServers={said}"
    with Script(tmp_path, address, "scgi") as script:
        assert served(script, ("127.0.0.1", port_of(script))) == allowed


def served(script: Script, place: tuple[str, int]) -> bool:
    try:
        return script.ask(address=place).status == 200
    except ConnectionError:
        return False


# -- requests


def test_roles(tmp_path: Path) -> None:
    """1 responder, 2 authorizer, 3 filter; END_REQUEST says UNKNOWN_ROLE (3)."""
    with Script(tmp_path, BIND).up() as script:
        assert [script.ask(role=role).app_status for role in (1, 2, 3)] == [0, 3, 3]


def test_roles_of_its_own(tmp_path: Path) -> None:
    with Script(tmp_path, f"{BIND}, roles=(2,)").up() as script:
        assert [script.ask(role=role).app_status for role in (1, 2)] == [3, 0]


def begin(id: int) -> bytes:
    return record(1, struct.pack("!HB5x", 1, 1), id)


def params(id: int, target: str) -> bytes:
    pairs = wires.variables(Req(target=target), "")
    return stream(4, b"".join(wires.pair(k.encode(), v.encode()) for k, v in pairs), id)


def test_multiplexed(tmp_path: Path) -> None:
    """Two requests at once on a connection: the second is answered while the first is held."""
    with Script(tmp_path, f"{BIND}, multiplexed=True").up() as script, script.sock() as sock:
        sock.sendall(begin(1) + params(1, "/hold-a") + record(5, b"", 1))
        assert script.marked("a")
        sock.sendall(begin(2) + params(2, "/x") + record(5, b"", 2))
        pipe, second = wires.Pipe(sock), wires.FastcgiAnswer(2)
        while not second.feed(pipe.got) and pipe.more():
            pass
        assert second.end == (0, 0)
        assert b'"/x"' in second.out
        script.go()
        pipe, first = wires.Pipe(sock), wires.FastcgiAnswer(1)
        while not first.feed(pipe.got) and pipe.more():
            pass
        assert first.end == (0, 0)


def test_not_multiplexed(tmp_path: Path) -> None:
    """The default: CANT_MPX_CONN (1), and GET_VALUES says so."""
    with Script(tmp_path, BIND).up() as script, script.sock() as sock:
        sock.sendall(begin(1) + params(1, "/hold-a") + record(5, b"", 1))
        assert script.marked("a")
        sock.sendall(begin(2))
        pipe, second = wires.Pipe(sock), wires.FastcgiAnswer(2)
        while not second.feed(pipe.got) and pipe.more():
            pass
        assert second.end == (0, 1)
        script.go()


@pytest.mark.parametrize(
    ("kind", "said"),
    [("fcgi", "multithreaded=False"), ("fcgi", "maxThreads=1"), ("fcgi_single", ""),
     ("scgi", "multithreaded=False"), ("fcgi_fork", "maxSpare=1, maxChildren=1")],
)  # fmt: skip
def test_one_after_the_other(tmp_path: Path, kind: str, said: str) -> None:
    with Script(tmp_path, f"{BIND}, {said}", kind).up() as script:
        first = script.start("/hold-a")
        assert script.marked("a")
        second = script.start("/hold-b")
        script.go()
        most = [json.loads(script.read(sock).body)["most"] for sock in (first, second)]
    assert most == [1, 1]


@pytest.mark.parametrize("kind", ["fcgi", "scgi"])
def test_max_threads(tmp_path: Path, kind: str) -> None:
    """Three at once, and no more, whatever the spare ones are."""
    with Script(tmp_path, f"{BIND}, maxThreads=3, minSpare=2, maxSpare=3", kind).up() as script:
        socks = [script.start(f"/hold-{name}") for name in "abc"]
        assert all(script.marked(name) for name in "abc")
        socks.append(script.start("/hold-d"))
        script.go()
        most = max(json.loads(script.read(sock).body)["most"] for sock in socks)
    assert most == 3


@pytest.mark.parametrize("name", ["minSpare", "maxSpare", "maxThreads"])
@pytest.mark.parametrize("module", [fcgi, scgi], ids=["fcgi", "scgi"])
def test_numbers_of_threads_are_checked(module, name: str) -> None:
    assert module.WSGIServer(app, **{name: 3})
    with pytest.raises(UseError, match="flup.spare"):
        module.WSGIServer(app, **{name: "3"})


@pytest.mark.parametrize("module", [fcgi, scgi, fcgi_fork, scgi_fork])
def test_an_argument_that_there_is_not(module) -> None:
    with pytest.raises(TypeError):
        module.WSGIServer(app, maxThread=3)


def test_single_takes_any_argument() -> None:
    """flup's passes them to nobody."""
    assert fcgi_single.WSGIServer(app, maxThreads=3, minSpare=2)


@pytest.mark.parametrize(
    "said",
    [{"minSpare": 0}, {"minSpare": 3, "maxSpare": 2}, {"sockTimeout": -1}, {"sockTimeout": "1"}],
    ids=repr,
)
@pytest.mark.parametrize("module", [fcgi_fork, scgi_fork], ids=["fcgi_fork", "scgi_fork"])
def test_numbers_of_children_are_checked(module, said: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        module.WSGIServer(app, **said)


# -- SCGI


def test_script_name(tmp_path: Path) -> None:
    with Script(tmp_path, f"{BIND}, scriptName='/app'", "scgi").up() as script:
        told = script.told("/x%20y", mount="/app")
        assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/app", "/x y")


def test_script_name_of_the_root(tmp_path: Path) -> None:
    with Script(tmp_path, f"{BIND}, scriptName=''", "scgi").up() as script:
        told = script.told("/x", mount="/app")
        assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("", "/app/x")


def test_a_script_name_that_the_server_sends(tmp_path: Path) -> None:
    with Script(tmp_path, BIND, "scgi").up() as script:
        told = script.told("/app/x", more=(("WSGI_SCRIPT_NAME", "/app"),))
        assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/app", "/x")
        told = script.told("/app/x", more=(("WSGI_SCRIPT_NAME", "none"),))
        assert told["PATH_INFO"] == "/app/x"


@pytest.mark.parametrize(("level", "lines"), [("logging.INFO", 1), ("logging.WARNING", 0)])
def test_logging_level(tmp_path: Path, level: str, lines: int) -> None:
    said = f"{BIND}, loggingLevel={level}"
    with Script(tmp_path, said, "scgi", more="import logging").up() as script:
        script.ask("/asked")
        script.end()
        assert script.said().count("GET /asked") == lines
        assert ("listening on" in script.said()) == bool(lines)

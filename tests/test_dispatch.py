"""app.fcgi: FastCGI where descriptor 0 listens, else one CGI request (FastCGI 1.0 section 2.2)."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatebridge.dispatch import is_listener
from tests import cgi
from tests.suite import wires
from tests.suite.wires import Req

SCRIPT = """\
import sys
sys.path.insert(0, {root!r})
from gatebridge.dispatch import run

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    told = environ["gatebridge.protocol"], environ["SCRIPT_NAME"], environ["wsgi.run_once"]
    return [repr(told).encode()]

run(app, {mount!r})
"""


def script(folder: Path, mount: str | None = None) -> list[str]:
    path = folder / "app.fcgi"
    path.write_text(SCRIPT.format(root=str(cgi.ROOT), mount=mount))
    return [sys.executable, str(path)]


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


@contextmanager
def started(
    argv: list[str], listener: socket.socket, **vars
) -> Iterator["subprocess.Popen[bytes]"]:
    """The script as mod_fcgid starts it; ended by TERM, which must give 0."""
    environment = {"PATH": os.environ["PATH"], **vars}
    process = subprocess.Popen(argv, stdin=listener, env=environment, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=cgi.DEADLINE_S)
        assert process.returncode == 0, errors


def fastcgi(address, request: Req | None = None, mount: str = "") -> wires.Resp:
    request = request or Req()
    pairs = wires.variables(request, mount)
    return wires.fastcgi_exchange(wires.connect(address), request, pairs)


def test_F114_a_listening_descriptor_is_served(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener, started(script(tmp_path), listener):
        for _ in range(3):
            answer = fastcgi(str(tmp_path / "s"))
            assert answer.body == b"('fastcgi', '', False)"


def test_F114_T22_the_starters_socket_file_is_left(tmp_path: Path) -> None:
    """The starter made it, and will hand it to the next."""
    with listening(tmp_path / "s") as listener:
        for _ in range(2):
            with started(script(tmp_path), listener):
                assert fastcgi(str(tmp_path / "s")).status == 200
            assert (tmp_path / "s").exists()


def test_F114_a_bare_checkout_is_enough(tmp_path: Path) -> None:
    """Behind a server's own Python nothing else is installed."""
    program = script(tmp_path)
    text = Path(program[-1]).read_text()
    lacking = "sys.modules.update(dict.fromkeys(['click', 'h11', 'rich', 'wsproto']))\n"
    Path(program[-1]).write_text(text.replace("import sys\n", f"import sys\n{lacking}", 1))
    with listening(tmp_path / "s") as listener, started(program, listener):
        assert fastcgi(str(tmp_path / "s")).body == b"('fastcgi', '', False)"


def test_F114_a_tcp_listener(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with started(script(tmp_path, "/app"), listener, FCGI_WEB_SERVER_ADDRS="127.0.0.1"):
            answer = fastcgi(listener.getsockname(), mount="/app")
            assert answer.body == b"('fastcgi', '/app', False)"


def test_F113_T8_a_peer_that_is_not_named_is_not_served(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with started(script(tmp_path), listener, FCGI_WEB_SERVER_ADDRS="192.0.2.1,192.0.2.2"):
            assert fastcgi(listener.getsockname()).cut


def test_F114_C01_a_pipe_is_cgi(tmp_path: Path) -> None:
    done = cgi.ask(script(tmp_path))
    assert (done.code, done.body) == (0, b"('cgi', '/cgi-bin/app.cgi', True)"), done


def test_F114_a_connected_socket_is_cgi(tmp_path: Path) -> None:
    """Some servers give a script a socket pair for its standard input."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            script(tmp_path),
            stdin=theirs,
            env=cgi.encoded(cgi.environment()),
            capture_output=True,
            timeout=cgi.DEADLINE_S,
        )
    assert done.stdout.endswith(b"('cgi', '/cgi-bin/app.cgi', True)")


def test_F114_FCGI_FORCE_CGI_is_obeyed(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener:
        done = subprocess.run(
            script(tmp_path),
            stdin=listener,
            env=cgi.encoded(cgi.environment(FCGI_FORCE_CGI="Y")),
            capture_output=True,
            timeout=cgi.DEADLINE_S,
        )
    assert done.stdout.endswith(b"('cgi', '/cgi-bin/app.cgi', True)")


def test_F114_FCGI_FORCE_CGI_may_say_no(tmp_path: Path) -> None:
    argv = script(tmp_path)
    with listening(tmp_path / "s") as listener, started(argv, listener, FCGI_FORCE_CGI="N"):
        assert fastcgi(str(tmp_path / "s")).body == b"('fastcgi', '', False)"


def test_C22_called_directly(tmp_path: Path) -> None:
    done = cgi.ask(script(tmp_path), REQUEST_METHOD=None)
    assert (done.code, done.out) == (2, b"")


def test_the_sample_in_cgi_bin_serves_both_ways(tmp_path: Path) -> None:
    argv = [sys.executable, str(cgi.ROOT / "cgi-bin" / "app.fcgi")]
    assert cgi.ask(argv).status == "200 OK"
    with listening(tmp_path / "s") as listener, started(argv, listener):
        assert fastcgi(str(tmp_path / "s")).status == 200
    assert len(Path(argv[1]).read_text().splitlines()) <= 12


# -- is_listener()


def test_F114_listeners(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        assert is_listener(unix.fileno())
        assert is_listener(tcp.fileno())
        assert unix.fileno() >= 0  # asking has not closed it


@pytest.mark.parametrize("kind", ["pipe", "file", "null", "pair", "closed", "accepted"])
def test_F114_what_is_no_listener(tmp_path: Path, kind: str) -> None:
    if kind == "pipe":
        fds = os.pipe()
    elif kind == "file":
        fds = (os.open(tmp_path / "f", os.O_CREAT | os.O_RDONLY),)
    elif kind == "null":
        fds = (os.open(os.devnull, os.O_RDONLY),)
    elif kind == "closed":
        assert not is_listener(10_000)
        return
    elif kind == "pair":
        fds = tuple(sock.detach() for sock in socket.socketpair())
    else:
        with listening(tmp_path / "s") as listener:
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(tmp_path / "s"))
            fds = (listener.accept()[0].detach(), client.detach())
    try:
        assert not is_listener(fds[0])
    finally:
        for fd in fds:
            os.close(fd)

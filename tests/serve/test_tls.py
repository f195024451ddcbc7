"""TLS before an HTTP bind: real clients of Python's and curl's, and a daemon that forks."""

import hashlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.serve import devcert, tls
from gatebridge.serve.listen import examine, open_listener
from tests.serve.live import DEADLINE_S, everything
from tests.suite.modes import Daemon

APPLICATION = """
import hashlib

def application(environ, start_response):
    seen = [environ[name] for name in ("wsgi.url_scheme", "REMOTE_ADDR", "SERVER_PORT")]
    body = environ["wsgi.input"].read()
    seen.append(hashlib.sha256(body).hexdigest())
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield " ".join(seen).encode() + b"\\n"
    for _ in range(int(environ["QUERY_STRING"] or 0)):
        yield bytes(65_536)
"""
MIB = 1 << 20


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The files of a certificate and its key."""
    folder = tmp_path_factory.mktemp("pair")
    cert, key = devcert.make_pair("")
    (folder / "cert.pem").write_bytes(cert)
    (folder / "key.pem").write_bytes(key)
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture(scope="module")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, pair: tuple[str, str]
) -> Iterator[tuple[Daemon, int]]:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "app.py").write_text(APPLICATION)
    bind = f"http://127.0.0.1:0?tls={','.join(pair)}"
    made = Daemon(folder, "http", [bind], entry="app:application")
    try:
        yield made, int(made.addresses()[0][1])
    finally:
        made.stop()


def client(port: int, cert: str) -> ssl.SSLSocket:
    """Connected; the certificate is checked, and so is the name in it."""
    context = ssl.create_default_context(cafile=cert)
    raw = socket.create_connection(("127.0.0.1", port), 20)
    try:
        return context.wrap_socket(raw, server_hostname="localhost")
    except BaseException:
        raw.close()
        raise


def ask(sock: ssl.SSLSocket, head: str, body: bytes = b"") -> bytes:
    sock.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    return everything(sock)


def test_application_sees_https_and_the_client(daemon, pair):
    with client(daemon[1], pair[0]) as sock:
        answer = ask(sock, "GET / HTTP/1.1\nHost: localhost\nConnection: close")
    empty = hashlib.sha256(b"").hexdigest()
    assert f"https 127.0.0.1 {daemon[1]} {empty}\n".encode() in answer


def test_large_body_and_large_answer_are_exact(daemon, pair):
    body = hashlib.sha256(b"seed").digest() * (3 * MIB // 32)
    head = f"POST /?80 HTTP/1.0\nHost: localhost\nContent-Length: {len(body)}"
    with client(daemon[1], pair[0]) as sock:
        answer = ask(sock, head, body)
    _, _, rest = answer.partition(b"\r\n\r\n")
    line, _, zeros = rest.partition(b"\n")
    assert line.decode().split()[-1] == hashlib.sha256(body).hexdigest()
    assert zeros == bytes(80 * 65_536)


def test_answer_ends_with_a_proper_goodbye(daemon, pair):
    """An answer without a length is whole only if TLS says so (RFC 9112 section 9.8)."""
    with client(daemon[1], pair[0]) as sock:
        sock.suppress_ragged_eofs = False
        sock.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        while sock.recv(65_536):  # SSLEOFError without it
            continue


def test_connection_is_kept(daemon, pair):
    url = f"https://localhost:{daemon[1]}/"
    words = ["curl", "-sS", "--cacert", pair[0], "-w", "%{num_connects}\n", url, url]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1::2] == ["1", "0"]  # the second request made none


def test_answer_is_whole_though_the_daemon_ends(tmp_path, pair):
    """The loop has sent it, and the thread that encrypts still has some of it."""
    (tmp_path / "app.py").write_text(APPLICATION)
    bind = f"http://127.0.0.1:0?tls={','.join(pair)}"
    daemon = Daemon(tmp_path, "http", [bind], entry="app:application")
    try:
        with client(int(daemon.addresses()[0][1]), pair[0]) as sock:
            sock.sendall(b"GET /?80 HTTP/1.0\r\nHost: localhost\r\n\r\n")
            begin = sock.recv(1)
            daemon.process.terminate()
            _, _, zeros = (begin + everything(sock)).partition(b"\r\n\r\n")[2].partition(b"\n")
            assert zeros == bytes(80 * 65_536)
        assert daemon.process.wait(DEADLINE_S) == 0  # a second TERM could meet its last moment
    finally:
        daemon.stop()


def test_plain_http_is_told_so(daemon):
    with socket.create_connection(("127.0.0.1", daemon[1]), 20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = everything(sock)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"https://" in answer


def test_silent_client_keeps_nobody_waiting(daemon, pair):
    with socket.create_connection(("127.0.0.1", daemon[1]), 20):  # no handshake
        test_application_sees_https_and_the_client(daemon, pair)


def test_adhoc_certificate_names_this_machine():
    listener = open_listener(parse_bind("http://127.0.0.1:0?tls=adhoc"), ())
    try:
        assert listener.text.startswith("https://127.0.0.1:")
        assert listener.tls is not None
    finally:
        listener.close()


def test_adhoc_without_cryptography_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    with pytest.raises(ConfigError) as caught:
        tls.adhoc_context("localhost")
    assert caught.value.code == "tls.adhoc"
    assert "pip install cryptography" in caught.value.detail


WRONG = [
    ("fcgi://127.0.0.1:0?tls=adhoc", "only HTTP"),
    ("http://127.0.0.1:0?tls=", "no files"),
]


@pytest.mark.parametrize(("text", "why"), WRONG, ids=[row[1] for row in WRONG])
def test_wrong_tls_is_refused_by_check_too(text, why):
    for look in (examine, lambda bind: open_listener(bind, ())):
        with pytest.raises(ConfigError) as caught:
            look(parse_bind(text))
        assert caught.value.code == "bind.tls"


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        open_listener(parse_bind(f"http://127.0.0.1:0?tls={tmp_path}/none.pem"), ())
    assert caught.value.code == "bind.tls"
    assert "none.pem" in caught.value.detail

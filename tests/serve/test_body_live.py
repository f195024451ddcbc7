"""wsgi.input on a running daemon: every call, however the body arrives, on every protocol (T18)."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.serve.gated import APPLICATION, answer, gated
from tests.suite import wires
from tests.suite.modes import Daemon
from tests.suite.wires import Req

LINES = b"one\ntwo\n\n" + b"x" * 90_000 + b"\nlast but one\nno end"
CALLS = ["read()", "read(-1)", "read(7)", "read(50000)", "read(1000000)", "readline()",
         "readline(2)", "readline(50000)", "readlines()", "readlines(1)", "readlines(5)",
         "__next__()"]  # fmt: skip
PROTOCOLS = ("fcgi", "scgi", "uwsgi", "http")
SMALL = ("--limit-body", "200000", "--spool-memory", "1000")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("body")
    (folder / "gated.py").write_text(APPLICATION)
    binds = [f"{protocol}+unix:{folder}/{protocol}" for protocol in PROTOCOLS]
    live = Daemon(folder, "body", binds, *SMALL, entry="gated:application")
    try:
        yield live
    finally:
        live.stop()


def encoded(protocol: str, request: Req, length: bool = True) -> bytes:
    if protocol == "http":
        return wires.http_bytes(request, "", "h")
    pairs = [(k, v) for k, v in wires.variables(request, "") if length or k != "CONTENT_LENGTH"]
    body = wires.body_of(request)
    if protocol == "fcgi":
        return wires.fastcgi_bytes(pairs, body)
    return (wires.scgi_bytes if protocol == "scgi" else wires.uwsgi_bytes)(pairs, body)


def exchange(daemon: Daemon, protocol: str, pieces: list[bytes]) -> wires.Resp:
    sock = wires.connect(f"{daemon.folder}/{protocol}")
    with sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before all was sent
        if protocol == "fcgi":
            return answer(sock)
        pipe = wires.Pipe(sock)
        while pipe.more():
            pass
    got = bytes(pipe.got)
    if protocol == "http" or got.startswith(b"HTTP/1."):
        return wires.http_parse(got, "POST")
    return wires.judge(got, "POST", True)


def cut(data: bytes, way: str) -> list[bytes]:
    at = max(1, len(data) - len(LINES) - 40)  # about where the body begins
    if way == "whole":
        return [data]
    if way == "variables, then body":
        return [data[:at], data[at:]]
    size = 10_007 if way == "pieces" else 61
    return [data[:at], *(data[i : i + size] for i in range(at, len(data), size))]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", ["whole", "variables, then body", "pieces", "small pieces"])
@pytest.mark.parametrize("call", CALLS)
def test_W020_W027_read(daemon: Daemon, protocol: str, way: str, call: str) -> None:
    body = LINES if way != "small pieces" else LINES[:2_000]
    data = encoded(protocol, Req("POST", f"/read/{call}", body=body))
    wanted = repr(eval(f"body.{call}", {"body": BytesIO(body)}))
    assert exchange(daemon, protocol, cut(data, way)).body == wanted.encode()


@pytest.mark.parametrize("protocol", ["fcgi", "http"])
@pytest.mark.parametrize("call", CALLS)
def test_F050_W020_of_unknown_length_in_a_file(daemon: Daemon, protocol: str, call: str) -> None:
    """More than --spool-memory, so it goes by way of the disk."""
    request = Req("POST", f"/read/{call}", body=LINES, chunked=True)
    data = encoded(protocol, request, length=False)
    wanted = repr(eval(f"body.{call}", {"body": BytesIO(LINES)}))
    assert exchange(daemon, protocol, [data]).body == wanted.encode()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_W027_no_body_is_at_its_end_at_once(daemon: Daemon, protocol: str) -> None:
    for call, wanted in (("read()", b"b''"), ("readline()", b"b''"), ("readlines()", b"[]")):
        data = encoded(protocol, Req("GET", f"/read/{call}"))
        assert exchange(daemon, protocol, [data]).body == wanted


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_T18_413_beyond_the_limit(daemon: Daemon, protocol: str) -> None:
    for size, status in ((200_000, 200), (200_001, 413)):
        found = exchange(
            daemon, protocol, [encoded(protocol, Req("POST", "/body", body=b"x" * size))]
        )
        assert found.status == status
        assert found.body == b"200000" if status == 200 else b"413" not in found.body


@pytest.mark.parametrize("protocol", ["fcgi", "http"])
def test_T18_413_also_where_the_length_is_not_said(daemon: Daemon, protocol: str) -> None:
    request = Req("POST", "/body", body=b"x" * 200_001, chunked=True)
    found = exchange(daemon, protocol, [encoded(protocol, request, length=False)])
    assert found.status == 413


def test_T18_nothing_is_left_on_the_disk(daemon: Daemon) -> None:
    spool = Path(daemon.folder)
    assert not list(spool.glob("gatebridge-*"))


def test_T18_507_below_the_floor(tmp_path: Path) -> None:
    """A body that would take the last of the disk is refused; small ones are served."""
    options = (
        "--spool-dir",
        str(tmp_path),
        "--spool-floor",
        str(1 << 60),
        "--spool-memory",
        "1000",
    )
    with gated(tmp_path, *options) as live:
        for body, status in ((b"x" * 500, 200), (b"x" * 400_000, 507)):
            pairs = [(k, v) for k, v in live.pairs("/body", body) if k != "CONTENT_LENGTH"]
            with live.connect() as sock:
                sock.sendall(wires.fastcgi_bytes(pairs, body))
                assert answer(sock).status == status
        assert list(tmp_path.glob("gatebridge-*")) == []
        assert live.get("/body", body=b"x" * 5_000).body == b"5000"  # a known length needs no disk


@pytest.mark.parametrize("length", ["abc", "-5", "1e3", " 5", "9" * 20, "5 5"])
def test_F047_T9_a_length_that_is_none(daemon: Daemon, length: str) -> None:
    pairs = [(k, length if k == "CONTENT_LENGTH" else v)
             for k, v in wires.variables(Req("POST", "/body", body=b"hello"), "")]  # fmt: skip
    assert exchange(daemon, "fcgi", [wires.fastcgi_bytes(pairs, b"hello")]).status == 400


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_W068_validated(tmp_path_factory, protocol: str) -> None:
    folder = tmp_path_factory.mktemp("valid")
    (folder / "gated.py").write_text(
        APPLICATION.replace("def application", "def inner")
        + "\nfrom wsgiref.validate import validator\napplication = validator(inner)\n"
    )
    live = Daemon(folder, "valid", [f"{protocol}+unix:{folder}/{protocol}"],
                  entry="gated:application")  # fmt: skip
    try:
        for method, call, body in (("POST", "read(9)", LINES), ("PUT", "readline(3)", LINES),
                                   ("GET", "readlines(9)", None)):  # fmt: skip
            request = Req(method, f"/read/{call}", (("Content-Type", "a/b"),), body)
            wanted = repr(eval(f"body.{call}", {"body": BytesIO(body or b"")})).encode()
            assert exchange(live, protocol, [encoded(protocol, request)]).body == wanted
        assert "AssertionError" not in live.log()
    finally:
        live.stop()

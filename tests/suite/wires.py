"""Small clients of the suite's own: HTTP, FastCGI, SCGI and uwsgi, on a connected socket.

Written apart from gatebridge.wire and gatebridge.client, so that a mistake there is not made
twice. Each sends one request and reads until the peer closes or the answer is complete.
"""

import io
import os
import socket
import struct
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse, IncompleteRead

DEADLINE_S = 20.0

Seen = Callable[[bytes], None]


class Hang(AssertionError):
    """Nothing came for DEADLINE_S: the client of a broken answer must never wait like this."""


class Req:
    """A request as a client writes it; ``target`` is relative to the mount.

    body     None: no body and no Content-Length
    chunked  the body goes out with Transfer-Encoding: chunked (protocols that have it)
    """

    def __init__(
        self,
        method: str = "GET",
        target: str = "/",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
        chunked: bool = False,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.chunked = chunked

    def plus(self, *headers: tuple[str, str]) -> "Req":
        """The same request with more header lines."""
        return Req(self.method, self.target, self.headers + headers, self.body, self.chunked)


class Resp:
    """An answer as the client saw it. ``cut``: the client can tell that it is not whole."""

    def __init__(
        self,
        status: int,
        reason: str,
        headers: list[tuple[str, str]],
        body: bytes,
        cut: bool = False,
        errors: bytes = b"",
        app_status: int = 0,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.cut = cut
        self.errors = errors
        self.app_status = app_status

    def all(self, name: str) -> list[str]:
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def __repr__(self) -> str:
        return (
            f"Resp({self.status} {self.reason!r} {self.headers!r} {self.body[:300]!r}"
            f" of {len(self.body)} bytes, cut={self.cut})"
        )


class Pipe:
    """One exchange: the request goes out whole, then the answer is read to its end."""

    def __init__(self, sock: socket.socket, seen: Seen | None = None) -> None:
        sock.settimeout(DEADLINE_S)
        self.sock = sock
        self.seen = seen
        self.got = bytearray()
        self.reset = False

    def send(self, data: bytes) -> bool:
        """False when the peer has closed: it answered early, what it said is still read."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def more(self) -> bool:
        """Read one piece; False at the end of the stream."""
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            self.reset = True
            return False
        except TimeoutError:
            raise Hang(f"nothing came in {DEADLINE_S} s after {bytes(self.got[-200:])!r}") from None
        self.got += data
        if data and self.seen:
            self.seen(bytes(self.got))
        return bool(data)


def body_of(request: Req) -> bytes:
    return request.body if request.body is not None else b""


# --- HTTP ----------------------------------------------------------------------------------


class _Stored:
    """What HTTPResponse needs of a socket, over bytes already read."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self.data))  # type: ignore[arg-type]


def http_bytes(request: Req, mount: str, host: str) -> bytes:
    """The request as it goes out; header values and the target are latin-1."""
    lines = [f"{request.method} {mount}{request.target} HTTP/1.1"]
    if not any(k.lower() == "host" for k, _ in request.headers):
        lines.append(f"Host: {host}")
    lines += [f"{k}: {v}" for k, v in request.headers]
    lines.append("Connection: close")
    body = body_of(request)
    if request.chunked:
        lines.append("Transfer-Encoding: chunked")
        pieces = [body[i : i + 20_000] for i in range(0, len(body), 20_000)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
    elif request.body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def http_parse(data: bytes, method: str) -> Resp:
    """Judge the bytes of one answer with the standard library's reader."""
    response = HTTPResponse(_Stored(data), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
    except HTTPException as error:
        raise AssertionError(f"no HTTP answer: {error!r} in {data[:300]!r}") from None
    cut = False
    try:
        body = response.read()
    except IncompleteRead as error:
        body, cut = error.partial, True
    return Resp(response.status, response.reason, response.getheaders(), body, cut)


def http_whole(got: bytearray, method: str) -> bool:
    """Tell whether the answer is complete by its own framing, so that a client stops reading."""
    end = got.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = bytes(got[:end]).lower()
    if method == "HEAD" or head[9:12] in (b"204", b"304"):
        return True
    if b"\r\ntransfer-encoding: chunked" in head:
        return got.endswith(b"\r\n0\r\n\r\n")
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return bool(found) and len(got) - end - 4 >= int(rest.split(b"\r\n")[0])


def http_exchange(
    sock: socket.socket,
    request: Req,
    mount: str,
    host: str,
    seen: Seen | None = None,
    to_end: bool = False,
) -> Resp:
    """One request and its answer. to_end: wait for the close that Connection: close asks for."""
    pipe = Pipe(sock, seen)
    with sock:
        pipe.send(http_bytes(request, mount, host))
        while pipe.more():
            if not to_end and http_whole(pipe.got, request.method):
                break
    if not pipe.got:
        return Resp(0, "", [], b"", cut=True)  # closed without a word: seen as an error
    answer = http_parse(bytes(pipe.got), request.method)
    answer.cut = answer.cut or pipe.reset
    return answer


# --- the variables a web server would send ----------------------------------------------------


def variables(request: Req, mount: str, port: str = "80") -> list[tuple[str, str]]:
    """What an honest front server sends for ``request``: nginx with fastcgi_split_path_info.

    Repeated header lines are joined as RFC 3875 section 4.1.18 asks.
    """
    from urllib.parse import unquote_to_bytes

    path, _, query = request.target.partition("?")
    found: dict[str, str] = {}
    for name, value in request.headers:
        key = "HTTP_" + name.upper().replace("-", "_")
        glue = "; " if key == "HTTP_COOKIE" else ", "
        found[key] = found[key] + glue + value if key in found else value
    content_type = found.pop("HTTP_CONTENT_TYPE", "")
    pairs = [
        ("CONTENT_LENGTH", "" if request.body is None else str(len(request.body))),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REQUEST_METHOD", request.method),
        ("QUERY_STRING", query),
        ("CONTENT_TYPE", content_type),
        ("REQUEST_URI", mount + request.target),
        ("SCRIPT_NAME", mount),
        ("PATH_INFO", unquote_to_bytes(path).decode("latin-1")),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", "suite/1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "40000"),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_PORT", port),
        ("SERVER_NAME", "suite.example.test"),
    ]
    found.setdefault("HTTP_HOST", "suite.example.test")
    return pairs + list(found.items())


def head_and_body(data: bytes) -> tuple[int, str, list[tuple[str, str]], bytes]:
    """Split a CGI answer; the lines may end in LF."""
    end = b"\r\n" if b"\r\n\r\n" in data else b"\n"
    head, mark, body = data.partition(end + end)
    lines = head.decode("latin-1").split(end.decode())
    if not mark:
        raise AssertionError(f"no end of the head in {data[:300]!r}")
    status, reason, headers = 200, "OK", []
    for line in lines:
        name, colon, value = line.partition(":")
        if line.startswith("HTTP/") or not colon:
            raise AssertionError(f"not a CGI header line: {line!r}")
        if name.lower() == "status":
            status, reason = int(value.split()[0]), value.strip().partition(" ")[2]
        else:
            headers.append((name, value.strip(" ")))
    return status, reason, headers, body


def judge(data: bytes, method: str, ended: bool, reset: bool = False) -> Resp:
    """A CGI-style answer as a front server judges it.

    ended  the protocol said that the answer is whole; None-like protocols pass True
    """
    if not data:
        return Resp(0, "", [], b"", cut=True)
    status, reason, headers, body = head_and_body(data)
    promised = [int(v) for k, v in headers if k.lower() == "content-length"]
    bodiless = method == "HEAD" or status in (204, 304)
    short = bool(promised) and not bodiless and len(body) < promised[0]
    return Resp(status, reason, headers, body, cut=short or reset or not ended)


# --- FastCGI -------------------------------------------------------------------------------


def record(kind: int, content: bytes, request_id: int = 1) -> bytes:
    return struct.pack("!BBHHBx", 1, kind, request_id, len(content), 0) + content


def pair(name: bytes, value: bytes) -> bytes:
    def size(n: int) -> bytes:
        return bytes([n]) if n < 128 else struct.pack("!I", n | 0x80000000)

    return size(len(name)) + size(len(value)) + name + value


def stream(kind: int, data: bytes, request_id: int = 1, step: int = 32_768) -> bytes:
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    return b"".join(record(kind, p, request_id) for p in pieces) + record(kind, b"", request_id)


def fastcgi_bytes(
    pairs: list[tuple[str, str]],
    body: bytes,
    keep: bool = False,
    request_id: int = 1,
    role: int = 1,
) -> bytes:
    block = b"".join(pair(k.encode("latin-1"), v.encode("latin-1")) for k, v in pairs)
    begin = struct.pack("!HB5x", role, 1 if keep else 0)
    return record(1, begin, request_id) + stream(4, block, request_id) + stream(5, body, request_id)


class FastcgiAnswer:
    """Records in, one answer out."""

    def __init__(self, request_id: int = 1) -> None:
        self.id = request_id
        self.at = 0
        self.out = bytearray()
        self.errors = bytearray()
        self.end: tuple[int, int] | None = None

    def feed(self, got: bytearray) -> bool:
        """Take the whole records of ``got``; True once END_REQUEST came."""
        while self.end is None and len(got) - self.at >= 8:
            version, kind, rid, size, pad = struct.unpack_from("!BBHHB", got, self.at)
            if version != 1 or rid not in (0, self.id):
                raise AssertionError(f"bad record {bytes(got[self.at : self.at + 16])!r}")
            if len(got) - self.at < 8 + size + pad:
                break
            content = bytes(got[self.at + 8 : self.at + 8 + size])
            self.at += 8 + size + pad
            if kind == 6:
                self.out += content
            elif kind == 7:
                self.errors += content
            elif kind == 3:
                self.end = struct.unpack("!IB3x", content)
        return self.end is not None


def fastcgi_exchange(
    sock: socket.socket, request: Req, pairs: list[tuple[str, str]], seen: Seen | None = None
) -> Resp:
    pipe, answer = Pipe(sock, seen), FastcgiAnswer()
    with sock:
        pipe.send(fastcgi_bytes(pairs, body_of(request)))
        while not answer.feed(pipe.got) and pipe.more():
            pass
        whole = answer.end is not None and answer.end[1] == 0
    resp = judge(bytes(answer.out), request.method, whole, pipe.reset)
    resp.errors = bytes(answer.errors)
    resp.app_status = answer.end[0] if answer.end else -1
    return resp


# --- SCGI and uwsgi ------------------------------------------------------------------------


def scgi_bytes(pairs: list[tuple[str, str]], body: bytes) -> bytes:
    kept = [(k, v) for k, v in pairs if k != "CONTENT_LENGTH"]
    block = b"".join(
        k.encode("latin-1") + b"\0" + v.encode("latin-1") + b"\0"
        for k, v in [("CONTENT_LENGTH", str(len(body))), ("SCGI", "1"), *kept]
    )
    return b"%d:%b," % (len(block), block) + body


def uwsgi_bytes(pairs: list[tuple[str, str]], body: bytes) -> bytes:
    block = b"".join(
        struct.pack("<H", len(k))
        + k.encode("latin-1")
        + struct.pack("<H", len(v))
        + v.encode("latin-1")
        for k, v in pairs
    )
    return struct.pack("<BHB", 0, len(block), 0) + block + body


def closing_exchange(
    sock: socket.socket, request: Req, data: bytes, seen: Seen | None = None
) -> Resp:
    """SCGI and uwsgi: the answer ends where the connection does."""
    pipe = Pipe(sock, seen)
    with sock:
        pipe.send(data)
        while pipe.more():
            pass
    got = bytes(pipe.got)
    if got.startswith(b"HTTP/1."):  # uwsgi answers may begin like this (U002)
        line, _, rest = got.partition(b"\r\n")
        got = b"Status: " + line.partition(b" ")[2] + b"\r\n" + rest
    return judge(got, request.method, True, pipe.reset)


def connect(address: str | tuple[str, int]) -> socket.socket:
    """A path (a leading @ means the abstract namespace) or (host, port)."""
    if isinstance(address, tuple):
        return socket.create_connection(address, DEADLINE_S)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(DEADLINE_S)
    try:
        sock.connect(os.fsencode(address.replace("@", "\0", 1)))
    except BaseException:
        sock.close()
        raise
    return sock

"""The head of a CGI response as a script, or an application behind a socket, wrote it."""

from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import MAX_LENGTH, Head, is_status, learn_status
from gatebridge.wire.scan import decimal, has_controls, is_token

MAX_FIELDS = 100  # an application of ours may send more


def parse_head(data: bytes, limit: int) -> tuple[Head, int] | None:
    """Read the head that a script, or an application behind another socket, wrote.

    Lines end by LF or CR LF (section 6.3 has LF, practice both); a leading HTTP/1.x status line
    is read as Status, as nph- scripts and uwsgi applications write it. Folded lines are refused.

    limit    bytes; the largest head accepted
    returns  (head, bytes consumed), or None while the head is incomplete
    raises   AppError("head.malformed"), AppError("head.too_big")
    """
    end, consumed = _head_end(data)
    if end < 0:
        if len(data) > limit:
            raise AppError("head.too_big", f"no end of the head in {len(data)} bytes")
        return None
    if consumed > limit:
        raise AppError("head.too_big", f"{consumed} > {limit} bytes")
    lines = data[:end].decode("latin-1").split("\n")
    status = ""
    headers: list[tuple[str, str]] = []
    for position, line in enumerate(lines):
        text = line[:-1] if line.endswith("\r") else line
        if position == 0 and text.startswith("HTTP/"):
            status = text.partition(" ")[2] or "missing"  # is_status() refuses that
            continue
        name, value = _field(text)
        if name.lower() == "status":
            status = value
        else:
            headers.append((name, value))
    if len(headers) > MAX_FIELDS:
        raise AppError("head.too_big", f"{len(headers)} > {MAX_FIELDS} header fields")
    return _parsed(status, headers), consumed


def _head_end(data: bytes) -> tuple[int, int]:
    """Find the empty line: (end of the last header line, start of the body), or (-1, -1)."""
    if data.startswith((b"\n", b"\r\n")):
        raise AppError("head.malformed", "the answer starts with an empty line: no header at all")
    bare = data.find(b"\n\n")
    full = data.find(b"\n\r\n")
    if bare >= 0 and (full < 0 or bare < full):
        return bare, bare + 2
    if full >= 0:
        return full, full + 3
    return -1, -1


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not is_token(name):
        raise AppError("head.malformed", f"not a header line: {text[:80]!r}")
    value = value.strip(" \t")
    if has_controls(value):
        raise AppError("head.malformed", f"control character in {name}: {value[:64]!r}")
    return name, value


def _parsed(status: str, headers: list[tuple[str, str]]) -> Head:
    length = -1
    for name, value in headers:
        if name.lower() == "content-length":
            try:
                length = decimal(value, MAX_LENGTH)
            except PeerError as error:
                raise AppError("head.malformed", f"Content-Length: {value[:32]!r}") from error
    if not status:
        location = any(name.lower() == "location" for name, _ in headers)
        status = "302 Found" if location else "200 OK"  # sections 6.2.3 and 6.3.3
    if not is_status(status):
        raise AppError("head.malformed", f"Status: {status[:64]!r}")
    learn_status(status)
    block = b"".join([f"{name}: {value}\r\n".encode("latin-1") for name, value in headers])
    return Head(status, headers, block, length)

"""FastCGI records written and read without the code under test."""

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA = range(1, 9)
GET_VALUES, GET_VALUES_RESULT, UNKNOWN_TYPE = 9, 10, 11

KEEP = 1
RESPONDER, AUTHORIZER, FILTER = 1, 2, 3

GET = (("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/"), ("SERVER_PROTOCOL", "HTTP/1.1"))


def rec(kind: int, id: int, content: bytes = b"", pad: int = 0, reserved: int = 0) -> bytes:
    """One record; padding is never zeros, so that nobody takes it for anything."""
    size = len(content).to_bytes(2, "big")
    head = bytes((1, kind)) + id.to_bytes(2, "big") + size + bytes((pad, reserved))
    return head + content + b"\xee" * pad


def begin(id: int = 1, flags: int = 0, role: int = RESPONDER, pad: int = 0) -> bytes:
    return rec(BEGIN, id, role.to_bytes(2, "big") + bytes((flags, 0, 0, 0, 0, 0)), pad)


def size(length: int, wide: bool = False) -> bytes:
    if wide or length > 127:
        return (length | 0x80000000).to_bytes(4, "big")
    return bytes((length,))


def block(*pairs: tuple[str, str], wide: bool = False) -> bytes:
    """Name-value pairs of section 3.4. wide: also short lengths take four bytes."""
    out = b""
    for name, value in pairs:
        key, data = name.encode("latin-1"), value.encode("latin-1")
        out += size(len(key), wide) + size(len(data), wide) + key + data
    return out


def stream(
    kind: int, id: int, data: bytes, step: int = 65_535, pad: int = 0, end: bool = True
) -> bytes:
    """A stream in records of step bytes, and its end."""
    out = [rec(kind, id, data[at : at + step], pad) for at in range(0, len(data), step)]
    return b"".join(out) + (rec(kind, id, b"", pad) if end else b"")


def request(
    *pairs: tuple[str, str], id: int = 1, flags: int = 0, role: int = RESPONDER, body: bytes = b""
) -> bytes:
    """A whole request; with a body its CONTENT_LENGTH is told."""
    if body:
        pairs = (*pairs, ("CONTENT_LENGTH", str(len(body))))
    head = begin(id, flags, role) + stream(PARAMS, id, block(*pairs))
    return head + stream(STDIN, id, body)


def split(data: bytes) -> tuple[list[tuple[int, int, bytes]], bytes]:
    """(type, id, content) of each whole record, and the bytes behind the last one."""
    out: list[tuple[int, int, bytes]] = []
    at = 0
    while len(data) - at >= 8:
        assert data[at] == 1, data[at : at + 16]
        length = int.from_bytes(data[at + 4 : at + 6], "big")
        end = at + 8 + length + data[at + 6]
        if end > len(data):
            break
        id = int.from_bytes(data[at + 2 : at + 4], "big")
        out.append((data[at + 1], id, data[at + 8 : at + 8 + length]))
        at = end
    return out, data[at:]


def whole(data: bytes) -> list[tuple[int, int, bytes]]:
    """As split(), of data that must end with a record."""
    out, rest = split(data)
    assert not rest, rest
    return out


def pairs_of(data: bytes) -> list[tuple[str, str]]:
    """Name-value pairs, read by the book."""
    out: list[tuple[str, str]] = []
    at = 0
    while at < len(data):
        lengths = []
        for _ in range(2):
            wide = data[at] > 127
            lengths.append(int.from_bytes(data[at : at + (4 if wide else 1)], "big") & 0x7FFFFFFF)
            at += 4 if wide else 1
        middle, end = at + lengths[0], at + sum(lengths)
        assert end <= len(data)
        out.append((data[at:middle].decode("latin-1"), data[middle:end].decode("latin-1")))
        at = end
    return out

"""FastCGI 1.0 records and name-value pairs: pure functions, no state.

Section numbers are those of the FastCGI specification of 29 April 1996.
"""

from gatebridge.errors import PeerError

VERSION = 1
HEADER = 8  # bytes, section 3.3
MAX_CONTENT = 65_535
_STEP = MAX_CONTENT & ~7  # of a long stream's records: section 3.3 likes multiples of eight
NULL_ID = 0  # management records

BEGIN_REQUEST = 1
ABORT_REQUEST = 2
END_REQUEST = 3
PARAMS = 4
STDIN = 5
STDOUT = 6
STDERR = 7
DATA = 8
GET_VALUES = 9
GET_VALUES_RESULT = 10
UNKNOWN_TYPE = 11

KEEP_CONN = 1  # the only flag of section 5.1

REQUEST_COMPLETE = 0  # protocolStatus, section 5.5
CANT_MPX_CONN = 1
OVERLOADED = 2
UNKNOWN_ROLE = 3


def header(kind: int, id: int, length: int) -> bytes:
    """A record header without padding. length: bytes of content, at most MAX_CONTENT."""
    return bytes((VERSION, kind, id >> 8, id & 255, length >> 8, length & 255, 0, 0))


def record(kind: int, id: int, content: bytes) -> bytes:
    """One whole record. content: at most MAX_CONTENT bytes."""
    return header(kind, id, len(content)) + content


def stream(kind: int, id: int, data: bytes) -> list[bytes | memoryview]:
    """A piece of a stream as headers and content to send one after the other.

    Content that fits a record is not copied; longer content is cut into views of itself.
    """
    size = len(data)
    if size <= MAX_CONTENT:
        return [header(kind, id, size), data] if size else []
    view = memoryview(data)
    full = header(kind, id, _STEP)
    if size <= 2 * _STEP:  # 64 KiB, as many applications read and send
        return [full, view[:_STEP], header(kind, id, size - _STEP), view[_STEP:]]
    out: list[bytes | memoryview] = []
    end = size - size % _STEP
    for start in range(0, end, _STEP):
        out += (full, view[start : start + _STEP])
    if end < size:
        out += (header(kind, id, size - end), view[end:])
    return out


def end_request(id: int, app_status: int, protocol_status: int) -> bytes:
    """An END_REQUEST record, section 5.5. app_status is sent modulo 2**32."""
    body = (app_status & 0xFFFFFFFF).to_bytes(4, "big") + bytes((protocol_status, 0, 0, 0))
    return header(END_REQUEST, id, 8) + body


def begin_request(id: int, role: int, flags: int) -> bytes:
    """A BEGIN_REQUEST record, section 5.1."""
    return header(BEGIN_REQUEST, id, 8) + bytes((role >> 8, role & 255, flags, 0, 0, 0, 0, 0))


def _length(size: int) -> bytes:
    return bytes((size,)) if size < 128 else (size | 0x80000000).to_bytes(4, "big")


def encode_pairs(pairs: list[tuple[str, str]]) -> bytes:
    """Name-value pairs of section 3.4, latin-1. UnicodeEncodeError is the caller's mistake."""
    out: list[bytes] = []
    for name, value in pairs:
        key, data = name.encode("latin-1"), value.encode("latin-1")
        out += (_length(len(key)), _length(len(data)), key, data)
    return b"".join(out)


def split_pairs(block: bytes) -> list[tuple[str, str]]:
    """Every pair of a whole PARAMS or GET_VALUES stream, in order, duplicates kept.

    raises  PeerError("params.malformed"): a length points past the end of the stream
    """
    text = block.decode("latin-1")
    size = len(block)
    pairs: list[tuple[str, str]] = []
    at = 0
    while at < size:
        name, value, at = _lengths(block, at, size)
        pairs.append((text[at : at + name], text[at + name : at + name + value]))
        at += name + value
    return pairs


def _lengths(block: bytes, at: int, size: int) -> tuple[int, int, int]:
    """The two lengths of a pair and where its name starts, each checked against what remains."""
    name = block[at]
    at += 1
    if name > 127:
        name, at = _long_length(block, at - 1, size)
    if at >= size:
        raise PeerError("params.malformed", "the stream ends inside a length")
    value = block[at]
    at += 1
    if value > 127:
        value, at = _long_length(block, at - 1, size)
    if name > size - at or value > size - at - name:
        raise PeerError("params.malformed", f"a pair of {name} + {value} bytes in {size - at}")
    return name, value, at


def _long_length(block: bytes, at: int, size: int) -> tuple[int, int]:
    if size - at < 4:
        raise PeerError("params.malformed", "the stream ends inside a length")
    return int.from_bytes(block[at : at + 4], "big") & 0x7FFFFFFF, at + 4


def decode_pairs(block: bytes, most: int) -> tuple[dict[str, object], bool]:
    """A whole PARAMS stream as variables; of a name sent twice the last value.

    most     pairs accepted
    returns  (variables, whether some name came twice)
    raises   PeerError("params.malformed"), PeerError("params.too_many")
    """
    text = block.decode("latin-1")
    size = len(block)
    out: dict[str, object] = {}
    at = 0
    count = 0
    last = size - 1
    while at < last:
        name = block[at]
        value = block[at + 1]
        if name < 128 and value < 128:
            at += 2
        else:
            name, value, at = _lengths(block, at, size)
        middle = at + name
        end = middle + value
        out[text[at:middle]] = text[middle:end]
        at = end
        count += 1
    if at != size:  # one stray byte, or a pair that reaches past the end
        raise PeerError("params.malformed", f"the stream ends inside a pair, {at - size} bytes")
    if count > most:
        raise PeerError("params.too_many", f"{count} > {most} variables")
    return out, count != len(out)

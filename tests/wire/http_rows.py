"""What the tests of HTTP share."""

from gatebridge.wire.cgi_head import make_head
from gatebridge.wire.events import Body, BodyEnd, Limits
from gatebridge.wire.http import Http
from tests.rows import merged

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def http(**limits):
    return Http(Limits(**limits), lambda: DATE)


def body_of(events):
    return b"".join(event.data for event in merged(events) if isinstance(event, Body))


def ended(events):
    return BodyEnd(1) in merged(events)


def answer(protocol, status="200 OK", headers=(), pieces=(b"hello",), app_status=0):
    out = protocol.send_head(1, make_head(status, list(headers)))
    for piece in pieces:
        out += protocol.send_body(1, piece)
    return b"".join(out + protocol.send_end(1, app_status))

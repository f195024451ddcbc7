"""The opening of a WebSocket (RFC 6455 section 4.2), which SCGI, uwsgi and HTTP share.

Its answer has an HTTP status line over each of them: that is what a web server looks for before it
passes bytes on in both directions.
"""

from base64 import b64encode
from binascii import Error, a2b_base64
from hashlib import sha1

from gatebridge.errors import PeerError
from gatebridge.wire.cgi_head import Head

SWITCHING = "101 Switching Protocols"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = 16  # bytes of a nonce


def wants_websocket(vars: dict[str, object]) -> bool:
    """Whether the variables of a request ask for a WebSocket, rightly or not."""
    return (
        "websocket" in _items(vars, "HTTP_UPGRADE")
        and "upgrade" in _items(vars, "HTTP_CONNECTION")
        and vars.get("REQUEST_METHOD") == "GET"
    )


def _items(vars: dict[str, object], name: str) -> list[str]:
    return [item.strip(" \t").lower() for item in str(vars.get(name, "")).split(",")]


def opening_key(vars: dict[str, object]) -> str:
    """Sec-WebSocket-Key of a request that may be accepted.

    raises  PeerError("websocket.version"), PeerError("websocket.malformed")
    """
    version = str(vars.get("HTTP_SEC_WEBSOCKET_VERSION", ""))
    if version != "13":
        raise PeerError("websocket.version", f"Sec-WebSocket-Version is {version!r:.20}, not '13'")
    if vars.get("SERVER_PROTOCOL") == "HTTP/1.0":
        raise PeerError("websocket.malformed", "HTTP/1.0 has no upgrade")
    key = str(vars.get("HTTP_SEC_WEBSOCKET_KEY", ""))
    try:
        size = len(a2b_base64(key.encode("latin-1"), strict_mode=True))
    except (Error, ValueError):
        size = -1
    if size != _KEY:
        raise PeerError("websocket.malformed", f"Sec-WebSocket-Key {key!r:.40} is no 16 bytes")
    return key


def offered_subprotocols(vars: dict[str, object]) -> list[str]:
    """What Sec-WebSocket-Protocol lists, in the client's order."""
    text = str(vars.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))
    return [item.strip(" \t") for item in text.split(",") if item.strip(" \t")]


def switching_head(key: str, subprotocol: str, head: Head) -> bytes:
    """The 101. head: checked headers of the application's; its status does not count."""
    accept = b64encode(sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest())
    lines = [
        f"HTTP/1.1 {SWITCHING}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".encode("latin-1"),
        b"Sec-WebSocket-Accept: " + accept + b"\r\n",
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}\r\n".encode("latin-1"))
    return b"".join([*lines, head.block, b"\r\n"])

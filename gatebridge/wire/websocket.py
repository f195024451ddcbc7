"""The frames of an open WebSocket, server side: RFC 6455 sections 5 to 8, by wsproto.

The extra ``ws`` installs wsproto; importing this module without it raises ImportError.
"""

from __future__ import annotations

from typing import Any

# a build has no wsproto, and reads the types of this module all the same
from wsproto.connection import (  # type: ignore[import-not-found,unused-ignore]
    Connection,
    ConnectionState,
    ConnectionType,
)
from wsproto.events import (  # type: ignore[import-not-found,unused-ignore]
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason  # type: ignore[import-not-found,unused-ignore]

NORMAL = 1000
GOING_AWAY = 1001
NO_CODE = 1005  # a close frame without one
ABNORMAL = 1006  # no close frame at all
TOO_BIG = 1009
FAILED = 1011

Piece = str | bytes


class Pinged:
    """A ping came. payload: what the pong has to say"""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class Closed:
    """No more messages will come.

    code    of the peer's close frame; with failed what ours has to say
    failed  what came breaks the protocol or a limit; what follows makes no sense
    """

    __slots__ = ("code", "failed", "reason")

    def __init__(self, code: int, reason: str, failed: bool) -> None:
        self.code = code
        self.reason = reason
        self.failed = failed


class WebSocket:
    """One connection behind its 101. most: bytes of a message, 0 for any number"""

    __slots__ = ("_connection", "_most", "_parts", "_size", "ended")

    def __init__(self, most: int) -> None:
        self._connection = Connection(ConnectionType.SERVER)
        self._most = most
        self._parts: list[Piece] = []
        self._size = 0  # bytes of the message that is not whole
        self.ended = False  # Closed was returned

    def receive(self, data: bytes) -> list[Piece | Pinged | Closed]:
        """What came: whole messages, pings, and the end, behind which all is discarded."""
        found: list[Piece | Pinged | Closed] = []
        if self.ended:
            return found
        connection = self._connection
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, TextMessage | BytesMessage):
                whole = self._piece(event)
                if self.ended:
                    found.append(Closed(TOO_BIG, f"more than {self._most} bytes", True))
                    return found
                if whole is not None:
                    found.append(whole)
            elif isinstance(event, Ping):
                found.append(Pinged(bytes(event.payload)))
            elif isinstance(event, CloseConnection):
                failed = connection.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING)
                found.append(Closed(int(event.code), event.reason or "", failed))
                self.ended = True
                return found
        return found

    def _piece(self, event: TextMessage | BytesMessage) -> Piece | None:
        """A whole message, or None. Sets ended where it becomes too long."""
        data: Piece = event.data if isinstance(event, TextMessage) else bytes(event.data)
        self._size += len(data if isinstance(data, bytes) else data.encode("utf-8"))
        if self._most and self._size > self._most:
            self.ended = True
            self._parts = []
            return None
        if not event.message_finished:
            if data:
                self._parts.append(data)
            return None
        if self._parts:
            parts: list[Any] = [*self._parts, data]
            data = "".join(parts) if isinstance(data, str) else b"".join(parts)
            self._parts = []
        self._size = 0
        return data

    def send_message(self, data: Piece) -> bytes:
        made = TextMessage(data=data) if isinstance(data, str) else BytesMessage(data=data)
        return bytes(self._connection.send(made))

    def send_ping(self) -> bytes:
        return bytes(self._connection.send(Ping()))

    def send_pong(self, payload: bytes) -> bytes:
        """Empty where the peer's close frame came right behind its ping (section 5.5.2)."""
        if self._connection.state is not ConnectionState.OPEN:
            return b""
        return bytes(self._connection.send(Pong(payload=payload)))

    def send_close(self, code: int, reason: str) -> bytes:
        """Once. NO_CODE for none. reason: cut to 123 bytes"""
        if code == NO_CODE:  # wsproto compares it by identity
            return bytes(self._connection.send(CloseConnection(CloseReason.NO_STATUS_RCVD)))
        return bytes(self._connection.send(CloseConnection(code, reason)))

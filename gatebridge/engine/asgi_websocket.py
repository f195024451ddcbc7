"""One WebSocket of an ASGI application: its opening, receive(), send() and the end.

ASGI 3, "HTTP & WebSocket ASGI Message Format". What is sent as ``websocket.http.response.*`` is an
ordinary answer, so asgi_call.py delivers it. Frames are wire/websocket.py's.
"""

from __future__ import annotations

from asyncio import CancelledError, Event, ensure_future, get_running_loop
from collections import deque
from typing import TYPE_CHECKING, Any

from gatebridge.engine.asgi_call import Done, HttpCall
from gatebridge.engine.asgi_head import asgi_head
from gatebridge.engine.pages import new_incident, page
from gatebridge.errors import AppError
from gatebridge.wire.upgrade import offered_subprotocols, switching_head
from gatebridge.wire.websocket import (
    ABNORMAL,
    FAILED,
    GOING_AWAY,
    NORMAL,
    Closed,
    Pinged,
    WebSocket,
)

if TYPE_CHECKING:
    from asyncio import Task, TimerHandle

    from gatebridge.engine.aseams import Message, RawBytes, Upgradable
    from gatebridge.wire.request import Request

CLOSE_S = 5.0  # for the peer's close frame behind ours
_WINDOW = 1 << 18  # bytes of messages that nobody took, beyond which the peer is not read from
_MESSAGE = 64  # bytes that a short message costs beside its own
_DENIAL = "websocket.http.response."
_DONE = Done()


class WebSocketCall:
    """The two callables of ASGI, as bound methods. finish() or fail() follows the application.

    key  Sec-WebSocket-Key
    """

    def __init__(self, request: Request, key: str, out: Upgradable, source: Any) -> None:
        self._request = request
        self._key = key
        self._out = out
        self._source = source
        self._said_connect = False
        self._denial: HttpCall | None = None
        self._refused = False  # 403, or a page in the application's place
        self._raw: RawBytes | None = None  # since the 101
        self._frames: WebSocket | None = None
        self._queue: deque[Message] = deque()
        self._waiting = 0  # bytes of it
        self._last: Message | None = None  # websocket.disconnect, once it is known
        self._news = Event()  # something for receive()
        self._closing = False  # our close frame is out
        self._own_end = False  # the application asked for it
        self._over = Event()  # nothing more goes either way
        self._watch: Task[None] | None = None  # for a client that leaves before the 101
        self._timer: TimerHandle | None = None
        self._heard = True  # since the last ping

    # -- receive()

    async def receive(self) -> Message:
        if not self._said_connect:
            self._said_connect = True
            return {"type": "websocket.connect"}
        if self._raw is None and self._watch is None and self._last is None:
            self._watch = ensure_future(self._source.gone())
            self._watch.add_done_callback(self._left_before)
        while not self._queue:
            if self._last is not None:
                return self._last
            self._news.clear()
            await self._news.wait()
        message = self._queue.popleft()
        self._waiting -= _cost(message)
        if self._raw is not None and self._waiting <= _WINDOW:
            self._raw.resume()
        return message

    def _left_before(self, task: Task[None]) -> None:
        if self._raw is None and not task.cancelled():
            self._ends(ABNORMAL, "")

    def _ends(self, code: int, reason: str) -> None:
        """What receive() says from now on; the first cause counts."""
        if self._last is None:
            self._last = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._news.set()

    # -- what the connection tells

    def received(self, data: bytes) -> None:
        """Bytes of the peer; b"" at their end."""
        frames = self._frames
        if frames is None or self._over.is_set():
            return
        self._heard = True
        if not data:
            self._ends(ABNORMAL, "")
            self._end(False)
            return
        for event in frames.receive(data):
            if isinstance(event, Pinged):
                self._pong(event.payload)
            elif isinstance(event, Closed):
                self._closed(event)
            elif not self._closing:
                self._arrived(event)

    def _arrived(self, data: str | bytes) -> None:
        key = "text" if isinstance(data, str) else "bytes"
        message = {"type": "websocket.receive", key: data}
        self._queue.append(message)
        self._waiting += _cost(message)
        if self._raw is not None and self._waiting > _WINDOW:
            self._raw.pause()
        self._news.set()

    def _pong(self, payload: bytes) -> None:
        """RFC 6455 section 5.5.3 lets us leave some out: a peer that does not read gets none."""
        if self._frames is not None and not (self._closing or self._out.congested):
            self._send_frame(self._frames.send_pong(payload))

    def _closed(self, event: Closed) -> None:
        self._ends(event.code, event.reason)
        if not self._closing:
            self._send_close(event.code, event.reason if event.failed else "")
        self._end(event.failed)

    def goes_away(self) -> None:
        """This worker ends: 1001."""
        if self._raw is not None and not self._closing:
            self._ends(GOING_AWAY, "")
            self._send_close(GOING_AWAY, "")
            self._await_close()

    # -- send()

    def send(self, message: Any) -> Any:
        try:
            kind = message["type"]
        except (TypeError, KeyError) as error:
            raise AppError("asgi.message", f"{message!r:.80} has no type") from error
        if not isinstance(kind, str) or not kind.startswith("websocket."):
            raise AppError("asgi.message", f"{kind!r:.80} is no message of a WebSocket")
        if kind.startswith(_DENIAL):
            return self._deny(message, kind)
        if self._denial is not None:
            raise AppError("asgi.order", f"{kind} behind {_DENIAL}start")
        if kind == "websocket.send":
            return self._send_message(message)
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._close(message)
        else:
            raise AppError("asgi.message", f"{kind!r:.80} is no message of a WebSocket")
        return _DONE

    def _deny(self, message: Message, kind: str) -> Any:
        """The extension of that name: an answer of the application's own instead of the 101."""
        if self._raw is not None or self._refused:
            raise AppError("asgi.order", f"{kind} behind the answer to the opening")
        if self._denial is None:
            self._denial = HttpCall(self._request, False, 0, self._out, self._source)
        return self._denial.send({**message, "type": kind.removeprefix("websocket.")})

    def _accept(self, message: Message) -> None:
        if self._raw is not None or self._refused:
            raise AppError("asgi.order", "websocket.accept behind the answer to the opening")
        head = asgi_head(200, message.get("headers") or ())
        for name, _ in head.headers:
            if name.lower().startswith("sec-websocket-") or name.lower() == "content-length":
                raise AppError("asgi.message", f"websocket.accept: {name} is the server's to say")
        chosen = message.get("subprotocol") or ""
        if chosen and chosen not in offered_subprotocols(self._request.vars):
            raise AppError("asgi.message", f"subprotocol {chosen!r:.80} was not offered")
        if self._watch is not None:
            self._watch.cancel()
        self._raw = self._out.upgrade(switching_head(self._key, chosen, head), self)
        self._frames = WebSocket(self._raw.most)
        if self._raw.ping_s:
            self._timer = get_running_loop().call_later(self._raw.ping_s, self._ping)
        if self._raw.early:
            self.received(self._raw.early)

    def _send_message(self, message: Message) -> Any:
        if self._raw is None or self._frames is None:
            raise AppError("asgi.order", "websocket.send before websocket.accept")
        if self._own_end:
            raise AppError("asgi.order", "websocket.send behind websocket.close")
        if self._closing or self._over.is_set():
            raise ConnectionResetError("the WebSocket is closed")
        text, data = message.get("text"), message.get("bytes")
        if isinstance(text, str) and data is None:
            frame = self._frames.send_message(text)
        elif isinstance(data, (bytes, bytearray, memoryview)) and text is None:
            frame = self._frames.send_message(bytes(data))
        else:
            why = "websocket.send needs either text, a str, or bytes"
            raise AppError("asgi.message", why)
        self._raw.send(frame)
        return self._out.drain() if self._out.congested else _DONE

    def _close(self, message: Message) -> None:
        code = message.get("code", NORMAL)
        reason = message.get("reason") or ""
        if not _is_code(code):
            raise AppError("asgi.message", f"websocket.close: {code!r:.20} is no code to send")
        if not _is_text(reason):
            raise AppError("asgi.message", f"websocket.close: {reason!r:.80} is no reason to send")
        self._own_end = True
        if self._raw is None:
            if not self._refused:
                self._refused = True
                self._out.answer(*page("403 Forbidden", [], False, []))
                self._ends(ABNORMAL, "")
        elif not (self._closing or self._over.is_set()):
            self._ends(code, reason)
            self._send_close(code, reason)
            self._await_close()

    # -- frames of our own

    def _send_frame(self, frame: bytes) -> None:
        try:
            if self._raw is not None:
                self._raw.send(frame)
        except ConnectionError:  # received(b"") has said so
            pass

    def _send_close(self, code: int, reason: str) -> None:
        self._closing = True
        if self._frames is not None:
            self._send_frame(self._frames.send_close(code, reason))

    def _await_close(self) -> None:
        """Give the peer some time for its close frame."""
        self._stop_timer()
        if self._raw is not None and not self._over.is_set():
            self._raw.resume()
            self._timer = get_running_loop().call_later(CLOSE_S, self._end, False)

    def _ping(self) -> None:
        """A peer of which nothing was heard since the last ping is not there any more."""
        raw, frames = self._raw, self._frames
        if raw is None or frames is None or self._closing:
            return
        if not (self._heard or raw.paused):
            self._ends(ABNORMAL, "no answer to a ping")
            self._end(False)
            return
        self._heard = False
        if not self._out.congested:
            self._send_frame(frames.send_ping())
        if not self._over.is_set():
            self._timer = get_running_loop().call_later(raw.ping_s, self._ping)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- the end

    def _end(self, failed: bool) -> None:
        """Nothing more goes either way. failed: the peer may be in the middle of sending"""
        if self._over.is_set():
            return
        self._over.set()
        self._stop_timer()
        if self._raw is not None:
            self._raw.end(failed, not self._own_end)

    async def finish(self) -> None:
        """The application has returned: close what it left open, and wait for the peer's part."""
        if self._denial is not None:
            self._denial.finish()
            return
        if self._raw is None:
            if not (self._refused or self._out.gone):
                raise AppError("asgi.unfinished", "the application returned without an answer")
            return
        self._close({"code": NORMAL})
        try:
            await self._over.wait()
        finally:
            self._end(False)

    async def fail(self, error: BaseException) -> None:
        """500 before the 101, else 1011. Nothing for what is raised behind the client's end."""
        if self._denial is not None:
            self._denial.fail(error)
        elif self._refused:
            self._out.failed(new_incident(), error)
        elif self._raw is None:
            HttpCall(self._request, False, 0, self._out, self._source).fail(error)
        elif self._last is None or self._own_end:
            self._out.failed(new_incident(), error)
            self._own_end = True
            if self._last is None:
                self._ends(FAILED, "")
                self._send_close(FAILED, "")
                self._await_close()
        if self._raw is not None and not isinstance(error, CancelledError):
            await self._over.wait()
        self._end(False)

    def forget(self) -> None:
        """The coroutine ends; nothing of ours goes on."""
        self._stop_timer()
        if self._watch is not None:
            self._watch.cancel()


def _cost(message: Message) -> int:
    data: str | bytes = message.get("text") or message.get("bytes") or b""
    return len(data) + _MESSAGE


def _is_text(reason: object) -> bool:
    """Whether it is a str that UTF-8 has bytes for: half a surrogate pair has none."""
    if not isinstance(reason, str):
        return False
    try:
        reason.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_code(code: object) -> bool:
    """Whether a close frame may say it (RFC 6455 section 7.4); 1005 stands for none."""
    if not isinstance(code, int):
        return False
    return 1000 <= code < 1015 and code not in (1004, 1006) or 3000 <= code < 5000

"""One HTTP request of an ASGI application: receive(), send(), and what has been sent so far."""

from gatebridge.engine.asgi_head import asgi_head, plain_fields
from gatebridge.engine.pages import failure_page, new_incident, refusal_page
from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import Head
from gatebridge.wire.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gatebridge.engine.aseams import AsyncOut, AsyncSource, Message

_TRAILERS = "http.response.trailers"
_PATHSEND = "http.response.pathsend"
_HINT = "http.response.early_hint"


class Done:
    """What send() gives where there is nothing to wait for; a coroutine that is over at once."""

    __slots__ = ()

    def __await__(self) -> "Done":
        return self

    def __iter__(self) -> "Done":
        return self

    def __next__(self) -> object:
        raise StopIteration

    def send(self, value: object) -> object:
        raise StopIteration

    def throw(self, kind: "Any", value: "Any" = None, traceback: "Any" = None) -> object:
        raise kind if value is None else value

    def close(self) -> None:
        pass


_DONE = Done()


class HttpCall:
    """The two callables of ASGI, as bound methods. finish() or fail() follows the application."""

    __slots__ = ("_bodiless", "_ended", "_first", "_head", "_left", "_lost", "_out", "_over",
                 "_request", "_sent", "_source", "_trailers", "_unread", "_whole")  # fmt: skip

    def __init__(
        self, request: Request, is_head: bool, length: int, out: "AsyncOut", source: "AsyncSource"
    ) -> None:
        self._request = request
        self._out = out
        self._source = source
        self._first = request.body
        self._unread = length  # bytes of the request's body to come, -1 unknown
        self._ended = False  # the application has seen the end of it
        self._lost = False  # it will never be whole
        self._head: Head | None = None
        self._bodiless = is_head  # HEAD, 204 or 304
        self._left = -1  # bytes of the promised Content-Length still to come, -1 unknown
        self._sent = False  # the head is out
        self._whole = False  # the end is out too
        self._over = False  # we ended it, so what the application raises now is no news
        self._trailers = 0  # 1: promised, but dropped; 2: promised; 3: due, the body is out

    # -- receive()

    async def receive(self) -> "Message":
        if self._ended or self._whole:
            if not (self._whole or self._lost or self._out.gone):
                await self._source.gone()
            return {"type": "http.disconnect"}
        data = self._first
        self._first = b""
        if self._request.complete:
            self._ended = True
        else:
            try:
                data = await self._more(data)
            except ConnectionError:
                self._ended = self._lost = True
                return {"type": "http.disconnect"}
            except PeerError as error:  # too big, or too slow
                self._ended = self._lost = True
                self._refuse(error)
                return {"type": "http.disconnect"}
        left = self._unread
        if left >= 0:
            if len(data) >= left:  # FastCGI 6.2: at most CONTENT_LENGTH is the body
                data = data[:left]
                self._ended = True
            elif self._ended:
                return self._cut_short(data)
            self._unread = left - len(data)
        return {"type": "http.request", "body": data, "more_body": not self._ended}

    async def _more(self, data: bytes) -> bytes:
        """What there is behind ``data``; waits only where there is nothing at all."""
        source = self._source
        if len(data) != self._unread:
            complete = source.complete  # first: what comes in between is then in take()
            piece = source.take()
            data = data + piece if data else piece
            if complete:
                self._ended = True
            elif not data and self._unread != 0:
                data = await source.more()
                self._ended = not data
        return data

    def _cut_short(self, data: bytes) -> "Message":
        """The stream ended before CONTENT_LENGTH (FastCGI 6.2: the client may have crashed)."""
        self._lost = True
        if not data:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": data, "more_body": True}

    # -- send()

    def send(self, message: "Any") -> "Any":
        """No coroutine of ours: most messages leave nothing to wait for."""
        try:
            kind = message["type"]
        except (TypeError, KeyError) as error:
            raise AppError("asgi.message", f"{message!r:.80} has no type") from error
        if kind == "http.response.body":
            return self._body(message)
        if kind == "http.response.start":
            self._start(message)
        elif kind == _TRAILERS:
            self._send_trailers(message)
        elif kind == _PATHSEND:
            return self._send_path(message)
        elif kind == _HINT:
            self._send_hint(message)
        else:
            raise AppError("asgi.message", f"{kind!r:.80} is no message of an HTTP answer")
        return _DONE

    def _start(self, message: "Message") -> None:
        if self._over:
            raise ConnectionResetError("this request was answered in the application's place")
        if self._head is not None:
            raise AppError("asgi.order", "http.response.start came twice")
        head = asgi_head(message.get("status"), message.get("headers", ()))
        if head.dropped:
            self._note_dropped(head.dropped)
        self._head = head
        code = head.status[:3]
        if code == "204" or code == "304":
            self._bodiless = True
        self._left = head.length
        if message.get("trailers"):
            carried = _TRAILERS in self._out.extensions and self._takes_trailers()
            self._trailers = 2 if carried and head.length < 0 and not self._bodiless else 1

    def _takes_trailers(self) -> bool:
        accepted = str(self._request.vars.get("HTTP_TE", "")).lower()
        return "trailers" in [item.strip() for item in accepted.split(",")]

    def _note_dropped(self, dropped: tuple[str, ...]) -> None:
        names = [name for name in dropped if name.lower() != "transfer-encoding"]
        if names:  # ASGI says that the server shall ignore that one
            self._out.note(AppError("header.forbidden", ", ".join(names)))

    def _body(self, message: "Message") -> "Any":
        head = self._head
        if head is None:
            raise AppError("asgi.order", "http.response.body before http.response.start")
        data = message.get("body", b"")
        if type(data) is not bytes:
            data = _as_bytes(data)
        more = bool(message.get("more_body", False))
        if self._whole or self._trailers == 3:
            self._after_the_end(data, more)
            return _DONE
        if self._bodiless:
            self._answer_without(head, len(data), more)
            return _DONE
        if self._left >= 0:
            if len(data) > self._left:
                self._note_surplus(len(data) - self._left)
                data = data[: self._left]
            if not more and len(data) < self._left:
                raise self._short(len(data))
            self._left -= len(data)
        if not self._sent:
            self._first_piece(head, data, more)
        elif more:
            if data:
                self._out.write(data)
        else:
            self._last_piece(data)
        return self._out.drain() if self._out.congested else _DONE

    def _first_piece(self, head: Head, data: bytes, more: bool) -> None:
        if more or self._trailers == 2:
            self._out.start(head, data)
            if not more:
                self._trailers = 3
        else:
            self._out.answer(head if head.length >= 0 else head.with_length(len(data)), data)
            self._whole = True
        self._sent = True

    def _last_piece(self, data: bytes) -> None:
        if data:
            self._out.write(data)
        if self._trailers == 2:
            self._trailers = 3
            return
        self._out.end()
        self._whole = True

    def _answer_without(self, head: Head, size: int, more: bool) -> None:
        """HEAD, 204 and 304 are answered by the first message: nobody will see the rest."""
        if not more and size and head.length < 0 and head.status[:3] not in ("204", "304"):
            head = head.with_length(size)
        self._out.answer(head, b"")
        self._sent = self._whole = True

    def _after_the_end(self, data: bytes, more: bool) -> None:
        """ASGI: what comes behind the end is ignored."""
        if self._over or (self._bodiless and more):
            self._over = True  # else an endless stream would never learn that nobody reads it
            raise ConnectionResetError("the answer is complete: nobody reads on")
        if data and not self._bodiless:
            self._note_surplus(len(data))

    def _note_surplus(self, count: int) -> None:
        detail = f"{count} bytes behind the end of the answer were left out"
        self._out.note(AppError("body.too_long", detail))

    def _short(self, count: int) -> AppError:
        detail = f"{self._left - count} bytes of the Content-Length are missing"
        return AppError("body.too_short", detail)

    # -- extensions

    def _send_trailers(self, message: "Message") -> None:
        if self._trailers == 0:
            raise AppError("asgi.order", "http.response.trailers, and the start promised none")
        if self._trailers == 1 or self._whole:
            return
        if self._trailers == 2:
            raise AppError("asgi.order", "http.response.trailers before the end of the body")
        self._out.trailers(plain_fields(message.get("headers", ())))
        if not message.get("more_trailers", False):
            self._out.end()
            self._whole = True

    def _send_hint(self, message: "Message") -> None:
        """ASGI leaves it to the server whether a hint is sent; past the head it is too late."""
        if _HINT in self._out.extensions and not self._sent:
            links = plain_fields([(b"link", link) for link in message.get("links", ())])
            if links:
                self._out.hints(links)

    def _send_path(self, message: "Message") -> "Any":
        head = self._head
        if head is None or self._sent:
            raise AppError("asgi.order", "http.response.pathsend belongs right behind the start")
        path = message.get("path")
        if not isinstance(path, str) or path[:1] != "/":
            raise AppError("asgi.message", f"http.response.pathsend: {path!r:.80} is no full path")
        if self._bodiless:
            self._answer_without(head, 0, False)
            return _DONE
        if self._out.file(head, path):
            self._sent = self._whole = True
            return _DONE
        return self._read_path(path)

    async def _read_path(self, path: str) -> None:
        """The file that the wire cannot send by its name."""
        with open(path, "rb") as file:
            while True:
                data = file.read(65_536)
                await self.send({"type": "http.response.body", "body": data, "more_body": data})
                if not data:
                    return

    # -- the end

    def finish(self) -> None:
        """The application has returned."""
        if self._whole or self._over or self._out.gone:
            return
        if self._head is None:
            raise AppError("asgi.unfinished", "the application returned without an answer")
        if not self._sent:
            raise AppError("asgi.unfinished", "the application returned before any body message")
        raise AppError("asgi.unfinished", "the application returned in the middle of its answer")

    def _refuse(self, error: PeerError) -> None:
        """The body cannot be had: whatever a framework would make of that, this is the answer."""
        out = self._out
        incident = new_incident()
        out.refused(incident, error)
        self._over = True
        if self._whole or out.gone:
            return
        self._whole = True
        try:
            if self._sent:
                out.cut(error)
            else:
                self._sent = True
                out.answer(*refusal_page(error, incident, self._bodiless))
        except ConnectionError:  # `out` knows
            pass

    def fail(self, error: BaseException) -> None:
        """Answer 500 where the head is not out yet, else let the client see the cut."""
        out = self._out
        if out.gone or self._over:
            return
        incident = new_incident()
        out.failed(incident, error)
        if self._whole:
            return
        self._whole = True
        if self._sent:
            out.cut(error)
            return
        self._sent = True
        out.answer(*failure_page(incident, self._request.vars.get("REQUEST_METHOD") == "HEAD"))


def _as_bytes(data: object) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise AppError("body.type", f"body must be bytes, not {type(data).__name__}")

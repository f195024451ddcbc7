"""One request on a connection: where its answer goes, where its body comes from."""

from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.engine.body import gather_by_pulling
from gatebridge.errors import AppError, PeerError
from gatebridge.serve.asked import Asked
from gatebridge.serve.scoreboard import limit
from gatebridge.wire.cgi_head import Head
from gatebridge.wire.events import DATA

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application
    from gatebridge.engine.spill import Spill
    from gatebridge.serve.connection import Connection
    from gatebridge.wire.request import Request

_CHECK_S = 0.05  # between two looks for an ABORT while an answer is streamed
_FILE_CHUNK = 1 << 19  # bytes read at once from a file that is sent


class Exchange(Asked):
    """The ``Out`` and the ``Source`` of the engine, for one request id of one connection."""

    __slots__ = ("_checked", "abandoned", "app", "connection", "data", "data_ended", "deferred",
                 "ended", "error", "feed", "has_turn", "id", "idle_s", "length", "place",
                 "queued_at", "timeout_s")  # fmt: skip

    def __init__(self, connection: "Connection", id: int, ended: bool) -> None:
        super().__init__(connection.site.name)
        self.connection = connection
        self.id = id
        self.ended = ended  # STDIN has come whole
        self.error: PeerError | None = None  # why the body cannot be read on
        self.feed: Spill | None = None  # STDIN that came before anybody read it
        self.data: Spill | None = None  # DATA of a FILTER request
        self.data_ended = True
        self.idle_s = connection.site.body_idle_s  # how long a read waits for a byte
        self.has_turn = False  # its thread has the connection's turn
        self.abandoned = False  # answered in place of a thread that is too slow
        self.queued_at = 0.0  # monotonic; when it began to wait for a thread
        self.timeout_s = 0.0  # of its route; 0.0 for the worker's
        self.place: memoryview | None = None  # on the scoreboard, while a thread runs it
        self.deferred: Request | None = None  # not run yet: too many threads wait for bodies
        self.app: Application | None = None  # the environ is built, and this answers
        self.length = 0  # of the body, once the environ is built

    def limit_time(self, seconds: float) -> None:
        """``environ["gatebridge.timeout"]``: this request may take so long, whatever others may."""
        self.timeout_s = seconds
        if self.place is not None:
            limit(self.place, seconds)

    def is_gone(self) -> bool:
        """``environ["gatebridge.gone"]``: nobody waits for this answer any more."""
        return self.gone

    # -- Source

    def pull(self, want: int) -> bytes:
        return self.connection.pull(self, want)

    def gather(self, want: int) -> bytes:
        return self.connection.gather(self, want)

    def arrived(self, data: bytes, stream: int) -> None:
        """Keep a piece of body until it is read. The connection's lock is held."""
        try:
            if stream == DATA:
                if self.data is None:
                    self.data = self.connection.site.new_spill()
                self.data.put(data)
            else:
                if self.feed is None:
                    self.feed = self.connection.site.new_spill()
                self.feed.put(data)
        except PeerError as error:
            self.error = error
            self.ended = self.data_ended = True
        if self.deferred is not None:
            self.connection.deadline = monotonic() + self.idle_s

    def claim(self) -> "Request | None":
        """Take the deferred request, once. The connection's lock is held."""
        request, self.deferred = self.deferred, None
        self.connection.deadline = 0.0
        return request

    # -- Out

    def answer(self, head: Head, body: bytes) -> None:
        connection = self.connection
        with connection.lock:
            if self.gone:
                raise ConnectionResetError("the peer has left")
            if self._error_text:
                self._flush_errors()
            self.status = head.status
            self.sent = len(body)
            wire = connection.wire
            if self._held:
                pieces = self._head_pieces(head)
                pieces += wire.send_body(self.id, body)
                pieces += wire.send_end(self.id, 0, self._held)
            else:
                pieces = wire.send_answer(self.id, head, body)
            self._finish(pieces)

    def start(self, head: Head, data: bytes) -> None:
        self._checked = monotonic()
        connection = self.connection
        with connection.lock:
            if self.gone:
                raise ConnectionResetError("the peer has left")
            pieces = self._head_pieces(head)
            self.status = head.status
            self.sent = len(data)
            pieces += connection.wire.send_body(self.id, data)
            connection.send(pieces)

    def _head_pieces(self, head: Head) -> "list[bytes | memoryview]":
        """The head, and what was held back of the error stream because of it."""
        wire = self.connection.wire
        pieces = [*wire.send_head(self.id, head)]
        if self._held and not self._is_haproxy:
            pieces += wire.send_error(self.id, self._held)
            self._held = b""
        return pieces

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        connection = self.connection
        now = monotonic()
        if now - self._checked > _CHECK_S:
            self._checked = now
            connection.look()
        with connection.lock:
            if self.gone:
                raise ConnectionResetError("the peer has left")
            connection.send(connection.wire.send_body(self.id, data))

    def file(self, head: Head, fd: int, offset: int, count: int) -> int:
        connection = self.connection
        with connection.lock:
            if self.gone:
                raise ConnectionResetError("the peer has left")
            if connection.site.send_file is not None:
                named = self._by_server(head, fd, offset, count)
                if named is not None:
                    self.status = named.status
                    connection.send(self._head_pieces(named))
                    return count
            pieces = self._head_pieces(head)
            self.status = head.status
            self.sent = connection.send_file(self, pieces, fd, offset, count, _FILE_CHUNK)
        return self.sent

    def _by_server(self, head: Head, fd: int, offset: int, count: int) -> "Head | None":
        """The head with which the server in front sends the file; None where we do."""
        site = self.connection.site
        if site.send_file is None:
            return None
        front = "" if site.name == "http" else self.front
        return site.send_file.head(head, fd, offset, count, front)

    def end(self) -> None:
        connection = self.connection
        with connection.lock:
            if self.gone:
                raise ConnectionResetError("the peer has left")
            if self._error_text:
                self._flush_errors()
            self._finish(connection.wire.send_end(self.id, 0, self._held))

    def _finish(self, pieces: "list[bytes | memoryview]") -> None:
        """Send the last of the answer. The id is free before that: END_REQUEST is among it."""
        connection = self.connection
        connection.finish(self)
        try:
            connection.send(pieces)
        except ConnectionError:
            self.gone = True
            raise

    def cut(self, error: BaseException) -> None:
        with self.connection.lock:
            if not self.gone:
                self.connection.cut(self)

    def failed(self, incident: str, error: BaseException) -> None:
        self.connection.site.log.failed(incident, self.line, error)
        self.write_error(f"gatebridge: incident {incident}: {type(error).__name__}: {error}\n")
        text = self.connection.site.log.traceback(error)
        self.write_error("".join(f"[{incident}] {line}\n" for line in text.splitlines()))

    def note(self, error: AppError) -> None:
        self.connection.site.log.note(error, self.line)

    def refused(self, incident: str, error: PeerError) -> None:
        self.connection.site.log.refused(incident, self.line, error)

    # -- wsgi.errors

    def write_error(self, text: str) -> None:
        """Send whole lines on the front server's error stream; keep the rest for the next."""
        self._error_text += text
        if "\n" in text or len(self._error_text) > 8192:
            self.flush_errors()

    def flush_errors(self) -> None:
        connection = self.connection
        with connection.lock:
            if not self.gone and connection.exchanges.get(self.id) is self:
                self._flush_errors()
            self._error_text = ""

    def _flush_errors(self) -> None:
        data = self._due_errors()
        pieces = self.connection.wire.send_error(self.id, data) if data else []
        if pieces:
            self.connection.send(pieces)


class Errors:
    """wsgi.errors: to the front server's error stream where there is one, and to our log."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        exchange = self._exchange
        exchange.connection.site.log.application(text)
        try:
            exchange.write_error(text)
        except ConnectionError:  # an application that only logs need not know
            pass
        return len(text)

    def writelines(self, lines: "list[str]") -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._exchange.flush_errors()
        except ConnectionError:  # as above
            pass


class DataSource:
    """The Source of a FILTER's DATA stream."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def pull(self, want: int) -> bytes:
        return self._exchange.connection.pull_data(self._exchange, want)

    def gather(self, want: int) -> bytes:
        return gather_by_pulling(self, want)

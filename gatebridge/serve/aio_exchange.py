"""One request of an asyncio worker: the ``AsyncOut`` and the ``AsyncSource`` of engine.aseams.

Everything here runs in the thread of the event loop, so nothing is locked and nothing waits but
coroutines. What the peer does not take is kept by the connection; what the application does not
take is kept here, up to a window, beyond which the peer is not read from.
"""

import os
import stat
from time import time
from typing import Any

from gatebridge.engine.pages import failure_page, new_incident
from gatebridge.errors import AppError, PeerError
from gatebridge.serve.aio_raw import Raw, no_upgrade, upgrade
from gatebridge.serve.asked import Asked
from gatebridge.serve.scoreboard import limit
from gatebridge.wire.cgi_head import Head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import Callable

    from gatebridge.engine.aseams import RawReader
    from gatebridge.serve.aio_connection import AioConnection

WINDOW = 1 << 18  # bytes of a body that nobody took yet
_FILE_PIECE = 1 << 18  # bytes read at once from a file that is sent


class AioExchange(Asked):
    """One request id of one connection.

    began     monotonic
    left_at   monotonic; when the peer left, until the task is cancelled for that; else 0.0
    running   the application's own coroutine, where the engine shows it
    place     on the scoreboard, where there is room; place_at its number
    release   close() of what the routing table returned, which frees a route's limit
    """

    __slots__ = ("_ended_waits", "_file", "_file_left", "_offset", "_pieces", "_reader",
                 "abandoned", "began", "connection", "ended", "error", "finished", "id",
                 "idle_since", "left_at", "most", "place", "place_at", "received", "release",
                 "running", "serial", "soft_gone", "task", "timeout_s", "unread")  # fmt: skip

    def __init__(self, connection: "AioConnection", id: int, ended: bool) -> None:
        super().__init__(connection.site.name)
        self.connection = connection
        self.id = id
        self.ended = ended  # STDIN has come whole
        self.error: PeerError | None = None  # why the body cannot be read on
        self.unread = 0  # bytes of body that nobody took
        self.received = 0  # bytes of body in all
        self.most = connection.site.limit_body  # bytes of body
        self.began = 0.0
        self.left_at = 0.0
        self.idle_since = 0.0  # monotonic; when a read began to wait for a byte
        self.timeout_s = 0.0  # of its route; 0.0 for the worker's
        self.soft_gone = False  # the peer has closed its side: it may still read
        self.finished = False  # the answer is complete, cut or nobody's any more
        self.abandoned = False  # answered in the application's place
        self.running: Any = None
        self.serial = 0
        self.place: memoryview | None = None
        self.place_at = -1
        self.task: Task[None] | None = None
        self.release: Callable[[], object] | None = None
        self._pieces: list[bytes] = []
        self._reader: Future[None] | None = None
        self._ended_waits: set[Future[None]] = set()
        self._file = -1  # descriptor of what is being sent
        self._file_left = 0
        self._offset = 0

    def limit_time(self, seconds: float) -> None:
        """``environ["gatebridge.timeout"]``: this request may take so long, whatever others may."""
        self.timeout_s = seconds
        if self.place is not None:
            limit(self.place, seconds)

    def is_gone(self) -> bool:
        """``environ["gatebridge.gone"]``: nobody waits for this answer any more."""
        return self.gone

    # -- AsyncSource

    def take(self) -> bytes:
        pieces = self._pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        self.unread = 0
        if self.connection.paused:
            self.connection.resume()
        return data

    async def more(self) -> bytes:
        while not self._pieces:
            if self.error is not None:
                raise self.error
            if self.gone:
                raise ConnectionResetError("the peer left before the end of the body")
            if self.ended:
                return b""
            waiter = self.connection.tasks.new_future()
            self._reader = waiter
            self.idle_since = self.connection.tasks.now()
            try:
                await waiter
            finally:
                self._reader = None
                self.idle_since = 0.0
        return self.take()

    async def has_left(self) -> None:
        """``gone()`` of the source; see Source."""
        if self.gone or self.finished or self.soft_gone:
            return
        waiter = self.connection.tasks.new_future()
        self._ended_waits.add(waiter)
        try:
            await waiter
        finally:  # whoever only looks, as Starlette's is_disconnected(), is cancelled each time
            self._ended_waits.discard(waiter)

    # -- what the connection tells

    def arrived(self, data: bytes) -> None:
        """A piece of the body has come."""
        self.received += len(data)
        if self.received > self.most and self.error is None:
            most = self.most
            self.fail_body(PeerError("body.too_big", f"more than {most} bytes"))
        if self.error is not None or self.finished:
            return
        self._pieces.append(data)
        self.unread += len(data)
        if self.unread > WINDOW:
            self.connection.pause()
        self._wake_reader()

    def fail_body(self, error: PeerError) -> None:
        """No more of the body can be had."""
        self.error = error
        self.ended = True
        self._pieces = []
        self.unread = 0
        self._wake_reader()

    def body_ended(self) -> None:
        self.ended = True
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def closes_its_side(self) -> None:
        """Whoever waits for the peer to leave is told; an answer goes out all the same."""
        self.soft_gone = True
        self._wake_ended()

    def leaves(self) -> None:
        """Nobody will read the answer."""
        if self.finished:
            return
        self.gone = True
        self.left_at = self.connection.tasks.now()
        self.completes()
        self._wake_reader()
        self.connection.wake_drainers()

    def _wake_ended(self) -> None:
        waits, self._ended_waits = self._ended_waits, set()
        for waiter in waits:
            if not waiter.done():
                waiter.set_result(None)

    def completes(self) -> None:
        """The answer is complete, or nobody's any more."""
        self.finished = True
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._wake_ended()
        self.connection.tasks.answered(self)

    # -- AsyncOut

    @property
    def extensions(self) -> dict[str, dict[str, object]]:
        return self.connection.extensions

    @property
    def congested(self) -> bool:
        return self.connection.congested

    async def drain(self) -> None:
        await self.connection.drained(self)

    def _check(self) -> None:
        if self.gone or self.finished:
            raise ConnectionResetError("the peer has left")

    def answer(self, head: Head, body: bytes) -> None:
        self._check()
        if self._error_text:
            self._flush_errors()
        connection = self.connection
        wire = connection.wire
        if self._held:
            pieces = self._head_pieces(head)
            pieces += wire.send_body(self.id, body)
            pieces += wire.send_end(self.id, 0, self._held)
        else:
            pieces = wire.send_answer(self.id, head, body)
        self.status = head.status
        self.sent = len(body)
        self._finish(pieces)

    def start(self, head: Head, data: bytes) -> None:
        self._check()
        pieces = self._head_pieces(head)
        self.status = head.status
        self.sent = len(data)
        pieces += self.connection.wire.send_body(self.id, data)
        self.connection.send(pieces)

    def _head_pieces(self, head: Head) -> "list[bytes | memoryview]":
        """The head, and what was held back of the error stream because of it."""
        wire = self.connection.wire
        pieces = [*wire.send_head(self.id, head)]
        if self._held and not self._is_haproxy:
            pieces += wire.send_error(self.id, self._held)
            self._held = b""
        return pieces

    def write(self, data: bytes) -> None:
        self._check()
        self.sent += len(data)
        self.connection.send(self.connection.wire.send_body(self.id, data))

    def end(self) -> None:
        self._check()
        if self._error_text:
            self._flush_errors()
        self._finish(self.connection.wire.send_end(self.id, 0, self._held))

    def _finish(self, pieces: "list[bytes | memoryview]") -> None:
        """Send the last of the answer. The id is free before that: END_REQUEST is among it."""
        connection = self.connection
        connection.finish(self)
        try:
            connection.send(pieces)
        except ConnectionError:
            self.gone = True
            self.completes()
            raise
        self.completes()
        connection.answered()

    def file(self, head: Head, path: str) -> bool:
        self._check()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise AppError("file.open", f"{path}: {error.strerror}") from error
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise AppError("file.open", f"{path} is no regular file")
            if head.length < 0:
                head = head.with_length(about.st_size)
            self.start(head, b"")
        except BaseException:
            os.close(fd)
            raise
        self._file = fd
        self._file_left = head.length
        self.connection.pump(self)
        return True

    def pump_file(self) -> bool:
        """Send on from the file while the peer takes it. True: no more is to be sent."""
        while self._file >= 0 and not self.connection.congested:
            data = b""
            if self._file_left:
                data = os.pread(self._file, min(self._file_left, _FILE_PIECE), self._offset)
            if not data:
                self._end_file()
                return True
            self._offset += len(data)
            self._file_left -= len(data)
            try:
                self.write(data)
            except ConnectionError:  # left: leaves() has closed the file
                return True
        return self._file < 0

    def _end_file(self) -> None:
        os.close(self._file)
        self._file = -1
        try:
            if self._file_left:  # it became shorter meanwhile
                self.cut(AppError("body.too_short", f"{self._file_left} bytes are missing"))
            else:
                self.end()
        except ConnectionError:  # left: there is nobody to tell
            pass

    @property
    def sends_file(self) -> bool:
        return self._file >= 0

    def hints(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._check()
        self.connection.send(self.connection.early(headers))

    def trailers(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._check()
        self.connection.trail(headers)

    @property
    def no_upgrade(self) -> str:
        return no_upgrade(self)

    def upgrade(self, head: bytes, reader: "RawReader") -> Raw:
        self._check()
        return upgrade(self, head, reader)

    def cut(self, error: BaseException) -> None:
        if not self.finished:
            try:
                self.connection.cut(self)
            finally:  # also where the peer left at the same moment
                self.completes()

    def task_done(self, task: "Task[None]") -> None:
        self.connection.tasks.done(self, task)

    # -- what the operator is told

    def failed(self, incident: str, error: BaseException) -> None:
        log = self.connection.site.log
        log.failed(incident, self.line, error)
        if not self.gone:
            text = f"gatebridge: incident {incident}: {type(error).__name__}: {error}\n"
            lines = log.traceback(error).splitlines()
            self.write_error(text + "".join(f"[{incident}] {line}\n" for line in lines))

    def note(self, error: AppError) -> None:
        self.connection.site.log.note(error, self.line)

    def refused(self, incident: str, error: PeerError) -> None:
        self.connection.site.log.refused(incident, self.line, error)

    def write_error(self, text: str) -> None:
        """Send lines on the front server's error stream, where there is one."""
        self._error_text += text
        if not self.finished:
            self._flush_errors()

    def _flush_errors(self) -> None:
        data = self._due_errors()
        pieces = self.connection.wire.send_error(self.id, data) if data else []
        if pieces:
            self.connection.send(pieces)

    def refuse(self, error: PeerError) -> None:
        """Answer a request that no application will see."""
        incident = new_incident()
        self.refused(incident, error)
        try:
            self.answer(*self.connection.site.refusal(error, incident))
        except ConnectionError:
            self.gone = True

    def fail(self, error: BaseException) -> None:
        """Answer for an application that ended without an answer, or with half of one."""
        if self.finished:
            return
        incident = new_incident()
        self.failed(incident, error)
        try:
            if self.status:
                self.cut(error)
            else:
                is_head = (self.environ or {}).get("REQUEST_METHOD") == "HEAD"
                self.answer(*failure_page(incident, is_head))
        except ConnectionError:
            self.gone = True

    def log_line(self, now: float) -> None:
        """The access log's."""
        access = self.connection.site.access
        if access is not None and self.environ is not None:
            self.started = time()
            access.write(self.environ, self, now - self.began)

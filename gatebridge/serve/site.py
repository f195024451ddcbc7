"""What all connections of one listener share, and how one request of theirs is run."""

from __future__ import annotations

from io import BytesIO
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from gatebridge.engine.body import Body
from gatebridge.engine.pages import new_incident, refusal_page
from gatebridge.engine.spill import Spill, spool
from gatebridge.engine.wsgi import FileWrapper, run
from gatebridge.environ.build import set_length
from gatebridge.errors import PeerError
from gatebridge.serve.exchange import DataSource, Errors
from gatebridge.serve.gate import Gate
from gatebridge.serve.request_id import request_id
from gatebridge.wire.events import FILTER, UNKNOWN_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.engine.seams import Application
    from gatebridge.environ.build import Builder
    from gatebridge.environ.front import Met
    from gatebridge.serve.access_log import AccessLog
    from gatebridge.serve.aio_choice import Asynchronous
    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.explaining import Order
    from gatebridge.serve.send_file import SendFile
    from gatebridge.serve.worker_log import WorkerLog
    from gatebridge.wire.cgi_head import Head
    from gatebridge.wire.events import Event, Limits, Request

    Pieces = list[bytes | memoryview]


class Wire(Protocol):
    """The members every protocol has; see wire.events."""

    counted: bool
    raw_body: bool

    @property
    def closing(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    @property
    def resting(self) -> bool: ...
    def receive(self, data: bytes) -> list[Event]: ...
    def send_head(self, id: int, head: Head) -> Pieces: ...
    def send_body(self, id: int, data: bytes) -> Pieces: ...
    def send_end(self, id: int, app_status: int, errors: bytes = b"") -> Pieces: ...
    def send_error(self, id: int, data: bytes) -> Pieces: ...
    def send_answer(self, id: int, head: Head, body: bytes) -> Pieces: ...
    def send_cut(self, id: int, alone: bool) -> Pieces: ...
    def keeps(self, id: int) -> bool: ...
    def direct(self, id: int) -> int: ...
    def skip(self, id: int, count: int) -> None: ...
    def due(self, id: int, want: int) -> int: ...
    def sure(self, id: int, want: int) -> int: ...
    def take(self, id: int, data: bytes, at: int, parts: Pieces) -> tuple[int, int]: ...


class Site:
    """One listener's protocol, application, limits and logs.

    name        "fastcgi", "scgi", "uwsgi" or "http"
    bind        as the operator wrote it
    tcp         the listener is no Unix socket
    server      (SERVER_NAME, SERVER_PORT) of an HTTP listener, for environ
    secure      the listener itself speaks TLS, which HTTP ones can for development
    sole        the only application of an asyncio worker, where nothing stands before it
    is_elsewhere  whether a request is for an event loop, by its environ; None: there is none
    elsewhere   takes such a request over
    submit      hands requests found beside the running one to the loop
    order       a request that somebody waits for; whoever sets it raises builder.news
    tell_front  is told of each front server that is met for the first time
    """

    __slots__ = ("_proxy_noted", "access", "app", "bind", "body_idle_s", "builder", "elsewhere",
                 "extra", "gate", "header_s", "is_elsewhere", "limit_body", "limit_message",
                 "limits", "linger_s", "log", "name", "new_wire", "order", "secure", "send_file",
                 "send_idle_s", "server", "sole", "spool_dir", "spool_floor", "spool_memory",
                 "submit", "tcp", "tell_front", "websocket_ping_s")  # fmt: skip

    def __init__(
        self,
        name: str,
        bind: str,
        tcp: bool,
        new_wire: Callable[[Limits], Wire],
        limits: Limits,
        builder: Builder,
        app: Application,
        log: WorkerLog,
        access: AccessLog | None,
    ) -> None:
        self.name = name
        self.bind = bind
        self.tcp = tcp
        self.new_wire = new_wire
        self.limits = limits
        self.builder = builder
        self.app = app
        self.log, self.access = log, access
        self.server = ("localhost", "80")
        self.extra: dict[str, object] = {
            "wsgi.file_wrapper": FileWrapper,
            "gatebridge.protocol": name,
            "gatebridge.bind": bind,
            "gatebridge.request_id_of": request_id,  # of environ: made when somebody asks
        }
        self.gate = Gate(1 << 20)  # the loop's, once there is one
        self.limit_body = 1 << 30  # bytes
        self.limit_message = 1 << 24  # bytes, of a WebSocket
        self.websocket_ping_s = 20.0
        self.header_s, self.linger_s = 10.0, 2.0
        self.body_idle_s = self.send_idle_s = 60.0
        self.spool_memory = 1 << 20  # bytes
        self.spool_dir: str | None = None
        self.spool_floor = 16 << 20  # bytes
        self.send_file: SendFile | None = None  # files that the server in front sends
        self._proxy_noted = self.secure = False
        self.sole: Asynchronous | None = None
        self.is_elsewhere: Callable[[dict[str, object]], bool] | None = None
        self.elsewhere: Callable[[Exchange, Request, int], bool] = _nowhere
        self.order: Order | None = None
        self.tell_front: Callable[[str, Met], None] = self._log_front
        self.submit: Callable[[list[tuple[Exchange, Request]]], None] = _no_loop

    def new_spill(self) -> Spill:
        return Spill(self.spool_memory, self.spool_dir, self.spool_floor)

    def refusal(self, error: PeerError, incident: str) -> tuple[Head, bytes]:
        return refusal_page(error, incident, False)

    def serve(self, exchange: Exchange, request: Request) -> None:
        """Run one request to its end. Raises nothing of the peer's or the application's."""
        begun = monotonic() if self.access is not None else 0.0
        environ = request.vars
        try:
            app = exchange.app
            if app is None:
                app = self.prepare(exchange, request)
            if app is None:
                return
            length = exchange.length
            environ["wsgi.errors"] = Errors(exchange)
            environ["gatebridge.timeout"] = exchange.limit_time
            environ["gatebridge.gone"] = exchange.is_gone
            if self.access is not None and self.access.wants_id:
                request_id(environ)  # the application may show it, too
            if request.complete and not request.body and length <= 0:
                environ["wsgi.input"] = BytesIO()
            else:
                environ["wsgi.input"] = self._input(exchange, request, environ, length)
            run(app, environ, exchange)
        except PeerError as error:  # of build() and _input(): run() raises none
            if self.builder.news:
                self.notice(exchange.connection.peer, request)
            self.refuse(exchange, error)
        except (ConnectionError, TimeoutError):  # the peer left, and nobody wants the answer
            exchange.gone = True
        if self.access is not None:
            exchange.started = time()
            self.access.write(environ, exchange, monotonic() - begun)
        exchange.environ = None  # they hold each other
        if exchange.gone or not exchange.ended or exchange.feed is not None:
            self.release(exchange)

    def prepare(self, exchange: Exchange, request: Request) -> Application | None:
        """Build a request's environ: once, by its thread or by the watch while all are stuck.

        returns  what answers it; None: an event loop does, and has its connection from now on
        raises   PeerError
        """
        if self.name == "http":
            self.add_addresses(exchange.connection.peer, request.vars)
        environ = exchange.environ = request.vars
        app = self.app
        _, exchange.length = self.builder.build(request)
        if self.builder.news:
            app = self.notice(exchange.connection.peer, request) or app
        environ.update(self.extra)
        if app is self.app and self.is_elsewhere is not None and self.is_elsewhere(environ):
            if self.elsewhere(exchange, request, exchange.length):
                return None
        return app

    def release(self, exchange: Exchange) -> None:
        """Whatever happened: the id is answered or given up, its temporary files are closed."""
        connection = exchange.connection
        if exchange.gone:
            with connection.lock:
                if connection.exchanges.get(exchange.id) is exchange:
                    try:
                        pieces = connection.wire.send_end(exchange.id, 0)
                        connection.finish(exchange)
                        if not connection.eof:
                            connection.send(pieces)
                    except ConnectionError:  # noqa: S110 - it is gone, as said
                        pass
        if exchange.feed is not None:
            exchange.feed.close()

    def turned_away(self, exchange: Exchange, request: Request) -> None:
        """The access log's line for a request that no application saw."""
        if self.access is not None:
            exchange.started = time()
            self.access.write(request.vars, exchange, 0.0)

    def refuse(self, exchange: Exchange, error: PeerError) -> None:
        """Answer a request that no application will see."""
        incident = new_incident()
        exchange.refused(incident, error)
        try:
            exchange.answer(*self.refusal(error, incident))
        except ConnectionError:
            exchange.gone = True

    def _input(
        self, exchange: Exchange, request: Request, environ: dict[str, object], length: int
    ) -> object:
        if request.role == FILTER:
            environ["gatebridge.data"] = Body(DataSource(exchange), b"", UNKNOWN_LENGTH)
        body = request.body
        if length > self.limit_body:
            raise PeerError("body.too_big", f"{length} > {self.limit_body} bytes")
        if request.complete and len(body) >= length:
            return BytesIO(body[:length] if 0 <= length < len(body) else body)
        if length >= 0 and not request.doubtful:
            return Body(exchange, body, length)
        spooled = spool(exchange, body, self.new_spill(), self.limit_body)
        set_length(environ, spooled.length)
        return Body(spooled, b"", spooled.length)

    def notice(self, peer: object, request: Request) -> Application | None:
        """What happens now and then: the builder has seen something, or somebody waits.

        What answers instead of the site's own application; None for that.
        """
        builder = self.builder
        builder.news = False  # first: another thread may raise it meanwhile
        if builder.saw_proxy:
            self._note_proxy()
        while builder.met:
            met = builder.met.pop(0)
            if self.name != "http":  # there nobody is in front
                self.tell_front(self.bind, met)
        order = self.order
        if order is None:
            return None
        if order.is_over:
            self.order = None
            return None
        builder.news = True  # until it is over
        if not order.wants(request.vars):
            return None
        added: dict[str, object] = {}
        if self.name == "http":
            self.add_addresses(peer, added)
        return order.keep(self, request, {name: str(added[name]) for name in added})

    def _note_proxy(self) -> None:
        """Say once that a Proxy header was dropped (CVE-2016-5385 and its kin)."""
        self.builder.saw_proxy = False
        if not self._proxy_noted:
            self._proxy_noted = True
            why = "a Proxy header was dropped; further ones are not reported"
            self.log.note(PeerError("header.proxy", why), "")

    def _log_front(self, bind: str, met: Met) -> None:
        from gatebridge.serve.front_log import front_line

        self.log.line(*front_line(bind, met.front, met.software, met.sign))

    def add_addresses(self, peer: object, variables: dict[str, object]) -> None:
        """What only the owner of the socket knows of an HTTP request."""
        variables["SERVER_NAME"], variables["SERVER_PORT"] = self.server
        variables["SERVER_SOFTWARE"] = "gatebridge"
        if self.secure:
            variables["HTTPS"] = "on"
        if isinstance(peer, tuple):
            variables["REMOTE_ADDR"], variables["REMOTE_PORT"] = str(peer[0]), str(peer[1])
        else:
            variables["REMOTE_ADDR"] = ""


def _no_loop(fresh: list[tuple[Exchange, Request]]) -> None:
    """A site without a loop has nobody to run a second request."""


def _nowhere(exchange: Exchange, request: Request, length: int) -> bool:
    """A site without an event loop."""
    return False

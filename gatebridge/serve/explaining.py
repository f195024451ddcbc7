"""A worker's side of `gatebridge explain`: keep what one request carries, once, when it is asked.

Nothing of this is looked at while nobody asks: an order raises the Builder's own flag for news,
which every request looks at anyway.
"""

from __future__ import annotations

import contextlib
import json
import os
from _thread import allocate_lock
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from gatebridge.environ.report import change, put_other, report
from gatebridge.serve import channel
from gatebridge.serve.probe_answer import ANSWERS

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gatebridge.engine.seams import Application
    from gatebridge.environ.front import Met
    from gatebridge.environ.report import Report
    from gatebridge.serve.channel import Message
    from gatebridge.serve.site import Site
    from gatebridge.wire.request import Request

    Taker = Callable[["Order", Site, Request, dict[str, str]], None]
    Split = Callable[[dict[str, object]], tuple[str, str, str]]

TOKEN = "HTTP_X_GATEBRIDGE_EXPLAIN"  # in a request that `gatebridge explain --url` makes
ROOM = 900_000  # bytes of a report, where its order keeps them; one more says it was taken
_CUTS = (8_192, 1_024, 128, 16)  # characters of a value, and of a name, in one that is too long
_OF_REQUEST = {  # what serve.site puts in after the environ is built
    "wsgi.input": "<the body>",
    "wsgi.errors": "<the error log, and the front server's>",
    "gatebridge.timeout": "<a function: seconds that this request may take>",
    "gatebridge.gone": "<a function: whether the client has left>",
}
_SOFTWARE_MAX = 256  # characters of a SERVER_SOFTWARE in a message


class Order:
    """One request that somebody waits for.

    token  the request must carry it; "" for any
    path   its path begins so
    until  monotonic; from then on nobody waits
    fd     a file of which ROOM + 1 bytes from ``at`` on are ours; closed with the order
    taker  is told of the request, once
    kind   of probe_answer.ANSWERS, which is given instead of the application's; "" for that
    """

    __slots__ = ("_at", "_fd", "_kind", "_lock", "_taken", "_taker", "number", "path", "token",
                 "until")  # fmt: skip

    def __init__(
        self,
        number: int,
        token: str,
        path: str,
        until: float,
        fd: int,
        at: int,
        taker: Taker,
        kind: str = "",
    ) -> None:
        self.number = number
        self.token = token
        self.path = path
        self.until = until
        self._fd = fd
        self._at = at
        self._taker = taker
        self._kind = kind
        self._lock = allocate_lock()
        self._taken = False

    @property
    def is_over(self) -> bool:
        return self._taken or monotonic() >= self.until

    def wants(self, vars: dict[str, object]) -> bool:
        if self.token:
            return vars.get(TOKEN) == self.token
        path = f"{vars.get('SCRIPT_NAME', '')}{vars.get('PATH_INFO', '')}"
        return path.startswith(self.path)

    def keep(self, site: Site, request: Request, added: dict[str, str]) -> Application | None:
        """This is the request, if it is the first one. What answers it; None for the site's."""
        answer = None
        with self._lock:
            first, self._taken = not self._taken, True
            if first and self._kind:
                with contextlib.suppress(OSError):  # no descriptor is free
                    answer = ANSWERS[self._kind](self._fd, self._at + ROOM)
        if first:
            self._taker(self, site, request, added)
        return answer

    def put(self, told: Report) -> int:
        """Keep a report. Its bytes. raises OSError"""
        data = fitted(told)
        at = 0
        with self._lock:  # it is not closed meanwhile
            while at < len(data):
                at += os.pwrite(self._fd, data[at:], self._at + at)
        return len(data)

    def close(self) -> None:
        with self._lock:
            self._taken = True
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1


class Explaining:
    """One worker's. sock: its channel; split: its routing table's, where it has one."""

    __slots__ = ("_order", "_sites", "_sock", "_split")

    def __init__(self, sites: Sequence[Site], sock: socket.socket, split: Split | None) -> None:
        self._sites = sites
        self._sock = sock
        self._split = split
        self._order: Order | None = None
        for site in sites:
            site.tell_front = self.tell_front

    def tell_front(self, bind: str, met: Met) -> None:
        """Say to the supervisor who is in front of us; it tells the operator once."""
        about = {"front": met.front, "sign": met.sign, "software": met.software[:_SOFTWARE_MAX]}
        channel.send(self._sock, {"say": "front", "bind": bind, **about})

    def obey(self, message: Message, fds: list[int]) -> None:
        """Begin to wait for a request, or, without a descriptor, stop that."""
        for site in self._sites:
            site.order = None
        if self._order is not None:
            self._order.close()
            self._order = None
        number, at = message.get("number"), message.get("at")
        for fd in fds[1:]:
            os.close(fd)
        kind = channel.text_of(message, "answer")
        if not fds or not isinstance(number, int) or not isinstance(at, int):
            return
        if kind not in ANSWERS:
            kind = ""
        until = monotonic() + channel.seconds_of(message, "left")
        token, path = channel.text_of(message, "token"), channel.text_of(message, "path")
        order = self._order = Order(number, token, path, until, fds[0], at, self.hand_over, kind)
        for site in self._sites:
            site.order = order
            site.builder.news = True
        channel.send(self._sock, {"say": "explaining", "number": number})

    def hand_over(self, order: Order, site: Site, request: Request, added: dict[str, str]) -> None:
        """This is the request. Whatever goes wrong here, it is served."""
        size = 0
        try:
            size = order.put(observed(site, request, added, self._split))
        except Exception as error:
            site.log.fault("explain", error)
        channel.send(self._sock, {"say": "explained", "number": order.number, "size": size})


def observed(site: Site, request: Request, added: dict[str, str], split: Split | None) -> Report:
    """The report of a request that is about to be served."""
    told = report(site.builder, request, added)
    told |= {"protocol": site.name, "bind": site.bind, "pid": os.getpid(), "at": round(time(), 3)}
    told["route"] = ""
    if told["refused"] is not None:
        return told
    for name, value in site.extra.items():
        put_other(told, name, value)
    told["others"] |= _OF_REQUEST
    if split is not None:
        environ: dict[str, object] = dict(told["environ"])
        told["route"], script, info = split(environ)
        change(told, "route", "SCRIPT_NAME", script)
        change(told, "route", "PATH_INFO", info)
    return told


def fitted(told: Report) -> bytes:
    """As JSON in at most ROOM bytes: long values, then long lists, are cut."""
    data = json.dumps(told).encode()
    for most in _CUTS:
        if len(data) <= ROOM:
            return data
        data = json.dumps({**_cut(told, most), "cut": most}).encode()
    return data if len(data) <= ROOM else json.dumps({**_cut(told, 16, 500), "cut": 16}).encode()


def _cut(value: Any, most: int, items: int = 1 << 20) -> Any:
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:most]}... ({len(value)} characters)"
    if isinstance(value, list):
        return [_cut(one, most, items) for one in value[:items]]
    if isinstance(value, dict):
        kept = list(value.items())[:items]
        return {str(_cut(name, max(most, 64))): _cut(one, most, items) for name, one in kept}
    return value

"""Connections to a back end: kept while they are idle, and looked at before they are used."""

from __future__ import annotations

import os
import socket
import threading
from select import POLLIN, poll
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.connect import connect
from gatebridge.errors import AppError, GatebridgeError

if TYPE_CHECKING:
    from gatebridge.apps.upstream_options import Place

_KEEP_HTTP = 8


class Pool:
    """Of one process. Any thread may call it; the connection that was idle last is used first.

    keep  idle connections, at most
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        keep = place.options.keep
        self.keep = keep if keep >= 0 else _KEEP_HTTP * place.is_http
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[socket.socket, float]] = []  # with when that began
        self._closed = False
        self._pid = os.getpid()

    def take(self) -> socket.socket | None:
        """An idle connection that is still there."""
        if self._pid != os.getpid():  # forked: they are the parent's
            for sock, _ in self._idle:
                sock.close()
            self._begin()
        while True:
            with self._lock:
                if not self._idle:
                    return None
                sock, since = self._idle.pop()
            if monotonic() - since < self._place.options.idle and not _has_news(sock):
                return sock
            sock.close()

    def open(self) -> socket.socket:
        """A new one. raises AppError("upstream.connect"), AppError("upstream.connect_timeout")"""
        place = self._place
        try:
            sock = connect(place.bind, place.options.connect)
        except GatebridgeError as error:
            late = error.code in ("connect.timeout", "connect.busy")
            raise AppError(
                "upstream.connect_timeout" if late else "upstream.connect",
                f"{error.detail} ({error.code})",
            ) from None
        sock.setblocking(False)
        if place.bind.family == "tcp":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def put(self, sock: socket.socket) -> None:
        """Keep it for another request, or close it."""
        gone: list[socket.socket] = []
        with self._lock:
            if self._closed or self.keep == 0:
                gone.append(sock)
            else:
                self._idle.append((sock, monotonic()))
                oldest = monotonic() - self._place.options.idle
                while len(self._idle) > self.keep or self._idle[0][1] < oldest:
                    gone.append(self._idle.pop(0)[0])
        for one in gone:
            one.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for sock, _ in idle:
            sock.close()


def _has_news(sock: socket.socket) -> bool:
    """Its end, or bytes that nobody asked for."""
    look = poll()
    look.register(sock, POLLIN)
    return bool(look.poll(0))

"""The control socket of a supervisor: one line of JSON in, one line out, then it closes.

Nothing here waits: whoever sends nothing, too much or half a line, or does not read its answer, is
dropped. A client is the daemon's own user or root; nobody else is answered.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic
from typing import TYPE_CHECKING, Any

from gatebridge.control_client import LINE_MAX, daemon_name, default_path, is_private, peer_uid
from gatebridge.errors import ConfigError, GatebridgeError
from gatebridge.serve.socket_file import MAX_PATH, alone, bind_file, clear_stale, inode

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = dict[str, Any]
    Handler = Callable[[dict[str, Any]], dict[str, Any]]

LATER: dict[str, Any] = {}  # what a handler returns when later() will answer

CLIENTS_MAX = 32
REQUEST_S = 10.0  # for the whole line to come
SEND_S = 10.0  # for the answer to be taken
_ACCEPTS = 16  # in one turn
_PAUSE_S = 1.0  # without accepting, when no descriptor is free
_BACKLOG = 16
_CHUNK = 65_536
_MODE = 0o600


class _Client:
    """One connection. deadline: monotonic; 0.0 while its answer is being made."""

    __slots__ = ("deadline", "denied", "id", "received", "sending", "sock", "watched")

    def __init__(self, id: int, sock: socket.socket, deadline: float) -> None:
        self.id = id
        self.sock = sock
        self.denied = False  # it is another user's
        self.deadline = deadline
        self.received = bytearray()
        self.sending = memoryview(b"")
        self.watched = 0


class Control:
    """Listens at a path, and answers with its handlers.

    path       its folder is made, 0700, where it is missing
    inherited  a listening socket that is there already, handed over with its path
    clock      monotonic seconds
    handlers   by command; what they return is the answer, LATER means that later() will answer
               request["client"]. A GatebridgeError they raise becomes the answer.
    fault      told about any other exception of theirs
    fd         readable when serve() has something to do
    raises     ConfigError("bind.in_use"), ConfigError("bind.failed"), ConfigError("control.folder")
    """

    __slots__ = ("_clients", "_clock", "_inode", "_next", "_paused", "_selector", "_sock", "fault",
                 "handlers", "path")  # fmt: skip

    def __init__(
        self,
        path: str,
        inherited: socket.socket | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.path = os.path.abspath(path)
        self.handlers: dict[str, Handler] = {}
        self.fault: Callable[[str, BaseException], None] = lambda where, error: None
        self._clock = clock
        self._clients: dict[int, _Client] = {}
        self._next = 1
        self._paused = 0.0
        self._sock = inherited or _listen(self.path)
        self._sock.setblocking(False)
        self._inode = inode(self.path)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._sock, EVENT_READ)

    @property
    def fd(self) -> int:
        return self._selector.fileno()

    @property
    def sock(self) -> socket.socket:
        """The listening socket, to hand it over."""
        return self._sock

    @property
    def deadline(self) -> float | None:
        """When expire() has something to do; None for never."""
        times = [client.deadline for client in self._clients.values() if client.deadline]
        if self._paused:
            times.append(self._paused)
        return min(times, default=None)

    def serve(self, fd: int = -1) -> None:
        """Do what can be done now."""
        for key, mask in self._selector.select(0):
            client: _Client | None = key.data
            if self._inode is None:  # a handler has closed us
                return
            if client is None:
                self._accept()
            elif client.id not in self._clients:
                continue  # dropped a moment ago, to make room
            elif mask & EVENT_READ:
                self._receive(client)
            else:
                self._send(client)
        self.expire(self._clock())

    def later(self, client_id: int, answer: Answer) -> bool:
        """Answer a request whose handler returned LATER. False: that client is not there."""
        client = self._clients.get(client_id)
        if client is None or client.deadline:
            return False
        self._answer(client, answer)
        return True

    def expire(self, now: float) -> None:
        """Drop whoever took too long."""
        for client in list(self._clients.values()):
            if client.deadline and now >= client.deadline:
                self._drop(client)
        if self._paused and now >= self._paused:
            self._paused = 0.0
            self._selector.register(self._sock, EVENT_READ)

    def renew(self) -> bool:
        """Listen anew if the file is gone, as after somebody cleaned up. True: it was.

        raises  as the constructor
        """
        if inode(self.path) is not None:
            return False
        fresh = _listen(self.path)
        fresh.setblocking(False)
        if not self._paused:
            self._selector.unregister(self._sock)
            self._selector.register(fresh, EVENT_READ)
        self._sock.close()
        self._sock = fresh
        self._inode = inode(self.path)
        return True

    def close(self) -> None:
        """Stop; remove the file if it is still the one we made."""
        if self._inode is not None and inode(self.path) == self._inode:
            os.unlink(self.path)
        self.abandon()

    def abandon(self) -> None:
        """Close our descriptors and nothing else: in a forked child, or after a hand-over."""
        self._inode = None
        for client in self._clients.values():
            client.sock.close()
        self._clients.clear()
        self._sock.close()
        self._selector.close()

    # -- one client

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError:  # no descriptor is free; the listener would stay readable
                self._selector.unregister(self._sock)
                self._paused = self._clock() + _PAUSE_S
                return
            sock.setblocking(False)
            if len(self._clients) >= CLIENTS_MAX:
                self._drop(min(self._clients.values(), key=_order))
            client = _Client(self._next, sock, self._clock() + REQUEST_S)
            self._clients[client.id] = client
            self._next += 1
            client.denied = not _is_allowed(sock)
            self._watch(client, EVENT_READ)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        at = data.find(b"\n")
        client.received += data if at < 0 else data[:at]
        if len(client.received) > LINE_MAX:
            self._answer(client, failure("control.too_big", f"a request has {LINE_MAX} bytes"))
        elif at >= 0 and client.denied:  # said now: an end with something unread undoes the answer
            self._answer(client, failure("control.denied", "this daemon is another user's"))
        elif at >= 0:
            self._handle(client, bytes(client.received))

    def _handle(self, client: _Client, line: bytes) -> None:
        client.received.clear()
        client.deadline = 0.0
        self._watch(client, 0)
        answer = self._result(client, line)
        if answer is not LATER:
            self._answer(client, answer)

    def _result(self, client: _Client, line: bytes) -> Answer:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        command = request.get("command") if isinstance(request, dict) else None
        if not isinstance(command, str):
            return failure("control.malformed", 'a request is as in {"command": "status"}')
        handler = self.handlers.get(command)
        if handler is None:
            known = ", ".join(sorted(self.handlers))
            return failure("control.unknown", f"no command {command[:40]!r}; there are {known}")
        request["client"] = client.id
        try:
            return handler(request)
        except GatebridgeError as error:
            return failure(error.code, error.detail)
        except Exception as error:  # a fault of ours must not end the supervisor
            self.fault(f"control {command}", error)
            return failure("control.fault", f"{type(error).__name__}: {error}")

    def _answer(self, client: _Client, answer: Answer) -> None:
        try:
            data = json.dumps(answer).encode() + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            self.fault("control answer", error)
            data = json.dumps(failure("control.fault", str(error))).encode() + b"\n"
        if len(data) > LINE_MAX:
            text = failure("control.too_big", f"the answer has {len(data)} bytes")
            data = json.dumps(text).encode() + b"\n"
        client.sending = memoryview(data)
        client.deadline = self._clock() + SEND_S
        self._send(client)

    def _send(self, client: _Client) -> None:
        try:
            sent = client.sock.send(client.sending)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # it has left
            self._drop(client)
            return
        client.sending = client.sending[sent:]
        if client.sending:
            self._watch(client, EVENT_WRITE)
        else:
            self._drop(client)

    def _watch(self, client: _Client, events: int) -> None:
        if client.watched == events:
            return
        if not events:
            self._selector.unregister(client.sock)
        elif client.watched:
            self._selector.modify(client.sock, events, client)
        else:
            self._selector.register(client.sock, events, client)
        client.watched = events

    def _drop(self, client: _Client) -> None:
        self._watch(client, 0)
        self._clients.pop(client.id, None)
        client.sock.close()


def open_control(path: str, name: str) -> Control:
    """The control socket of a daemon: at its path, else where its name says.

    A name that a running daemon has already gets this process's number behind it.
    raises  as Control does
    """
    if path:
        return Control(path)
    try:
        return Control(default_path(name))
    except ConfigError as error:
        if error.code != "bind.in_use":
            raise
        return Control(default_path(f"{daemon_name(name)}-{os.getpid()}"))


def failure(code: str, text: str) -> Answer:
    """The answer to what could not be done."""
    return {"ok": False, "code": code, "error": text}


def _order(client: _Client) -> tuple[bool, int]:
    """Who is dropped first: the oldest, and before those whose answer is being made."""
    return client.deadline == 0.0, client.id


def _is_allowed(sock: socket.socket) -> bool:
    """Root and the daemon's own user; the file's mode says the same where the kernel obeys it."""
    try:
        return peer_uid(sock) in (None, 0, os.geteuid())
    except OSError:
        return False


def _listen(path: str) -> socket.socket:
    if len(os.fsencode(path)) > MAX_PATH:
        raise ConfigError("control.folder", f"{path}: a socket's path has at most {MAX_PATH} bytes")
    try:
        _make_folder(os.path.dirname(path))
        with alone(path):
            clear_stale(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                bind_file(sock, path, _MODE)
                sock.listen(_BACKLOG)
            except BaseException:
                sock.close()
                raise
            return sock
    except OSError as error:
        raise ConfigError("bind.failed", f"control socket {path}: {error}") from error


def _make_folder(folder: str) -> None:
    before = os.umask(0o077)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
    finally:
        os.umask(before)
    if not is_private(folder):
        why = "others may put files there, or it belongs to another user"
        raise ConfigError("control.folder", f"{folder}: {why}; --control-socket names another path")

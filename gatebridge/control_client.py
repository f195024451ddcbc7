"""Asking a running daemon: where its control socket is, and one request over it.

The daemon and those who ask must agree about the path without having talked before: it follows
from the daemon's name and from whose it is. One line of JSON goes each way.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import struct
from time import monotonic
from typing import Any
from zlib import crc32

from gatebridge.bind import Bind
from gatebridge.connect import connect
from gatebridge.errors import ConfigError, GatebridgeError, PeerError, UseError

Answer = dict[str, Any]

SUFFIX = ".ctl"
LINE_MAX = 1 << 20  # bytes of a request, and of an answer
TIMEOUT_S = 10.0
_PATH_MAX = 107  # bytes, as the kernel has it
_NAME_MAX = 48
_PROBE_S = 1.0
_CHUNK = 65_536
_SYSTEM = "/run"
_TEMPORARY = "/tmp"
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid


def daemon_name(text: str) -> str:
    """A name made fit for a file's: that of the operator, else the daemon's first bind."""
    plain = text.partition("?")[0].removeprefix("unix:")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.")
    if len(name) > _NAME_MAX:
        name = f"{name[: _NAME_MAX - 9]}-{crc32(plain.encode('utf-8', 'replace')):08x}"
    return name or "gatebridge"


def default_path(name: str) -> str:
    """Where a daemon of this user and name has its control socket. Makes nothing.

    name  of the daemon; daemon_name() is applied
    """
    uid = os.geteuid()
    file = daemon_name(name) + SUFFIX
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    home = os.environ.get("HOME", "")
    choices = []
    if _is_ours(runtime, uid):
        choices.append(os.path.join(runtime, "gatebridge", file))
    if uid == 0 and os.path.isdir(_SYSTEM):
        choices.append(os.path.join(_SYSTEM, "gatebridge", file))
    if _is_ours(home, uid) and os.access(home, os.W_OK):
        choices.append(os.path.join(home, ".gatebridge", "run", file))
    for path in choices:
        if len(os.fsencode(path)) <= _PATH_MAX:
            return path
    return os.path.join(_temporary(), f"gatebridge-{uid}", file)


def folders() -> list[str]:
    """Every folder in which this user's daemons may have their sockets.

    More than default_path() would choose: a daemon started by the system has another environment.
    """
    uid = os.geteuid()
    found = [f"{_SYSTEM}/gatebridge", f"{_SYSTEM}/user/{uid}/gatebridge"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR", ""):
        found.insert(0, os.path.join(runtime, "gatebridge"))
    if home := os.environ.get("HOME", ""):
        found.append(os.path.join(home, ".gatebridge", "run"))
    found += [os.path.join(folder, f"gatebridge-{uid}") for folder in (_temporary(), _TEMPORARY)]
    return [folder for folder in dict.fromkeys(found) if is_private(folder)]


def is_private(folder: str) -> bool:
    """Nobody but its owner may put files there, and the owner is this user or root."""
    try:
        link, found = os.lstat(folder), os.stat(folder)
    except (OSError, ValueError):
        return False
    trusted = (0, os.geteuid())
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid in trusted
        and link.st_uid in trusted
        and not found.st_mode & 0o022
    )


def find(control_socket: str = "", name: str = "") -> str:
    """The path of the control socket that is meant.

    Named by its path or by the daemon's name; else the only one there is.
    raises  ConfigError("connect.no_daemon"), UseError("control.which")
    """
    if control_socket:
        return control_socket
    paths = _sockets()
    if name:
        file = daemon_name(name) + SUFFIX
        named = [path for path in paths if os.path.basename(path) == file]
        if named:
            return _the_one(named)
        others = f"; there are {_listed(paths)}" if paths else ""
        raise ConfigError("connect.no_daemon", f"no daemon is called {name}{others}")
    if not paths:
        places = ", ".join(folders()) or default_path("NAME")
        why = f"no daemon of this user is running (looked in {places})"
        raise ConfigError("connect.no_daemon", f"{why}; --control-socket PATH names one")
    return _the_one(paths)


def call(path: str, command: str, timeout_s: float = TIMEOUT_S, **args: object) -> Answer:
    """Ask the daemon behind a control socket, and wait for the answer.

    timeout_s  for all of it
    raises     ConfigError and PeerError "connect.…": nobody answers;
               PeerError("control.garbage"): what answers is no daemon
    """
    deadline = monotonic() + timeout_s
    try:
        line = json.dumps({**args, "command": command}).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise UseError("control.argument", str(error)) from error
    with connect(_place(path), timeout_s) as sock:
        _check_owner(sock, path)
        try:
            sock.settimeout(max(0.001, deadline - monotonic()))
            sock.sendall(line)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have said why
        except TimeoutError:
            raise _silent(path, timeout_s) from None
        return _parse(_line(sock, path, deadline, timeout_s), path)


def _line(sock: socket.socket, path: str, deadline: float, timeout_s: float) -> bytes:
    data = bytearray()
    while True:
        sock.settimeout(max(0.001, deadline - monotonic()))
        try:
            piece = sock.recv(_CHUNK)
        except TimeoutError:
            raise _silent(path, timeout_s) from None
        except OSError:
            piece = b""
        if not piece:
            raise PeerError("connect.cut", f"the daemon behind {path} ended without an answer")
        at = piece.find(b"\n")
        if at >= 0:
            return bytes(data + piece[:at])
        data += piece
        if len(data) > LINE_MAX:
            raise PeerError("control.garbage", f"{path} answers without end")
        if monotonic() > deadline:
            raise _silent(path, timeout_s)


def _parse(line: bytes, path: str) -> Answer:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PeerError("control.garbage", f"{path} is no control socket: {error}") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
        raise PeerError("control.garbage", f"{path} is no control socket")
    return answer


def _silent(path: str, timeout_s: float) -> GatebridgeError:
    return PeerError("connect.silent", f"{path} did not answer in {timeout_s:g} s")


def _check_owner(sock: socket.socket, path: str) -> None:
    """Another user may have taken a path that this one believes in."""
    uid = peer_uid(sock)
    mine = os.geteuid()
    if mine and uid not in (None, 0, mine):
        raise PeerError("connect.stranger", f"{path} belongs to a daemon of user {uid}")


def peer_uid(sock: socket.socket) -> int | None:
    """Who is at the other end of a Unix socket; None where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    uid: int = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, option, 12))[1]
    return uid


def _sockets() -> list[str]:
    found = []
    for folder in folders():
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        found += [os.path.join(folder, name) for name in names if name.endswith(SUFFIX)]
    return found


def _the_one(paths: list[str]) -> str:
    """The only one, or the only one that answers: a daemon that was killed leaves its file."""
    if len(paths) == 1:
        return paths[0]
    alive = [path for path in paths if _answers(path)]
    if len(alive) == 1:
        return alive[0]
    if not alive:
        raise ConfigError("connect.no_daemon", f"nobody answers at {', '.join(paths)}")
    several = f"several daemons are running: {_listed(alive)}"
    raise UseError("control.which", f"{several}; --name NAME or --control-socket PATH says which")


def _answers(path: str) -> bool:
    try:
        connect(_place(path), _PROBE_S).close()
    except GatebridgeError:
        return False
    return True


def _listed(paths: list[str]) -> str:
    return ", ".join(f"{os.path.basename(path).removesuffix(SUFFIX)} ({path})" for path in paths)


def _place(path: str) -> Bind:
    place = Bind(path, "", {})
    place.family = "unix"
    place.path = path
    return place


def _is_ours(folder: str, uid: int) -> bool:
    try:
        return os.path.isabs(folder) and os.stat(folder).st_uid == uid
    except (OSError, ValueError):
        return False


def _temporary() -> str:
    folder = os.environ.get("TMPDIR", "")
    return folder if os.path.isabs(folder) and os.path.isdir(folder) else _TEMPORARY

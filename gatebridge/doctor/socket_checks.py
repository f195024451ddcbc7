"""The socket between the front server and the workers: is it there, open to it, and ours?"""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING, Final

from gatebridge.apps.permission import user_name
from gatebridge.doctor.access import closed_folder, described, group_name, may_write, refuses
from gatebridge.doctor.check import WARNING, Checks, Finding
from gatebridge.serve.listen import backlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.bind import Bind
    from gatebridge.doctor.facts import Facts
    from gatebridge.doctor.machine import Person

_TEMPORARY: Final = ("/tmp", "/var/tmp")
_URL: Final = ("browser.not_reached",)
_UNREACHED: Final = ("socket.missing", "socket.stale", "socket.refused", *_URL)
_NOBODY_INIT: Final = (0, 1)  # another container's, or systemd's for a socket unit
_SCHEME: Final = {"fastcgi": "fcgi"}

check = Checks("socket")


def _files(facts: Facts) -> Iterator[Bind]:
    """Those with a socket in the file system."""
    return (bind for bind in facts.binds if bind.family == "unix")


def _is_socket(path: str) -> bool:
    """raises PermissionError when we may not look"""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


@check("socket.private_tmp", "Is the socket in a /tmp that one side does not see?", _UNREACHED)
def private_tmp(facts: Facts) -> Finding | None:
    machine = facts.machine
    pids = [process.pid for process in facts.connecting]
    if facts.status is not None:
        pids.append(int(facts.status["pid"]))
    for bind in _files(facts):
        path = os.path.abspath(bind.path)
        folder = next((one for one in _TEMPORARY if path.startswith(f"{one}/")), "")
        hidden = {pid: machine.private_tmp(pid, folder) for pid in pids} if folder else {}
        for pid in [pid for pid, own in hidden.items() if own]:
            process = machine.process(pid)
            name = process.name if process is not None else "process"
            return Finding(
                f"{name} has a {folder} of its own (PrivateTmp= of systemd), "
                f"so the two sides do not see the same {path}",
                f"/proc/{pid}/mountinfo: {folder} is a systemd-private folder",
                "put the socket into /run: RuntimeDirectory=gatebridge in the unit, and "
                f"bind = {_quoted(f'unix:/run/gatebridge/{os.path.basename(path)}')}",
            )
    return None


def _quoted(text: str) -> str:
    return '"' + text + '"'


@check("socket.not_a_socket", "Is what lies at the socket's path a socket?", ("worker.start",))
def not_a_socket(facts: Facts) -> Finding | None:
    for bind in _files(facts):
        if os.path.exists(bind.path) and not _is_socket(bind.path):
            return Finding(
                f"{bind.path} is no socket, so nobody can listen or connect there",
                described(bind.path),
                f"move it away, or bind elsewhere; then {facts.meant.command}",
            )
    return None


@check("socket.missing", "Is there a socket at the path?", _URL)
def missing(facts: Facts) -> Finding | None:
    for bind in _files(facts):
        if os.path.exists(bind.path) or _is_socket(bind.path):
            continue
        if facts.status is None:
            return Finding(
                f"there is no socket {bind.path}: no daemon is running",
                f"{os.path.abspath(bind.path)} does not exist; {facts.silence_text}",
                facts.meant.command,
            )
        there = [one["text"] for pool in facts.status_pools for one in pool["binds"]]
        return Finding(
            f"there is no socket {bind.path}, although a daemon is running",
            f"process {facts.status['pid']} listens on {', '.join(there) or 'nothing'}",
            "gatebridge ctl reload, if the configuration was changed; else restart the daemon: "
            "its socket was removed",
        )
    return None


@check("socket.stale", "Does anybody listen on the socket?", _URL)
def stale(facts: Facts) -> Finding | None:
    for bind in _files(facts):
        error = facts.reached(bind).error
        if error is not None and error.code == "connect.refused":
            return Finding(
                f"{bind.path} was left by a daemon that is gone: nobody listens on it",
                f"{described(bind.path)}; connect(): connection refused",
                f"{facts.meant.command} (it replaces a stale socket)",
            )
    return None


@check("socket.unresolved", "Has the host of the bind an address?", _URL)
def unresolved(facts: Facts) -> Finding | None:
    for bind in facts.binds:
        if bind.family != "tcp":
            continue
        error = facts.reached(bind).error
        if error is not None and error.code == "connect.unresolved":
            return Finding(
                f"{bind.host} has no address", str(error), "name an address, as in 127.0.0.1"
            )
    return None


@check("socket.refused", "Does anybody listen on the port?", _URL)
def refused(facts: Facts) -> Finding | None:
    for bind in facts.binds:
        if bind.family == "unix":
            continue
        error = facts.reached(bind).error
        if error is not None and error.code in _NO_ANSWER:
            return Finding(
                f"nobody takes connections on {bind.text}", str(error), facts.meant.command
            )
    return None


_NO_ANSWER: Final = ("connect.refused", "connect.timeout", "connect.no_socket", "connect.failed")


# -- may the front server's user connect?


@check("socket.folder", "May the front server's user enter the socket's folder?", _URL)
def folder(facts: Facts) -> Finding | None:
    for bind, whom in _theirs(facts):
        closed = closed_folder(whom, bind.path)
        if closed and refuses(whom, bind) is not False:
            return Finding(
                f"{whom.name}, who connects, may not enter {closed}, where the socket lies",
                described(closed),
                f"chmod o+x {shlex.quote(closed)}, or take a folder of /run",
            )
    return None


@check("socket.permission", "May the front server's user connect to the socket?", _URL)
def permission(facts: Facts) -> Finding | None:
    for bind, whom in _theirs(facts):
        if closed_folder(whom, bind.path):
            continue  # socket.folder says it
        allowed = may_write(whom, bind.path)
        tried = refuses(whom, bind)
        if tried or (tried is None and not allowed):
            place = f"unix:{bind.path}?mode=0660&group={group_name(_group(whom))}"
            mend = f"bind = {_quoted(_scheme(bind, place))}, and restart the daemon"
            if allowed:
                mend = "look for a security module's refusal: journalctl -g avc, dmesg"
            return Finding(f"{whom.name} may not connect to the socket", described(bind.path), mend)
    return None


def _theirs(facts: Facts) -> Iterator[tuple[Bind, Person]]:
    """Sockets that are there, with who connects to them."""
    whom = facts.front
    if whom is not None:
        for bind in _files(facts):
            if _is_socket(bind.path):
                yield bind, whom


def _group(whom: Person) -> int:
    import pwd

    try:
        return pwd.getpwuid(whom.uid).pw_gid
    except KeyError:
        return min(whom.groups, default=whom.uid)


def _scheme(bind: Bind, place: str) -> str:
    return place if bind.protocol == "fastcgi" else f"{bind.protocol}+{place}"


@check("socket.selinux", "Does SELinux let a web server use the socket?", _URL)
def selinux(facts: Facts) -> Finding | None:
    if not facts.machine.enforces_selinux:
        return None
    for bind in _files(facts):
        label = facts.machine.label(bind.path)
        kind = label.split(":")[2] if label.count(":") >= 2 else ""
        if not kind or kind.startswith("httpd_"):
            continue
        folder = os.path.dirname(os.path.abspath(bind.path))
        return Finding(
            f"SELinux keeps web servers from {bind.path}: its type is {kind}, not httpd_var_run_t",
            f"label {label}; SELinux enforces",
            f"semanage fcontext -a -t httpd_var_run_t '{folder}(/.*)?' && restorecon -R {folder}",
        )
    return None


# -- who listens there?


@check(
    "socket.stranger",
    "Is it this daemon that listens there?",
    ("socket.protocol", "worker.start", *_URL),
)
def stranger(facts: Facts) -> Finding | None:
    for bind in facts.binds:
        pid = facts.reached(bind).pid
        if pid in _NOBODY_INIT or facts.of_daemon(bind) is not None:
            continue
        words = facts.machine.words(pid)
        if not words or any("gatebridge" in word for word in words):
            continue
        process = facts.machine.process(pid)
        whose = f", user {user_name(process.uid)}" if process is not None else ""
        return Finding(
            f"another program listens on {bind.text}",
            f"process {pid}{whose}: {shlex.join(words)[:200]}",
            "stop it, or bind elsewhere",
        )
    return None


@check("socket.protocol", "Does who listens speak the bind's protocol?", ("worker.start", *_URL))
def protocol(facts: Facts) -> Finding | None:
    for bind in facts.binds:
        if facts.reached(bind).error is not None:
            continue
        ours = facts.of_daemon(bind)
        data = b""
        if ours is not None:
            speaks = ours.protocol
        else:
            heard = facts.heard(bind)
            speaks, data = heard.speaks, heard.data
        wrong = speaks != bind.protocol if speaks else bool(data) and bind.protocol == "fastcgi"
        if wrong:
            seen = f"it answers {data!r}" if ours is None else f"the daemon listens as {ours.text}"
            return Finding(
                f"{bind.text} is said to speak {bind.protocol}, and it speaks "
                f"{speaks or 'something else'}",
                seen,
                f"write {_SCHEME.get(speaks, speaks or 'the right scheme')} in the bind, and the "
                "front server's directive of that protocol",
            )
    return None


@check("socket.keep_conn", "Does a FastCGI connection stay open for a second request?")
def keep_conn(facts: Facts) -> Finding | None:
    for bind in facts.binds:
        if bind.protocol != "fastcgi" or facts.reached(bind).error is not None:
            continue
        if not facts.heard(bind).kept:
            return Finding(
                f"{bind.text} closes the connection after one answer, although it may be kept",
                "it was closed when a second FCGI_GET_VALUES came",
                "leave keepalive and fastcgi_keep_conn out of the front server's configuration",
                WARNING,
            )
    return None


# -- its queue


@check("socket.backlog", "Does the system allow the backlog that is asked for?")
def too_large_backlog(facts: Facts) -> Finding | None:
    most = facts.machine.number("/proc/sys/net/core/somaxconn")
    for bind in facts.binds:
        asked = backlog(bind) if "backlog" in bind.options else 0
        if most is not None and asked > most:
            return Finding(
                f"{bind.text}: the system cuts the backlog of {asked} down to {most}",
                f"net.core.somaxconn = {most}",
                f"sysctl -w net.core.somaxconn={asked}, and a line in /etc/sysctl.d",
                WARNING,
            )
    return None


@check("socket.queue", "Is there room in the queue of connections?", _URL)
def full_queue(facts: Facts) -> Finding | None:
    for pool in facts.status_pools:
        for one in pool["binds"]:
            most, queued = one.get("backlog"), one.get("queued")
            if most and queued is not None and queued >= most:
                return Finding(
                    f"the queue of {one['text']} is full: new connections are refused or wait",
                    f"{queued} connections wait, {most} may",
                    "gatebridge top shows what is slow; more workers or threads take more",
                )
    return None


CHECKS: Final = tuple(check)

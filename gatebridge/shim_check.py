"""What a shim would do for a request, found out without one."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebridge import __version__
from gatebridge.bind import parse_bind
from gatebridge.connect import connect
from gatebridge.control_client import call
from gatebridge.errors import ConfigError, GatebridgeError
from gatebridge.relay_build import read_baked as read_native
from gatebridge.relay_place import Place, check_folder, state_folder
from gatebridge.relay_text import check_base, read_baked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.relay_baked import Baked

_ELF = b"\x7fELF"
_PROBE_S = 60
_CONNECT_S = 2.0
_USAGE = 2  # what a one-shot answer exits with where there is no request
_ASK = "import gatebridge, sys; print(sys.version.split()[0], gatebridge.__version__)"
_ONE_SHOT = b"from gatebridge.oneshot import main"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: about what, what was found, and whether it has to be changed."""

    about: str
    text: str
    wrong: bool = False


def examine(path: str) -> Iterator[Finding]:
    """Every finding, in the order of a request. raises ConfigError("shim.unreadable")"""
    try:
        with open(path, "rb") as file:
            data = file.read()
            found = os.fstat(file.fileno())
    except OSError as error:
        raise ConfigError("shim.unreadable", f"{path}: {error.strerror}") from error
    yield from _file(path, found)
    yield from _first_line(data)
    baked = _baked(data)
    if baked is not None:
        yield from _relay(path, baked)
    elif _ONE_SHOT in data:
        yield Finding("kind", "one-shot: starts, answers one request and exits")
    else:
        yield Finding("kind", "not written by `gatebridge shim new`", True)


def _baked(data: bytes) -> Baked | None:
    if data.startswith(_ELF):
        return read_native(data)
    return read_baked(data.decode("utf-8", "replace"))


# -- the file, as suexec looks at it


def _file(path: str, found: os.stat_result) -> Iterator[Finding]:
    mode = stat.S_IMODE(found.st_mode)
    problems = []
    if not mode & 0o100:
        problems.append(f"it is not executable: chmod +x {path}")
    elif not os.access(path, os.X_OK):
        problems.append("this user may not execute it")
    if mode & 0o022:
        problems.append("others may write it, and suexec refuses that: chmod go-w")
    if mode & 0o6000:
        problems.append("it is setuid or setgid, and suexec refuses that")
    for problem in problems:
        yield Finding("file", problem, True)
    if not problems:
        yield Finding("file", f"mode {mode:04o}, owner {found.st_uid}")
    beside = os.path.dirname(os.path.abspath(path))
    folder = os.stat(beside)
    if folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX:
        yield Finding("folder", f"others may write {beside}, and suexec refuses that", True)
    if folder.st_uid != found.st_uid:
        yield Finding("folder", f"suexec wants one owner; {beside} is user {folder.st_uid}'s")


def _first_line(data: bytes) -> Iterator[Finding]:
    if data.startswith(_ELF):
        yield Finding("interpreter", "none: it is a program")
        return
    line = data.partition(b"\n")[0]
    if line.endswith(b"\r"):
        yield Finding("interpreter", "the first line ends with CR: save it with Unix ends", True)
        return
    if not line.startswith(b"#!"):
        yield Finding("interpreter", "the first line does not begin with #!", True)
        return
    words = os.fsdecode(line[2:]).split()
    yield _interpreter(words[0] if words else "")


def _interpreter(path: str) -> Finding:
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return Finding("interpreter", f"{path or 'none'} cannot be executed by this user", True)
    if os.path.basename(path) == "env":
        return Finding("interpreter", "env looks for it in the PATH that the web server gives")
    if os.path.basename(path) == "sh":
        return Finding("interpreter", f"{path}, which starts the one in the next line")
    code = "import sys; print(sys.version.split()[0])"
    said, error = _run([path, "-ISE", "-c", code])
    if error:
        return Finding("interpreter", f"{path} does not run: {error}", True)
    return Finding("interpreter", f"{path}, Python {said}")


def _run(argv: list[str], good: int = 0) -> tuple[str, str]:
    """What it printed, and the last line of its complaint if it did not end as it should."""
    kept = {"PATH": os.environ.get("PATH", os.defpath)}
    try:
        done = subprocess.run(
            argv, capture_output=True, stdin=subprocess.DEVNULL, text=True, errors="replace",
            timeout=_PROBE_S, check=False, cwd="/", env=kept,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if done.returncode == good:
        return done.stdout.strip(), ""
    said = done.stderr.strip().splitlines()
    return "", said[-1] if said else f"exit status {done.returncode}"


# -- a relay


def _relay(path: str, baked: Baked) -> Iterator[Finding]:
    target = baked.start[baked.start.index("--") + 1] if "--" in baked.start else "?"
    yield Finding("kind", f"relay to the daemon of {target}")
    yield from _installed(baked)
    try:
        check_base(baked.base, path)
    except ConfigError as error:
        yield Finding("state", error.detail, True)
        return
    folder = state_folder(baked.base)
    why = check_folder(folder)
    if why:
        yield Finding("state", f"{folder} is refused: {why}; every request is one-shot", True)
    else:
        there = os.path.isdir(folder)
        yield Finding("state", folder if there else f"{folder}, made by the first request")
        yield from _daemon(Place(folder, baked.name))
    said, complaint = _run(list(baked.oneshot), _USAGE)
    ready = "ready to answer where no daemon can live"
    yield Finding("one-shot", f"fails: {complaint}" if complaint else ready, bool(complaint))


def _installed(baked: Baked) -> Iterator[Finding]:
    python = baked.start[0]
    if shutil.which(python) is None:
        yield Finding("daemon's Python", f"{python} cannot be executed by this user", True)
        return
    code = baked.start[3].rpartition("; from ")[0] + "; " if baked.start[2] == "-c" else ""
    said, error = _run([python, "-I", "-c", code + _ASK])
    if error:
        yield Finding("daemon's Python", f"{python} cannot import gatebridge: {error}", True)
        return
    version, _, installed = said.partition(" ")
    same = "" if installed == __version__ else f", this command is {__version__}"
    yield Finding("daemon's Python", f"{python}, Python {version}, gatebridge {installed}{same}")


def _daemon(place: Place) -> Iterator[Finding]:
    reason, age_s = place.read("failed")
    if reason:
        yield Finding("last start", f"failed {age_s:.0f} s ago: {reason.splitlines()[0]}", True)
    bind = parse_bind(f"unix:{place.path('sock')}")
    try:
        connect(bind, _CONNECT_S).close()
    except GatebridgeError as error:
        if error.code in ("connect.no_socket", "connect.refused"):
            yield Finding("daemon", "none runs; the next request starts it")
        else:
            yield Finding("daemon", str(error), True)
        return
    try:
        status = call(place.path("ctl"), "status", _CONNECT_S)
    except GatebridgeError as error:
        yield Finding("daemon", f"it serves, and its control socket does not: {error}", True)
        return
    version = str(status.get("version"))
    text = f"runs as process {status.get('pid')} for {status.get('uptime_s', 0):.0f} s"
    if version != __version__:
        text += f"; it is gatebridge {version}: `gatebridge ctl stop --name {place.name}` renews it"
    yield Finding("daemon", text)

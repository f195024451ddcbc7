"""The file that `gatebridge shim new` writes for a relay, and what is baked into it."""

from __future__ import annotations

import ast
import os
import pkgutil
import socket
import stat
import sys
import tempfile
from dataclasses import fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gatebridge import __version__
from gatebridge.errors import ConfigError
from gatebridge.relay_baked import Baked
from gatebridge.shim import check_program, path_entries, program, shebang

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = "/tmp"
FLAGS = "-ISE"
_MARK = "# --- written into relays from here on\n"
_LONGEST = 103  # bytes of a Unix socket's path on the systems with the least room
_LARGEST_UID = (1 << 32) - 1

_TEXT = """\
{shebang}
# Hands CGI requests to the daemon of {title}, and starts it.
# Written by `gatebridge shim new`, gatebridge {version}; `gatebridge shim check` explains it.
{constants}

{hot}
# Compiled when they are needed: failures, requests with a body, and the start of the daemon.
RARE = {{
    "fail": r'''
{fail}''',
    "duplex": r'''
{duplex}''',
    "start": r'''
{start}''',
}}

main()
"""


# What one_shot() cannot write down, such as cgi:PATH, is looked up by each request.
_ONE_SHOT = """\
import os, sys
sys.path[:0] = {path!r}
os.chdir({folder!r})
from gatebridge.apps.target import load_target
from gatebridge.oneshot import main
main(load_target({target!r}, {folder!r}){mount})
"""
_AUTOSTART = "import sys; sys.path[:0] = {path!r}; from gatebridge.autostart import main; main()"


def bake(
    target: str, folder: str, mount: str | None, base: str = BASE, options: Sequence[str] = ()
) -> Baked:
    """What a relay for this application needs to know.

    target   whatever `gatebridge serve` takes
    folder   where it is imported from, and where the daemon works
    options  of `gatebridge serve`, beside
    raises   ConfigError("app.…") when the application cannot be loaded
    """
    folder = os.path.abspath(folder)
    more = [*(["--mount", mount] if mount is not None else []), *options]
    name = relay_name(target, folder, sys.executable, *more)
    own = ("--lock-fd", "3", "--base", base, "--name", name, "--folder", folder)
    start = (sys.executable, "-I", *_autostart(folder), *own, "--", target, *more)
    return Baked(base, name, start, _one_shot(target, folder, mount))


def _autostart(folder: str) -> tuple[str, ...]:
    path = [entry for entry in path_entries(folder, "-I") if entry != folder]
    if path:  # an import path that only this process has
        return "-c", _AUTOSTART.format(path=path)
    return "-m", "gatebridge.autostart"


def _one_shot(target: str, folder: str, mount: str | None) -> tuple[str, ...]:
    try:
        flags, text = program(target, folder, mount)
    except ConfigError:  # no module's name; or what comes now says better what is wrong
        flags = "-I"
        more = f", mount={mount!r}" if mount is not None else ""
        path = path_entries(folder, flags)
        text = _ONE_SHOT.format(path=path, target=target, folder=folder, mount=more)
        check_program((sys.executable, flags, "-c", text), target)
    return sys.executable, flags, "-c", text


def relay_text(baked: Baked, title: str) -> str:
    """The text of a Python relay. title: what it answers with, for a person."""
    return _TEXT.format(
        shebang=shebang(FLAGS),
        title=title if title.isprintable() else ascii(title),
        version=__version__,
        constants="\n".join(_constants(baked)),
        hot=_source("relay"),
        fail=_source("relay_fail"),
        duplex=_source("relay_duplex"),
        start=_source("relay_start"),
    )


def _constants(baked: Baked) -> list[str]:
    lines = []
    for field in fields(baked):
        value = getattr(baked, field.name)
        if isinstance(value, str):
            value = os.fsencode(value)
        elif isinstance(value, tuple):
            value = tuple(map(os.fsencode, value))
        lines.append(f"{field.name.upper()} = {value!r}")
    return lines


def _source(module: str) -> str:
    data = pkgutil.get_data("gatebridge", f"{module}.py") or b""
    text = data.decode("utf-8").partition(_MARK)[2]
    return text.replace("  # noqa: E402", "").strip() + "\n"


def read_baked(text: str) -> Baked | None:
    """What is baked into a Python relay; None for another file."""
    try:
        lines = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    found: dict[str, Any] = {}
    for line in lines:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            name = line.targets[0].id.lower()
            if name in {field.name for field in fields(Baked)}:
                found[name] = _decoded(ast.literal_eval(line.value))
    return Baked(**found) if len(found) == len(fields(Baked)) else None


def _decoded(value: object) -> object:
    if isinstance(value, bytes):
        return os.fsdecode(value)
    return tuple(map(os.fsdecode, value)) if isinstance(value, tuple) else value


def relay_name(*facts: object) -> str:
    """A name for what is served: whoever serves the same has the same daemon."""
    return sha256(repr((__version__, *facts)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def check_base(base: str, shim: str) -> None:
    """A folder that can hold the state folder and its sockets.

    shim    where the shim will be; what lies beside it may be handed out to browsers
    raises  ConfigError("shim.state_dir")
    """
    why = _unfit(base, os.path.dirname(os.path.abspath(shim)))
    if why:
        raise ConfigError("shim.state_dir", f"{base} {why}; --state-dir DIR names another one")


def _unfit(base: str, beside: str) -> str:
    if not os.path.isabs(base) or not os.path.isdir(base):
        return "is not an absolute path of a folder"
    if "?" in base:
        return "has a question mark, which the name of a bind cannot have"
    path = f"{base}/gatebridge-{_LARGEST_UID}/{'0' * 16}.sock"
    if len(os.fsencode(path)) > _LONGEST:
        return f"is too long: a socket's path has at most {_LONGEST} bytes"
    real, beside = os.path.realpath(base), os.path.realpath(beside)
    if os.path.commonpath((real, beside)) == beside:
        return "lies beside the shim, where a web server may show what is in it"
    found = os.stat(base)
    if os.geteuid() and found.st_uid not in (0, os.geteuid()):  # root may write another's shim
        return f"belongs to user {found.st_uid}, who could put a folder in our place"
    mode = found.st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        return "can be written by others and is not sticky: they could put a folder in our place"
    return _without_sockets(base)


def _without_sockets(base: str) -> str:
    try:
        with tempfile.TemporaryDirectory(prefix="gatebridge-", dir=base) as folder:
            path = os.path.join(folder, "probe.sock")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.bind(path)
    except PermissionError:
        return ""  # the web server's user may be another one
    except OSError as error:
        return f"cannot hold a socket ({error.strerror})"
    return ""

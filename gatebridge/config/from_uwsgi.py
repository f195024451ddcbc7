"""uwsgi.ini as options of ours. Names are those of uWSGI 2.0's documentation."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from gatebridge.config.foreign import Taken, number, tcp
from gatebridge.errors import UseError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOCKETS: Final = {
    "socket": "uwsgi", "s": "uwsgi", "uwsgi-socket": "uwsgi", "fastcgi-socket": "fcgi",
    "scgi-socket": "scgi", "http": "http", "http-socket": "http",
}  # fmt: skip
_PROTOCOLS: Final = {"uwsgi": "uwsgi", "fastcgi": "fcgi", "scgi": "scgi", "http": "http"}
_NUMBERS: Final = {
    "processes": "workers", "workers": "workers", "p": "workers", "threads": "threads",
    "harakiri": "timeout", "max-requests": "max_requests", "limit-post": "limit_body",
    "worker-reload-mercy": "graceful_timeout", "max-worker-lifetime": "max_lifetime",
}  # fmt: skip
_WORDS: Final = {
    "chdir": "chdir", "uid": "user", "gid": "group", "umask": "umask", "pidfile": "pid",
    "safe-pidfile": "pid", "daemonize": "error_logfile", "logto": "error_logfile",
    "procname-prefix": "name",
}  # fmt: skip
_ALWAYS: Final = frozenset(
    "master vacuum die-on-term enable-threads need-app single-interpreter thunder-lock strict "
    "lazy-apps lazy no-orphans wsgi-disable-file-wrapper disable-logging plugin plugins "
    "manage-script-name".split()
)
_WHY: Final = {
    "virtualenv": "start gatebridge with that environment's Python",
    "home": "start gatebridge with that environment's Python",
    "mount": "write mount = \"/PATH\" beside app, or an [[app]] for each",
    "static-map": "gatebridge conf --static lets the front server send files",
    "cheaper": "write pm = \"dynamic\" and min_spare_servers",
    "stats": "gatebridge status, and status_path",
    "attach-daemon": "a service manager starts other programs",
    "mule": "a service manager starts other programs",
    "cron": "cron or a systemd timer runs what is due",
    "spooler": "a queue of your own; there is none here",
}  # fmt: skip


def convert(path: str, text: str) -> Taken:
    """What the section [uwsgi] says. raises UseError("config.unreadable") where there is none"""
    if not re.search(r"^\s*\[uwsgi\]\s*$", text, re.MULTILINE):
        raise UseError("config.unreadable", f"{path} has no section [uwsgi]; only .ini is read")
    taken = Taken()
    pairs = list(_pairs(path, text, taken))
    said = dict(pairs)
    options = _socket_options(said)
    for key, value in pairs:
        if key in _SOCKETS:
            scheme = _SOCKETS[key]
            if key in ("socket", "s"):
                scheme = _PROTOCOLS.get(said.get("protocol", "uwsgi"), "uwsgi")
            taken.bind(_bind(scheme, value, options, taken, key))
        elif key == "limit-post" and value == "0":
            taken.leave(key, "no limit there: write limit_body, which is 1 GiB")
        elif key in _NUMBERS:
            number(taken, key, _NUMBERS[key], value)
        elif key in _WORDS:
            taken.values[_WORDS[key]] = value
            if key == "daemonize":
                taken.values["daemon"] = True
        else:
            _other(key, value, taken)
    taken.values.setdefault("threads", 1)  # as theirs; ours are eight
    taken.app = _application(said)
    if not taken.app:
        taken.leave("module", 'the file names no application: write app = "MODULE:NAME"')
    return taken


def _pairs(path: str, text: str, taken: Taken) -> Iterator[tuple[str, str]]:
    folder = os.path.dirname(os.path.abspath(path))
    inside = False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            inside = line == "[uwsgi]"
        elif inside and line and line[0] not in "#;":
            key, mark, value = line.partition("=")
            key, value = key.strip(), value.strip() if mark else "true"
            value = value.replace("%d", folder + "/").replace("%p", os.path.abspath(path))
            if re.search(r"%[a-zA-Z(]|\$\(", value):
                taken.leave(key, f"{value}: write what the placeholder stands for")
            else:
                yield key, value


def _socket_options(said: dict[str, str]) -> str:
    options = []
    if "chmod-socket" in said:
        mode = said["chmod-socket"]
        options.append(f"mode={mode.zfill(4) if mode.isdigit() else '0666'}")
    owner, _, group = said.get("chown-socket", "").partition(":")
    options += [f"owner={owner}"] if owner else []
    options += [f"group={group}"] if group else []
    if said.get("listen", "").isdigit():
        options.append(f"backlog={said['listen']}")
    return "&".join(options)


def _bind(scheme: str, value: str, options: str, taken: Taken, key: str) -> str:
    is_tcp = re.fullmatch(r"[^/]*:\d+", value) is not None
    if is_tcp or value.startswith("@"):  # no file, so no mode and no owner
        options = "&".join(one for one in options.split("&") if one.startswith("backlog="))
    place = tcp(scheme, value, taken, key) if is_tcp else f"{scheme}+unix:{value}"
    return place + (f"?{options}" if options else "")


def _application(said: dict[str, str]) -> str:
    module = said.get("module") or said.get("wsgi") or said.get("w", "")
    name = said.get("callable", "application")
    if module:
        return module if ":" in module else f"{module}:{name}"
    file = said.get("wsgi-file") or said.get("file", "")
    return f"{file}:{name}" if file else ""


def _other(key: str, value: str, taken: Taken) -> None:
    known = ("module", "wsgi", "w", "callable", "wsgi-file", "file", "protocol", "chmod-socket",
             "chown-socket", "listen")  # fmt: skip
    if key in known or (key in _ALWAYS and value != "false"):
        return
    if key == "env":
        name, _, said = value.partition("=")
        taken.env[name] = said
    elif key in ("pythonpath", "pp", "python-path"):
        before = taken.values.get("pythonpath")
        taken.values["pythonpath"] = f"{before},{value}" if before else value
    elif key == "buffer-size":
        return  # ours is 1 MiB; theirs is 4 KiB
    elif key == "reload-on-rss":
        taken.values["max_rss"] = f"{value}MiB"
    elif key == "py-autoreload":
        taken.values["reload"] = value not in ("0", "false")
    elif key == "touch-reload":
        extra = taken.values.setdefault("reload_extra_file", [])
        if isinstance(extra, list):
            extra.append(value)
        taken.values["reload"] = True
    else:
        taken.leave(key, _WHY.get(key, f"{value}: nothing here is like it"))

"""What an operator writes to name a back end: ``http://HOST:PORT/path?timeout=30s``."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gatebridge.apps.options import read_bytes, read_choice, read_number, read_time
from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.bind import Bind

_PLACE = re.compile(r"(?:https?|fcgi|fastcgi|scgi|uwsgi)(?:\+unix:|://)")
_SCHEMES: Final = ("http", "fcgi", "fastcgi")
_FORMS = "http://HOST:PORT, http+unix:/path, fcgi://HOST:PORT or fcgi+unix:/path"
_PATH = re.compile(r"(?:/[A-Za-z0-9!$&'()*+,;=:@._~%-]*)*")  # RFC 3986 section 3.3
_KEPT_MOST = 1024


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """How a back end is asked.

    timeout  seconds in which neither direction moves; 0: for ever
    connect  seconds for the connection
    keep     idle connections of this process, at most; -1: 8 for HTTP, none for FastCGI
    idle     seconds after which an idle connection is not used again
    head     HTTP: bytes that the head of an answer may have
    strip    HTTP: the mount is cut off the path, and told in X-Forwarded-Prefix
    root     FastCGI: the folder of the PHP files, as the back end sees it; "": no files
    index    FastCGI with root: the file that answers for a folder, and for all other paths
    """

    timeout: float = 60.0
    connect: float = 5.0
    keep: int = -1
    idle: float = 1.5
    head: int = 65_536
    strip: bool = True
    root: str = ""
    index: str = "index.php"


@dataclass(frozen=True, slots=True)
class Place:
    """A back end. text: as it was written, without options; path: put before that of requests."""

    text: str
    bind: Bind
    path: str
    options: UpstreamOptions

    @property
    def is_http(self) -> bool:
        return self.bind.protocol == "http"


def is_upstream(target: str) -> bool:
    """Whether a target is an address, so that nothing of it is imported or run here."""
    return _PLACE.match(target) is not None


def parse_place(target: str, folder: str) -> Place:
    """Read an address with its options. folder: a relative path of a socket starts there.

    raises  ConfigError("target.malformed"), ConfigError("target.option"), ConfigError("bind.…")
    """
    text, _, query = target.partition("?")
    scheme, _, rest = text.partition(":")
    protocol, plus, _ = scheme.partition("+")
    if protocol not in _SCHEMES:
        why = "its own server, or a front server, does TLS" if protocol == "https" else _FORMS
        raise ConfigError("target.malformed", f"{target}: no back end is asked by {scheme}: {why}")
    path = ""
    if plus:
        name = rest if rest.startswith("@") else os.path.join(folder, rest)
        if not rest:
            raise ConfigError("target.malformed", f"{target!r} names no socket: write {_FORMS}")
    else:
        authority, slash, behind = rest[2:].partition("/")
        path = _base(target, protocol, slash + behind)
        name = "//" + _with_port(target, protocol, authority)
    options = _options(target, query, protocol == "http")
    return Place(text, parse_bind(f"{scheme}:{name}"), path, options)


def _base(target: str, protocol: str, path: str) -> str:
    path = path.rstrip("/")
    if path and protocol != "http":
        why = "FastCGI sends the path of the request; root= says where files are"
        raise ConfigError("target.malformed", f"{target}: no path can follow: {why}")
    if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise ConfigError("target.malformed", f"{target}: {path!r} is no path of a URL")
    return path


def _with_port(target: str, protocol: str, authority: str) -> str:
    if "@" in authority:
        why = "a back end is asked without a name and a password"
        raise ConfigError("target.malformed", f"{target}: {why}")
    if protocol == "http" and authority and ":" not in authority.rpartition("]")[2]:
        return f"{authority}:80"
    return authority


def _options(target: str, query: str, is_http: bool) -> UpstreamOptions:
    readers = _READERS | (_OF_HTTP if is_http else _OF_FASTCGI)
    said: dict[str, Any] = {}
    for item in query.split("&") if query else []:
        name, equals, text = item.partition("=")
        if name not in readers:
            near = difflib.get_close_matches(name.lower(), readers, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(readers)}"
            raise ConfigError("target.option", f"{target}: {name!r} is no option of it; {hint}")
        if not equals or name in said:
            raise ConfigError("target.option", f"{target}: say {name}=VALUE, once")
        try:
            said[name] = readers[name](text)
        except ValueError as error:
            raise ConfigError("target.option", f"{target}: {name}: {error}") from None
    if "index" in said and "root" not in said:
        why = "it is for PHP files, whose folder root= names"
        raise ConfigError("target.option", f"{target}: index does nothing here: {why}")
    if "mount" in said:
        said["strip"] = said.pop("mount")
    return UpstreamOptions(**said)


def _soon(text: str) -> float:
    value = read_time(text)
    if not value:
        raise ValueError("0 would never do; write 500ms or more")
    return value


def _folder(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f"{text!r} is no absolute folder")
    return text.rstrip("/") or "/"


def _file(text: str) -> str:
    if not text or "/" in text or "\0" in text:
        raise ValueError(f"{text!r} is no name of a file")
    return text


_READERS: dict[str, Callable[[str], object]] = {
    "timeout": read_time,
    "connect": _soon,
    "keep": read_number(0, _KEPT_MOST),
    "idle": _soon,
}
_OF_HTTP: dict[str, Callable[[str], object]] = {
    "head": read_bytes(1 << 10, 1 << 24),
    "mount": read_choice("keep", "strip"),
}
_OF_FASTCGI: dict[str, Callable[[str], object]] = {"root": _folder, "index": _file}

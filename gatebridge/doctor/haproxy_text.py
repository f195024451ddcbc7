"""Where HAProxy hands requests on, read from its configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.check import BROKEN
from gatebridge.doctor.passing import SAMPLE, SAMPLE_URI, Flaw, Passing, seconds, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.machine import Machine

_WORD: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|\'[^\']*\'|\\.|[^\s"\'\\#])+|\#')
_PART: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|\\(.)')
_SECTIONS: Final = (
    "global", "defaults", "frontend", "backend", "listen", "fcgi-app", "peers", "resolvers",
    "userlist", "mailers", "program", "http-errors", "ring", "cache", "log-forward",
)  # fmt: skip
_PATHS: Final = ("path", "path_beg", "path_dir", "path_reg", "path_sub", "pathq")


@dataclass(slots=True)
class _Section:
    """lines: (words, where)"""

    kind: str
    name: str
    where: str
    lines: list[tuple[list[str], str]] = field(default_factory=list)

    def all(self, *begin: str) -> Iterator[list[str]]:
        """The words behind each line that begins so."""
        for words, _ in self.lines:
            if tuple(words[: len(begin)]) == begin:
                yield words[len(begin) :]

    def last(self, *begin: str) -> list[str]:
        return next(reversed(list(self.all(*begin))), [])


def read_haproxy(machine: Machine, path: str) -> list[Passing]:
    sections = list(_sections(machine.read(path), path))
    defaults = _Section("defaults", "", path)
    found = []
    for one in sections:
        if one.kind == "defaults":
            defaults = one
        elif one.kind in ("backend", "listen"):
            found += list(_of_backend(one, defaults, sections))
    return found


def _sections(text: str, path: str) -> Iterator[_Section]:
    now: _Section | None = None
    for number, line in enumerate(text.splitlines(), 1):
        words: list[str] = []
        for match in _WORD.finditer(line):
            if match[0] == "#":
                break
            words.append(_PART.sub(lambda m: m[1] or m[2] or m[3] or "", match[0]))
        if not words:
            continue
        where = f"{path}:{number}"
        if words[0] in _SECTIONS:
            if now is not None:
                yield now
            now = _Section(words[0], words[1] if len(words) > 1 else "", where)
        elif now is not None:
            now.lines.append((words, where))
    if now is not None:
        yield now


def _of_backend(
    backend: _Section, defaults: _Section, sections: list[_Section]
) -> Iterator[Passing]:
    servers = [(words, where) for words, where in backend.lines
               if words[0] == "server" and len(words) > 2]  # fmt: skip
    if not servers:
        return
    words, where = servers[0]
    is_fcgi = "fcgi" in _behind("proto", words)
    name = " ".join(backend.last("use-fcgi-app")[:1])
    app = next((one for one in sections if (one.kind, one.name) == ("fcgi-app", name)), None)
    timeout = (backend.last("timeout", "server") or defaults.last("timeout", "server"))[:1]
    mount = _mount(backend, app, sections)
    yield Passing(
        "haproxy",
        where,
        "fastcgi" if is_fcgi else "http",
        tuple(_target(words[2]) for words, _ in servers),
        mount,
        _sent(mount, app) if is_fcgi and app is not None and mount is not None else None,
        None,
        _time(timeout[0]) if timeout else None,
        "",
        {"timeout": "timeout server {0}s", "pass": "server … proto fcgi"},
        tuple(_flaws(backend, where, is_fcgi, app, sections)),
    )


def _behind(name: str, words: list[str]) -> list[str]:
    return [after for word, after in zip(words, words[1:], strict=False) if word == name]


def _target(address: str) -> str:
    path = re.fullmatch(r"(?:unix@)?(/.*)", address)
    if path:
        return f"unix:{path[1]}"
    return re.sub(r"^ipv[46]@", "", address)


def _time(text: str) -> float:
    return (whole(text) or 0) / 1000 if text.isdecimal() else seconds(text)


def _pattern(app: _Section | None) -> str:
    return " ".join(app.last("path-info")[:1]) if app is not None else ""


def _mount(backend: _Section, app: _Section | None, sections: list[_Section]) -> str | None:
    """What path-info names; else the root, where no rule goes by a path."""
    found = re.match(r"\^\(((?:/[\w-]+)*)\)\(/", _pattern(app))
    if found:
        return found[1]
    if _pattern(app):
        return None
    for one in sections:
        rules = [*one.all("use_backend", backend.name), *one.all("acl")]
        if any(word.partition(",")[0] in _PATHS for rule in rules for word in rule):
            return None
    return ""


def _sent(mount: str, app: _Section) -> dict[str, str]:
    path = mount + SAMPLE
    sent = {"HTTP_HOST": "x", "REQUEST_URI": mount + SAMPLE_URI, "SCRIPT_NAME": path,
            "SERVER_SOFTWARE": "HAProxy"}  # fmt: skip
    try:
        match = re.search(_pattern(app), path) if _pattern(app) else None
    except re.error:
        match = None
    if match is not None and len(match.groups()) == 2:
        sent |= {"SCRIPT_NAME": match[1], "PATH_INFO": match[2] or ""}
    return sent


def _flaws(
    backend: _Section, where: str, is_fcgi: bool, app: _Section | None, sections: list[_Section]
) -> Iterator[Flaw]:
    if is_fcgi and app is not None:
        passed = [words[0].lower() for words in app.all("pass-header") if words]
        if "authorization" not in passed:
            why = "HAProxy keeps the Authorization header from FastCGI applications"
            yield Flaw("front.authorization", why, f"{app.where}: no pass-header for it",
                       f"pass-header Authorization in fcgi-app {app.name}")  # fmt: skip
    fronts = [one for one in sections if one is backend or backend.name in {
        word for name in ("use_backend", "default_backend")
        for words in one.all(name) for word in words[:1]}]  # fmt: skip
    secure = any("ssl" in words for one in fronts for words in one.all("bind"))
    if secure and not is_fcgi:
        said = [word.lower() for one in (*fronts, backend)
                for words in one.all("http-request") for word in words[:2]]  # fmt: skip
        forwarded = any(True for one in (*fronts, backend) for _ in one.all("option", "forwarded"))
        if "x-forwarded-proto" not in said and not forwarded:
            why = "the application does not learn that a request came by https"
            yield Flaw("front.scheme", why, f"{where}: bind … ssl, and no X-Forwarded-Proto",
                       "http-request set-header X-Forwarded-Proto https if { ssl_fc }",
                       BROKEN)  # fmt: skip

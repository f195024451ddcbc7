"""Where nginx hands requests on, read from its configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.check import BROKEN
from gatebridge.doctor.nginx_tree import read_tree
from gatebridge.doctor.passing import SAMPLE, SAMPLE_URI, Flaw, Passing, seconds, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.machine import Machine
    from gatebridge.doctor.nginx_tree import Directive

_KINDS: Final = {"fastcgi": "fastcgi", "scgi": "scgi", "uwsgi": "uwsgi", "proxy": "http"}
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_UPLOAD: Final = 1 << 20  # nginx's own
_TIMEOUT: Final = 60.0
_HEAD: Final = 4096  # bytes of an answer's head that are few: half of what browsers may send back
_REQUEST_HEAD: Final = 8192  # nginx's own
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def read_nginx(machine: Machine, path: str) -> list[Passing]:
    tree = read_tree(machine, path)
    upstreams = {
        one.words[0]: one.block for one in _every(tree) if one.name == "upstream" and one.words
    }
    return list(_walk([tree], upstreams))


def _every(block: list[Directive]) -> Iterator[Directive]:
    for one in block:
        yield one
        yield from _every(one.block)


def _walk(
    chain: list[list[Directive]],
    upstreams: dict[str, list[Directive]],
    at: tuple[Directive, ...] = (),
) -> Iterator[Passing]:
    for one in chain[-1]:
        kind = one.name.removesuffix("_pass")
        if one.name.endswith("_pass") and kind in _KINDS and one.words:
            yield _Place(chain, upstreams, at, one, kind).passing()
        elif one.block and one.name != "upstream":
            yield from _walk([*chain, one.block], upstreams, (*at, one))


class _Place:
    """A directive that passes requests on, with the blocks around it.

    chain  directives of each block, from the file on
    at     the blocks themselves, without the file
    """

    def __init__(
        self,
        chain: list[list[Directive]],
        upstreams: dict[str, list[Directive]],
        at: tuple[Directive, ...],
        one: Directive,
        kind: str,
    ) -> None:
        self._chain = chain
        self._one = one
        self._kind = kind
        self._at = at
        self._upstream = upstreams.get(_host(one.words[0]))

    def passing(self) -> Passing:
        kind = self._kind
        flaws = [*self._tried(), *self._kept(), *self._heads(), *self._told(), *self._authorized()]
        buffering = self._word(f"{kind}_buffering") != "off" and not self._is_framed
        upload = self._word("client_max_body_size")
        timeout = self._word(f"{kind}_read_timeout")
        return Passing(
            "nginx",
            self._one.where,
            _KINDS[kind],
            tuple(self._targets()),
            self._mount,
            self._sent() if kind != "proxy" else None,
            size(upload) if upload else _UPLOAD,
            seconds(timeout) if timeout else _TIMEOUT,
            f"{kind}_buffering is on" if buffering else "",
            {
                "upload": "client_max_body_size {0};",
                "timeout": f"{kind}_read_timeout {{0}}s;",
                "buffered": f"{kind}_buffering off;",
                "pass": f"{kind}_pass",
            },
            tuple(flaws),
        )

    # -- what holds here

    def _lists(self, name: str) -> list[list[str]]:
        """Words of every directive of a name in the nearest block that has one."""
        for block in reversed(self._chain):
            found = [one.words for one in block if one.name == name]
            if found:
                return found
        return []

    def _word(self, name: str) -> str:
        found = self._lists(name)
        return " ".join(found[-1]) if found else ""

    @property
    def _is_framed(self) -> bool:
        """Whether nginx sees where an answer ends: then each piece goes on as it comes, buffering
        or not. tests/doctor/test_url.py measures it."""
        if self._kind == "fastcgi":
            return self._word("fastcgi_keep_conn") == "on"
        return self._kind == "proxy" and self._word("proxy_http_version") == "1.1"

    def _location(self) -> Directive | None:
        return next((one for one in reversed(self._at) if one.name == "location"), None)

    def _targets(self) -> Iterator[str]:
        if self._upstream is None:
            yield _target(_host(self._one.words[0]))
            return
        for one in self._upstream:
            if one.name == "server" and one.words:
                yield _target(one.words[0])

    @property
    def _mount(self) -> str | None:
        location = self._location()
        if location is None or not location.words or location.words[0].startswith("@"):
            return None  # others lead to a name
        if location.words[0] in ("~", "~*"):
            found = re.match(r"\(\?s\)\^\(\?<\w+>((?:\\.|[\w/-])+)\)", location.words[-1])
            found = found or re.match(r"\^((?:\\.|[\w/-])*)", location.words[-1])
            literal = found[1] if found else ""
            return re.sub(r"\\(.)", r"\1", literal).rstrip("/") if literal.strip("/") else None
        return location.words[-1].rstrip("/")

    @property
    def _params(self) -> dict[str, str]:
        pairs = self._lists(f"{self._kind}_param")
        return {words[0]: words[1] for words in pairs if len(words) > 1}

    def _sent(self) -> dict[str, str] | None:
        """The variables of a request for SAMPLE; None where a variable is not known here."""
        mount = self._mount
        if mount is None:
            return None
        path = mount + SAMPLE
        known = {"document_uri": path, "uri": path, "request_uri": mount + SAMPLE_URI,
                 "fastcgi_script_name": path, "fastcgi_path_info": "", "nginx_version": "1",
                 "request_method": "GET", "server_protocol": "HTTP/1.1"}  # fmt: skip
        if root := self._word("root"):
            known["document_root"] = root
        location = self._location()
        if location is not None and location.words[0] in ("~", "~*"):
            known |= _groups(location.words[-1], path)
        split = self._word("fastcgi_split_path_info")
        if split and (match := _match(split, path)) is not None and len(match.groups()) > 1:
            known["fastcgi_script_name"], known["fastcgi_path_info"] = match[1], match[2] or ""
        sent: dict[str, str] = {"HTTP_HOST": "x"}
        for name, value in self._params.items():
            names = [first or second for first, second in _VARIABLE.findall(value)]
            if not set(names) <= known.keys():
                if name in ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI"):
                    return None
                continue
            sent[name] = _VARIABLE.sub(lambda m: known[m[1] or m[2]], value)
        return sent

    # -- what is wrong by itself

    def _flaw(self, id: str, cause: str, seen: str, mend: str, **more: str) -> Flaw:
        return Flaw(f"front.{id}", cause, f"{self._one.where}: {seen}", mend, **more)

    def _tried(self) -> Iterator[Flaw]:
        for words in [one.words for one in self._chain[-1] if one.name == "try_files"]:
            if words[-1:] == ["=404"]:
                shown = f"try_files {' '.join(words)};"
                why = "nginx answers 404 itself where no file has the path's name"
                mend = f"take {shown!r} out of this location; it is meant for PHP"
                yield self._flaw("try_files", why, shown, mend, severity=BROKEN)

    def _kept(self) -> Iterator[Flaw]:
        names = [one.name for one in self._upstream or ()]
        if "keepalive" not in names:
            if names and self._kind == "fastcgi" and self._word("fastcgi_keep_conn") == "on":
                why = "each request asks for its connection to be kept, and the upstream keeps none"
                yield self._flaw("keep_conn", why, "fastcgi_keep_conn without keepalive",
                                 f"keepalive 32; in upstream {self._one.words[0]}")  # fmt: skip
            return
        if self._kind == "fastcgi" and self._word("fastcgi_keep_conn") != "on":
            why = "the upstream keeps connections, but each request asks for its own to be closed"
            yield self._flaw("keep_conn", why, "keepalive without fastcgi_keep_conn",
                             "fastcgi_keep_conn on;")  # fmt: skip
        if self._kind == "proxy" and self._word("proxy_http_version") != "1.1":
            why = "the upstream keeps connections, but requests are HTTP/1.0 and close them"
            yield self._flaw("keep_conn", why, "keepalive without proxy_http_version 1.1",
                             'proxy_http_version 1.1; proxy_set_header Connection "";')  # fmt: skip

    def _heads(self) -> Iterator[Flaw]:
        name = f"{self._kind}_buffer_size"
        said = self._word(name)
        if said and size(said) < _HEAD:
            why = "answers with long cookies or many headers become 502: their head must fit"
            yield self._flaw("header_buffer", why, f"{name} {said};", f"{name} 16k;")
        words = self._word("large_client_header_buffers").split()
        if len(words) == 2 and size(words[1]) < _REQUEST_HEAD:
            why = "requests with long cookies are refused with 400"
            name = "large_client_header_buffers"
            yield self._flaw("header_buffer", why, f"{name} {' '.join(words)};", f"{name} 4 16k;")

    def _told(self) -> Iterator[Flaw]:
        listens = [words for words in self._lists("listen") if "ssl" in words]
        if not listens and self._word("ssl") != "on":
            return
        if self._kind == "proxy":
            names = {words[0].lower() for words in self._lists("proxy_set_header")}
            if not names & {"x-forwarded-proto", "forwarded"}:
                why = "the application does not learn that a request came by https"
                yield self._flaw("scheme", why, "listen … ssl, and no X-Forwarded-Proto",
                                 "proxy_set_header X-Forwarded-Proto $scheme;",
                                 severity=BROKEN)  # fmt: skip
        elif not {"HTTPS", "REQUEST_SCHEME"} & self._params.keys():
            why = "the application does not learn that a request came by https"
            yield self._flaw("scheme", why, f"listen … ssl, and no {self._kind}_param HTTPS",
                             f"{self._kind}_param HTTPS $https if_not_empty;",
                             severity=BROKEN)  # fmt: skip

    def _authorized(self) -> Iterator[Flaw]:
        names = [("proxy_set_header", "authorization"), (f"{self._kind}_param",
                  "http_authorization")]  # fmt: skip
        for name, field in names:
            for words in self._lists(name):
                if words[0].lower() == field and words[1:] and words[1] == "":
                    why = "the Authorization header is taken away from the application"
                    yield self._flaw("authorization", why, f'{name} {words[0]} "";',
                                     "take this line out")  # fmt: skip


def _host(word: str) -> str:
    """proxy_pass names a URL; the others an address."""
    for scheme in ("http://", "https://", "uwsgi://", "suwsgi://", "scgi://"):
        if word.startswith(scheme):
            rest = word.removeprefix(scheme)
            return rest if rest.startswith("unix:") else rest.partition("/")[0]
    return word


def _target(word: str) -> str:
    if word.startswith("unix:"):
        return word.removeprefix("unix:").partition(":")[0].join(("unix:", ""))
    return word if ":" in word else f"{word}:80"


def _match(pattern: str, path: str) -> re.Match[str] | None:
    """As PCRE would, for what both write alike. Bytes beyond ASCII match as themselves."""
    text = re.sub(r"\(\?<(\w+)>", r"(?P<\1>", pattern).replace(r"\z", r"\Z")
    try:
        return re.search(text, path)
    except re.error:
        return None


def _groups(pattern: str, path: str) -> dict[str, str]:
    match = _match(pattern, path)
    if match is None:
        return {}
    numbered = {str(at): value or "" for at, value in enumerate(match.groups(), 1)}
    return numbered | {name: value or "" for name, value in match.groupdict().items()}


def size(text: str) -> int:
    """Bytes, as nginx writes them; 0 where it is none."""
    found = re.fullmatch(r"(\d+)([kKmMgG]?)", text)
    return (whole(found[1]) or 0) * _UNITS[found[2].lower()] if found else 0

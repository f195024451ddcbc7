"""Where Apache hands requests on (mod_proxy, mod_rewrite's [P]), read from its configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.apache_programs import programs
from gatebridge.doctor.apache_tree import flags, is_on, literal, read_lines
from gatebridge.doctor.check import BROKEN
from gatebridge.doctor.passing import SAMPLE, SAMPLE_URI, Flaw, Passing, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.apache_tree import Line, Lines, Section
    from gatebridge.doctor.machine import Machine

_KINDS: Final = {"fcgi": "fastcgi", "scgi": "scgi", "uwsgi": "uwsgi", "http": "http"}
_TARGET: Final = re.compile(
    r"(?:unix:(?P<path>[^|]+)\|)?(?P<scheme>\w+)://(?P<host>[^/|$%]*)(?P<rest>.*)"
)
_NAMES: Final = {"proxypass": "ProxyPass", "rewriterule": "RewriteRule [P]"}
_TIMEOUT: Final = 60.0  # Apache's own
_REQUEST_HEAD: Final = 8190  # Apache's own
_REQENV: Final = re.compile(r"%\{reqenv:(\w+)\}")


def read_apache(machine: Machine, path: str) -> list[Passing]:
    lines = read_lines(machine, path)
    found = []
    for line in lines:
        place = _place(lines, line)
        if place is not None:
            found.append(place.passing())
    return found + programs(lines, path)


def _place(lines: Lines, line: Line) -> _Place | None:
    """None for a directive that hands nothing on."""
    location = line.within("location")
    prefix = location[1][0] if location is not None and location[1] else None
    if line.name == "proxypass" and line.words:
        words = line.words
        if prefix is None:
            prefix, words = words[0], words[1:]
        found = _TARGET.fullmatch(words[0]) if words else None
        options = words[1:]
    elif line.name == "sethandler" and line.words and line.words[0].startswith("proxy:"):
        found, options = _TARGET.fullmatch(line.words[0].removeprefix("proxy:")), ()
    elif line.name == "proxypassmatch" and len(line.words) > 1:
        found, options, prefix = _TARGET.fullmatch(line.words[1]), line.words[2:], None
    elif line.name == "rewriterule" and {"p", "proxy"} & flags(line).keys():
        found, options, prefix = _TARGET.fullmatch(line.words[1]), (), literal(line.words[0])
    else:
        return None
    known = (*_KINDS, "balancer")
    return (
        _Place(lines, line, found, prefix, options) if found and found["scheme"] in known else None
    )


class _Place:
    """A directive that hands requests on. prefix: of the URL, None for a pattern."""

    def __init__(
        self,
        lines: Lines,
        line: Line,
        target: re.Match[str],
        prefix: str | None,
        options: tuple[str, ...],
    ) -> None:
        self._lines = lines
        self._line = line
        self._target = target
        self._prefix = prefix
        self._host = line.within("virtualhost")
        self._near = lines.near(line)
        self._options = {**self._set(), **dict(map(_pair, options))}
        self._members = list(self._balanced()) if target["scheme"] == "balancer" else [target]

    def passing(self) -> Passing:
        scheme = self._members[0]["scheme"] if self._members else "fcgi"
        timeout = self._options.get("timeout") or self._said("proxytimeout", "timeout")
        # mod_proxy_fcgi alone collects: --url measures the same
        limit, is_kept = self._limit(scheme)
        flushed = scheme != "fcgi" or self._options.get("flushpackets", "off").lower() != "off"
        return Passing(
            "apache",
            self._line.where,
            _KINDS.get(scheme, scheme),
            tuple(map(_address, self._members)),
            self._prefix.rstrip("/") if self._prefix is not None else None,
            self._sent(scheme),
            limit if is_kept else None,
            float(timeout) if timeout.isdecimal() else _TIMEOUT,
            "" if flushed else "flushpackets is off",
            {
                "timeout": "ProxySet timeout={0} in its <Proxy>",
                "buffered": "ProxySet flushpackets=on in its <Proxy>",
                "pass": _NAMES.get(self._line.name, "SetHandler"),
                "upload": "LimitRequestBody {0}",
            },
            tuple(self._flaws(scheme)),
            unheeded=None if is_kept else limit,
        )

    def _limit(self, scheme: str) -> tuple[int | None, bool]:
        """LimitRequestBody, and whether it is kept to: mod_proxy_fcgi and mod_proxy_http hand a
        larger body on. What `gatebridge conf` writes answers it with 413."""
        for one in self._holding("redirect", "if"):
            inside = one.within("if")
            found = re.search(
                r"req:Content-Length\} -gt (\d+)", " ".join(inside[1] if inside else ())
            )
            if found and one.words[:1] == ("413",):
                return whole(found[1]), True
        said = [one.words[0] for one in self._holding("limitrequestbody") if one.words]
        limit = whole(said[-1]) if said else None
        return limit, scheme in ("scgi", "uwsgi")

    def _set(self) -> dict[str, str]:
        """What <Proxy URL> says of this target, in its head or with ProxySet."""
        found: dict[str, str] = {}
        url = self._target[0].rstrip("/")
        for one in self._near:
            section = one.within("proxy")
            if section is None or not section[1] or not url.startswith(section[1][0].rstrip("/")):
                continue
            found |= dict(map(_pair, section[1][1:]))
            if one.name == "proxyset":
                found |= dict(map(_pair, one.words))
        return found

    def _balanced(self) -> Iterator[re.Match[str]]:
        for one in self._near:
            section = one.within("proxy")
            name = section[1][0] if section is not None and section[1] else ""
            if one.name == "balancermember" and name == f"balancer://{self._target['host']}":
                found = _TARGET.fullmatch(one.words[0]) if one.words else None
                if found:
                    yield found

    def _said(self, *names: str) -> str:
        """The first word of the nearest of these directives outside of other sections."""
        for name in names:
            found = [one for one in self._near if one.name == name and one.words]
            if found:
                own = [one for one in found if self._host and one.within("virtualhost")]
                return (own or found)[-1].words[0]
        return ""

    def _covers(self, section: Section | None) -> bool:
        """Whether a <Location> holds where requests come; a <Directory> may."""
        if section is None:
            return False
        path = section[1][0] if section[1] else ""
        if self._prefix is None or section[0] != "location":
            return True
        return (self._prefix.rstrip("/") + "/").startswith(path.rstrip("/") + "/")

    def _holding(self, name: str, *through: str) -> Iterator[Line]:
        for one in self._near:
            if one.name != name:
                continue
            passed = ("virtualhost", "ifmodule", *through)
            around = [each for each in one.sections if each[0] not in passed]
            if not around or self._covers(around[-1]):
                yield one

    def _sent(self, scheme: str) -> dict[str, str] | None:
        """For a request for SAMPLE below the prefix; None where it cannot be told."""
        if self._prefix is None or scheme == "http" or self._line.name == "rewriterule":
            return None
        mount = self._prefix.rstrip("/")
        sent = {"HTTP_HOST": "x", "REQUEST_URI": mount + SAMPLE_URI, "SERVER_SOFTWARE": "Apache"}
        first, slash, rest = SAMPLE[1:].partition("/")
        if scheme == "uwsgi":
            sent |= {"SCRIPT_NAME": mount, "PATH_INFO": SAMPLE}
        elif self._line.name == "proxypass":
            sent |= {"SCRIPT_NAME": mount + SAMPLE}
        elif mount:
            sent |= {"SCRIPT_NAME": mount, "PATH_INFO": SAMPLE}
        else:
            sent |= {"SCRIPT_NAME": f"/{first}", "PATH_INFO": slash + rest}
        if scheme == "fcgi" and self._said("proxyfcgibackendtype").upper() != "GENERIC":
            sent["SCRIPT_FILENAME"] = self._file(mount)
        for one in self._holding("proxyfcgisetenvif"):
            if scheme != "fcgi" or len(one.words) < 2:
                continue
            value = one.words[2] if len(one.words) > 2 else ""
            if one.words[0] != "true" or "%{" in _REQENV.sub("", value):
                return None
            sent[one.words[1]] = _REQENV.sub(lambda m: sent.get(m[1], ""), value)
        return sent

    def _file(self, mount: str) -> str:
        """SCRIPT_FILENAME: the target, and what mod_proxy makes of the path; a handler gets a
        file's name below the document root."""
        url = f"proxy:{self._target['scheme']}://{self._target['host']}"
        if self._line.name == "proxypass":
            return f"{url}{self._target['rest'].rstrip('/')}{mount}{SAMPLE_URI}"
        root = self._said("documentroot")
        return f"{url}{self._target['rest']}{root}{mount or '/' + SAMPLE[1:].partition('/')[0]}"

    def _flaws(self, scheme: str) -> Iterator[Flaw]:
        where = self._line.where
        module = f"proxy_{scheme}_module"
        if scheme in _KINDS and self._lines.without((module,)):
            yield Flaw("front.module", f"Apache does not load mod_proxy_{scheme}, and answers 500",
                       f"{where}: {self._target[0]}, and no LoadModule {module}",
                       f"a2enmod proxy_{scheme} && systemctl restart apache2, or "
                       f"LoadModule {module} modules/mod_proxy_{scheme}.so", BROKEN)  # fmt: skip
        if self._line.name == "rewriterule" and not is_on(self._near, "rewriteengine", self._line):
            yield Flaw("front.rewrite", "mod_rewrite is off where this rule stands, so it is not "
                       "read", f"{where}: RewriteRule without RewriteEngine On before it",
                       "RewriteEngine On", BROKEN)  # fmt: skip
        rest = self._target["rest"]
        if (self._line.name == "proxypass" and (self._prefix or "").endswith("/")
                and not rest.endswith("/")):  # fmt: skip
            why = "Apache puts the path behind the target without a / between, so nothing is found"
            shown = f"ProxyPass {self._prefix} {self._target[0]}"
            yield Flaw("front.slash", why, f"{where}: {shown}",
                       f"a / at the end of the target too: {self._target[0]}/", BROKEN)  # fmt: skip
        if scheme in ("fcgi", "scgi") and not self._passes_authorization():
            why = "Apache keeps the Authorization header from what is reached by FastCGI and SCGI"
            place = self._prefix or "/"
            yield Flaw("front.authorization", why, f"{where}: no CGIPassAuth On for it",
                       f'<Location "{place}"> with CGIPassAuth On')  # fmt: skip
        if scheme == "http" and self._said("sslengine").lower() == "on":
            named = [word.lower() for one in self._holding("requestheader") for word in one.words]
            if "x-forwarded-proto" not in named:
                why = "the application does not learn that a request came by https"
                yield Flaw("front.scheme", why, f"{where}: SSLEngine on, and no X-Forwarded-Proto",
                           'RequestHeader set X-Forwarded-Proto "https"', BROKEN)  # fmt: skip
        limit = whole(self._said("limitrequestfieldsize"))
        if limit is not None and limit < _REQUEST_HEAD:
            yield Flaw("front.header_buffer", "requests with long cookies are refused with 400",
                       f"{where}: LimitRequestFieldSize {limit}",
                       "LimitRequestFieldSize 16380")  # fmt: skip

    def _passes_authorization(self) -> bool:
        if any(one.words and one.words[0].lower() == "on" for one in self._holding("cgipassauth")):
            return True
        names = ("setenvif", "setenvifnocase", "rewriterule", "proxyfcgisetenvif")
        words = " ".join(
            word for name in names for one in self._holding(name) for word in one.words
        )
        return "HTTP_AUTHORIZATION" in words.upper()


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name.lower(), value


def _address(target: re.Match[str]) -> str:
    if target["path"]:
        return f"unix:{target['path']}"
    host: str = target["host"]
    port = {"fcgi": 8000, "scgi": 4000, "uwsgi": 3031}.get(target["scheme"], 80)
    return host if re.search(r":\d+$", host) else f"{host}:{port}"

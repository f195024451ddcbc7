"""Where IIS hands requests on, read from a web.config or applicationHost.config.

Rules of URL Rewrite that lead to a URL (with Application Request Routing), handlers of the CGI and
FastCGI modules, and httpPlatform.
"""

from __future__ import annotations

import glob
import re
from functools import cached_property
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.check import BROKEN
from gatebridge.doctor.iis_tree import read_elements
from gatebridge.doctor.machine import MOST
from gatebridge.doctor.passing import Flaw, Passing, whole
from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.iis_tree import Element
    from gatebridge.doctor.machine import Machine

_UPLOAD: Final = 30_000_000  # bytes: maxAllowedContentLength, if nobody says it
_PLATFORM_S: Final = 120.0  # httpPlatform's requestTimeout
_URL: Final = re.compile(
    r"http://(?P<host>\[[^\]]*\]|[^/:{?]+)(?::(?P<port>\d+))?(?P<rest>.*)", re.I
)
_WORD: Final = re.compile(r'"([^"]*)"|(\S+)')
_PORT: Final = "%HTTP_PLATFORM_PORT%"
_PIPE: Final = (
    "IIS speaks FastCGI over a pipe, to processes that it starts itself, and to no daemon"
)


def read_iis(machine: Machine, path: str) -> list[Passing]:
    """raises ConfigError("doctor.front_config")"""
    text = machine.read(path)
    if len(text) >= MOST:
        raise ConfigError("doctor.front_config", f"{path}: it is longer than {MOST >> 20} MiB")
    elements = read_elements(text, path)
    file = _File(elements, path)
    found: list[Passing] = []
    for one in elements:
        if _is_off(one):
            continue
        if one.name == "action" and one.attributes.get("type", "").lower() == "rewrite":
            found += file.rewritten(one)
        elif one.name == "add" and one.within("handlers"):
            found += file.handled(one)
        elif one.name == "httpplatform":
            found.append(file.platform(one))
    return found


class _File:
    def __init__(self, elements: list[Element], path: str) -> None:
        self._path = path
        self._named: dict[str, list[Element]] = {}
        for one in elements:
            self._named.setdefault(one.name, []).append(one)

    def _all(self, name: str) -> list[Element]:
        return self._named.get(name, [])

    def _first(self, name: str, attribute: str) -> str:
        """Of the first element of a name that has it, in lower case."""
        for one in self._all(name):
            if attribute in one.attributes:
                return one.attributes[attribute].lower()
        return ""

    def _where(self, one: Element) -> str:
        return f"{self._path}:{one.line}"

    @property
    def _upload(self) -> int:
        said = self._first("requestlimits", "maxallowedcontentlength")
        number = whole(said)
        return _UPLOAD if number is None else number

    def _escaped(self, one: Element) -> Iterator[Flaw]:
        if self._first("requestfiltering", "allowdoubleescaping") != "true":
            yield Flaw("front.encoded", "IIS refuses paths with a plus or an encoded percent sign",
                       f"{self._where(one)}: no allowDoubleEscaping; 404.11 for /a+b",
                       '<requestFiltering allowDoubleEscaping="true">')  # fmt: skip

    # -- a reverse proxy

    def rewritten(self, one: Element) -> Iterator[Passing]:
        url = one.attributes.get("url", "")
        found = _URL.fullmatch(url)
        if found is None:
            return
        timeout = _span(self._first("proxy", "timeout"))
        yield Passing(
            "iis",
            self._where(one),
            "http",
            tuple(self._targets(found)),
            upload=self._upload,
            timeout=timeout,
            words={
                "upload": "maxAllowedContentLength {0}",
                "refusal": "404.13",
                "timeout": "the timeout of <proxy> in applicationHost.config: {0} s",
                "pass": "a rule",
            },
            flaws=(*self._rule_flaws(one, url, found["rest"]), *self._escaped(one)),
        )

    def _targets(self, found: re.Match[str]) -> Iterator[str]:
        """A host, or the servers of a farm that is called so."""
        servers = [one for one in self._all("server")
                   if _name(one.within("webfarm")) == found["host"].lower()]  # fmt: skip
        for one in servers:
            routes = [each for each in self._all("applicationrequestrouting")
                      if each.parent is one]  # fmt: skip
            port = next((each.attributes["httpport"] for each in routes
                         if "httpport" in each.attributes), "80")  # fmt: skip
            yield f"{one.attributes.get('address', '')}:{port}"
        if not servers:
            yield f"{found['host']}:{found['port'] or 80}"

    def _rule_flaws(self, one: Element, url: str, rest: str) -> Iterator[Flaw]:
        seen = f"{self._where(one)}: url {url!r}"
        if rest.startswith("{R:"):
            yield Flaw("front.slash", "IIS puts the path behind the port without a / between", seen,
                       "{UNENCODED_URL} behind the port", BROKEN)  # fmt: skip
        elif "{R:" in rest or "{URL}" in rest.upper() or "{REQUEST_URI}" in rest.upper():
            yield Flaw("front.encoded", "IIS decodes a path before it hands it on, so %2F and %25 "
                       "are lost", seen, 'url="http://HOST:PORT{UNENCODED_URL}" and '
                       'appendQueryString="false"')  # fmt: skip
        if self._is_secure and "HTTP_X_FORWARDED_PROTO" not in self._set:
            why = "the application does not learn that a request came by https"
            yield Flaw("front.scheme", why,
                       f"{self._where(one)}: https is asked for, and no HTTP_X_FORWARDED_PROTO",
                       '<set name="HTTP_X_FORWARDED_PROTO" value="https" /> in <serverVariables>',
                       BROKEN)  # fmt: skip

    @cached_property
    def _set(self) -> set[str]:
        """Names of the server variables that rules set."""
        return {one.attributes.get("name", "").upper() for one in self._all("set")}

    @cached_property
    def _is_secure(self) -> bool:
        """Whether the file sends clients to https, or has a binding of it."""
        sent = [one.attributes.get("url", "") for one in self._all("action") if not _is_off(one)]
        bound = [one.attributes.get("protocol", "") for one in self._all("binding")]
        return any(url.lower().startswith("https://{") for url in sent) or any(
            protocol.lower() == "https" for protocol in bound
        )

    # -- programs

    def handled(self, one: Element) -> Iterator[Passing]:
        module = one.attributes.get("modules", "").lower()
        command = one.attributes.get("scriptprocessor", "")
        if module == "fastcgimodule":
            words = {"why": _PIPE, "pass": command}
            yield Passing("iis", self._where(one), "fastcgi", program="-", words=words)
        elif module == "cgimodule":
            named = [quoted or plain for quoted, plain in _WORD.findall(command)]
            kind = one.attributes.get("resourcetype", "").lower()
            flaws = list(self._escaped(one))
            if kind in ("file", "directory", "either"):
                flaws.append(Flaw(
                    "front.try_files", "IIS answers 404 itself where no file has the path's name",
                    f'{self._where(one)}: resourceType="{kind}"', 'resourceType="Unspecified"',
                    BROKEN))  # fmt: skip
            yield Passing(
                "iis",
                self._where(one),
                "cgi",
                program=f"*{glob.escape(named[-1])}" if named else "-",
                upload=self._upload,
                timeout=_span(self._first("cgi", "timeout")),
                words={"upload": "maxAllowedContentLength {0}", "refusal": "404.13",
                       "timeout": "the timeout of <cgi>: {0} s"},
                flaws=tuple(flaws),
            )  # fmt: skip

    def platform(self, one: Element) -> Passing:
        texts = [one.attributes.get(name, "") for name in ("processpath", "arguments")]
        texts += [
            each.attributes.get("value", "")
            for each in self._all("environmentvariable")
            if each.within("httpplatform") is one
        ]
        command = " ".join(texts)  # fmt: skip
        flaws = list(self._escaped(one))
        if _PORT.lower() not in command.lower():
            flaws.append(Flaw(
                "front.port", "IIS chooses a port and asks there, and the program is not told it",
                f"{self._where(one)}: {command[:200]}", f"--bind http://127.0.0.1:{_PORT}",
                BROKEN))  # fmt: skip
        return Passing(
            "iis",
            self._where(one),
            "http",
            upload=self._upload,
            timeout=_span(one.attributes.get("requesttimeout", "")) or _PLATFORM_S,
            words={"upload": "maxAllowedContentLength {0}", "refusal": "404.13",
                   "timeout": "requestTimeout {0} s, as hh:mm:ss"},
            flaws=tuple(flaws),
            program="gatebridge" if "gatebridge" in command.lower() else "-",
        )  # fmt: skip


def _is_off(one: Element) -> bool:
    """Whether it stands in a rule that is switched off."""
    rule = one.within("rule")
    return rule is not None and rule.attributes.get("enabled", "").lower() == "false"


def _name(one: Element | None) -> str:
    return one.attributes.get("name", "").lower() if one is not None else ""


def _span(text: str) -> float | None:
    """Seconds of hh:mm:ss; None for nothing, or nonsense."""
    found = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d+):(\d+)", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (whole(part or "0") or 0 for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)

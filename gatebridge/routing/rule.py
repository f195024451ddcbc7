"""Which requests a route is for: a path, perhaps a host and methods, as the operator writes them.

Paths are compared decoded, and as bytes: PEP 3333 has a path's bytes as latin-1 text, so what a
rule says goes through as_environ() first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

EXACT, PREFIX, PATTERN = "exact", "prefix", "pattern"

_LABELS = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_ADDRESS = re.compile(r"\[[0-9a-f:.]{2,45}\]")
_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2: a token
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_FLAGS = re.compile(r"\(\?[aiLmsux]+\)")  # of the whole pattern, at its start
_HOST_MOST = 253  # characters (RFC 1035 section 2.3.4)


@dataclass(frozen=True, slots=True)
class Rule:
    """What parse_rule() has checked; two equal rules are for the same requests.

    match    "/x" a path and what lies below it, "/" everything, "= /x" one path, "~ REGEX" what
             an expression matches at the path's start
    host     "" any, "shop.example.org", or "*.example.org" for every host below
    methods  empty: any; GET stands for HEAD too
    """

    match: str
    host: str = ""
    methods: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        """EXACT, PREFIX or PATTERN."""
        return {"=": EXACT, "~": PATTERN}.get(self.match[:1], PREFIX)

    @property
    def path(self) -> str:
        """Without its mark, as the environ has it: "" for everything, or the expression."""
        kind = self.kind
        text = self.match if kind == PREFIX else self.match[1:].strip(" ")
        return as_environ(text.rstrip("/") if kind == PREFIX else text)

    def __str__(self) -> str:
        """In words of the configuration: "/x on shop.example.org for GET, POST"."""
        words = [self.match or "/"]
        if self.host:
            words.append(f"on {self.host}")
        if self.methods:
            words.append(f"for {', '.join(sorted(self.methods))}")
        return " ".join(words)


def parse_rule(match: str, host: str = "", methods: Iterable[str] = ()) -> Rule:
    """Check what an operator wrote, and put it into the one form in which rules are compared.

    raises  ConfigError("route.match"), ConfigError("route.pattern"), ConfigError("route.host"),
            ConfigError("route.method")
    """
    return Rule(_match(match.strip(" ")), _host(host.strip(" ")), _methods(methods))


def as_environ(text: str) -> str:
    """A path's text as PEP 3333 has it: the bytes of its UTF-8, as latin-1."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def compile_pattern(text: str) -> re.Pattern[str]:
    """The expression of a "~" rule, as Rule.path has it. Letters are those of ASCII.

    raises  ConfigError("route.pattern")
    """
    try:
        return re.compile(text, re.ASCII)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError("route.pattern", f"{text!r} is no regular expression: {error}") from None


def host_name(text: str) -> str:
    """A Host header without its port, in small letters; "" for what can be no host's name."""
    if text.startswith("["):
        name = text[: text.find("]") + 1]
    else:
        name = text.partition(":")[0]
    if len(name) > _HOST_MOST + 1:
        return ""
    return name.lower().removesuffix(".")


def _match(text: str) -> str:
    if text[:2] in ("~*", "^~", "!~"):  # as nginx writes them
        right = {"~*": 'write "~ (?i)REGEX" to ignore case', "^~": "leave the mark out"}
        hint = right.get(text[:2], "a rule says what it is for, not what it is not for")
        raise ConfigError("route.match", f"{text!r} has an unknown mark: {hint}")
    if text.startswith("~"):
        expression = text[1:].strip(" ")
        if not expression:
            raise ConfigError("route.pattern", f"{text!r} has no expression: write ~ /x/[0-9]+")
        compile_pattern(as_environ(expression))
        if not _may_begin_with_slash(expression):
            raise ConfigError(
                "route.pattern",
                f"{text!r} matches no path, because it is held against a path's start, and that "
                f"is a slash: write ~ .*{expression.removeprefix('^')}",
            )
        return f"~ {expression}"
    if text.startswith("="):
        path = text[1:].strip(" ")
        _check_path(text, path)
        return f"= {path}"
    if text:
        _check_path(text, text)
    return text.rstrip("/") or "/"


def _may_begin_with_slash(expression: str) -> bool:
    """False where the first character is plainly another one. Only letters are looked at."""
    rest = _FLAGS.sub("", expression, count=1).removeprefix("^")
    return not (rest[:1].isalnum() and rest[1:2] not in ("?", "*", "{", "|") and "|" not in rest)


def _check_path(text: str, path: str) -> None:
    if not path.startswith("/"):
        raise ConfigError(
            "route.match", f"{text!r}: a path begins with a slash: write /x, = /x or ~ REGEX"
        )
    if _CONTROL.search(path):
        raise ConfigError("route.match", f"{text!r} has a control character: leave it out")
    if "?" in path or "#" in path:
        raise ConfigError("route.match", f"{text!r}: a rule sees the path alone: end it before ? #")
    if _ENCODED.search(path):
        raise ConfigError("route.match", f"{text!r}: paths are compared decoded: write it decoded")
    if not {".", ".."}.isdisjoint(path.split("/")):
        raise ConfigError("route.match", f"{text!r} has a dot segment: write the path it leads to")


def _host(text: str) -> str:
    name = text.casefold().removesuffix(".")
    if not name:
        return ""
    if not name.isascii():
        raise ConfigError("route.host", f"{text!r}: write it as browsers send it, xn--…")
    labels = name.removeprefix("*.")
    if len(name) <= _HOST_MOST and (_LABELS.fullmatch(labels) or _ADDRESS.fullmatch(name)):
        return name
    if name.rpartition(":")[2].isdigit() and not name.startswith("["):
        raise ConfigError("route.host", f"{text!r}: a host is compared without its port")
    raise ConfigError("route.host", f"{text!r}: a name as in shop.example.org or *.example.org")


def _methods(names: Iterable[str]) -> frozenset[str]:
    found = frozenset(name.strip(" ").upper() for name in names)
    for name in sorted(found):
        if not _METHOD.fullmatch(name):
            raise ConfigError("route.method", f"{name!r} is no method: write GET, POST, …")
    return found

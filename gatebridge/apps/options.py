"""What can be said about a hosted program, after its path: ``cgi:/srv/cgi-bin/?timeout=30s``."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatebridge.errors import ConfigError
from gatebridge.units import seconds, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LONGEST_S = 7 * 86_400  # a poll() takes no more than 24 days
_CHILDREN_MOST = 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_EXTENSION = re.compile(r"\.?[A-Za-z0-9_+-]+")


@dataclass(frozen=True, slots=True)
class ScriptOptions:
    """How a program is run.

    timeout          seconds in which neither its input nor its output moves; 0: for ever
    limits           as in Call.limits: by the names of RLIMIT_* in small letters
    head             bytes its answer's head may have
    grace            seconds between TERM and KILL
    linger           seconds its children may hold standard output after its own end
    arguments        a query without "=" becomes its arguments (RFC 3875 section 4.4)
    drop_shellshock  values that begin with "() {" do not reach it
    env              names it gets from gatebridge's own environment
    path             its PATH
    check_owner      refuse files that others could have written, as suexec does
    by_descriptor    a program is executed by the descriptor that was checked, not by its path
    extensions       of the files in a folder that are programs, with dot; () any
    preload          modules that a warmed interpreter has imported; None: learned
    children         processes of warm and inproc mode, at most
    """

    timeout: float = 60.0
    limits: Mapping[str, int] = field(default_factory=dict)
    head: int = 65_536
    grace: float = 2.0
    linger: float = 5.0
    arguments: bool = False
    drop_shellshock: bool = False
    env: tuple[str, ...] = ()
    path: str = "/usr/local/bin:/usr/bin:/bin"
    check_owner: bool = True
    by_descriptor: bool = False
    extensions: tuple[str, ...] = ()
    preload: tuple[str, ...] | None = None
    children: int = 8


def parse_options(query: str, mode: str, is_folder: bool) -> ScriptOptions:
    """Read what follows the question mark of a target.

    query      "timeout=30s&memory=256MiB"; nothing in it is decoded
    mode       "cgi", "warm" or "inproc": some options are for some only
    is_folder  the target is a folder of programs
    raises     ConfigError("target.option"), without the target's own text
    """
    said: dict[str, Any] = {}
    limits: dict[str, int] = {}
    seen: set[str] = set()
    for item in query.split("&") if query else []:
        name, equals, text = item.partition("=")
        _must_be_known(name, equals, mode, is_folder)
        if name in seen:
            raise ConfigError("target.option", f"{name} is said twice: once is enough")
        seen.add(name)
        try:
            if name in _LIMITS:
                limit, read = _LIMITS[name]
                limits[limit] = read(text)
            else:
                attribute, convert = _READERS[name]
                said[attribute] = convert(text)
        except ValueError as error:
            raise ConfigError("target.option", f"{name}: {error}") from None
    return ScriptOptions(limits=limits, **said)


def _must_be_known(name: str, equals: str, mode: str, is_folder: bool) -> None:
    known = [*_READERS, *_LIMITS]
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
        raise ConfigError("target.option", f"{name!r} is no option of a program; {hint}")
    if not equals:
        raise ConfigError("target.option", f"{name} has no value: write {name}=VALUE")
    if name in _WARMED and mode == "cgi":
        why = "cgi: starts a new interpreter each time; write warm: or inproc: before the path"
        raise ConfigError("target.option", f"{name} does nothing here: {why}")
    if name == "extensions" and not is_folder:
        why = "the target is one file; it chooses among the files of a folder"
        raise ConfigError("target.option", f"extensions does nothing here: {why}")


def read_time(text: str) -> float:
    value = seconds(text)
    if not 0 <= value <= _LONGEST_S:
        raise ValueError(f"{text!r} is not between 0 and 7d")
    return value


def _cpu(text: str) -> int:
    value = read_time(text)
    if not value:
        raise ValueError("0 would end the program at once; leave the option out for no limit")
    return math.ceil(value)  # the kernel counts whole seconds


def read_bytes(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = size(text)
        if not least <= value <= most:
            raise ValueError(f"{text!r} is not between {least} and {most} bytes")
        return value

    return read


def read_number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        # int() would take "1_0" and " 10 "
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ValueError(f"{text!r} is no number")
        if not least <= int(text) <= most:
            raise ValueError(f"{text} is not between {least} and {most}")
        return int(text)

    return read


def read_choice(no: str, yes: str) -> Callable[[str], bool]:
    def read(text: str) -> bool:
        if text not in (yes, no):
            raise ValueError(f"{text!r} is neither {yes} nor {no}")
        return text == yes

    return read


def _list(text: str, shape: re.Pattern[str], what: str) -> tuple[str, ...]:
    """Items between commas. raises ValueError where one has another shape, or there is none."""
    items = text.split(",")
    for item in items:
        if not shape.fullmatch(item):
            raise ValueError(f"{item!r} is no {what}: write them with commas and no spaces")
    return tuple(items)


def _env(text: str) -> tuple[str, ...]:
    names = _list(text, _VARIABLE, "name of a variable")
    if "HTTP_PROXY" in names:
        why = "a client's Proxy: header would look the same to the program (CVE-2016-5385)"
        raise ValueError(f"HTTP_PROXY is never passed: {why}; most programs read http_proxy too")
    return names


def _path(text: str) -> str:
    for part in text.split(":"):
        if not part.startswith("/") or "\0" in part:
            why = "programs would be looked for in the script's own folder"
            raise ValueError(f"{part!r} is no absolute folder, so {why}")
    return text


def _extensions(text: str) -> tuple[str, ...]:
    found = _list(text, _EXTENSION, "extension")
    return tuple([item if item.startswith(".") else f".{item}" for item in found])


def _preload(text: str) -> tuple[str, ...] | None:
    if text == "auto":
        return None
    return () if text == "none" else _list(text, _MODULE, "name of a module")


_READERS: dict[str, tuple[str, Callable[[str], object]]] = {  # its attribute, and how it is read
    "timeout": ("timeout", read_time),
    "head": ("head", read_bytes(1 << 10, 1 << 24)),
    "grace": ("grace", read_time),
    "linger": ("linger", read_time),
    "arguments": ("arguments", read_choice("no", "yes")),
    "shellshock": ("drop_shellshock", read_choice("pass", "drop")),
    "env": ("env", _env),
    "path": ("path", _path),
    "owner": ("check_owner", read_choice("any", "check")),
    "exec": ("by_descriptor", read_choice("path", "descriptor")),
    "extensions": ("extensions", _extensions),
    "preload": ("preload", _preload),
    "children": ("children", read_number(1, _CHILDREN_MOST)),
}
_LIMITS: dict[str, tuple[str, Callable[[str], int]]] = {  # the name in Call.limits
    "cpu": ("cpu", _cpu),
    "memory": ("as", read_bytes(1 << 20, 1 << 62)),
    "files": ("nofile", read_number(4, 1 << 20)),
    "processes": ("nproc", read_number(1, 1 << 22)),
}
_WARMED = ("preload", "children")  # for warm and inproc only

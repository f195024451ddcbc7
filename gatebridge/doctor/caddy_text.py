"""Where Caddy hands requests on, read from a Caddyfile."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.check import BROKEN
from gatebridge.doctor.nginx_tree import DEPTH_MOST, files_like
from gatebridge.doctor.passing import SAMPLE, SAMPLE_URI, Flaw, Passing, seconds, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.machine import Machine

_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|(\#.*)|(\S+)')
_PASSES: Final = ("reverse_proxy", "php_fastcgi")
_PARTS: Final = ("handle", "handle_path", "route")
_UNITS: Final = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3,
                 "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}  # fmt: skip


@dataclass(slots=True)
class _Line:
    words: list[str]
    where: str
    block: list[_Line] = field(default_factory=list)

    def all(self, *begin: str) -> Iterator[list[str]]:
        """Words behind those of each line of the block that begins so."""
        for one in self.block:
            if tuple(one.words[: len(begin)]) == begin:
                yield one.words[len(begin) :]

    def last(self, *begin: str) -> str:
        return next((words[0] for words in reversed(list(self.all(*begin))) if words), "")

    def inner(self, *begin: str) -> _Line | None:
        return next((one for one in self.block if tuple(one.words[: len(begin)]) == begin), None)


def read_caddy(machine: Machine, path: str) -> list[Passing]:
    """A site's block, or the whole file where it has one site without braces."""
    whole = _Line([], path, _Reader(machine).file(os.path.abspath(path)))
    return list(_walk(whole, ()))


class _Reader:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._open: list[str] = []

    def file(self, path: str) -> list[_Line]:
        if path in self._open or len(self._open) >= DEPTH_MOST:
            return []
        self._open.append(path)
        try:
            return self._block(iter(enumerate(self._machine.read(path).splitlines(), 1)), path)
        finally:
            self._open.pop()

    def _block(self, lines: Iterator[tuple[int, str]], path: str) -> list[_Line]:
        found: list[_Line] = []
        for number, raw in lines:
            words = []
            for match in _WORD.finditer(raw):
                if match[3] is not None:
                    break
                words.append(next(part for part in match.groups() if part is not None))
            if words == ["}"]:
                return found
            if not words:
                continue
            one = _Line(words, f"{path}:{number}")
            if words[-1] == "{":
                one.words = words[:-1]
                one.block = self._block(lines, path)
            if one.words[:1] == ["import"] and len(one.words) > 1:
                found += self._imported(os.path.join(os.path.dirname(path), one.words[1]))
            else:
                found.append(one)
        return found

    def _imported(self, pattern: str) -> list[_Line]:
        return [one for path in files_like(self._machine, pattern) for one in self.file(path)]


def _walk(at: _Line, around: tuple[_Line, ...]) -> Iterator[Passing]:
    for one in at.block:
        if one.words[:1] and one.words[0] in _PASSES:
            yield _passing(one, (*around, at))
        elif one.block:
            yield from _walk(one, (*around, at))


def _passing(one: _Line, around: tuple[_Line, ...]) -> Passing:
    transport = one.inner("transport", "fastcgi")
    is_fcgi = transport is not None or one.words[0] == "php_fastcgi"
    inner = transport if transport is not None else one
    words = [word for word in one.words[1:] if word[:1] not in ("/", "@", "*")]
    words += [word for more in one.all("to") for word in more]
    mount, stripped = _mount(one, around)
    timeout = inner.last("read_timeout")
    upload = next((found for block in reversed(around)
                   if (found := _upload(block))), None)  # fmt: skip
    return Passing(
        "caddy",
        one.where,
        "fastcgi" if is_fcgi else "http",
        tuple(map(_target, words)),
        mount,
        _sent(mount, stripped, inner) if is_fcgi and mount is not None else None,
        upload,
        seconds(timeout) if timeout else None,
        "",
        {
            "upload": "max_size {0} in request_body",
            "timeout": "read_timeout {0}s in its transport",
            "pass": "reverse_proxy",
        },
        tuple(_flaws(one, around)),
    )


def _target(word: str) -> str:
    for scheme in ("unix/", "unix+h2c/"):
        if word.startswith(scheme):
            return f"unix:{word.removeprefix(scheme).partition('|')[0]}"
    word = re.sub(r"^\w+://", "", word)
    if word.startswith(":"):
        return f"localhost{word}"
    return word if re.search(r":\d+$", word) else f"{word}:80"


def _mount(one: _Line, around: tuple[_Line, ...]) -> tuple[str | None, bool]:
    """(URL prefix or None, whether it is taken off the path)."""
    matchers = [(line, line.words[1]) for line in around
                if line.words[:1] and line.words[0] in _PARTS and len(line.words) > 1]  # fmt: skip
    if len(one.words) > 1 and one.words[1][:1] in ("/", "@"):
        matchers.append((one, one.words[1]))
    if not matchers:
        return "", False
    line, matcher = matchers[-1]
    if matcher.startswith("@"):
        return _named(matcher, around), False
    return matcher.rstrip("*").rstrip("/"), line.words[0] == "handle_path"


def _named(matcher: str, around: tuple[_Line, ...]) -> str | None:
    """The one prefix that @NAME path /app /app/* means."""
    for block in reversed(around):
        for words in block.all(matcher, "path"):
            prefixes = {word.rstrip("*").rstrip("/") for word in words}
            return prefixes.pop() if len(prefixes) == 1 else None
    return None


def _upload(block: _Line) -> int | None:
    body = block.inner("request_body")
    found = re.fullmatch(r"(\d+)([KMG]?I?B?)", body.last("max_size").upper()) if body else None
    return (whole(found[1]) or 0) * _UNITS.get(found[2], 1) if found else None


def _sent(mount: str, stripped: bool, transport: _Line) -> dict[str, str] | None:
    path = SAMPLE if stripped else mount + SAMPLE
    uri = mount + SAMPLE_URI
    sent = {"HTTP_HOST": "x", "REQUEST_URI": uri, "SERVER_SOFTWARE": "Caddy/v2",
            "SCRIPT_NAME": "", "PATH_INFO": path}  # fmt: skip
    for split in [word for words in transport.all("split") for word in words]:
        at = path.lower().find(split.lower())
        if at >= 0:
            end = at + len(split)
            sent |= {"SCRIPT_NAME": path[:end], "PATH_INFO": path[end:]}
            break
    for words in transport.all("env"):
        value = words[1] if len(words) > 1 else ""
        value = re.sub(r"\{(?:http\.request\.uri\.path|path)\}", lambda m: path, value)
        if words and words[0] in ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI"):
            if "{" in value:
                return None
            sent[words[0]] = value
    return sent


def _flaws(one: _Line, around: tuple[_Line, ...]) -> Iterator[Flaw]:
    where = one.where
    if one.words[0] == "php_fastcgi":
        why = "Caddy looks for .php files, and sends other paths to index.php"
        yield Flaw("front.try_files", why, f"{where}: php_fastcgi",
                   "reverse_proxy … { transport fastcgi }", BROKEN)  # fmt: skip
    taken = [words for block in around for words in block.all("request_header")]
    taken += list(one.all("header_up"))
    if any(words[:1] and words[0].lower() == "-authorization" for words in taken):
        why = "the Authorization header is taken away from the application"
        yield Flaw("front.authorization", why, f"{where}: -Authorization", "take this line out")

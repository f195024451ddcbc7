"""From host, method and path to a rule's number, without asking every rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.routing.rule import EXACT, PATTERN, Rule, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Matcher:
    """Rules in the order in which they are asked: exact, the longest prefix, patterns, the rest.

    Prefixes stand in a tree of segments, so a lookup takes as many steps as the path has segments
    that some rule names, and never more than the longest rule has.

    rules   their indexes are what look() and walk() tell
    raises  ConfigError("route.twice"), ConfigError("route.pattern")
    """

    __slots__ = ("_depth", "_exact", "_patterns", "_top", "has_hosts", "methods")

    def __init__(self, rules: Sequence[Rule]) -> None:
        _refuse_twins(rules)
        self.has_hosts = any(rule.host for rule in rules)
        self.methods = [_with_head(rule.methods) for rule in rules]
        self._exact: dict[str, _Group] = {}
        self._top = _Node()
        self._depth = 0  # segments of the longest prefix
        patterns = {rule.path: _Group() for rule in rules if rule.kind == PATTERN}
        # A rule with methods is more specific; the sort leaves the rest as it was written.
        for number in sorted(range(len(rules)), key=lambda number: not rules[number].methods):
            rule = rules[number]
            if rule.kind == EXACT:
                group = self._exact.setdefault(rule.path, _Group())
            else:
                group = patterns[rule.path] if rule.kind == PATTERN else self._at(rule.path)
            group.add(number, rule.host, self.methods[number])
        self._patterns = [(compile_pattern(path), group) for path, group in patterns.items()]

    def _at(self, prefix: str) -> _Group:
        """The group of a prefix, made where it is missing."""
        node = self._top
        segments = prefix.split("/")[1:]
        for segment in segments:
            node = node.children.setdefault(segment, _Node())
        self._depth = max(self._depth, len(segments))
        if node.group is None:
            node.group = _Group()
        return node.group

    def look(self, host: str, method: str, path: str) -> tuple[int, int]:
        """The rule that gets a request, and how much of the path is its own; (-1, 0): none."""
        group = self._exact.get(path)
        if group is not None:
            number = group.pick(host, method)
            if number >= 0:
                return number, len(path.rstrip("/"))
        for group, end in self._prefixes(path):
            number = group.pick(host, method)
            if number >= 0:
                return number, end
        for group, end in self._rest(path):
            number = group.pick(host, method)
            if number >= 0:
                return number, end
        return -1, 0

    def walk(self, host: str, path: str) -> Iterator[int]:
        """The rules that fit a path and host, in the order in which look() asks them."""
        exact = self._exact.get(path)
        groups = [] if exact is None else [exact]
        groups += [group for group, _ in (*self._prefixes(path), *self._rest(path))]
        for group in groups:
            for entries in group.of(host):
                for number, _ in entries:
                    yield number

    def _prefixes(self, path: str) -> Iterable[tuple[_Group, int]]:
        """What fits a path, and the length of its part of it; the longest first, "/" not."""
        depth = self._depth
        if not depth or path[:1] != "/":
            return ()
        found: list[tuple[_Group, int]] = []
        children = self._top.children
        end = 0
        for segment in path.split("/", depth + 1)[1 : depth + 1]:
            node = children.get(segment)
            if node is None:
                break
            end += len(segment) + 1
            if node.group is not None:
                found.append((node.group, end))
            children = node.children
        found.reverse()
        return found

    def _rest(self, path: str) -> Iterator[tuple[_Group, int]]:
        """Patterns that match, and at last everything."""
        if self._patterns and path[:1] in ("", "/"):
            for pattern, group in self._patterns:
                found = pattern.match(path)
                if found:
                    yield group, _border(path, found.end())
        if self._top.group is not None:
            yield self._top.group, 0


class _Node:
    """A segment of a prefix. group: None where no rule ends here."""

    __slots__ = ("children", "group")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.group: _Group | None = None


class _Group:
    """The rules of one path: by host, then in the order in which they were added."""

    __slots__ = ("_anywhere", "_has_wild", "_hosts")

    def __init__(self) -> None:
        self._hosts: dict[str, list[tuple[int, frozenset[str]]]] = {}
        self._anywhere: list[tuple[int, frozenset[str]]] = []
        self._has_wild = False

    def add(self, number: int, host: str, methods: frozenset[str]) -> None:
        entries = self._hosts.setdefault(host, []) if host else self._anywhere
        entries.append((number, methods))
        self._has_wild = self._has_wild or host.startswith("*")

    def of(self, host: str) -> Iterator[list[tuple[int, frozenset[str]]]]:
        """Its own name's rules, those of the longest *.name, and so on, at last any host's."""
        if host and host[0] != "*":
            hosts = self._hosts
            if host in hosts:
                yield hosts[host]
            at = host.find(".") if self._has_wild else -1
            while at >= 0:
                name = f"*{host[at:]}"
                if name in hosts:
                    yield hosts[name]
                at = host.find(".", at + 1)
        yield self._anywhere

    def pick(self, host: str, method: str) -> int:
        """The rule for a host and method, or -1."""
        for entries in self.of(host) if self._hosts else (self._anywhere,):
            for number, methods in entries:
                if not methods or method in methods:
                    return number
        return -1


def _refuse_twins(rules: Sequence[Rule]) -> None:
    seen: set[tuple[str, str, str, frozenset[str]]] = set()
    for rule in rules:
        what = (rule.kind, rule.path, rule.host, rule.methods)
        if what in seen:
            raise ConfigError("route.twice", f"two routes are for {rule}: leave one of them out")
        seen.add(what)


def _with_head(methods: frozenset[str]) -> frozenset[str]:
    return methods | {"HEAD"} if "GET" in methods else methods


def _border(path: str, end: int) -> int:
    """The end of the segment that a match ends in, without a slash at its end.

    What is left of the path has to be empty or to begin with a slash (PEP 3333).
    """
    if path[end : end + 1] != "/":
        at = path.find("/", end)
        end = at if at >= 0 else len(path)
    return len(path[:end].rstrip("/"))

"""Tables, applications that tell who they are, and requests for them."""

from typing import Any

from gatebridge.routing.rule import parse_rule
from gatebridge.routing.table import Route, Table

Environ = dict[str, Any]


def named(name: str):
    """An application that tells its name and its two paths."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{name} {environ['SCRIPT_NAME']!r} {environ['PATH_INFO']!r}".encode("latin-1")]

    return application


def table_of(*rules: str | tuple[Any, ...]) -> Table:
    """A route for each rule, with an application of the rule's own text."""
    asked = [(rule,) if isinstance(rule, str) else rule for rule in rules]
    parsed = [parse_rule(*rule) for rule in asked]
    return Table([Route(rule, named(str(rule))) for rule in parsed])


def request(path: str, script: str = "", method: str = "GET", host: str = "h") -> Environ:
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": script,
        "PATH_INFO": path,
        "HTTP_HOST": host,
        "SERVER_NAME": "server.example.org",
    }


def ask(table, path: str, script: str = "", method: str = "GET", host: str = "h"):
    """(status, body) of one request."""
    return answer(table, request(path, script, method, host))


def answer(table, environ: Environ) -> tuple[str, bytes]:
    seen = []
    result = table(environ, lambda status, headers: seen.append((status, headers)))
    try:
        body = b"".join(result)
        return seen[0][0], body
    finally:
        if hasattr(result, "close"):
            result.close()


class Switches:
    def __init__(self, *new: int) -> None:
        self.new = set(new)

    def is_new(self, index: int) -> bool:
        return index in self.new


class Counters:
    """Counts what has entered and not left; every leave() in order."""

    def __init__(self) -> None:
        self.inside: dict[int, int] = {}
        self.left: list[int] = []

    def enter(self, place: int, most: int) -> bool:
        if self.inside.get(place, 0) >= most:
            return False
        self.inside[place] = self.inside.get(place, 0) + 1
        return True

    def leave(self, place: int) -> None:
        self.inside[place] -= 1
        self.left.append(place)

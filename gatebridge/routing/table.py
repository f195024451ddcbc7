"""Several applications below one another's paths, as one WSGI application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gatebridge.apps.refusal import refuse
from gatebridge.errors import PeerError, UseError
from gatebridge.routing.limits import Release, limit_body
from gatebridge.routing.match import Matcher
from gatebridge.routing.redirect import Redispatch
from gatebridge.routing.rule import EXACT, PATTERN, Rule, as_environ, host_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatebridge.engine.seams import Application


_DECIDED = "gatebridge.side"  # (number of the line, whether its new side answers), in environ


class Switches(Protocol):
    """Which side of each migrating route answers now; others may change it at any moment."""

    def is_new(self, index: int) -> bool:
        """May be called by any thread, at each request."""


class Counters(Protocol):
    """How many requests each limited route has under way."""

    def enter(self, place: int, most: int) -> bool:
        """Count one more; False: there are ``most`` already, and nothing was counted."""

    def leave(self, place: int) -> None:
        """One that had entered is over."""


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table.

    application  who answers, or the legacy side of a route that migrates
    new          the new side; None: the route does not migrate
    switch       of a migrating route: its index into Switches
    timeout      seconds; 0: as everywhere
    limit_body   bytes; -1: as everywhere
    concurrency  requests at once; 0: any number
    place        of a route with concurrency: its index into Counters
    """

    rule: Rule
    application: Application
    new: Application | None = None
    switch: int = -1
    timeout: float = 0.0
    limit_body: int = -1
    concurrency: int = 0
    place: int = -1

    @property
    def is_limited(self) -> bool:
        return self.timeout > 0 or self.limit_body >= 0 or self.concurrency > 0

    @property
    def is_plain(self) -> bool:
        """Does everything go to one application, just as it came?"""
        rule = self.rule
        is_open = rule in (Rule(""), Rule("/")) and not self.is_limited
        return is_open and self.new is None and not _redirects(self.application)


def route(applications: Sequence[tuple[str, Application]]) -> Application:
    """One application made of pairs (mount, application); a mount "" or "/" takes the rest."""
    return route_table([Route(Rule(mount), application) for mount, application in applications])


def route_table(
    routes: Sequence[Route], switches: Switches | None = None, counters: Counters | None = None
) -> Application:
    """A Table, or the only application itself where a table would change nothing."""
    if len(routes) == 1 and routes[0].is_plain:
        return routes[0].application
    return Table(routes, switches, counters)


class Table:
    """Gives a request to the application of the rule that fits it best.

    An exact path goes before the longest prefix, that before the first pattern, and that before
    "/"; for one and the same path a rule with a host goes before one without, then one with
    methods. A rule's part of the path moves from PATH_INFO to SCRIPT_NAME (PEP 3333), so the
    application makes links that lead back; a slash at its end does not.

    A request finds in its environ "gatebridge.route", the rule's text, with " legacy" or " new"
    behind it where the route migrates, and "gatebridge.redispatch", a Redispatch.

    raises  ConfigError("route.twice"), ConfigError("route.pattern"); UseError("route.switches"),
            UseError("route.counters") where what a route asks for could not be kept
    """

    __slots__ = ("_counters", "_lines", "_matcher", "_switches", "routes")

    def __init__(
        self,
        routes: Sequence[Route],
        switches: Switches | None = None,
        counters: Counters | None = None,
    ) -> None:
        for one in routes:
            _check(one, switches, counters)
        self.routes = tuple(routes)
        self._lines = [_Line(one) for one in routes]
        self._matcher = Matcher([one.rule for one in routes])
        self._switches = switches
        self._counters = counters

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """raises  PeerError("body.too_big"), PeerError("length.malformed"),
        PeerError("route.busy")
        """
        matcher = self._matcher
        path = environ.get("PATH_INFO", "")
        host = _host_of(environ) if matcher.has_hosts else ""
        number, end = matcher.look(host, environ.get("REQUEST_METHOD", "GET"), path)
        if number < 0:
            return self._refuse(host, path, environ, start_response)
        line = self._lines[number]
        script = environ.get("SCRIPT_NAME", "")
        count = environ.get("gatebridge.redirects", 0)
        environ["gatebridge.redispatch"] = Redispatch(self, script, path, count)
        if end:
            environ["SCRIPT_NAME"] = script + path[:end]
            environ["PATH_INFO"] = path[end:]
        application, name = line.application, line.name
        if line.new is not None and self._moves(number, environ):
            application, name = line.new, line.new_name
        environ["gatebridge.route"] = name
        if line.is_limited:
            return self._within_limits(line.route, application, environ, start_response)
        return application(environ, start_response)

    def split(self, environ: dict[str, Any]) -> tuple[str, str, str]:
        """A request's route, and SCRIPT_NAME and PATH_INFO as its application gets them.

        The route is "" where no rule fits; environ stays as it is.
        """
        script, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
        host = _host_of(environ) if self._matcher.has_hosts else ""
        number, end = self._matcher.look(host, environ.get("REQUEST_METHOD", "GET"), path)
        if number < 0:
            return "", script, path
        line = self._lines[number]
        moves = line.new is not None and self._is_new(line.route)
        return line.new_name if moves else line.name, script + path[:end], path[end:]

    def answers(self, environ: dict[str, Any]) -> Application | None:
        """Who answers; None: no rule fits.

        The call that follows with this environ keeps to it, whatever is switched meanwhile, and
        counts it no second time.
        """
        host = _host_of(environ) if self._matcher.has_hosts else ""
        path = environ.get("PATH_INFO", "")
        number, _ = self._matcher.look(host, environ.get("REQUEST_METHOD", "GET"), path)
        if number < 0:
            return None
        line = self._lines[number]
        if line.new is None:
            return line.application
        moves = self._is_new(line.route)
        environ[_DECIDED] = (number, moves)
        return line.new if moves else line.application

    def find(self, host: str, method: str, path: str) -> tuple[Route | None, str]:
        """Who would answer, and a sentence why.

        host    as a Host header has it, or ""
        path    decoded, without a query, as a person writes it
        """
        matcher = self._matcher
        host, path = host_name(host), as_environ(path)
        number, _ = matcher.look(host, method, path)
        fitting = list(dict.fromkeys(matcher.walk(host, path)))
        if number < 0 and fitting:
            rules = "; ".join(str(self.routes[one].rule) for one in fitting)
            return None, f"405: what fits the path is not for {method}: {rules}"
        if number < 0:
            return None, "404: no rule fits" + (" this path on this host" * matcher.has_hosts)
        passed = fitting[: fitting.index(number)]
        why = _why(self.routes[number].rule)
        if passed:
            rules = "; ".join(str(self.routes[one].rule) for one in passed)
            why += f"; not for {method} and so passed over: {rules}"
        return self.routes[number], why

    def _moves(self, number: int, environ: dict[str, Any]) -> bool:
        """Whether the new side of a migrating line answers."""
        decided = environ.pop(_DECIDED, None)
        if decided is not None and decided[0] == number:
            return bool(decided[1])
        return self._is_new(self._lines[number].route)

    def _is_new(self, migrating: Route) -> bool:
        return self._switches is not None and self._switches.is_new(migrating.switch)

    def _refuse(
        self, host: str, path: str, environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        allowed: set[str] = set()
        for number in self._matcher.walk(host, path):
            allowed |= self._matcher.methods[number]
        if allowed:
            line = "The method is not allowed at this path."
            allow = [("Allow", ", ".join(sorted(allowed)))]
            return refuse(environ, start_response, "405 Method Not Allowed", line, allow)
        line = "No application is mounted at this path."
        return refuse(environ, start_response, "404 Not Found", line)

    def _within_limits(
        self, route: Route, application: Application, environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        if route.limit_body >= 0:
            limit_body(environ, route.limit_body)
        if route.timeout > 0:
            set_timeout = environ.get("gatebridge.timeout")
            if set_timeout is not None:
                set_timeout(route.timeout)
        counters = self._counters
        if route.concurrency <= 0 or counters is None:
            return application(environ, start_response)
        if not counters.enter(route.place, route.concurrency):
            raise PeerError("route.busy", f"{route.rule} has its {route.concurrency} requests")
        release = Release(counters.leave, route.place)
        try:
            return release.hold(application(environ, start_response))
        except BaseException:
            release()
            raise


class _Line:
    """A route as a request wants it."""

    __slots__ = ("application", "is_limited", "name", "new", "new_name", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.application = route.application
        self.new = route.new
        self.is_limited = route.is_limited
        self.name = str(route.rule) if route.new is None else f"{route.rule} legacy"
        self.new_name = f"{route.rule} new"


def _check(route: Route, switches: Switches | None, counters: Counters | None) -> None:
    if route.new is not None and (switches is None or route.switch < 0):
        raise UseError("route.switches", f"{route.rule} has two sides, and no switch between them")
    if route.concurrency > 0 and (counters is None or route.place < 0):
        raise UseError("route.counters", f"{route.rule} is limited, and nobody counts for it")


def _redirects(application: Application) -> bool:
    """Does it want "gatebridge.redispatch"? Hosted programs say so by this attribute."""
    return bool(getattr(application, "local_redirects", False))


def _host_of(environ: dict[str, Any]) -> str:
    return host_name(environ.get("HTTP_HOST") or environ.get("SERVER_NAME", ""))


def _why(rule: Rule) -> str:
    if rule.kind == EXACT:
        return f"{rule}: the path is exactly this one"
    if rule.kind == PATTERN:
        return f"{rule}: no exact path and no prefix fits, and of the patterns this is the first"
    if not rule.path:
        return f"{rule}: nothing more exact fits"
    return f"{rule}: the longest prefix that fits"

"""Who answers each route: as the configuration has it, and as an operator has changed it since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.serve.route_board import CallCounters, RouteBoard
from gatebridge.serve.route_state import RouteState, state_path
from gatebridge.serve.worker_log import ERROR, INFO, WARNING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.serve.route_state import Change
    from gatebridge.serve.worker_log import WorkerLog
    from gatebridge.settings import App, Configuration, Pool


class RouteModes:
    """The supervisor's. counters: of all generations; state: what has been changed."""

    __slots__ = ("_log", "counters", "state")

    def __init__(self, log: WorkerLog) -> None:
        self._log = log
        self.counters = CallCounters()
        self.state = RouteState()

    def boards(self, configuration: Configuration) -> dict[str, RouteBoard]:
        """Those of a new generation, by pool. raises ConfigError("route.many"), with none made"""
        if any(switched(configuration)):
            self._read(state_path(configuration))
        made: dict[str, RouteBoard] = {}
        try:
            for pool in configuration.pools:
                made[pool.name] = RouteBoard(pool.name, pool.apps, self._modes(pool), self.counters)
        except ConfigError:
            for board in made.values():
                board.close()
            raise
        return made

    def _modes(self, pool: Pool) -> dict[int, str]:
        return {
            index: self.state.mode(pool.name, app) for index, app in enumerate(pool.apps) if app.new
        }

    def _read(self, path: str) -> None:
        """What cannot be read changes nothing: routes stay, or are as the configuration says."""
        state = self.state if self.state.path == path else RouteState(path)
        try:
            state.read()
        except ConfigError as error:
            self._log.line(ERROR, f"{error}; routes are as {_who(state)} until then")
        self.state = state

    def settle(self, configuration: Configuration) -> None:
        """A configuration serves: forget the changes that it has overruled."""
        routes = list(switched(configuration))
        kept = []
        for change in self.state.changes:
            if any(change.counts(pool.name, app) for pool, app in routes):
                kept.append(change)
        for change in _last_of_each(self.state.changes, kept):
            self._log.line(INFO, f"route.overruled {_why(change, configuration)}")
        if len(kept) != len(self.state.changes):
            try:
                self.state.write(kept)
            except ConfigError as error:
                self._log.line(WARNING, str(error))


def switched(configuration: Configuration) -> Iterator[tuple[Pool, App]]:
    """The routes that have both sides."""
    for pool in configuration.pools:
        for app in pool.apps:
            if app.new:
                yield pool, app


def _who(state: RouteState) -> str:
    return "they were" if state.changes else "the configuration says"


def _last_of_each(changes: list[Change], kept: list[Change]) -> list[Change]:
    """Of every route whose changes are not kept, the youngest."""
    found = {}
    for change in changes:
        if change not in kept:
            found[change.pool, change.match, change.host, change.methods] = change
    return list(found.values())


def _why(change: Change, configuration: Configuration) -> str:
    what = f"pool {change.pool} {change.match or '/'}: gatebridge route had set it to {change.mode}"
    for pool, app in switched(configuration):
        if change.concerns(pool.name, app):
            return f"{what}; the configuration has been edited to {app.mode} since, which counts"
    return f"{what}; the configuration has no such route with two sides any more"

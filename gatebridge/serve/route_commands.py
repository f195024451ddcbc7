"""`gatebridge route`: what the supervisor answers and changes. No worker is restarted for it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from gatebridge.errors import AppError, ConfigError, UseError
from gatebridge.routing.rule import parse_rule
from gatebridge.serve.worker_log import INFO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.serve.control import Control
    from gatebridge.serve.crew import Crew
    from gatebridge.serve.route_state import Change
    from gatebridge.serve.supervisor import Supervisor
    from gatebridge.settings import App

    Answer = dict[str, Any]

_NEAR = 0.85  # likeness of a slip; paths of one folder are like each other anyway
_SHOWN = 8  # routes that a complaint names


class RouteCommands:
    """Tells a control socket how the commands about routes are answered."""

    def __init__(self, supervisor: Supervisor, control: Control) -> None:
        self._house = supervisor.house
        self._generations = supervisor.generations
        self._modes = supervisor.house.routes
        control.handlers.update(
            {"routes": self.routes, "route-set": self.set, "route-rollback": self.rollback}
        )

    def routes(self, request: Answer) -> Answer:
        return {
            "ok": True,
            "generation": self._generations.number,
            "state_file": self._modes.state.path,
            "routes": [self._about(crew, app) for crew, app in self._all()],
        }

    def _about(self, crew: Crew, app: App) -> Answer:
        board = crew.routes
        index = board.index_of(app.rule) if board is not None and app.new else -1
        found: Answer = describe(crew.pool.name, app, self._modes.state.mode(crew.pool.name, app))
        if board is not None and index >= 0:
            found["not_loaded"] = board.failed(index)
            found["requests"] = list(board.counts(index))
        return found

    def set(self, request: Answer) -> Answer:
        mode = request.get("mode")
        if mode not in ("legacy", "new"):
            raise UseError("route.mode", "a route's mode is legacy or new")
        crew, app = self._find(request)
        state = self._modes.state
        if state.mode(crew.pool.name, app) == mode:
            if mode != app.mode:
                state.write(state.changes)  # somebody may have removed or spoiled the file
            return self._done(crew, app, changed=False)
        return self._change(crew, app, mode, state.changed(crew.pool.name, app, mode))

    def rollback(self, request: Answer) -> Answer:
        """Undo the last change: of the route that is named, else of any."""
        state = self._modes.state
        named = [self._find(request)] if request.get("match") else self._switched()
        found = [(change, *one) for one in named if (change := self._last(*one)) is not None]
        if not found:
            text = "nothing is to be undone: the routes are as the configuration says"
            raise UseError("route.unchanged", text)
        change, crew, app = max(found, key=lambda one: state.changes.index(one[0]))
        kept = [one for one in state.changes if one is not change]
        before = [one for one in kept if one.counts(crew.pool.name, app)]
        return self._change(crew, app, before[-1].mode if before else app.mode, kept)

    def _last(self, crew: Crew, app: App) -> Change | None:
        return self._modes.state.last(crew.pool.name, app)

    # -- the change

    def _change(self, crew: Crew, app: App, mode: str, changes: list[Change]) -> Answer:
        """First the file, so that no restart forgets it, then the workers.

        raises  AppError("route.not_loaded"), ConfigError("route.state"), with nothing changed
        """
        state, pool = self._modes.state, crew.pool.name
        before, said = state.changes, state.mode(pool, app)
        if mode != said:
            self._refuse_broken(pool, app, mode)
        state.write(changes)
        self._tell(pool, app, mode)
        if mode != said:
            try:
                self._refuse_broken(pool, app, mode)  # a worker that began meanwhile
            except AppError:
                state.write(before)
                self._tell(pool, app, said)
                raise
        self._house.log.line(INFO, f"route pool {pool} {app}: {mode} answers, not {said}")
        return self._done(crew, app, changed=True)

    def _refuse_broken(self, pool: str, app: App, mode: str) -> None:
        """raises  AppError("route.not_loaded") if a worker that is there could not answer"""
        for generation in (self._generations.live, self._generations.coming):
            for crew in generation.crews if generation is not None else []:
                board = crew.routes
                if crew.pool.name != pool or board is None:
                    continue
                index = board.index_of(app.rule)
                reason = board.failed(index) if index >= 0 else ""
                if reason:
                    hint = "mend it, then gatebridge ctl reload"
                    text = f"{app} stays: its {mode} side did not load: {reason}; {hint}"
                    raise AppError("route.not_loaded", text)

    def _tell(self, pool: str, app: App, mode: str) -> None:
        """All workers, also those that drain, and those of the program before this one."""
        for crew in self._generations.crews():
            if crew.pool.name != pool:
                continue
            if crew.routes is not None:
                index = crew.routes.index_of(app.rule)
                if index >= 0:
                    crew.routes.set(index, mode)
            else:
                match, host, methods = app.rule
                rule = {"match": match, "host": host, "methods": list(methods)}
                crew.tell({"do": "route", **rule, "mode": mode})

    def _done(self, crew: Crew, app: App, changed: bool) -> Answer:
        return {"ok": True, "changed": changed, "route": self._about(crew, app)}

    # -- which one

    def _all(self) -> Iterator[tuple[Crew, App]]:
        """Of who serves, else of who is about to, else of the program before this one."""
        here = self._generations.live or self._generations.coming
        crews = here.crews if here is not None else self._generations.crews()
        for crew in {crew.pool.name: crew for crew in crews}.values():
            for app in crew.pool.apps:
                yield crew, app

    def _switched(self) -> list[tuple[Crew, App]]:
        return [(crew, app) for crew, app in self._all() if app.new]

    def _find(self, request: Answer) -> tuple[Crew, App]:
        """raises  UseError: route.unknown, route.one_target, route.which, route.malformed"""
        match, pool, host = [_text(request, key) for key in ("match", "pool", "host")]
        found = [
            (crew, app)
            for crew, app in self._all()
            if _is_called(app, match) and pool in ("", crew.pool.name) and host in ("", app.host)
        ]
        able = [one for one in found if one[1].new]
        if len(able) == 1:
            return able[0]
        if able:
            names = ", ".join(f"{app} in pool {crew.pool.name}" for crew, app in able)
            raise UseError("route.which", f"{match} is {names}; --pool, --host or a name tells")
        if found:
            text = f"{found[0][1]} has one target, {found[0][1].target}, and nothing to switch to"
            raise UseError("route.one_target", text)
        raise UseError("route.unknown", f"no route {match!r}{self._others(match)}")

    def _others(self, match: str) -> str:
        names = list(dict.fromkeys(app.name or app.match or "/" for _, app in self._switched()))
        near = difflib.get_close_matches(match, names, 1, cutoff=_NEAR)
        if near:
            return f"; did you mean {near[0]!r}?"
        more = ", …" if len(names) > _SHOWN else ""
        hint = "a [[route]] with legacy and new makes one"
        return f"; there are {', '.join(names[:_SHOWN])}{more}; {hint}" if names else f"; {hint}"


def describe(pool: str, app: App, mode: str) -> Answer:
    """A route as `gatebridge route list --json` has it. mode: who answers now."""
    return {
        "pool": pool,
        "name": app.name,
        "match": app.match or "/",
        "host": app.host,
        "methods": list(app.methods),
        "target": app.target,
        "new": app.new,
        "mode": mode,
        "said": app.mode,
        "timeout": app.timeout,
        "limit_body": app.limit_body,
        "concurrency": app.concurrency,
    }


def _is_called(app: App, text: str) -> bool:
    """Whether an operator means it: by its name, or by what it matches, however that is spaced."""
    if not text or app.name == text:
        return text != ""
    try:
        match = parse_rule(text).match
    except ConfigError:
        return False
    return app.match == ("" if match == "/" else match)


def _text(request: Answer, key: str) -> str:
    value = request.get(key, "")
    if not isinstance(value, str):
        raise UseError("route.malformed", f"{key} is a text")
    return value

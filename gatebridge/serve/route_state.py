"""What `gatebridge route set` has changed, in a file: it holds through reloads and restarts.

A change counts as long as the configuration says of its route what it said then. Who edits the
route's mode there means it, so from then on the file counts.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from gatebridge.settings import App, Configuration

_FORMAT: Final = 1
_KEPT: Final = 20  # changes of one route; an even number, so the oldest goes with its undoing
_SIZE_MAX: Final = 16 << 20
_MODES: Final = ("legacy", "new")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a route. said: the mode that the configuration had; at: since the epoch."""

    pool: str
    match: str
    host: str
    methods: tuple[str, ...]
    mode: str
    said: str
    at: float

    def concerns(self, pool: str, app: App) -> bool:
        return (self.pool, self.match, self.host, self.methods) == (pool, *app.rule)

    def counts(self, pool: str, app: App) -> bool:
        return self.concerns(pool, app) and bool(app.new) and self.said == app.mode


def state_path(configuration: Configuration) -> str:
    """Where its changes are kept; "" where it has no file, and so no route to change."""
    if configuration.settings.route_state:
        return os.path.abspath(configuration.settings.route_state)
    return f"{configuration.file}.routes" if configuration.file else ""


class RouteState:
    """changes: the last one is the youngest. path: "" for none."""

    __slots__ = ("changes", "path")

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.changes: list[Change] = []

    def mode(self, pool: str, app: App) -> str:
        """Who answers: "legacy" or "new"; "" for a route with one target."""
        last = [change for change in self.changes if change.counts(pool, app)][-1:]
        return last[0].mode if last else app.mode

    def changed(self, pool: str, app: App, mode: str) -> list[Change]:
        """All changes with one more."""
        change = Change(pool, *app.rule, mode, app.mode, round(time.time(), 3))
        own = [at for at, one in enumerate(self.changes) if one.concerns(pool, app)]
        old = own[:2] if len(own) >= _KEPT else []
        return [*[one for at, one in enumerate(self.changes) if at not in old], change]

    def last(self, pool: str, app: App) -> Change | None:
        """What rollback would undo."""
        return next((one for one in reversed(self.changes) if one.counts(pool, app)), None)

    def read(self) -> None:
        """Take what the file has; without a file there is nothing.

        raises  ConfigError("route.state"), with the changes as they were
        """
        try:
            with open(self.path, encoding="utf-8") as file:
                text = file.read(_SIZE_MAX)
        except FileNotFoundError:
            self.changes = []
            return
        except (OSError, ValueError) as error:
            raise _unreadable(self.path, getattr(error, "strerror", None) or error) from error
        try:
            said = json.loads(text)
            if said["format"] != _FORMAT:
                raise ValueError(f"its format is {said['format']!r}, and this reads {_FORMAT}")
            self.changes = [_change(one) for one in said["changes"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _unreadable(self.path, f"{type(error).__name__}: {error}") from error

    def write(self, changes: list[Change]) -> None:
        """Keep these from now on. raises ConfigError("route.state"), with nothing changed"""
        if not self.path:
            text = "there is no gatebridge.toml beside which to keep it"
            raise ConfigError("route.state", f"{text}; --route-state names a file")
        path = os.path.realpath(self.path)  # a link stays one
        fresh = f"{path}.{os.getpid()}.new"
        said = {"format": _FORMAT, "changes": [asdict(change) for change in changes]}
        _remove(fresh)  # of a process that had this number, and was killed
        try:
            with open(fresh, "x", encoding="utf-8") as file:
                file.write(json.dumps(said, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        except OSError as error:
            _remove(fresh)
            hint = "route_state in [server], or --route-state, names another file"
            reason = f"{self.path} cannot be written: {error.strerror}; {hint}"
            raise ConfigError("route.state", reason) from error
        self.changes = changes


def _change(one: dict[str, Any]) -> Change:
    """raises  KeyError, TypeError or ValueError"""
    pool, match, host = [one[name] for name in ("pool", "match", "host")]
    if not (isinstance(pool, str) and isinstance(match, str) and isinstance(host, str)):
        raise ValueError(f"no texts: {pool!r}, {match!r}, {host!r}")
    for name in ("mode", "said"):
        if one[name] not in _MODES:
            raise ValueError(f"no mode: {one[name]!r}")
    methods = tuple([str(method) for method in one["methods"]])
    return Change(pool, match, host, methods, one["mode"], one["said"], float(one["at"]))


def _unreadable(path: str, reason: object) -> ConfigError:
    text = f"{path}, which keeps the routes that were switched, cannot be read: {reason}"
    return ConfigError("route.state", f"{text}; mend it, or remove it")


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # it was never made
        pass

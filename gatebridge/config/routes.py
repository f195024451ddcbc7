"""[[app]] and [[route]] of gatebridge.toml, and --mount /x=TARGET: each into an App."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gatebridge.config.said import did_you_mean
from gatebridge.config.values import Wrong, check_mount, from_toml
from gatebridge.errors import ConfigError
from gatebridge.routing.rule import parse_rule
from gatebridge.settings import App

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.config.values import Reason

MODES: Final = ("legacy", "new")
_BOTH = ("target", "host", "methods", "timeout", "limit_body", "concurrency")
APP_KEYS: Final = ("mount", *_BOTH)
ROUTE_KEYS: Final = ("match", *_BOTH, "legacy", "new", "mode", "name")
CONCURRENCY_MOST: Final = 16_384  # as many as threads there can be

ROUTE_NAME: Final = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
_WITH_TARGET = re.compile("(/[^=]*)=(.+)", re.S)


def read_app(table: dict[str, Any]) -> App:
    """An [[app]], whose mount is a prefix. raises Wrong, with everything wrong in it"""
    said, wrong = _said(table, APP_KEYS)
    if not table.get("target"):
        wrong.append(((), 'names no application: target = "module:name"'))
    try:
        check_mount(said.get("mount", ""))
    except ValueError as error:
        wrong.append((("mount",), str(error)))
    return _app(said.pop("mount", ""), said, wrong, "mount")


def read_route(table: dict[str, Any]) -> App:
    """A [[route]]. raises Wrong, with everything wrong in it"""
    said, wrong = _said(table, ROUTE_KEYS)
    if "match" not in table:
        wrong.append(((), 'names no path: match = "/x", "= /x" or "~ REGEX"'))
    wrong += _sides(table)
    legacy = said.pop("legacy", "")
    said["target"] = legacy or said.get("target", "")
    if "new" in said:
        said.setdefault("mode", MODES[0])
    return _app(said.pop("match", ""), said, wrong, "match")


def with_target(text: str) -> tuple[str, str] | None:
    """The path and the target of --mount /x=TARGET; None where it is the front server's path."""
    found = _WITH_TARGET.fullmatch(text)
    return (found[1], found[2]) if found else None


def is_app(app: App) -> bool:
    """Whether [[app]] can say it; else it is a [[route]]."""
    return not (app.new or app.name or app.match.startswith(("=", "~")))


def _sides(table: dict[str, Any]) -> list[Reason]:
    """What is wrong with target, legacy, new and mode together."""
    both = [key for key in ("legacy", "new") if key in table]
    if not both and not table.get("target"):
        return [((), 'names no application: target = "module:name", or legacy and new')]
    if both and "target" in table:
        return [(("target",), f"stands beside {both[0]}: a route has a target, or legacy and new")]
    if len(both) == 1:
        other = "new" if both == ["legacy"] else "legacy"
        return [((both[0],), f"has no {other} beside it; one program alone is a target")]
    if "mode" in table and not both:
        return [(("mode",), "is for a route with legacy and new; this one has one target")]
    return [((key,), "names no application") for key in both if table[key] == ""]


def _said(table: dict[str, Any], known: tuple[str, ...]) -> tuple[dict[str, Any], list[Reason]]:
    """The values that are right, and what is wrong with the others."""
    said: dict[str, Any] = {}
    wrong: list[Reason] = []
    for key, raw in table.items():
        if key not in known:
            wrong.append(((key,), f"is unknown{did_you_mean(key, list(known))}"))
            continue
        try:
            said[key] = _READ.get(key, _text)(raw)
        except Wrong as error:
            wrong += [((key, *below), reason) for below, reason in error.reasons]
    return said, wrong


def _app(match: str, said: dict[str, Any], wrong: list[Reason], key: str) -> App:
    """raises  Wrong"""
    if not wrong:
        try:
            rule = parse_rule(match, said.pop("host", ""), said.pop("methods", ()))
        except ConfigError as error:
            at = {"route.host": "host", "route.method": "methods"}.get(error.code, key)
            wrong.append(((at,), error.detail))
    if wrong:
        raise Wrong(*wrong)
    path = "" if rule.match == "/" else rule.match
    return App(path, host=rule.host, methods=tuple(sorted(rule.methods)), **said)


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.isprintable():
        raise Wrong(((), "a text in quotes is wanted"))
    return raw


def _methods(raw: object) -> tuple[str, ...]:
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise Wrong(((), 'methods are texts, as in ["GET", "POST"]'))
    return tuple(items)


def _mode(raw: object) -> str:
    if raw not in MODES:
        shown = repr(raw) if isinstance(raw, str) else "this"
        near = did_you_mean(raw, list(MODES)) if isinstance(raw, str) else ""
        raise Wrong(((), f'{shown} is neither "legacy" nor "new"{near}'))
    return str(raw)


def _timeout(raw: object) -> object:
    found = from_toml("timeout", raw)
    if not found:
        raise Wrong(((), "0 is no time; a route without a timeout has the pool's"))
    return found


def _concurrency(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise Wrong(((), "a whole number is wanted"))
    if not 1 <= raw <= CONCURRENCY_MOST:
        raise Wrong(((), f"{raw} is out of range, 1 to {CONCURRENCY_MOST}"))
    return raw


def _name(raw: object) -> str:
    if not isinstance(raw, str) or not ROUTE_NAME.fullmatch(raw):
        raise Wrong(((), "up to 48 letters, digits, dots, - and _ make a route's name"))
    return raw


_READ: dict[str, Callable[[object], object]] = {
    "concurrency": _concurrency,
    "limit_body": lambda raw: from_toml("limit_body", raw),
    "methods": _methods,
    "mode": _mode,
    "name": _name,
    "timeout": _timeout,
}

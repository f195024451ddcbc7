"""Which listeners stay when the configuration changes, which are opened and which closed."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.serve.listen import adopt_listener, networks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatebridge.bind import Bind
    from gatebridge.serve.listener import Listener, Network
    from gatebridge.settings import Configuration, Pool

    Listeners = dict[str, list[Listener]]
    Place = tuple[str, str, int]

_ADDRESSES = "FCGI_WEB_SERVER_ADDRS"


def listen(
    configuration: Configuration,
    there: Iterable[Listener],
    bind_all: Callable[[Configuration], Listeners],
) -> Listeners:
    """The listeners of each pool: those that are there are taken over, the others opened.

    A listener whose bind has not changed is the same object; one at the same place with other
    options is a new object on the same socket. One whose file is lost is opened anew.

    there   that another configuration, or another supervisor, left open
    raises  ConfigError, with nothing new left open
    """
    there = list(there)
    found = _by_place(there)
    kept: Listeners = {pool.name: [] for pool in configuration.pools}
    missing: list[Pool] = []
    _refuse_twice(configuration)
    try:
        for pool in configuration.pools:
            absent = []
            for text in pool.settings.bind:
                bind = parse_bind(text)
                listeners = _take(found, bind)
                kept[pool.name] += [_again(listener, bind) for listener in listeners]
                if not listeners:
                    absent.append(text)
            if absent:
                missing.append(replace(pool, settings=replace(pool.settings, bind=tuple(absent))))
        opened = bind_all(replace(configuration, pools=tuple(missing))) if missing else {}
    except BaseException:
        close_unshared([one for some in kept.values() for one in some], there)
        raise
    return {name: [*kept[name], *opened.get(name, ())] for name in kept}


def close_unshared(listeners: Iterable[Listener], others: Iterable[Listener]) -> None:
    """Close those that ``others`` does not have; a file stays when one of them listens there."""
    for listener, stays in _unshared(listeners, others):
        if stays:
            listener.leave_file()
        listener.close()


def refuse_unshared(listeners: Iterable[Listener], others: Iterable[Listener]) -> None:
    """Nobody connects any more where none of ``others`` listens; then who is queued is all."""
    for listener, stays in _unshared(listeners, others):
        if not stays:
            listener.refuse()


def _unshared(
    listeners: Iterable[Listener], others: Iterable[Listener]
) -> list[tuple[Listener, bool]]:
    """Those that ``others`` does not have, and whether one of them listens at the same place."""
    others = list(others)
    places = {place(other.bind) for other in others if not other.lost}
    return [
        (listener, place(listener.bind) in places)
        for listener in listeners
        if not any(listener is other for other in others)
    ]


def place(bind: Bind) -> Place:
    """What makes two binds the same socket, whatever protocol and options they have."""
    if bind.family == "tcp":
        return "tcp", bind.host if bind.port else bind.text, bind.port
    path = os.path.abspath(bind.path) if bind.family == "unix" else bind.path
    return bind.family, path, bind.port


def _by_place(listeners: Iterable[Listener]) -> dict[Place, list[Listener]]:
    found: dict[Place, list[Listener]] = {}
    for listener in listeners:
        if not listener.lost:
            found.setdefault(place(listener.bind), []).append(listener)
    return found


def _take(found: dict[Place, list[Listener]], bind: Bind) -> list[Listener]:
    """Those at a bind's place; of several with a port of the system's choice, one."""
    listeners = found.get(place(bind), [])
    if bind.family == "tcp" and not bind.port:
        return [listeners.pop(0)] if listeners else []
    return listeners


def _again(listener: Listener, bind: Bind) -> Listener:
    if listener.bind.text == bind.text:
        return listener
    return adopt_listener(bind, listener.fd, web_server_addrs())


def web_server_addrs() -> tuple[Network, ...]:
    """FastCGI section 3.2. raises ConfigError("bind.allow")"""
    return networks(os.environ.get(_ADDRESSES, ""), _ADDRESSES)


def _refuse_twice(configuration: Configuration) -> None:
    """raises  ConfigError("bind.in_use")"""
    seen: set[Place] = set()
    for pool in configuration.pools:
        for text in pool.settings.bind:
            bind = parse_bind(text)
            if place(bind) in seen and (bind.port or bind.family != "tcp"):
                raise ConfigError("bind.in_use", f"{text} is bound twice")
            seen.add(place(bind))

"""Values that are each right and cannot be had together, in a pool and between pools."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gatebridge.bind import parse_bind
from gatebridge.config.said import Problem
from gatebridge.settings import WORKERS_MOST, worker_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.config.said import AppSaid, Draft, Place
    from gatebridge.settings import Settings

_ANY_HOST = ("0.0.0.0", "::")


def between_options(draft: Draft) -> Iterator[Problem]:
    """Within one pool. The option that somebody said is blamed, not a default."""
    settings = draft.pool.settings
    if draft.sound("pm", "workers", "min_spare_servers", "max_spare_servers"):
        yield from _spare(draft, settings)
    if settings.status_path and settings.status_path == settings.ping_path:
        reason = f"status_path and ping_path are both {settings.ping_path}"
        yield Problem(draft.place_of("ping_path"), reason)
    if "bind" in draft.layer and draft.sound("engine", "bind") and settings.engine == "flup":
        yield from _not_of_flup(draft, settings)
    if draft.sound("limit_body"):
        yield from _larger_bodies(draft)
    if draft.sound("chdir", "spool_dir"):
        if settings.chdir and _is_no_folder(settings.chdir):
            yield Problem(draft.place_of("chdir"), f"{settings.chdir} is no folder")
        elif settings.spool_dir and _is_no_folder(path_of(settings, settings.spool_dir)):
            yield Problem(draft.place_of("spool_dir"), f"{settings.spool_dir} is no folder")


def _spare(draft: Draft, settings: Settings) -> Iterator[Problem]:
    if settings.pm != "dynamic":
        return
    least, most = settings.min_spare_servers, settings.max_spare_servers
    workers = worker_count(settings.workers)
    if least > most:
        reason = f"min_spare_servers {least} is above max_spare_servers {most}"
        yield Problem(draft.place_of("min_spare_servers", "max_spare_servers", "pm"), reason)
    if "max_spare_servers" in draft.layer and most > workers:
        reason = f"max_spare_servers {most} is above workers {workers}"
        yield Problem(draft.place_of("max_spare_servers"), reason)


def _not_of_flup(draft: Draft, settings: Settings) -> Iterator[Problem]:
    for text in settings.bind:
        protocol = parse_bind(text).protocol
        if protocol not in ("fastcgi", "scgi"):
            reason = f"{text}: engine flup does not speak {protocol}, but FastCGI and SCGI"
            yield Problem(draft.place_of("bind", "engine"), reason)


def _is_no_folder(path: str) -> bool:
    """Whether we can see that it is none. A worker of another user may see more."""
    try:
        return not os.path.isdir(path) and os.access(os.path.dirname(path) or ".", os.X_OK)
    except ValueError:  # a NUL
        return True


def path_of(settings: Settings, path: str) -> str:
    """Where a worker finds a path: relative ones begin in its chdir."""
    return os.path.normpath(os.path.join(settings.chdir, path))


def between_pools(drafts: list[Draft]) -> Iterator[Problem]:
    yield from _same_binds([draft for draft in drafts if draft.sound("bind")])
    yield from _too_many([draft for draft in drafts if draft.sound("workers")])
    for draft in drafts:
        yield from _same_requests(draft.apps)


def _too_many(drafts: list[Draft]) -> Iterator[Problem]:
    total = sum(worker_count(draft.pool.settings.workers) for draft in drafts)
    if total > WORKERS_MOST:
        reason = f"the pools have {total} workers together; {WORKERS_MOST} is the most"
        yield Problem(drafts[-1].place_of("workers"), reason)


def _same_binds(drafts: list[Draft]) -> Iterator[Problem]:
    seen: list[tuple[str, str, str]] = []  # which socket, the bind, its pool
    for draft in drafts:
        pool = draft.pool
        for text in pool.settings.bind:
            key = _socket(text)
            for other, first, owner in seen:
                if _share(key, other):
                    where = "twice" if owner == pool.name else f"pool {owner} listens there, too"
                    shown = text if text == first else f"{text} ({first})"
                    yield Problem(draft.place_of("bind"), f"{shown}: {where}")
                    break
            else:
                seen.append((key, text, pool.name))


def _socket(text: str) -> str:
    """The socket that a bind means, whatever the protocol. "" for a port of the system's choice."""
    bind = parse_bind(text)
    if bind.family == "tcp":
        host = "127.0.0.1" if bind.host == "localhost" else bind.host
        return f"tcp {host} {bind.port}" if bind.port else ""
    if bind.family == "unix":
        return f"unix {os.path.abspath(bind.path)}"
    return f"{bind.family} {bind.path or bind.port}"


def _share(one: str, other: str) -> bool:
    """The same socket, or one port of which one takes every address."""
    if not one or one == other:
        return one == other != ""
    first, second = one.split(" "), other.split(" ")
    if first[0] != "tcp" or second[0] != "tcp" or first[2] != second[2]:
        return False
    return first[1] in _ANY_HOST or second[1] in _ANY_HOST


def _same_requests(apps: list[AppSaid]) -> Iterator[Problem]:
    """Two that are for the same requests, and names that two have."""
    seen: dict[tuple[str, str, str], Place] = {}
    names: dict[str, Place] = {}
    for said in apps:
        app = said.app
        for method in app.methods or ("",):
            key = (app.match, app.host, method)
            if key in seen:
                shown = f"mounted at {app}" if str(app) != "/" else "without a mount"
                reason = f"a second application {shown}: {seen[key]} is one"
                yield Problem(said.place, reason)
                break
            seen[key] = said.place
        if app.name in names:
            reason = f"a second route is called {app.name}: {names[app.name]} is one"
            yield Problem(said.place, reason)
        elif app.name:
            names[app.name] = said.place


def _larger_bodies(draft: Draft) -> Iterator[Problem]:
    """A route can only lower what the whole pool takes."""
    most = draft.pool.settings.limit_body
    for said in draft.apps:
        if said.app.limit_body > most:
            reason = f"limit_body {said.app.limit_body} of {said.app} is above the pool's {most}"
            yield Problem(said.place, f"{reason}, which is looked at first: raise that one")

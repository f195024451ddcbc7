"""Settings into places: what a front server's configuration says of a daemon's pools."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.fronts.place import Place, Start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatebridge.bind import Bind
    from gatebridge.settings import Configuration, Pool

LONGER_S = 5.0  # by which a front server waits longer than the daemon
_UNLIMITED_S = 60.0  # what is waited for a daemon that has no time limit
_PREFERRED = ("fastcgi", "uwsgi", "scgi", "http")
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}


def places(
    configuration: Configuration,
    *,
    folder: str,
    argv: tuple[str, ...] = (),
    protocol: str = "",
    **said: Any,
) -> list[Place]:
    """A place for each pool.

    folder    absolute: what relative paths of the configuration begin at
    argv      the command that starts the daemon
    protocol  of the sockets to use; "" for the best that a pool has
    said      fields of Place that were given; they go before what the settings say
    raises    ConfigError("conf.…")
    """
    start = _start(configuration, folder, argv)
    several = len(configuration.pools) > 1
    found = []
    for pool in configuration.pools:
        settings = pool.settings
        binds = chosen([parse_bind(text) for text in settings.bind], protocol)
        wait = (settings.timeout or _UNLIMITED_S) + settings.queue_timeout + LONGER_S
        taken: dict[str, Any] = {
            "binds": tuple([reached(bind, folder) for bind in binds]),
            "mount": (settings.mount or "").rstrip("/"),
            "upload": settings.limit_body,
            "timeout": wait,
            "health": settings.ping_path,
            "name": _name(configuration, pool, binds[0], several),
            "start": replace(start, binds=tuple([_opened(bind, folder) for bind in binds])),
        }
        found.append(Place(**(taken | said)))
    return found


def chosen(binds: Sequence[Bind], protocol: str = "") -> list[Bind]:
    """The binds to reach a pool by: one protocol, and Unix sockets rather than others.

    raises  ConfigError("conf.protocol") for one that it does not listen for
    """
    for name in [protocol] if protocol else _PREFERRED:
        found = [bind for bind in binds if bind.protocol == name]
        files = [bind for bind in found if bind.family == "unix"]
        if found:
            return files or found
    texts = ", ".join(bind.text for bind in binds)
    raise ConfigError("conf.protocol", f"no bind speaks {protocol}; there are {texts}")


def _opened(bind: Bind, folder: str) -> Bind:
    """The bind with a whole path, for whoever opens it in the daemon's place."""
    if bind.family != "unix" or bind.path.startswith("/"):
        return bind
    found = reached(bind, folder)
    found.options = bind.options
    return found


def reached(bind: Bind, folder: str) -> Bind:
    """The bind as somebody else connects to it: a whole path, no "every address"."""
    scheme = next(name for name in ("fcgi", "scgi", "uwsgi", "http") if name[0] == bind.protocol[0])
    if bind.family == "unix":
        return parse_bind(f"{scheme}+unix:{os.path.join(folder, bind.path)}")
    if bind.family == "tcp" and bind.host in _ANYWHERE:
        host = _ANYWHERE[bind.host]
        return parse_bind(f"{scheme}://{f'[{host}]' if ':' in host else host}:{bind.port}")
    return bind


def _name(configuration: Configuration, pool: Pool, bind: Bind, several: bool) -> str:
    """What to call it: as the daemon is called, or its socket, or its application."""
    said = configuration.settings.name
    if not said and bind.family in ("unix", "abstract"):
        said = os.path.basename(bind.path).partition(".")[0]
    if not said and pool.apps:
        said = pool.apps[0].target.partition(":")[0].rpartition("/")[2].partition(".")[0]
    words = [said or "gatebridge", pool.name] if several else [said or "gatebridge"]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", "-".join(words)).strip("-")[:64]
    return name if name[:1].isalpha() else f"app-{name}"[:64].rstrip("-")


def _start(configuration: Configuration, folder: str, argv: tuple[str, ...]) -> Start:
    settings = configuration.settings
    pools = [pool.settings for pool in configuration.pools]
    logs = [settings.error_logfile, settings.slowlog, *[each.access_logfile for each in pools]]
    files = [os.path.join(folder, log) for log in logs if log not in ("", "-")]
    home = next((each.chdir for each in pools if each.chdir), "")
    return Start(
        argv=argv,
        folder=os.path.join(folder, home).rstrip("/") or "/",
        file=configuration.file,
        user=settings.user,
        group=settings.group,
        logs=tuple(dict.fromkeys(files)),
        pid=os.path.join(folder, settings.pid) if settings.pid else "",
        stop=settings.graceful_timeout,
    )

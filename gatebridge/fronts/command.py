"""The command that starts a daemon, for what starts it: what that does itself is taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.fronts.place import Place

_WITH_VALUE = (
    *("--bind", "-b", "--user", "-u", "--group", "-g", "--pid", "-p", "--control-socket"),
    "--chdir",  # what it runs in is the service's folder already
)
_ALONE = ("--daemon",)
_PREFIX = {"fastcgi": "", "scgi": "scgi+", "uwsgi": "uwsgi+", "http": "http+"}
KEPT = ("allow", "peer")  # options of a bind that are the daemon's, whoever opens its socket


def words_of(place: Place, keep: tuple[str, ...] = ()) -> list[str]:
    """The command without sockets, users and background, which a service has of its own.

    keep    options that stay after all
    raises  ConfigError("conf.command")
    """
    argv = place.start.argv
    if not argv:
        why = "nothing says how the daemon is started; name an application, or -c FILE"
        raise ConfigError("conf.command", why)
    out: list[str] = []
    skip = False
    for word in argv:
        name, _, value = word.partition("=")
        if skip:
            skip = False
        elif name in keep:
            out.append(word)
        elif name in _WITH_VALUE:
            skip = word == name
        elif word[:2] in _WITH_VALUE and word[:2] not in keep:  # -bBIND
            continue
        elif word not in _ALONE:
            out.append(word)
    return out


def binds_of(place: Place) -> tuple[Bind, ...]:
    """What is opened for the daemon, with the options it was given."""
    return place.start.binds or place.binds


def folder_of(place: Place) -> str:
    """What the command runs in. raises ConfigError("conf.folder")"""
    folder = place.start.folder.rstrip("/") or place.start.folder
    if not folder.startswith("/"):
        why = "a service needs the folder that it runs in, from the root on: --chdir"
        raise ConfigError("conf.folder", f"{folder!r}: {why}")
    return folder


def activated(bind: Bind, name: str) -> str:
    """The bind of a socket that systemd opens under this name."""
    options = [f"{key}={value}" for key, value in bind.options.items() if key in KEPT]
    query = "?" + "&".join(options) if options else ""
    return f"{_PREFIX[bind.protocol]}systemd:{name}{query}"

"""logrotate: a daemon's logs are moved away, and it opens new ones."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.fronts.lines import because, braces, text
from gatebridge.fronts.place import unsupported

if TYPE_CHECKING:
    from gatebridge.fronts.place import Place

FORMS = ("systemd", "pid")
_BROKEN = '"*?[]{}\\'  # logrotate takes names as patterns, and has no way to quote a quote


def config(place: Place, form: str = "") -> str:
    """The daemon is told by systemd, or by the process id in its pid file.

    raises  ConfigError("conf.…")
    """
    form = form or ("pid" if place.start.pid else "systemd")
    if form not in FORMS:
        raise ConfigError("conf.form", f"logrotate has no form {form!r}; it has {', '.join(FORMS)}")
    if not place.start.logs:
        instead = "name one: --error-logfile FILE, --access-logfile FILE"
        raise unsupported("logrotate", "rotate a log that is standard error", instead)
    names = " ".join(map(_quoted, dict.fromkeys(place.start.logs)))
    return text(braces(names, _inside(place, form)))


def _inside(place: Place, form: str) -> list[str]:
    start = place.start
    owner = start.user or "root"
    return [
        *because("two weeks of days", "daily", "rotate 14", "missingok", "notifempty"),
        *because("the last one stays plain: a request under way may still write there",
                 "compress", "delaycompress"),
        *because("the daemon makes the new files, with mode 0640", "nocreate"),
        *because("the folder is this user's, and logrotate refuses such a folder otherwise",
                 f"su {owner} {start.group or owner}"),
        *because("once for all of these files", "sharedscripts"),
        "postrotate",
        f"    {_signal(place, form)}",
        "endscript",
    ]  # fmt: skip


def _signal(place: Place, form: str) -> str:
    """USR1 to the supervisor, which tells its workers."""
    if form == "systemd":
        return f"systemctl kill --kill-who=main --signal=USR1 {place.name}.service || true"
    if not place.start.pid:
        raise unsupported("logrotate", "find a daemon without a pid file", "add --pid FILE")
    file = quote(place.start.pid)
    return f'test ! -s {file} || kill -USR1 "$(cat {file})"'


def _quoted(path: str) -> str:
    """raises ConfigError("conf.quote")"""
    if set(path) & set(_BROKEN):
        why = 'logrotate cannot be told a name with one of "*?[]{}\\; rename it'
        raise ConfigError("conf.quote", f"{path!r}: {why}")
    return f'"{path}"'

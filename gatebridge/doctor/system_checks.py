"""What every process stands on: modules, clock, time zone."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final

import gatebridge
from gatebridge import __version__
from gatebridge.doctor.check import WARNING, Checks, Finding

if TYPE_CHECKING:
    from gatebridge.doctor.facts import Facts

_DAY_S: Final = 86_400
_NEED: Final = re.compile(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)$")
_ZONES: Final = "/usr/share/zoneinfo"

check = Checks("worker")


@check("worker.modules", "Are gatebridge's own files and what it needs of one piece?")
def modules(facts: Facts) -> Finding | None:
    installed = facts.machine.version("gatebridge")
    if installed and installed != __version__:
        return Finding(
            f"gatebridge is half updated: its files are {__version__}, its record {installed}",
            os.path.dirname(gatebridge.__file__),
            "pip install --force-reinstall gatebridge",
        )
    for need in facts.machine.needs("gatebridge"):
        match = _NEED.match(need)
        if match is None:  # an extra's, or of another form
            continue
        name, least = match.groups()
        found = facts.machine.version(name)
        if not found or _numbers(found) < _numbers(least):
            return Finding(
                f"gatebridge needs {name} {least} or later",
                f"installed: {found or 'none'}",
                f"pip install '{name}>={least}'",
            )
    return None


def _numbers(version: str) -> list[int]:
    """ "1.10rc1" before "1.10" is not told apart: that is no reason to complain."""
    return [int(word) for word in re.findall(r"\d+", version.partition("rc")[0])[:3]]


@check("worker.clock", "Is the clock right?")
def clock(facts: Facts) -> Finding | None:
    """It cannot be before the files that run now were written."""
    made = os.stat(gatebridge.__file__).st_mtime
    now = facts.machine.now()
    if now >= made - _DAY_S:
        return None
    return Finding(
        "the clock is wrong: it is before gatebridge's own files were written",
        f"now {_day(now)}, files of {_day(made)}",
        "timedatectl set-ntp true; until then cookies and certificates look expired or too new",
    )


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


@check("worker.time_zone", "Is there the time zone that is named?")
def time_zone(facts: Facts) -> Finding | None:
    for where, name in _zones(facts):
        zone = name.removeprefix(":")
        path = zone if zone.startswith("/") else f"{_ZONES}/{zone}"
        if "/" not in zone and any(letter.isdigit() or letter == "," for letter in zone):
            continue  # POSIX's own form, as in CET-1CEST
        if zone and not os.path.exists(path) and os.path.isdir(_ZONES):
            return Finding(
                f"there is no time zone {zone!r}, so times are in UTC",
                f"{where}: TZ={name}; no {path}",
                "name one that timedatectl list-timezones lists",
                WARNING,
            )
    target = facts.machine.link("/etc/localtime")
    if target and not os.path.exists(os.path.join(f"{facts.machine.root}/etc", target)):
        return Finding(
            "the system's time zone is missing, so times are in UTC",
            f"/etc/localtime leads to {target}, which is not there",
            "install the package tzdata",
            WARNING,
        )
    return None


def _zones(facts: Facts) -> list[tuple[str, str]]:
    found = [
        (f"pool {pool.name}", item.partition("=")[2])
        for pool in facts.pools
        for item in pool.settings.env
        if item.startswith("TZ=")
    ]
    named = facts.meant.environ.get("TZ")
    return [*found, ("the environment", named)] if named else found


CHECKS: Final = tuple(check)

"""What a pool's targets that are no modules lead to, without running any of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gatebridge.apps.directory import Directory
from gatebridge.apps.target import is_hosted, load_target
from gatebridge.apps.upstream_options import is_upstream, parse_place
from gatebridge.config.clashes import path_of
from gatebridge.connect import connect
from gatebridge.errors import GatebridgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.settings import Pool

_NAMED_MOST: Final = 20  # programs of one folder
_KNOCK_S: Final = 1.0


def look_at_programs(pool: Pool, uid: int) -> Iterator[tuple[bool, str]]:
    """What there is to say, and whether it would keep the pool from coming up.

    uid  that the workers have
    """
    folder = os.path.abspath(path_of(pool.settings, "."))
    targets = [text for app in pool.apps for text in (app.target, app.new)]
    for target in dict.fromkeys(targets):
        if is_hosted(target) or target.startswith("static:"):
            yield from _look(target, folder, uid)
        elif is_upstream(target):
            yield from _knock(target, folder)


def _knock(target: str, folder: str) -> Iterator[tuple[bool, str]]:
    """A back end that is not there yet keeps no pool from coming up."""
    try:
        place = parse_place(target, folder)
    except GatebridgeError as error:
        yield True, error.detail
        return
    try:
        connect(place.bind, min(place.options.connect, _KNOCK_S)).close()
    except GatebridgeError as error:
        yield False, f"{place.text}: the back end is not there: {error.detail} ({error.code})"


def _look(target: str, folder: str, uid: int) -> Iterator[tuple[bool, str]]:
    try:
        found = load_target(target, folder, uid)
    except GatebridgeError as error:
        yield True, error.detail
        return
    if isinstance(found, Directory):
        yield False, f"{target}: {_programs(found)}"
        for name, why in found.refused.items():
            yield False, f"{target}: {name} is refused: {why}"
        for line in found.report():
            if line not in found.refused.values():
                yield False, f"{target}: {line}"
    close = getattr(found, "close", None)
    if close is not None:
        close()


def _programs(found: Directory) -> str:
    names = [name for name in sorted(found.inventory.programs) if name not in found.refused]
    more = f" and {len(names) - _NAMED_MOST} more" if len(names) > _NAMED_MOST else ""
    listed = f": {', '.join(names[:_NAMED_MOST])}{more}" if names else ""
    return f"{len(names)} program{'s' if len(names) != 1 else ''}{listed}"

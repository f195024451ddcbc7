"""What a pool's cgi:, warm:, inproc: and static: targets lead to, without running any of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gatebridge.apps.directory import Directory
from gatebridge.apps.target import is_hosted, load_target
from gatebridge.config.clashes import path_of
from gatebridge.errors import GatebridgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.settings import Pool

_NAMED_MOST: Final = 20  # programs of one folder


def look_at_programs(pool: Pool, uid: int) -> Iterator[tuple[bool, str]]:
    """What there is to say, and whether it would keep the pool from coming up.

    uid  that the workers have
    """
    folder = os.path.abspath(path_of(pool.settings, "."))
    targets = [text for app in pool.apps for text in (app.target, app.new)]
    for target in dict.fromkeys(targets):
        if is_hosted(target) or target.startswith("static:"):
            yield from _look(target, folder, uid)


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

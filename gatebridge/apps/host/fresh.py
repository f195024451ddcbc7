"""Whether the files of imported modules are still what was imported."""

from __future__ import annotations

import os
import sys
from time import monotonic

from gatebridge.apps.host.source import Key, key_of

EVERY_S = 1.0  # a check asks for some hundred files


class Files:
    """The files of every module imported so far."""

    __slots__ = ("_checked", "_count", "_known")

    def __init__(self) -> None:
        self._known: dict[str, Key | None] = {}
        self._count = 0
        self._checked = monotonic()

    def note(self) -> None:
        """Add modules that have been imported since."""
        if len(sys.modules) == self._count:
            return
        self._count = len(sys.modules)
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file not in self._known:
                self._known[file] = _key(file)

    def are_stale(self) -> bool:
        """Whether one has changed; asked more often than once a second, it is not looked up."""
        now = monotonic()
        if now - self._checked < EVERY_S:
            return False
        self._checked = now
        return any(_key(file) != key for file, key in self._known.items())


def _key(file: str) -> Key | None:
    try:
        return key_of(os.stat(file))
    except OSError:
        return None

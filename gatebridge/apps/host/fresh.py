"""Whether the files of imported modules are still what was imported."""

from __future__ import annotations

import os
import sys
from time import monotonic

from gatebridge.apps.host.source import Key, key_of

EVERY_S = 1.0  # a check asks for some hundred files


class Files:
    """The files of every module imported so far."""

    __slots__ = ("_checked", "_known", "_names")

    def __init__(self) -> None:
        self._known: dict[str, Key | None] = {}
        self._names: set[str] = set()
        self._checked = monotonic()

    def note(self) -> bool:
        """Add modules that have been imported since. Whether there are any."""
        news = sys.modules.keys() - self._names
        self._names |= news
        for name in news:
            file = getattr(sys.modules[name], "__file__", None)
            if isinstance(file, str) and file not in self._known:
                self._known[file] = _key(file)
        return bool(news)

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

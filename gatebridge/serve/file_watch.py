"""Which files have changed since the last look, for reloads.

What is asked is the file system, by stat: the same for both engines. watchfiles, in a process of
its own, only says when it is worth a look (watch_events.py).
"""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gatebridge.serve.watch_events import Events

    # device, inode, time of change in ns, size; of a folder the first two; the path it leads to
    Signature = tuple[Any, ...]

_GONE_LOOKS = 3  # an editor that saves removes the file for a moment
_MOST_FILES = 20_000  # of all folders together
_HOT_LOOKS = 3  # after watchfiles called: what had vanished may be back
_SURE_LOOKS = 10  # without a call: some file systems tell nobody
_TICK_NS = 20_000_000  # times of files are read off a clock that ticks
_SKIPPED = ("__pycache__", "node_modules", "site-packages")


class FileWatch:
    """What the application consists of is followed; extra files are looked at always.

    engine   "stat", "watchfiles" or "auto"
    extra    files that are touched to reload, and symbolic links that are switched
    exclude  patterns (fnmatch) of paths whose changes do not matter

    raises  ConfigError("reload.engine")
    """

    __slots__ = ("_events", "_exclude", "_extra", "_followed", "_hot", "_known", "_missing")

    def __init__(self, engine: str, extra: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._exclude = tuple(exclude)
        self._events = None if engine == "stat" else _start_events(needed=engine != "auto")
        self._extra: dict[str, Signature | None] = {
            path: _extra_signature(path) for path in map(os.path.abspath, extra)
        }
        self._followed: dict[str, tuple[str, ...]] = {}
        self._known: dict[str, Signature] = {}
        self._missing: dict[str, int] = {}
        self._hot = 0

    @property
    def fd(self) -> int:
        """Readable when wake() should be called; -1 when there is none."""
        return self._events.fd if self._events is not None else -1

    def follow(self, who: str, paths: Iterable[str], since_ns: int = sys.maxsize) -> None:
        """Files and folders of packages that ``who``, a pool, consists of from now on.

        since_ns  when it began to load (time.time_ns()): what was written later may not be in it
        """
        self._followed[who] = tuple(paths)
        there = _snapshot(self._all())
        # What changed while a new generation was loading is still to be told.
        fresh = {path: found for path, found in there.items() if found[2] < since_ns - _TICK_NS}
        self._known = fresh | {path: self._known[path] for path in there.keys() & self._known}
        self._missing.clear()
        if self._events is not None:
            self._events.watch(self._all())

    def wake(self) -> bool:
        """After fd was readable. False: watchfiles has ended, forget fd; look() goes on alone."""
        self._hot = _HOT_LOOKS
        return self._events is not None and self._events.read()

    def look(self) -> list[str]:
        """What has changed, sorted. Call it each interval, and after wake()."""
        changed = [path for path in self._extra if self._is_touched(path)]
        self._hot -= 1
        if self._events is None or self._events.ended or self._hot >= 0 or self._is_time():
            changed += self._changes()
        return sorted([path for path in changed if not self._is_excluded(path)])

    def _is_excluded(self, path: str) -> bool:
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self._exclude)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def _is_time(self) -> bool:
        if self._hot > -_SURE_LOOKS:
            return False
        self._hot = 0
        return True

    def _all(self) -> list[str]:
        return sorted({path for paths in self._followed.values() for path in paths})

    def _is_touched(self, path: str) -> bool:
        found = _extra_signature(path)
        if found is None or found == self._extra[path]:
            return False
        self._extra[path] = found
        return True

    def _changes(self) -> list[str]:
        there = _snapshot(self._all())
        changed = [path for path, found in there.items() if self._known.get(path) != found]
        for path in self._known.keys() - there.keys():
            self._missing[path] = self._missing.get(path, 0) + 1
            if self._missing[path] >= _GONE_LOOKS:
                changed.append(path)
                del self._known[path], self._missing[path]
        for path in self._missing.keys() & there.keys():
            del self._missing[path]
        self._known |= there
        return changed


def _start_events(needed: bool) -> Events | None:
    if importlib.util.find_spec("watchfiles") is None:
        if needed:
            why = "watchfiles is not installed; pip install watchfiles, or --reload-engine stat"
            raise ConfigError("reload.engine", why)
        return None
    from gatebridge.serve.watch_events import Events  # subprocess is large, and seldom needed

    try:
        return Events()
    except OSError as error:
        if needed:
            raise ConfigError("reload.engine", f"watchfiles does not start: {error}") from error
        return None


def _snapshot(paths: Iterable[str]) -> dict[str, Signature]:
    found: dict[str, Signature] = {}
    for path in paths:
        signature = _signature(path)
        if signature is None:
            continue
        if len(signature) > 2:
            found[path] = signature
            continue
        for file in _tree(path):
            signature = _signature(file)
            if signature is not None:
                found[file] = signature
            if len(found) >= _MOST_FILES:
                return found
    return found


def _signature(path: str) -> Signature | None:
    """None while it is not there."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(about.st_mode):  # its time changes whenever anything is written in it
        return about.st_dev, about.st_ino
    return about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size


def _extra_signature(path: str) -> Signature | None:
    """With the path that every symbolic link on the way leads to: a release that is switched."""
    found = _signature(path)
    return None if found is None else (*found, os.path.realpath(path))


def _tree(folder: str) -> Iterator[str]:
    """Python files below a folder."""
    try:
        with os.scandir(folder) as entries:
            here = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # vanished between two calls
        return
    for entry in here:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.name.endswith(".py"):
            yield entry.path
        elif entry.is_dir(follow_symlinks=False):
            yield from _tree(entry.path)

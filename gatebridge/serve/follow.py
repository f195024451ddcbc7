"""Reloads that files ask for: the application's own (--reload) and extra ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.serve.file_watch import FileWatch
from gatebridge.serve.worker_log import WARNING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.serve.house import House
    from gatebridge.settings import Configuration

_TIMER = "follow"
_FILES_MAX = 4  # named in a line of the log


class Follow:
    """changed: told why to reload."""

    def __init__(self, house: House, changed: Callable[[str], None]) -> None:
        self._house = house
        self._changed = changed
        self._watch: FileWatch | None = None
        self._asked: tuple[str, tuple[str, ...], tuple[str, ...]] | None = None
        self._interval_s = 1.0
        self._files: dict[str, tuple[list[str], int]] = {}

    def configure(self, configuration: Configuration) -> None:
        """What to look at, from now on. A file that has changed meanwhile is not forgotten."""
        all = [pool.settings for pool in configuration.pools]
        here = self._house.folder  # by the name it was entered with: a link on the way may switch
        files = [file for settings in all for file in settings.reload_extra_file]
        extra = dict.fromkeys(os.path.join(here, file) for file in files)
        reloading = [settings for settings in all if settings.reload]
        if not extra and not reloading:
            self.close()
            return
        self._interval_s = min([settings.reload_interval for settings in reloading or all])
        exclude = dict.fromkeys([text for settings in all for text in settings.reload_exclude])
        engine = reloading[0].reload_engine if reloading else "stat"
        asked = (engine, tuple(extra), tuple(exclude))
        if asked != self._asked:
            self.close()
            self._open(*asked)
            self._asked = asked
        self._house.turns.at(_TIMER, self._house.now() + self._interval_s, self._look)

    def _open(self, engine: str, extra: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        try:
            self._watch = FileWatch(engine, extra, exclude)
        except ConfigError as error:
            self._house.log.line(WARNING, f"{error}; polling instead")
            self._watch = FileWatch("stat", extra, exclude)
        for pool, (files, since_ns) in self._files.items():
            self._watch.follow(pool, files, since_ns)
        if self._watch.fd >= 0:
            self._house.turns.watch(self._watch.fd, self._wake)

    def follow(self, pool: str, files: list[str], since_ns: int) -> None:
        """What a worker's application consists of. since_ns: when it began to load."""
        before = self._files.get(pool)
        self._files[pool] = (files, since_ns)
        if self._watch is not None and (before is None or before[0] != files):
            self._watch.follow(pool, files, since_ns)

    def _wake(self) -> None:
        watch = self._watch
        if watch is not None and not watch.wake():
            self._house.turns.forget(watch.fd)
        self._look(self._house.now())

    def _look(self, now: float) -> None:
        if self._watch is None:
            return
        self._house.turns.at(_TIMER, now + self._interval_s, self._look)
        changed = self._watch.look()
        if changed:
            more = f" and {len(changed) - _FILES_MAX} more" if len(changed) > _FILES_MAX else ""
            self._changed(f"changed: {', '.join(changed[:_FILES_MAX])}{more}")

    def close(self) -> None:
        self._house.turns.cancel(_TIMER)
        if self._watch is not None:
            self._house.turns.forget(self._watch.fd)
            self._watch.close()
        self._watch = self._asked = None

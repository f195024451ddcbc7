"""A process of its own that calls when files change, by watchfiles; and its end in the supervisor.

The supervisor must stay small and free of threads, because it forks; watchfiles is neither. The
process gets lines of JSON, {"folders": [...], "files": [...]}: what to watch from now on. It writes
an empty line for each change. The end of its input ends it.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_LOOK_MS = 500  # between two looks whether to stop; the first one shows that it watches


class Events:
    """The supervisor's end. fd: readable when something changed, and when the process has ended.

    raises  OSError
    """

    __slots__ = ("_input", "_process", "ended", "fd")

    def __init__(self) -> None:
        theirs, self._input = os.pipe()
        self.fd, written = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._input, False)
        self.ended = False
        try:
            self._process = subprocess.Popen(
                # -P: a watchfiles.py in the current folder is not the one that is meant
                [sys.executable, "-P", "-m", __name__],
                stdin=theirs,
                stdout=written,
                env={**os.environ, "PYTHONPATH": _search_path()},
                start_new_session=True,  # Ctrl-C is for the supervisor
            )
        except BaseException:
            os.close(self._input)
            os.close(self.fd)
            raise
        finally:
            os.close(theirs)
            os.close(written)

    def watch(self, paths: Sequence[str]) -> None:
        folders = [path for path in paths if os.path.isdir(path)]
        files = [path for path in paths if path not in folders]
        line = json.dumps({"folders": folders, "files": files}) + "\n"
        try:
            done = os.write(self._input, line.encode())
        except OSError:
            done = 0
        if done < len(line):  # it has ended, or reads nothing: half a line would confuse it
            self.ended = True

    def read(self) -> bool:
        """Take what it wrote; False when it has ended."""
        try:
            self.ended = self.ended or not os.read(self.fd, 65_536)
        except BlockingIOError:
            pass
        return not self.ended

    def close(self) -> None:
        os.close(self._input)
        os.close(self.fd)
        self._process.kill()
        self._process.wait()


def _search_path() -> str:
    """Where this package was found, and what the operator wanted."""
    here = os.path.abspath(__file__)
    ours = here[: -len(os.path.join(*__name__.split("."))) - len(".py") - 1]
    asked = os.environ.get("PYTHONPATH", "")
    return f"{ours}{os.pathsep}{asked}" if asked else ours


class Watcher:
    """In the process: watches one set of folders and files until stop() is called."""

    def __init__(self, watchfiles: Any, folders: Sequence[str], files: Sequence[str]) -> None:
        self._watch = watchfiles.watch
        self._plain: Callable[[Any, str], bool] = watchfiles.DefaultFilter()
        self._files = frozenset(files)
        self._stop = threading.Event()
        beside = {os.path.dirname(file) for file in files}
        groups = [(_existing(folders), True), (_existing(beside), False)]
        self._groups = [group for group in groups if group[0]]
        self._unready = len(self._groups)
        self._lock = threading.Lock()

    def start(self) -> None:
        for group in self._groups:
            threading.Thread(target=self._run, args=group, daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self, folders: list[str], recursive: bool) -> None:
        try:
            ready = False
            for changes in self._watch(
                *folders,
                watch_filter=self._keeps,
                recursive=recursive,
                stop_event=self._stop,
                debounce=200,
                rust_timeout=_LOOK_MS,
                yield_on_timeout=True,
            ):
                if changes or (not ready and self._is_last()):
                    _tell()
                ready = True
        except BaseException as error:  # no inotify watch is left, a folder has vanished
            print(f"gatebridge: reload.watchfiles: {error}; polling instead", file=sys.stderr)
            os._exit(1)

    def _is_last(self) -> bool:
        """All are watched now: what has happened before must be looked for."""
        with self._lock:
            self._unready -= 1
            return self._unready == 0

    def _keeps(self, change: Any, path: str) -> bool:
        if path in self._files:
            return True
        return (path.endswith(".py") or os.path.isdir(path)) and self._plain(change, path)


def _existing(folders: Iterable[str]) -> list[str]:
    return sorted({folder for folder in folders if os.path.isdir(folder)})


def _tell() -> None:
    try:
        os.write(1, b"\n")
    except OSError:  # the supervisor has ended
        os._exit(0)


def main() -> None:
    """The process."""
    watchfiles = importlib.import_module("watchfiles")
    watcher: Watcher | None = None
    for line in sys.stdin.buffer:
        if watcher is not None:
            watcher.stop()
        asked = json.loads(line)
        watcher = Watcher(watchfiles, asked["folders"], asked["files"])
        watcher.start()
    os._exit(0)


if __name__ == "__main__":
    main()

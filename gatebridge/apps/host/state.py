"""What a script may have changed in its interpreter, and how it was before."""

from __future__ import annotations

import builtins
import contextlib
import gc
import locale
import os
import resource
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = [number for name, number in vars(resource).items() if name.startswith("RLIMIT_")]
_OWN = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__", "modules")


class State:
    """As it is when this is made: before the first script."""

    __slots__ = (
        "_environ",
        "_limits",
        "_locale",
        "_modules",
        "_names",
        "_path",
        "_recursion",
        "_signals",
        "_umask",
        "_users",
    )

    def __init__(self) -> None:
        self._names = [_Names(sys), _Names(builtins)]
        self._path = list(sys.path)
        self._environ = os.environ
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        numbers = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
        self._signals = [(number, signal.getsignal(number)) for number in numbers]
        self._locale = locale.setlocale(locale.LC_ALL)
        self._recursion = sys.getrecursionlimit()
        self._limits = {n: resource.getrlimit(n) for n in _LIMITS}
        self._users = (os.getresuid(), os.getresgid(), os.getpgrp())
        self._modules: dict[str, ModuleType] = {}

    def begin(self) -> set[str]:
        """Modules that are there before a script runs."""
        self._modules = dict(sys.modules)
        return set(self._modules)

    def restore(self) -> str:
        """Put everything back; what cannot be put back, in words, or "".

        The script's own names and modules have been dropped.
        """
        self._restore_interpreter()
        os.environ = self._environ  # noqa: B003 - it may have been replaced
        os.chdir("/")
        os.umask(self._umask)
        self._restore_signals()
        self._restore_limits()
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        _restore_library()
        users = (os.getresuid(), os.getresgid(), os.getpgrp())
        return "" if users == self._users else "it changes its user or its process group"

    def _restore_interpreter(self) -> None:
        sys.settrace(None)
        sys.setprofile(None)
        threading.settrace(None)
        threading.setprofile(None)
        sys.setrecursionlimit(self._recursion)
        if not gc.isenabled():
            gc.enable()
        for names in self._names:
            names.restore()
        sys.path[:] = self._path
        for name, module in self._modules.items():
            if name != "__main__" and sys.modules.get(name) is not module:
                sys.modules[name] = module

    def _restore_signals(self) -> None:
        signal.set_wakeup_fd(-1)
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number, handler in self._signals:
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    def _restore_limits(self) -> None:
        for number, limits in self._limits.items():
            if resource.getrlimit(number) != limits:
                with contextlib.suppress(OSError, ValueError):  # a hard limit stays lowered
                    resource.setrlimit(number, limits)


class _Names:
    """The names of a module that every script may change for all others."""

    __slots__ = ("_module", "_values")

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._values = {n: v for n, v in vars(module).items() if n not in _OWN}

    def restore(self) -> None:
        now, values = vars(self._module), self._values
        for name in now.keys() - values.keys():
            if name not in _OWN:
                del now[name]
        for name, value in values.items():
            if now.get(name, now) is not value:
                now[name] = value


def _restore_library() -> None:
    """Settings of the standard library that are the process's."""
    loaded: dict[str, Any] = dict(sys.modules)
    if "tempfile" in loaded:
        loaded["tempfile"].tempdir = None
    if "random" in loaded:
        loaded["random"].seed()
    if "socket" in loaded:
        loaded["socket"].setdefaulttimeout(None)
    if "faulthandler" in loaded:
        loaded["faulthandler"].disable()
    if "logging" in loaded:
        _restore_logging(loaded["logging"])
    if "asyncio" in loaded:
        loaded["asyncio.events"]._set_running_loop(None)


def _restore_logging(logging: Any) -> None:
    """No handlers but those that do nothing, and every logger as getLogger() makes it."""
    root = logging.getLogger()
    loggers = [root, *logging.Logger.manager.loggerDict.values()]
    for logger in loggers:
        if not isinstance(logger, logging.Logger):
            continue
        for handler in list(logger.handlers):
            if not isinstance(handler, logging.NullHandler):
                logger.removeHandler(handler)
                with contextlib.suppress(Exception):  # of the script's own class, perhaps
                    handler.close()
        logger.filters.clear()
        logger.disabled, logger.propagate = False, True
        logger.setLevel(logging.WARNING if logger is root else logging.NOTSET)
    logging.disable(logging.NOTSET)

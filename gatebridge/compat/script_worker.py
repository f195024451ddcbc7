"""A worker inside somebody's script: run() returns, and what it changed is set back."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Protocol

from gatebridge.serve.watch_thread import Watch
from gatebridge.serve.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from gatebridge.serve.listener import Listener
    from gatebridge.serve.loop import Loop
    from gatebridge.serve.worker_log import WorkerLog

CAUGHT = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
LOOK_S = 1.0  # between two calls of periodic


class Host(Protocol):
    """The server whose run() this is: scripts have handlers of their own in the place of ours."""

    def _installSignalHandlers(self) -> None: ...

    def _restoreSignalHandlers(self) -> None: ...


class ScriptWorker(Worker):
    """Ends by HUP, INT or TERM: requests under way are finished, a second signal is quick.

    host      says whether catch() and set_back() are called; outside the main thread it is not
              asked, and leave() is the only end
    periodic  called about once a second in run()'s thread; None for not at all
    """

    __slots__ = ("_before", "_host", "_is_main", "_periodic", "_turning", "hup")

    def __init__(
        self,
        loop: Loop,
        listeners: list[Listener],
        log: WorkerLog,
        graceful_s: float,
        host: Host,
        periodic: Callable[[], None] | None,
    ) -> None:
        super().__init__(loop, listeners, log, graceful_s, _nothing, watch=Watch(loop).run)
        self._turning = loop
        self._host = host
        self._is_main = threading.current_thread() is threading.main_thread()
        self._periodic = periodic
        self._before: dict[int, object] = {}
        self.hup = False

    def serve(self) -> bool:
        """Serve until a signal ends it. Returns whether it was HUP."""
        try:
            self.run()
        finally:
            if self._is_main:
                self._host._restoreSignalHandlers()
                signal.set_wakeup_fd(-1)
            if self._turning.close():
                os.close(self._wake)
                os.close(self._waker)
        return self.hup

    def leave(self, hup: bool) -> None:
        """As the signal would, from whatever thread."""
        self._note(signal.SIGHUP if hup else signal.SIGTERM, None)
        os.write(self._waker, b"!")

    def catch(self) -> None:
        for number in CAUGHT:
            before = signal.signal(number, self._note)
            self._before[number] = signal.SIG_DFL if before is None else before

    def set_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what it was before

    def _catch_signals(self) -> None:
        if self._is_main:
            self._host._installSignalHandlers()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._signals:
            self.hup = number == signal.SIGHUP
        self._signals.append(signal.SIGTERM)

    def _sleep(self, most_s: float) -> int:
        if self._periodic is None:
            return super()._sleep(most_s)
        heard = super()._sleep(min(most_s, LOOK_S))
        self._periodic()
        return heard


def _nothing() -> None:
    """Its log is standard error, which nobody rotates."""

"""Programs that a command starts, waits for, and ends again, all together."""

from __future__ import annotations

import subprocess
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING

from gatebridge.errors import GatebridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LOOK_S = 0.02  # between two looks whether something has come up
STOP_S = 5.0  # a program that was asked to end is killed after this


class Children:
    """Programs by name; a context manager that ends them all, the last one first.

    Each gets a session of its own, so that Ctrl-C at the terminal reaches the command alone and
    the command decides in which order they end.
    """

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, argv: Sequence[str], output: IO[bytes] | None = None) -> None:
        """Start a program. output: where its two output streams go; None: where ours go."""
        self._running[name] = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def ended(self) -> str:
        """What has become of the first program that is no longer running; "" if all are."""
        for name, child in self._running.items():
            code = child.poll()
            if code is not None:
                return f"{name} ended with status {code}"
        return ""

    def wait_until(self, ready: Callable[[], bool], what: str, limit_s: float = 20.0) -> None:
        """Wait until ready() is true.

        raises  GatebridgeError("child.ended"), GatebridgeError("child.timeout")
        """
        deadline = monotonic() + limit_s
        while not ready():
            ended = self.ended()
            if ended:
                raise GatebridgeError("child.ended", ended)
            if monotonic() > deadline:
                raise GatebridgeError("child.timeout", f"{what} is not ready after {limit_s:g} s")
            sleep(_LOOK_S)

    def wait(self) -> str:
        """Wait until one of them has ended by itself; returns what ended() says."""
        while True:
            ended = self.ended()
            if ended:
                return ended
            first = next(iter(self._running.values()))
            try:
                first.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                continue

    def stop(self) -> None:
        """Ask them to end, the last one first; kill what does not."""
        for child in reversed(self._running.values()):
            child.terminate()
            try:
                child.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._running.clear()

"""A real control socket, served by a thread as a supervisor would, with an answer for each command.

Tests give it handlers; what was asked is in ``asked``.
"""

import os
import select
import threading
from pathlib import Path
from typing import Any

from gatebridge.serve.control import Control


class Answering:
    """Serves until it is closed. Use as a context manager."""

    def __init__(self, path: Path, **handlers: Any) -> None:
        self.control = Control(str(path))
        self.path = self.control.path
        self.asked: list[dict[str, Any]] = []
        for name, answer in handlers.items():
            self.control.handlers[name.replace("_", "-")] = self._handler(answer)
        self._end, self._tell = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _handler(self, answer: Any) -> Any:
        def handle(request: dict[str, Any]) -> dict[str, Any]:
            self.asked.append({k: v for k, v in request.items() if k != "client"})
            return answer(request) if callable(answer) else answer

        return handle

    def _run(self) -> None:
        fd = self.control.fd
        while self._end not in select.select([fd, self._end], [], [])[0]:
            self.control.serve()
            if self.control.sock.fileno() < 0:  # a handler has closed it
                return

    def __enter__(self) -> "Answering":
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        os.write(self._tell, b"!")
        self._thread.join()
        self.control.close()
        os.close(self._end)
        os.close(self._tell)

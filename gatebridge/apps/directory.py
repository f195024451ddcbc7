"""Old programs as one WSGI application: a single one, or a folder of them.

A program's name is found in PATH_INFO and moves to SCRIPT_NAME; what follows it stays.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gatebridge.apps.inventory import DEPTH_MOST
from gatebridge.apps.permission import open_program
from gatebridge.apps.refusal import refuse, say
from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatebridge.apps.inventory import Inventory
    from gatebridge.apps.permission import Trust
    from gatebridge.engine.seams import Application

_REFUSED = "This program may not be run. The server's log tells why."
_NAMED_MOST = 50
_GONE = ("permission.gone", "permission.link")  # since the start


class Program:
    """One program; everything of the path is its PATH_INFO.

    application  speaks CGI with it, and raises AppError("permission.…") when it must not run
    """

    __slots__ = ("_application", "path")
    local_redirects = True  # it calls environ["gatebridge.redispatch"] where there is one

    def __init__(self, path: str, application: Application) -> None:
        self.path = path
        self._application = application

    def __call__(self, environ: dict[str, object], start_response: Any) -> Iterable[bytes]:
        try:
            return self._application(environ, start_response)
        except AppError as error:
            if not error.code.startswith("permission."):
                raise
            say(environ, f"{error.code} {error.detail}")
            if error.code in _GONE:
                return refuse(environ, start_response, "404 Not Found", "No program is here.")
            return refuse(environ, start_response, "403 Forbidden", _REFUSED)

    def close(self) -> None:
        close = getattr(self._application, "close", None)
        if close is not None:
            close()


class Directory:
    """The programs that a folder held when this was made.

    refused  name -> the rule it broke then; each request judges anew
    """

    __slots__ = ("_programs", "_told", "inventory", "refused")
    local_redirects = True

    def __init__(
        self, inventory: Inventory, whom: Trust, make: Callable[[str], Application]
    ) -> None:
        """make: the application of a program's path."""
        self.inventory = inventory
        self.refused = _judge(inventory, whom)
        # PEP 3333 has a path's bytes as latin-1
        self._programs = {
            name.encode("utf-8", "surrogateescape").decode("latin-1"): Program(path, make(path))
            for name, path in inventory.programs.items()
        }
        self._told = False

    def __call__(self, environ: dict[str, object], start_response: Any) -> Iterable[bytes]:
        if not self._told:
            self._told = True
            for line in self.report():
                say(environ, line)
        path = str(environ.get("PATH_INFO", ""))
        end = 0
        for _ in range(DEPTH_MOST + 1):  # longer names there are none
            end = path.find("/", end + 1)
            name = path[1:] if end < 0 else path[1:end]
            program = self._programs.get(name) if path[:1] == "/" else None
            if program is not None:
                environ["SCRIPT_NAME"] = f"{environ.get('SCRIPT_NAME', '')}/{name}"
                environ["PATH_INFO"] = "" if end < 0 else path[end:]
                return program(environ, start_response)
            if end < 0:
                break
        return refuse(environ, start_response, "404 Not Found", "No program is at this path.")

    def report(self) -> list[str]:
        """What an operator should know of the folder, in lines."""
        lines = list(self.refused.values())[:_NAMED_MOST]
        if self.inventory.left_out:
            names = ", ".join(map(repr, self.inventory.left_out[:_NAMED_MOST]))
            lines.append(f"target.left_out hidden files and backups are no programs: {names}")
        skipped = list(self.inventory.skipped.items())[:_NAMED_MOST]
        lines.extend([f"target.skipped {name!r} {why}" for name, why in skipped])
        return lines

    def close(self) -> None:
        for program in self._programs.values():
            program.close()


def _judge(inventory: Inventory, whom: Trust) -> dict[str, str]:
    refused = {}
    for name, path in inventory.programs.items():
        try:
            os.close(open_program(path, whom))
        except AppError as error:
            refused[name] = f"{error.code} {error.detail}"
    return refused

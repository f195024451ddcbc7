"""What the commands that talk to a running daemon share: which one is meant, and its answers."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import click

from gatebridge.cli.seconds import seconds
from gatebridge.control_client import TIMEOUT_S, Answer, call, daemon_name, find
from gatebridge.errors import ConfigError, GatebridgeError
from gatebridge.serve.escape import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.settings import Configuration


class Daemon:
    """The daemon that the operator means. It is looked for when it is first asked.

    config     the gatebridge.toml that was named; "" for none
    timeout_s  for an answer
    """

    def __init__(self, control_socket: str, name: str, config: str, timeout_s: float) -> None:
        self._control_socket = control_socket
        self._name = name
        self.config = config
        self._path = ""
        self.timeout_s = timeout_s

    @property
    def path(self) -> str:
        """Its control socket. raises ConfigError("connect.no_daemon"), UseError("control.which")"""
        if not self._path:
            if self.config and not (self._control_socket or self._name):
                self._control_socket, self._name = _of_file(self.config)
            self._path = find(self._control_socket, self._name)
        return self._path

    def ask(self, command: str, **args: object) -> Answer:
        """Its answer. raises GatebridgeError: nobody answers, or it says that it cannot"""
        answer = call(self.path, command, self.timeout_s, **args)
        if answer["ok"]:
            return answer
        for line in str(answer.get("traceback") or "").splitlines():
            click.echo(escape(line), err=True)
        raise GatebridgeError(*[escape(str(answer.get(key, ""))) for key in ("code", "error")])


def with_daemon(timeout_s: float = TIMEOUT_S) -> Callable[[Callable[..., Any]], Any]:
    """The options that say which daemon; the command gets a Daemon as its first argument."""

    def decorate(command: Callable[..., Any]) -> Any:
        @click.option("-n", "--name", default="", envvar="GATEBRIDGE_NAME", metavar="NAME",
                      help="The daemon's name, where several are running.")  # fmt: skip
        @click.option("--control-socket", default="", envvar="GATEBRIDGE_CONTROL_SOCKET",
                      metavar="PATH", help="Its control socket.")  # fmt: skip
        @click.option("-c", "--config", default="", metavar="FILE",
                      help="The gatebridge.toml it was started with.")  # fmt: skip
        @click.option("--timeout", default=timeout_s, show_default=True, metavar="SECONDS",
                      type=seconds(),
                      help="Give up after this long.")  # fmt: skip
        @functools.wraps(command)
        def asking(
            name: str, control_socket: str, config: str, timeout: float, **others: Any
        ) -> Any:
            return command(Daemon(control_socket, name, config, timeout), **others)

        return asking

    return decorate


def _of_file(file: str) -> tuple[str, str]:
    """(control socket, name) that a daemon started with this file has.

    raises  ConfigError("config.invalid")
    """
    configuration = configuration_of(file)
    settings = configuration.settings
    if settings.control_socket:
        return settings.control_socket, ""
    return "", daemon_name(settings.name or configuration.pools[0].settings.bind[0])


def configuration_of(file: str) -> Configuration:
    """What a file says, and the environment. raises ConfigError("config.invalid")"""
    from gatebridge.config import Asked, examine

    configuration, problems = examine(Asked(file=file, environ=os.environ))
    if configuration is None:  # perhaps only since `serve` was told the application
        configuration, _ = examine(Asked(app="app", file=file, environ=os.environ))
    if configuration is None:
        raise ConfigError("config.invalid", "\n".join(map(str, problems)))
    return configuration

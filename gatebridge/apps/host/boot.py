"""How a host begins: its import path, what it imports ahead, and then requests.

gatebridge.apps.hosted starts it as ``python -c COMMAND ROOT KIND FD WORDS``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING

from gatebridge.apps.host import packet
from gatebridge.apps.host.preload import Ahead, Refused, preload

if TYPE_CHECKING:
    from gatebridge.apps.host.packet import Said


def main(path: list[str]) -> None:
    """The whole life of a host.

    path  where a script imports from, its own folder not counted
    """
    kind, number, words = sys.argv[2:5]
    channel = socket.socket(fileno=int(number))
    channel.set_inheritable(False)
    sys.path[:] = path
    said: Said = json.loads(words)
    os.chdir("/")
    _default_signals()
    try:
        failed = _import(channel, said["preload"], said["folder"])
    except Refused as error:
        packet.say(channel, {"refused": error.module, "reason": error.reason})
        return
    ahead = Ahead(said["folder"], path)
    packet.say(channel, {"ready": True, "failed": failed})
    if kind == "zygote":  # it is forked often: what it does not need, it does not import
        from gatebridge.apps.host.zygote import Zygote

        Zygote(channel, ahead, said["learns"]).serve()
    else:
        from gatebridge.apps.host.runner import Runner

        Runner(channel, ahead, said["idle_s"]).serve()


def _default_signals() -> None:
    """What the daemon's worker ignores or blocks is no affair of a script."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # Python ignores those
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _import(channel: socket.socket, names: list[str], folder: str) -> list[tuple[str, str]]:
    """Import ahead, with a pipe as standard output: what is written there is seen."""
    sys.path.insert(0, folder)
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    os.set_blocking(write, False)  # a module that prints without end must not wait for us
    os.dup2(write, 1)
    os.close(write)
    watch = select.poll()
    watch.register(read, select.POLLIN)
    try:
        return preload(
            names,
            lambda name: packet.say(channel, {"begin": name}),
            lambda: bool(watch.poll(0)),
        )
    finally:
        sys.path.remove(folder)
        os.dup2(null, 1)
        os.close(null)
        os.close(read)

"""How a host begins: its import path, what it imports ahead, and then requests.

gatebridge.apps.hosted starts it as ``python -c COMMAND ROOT KIND FD WORDS``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from typing import TYPE_CHECKING

from gatebridge.apps.host import packet
from gatebridge.apps.host.preload import Ahead, Refused, preload
from gatebridge.apps.host.runner import Runner
from gatebridge.apps.host.zygote import Zygote

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
    try:
        failed = _import(channel, said["preload"], said["folder"])
    except Refused as error:
        packet.say(channel, {"refused": error.module, "reason": error.reason})
        return
    ahead = Ahead(said["folder"], path)
    packet.say(channel, {"ready": True, "failed": failed})
    if kind == "zygote":
        Zygote(channel, ahead, said["learns"]).serve()
    else:
        Runner(channel, ahead, said["idle_s"]).serve()


def _import(channel: socket.socket, names: list[str], folder: str) -> list[tuple[str, str]]:
    """Import ahead, with a file as standard output: what is written there is seen."""
    sys.path.insert(0, folder)
    with tempfile.TemporaryFile() as printed, open(os.devnull, "wb") as null:
        os.dup2(printed.fileno(), 1)
        try:
            return preload(names, lambda name: packet.say(channel, {"begin": name}))
        finally:
            sys.path.remove(folder)
            os.dup2(null.fileno(), 1)

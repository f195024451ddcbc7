"""What a relay is told when it is written: it reads no file and no argument later."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Baked:
    """The configuration of one relay.

    base     absolute folder in which gatebridge-UID, the state folder, is made
    name     16 hexadecimal digits: of the files in the state folder
    start    argv of what starts the daemon, a path first; it gets the lock as descriptor 3
    oneshot  argv of what answers where no daemon can live, a path first
    wait_s   so long a request waits for the daemon's start
    fresh_s  so long a failed start is not tried again
    """

    base: str
    name: str
    start: tuple[str, ...]
    oneshot: tuple[str, ...]
    wait_s: int = 30
    fresh_s: int = 60

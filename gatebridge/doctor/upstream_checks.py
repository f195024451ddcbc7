"""Back ends that are asked over HTTP: do they believe what gatebridge says of the client?

Only the command line of the process that listens can tell, so a Unix socket is asked whose it is.
What an application does for itself (ProxyFix and its like) cannot be seen, and is not judged.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gatebridge.apps.upstream_options import is_upstream, parse_place
from gatebridge.connect import connect
from gatebridge.doctor.check import WARNING, Checks, Finding
from gatebridge.doctor.probe import listener_of
from gatebridge.errors import GatebridgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.facts import Facts

CONNECT_S: Final = 1.0

check = Checks("application")


@check("application.back_end", "Does a back end believe what it is told of the client?")
def believes(facts: Facts) -> Finding | None:
    for target, words, environ in _back_ends(facts):
        server, flag = _missing(words, environ)
        if flag:
            return Finding(
                f"{server} behind {target} takes every client for gatebridge, by http",
                " ".join(words),
                f"start {server} with {flag}; docs/upstream.md says what it needs besides",
                WARNING,
            )
    return None


def _missing(words: list[str], environ: list[str]) -> tuple[str, str]:
    """(server, the flag that it lacks), ("", "") where nothing is to be said."""
    names = {os.path.basename(word) for word in words[:4]}
    if "uvicorn" in names:
        said = any(word.startswith("--forwarded-allow-ips") for word in words)
        said = said or any(one.startswith("FORWARDED_ALLOW_IPS=") for one in environ)
        if "--no-proxy-headers" in words or not said:
            return "uvicorn", "--forwarded-allow-ips '*' and without --no-proxy-headers"
    if "daphne" in names and "--proxy-headers" not in words:
        return "daphne", "--proxy-headers"
    return "", ""


def _back_ends(facts: Facts) -> Iterator[tuple[str, list[str], list[str]]]:
    """(target, command line, environment) of those behind Unix sockets that we may look at."""
    for pool in facts.pools:
        for app in pool.apps:
            for target in (app.target, app.new):
                if not target or not is_upstream(target):
                    continue
                try:
                    place = parse_place(target, facts.folders(pool)[0])
                    if not place.is_http or place.bind.family == "tcp":
                        continue
                    with connect(place.bind, CONNECT_S) as sock:
                        pid = listener_of(sock)
                except (GatebridgeError, OSError):  # another check's, or nobody is there
                    continue
                environ = facts.machine.read(f"/proc/{pid}/environ").split("\0")
                yield place.text, facts.machine.words(pid), environ


CHECKS: Final = tuple(check)

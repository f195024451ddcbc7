"""A daemon, and what doctor says of a front server's configuration that leads to it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gatebridge.doctor.report import Report
from gatebridge.errors import GatebridgeError
from tests.doctor.set_up import Fake, configured, doctor, own_name
from tests.serve.service import Service, service
from tests.suite.modes import wait_until

APP = """
import pathlib

def application(environ, start_response):
    pathlib.Path(__file__).with_name("seen").touch()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[Service]:
    """On all four protocols, s.fastcgi and so on; ready, also where Python runs with -O."""
    binds = [word for name in ("fcgi", "scgi", "uwsgi", "http")
             for word in ("--bind", f"{name}+unix:{folder}/s.{name}?mode=0666")]  # fmt: skip

    def ready() -> bool:
        try:
            return bool(live.status()["generation"] >= 1 and live.serves())
        except (OSError, KeyError, GatebridgeError):
            return False

    with service(folder, "shop:application", *binds, *words, app=APP, wait=False) as live:
        if not wait_until(ready):
            pytest.fail(live.log())
        yield live


def judged(
    live: Service, text: str, kind: str = "fcgi", url: str = "", streams: bool = False, **flags: Any
) -> Report:
    """What doctor says of a text, beside a daemon that is sound.

    kind   the socket that is meant
    url    of a server that runs with the text, to be asked too
    streams  whether the application is said to send answers piece by piece
    flags  what serve is told besides
    """
    folder = live.folder
    path = folder / "front.conf"
    path.write_text(text)
    bind = f"{kind}+unix:{folder}/s.{kind}"
    flags = {"bind": [bind], "chdir": str(folder), "control_socket": live.control, **flags}
    return doctor(
        Fake(folder / "machine"),
        **configured("shop:application", **flags),
        front_config=(str(path),),
        front_user=own_name(),
        url=url,
        streams=streams,
    )


def accepted(argv: list[str]) -> None:
    """The server itself takes the text."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.fail(done.stderr or done.stdout)

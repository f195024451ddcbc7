"""clauses.md section 3, clock jump: a day forth and back under a running daemon, by libfaketime."""

import time
from pathlib import Path

import pytest

from tests.fronts.servers import program
from tests.serve.whole import OnNew, whole_daemon

DAY_S = 86_400

APP = """
import time

def application(environ, start_response):
    path = environ["PATH_INFO"] or environ["REQUEST_URI"]
    what, _, name = path.strip("/").partition("/")
    if what == "hold":
        with open(name, "rb") as fifo:
            fifo.read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(int(time.time())).encode()]
"""


def preload(folder: Path) -> dict[str, str]:
    """The environment of a process whose clock is read off a file; only the wall clock."""
    program("faketime", package="faketime")
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "faketime without its library"
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.parametrize("jump", ["+1d", "-1d"])
def test_clock_jump_kills_no_worker_and_loses_no_timer(tmp_path: Path, jump: str) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    limits = ("--timeout", "60", "--queue-timeout", "60", "--max-lifetime", "3600",
              "--slowlog-timeout", "0.3")  # fmt: skip
    with whole_daemon(tmp_path, *limits, app=APP, env=preload(tmp_path)) as live:
        before = live.workers()
        now = OnNew(live.path, "/now")
        assert abs(int(now()) - time.time()) < 60
        gate = live.gate("n")
        with live.kept() as kept:
            kept.send("/hold/n")
            gate.entered()
            clock.write_text(jump)
            live.until(lambda: abs(int(now()) - time.time()) > DAY_S / 2)
            live.until(lambda: "slow.request" in live.log())  # its timer goes on
            assert live.log().count("slow.request") == 1
            gate.release()
            kept.read()
        assert live.workers() == before
        clock.write_text("+0")
        live.until(lambda: abs(int(now()) - time.time()) < 60)
        assert live.workers() == before
        for word in ("timeout", "expired", "leaving", "silent"):
            assert word not in live.log(), live.log()

"""Programs a command starts: waited for, and ended whatever they do about it."""

import sys

import pytest

from gatebridge.errors import GatebridgeError
from gatebridge.serve import children
from gatebridge.serve.children import Children

DEAF = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").close()
signal.pause()
"""


def python(code, *arguments):
    return [sys.executable, "-c", code, *arguments]


def test_what_ends_before_it_is_ready_is_named():
    with Children() as started:
        started.start("short", python("raise SystemExit(3)"))
        with pytest.raises(GatebridgeError, match=r"child.ended: short ended with status 3"):
            started.wait_until(lambda: False, "it")


def test_what_never_gets_ready_is_not_waited_for_for_ever():
    with Children() as started:
        started.start("slow", python("import signal; signal.pause()"))
        with pytest.raises(GatebridgeError, match=r"child.timeout: it is not ready after 0 s"):
            started.wait_until(lambda: False, "it", 0.0)


def test_wait_returns_when_any_of_them_ends():
    with Children() as started:
        started.start("long", python("import signal; signal.pause()"))
        started.start("short", python("pass"))
        assert started.wait() == "short ended with status 0"


def test_one_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "STOP_S", 0.1)
    deaf = tmp_path / "deaf"
    with Children() as started:
        started.start("deaf", python(DEAF, str(deaf)))
        started.wait_until(deaf.exists, "deaf")
    assert started.ended() == ""


def test_output_goes_where_it_is_told(tmp_path):
    with open(tmp_path / "log", "w+b") as log, Children() as started:
        started.start(
            "talker", python("import sys; print('out'); print('err', file=sys.stderr)"), log
        )
        started.wait()
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]

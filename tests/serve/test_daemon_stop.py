"""A stop that comes at a bad moment: who has connected is answered, and nobody is cut off."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.serve.whole import APPLICATION, alive, answer, whole, whole_daemon

LATE = """
try:
    os.mkdir("first")
except FileExistsError:
    hold("boot")
    raise
"""


@pytest.mark.parametrize("first", ["supervisor", "worker"])
def test_TERM_to_all_processes_at_once_cuts_nobody(tmp_path: Path, first: str) -> None:
    """As a unit with KillMode=control-group does, and kill with a process group."""
    with whole_daemon(tmp_path, workers=1, threads=1) as live:
        (worker,) = live.workers()
        gate = live.gate("a")
        with contextlib.closing(live.send("/hold/a")) as held:
            gate.entered()
            if first == "worker":
                os.kill(worker, signal.SIGTERM)
                live.until(lambda: _is_draining(worker, live.status()))
                with contextlib.closing(live.send("/pid")) as queued:
                    live.signal(signal.SIGTERM)
                    live.until_log("stopping")
                    gate.release()
                    assert whole(answer(queued)) == str(worker)
            else:
                live.signal(signal.SIGTERM)
                live.until_log("stopping")
                os.kill(worker, signal.SIGTERM)
                gate.release()
            assert whole(answer(held)) == "held a"
        assert live.wait() == 0


def test_TERM_while_the_workers_drain_answers_who_waits(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, workers=1, threads=1) as live:
        gate = live.gate("a")
        with contextlib.closing(live.send("/hold/a")) as held:
            gate.entered()
            assert live.ctl("drain")["ok"]
            live.until(lambda: live.pool()["workers"]["draining"] == 1)
            with contextlib.closing(live.send("/version")) as queued:
                live.signal(signal.SIGTERM)
                assert whole(answer(queued)) == "one"
                gate.release()
                assert whole(answer(held)) == "held a"
        assert live.wait() == 0


def test_TERM_when_the_only_worker_has_been_killed_answers_who_waits(tmp_path: Path) -> None:
    """The supervisor is stopped meanwhile, as it would be when very busy."""
    with whole_daemon(tmp_path, workers=1) as live:
        (worker,) = live.workers()
        live.signal(signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        live.until(lambda: not alive(worker) and len(os.listdir(f"/proc/{worker}/task")) == 1)
        with contextlib.closing(live.send("/version")) as queued:
            live.signal(signal.SIGTERM)
            live.signal(signal.SIGCONT)
            assert whole(answer(queued)) == "one"
        assert live.wait() == 0


@pytest.mark.parametrize("how", ["fails", "is stopped"])
def test_a_reload_that_comes_to_nothing_cuts_nobody(tmp_path: Path, how: str) -> None:
    """The first of its two workers serves already when the second one cannot."""
    with whole_daemon(tmp_path, workers=2, threads=1, faults=True) as live:
        live.write(APPLICATION + LATE)
        with contextlib.ExitStack() as stack:
            socks, gates = [], [live.gate(name) for name in "abc"]
            boot = live.gate("boot")
            for gate in gates:
                if len(socks) == 2:  # both are busy
                    live.signal(signal.SIGHUP)
                    boot.entered()
                    live.until(lambda: len(live.workers()) == 3)
                sock = live.send(f"/hold/{gate.path.name}")
                socks.append(stack.enter_context(contextlib.closing(sock)))
                gate.entered()
            if how == "fails":
                boot.release()
                live.until_log("reload.failed")
            else:
                live.signal(signal.SIGTERM)
                live.until_log("stopping")
            for gate in gates:
                gate.release()
            told = [whole(answer(sock)) for sock in socks]
        assert told == ["held a", "held b", "held c"]


def _is_draining(pid: int, status: dict) -> bool:
    found = status["pools"]["main"]["workers_list"]
    return any(one["pid"] == pid and one["state"] == "draining" for one in found)

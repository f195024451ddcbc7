"""A daemon that nobody asks ends by itself, and loses nobody who does."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gatebridge.bind import parse_bind
from gatebridge.serve.idle import Idle
from gatebridge.serve.listen import open_listener
from gatebridge.serve.scoreboard import READY, Running, WorkerView
from tests.serve.supervised import answer, supervised

if TYPE_CHECKING:
    from pathlib import Path

    from gatebridge.serve.listener import Listener

REST = WorkerView(0, 11, "main", 1, READY, 8, 1.0, 5, 0, 0, 0, 0, 0, [])
BUSY = replace(REST, running=[Running(0, 1, 0.0, 1.0, "GET /", "")])

LOOKS = [
    pytest.param([REST, REST, REST], 20.0, id="nobody asks"),
    pytest.param([REST, REST, replace(REST, requests=6)], 0.0, id="a request since"),
    pytest.param([REST, REST, BUSY], 0.0, id="a request under way"),
    pytest.param([BUSY, REST, REST], 20.0, id="it has ended"),
    pytest.param([REST, REST, replace(REST, queued=1)], 0.0, id="one waits for a thread"),
    pytest.param([REST, REST, replace(REST, pid=12, requests=0)], 20.0, id="replaced"),
]


@pytest.mark.parametrize(("views", "idle"), LOOKS)
def test_how_long(views: list[WorkerView], idle: float) -> None:
    seen = Idle(0.0)
    for at, view in enumerate(views):
        found = seen.look(at * 10.0, {"main": [view]}, [])
    assert found == idle


def test_without_workers() -> None:
    assert Idle(5.0).look(12.0, {"main": []}, []) == 7.0


def test_a_connection_that_waits_in_the_kernel(tmp_path: Path) -> None:
    listener: Listener = open_listener(parse_bind(f"unix:{tmp_path}/s"), ())
    try:
        seen = Idle(0.0)
        assert seen.look(10.0, {}, [listener]) == 10.0
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"{tmp_path}/s")
            assert seen.look(20.0, {}, [listener]) == 0.0
    finally:
        listener.close()


def test_the_daemon_ends_and_leaves_nothing(tmp_path: Path) -> None:
    with supervised(tmp_path, idle_exit=0.3) as live:
        sock = live.send("word")
        assert answer(sock) == "word"
        sock.close()
        assert live.wait() == 0
        assert "nobody has asked for" in live.log()
        assert not (tmp_path / "main.sock").exists()


def test_not_while_a_request_is_under_way(tmp_path: Path) -> None:
    with supervised(tmp_path, idle_exit=0.2) as live:
        fifo = live.fifo("f")
        held = live.send("hold f")
        fifo.entered()
        live.until(lambda: live.pool()["workers_list"][0]["running"][0]["age_s"] > 1.0)
        assert "nobody has asked" not in live.log()
        fifo.release()
        assert answer(held) == "held f"
        held.close()
        assert live.wait() == 0

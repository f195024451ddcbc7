"""Limits of a daemon: a request's time, a worker's life."""

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from tests.serve.whole import (
    Ended,
    Load,
    OnKept,
    OnNew,
    Whole,
    alive,
    answer,
    request_bytes,
    wait_until,
    whole,
    whole_daemon,
)

TIMEOUT = ("--timeout", "0.4", "--graceful-timeout", "2")
PROTOCOLS = ["", "scgi", "uwsgi", "http"]


def incident(body: bytes) -> str:
    """The id that a page names."""
    return re.findall(r"incident ([0-9a-f]{8})", body.decode())[0]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda name: name or "fastcgi")
def test_request_over_time_limit_is_answered_504(tmp_path: Path, protocol: str) -> None:
    """Clauses, section 3: 504 for it; the log has the stack under the id that the page names."""
    with whole_daemon(tmp_path, *TIMEOUT, workers=1) as live:
        before = live.workers()
        resp = live.ask("/spin", protocol)
        assert (resp.status, resp.cut) == (504, False), repr(resp)
        id = incident(resp.body)
        live.until_log(f"request.timeout incident {id} (GET /spin)")
        stack = [line for line in live.log().splitlines() if f"request.timeout {id}" in line]
        assert any("in spin" in line for line in stack), stack
        assert "time.sleep(0.005)" in stack[-1], stack  # innermost last
        live.until(lambda: live.settled(1) != before, "the worker is not replaced")
        live.gone(before[0])
        assert live.get("/version") == "one"


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda name: name or "fastcgi")
def test_request_over_time_limit_after_its_head_is_cut(tmp_path: Path, protocol: str) -> None:
    with whole_daemon(tmp_path, *TIMEOUT, workers=1) as live:
        resp = live.ask("/late", protocol)
        assert resp.status == 200
        assert resp.cut
        assert b"504" not in resp.body
        live.until_log("request.timeout incident")


@pytest.mark.parametrize("options", [(), ("--timeout", "600")], ids=["none else", "longer"])
def test_request_over_a_limit_of_its_own(tmp_path: Path, options: tuple[str, ...]) -> None:
    with whole_daemon(tmp_path, *options, "--graceful-timeout", "2", workers=1) as live:
        before = live.workers()
        assert live.ask("/within/0.3/spin").status == 504
        live.until_log("(GET /within/0.3/spin) after 0.3 s")
        live.gone(before[0])
        assert live.get("/version") == "one"


def test_request_with_a_limit_longer_than_its_worker_has(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, *TIMEOUT, workers=1) as live:
        before = live.workers()
        assert live.get("/within/600/spin/2.5") == "spun"  # past two looks of the supervisor
        assert live.workers() == before
        assert live.ask("/spin").status == 504  # the next request has the worker's again


def test_code_that_holds_the_interpreter_over_a_limit_of_its_own(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, "--timeout", "600", workers=1) as live:
        before = live.workers()
        with contextlib.closing(live.send("/within/0.3/backtrack")):
            live.until_log("request.hung")
            live.gone(before[0])
        live.until(lambda: live.workers() and live.get("/version") == "one")


def test_thread_over_time_limit_gets_the_exception(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, *TIMEOUT) as live:
        assert live.ask("/noted/raised").status == 504
        raised = tmp_path / "raised"
        assert wait_until(lambda: raised.exists() and bool(raised.read_text()))
        assert raised.read_text() == "RequestTimeout\n"


def test_neighbours_of_a_request_over_time_limit_finish(tmp_path: Path) -> None:
    """Clauses, section 3: neighbours in the same process get <= 30 s to finish.

    The neighbour is well within its own time when the other's is over: it began later.
    """
    with whole_daemon(tmp_path, "--timeout", "1.5", "--graceful-timeout", "20", workers=1) as live:
        before = live.workers()
        stuck = live.send("/spin")
        live.until(lambda: live.pool()["busy"] == 1)
        gate = live.gate("n")
        live.until(lambda: live.pool()["workers_list"][0]["running"][0]["age_s"] > 0.8)
        neighbour = live.send("/hold/n")
        gate.entered()
        with contextlib.closing(stuck):
            assert answer(stuck).status == 504
        live.until(lambda: live.workers() not in ([], before), "no replacement")
        assert alive(before[0])
        gate.release()
        with contextlib.closing(neighbour):
            assert whole(answer(neighbour)) == "held n"
        live.gone(before[0])
        assert live.log().count("request.timeout incident") == 1


def test_other_requests_on_the_connection_of_one_over_time_limit(tmp_path: Path) -> None:
    """The ids beside it are answered, and so is what is asked next, there or on a new one."""
    with whole_daemon(tmp_path, *TIMEOUT, workers=1, threads=2) as live, live.kept() as kept:
        kept.send("/spin", 1)
        live.until(lambda: live.pool()["busy"] == 1)
        kept.send("/version", 2)
        assert whole(kept.read(2)) == "one"
        assert kept.read(1).status == 504
        try:
            assert kept.get("/version") == "one"
        except Ended:  # the worker drains, and this was between two requests
            assert live.get("/version") == "one"


def test_request_behind_one_over_time_limit_on_the_same_connection(tmp_path: Path) -> None:
    """One thread: what was sent behind the stuck request is answered on the same connection."""
    with whole_daemon(tmp_path, *TIMEOUT, workers=1, threads=1) as live, live.kept() as kept:
        kept.send("/spin", 1)
        live.until(lambda: live.pool()["busy"] == 1)
        kept.send("/version", 2)
        assert kept.read(1).status == 504
        assert whole(kept.read(2)) == "one"


def test_time_limit_of_a_system_call_that_does_not_return(tmp_path: Path) -> None:
    """The thread cannot be interrupted; its client is answered, and its worker replaced."""
    options = ("--timeout", "0.4", "--graceful-timeout", "1")
    with whole_daemon(tmp_path, *options, workers=1) as live:
        before = live.workers()
        gate = live.gate("n")
        resp = live.ask("/hold/n")
        gate.entered()
        assert resp.status == 504
        live.gone(before[0])
        assert live.settled(1) != before
        assert live.get("/version") == "one"


def test_time_limit_of_c_code_that_keeps_the_gil(tmp_path: Path) -> None:
    """No thread of the worker can run: the supervisor ends it after the grace."""
    options = ("--timeout", "0.4", "--graceful-timeout", "1")
    with whole_daemon(tmp_path, *options, workers=1) as live:
        before = live.workers()
        with contextlib.closing(live.send("/backtrack")) as stuck:
            resp = answer(stuck)
        assert resp.cut
        live.gone(before[0])
        assert live.settled(1) != before
        assert live.get("/version") == "one"


def test_time_limit_counts_no_time_in_the_queue(tmp_path: Path) -> None:
    """One thread, eight requests of half the limit: each has its own time."""
    with whole_daemon(tmp_path, "--timeout", "0.8", workers=1, threads=1) as live:
        asked = [live.send("/nap/0.4") for _ in range(8)]
        for sock in asked:
            with contextlib.closing(sock):
                assert answer(sock).status == 200
        assert "request.timeout" not in live.log()


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda name: name or "fastcgi")
def test_time_limit_of_an_upload_that_stops(tmp_path: Path, protocol: str) -> None:
    """One answer, whole or cut; nothing stands behind it."""
    with whole_daemon(tmp_path, *TIMEOUT, workers=1) as live:
        data = request_bytes("/body", protocol, b"x" * 200_000)
        with contextlib.closing(live.connect(protocol)) as sock:
            sock.sendall(data[:-100_000])
            resp = answer(sock, protocol)
        assert resp.status in (408, 504), repr(resp)
        assert resp.body.count(b"504") + resp.body.count(b"Timeout") <= 1
        assert resp.body.count(b"Status:") == 0
        live.until_log("request.timeout incident")
        assert live.get("/version") == "one"


def test_body_that_comes_after_the_504(tmp_path: Path) -> None:
    """It is of nobody; the next request on the connection is not taken for a part of it."""
    with whole_daemon(tmp_path, *TIMEOUT, workers=1) as live, live.kept() as kept:
        data = kept.bytes("/body", 1, b"x" * 200_000)
        kept.sock.sendall(data[:-100_000])
        first = kept.read()
        assert first.status in (408, 504), repr(first)
        try:
            kept.raw(data[-100_000:])
            assert kept.get("/version") == "one"
        except Ended:  # cut with the request, or drained behind it
            assert live.get("/version") == "one"


def test_head_over_time_limit_has_no_body(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, *TIMEOUT, workers=1) as live:
        with contextlib.closing(live.connect("http")) as sock:
            sock.sendall(b"HEAD /spin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            got = b""
            while data := sock.recv(65_536):
                got += data
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 504 ")
        assert body == b""


def test_request_over_time_limit_under_load(tmp_path: Path) -> None:
    """Every worker is replaced by time limits again and again; nobody else loses a request."""
    options = ("--timeout", "0.4", "--graceful-timeout", "10")
    with whole_daemon(tmp_path, *options) as live:
        clients = [lambda: OnKept(live.path)] * 3 + [lambda: OnNew(live.path)] * 3
        with Load(*clients) as load:
            for _ in range(6):
                assert live.ask("/spin").status == 504
            load.more(200)
        assert load.failed == []
        live.settled(2)


# -- a worker's life


def replaced(live: Whole, times: int) -> None:
    """Load by new and kept connections until workers were replaced so often; none is lost."""
    clients = [lambda: OnKept(live.path)] * 3 + [lambda: OnNew(live.path)] * 3
    with Load(*clients) as load:
        live.until(lambda: live.pool()["forks"] >= 2 + times, "not replaced")
        load.more(50)
    assert load.failed == []
    live.settled(2)
    assert live.pool()["crash_loop"] is False
    assert len(load.answers) > 2, load.answers  # pids


def test_max_requests_loses_no_request(tmp_path: Path) -> None:
    """Clauses, section 3, memory growth: the recycle option loses 0 requests."""
    with whole_daemon(tmp_path, "--max-requests", "150") as live:
        replaced(live, 6)
        live.until_log("max_requests", 6)


def test_max_requests_with_jitter(tmp_path: Path) -> None:
    options = ("--max-requests", "50", "--max-requests-jitter", "200")
    with whole_daemon(tmp_path, *options) as live:
        replaced(live, 6)


def test_max_lifetime_loses_no_request(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, "--max-lifetime", "1") as live:
        replaced(live, 4)
        live.until_log("max_lifetime", 4)


def test_max_rss_loses_no_request(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, "--max-rss", "120MiB") as live:
        clients = [lambda: OnKept(live.path)] * 3 + [lambda: OnNew(live.path)] * 3
        before = set(live.workers())
        with Load(*clients) as load:
            with live.kept_by(min(before)) as kept:
                kept.get(f"/grow/{150 << 20}")
            live.gone(min(before))
            load.more(50)
        assert load.failed == []
        live.until_log("max_rss")
        assert len(set(live.settled(2)) & before) == 1


def test_max_requests_lets_a_long_request_finish(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, "--max-requests", "20", workers=1) as live:
        before = live.workers()
        gate = live.gate("n")
        with contextlib.closing(live.send("/hold/n")) as held:
            gate.entered()
            for _ in range(60):
                live.get("/pid")
            live.until(lambda: live.workers() not in ([], before))
            gate.release()
            assert whole(answer(held)) == "held n"
        live.gone(before[0])


def test_dead_worker_fails_only_what_is_inside_it(tmp_path: Path) -> None:
    """Clauses, section 3: worker killed -9."""
    with whole_daemon(tmp_path) as live:
        victim, other = live.workers()
        gate = live.gate("n")
        with live.kept_by(victim) as kept, live.kept_by(other) as safe:
            kept.send("/hold/n")
            gate.entered()
            os.kill(victim, signal.SIGKILL)
            with pytest.raises(Ended):
                kept.read()
            assert safe.get("/pid") == str(other)
        assert live.get("/version") == "one"
        assert victim not in live.settled(2)
        live.until_log(f"pid {victim}")

"""What a daemon tells about itself: slow log, stacks, counts, its pages."""

import contextlib
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.serve.whole import Whole, alive, answer, whole, whole_daemon
from tests.suite import wires

SLOW = ("--slowlog-timeout", "0.4")
PAGES = ("--status-path", "/fpm-status", "--ping-path", "/fpm-ping")


def entry(live: Whole) -> list[str]:
    """The lines of the only entry of the slow log, without their time."""
    live.until_log("slow.request")
    live.until_log("slow.stack")
    found = [line for line in live.log().splitlines() if "slow." in line]
    return [line[line.index("slow.") :] for line in found]


def test_slow_request_is_written_while_it_runs(tmp_path: Path) -> None:
    """Issue, item 6: once, with its line, age and stack, innermost last; no secrets (T19)."""
    with whole_daemon(tmp_path, *SLOW) as live, live.kept() as kept:
        gate = live.gate("n")
        kept.send("/hold/n?q=1")
        gate.entered()
        lines = entry(live)
        head = re.fullmatch(
            r"slow.request main/\d+/\d+ pid (\d+): GET /hold/n has run for "
            r"(\d+\.\d) s.*",
            lines[0],
        )
        assert head, lines
        assert int(head[1]) in live.workers()
        assert float(head[2]) >= 0.4
        assert "in application" in lines[-2], lines
        assert "hold(name)" in lines[-2]
        assert "in hold" in lines[-1]
        assert 'with open(name, "rb") as fifo' in lines[-1] or "fifo.read()" in lines[-1]
        assert len(lines) <= 22
        live.until(lambda: live.pool()["slow"] == 1)
        live.until(lambda: _age(live) > 2.0)  # it grows older, and is not told again
        assert live.log().count("slow.request") == 1
        gate.release()
        assert whole(kept.read()) == "held n"
        assert live.log().count("slow.request") == 1


def _age(live: Whole) -> float:
    running = [one for worker in live.pool()["workers_list"] for one in worker["running"]]
    return max(one["age_s"] for one in running)


def test_slow_request_is_written_with_its_id(tmp_path: Path) -> None:
    """Issue, item 6: the id that the front server gave, also in status and ctl stacks."""
    with whole_daemon(tmp_path, *SLOW) as live, live.kept() as kept:
        gate = live.gate("n")
        kept.send("/hold/n?q=1", **{"X-Request-Id": "abc-123"})
        gate.entered()
        assert entry(live)[0].endswith(" s, id abc-123")
        running = [one for row in live.pool()["workers_list"] for one in row["running"]]
        assert [one["id"] for one in running] == ["abc-123"]
        assert "(id abc-123)" in live.cli("ctl", "stacks").stdout
        gate.release()
        assert whole(kept.read()) == "held n"


def test_slow_request_in_c_code_that_keeps_the_gil(tmp_path: Path) -> None:
    """Issue, item 6: also when it hangs in C code."""
    with whole_daemon(tmp_path, *SLOW) as live:
        with contextlib.closing(live.send("/backtrack/34")):
            lines = entry(live)
            assert "GET /backtrack/34 has run for" in lines[0], lines
            assert any("re.match(" in line and "in application" in line for line in lines), lines
            stuck = int(re.findall(r"pid (\d+)", lines[0])[0])
            assert live.get("/version") == "one"
            os.kill(stuck, signal.SIGKILL)
        live.gone(stuck)
        assert live.log().count("slow.request") == 1


def test_fast_requests_are_not_in_the_slow_log(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, "--slowlog-timeout", "5") as live:
        for _ in range(20):
            live.get("/nap/0.02")
        assert live.pool()["slow"] == 0
        assert "slow." not in live.log()


def test_slow_log_has_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "slow"
    with whole_daemon(tmp_path, *SLOW, "--slowlog", str(file)) as live:
        gate = live.gate("n")
        with contextlib.closing(live.send("/hold/n")):
            gate.entered()
            live.until(lambda: "slow.stack" in file.read_text())
            os.rename(file, tmp_path / "slow.1")
            live.ctl("reopen-logs")
            live.until(file.exists)
            gate.release()
        assert "slow.request" not in live.log()


def test_ctl_stacks_shows_all_threads(tmp_path: Path) -> None:
    """Issue, item 6, also of a worker that keeps the GIL."""
    with whole_daemon(tmp_path) as live, contextlib.ExitStack() as stack:
        gates = [live.gate(f"n{number}") for number in range(3)]
        for number, gate in enumerate(gates):
            stack.enter_context(contextlib.closing(live.send(f"/hold/n{number}")))
            gate.entered()
        stuck = stack.enter_context(live.kept())
        stuck.send("/backtrack/34")
        live.until(lambda: live.pool()["busy"] == 4)
        done = live.cli("ctl", "stacks")
        assert done.returncode == 0, done
        for pid in live.workers():
            assert f"pid {pid} ready" in done.stdout
        for number in range(3):
            assert f"GET /hold/n{number} for " in done.stdout
        assert "GET /backtrack/34 for " in done.stdout
        assert "did not answer" not in done.stdout
        assert done.stdout.count(" in hold: ") == 3, done.stdout
        for pid in live.workers():
            os.kill(pid, signal.SIGKILL)


def test_status_counts(tmp_path: Path) -> None:
    """Issue, item 7: requests, failed, busy threads, what waits, pids, the request of now."""
    with whole_daemon(tmp_path, workers=2, threads=2, faults=True) as live:
        for _ in range(17):
            live.get("/pid")
        for _ in range(3):
            assert live.ask("/fail").status == 500
        live.until(lambda: live.pool()["requests"] == 20)
        live.until(lambda: live.pool()["failed"] == 3)
        with contextlib.ExitStack() as stack:
            gates = [live.gate(f"n{number}") for number in range(4)]
            for number, gate in enumerate(gates):
                stack.enter_context(contextlib.closing(live.send(f"/hold/n{number}")))
                gate.entered()
            waits = [stack.enter_context(contextlib.closing(live.send("/pid"))) for _ in range(5)]
            pool = live.pool()
            assert pool["busy"] == 4
            lines = {one["line"] for row in pool["workers_list"] for one in row["running"]}
            assert lines == {f"GET /hold/n{number}" for number in range(4)}
            live.until(lambda: _waiting(live) == 5)
            shown = live.cli("status").stdout
            assert "GET /hold/n3" in shown
            top = live.cli("top", "--once").stdout
            assert "GET /hold/n3" in top
            for gate in gates:
                gate.release()
            assert [answer(sock).status for sock in waits] == [200] * 5
        live.until(lambda: live.pool()["requests"] == 29)
        live.until(lambda: live.pool()["busy"] == 0)
        # the counts of workers that are gone stay
        live.ctl("reload")
        live.settled(2)
        assert live.pool()["requests"] == 29
        assert live.pool()["failed"] == 3
        told = json.loads(live.cli("status", "--json").stdout)
        assert told["pools"]["main"]["requests"] == 29
        live.until(lambda: all(row["rss"] > 0 for row in live.pool()["workers_list"]))


def _waiting(live: Whole) -> int:
    pool = live.pool()
    return pool["waiting"] + sum(bind["queued"] or 0 for bind in pool["binds"])


def ask_from(live: Whole, target: str, peer: str) -> wires.Resp:
    """A request whose client has this address, as the front server tells."""
    pairs = [
        (name, peer if name == "REMOTE_ADDR" else value)
        for name, value in wires.variables(wires.Req("GET", target), "")
    ]
    with contextlib.closing(live.connect()) as sock:
        sock.sendall(wires.fastcgi_bytes(pairs, b""))
        return answer(sock)


def test_status_and_ping_pages_over_fastcgi(tmp_path: Path) -> None:
    """Issue, item 7: for nginx, HAProxy and cgi-fcgi."""
    with whole_daemon(tmp_path, *PAGES) as live:
        resp = ask_from(live, "/fpm-ping", "127.0.0.1")
        assert (resp.status, resp.body.strip()) == (200, b"pong")
        shown = ask_from(live, "/fpm-status", "127.0.0.1")
        assert shown.status == 200
        assert b"ready workers: 2" in shown.body
        told = json.loads(ask_from(live, "/fpm-status?json&full", "127.0.0.1").body)
        assert told["workers"]["ready"] == 2
        assert {row["pid"] for row in told["workers_list"]} == set(live.workers())


@pytest.mark.parametrize("peer", ["192.0.2.7", "2001:db8::7", "", "unix:"])
def test_status_and_ping_pages_are_denied_to_others(tmp_path: Path, peer: str) -> None:
    with whole_daemon(tmp_path, *PAGES) as live:
        for target in ("/fpm-status", "/fpm-ping", "/fpm-status?full&json", "//fpm-ping"):
            resp = ask_from(live, target, peer)
            if target.startswith("//"):  # another path: the application's
                assert b"pong" not in resp.body
                continue
            if (target, peer) == ("/fpm-ping", ""):  # a health check, which has no client
                assert (resp.status, resp.body) == (200, b"pong\n")
                continue
            assert resp.status == 403, (target, resp)
            assert b"pong" not in resp.body
            assert b"worker" not in resp.body
        assert live.get("/version") == "one"


def test_pages_are_not_there_by_default(tmp_path: Path) -> None:
    with whole_daemon(tmp_path) as live:
        assert ask_from(live, "/fpm-status", "127.0.0.1").body.isdigit()  # the application's


def test_ping_tells_by_its_exit_code(tmp_path: Path) -> None:
    """Issue, item 7: 0 ready, also when every worker is stuck; 1 nobody ready; 7 no daemon."""
    with whole_daemon(tmp_path, workers=1, threads=1, faults=True) as live:
        assert live.cli("ping").returncode == 0
        gate = live.gate("n")
        with contextlib.closing(live.send("/hold/n")):
            gate.entered()
            done = live.cli("ping")
            assert done.returncode == 0, done
            assert "1 of 1 workers ready" in done.stdout
            gate.release()
        importing = live.gate("importing")
        live.write("open('importing').read()\n")
        (victim,) = live.workers()
        os.kill(victim, signal.SIGKILL)
        importing.entered()
        done = live.cli("ping")
        assert done.returncode == 1, done
        assert not alive(victim)
        live.version("second")
    done = live.cli("ping")
    assert done.returncode == 7, done


def test_ping_of_a_pool_on_demand_that_nobody_has_asked(tmp_path: Path) -> None:
    """It has no worker, and is well."""
    options = ("--pm", "ondemand", "--process-idle-timeout", "1")
    with whole_daemon(tmp_path, *options, workers=2, ready=False) as live:
        live.until_log("listening on")
        live.until(lambda: live.ctl("ping")["ok"])
        done = live.cli("ping")
        assert done.returncode == 0, done
        assert live.get("/version") == "one"
        assert live.cli("ping").returncode == 0

"""What a daemon does for ASGI applications: boot, time limits, logs, routes, pages."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from gatebridge.serve.aio_loop import AioLoop
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.worker_log import LEVELS, WorkerLog
from tests.serve.aio_live import APP, aio
from tests.serve.gated import answer
from tests.serve.service import Service
from tests.suite import wires
from tests.suite.modes import environment, wait_until


def test_an_application_that_takes_too_long_is_answered_504_and_its_stack_logged(tmp_path):
    with aio(tmp_path, "--timeout", "1") as live:
        worker = live.workers()
        found = live.get("/hold/late")
        assert found.status == 504
        live.until_log("request.timeout")
        assert "in hold" in live.log()
        assert "await event(name).wait()" in live.log()
        live.noted("hold late cancelled")
        assert live.workers() == worker


def test_a_task_that_cannot_be_cancelled_costs_its_worker(tmp_path):
    with aio(tmp_path, "--timeout", "1", "--graceful-timeout", "1", entry="shop:stubborn") as live:
        first = live.workers()
        assert live.get("/stubborn").status == 504
        live.until(lambda: live.workers() and live.workers() != first)
        assert json.loads(live.ask("/")) not in first


def test_a_blocked_loop_is_ended_by_the_supervisor(tmp_path):
    with aio(tmp_path, "--timeout", "1", "--graceful-timeout", "1") as live:
        first = live.workers()
        gate = live.gate("fifo")
        with live.send("/blocking/fifo"):
            gate.entered()
            live.until(lambda: live.workers() and live.workers() != first)
        live.until_log("request.hung")


def test_the_slow_log_shows_where_a_task_waits(tmp_path):
    with aio(tmp_path, "--slowlog-timeout", "0.2") as live:
        with live.send("/hold/slow"):
            live.until_log("slow.request main/0/")
            live.until_log("in hold: await event(name).wait()")
            live.until_log("in wait: await fut")
            live.go("slow")


def test_the_slow_log_shows_what_blocks_the_loop(tmp_path):
    with aio(tmp_path, "--slowlog-timeout", "0.2") as live:
        gate = live.gate("fifo")
        with live.send("/blocking/fifo") as sock:
            gate.entered()
            live.until_log("in blocking: fifo.read()")
            gate.release()
            assert answer(sock).body == b"unblocked"


def test_requests_are_on_the_scoreboard_while_they_run(tmp_path):
    with aio(tmp_path) as live:
        with live.send("/hold/board"):
            live.until(lambda: live.pool()["workers_list"][0]["running"])
            assert live.pool()["workers_list"][0]["running"][0]["line"] == "GET /hold/board"
            live.go("board")
            live.until(lambda: not live.pool()["workers_list"][0]["running"])
        live.until(lambda: live.pool()["requests"] >= 2)


def test_startup_that_fails_keeps_the_daemon_from_serving(tmp_path):
    live = Service(tmp_path, "shop:refusing", "--bind", "unix:s", app=APP, wait=False)
    try:
        assert wait_until(lambda: live.process.poll() is not None)
        assert "lifespan.failed" in live.log()
        assert "no database" in live.log()
    finally:
        live.stop()


def test_an_application_without_lifespan_is_served(tmp_path):
    with aio(tmp_path, entry="shop:stubborn") as live:
        assert int(live.ask("/")) in live.workers()
        live.until_log("is served without lifespan: RuntimeError: no lifespan here")


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["each", "preloaded"])
def test_workers_begin_and_end_their_lifespans(tmp_path, preload):
    with aio(tmp_path, "--workers", "2", *preload) as live:
        live.settled(2)
        assert "'began': 'yes'" in live.ask("/scope")
    assert (tmp_path / "ended").read_text() == "shutdown\n" * 2


def test_what_the_application_left_running_is_cancelled_behind_its_lifespan(tmp_path):
    with aio(tmp_path) as live:
        assert live.ask("/task/kept") == "begun"
    assert (tmp_path / "ended").read_text() == "shutdown\ncancelled\n"


@pytest.mark.parametrize(("kind", "module"), [("asyncio", "asyncio."), ("uvloop", "uvloop")])
def test_the_event_loop_is_chosen(tmp_path, kind, module):
    with aio(tmp_path, "--loop", kind) as live:
        assert json.loads(live.ask("/loop")).startswith(module)
        assert live.ask_over("fastcgi", "/echo", b"x" * 300_000).status == 200


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_peer_that_sends_on_and_leaves_without_its_answer_is_noticed(tmp_path, kind):
    """uvloop tells of an error once; the read that follows finds what came before it."""
    with aio(tmp_path, "--loop", kind) as live:
        (worker,) = live.workers()
        before = len(os.listdir(f"/proc/{worker}/fd"))
        with live.open("fastcgi") as sock:
            sock.sendall(live.data("fastcgi", "/hello"))
            sock.recv(1, socket.MSG_PEEK)
            live.until(lambda: live.ask("/pid"), "the answer is out, whole")
            os.kill(worker, signal.SIGSTOP)
            sock.sendall(b"\1\5\0\1\0\0\0\0")  # the end of a body that was at its end already
        os.kill(worker, signal.SIGCONT)
        live.until(lambda: len(os.listdir(f"/proc/{worker}/fd")) == before, "still open")


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_no_application_leaves_the_event_loop(tmp_path, kind):
    with aio(tmp_path, "--loop", kind) as live:
        worker = live.workers()
        for how in ("task", "callback", "stop"):
            assert live.ask(f"/leave/{how}") == "answered"
            assert live.ask("/hello") == "hello"
        assert live.workers() == worker
        live.until(lambda: live.log().count("which goes on") == 3)


def test_routes_status_and_refusals_stand_before_an_application(tmp_path):
    words = ("--mount", "/two=shop:app", "--status-path", "/status", "--ping-path", "/ping")
    with aio(tmp_path, *words, "--status-allow", "*") as live:
        assert live.ask("/ping") == "pong\n"
        assert "pool: main" in live.ask("/status")
        told = json.loads(live.ask("/two/scope"))
        assert told["root_path"] == "'/two'"
        assert told["path"] == "'/two/scope'"


def test_a_path_without_application_is_a_404(tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "gatebridge.toml").write_text(
        '[server]\nbind = ["unix:s"]\n'
        '[[app]]\nmount = "/one"\ntarget = "shop:app"\n'
        '[[app]]\nmount = "/two"\ntarget = "shop:app"\n'
    )
    live = Service(tmp_path, "-c", "gatebridge.toml", app=APP)
    try:
        assert live.ask("/one/hello") == "hello"
        assert live.get("/three").status == 404
    finally:
        live.stop()


def test_a_worker_is_warmed_up_by_a_request(tmp_path):
    with aio(tmp_path, "--warmup", "/go/warm") as live:
        assert live.ask("/hold/warm") == "held warm"


def test_a_worker_is_replaced_after_so_many_requests(tmp_path):
    with aio(tmp_path, "--max-requests", "3") as live:
        first = live.workers()
        for _ in range(3):
            live.ask("/hello")
        live.until(lambda: live.workers() and live.workers() != first)


def test_what_an_application_prints_is_captured(tmp_path):
    app = APP.replace('raise ValueError("a failure")', 'print("printed"); raise ValueError("x")')
    with aio(tmp_path, "--capture-output", app=app) as live:
        live.get("/fail")
        live.until_log("printed")


def test_a_fcgi_script_serves_an_asgi_application(tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    script = "from shop import app; from gatebridge.dispatch import run; run(app)"
    listener = wires.socket.socket(wires.socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    with listener, (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=listener, stderr=log, cwd=tmp_path, env=environment(tmp_path),
        )  # fmt: skip
    try:
        with wires.connect(str(tmp_path / "s")) as sock:
            pairs = wires.variables(wires.Req("GET", "/pid"), "")
            sock.sendall(wires.fastcgi_bytes(pairs, b"", False))
            assert answer(sock).body == str(process.pid).encode()
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "ended").read_text() == "shutdown\n"
    assert os.path.getsize(tmp_path / "log") >= 0


def test_what_a_worker_asks_may_be_asked_in_the_loop_itself(tmp_path):
    """As where a task is overdue: whoever waited for the loop there would hold it up."""
    loop = AioLoop([], WorkerLog(LogFile(str(tmp_path / "log")), LEVELS["info"]), "asyncio", 1)
    loop.startup()
    try:

        async def ask() -> int:
            return loop.close_idle(True)

        assert loop.wait_for(ask()) == loop.close_idle(True) == 0
    finally:
        loop.stop()

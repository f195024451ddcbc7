"""Workers of class gevent. The rows of the suite run through one in suite/test_gevent.py."""

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.whole import Whole, alive, answer, request_bytes, whole
from tests.serve.whole import whole_daemon as daemon
from tests.suite.modes import ROOT, environment, wait_until

PROTOCOLS = ["", "scgi", "uwsgi", "http"]
APPLICATION = """
import os, re, socket, sys, threading, time

PATCHED = "gevent" in socket.socket.__module__
HERE = {}

def note(name, text="x"):
    with open(name, "a") as file:
        file.write(text)

def hold(name):
    note(name + ".in")
    while not os.path.exists(name + ".go"):
        time.sleep(0.005)

def hold_otherwise(name):
    hold(name)

def spin():
    while True:
        time.sleep(0.005)

def noted(name):
    try:
        spin()
    except BaseException as error:
        note(name, type(error).__name__)
        raise

def pieces(count):
    for _ in range(count):
        yield b"x" * 65536

class Endless:
    def __init__(self, name):
        self.name = name
    def __iter__(self):
        while True:
            yield b"x"
            time.sleep(0.005)
    def close(self):
        note(self.name)

def application(environ, start_response):
    what, _, name = (environ["PATH_INFO"] or environ["REQUEST_URI"]).strip("/").partition("/")
    body = b"here"
    if what == "together":
        here, all_here = HERE.setdefault(name, ([], threading.Event()))
        here.append(1)
        if len(here) == 200:
            all_here.set()
        body = str(all_here.wait(60)).encode()
    elif what == "hold":
        hold(name)
    elif what == "otherwise":
        hold_otherwise(name)
    elif what == "told":
        while not environ["gatebridge.gone"]():
            time.sleep(0.005)
        note(name)
    elif what == "noted":
        noted(name)
    elif what == "count":
        sum(range(10**10))
    elif what == "body":
        body = b"%d" % len(environ["wsgi.input"].read(*[int(size) for size in name.split()]))
    elif what == "says":
        body = repr((PATCHED, environ["wsgi.multithread"])).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if what == "big":
        return pieces(int(name))
    if what == "endless":
        return Endless(name)
    return [body]
"""


@contextlib.contextmanager
def gevent_daemon(folder: Path, *options: str, **more) -> Iterator[Whole]:
    with daemon(folder, "-k", "gevent", *options, workers=1, app=APPLICATION, **more) as live:
        yield live


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """For rows that leave it as it was. Each has names of its own."""
    with gevent_daemon(tmp_path_factory.mktemp("shared")) as live:
        yield live


def entered(live: Whole, name: str, count: int = 1) -> None:
    """Wait until so many requests are inside."""
    file = live.folder / f"{name}.in"
    assert wait_until(lambda: file.exists() and len(file.read_text()) >= count), live.log()


def let_go(live: Whole, name: str) -> None:
    (live.folder / f"{name}.go").touch()


def loaded(pid: int) -> bool:
    """Whether gevent is in a process."""
    return "gevent" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["plain", "preload"])
def test_workers_are_patched_before_the_application_is_imported(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with gevent_daemon(tmp_path, *options) as live:
        assert live.get("/says") == "(True, True)"
        assert loaded(live.workers()[0])
        assert not loaded(live.pid)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda name: name or "fastcgi")
def test_200_requests_wait_together_in_one_worker(shared: Whole, protocol: str) -> None:
    """Each waits for the last one to be inside, so they end only if all of them are at once."""
    with contextlib.ExitStack() as stack:
        socks = [shared.send(f"/together/200{protocol}", protocol) for _ in range(200)]
        for sock in socks:
            stack.enter_context(contextlib.closing(sock))
        assert {whole(answer(sock, protocol)) for sock in socks} == {"True"}


def test_multiplexed_requests_are_answered_as_they_end(shared: Whole) -> None:
    with shared.kept() as kept:
        for id, name in enumerate("abc", 1):
            kept.send(f"/hold/{name}", id)
        for name in "abc":
            entered(shared, name)
        kept.send("/here", 4)
        assert whole(kept.read(4)) == "here"
        for name in "cab":
            let_go(shared, name)
            assert whole(kept.read("abc".index(name) + 1)) == "here"


@pytest.mark.parametrize("path", ["/body", "/body/300000"], ids=["all", "sized"])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda name: name or "fastcgi")
def test_slow_uploads_hold_up_nobody(shared: Whole, protocol: str, path: str) -> None:
    live = shared
    with contextlib.ExitStack() as stack:
        data = request_bytes(path, protocol, b"b" * 300_000)
        slow = []
        for _ in range(5):
            sock = live.connect(protocol)
            slow.append(stack.enter_context(contextlib.closing(sock)))
            sock.sendall(data[:150_000])
        live.until(lambda: live.pool()["busy"] == 5, "the uploads are not in the application")
        assert whole(live.ask("/here", protocol)) == "here"
        for sock in slow:
            sock.sendall(data[150_000:])
            assert whole(answer(sock, protocol)) == "300000"


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda name: name or "fastcgi")
def test_slow_readers_hold_up_nobody(shared: Whole, protocol: str) -> None:
    live = shared
    with contextlib.ExitStack() as stack:
        slow = [live.send("/big/200", protocol) for _ in range(5)]
        for sock in slow:
            stack.enter_context(contextlib.closing(sock))
        live.until(lambda: live.pool()["busy"] == 5, "they are not sent to")
        assert whole(live.ask("/here", protocol)) == "here"
        for sock in slow:
            assert len(whole(answer(sock, protocol))) == 200 * 65536


@pytest.mark.parametrize("what", ["told", "endless"])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda name: name or "fastcgi")
def test_leaving_of_the_client_is_noticed(shared: Whole, protocol: str, what: str) -> None:
    name = f"seen-{what}-{protocol}"
    sock = shared.send(f"/{what}/{name}", protocol)
    shared.until(lambda: shared.pool()["busy"] == 1)
    sock.close()
    shared.until((shared.folder / name).exists, "it does not know")
    shared.until(lambda: shared.pool()["busy"] == 0)


@pytest.mark.parametrize("what", ["told", "endless"])
def test_abort_is_noticed(shared: Whole, what: str) -> None:
    with shared.kept() as kept:
        kept.send(f"/{what}/aborted-{what}")
        shared.until(lambda: shared.pool()["busy"] == 1)
        kept.raw(bytes((1, 2, 0, 1, 0, 0, 0, 0)))
        shared.until((shared.folder / f"aborted-{what}").exists, "it does not know")
        shared.until(lambda: shared.pool()["busy"] == 0)
        kept.send("/here", 2)
        assert whole(kept.read(2)) == "here"


def test_requests_beyond_worker_connections_wait_and_then_are_refused(tmp_path: Path) -> None:
    options = ("--worker-connections", "2", "--max-queue", "1")
    with gevent_daemon(tmp_path, *options) as live, contextlib.ExitStack() as stack:
        socks = [live.send("/hold/a") for _ in range(2)]
        entered(live, "a", 2)
        socks.append(live.send("/hold/a"))
        live.until(lambda: live.pool()["waiting"] == 1, "the third does not wait")
        assert live.ask("/here").status == 503
        live.until_log("queue.full")
        let_go(live, "a")
        for sock in socks:
            stack.enter_context(contextlib.closing(sock))
            assert whole(answer(sock)) == "here"


def test_request_over_time_limit(tmp_path: Path) -> None:
    """Its greenlet gets the exception, its neighbour ends, the log has where it was."""
    options = ("--timeout", "0.5", "--graceful-timeout", "20")
    with gevent_daemon(tmp_path, *options) as live:
        before = live.workers()
        resp = live.ask("/noted/raised")
        assert (resp.status, resp.cut) == (504, False), repr(resp)
        id = re.findall(rb"incident ([0-9a-f]{8})", resp.body)[0].decode()
        live.until_log(f"request.timeout incident {id} (GET /noted/raised)")
        assert re.search(rf"request.timeout {id} .*in spin\n", live.log())
        raised = tmp_path / "raised"
        assert wait_until(lambda: raised.exists() and raised.read_text() == "RequestTimeout")
        live.gone(before[0])
        live.until(lambda: live.get("/here") == "here")


def test_slow_log_shows_where_each_greenlet_is(tmp_path: Path) -> None:
    with gevent_daemon(tmp_path, "--slowlog-timeout", "0.3") as live:
        socks = [live.send("/hold/a"), live.send("/otherwise/a")]
        live.until_log("slow.request", 2)
        live.until_log(": time.sleep(0.005)", 2)
        lines = live.log().splitlines()
        places = re.findall(r"slow\.request (\S+) ", live.log())
        assert len(set(places)) == 2
        for place in places:
            stack = [line for line in lines if f"slow.stack {place} " in line]
            said = next(line for line in lines if f"slow.request {place} " in line)
            otherwise = any("in hold_otherwise: hold(name)" in line for line in stack)
            assert otherwise == ("/otherwise/" in said)
            assert any("in application: " in line for line in stack)
        let_go(live, "a")
        for sock in socks:
            assert whole(answer(sock)) == "here"
            sock.close()


def test_slow_log_of_code_that_holds_the_interpreter(tmp_path: Path) -> None:
    with gevent_daemon(tmp_path, "--slowlog-timeout", "0.3", "--timeout", "2", faults=True) as live:
        with contextlib.closing(live.send("/count")):
            live.until_log("no stack of its own; the worker's thread is in")
            live.until_log("in application: sum(")
            live.until_log("request.hung")


def test_stacks_by_ctl(shared: Whole) -> None:
    live = shared
    with contextlib.closing(live.send("/hold/d")) as sock:
        entered(live, "d")
        (worker,) = live.ctl("stacks")["workers"]
        (held,) = [one for one in worker["threads"] if one["line"] == "GET /hold/d"]
        assert held["name"] == "greenlet"
        assert any("in hold: time.sleep(0.005)" in call for call in held["calls"])
        let_go(live, "d")
        assert whole(answer(sock)) == "here"


def test_calls_without_a_place_on_the_scoreboard_run_out_of_time_too(tmp_path: Path) -> None:
    with gevent_daemon(tmp_path, "--timeout", "1.5") as live, contextlib.ExitStack() as stack:
        socks = [live.send("/hold/a") for _ in range(150)]
        for sock in socks:
            stack.enter_context(contextlib.closing(sock))
        assert {answer(sock).status for sock in socks} == {504}


@pytest.mark.parametrize("how", ["TERM", "reload"])
def test_requests_under_way_are_finished(tmp_path: Path, how: str) -> None:
    with gevent_daemon(tmp_path) as live, contextlib.ExitStack() as stack:
        socks = [live.send("/hold/a") for _ in range(20)]
        entered(live, "a", 20)
        upload = request_bytes("/body", "", b"b" * 100_000)
        socks.append(live.connect())
        socks[-1].sendall(upload[:50_000])
        live.until(lambda: live.pool()["busy"] == 21)
        before = live.workers()[0]
        if how == "TERM":
            live.signal(signal.SIGTERM)
            live.until(lambda: live.pool()["workers"]["draining"] == 1)
        else:
            live.ctl("reload")
            assert live.get("/here") == "here"
            assert alive(before)
        let_go(live, "a")
        socks[-1].sendall(upload[50_000:])
        for sock in socks:
            stack.enter_context(contextlib.closing(sock))
            assert whole(answer(sock)) in ("here", "100000")
        live.gone(before)
        if how == "TERM":
            assert live.wait() == 0


def test_idle_worker_sleeps(shared: Whole) -> None:
    """The watch goes to sleep, and what looks at deadlines and tells the supervisor is rare."""
    pid = shared.workers()[0]

    def wakes() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.findall(r"\nvoluntary_ctxt_switches:\s+(\d+)", status)[0])

    def rests() -> bool:
        before = wakes()
        subprocess.run(["sleep", "0.5"], check=True)
        return wakes() - before < 8  # ten and more while the watch looks

    shared.until(rests, "it does not rest")


def test_asynchronous_application_is_refused(tmp_path: Path) -> None:
    app = "async def application(scope, receive, send):\n    pass\n"
    done = Whole(tmp_path, "-k", "gevent", app=app, ready=False)
    try:
        assert done.wait() != 0
        assert "worker.class" in done.log()
    finally:
        done.stop()


def test_program_without_gevent_says_so(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['gevent'] = None\n"
        "from gatebridge.errors import ConfigError\n"
        "from gatebridge.serve.gevent_patch import patch\n"
        "try:\n    patch()\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("worker.gevent: ")
    assert "pip install 'gatebridge[gevent]'" in done.stdout

"""A daemon behind nginx under load: reloads, deaths and stops."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fronts import nginx
from tests.fronts.servers import Server, free_port, start
from tests.fronts.sites import Ground, Site, Sockets
from tests.serve.whole import Load, Whole, alive, children, whole_daemon
from tests.suite import wires

CLIENTS = 24
BROKEN = {
    "ModuleNotFoundError": "import no_such_name\n",
    "NameError": "def inner():\n    no_such_name()\n\ninner()\n",
    "SyntaxError": "def no_such_name(:\n",
    "ValueError": "raise ValueError('no_such_name')\n",
}


class Behind:
    """nginx on one port, before a daemon's FastCGI socket."""

    def __init__(self, live: Whole, kept: bool) -> None:
        self.live = live
        self.folder = live.folder / "nginx"
        self.folder.mkdir()
        self.make = nginx.kept if kept else nginx.fastcgi
        self.server: Server = start(self._start)
        self.port = self.server.ports[0]

    def _start(self) -> Server:
        sockets = Sockets(self.live.path, "", "", "", "", "")
        ground = Ground(free_port(), sockets, self.folder, self.folder, self.folder)
        inside = nginx.SPLIT_ROOT + nginx.SCRIPT_NAME + nginx.PATH_INFO
        site = Site("nginx-fastcgi-daemon", lambda g: self.make(g, "/", inside))
        return nginx.start([(site, ground)])

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.settimeout(60.0)
        return sock

    def send(self, target: str) -> socket.socket:
        sock = self.connect()
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return sock

    def ask(self, target: str) -> wires.Resp:
        with contextlib.closing(self.send(target)) as sock:
            return answer(sock)

    def client(self) -> "Browser":
        return Browser(self.connect, "GET /version HTTP/1.1\r\nHost: a\r\n\r\n")

    def poster(self) -> "Browser":
        """What it sends is never sent a second time by nginx."""
        head = "POST /version HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
        return Browser(self.connect, head + "12345")


def answer(sock: socket.socket) -> wires.Resp:
    got = bytearray()
    while data := sock.recv(65_536):
        got += data
    return wires.http_parse(bytes(got), "GET")


class Browser:
    """Asks again and again on its connection to nginx."""

    def __init__(self, connect: Callable[[], socket.socket], request: str) -> None:
        self.connect = connect
        self.request = request.encode()
        self.sock = connect()

    def __call__(self) -> str:
        self.sock.sendall(self.request)
        got = bytearray()
        while not wires.http_whole(got, "GET"):
            data = self.sock.recv(65_536)
            if not data:
                raise AssertionError(f"cut after {bytes(got)!r}")
            got += data
        resp = wires.http_parse(bytes(got), "GET")
        if resp.all("connection") == ["close"]:  # nginx does after 1,000 requests
            self.sock.close()
            self.sock = self.connect()
        assert resp.status == 200, repr(resp)
        return resp.body.decode()

    def close(self) -> None:
        self.sock.close()


@contextlib.contextmanager
def behind(folder: Path, kept: bool, *options: str, **more) -> Iterator[tuple[Whole, Behind]]:
    with whole_daemon(folder, *options, **more) as live:
        front = Behind(live, kept)
        try:
            yield live, front
        finally:
            front.server.stop()


KEPT = pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])


def load(front: Behind, count: int = CLIENTS) -> Load:
    return Load(*[front.client] * count)


def mixed(front: Behind, count: int = CLIENTS) -> Load:
    return Load(*[front.client, front.poster] * (count // 2))


@KEPT
def test_ten_reloads_under_load(tmp_path: Path, kept: bool) -> None:
    """Clauses, section 3, reload under load: 0 failed, and each version is seen."""
    with behind(tmp_path, kept) as (live, front):
        with load(front) as busy:
            for number in range(10):
                name = "v" * (number + 1)  # a .pyc file is told by its size, and by whole seconds
                live.version(name)
                assert live.ctl("reload")["ok"]
                busy.more(100)
                assert name in busy.answers
        assert busy.failed == []
        live.settled(2)
        assert live.status()["generation"] == 11


@KEPT
def test_ten_reloads_under_load_of_posts(tmp_path: Path, kept: bool) -> None:
    """nginx asks a second time for no POST, so none may be lost at the end of a connection."""
    with behind(tmp_path, kept) as (live, front):
        with Load(*[front.poster] * CLIENTS) as busy:
            for number in range(10):
                live.version("v" * (number + 1))
                assert live.ctl("reload")["ok"]
                busy.more(100)
        assert busy.failed == []


@KEPT
def test_recycled_workers_under_load_of_posts(tmp_path: Path, kept: bool) -> None:
    with behind(tmp_path, kept, "--max-requests", "200") as (live, front):
        with Load(*[front.poster] * CLIENTS) as busy:
            live.until(lambda: live.pool()["forks"] >= 10, "not replaced")
        assert busy.failed == []


@KEPT
def test_ten_hups_under_load(tmp_path: Path, kept: bool) -> None:
    """The same with signals and preload: the generations come from stems."""
    with behind(tmp_path, kept, "--preload") as (live, front):
        with mixed(front) as busy:
            for number in range(10):
                live.version("v" * (number + 1))
                before = live.status()["generation"]
                live.signal(signal.SIGHUP)
                live.until(lambda before=before: live.status()["generation"] > before)
                busy.more(100)
        assert busy.failed == []
        live.settled(2)


@KEPT
def test_worker_killed_under_load(tmp_path: Path, kept: bool) -> None:
    """Clauses, section 3, worker killed -9: only requests inside it fail, 0 others."""
    with behind(tmp_path, kept) as (live, front):
        victim, other = live.workers()
        gates = [live.gate(f"n{number}") for number in range(4)]
        held = [front.send(f"/held-pid/n{number}") for number in range(4)]
        for gate in gates:
            gate.entered()
        rows = {row["pid"]: len(row["running"]) for row in live.pool()["workers_list"]}
        inside = rows[victim]
        with load(front, 12) as busy:
            busy.more(100)
            os.kill(victim, signal.SIGKILL)
            live.until(lambda: len(live.workers()) == 2 and victim not in live.workers())
            busy.more(100)
        # of the load only what was inside it at that moment: no more than it had threads
        assert len(busy.failed) <= 4 - inside, busy.failed
        assert all("502" in text for text in busy.failed), busy.failed
        for gate in gates:
            gate.close()
        told = []
        for sock in held:
            with contextlib.closing(sock):
                told.append(answer(sock))
        assert [resp.status for resp in told].count(502) == inside, told
        assert {resp.body.decode() for resp in told if resp.status == 200} <= {str(other)}
        assert live.settled(2)


@KEPT
def test_term_with_eight_in_flight_and_four_queued(tmp_path: Path, kept: bool) -> None:
    """Figures of the issue: 12 answered. Exit status 0, the sockets are gone."""
    with behind(tmp_path, kept) as (live, front):
        gates = [live.gate(f"n{number}") for number in range(8)]
        held = [front.send(f"/hold/n{number}") for number in range(8)]
        for gate in gates:
            gate.entered()
        held += [front.send("/version") for _ in range(4)]
        live.until(lambda: queued(live) == 4, "not queued")
        live.signal(signal.SIGTERM)
        live.until_log("stop")
        for gate in gates:
            gate.release()
        told = []
        for sock in held:
            with contextlib.closing(sock):
                told.append(answer(sock))
        assert [resp.status for resp in told] == [200] * 12, told
        assert live.wait() == 0
        assert not os.path.exists(live.path)
        assert not os.path.exists(live.folder / "ctl")


def queued(live: Whole) -> int:
    pool = live.pool()
    return pool["waiting"] + sum(bind["queued"] or 0 for bind in pool["binds"])


def test_twenty_five_hups_in_half_a_second(tmp_path: Path) -> None:
    """Clauses, section 3, concurrent reload signals: exactly one live generation."""
    with behind(tmp_path, True) as (live, front):
        with mixed(front, 8) as busy:
            for number in range(25):
                live.signal(signal.SIGHUP)
                time.sleep(0.02 if number % 2 else 0.0)
            live.until(lambda: live.status()["reload"]["state"] == "ok")
            live.settled(2)
            live.until(lambda: len(children(live.pid)) == 2, "more than one generation")
            busy.more(100)
        assert busy.failed == []
        rows = live.pool()["workers_list"]
        assert len({row["generation"] for row in rows}) == 1, rows
        live.version("last")  # nothing of the 25 stands in the way of the next
        assert live.ctl("reload")["ok"]
        live.settled(2)
        assert front.ask("/version").body == b"last"


@pytest.mark.parametrize("error", BROKEN)
@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["each", "preload"])
def test_broken_new_code_changes_nothing(
    tmp_path: Path, preload: tuple[str, ...], error: str
) -> None:
    """Clauses, section 3: the old keeps serving, the exit status tells, with the traceback."""
    with behind(tmp_path, True, *preload, faults=True) as (live, front):
        before = live.workers()
        with mixed(front, 8) as busy:
            live.write(BROKEN[error])
            done = live.cli("ctl", "reload")
            assert done.returncode == 1, done
            assert error in done.stderr
            assert "no_such_name" in done.stderr
            assert 'served.py", line ' in done.stderr
            busy.more(100)
            status = live.status()
            assert status["reload"]["state"] == "failed"
            shown = status["reload"]["error"] + status["reload"]["traceback"]
            assert error in shown
            assert "no_such_name" in shown
            assert live.settled(2) == before
            live.version("mended")
            done = live.cli("ctl", "reload")
            assert done.returncode == 0, done
            busy.more(100)
        assert busy.failed == []
        assert "mended" in busy.answers
        assert live.status()["reload"]["state"] == "ok"


def test_new_code_that_dies_at_once_changes_nothing(tmp_path: Path) -> None:
    with behind(tmp_path, True, faults=True) as (live, front):
        before = live.workers()
        with load(front, 8) as busy:
            live.write("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
            done = live.cli("ctl", "reload")
            assert done.returncode == 1, done
            busy.more(100)
        assert busy.failed == []
        assert live.settled(2) == before


def test_warm_up_that_fails_changes_nothing(tmp_path: Path) -> None:
    with behind(tmp_path, True, "--warmup", "/version", faults=True) as (live, front):
        before = live.workers()
        with load(front, 8) as busy:
            live.write("def application(environ, start_response):\n    1 / 0\n")
            done = live.cli("ctl", "reload")
            assert done.returncode == 1, done
            assert "warm" in done.stderr, done
            busy.more(100)
        assert busy.failed == []
        assert live.settled(2) == before


def test_thousand_connects_at_once(tmp_path: Path) -> None:
    """Clauses, section 3, listen queue overflow: none is refused, each is answered."""
    with whole_daemon(tmp_path) as live:
        backlog = live.pool()["binds"][0]["backlog"]
        if backlog is not None and backlog < 1000:
            pytest.skip(f"net.core.somaxconn lets {backlog} wait")
        gates = [live.gate(f"n{number}") for number in range(8)]
        held = [live.send(f"/hold/n{number}") for number in range(8)]
        for gate in gates:
            gate.entered()
        socks = []
        try:
            for _ in range(1000):
                sock = socket.socket(socket.AF_UNIX)
                socks.append(sock)
                sock.setblocking(False)
                sock.connect(live.path)  # EAGAIN where the queue is full
            for gate in gates:
                gate.release()
            request = _version_request()
            for sock in socks:
                sock.settimeout(60.0)
                sock.sendall(request)
            assert all(_answered(sock) for sock in socks)
        finally:
            for sock in [*socks, *held]:
                sock.close()


def _version_request() -> bytes:
    return wires.fastcgi_bytes(wires.variables(wires.Req("GET", "/version"), ""), b"")


def _answered(sock: socket.socket) -> bool:
    got = b""
    while data := sock.recv(4096):
        got += data
    return b"one" in got


def test_hundred_clients_of_nginx_at_once(tmp_path: Path) -> None:
    with behind(tmp_path, True) as (live, front):
        socks = []
        try:
            socks += [front.connect() for _ in range(100)]
            for sock in socks:
                sock.sendall(b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert [answer(sock).status for sock in socks] == [200] * 100
        finally:
            for sock in socks:
                sock.close()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
def test_second_term_is_quick(tmp_path: Path, first: int) -> None:
    """Clauses, section 3: second TERM = now."""
    with whole_daemon(tmp_path, "--graceful-timeout", "600") as live:
        gate = live.gate("n")
        with contextlib.closing(live.send("/hold/n")):
            gate.entered()
            workers = live.workers()
            live.signal(first)
            live.until_log("stop")
            time.sleep(0.3)
            assert live.process.poll() is None
            live.signal(signal.SIGTERM)
            live.wait()
            assert not any(map(alive, workers))
            assert not os.path.exists(live.path)


def test_hup_during_stop(tmp_path: Path) -> None:
    """It stops all the same; the request under way is answered."""
    with whole_daemon(tmp_path) as live:
        gate = live.gate("n")
        with contextlib.closing(live.send("/hold/n")) as sock:
            gate.entered()
            live.signal(signal.SIGTERM)
            for _ in range(5):
                live.signal(signal.SIGHUP)
            time.sleep(0.3)
            gate.release()
            got = b""
            while data := sock.recv(4096):
                got += data
            assert b"held n" in got
        assert live.wait() == 0


def test_term_during_reload(tmp_path: Path) -> None:
    """The new generation never becomes ready; the old one answers what it has."""
    with whole_daemon(tmp_path) as live:
        gate, importing = live.gate("n"), live.gate("importing")
        with contextlib.closing(live.send("/hold/n")) as sock:
            gate.entered()
            live.write("open('importing').read()\n")
            live.signal(signal.SIGHUP)
            importing.entered()
            live.signal(signal.SIGTERM)
            gate.release()
            got = b""
            while data := sock.recv(4096):
                got += data
            assert b"held n" in got
        assert live.wait() == 0
        assert not os.path.exists(live.path)


@KEPT
def test_term_under_load_answers_what_it_took(tmp_path: Path, kept: bool) -> None:
    """Nobody whose request was taken is cut; after the end nginx says 502, and nothing else."""
    with behind(tmp_path, kept) as (live, front):
        with load(front, 8) as busy:
            busy.more(200)
            live.signal(signal.SIGTERM)
            assert live.wait() == 0
        assert all("502" in text for text in busy.failed), busy.failed[:5]
        log = (front.folder / "nginx-error.log").read_text()
        if not kept:  # one that is kept may end between two requests, and nginx asks elsewhere
            assert "prematurely closed" not in log, log[-2000:]
            assert "reset by peer" not in log, log[-2000:]


def test_upgrade_of_the_program_under_load(tmp_path: Path) -> None:
    """Clauses, section 3, binary upgrade: socket passed on; 0 failed."""
    with behind(tmp_path, True) as (live, front):
        with mixed(front, 8) as busy:
            for _ in range(3):
                before = live.workers()
                live.signal(signal.SIGUSR2)
                live.until(lambda before=before: not set(live.settled(2)) & set(before))
                busy.more(100)
        assert busy.failed == []

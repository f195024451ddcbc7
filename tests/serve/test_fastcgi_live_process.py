"""FastCGI and the daemon as a process: its queue, its peers' addresses, descriptor 0, TERM."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serve.fastcgi_peer import DEADLINE_S, Peer, Served, head, served
from tests.suite.modes import ROOT, environment, wait_until
from tests.wire.fastcgi_rows import GET, STDIN, rec, request

PROGRAM = ROOT / "cgi-bin" / "app.fcgi"
BIND = "fcgi://127.0.0.1:0"


# -- the queue


def test_F112_beyond_the_queue_on_one_connection(tmp_path: Path) -> None:
    """Two in all may be there; the third is refused by protocolStatus, and may come again."""
    with served(tmp_path, "--threads", "1", "--max-queue", "1") as daemon:
        with daemon.connect() as peer:
            peer.whole("/wait/one", id=1)
            assert daemon.noted("in one")
            peer.whole("/hello", id=2)
            peer.whole("/hello", id=3)
            answer = peer.answer(3)
            assert (answer.protocol, answer.out) == (2, b"")
            daemon.go("one")
            assert peer.answer(1).body == b"waited one"
            assert peer.answer(2).body == b"hello"
            assert peer.ask("/hello", id=3).body == b"hello"


def test_F112_beyond_the_queue_on_many_connections(tmp_path: Path) -> None:
    with served(tmp_path, "--threads", "1", "--max-queue", "2") as daemon:
        peers = [daemon.connect() for _ in range(20)]
        peers[0].whole("/wait/first")
        assert daemon.noted("in first")
        for peer in peers[1:]:
            peer.whole("/hello")
        refused = 0
        for peer in peers[3:]:  # one is inside, two wait; the others are told so, whoever they are
            if peer.sock.recv(1, socket.MSG_PEEK):
                refused += 1
        assert refused == 17
        daemon.go("first")
        answers = [peer.answer() for peer in peers]
        assert answers[0].body == b"waited first"
        busy = [a for a in answers if a.protocol == 2 or a.status.startswith("503 ")]
        assert len(busy) == 17
        assert all(a.protocol == 2 or ("Retry-After", "1") in a.headers for a in busy)
        assert sum(answer.body == b"hello" for answer in answers) == 2
        for peer in peers:
            assert peer.ask("/hello").body == b"hello"
            peer.close()


# -- FCGI_WEB_SERVER_ADDRS


@contextmanager
def listening(address: str | tuple[str, int]) -> Iterator[socket.socket]:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind(address)
        sock.listen(100)
        yield sock


ADDRS = [
    ("127.0.0.1", True, True),
    ("10.0.0.1,127.0.0.1", True, False),
    ("10.0.0.1", False, True),
    ("127.0.0.2,::1", False, False),
]


@pytest.mark.parametrize(("addresses", "admitted", "inherited"), ADDRS)
def test_F113_web_server_addresses(
    tmp_path: Path, addresses: str, admitted: bool, inherited: bool
) -> None:
    with listening(("127.0.0.1", 0)) as sock:
        more = {"bind": "fd://0", "stdin": sock} if inherited else {"bind": BIND}
        with served(tmp_path, FCGI_WEB_SERVER_ADDRS=addresses, **more) as daemon:
            address = sock.getsockname() if inherited else daemon.address
            with Peer(address) as peer:
                if admitted:
                    assert peer.ask("/hello").body == b"hello"
                else:
                    assert peer.closed()
                    assert peer.order == []


def test_F113_who_comes_by_no_network_is_not_in_the_list(tmp_path: Path) -> None:
    """The starter made the socket and set the list, and meant both."""
    path = str(tmp_path / "inherited")
    with listening(path) as sock:
        more = {"bind": "fd://0", "stdin": sock, "FCGI_WEB_SERVER_ADDRS": "127.0.0.1"}
        with served(tmp_path, **more), Peer(path) as peer:
            assert peer.closed()


def test_F113_nonsense_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"bind\.allow"):
        Served(tmp_path, bind=BIND, FCGI_WEB_SERVER_ADDRS="localhost,127.0.0.1")


# -- descriptor 0


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_F114_the_listener_on_descriptor_0(tmp_path: Path, family: str) -> None:
    path = str(tmp_path / "inherited")
    with listening(path if family == "unix" else ("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
        with served(tmp_path, bind="fd://0", stdin=sock):
            for _ in range(3):
                with Peer(address) as peer:
                    assert peer.ask("/mirror", body=b"hello").body == b"hello"
        assert family == "tcp" or os.path.exists(path)  # it is the starter's


def test_F114_a_descriptor_that_does_not_listen(tmp_path: Path) -> None:
    for given in socket.socketpair():
        with given, pytest.raises(AssertionError, match=r"bind\.fd|bind\.failed"):
            Served(tmp_path, bind="fd://0", stdin=given)
    with pytest.raises(AssertionError, match=r"bind\.fd|bind\.failed"):
        Served(tmp_path, bind="fd://0")


def test_F114_app_fcgi_finds_out_by_itself(tmp_path: Path) -> None:
    """With a listener on descriptor 0 it is FastCGI, else CGI."""
    env = environment(tmp_path)
    path = str(tmp_path / "fcgi")
    with listening(path) as sock:
        process = subprocess.Popen([sys.executable, PROGRAM], env=env, stdin=sock, cwd=tmp_path)
        with Peer(path) as peer:
            peer.send(request(*GET, ("SERVER_NAME", "h"), ("SERVER_PORT", "80"), flags=1))
            assert peer.answer().status == "200 OK"
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    cgi = {**env, **dict(GET), "GATEWAY_INTERFACE": "CGI/1.1", "SCRIPT_NAME": "", "PATH_INFO": "/"}
    run = [sys.executable, PROGRAM]
    for stdin in (subprocess.DEVNULL, subprocess.PIPE):
        done = subprocess.run(run, env=cgi, stdin=stdin, capture_output=True, timeout=DEADLINE_S)
        assert done.stdout.startswith(b"Status: 200 OK\r\n"), done


# -- the end


def test_F115_idle_it_ends_at_once(tmp_path: Path) -> None:
    daemon = Served(tmp_path)
    with daemon.connect() as idle, daemon.connect() as silent:
        assert idle.ask("/hello").body == b"hello"
        daemon.process.terminate()
        assert daemon.process.wait(5) == 0
        for peer in (idle, silent):
            assert peer.closed()
            assert peer.order == []
    assert not os.path.exists(str(daemon.address))


def test_F115_half_a_request_is_waited_for_as_long_as_ever(tmp_path: Path) -> None:
    daemon = Served(tmp_path, "--header-timeout", "0.5")
    with daemon.connect() as half:
        half.send(head("/hello")[:30])
        assert daemon.ask("/hello").body == b"hello"
        daemon.process.terminate()
        assert half.closed()
        assert half.order == []
        assert daemon.process.wait(DEADLINE_S) == 0


def test_F115_what_was_begun_is_finished(tmp_path: Path) -> None:
    """In the application, streaming, waiting for a thread, with half a body, in one connection."""
    daemon = Served(tmp_path, "--threads", "4")
    peers = [daemon.connect() for _ in range(8)]
    peers[0].whole("/wait/inside", flags=0)
    peers[1].whole("/held/inside")
    peers[2].start("/first/inside", ("CONTENT_LENGTH", "5"))
    peers[2].body(1, b"he", end=False)
    peers[3].whole("/wait/inside")
    assert wait_until(lambda: daemon.ledger.read_text().count("in inside\n") == 4)
    for peer in peers[4:]:
        peer.whole("/mirror", body=b"queued")
    daemon.process.terminate()
    assert wait_until(lambda: "stopping" in daemon.log())
    daemon.go("inside")
    peers[2].body(1, b"llo")
    bodies = [peer.answer().body for peer in peers]
    assert bodies[0] == bodies[3] == b"waited inside"
    assert bodies[1] == b"first\nsecond\n"
    assert bodies[2].startswith(b"first\n5 ")
    assert bodies[4:] == [b"queued"] * 4
    for peer in peers:
        assert peer.closed()
        peer.close()
    assert daemon.process.wait(DEADLINE_S) == 0
    assert not os.path.exists(str(daemon.address))


def test_F115_nobody_new_is_taken_while_it_drains(tmp_path: Path) -> None:
    daemon = Served(tmp_path)
    with daemon.connect() as peer:
        peer.whole("/wait/drain")
        assert daemon.noted("in drain")
        daemon.process.terminate()
        assert wait_until(lambda: not os.path.exists(str(daemon.address)))
        with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
            daemon.connect()
        daemon.go("drain")
        assert peer.answer().body == b"waited drain"
        assert peer.closed()
    assert daemon.process.wait(DEADLINE_S) == 0


def test_F115_requests_under_way_may_come_to_their_end(tmp_path: Path) -> None:
    """Half of the variables are here when TERM comes; the rest is on its way."""
    daemon = Served(tmp_path)
    data = head("/hello") + rec(STDIN, 1)
    with daemon.connect() as peer, daemon.connect() as other:
        peer.send(data[:40])
        other.whole("/wait/term")
        assert daemon.noted("in term")
        daemon.process.terminate()
        assert wait_until(lambda: "stopping" in daemon.log())
        peer.send(data[40:])
        assert peer.answer().body == b"hello"
        daemon.go("term")
        assert other.answer().body == b"waited term"
    assert daemon.process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_F115_a_second_signal_does_not_wait(tmp_path: Path, number: int) -> None:
    daemon = Served(tmp_path)
    with daemon.connect() as peer:
        peer.whole("/wait/forever")
        assert daemon.noted("in forever")
        daemon.process.terminate()
        assert wait_until(lambda: "stopping" in daemon.log())
        daemon.process.send_signal(number)
        status = 130 if number == signal.SIGINT else 0
        assert daemon.process.wait(DEADLINE_S) == status
        assert peer.closed()


def test_F115_the_time_to_drain_is_limited(tmp_path: Path) -> None:
    daemon = Served(tmp_path, "--graceful-timeout", "0.5")
    with daemon.connect() as peer:
        peer.whole("/wait/late")
        assert daemon.noted("in late")
        daemon.process.terminate()
        assert daemon.process.wait(DEADLINE_S) == 0
        assert peer.closed()
    assert "did not end in time" in daemon.log()

"""FastCGI to a running daemon: ABORT_REQUEST at every point of a request."""

import signal
from collections.abc import Iterator

import pytest

from tests.serve.fastcgi_peer import Peer, Served, served
from tests.wire.fastcgi_rows import KEEP, PARAMS, STDIN, begin, block, rec


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("a")) as daemon:
        yield daemon


def usable(peer: Peer, id: int = 1) -> bool:
    """The id is answered, and may be used again."""
    answer = peer.answer(id)
    assert answer.protocol == 0
    return peer.ask("/mirror", id=id, body=b"hello").body == b"hello"


@pytest.mark.parametrize("id", [1, 300])
def test_F088_F092_abort_before_the_end_of_stdin(live: Served, id: int) -> None:
    with live.connect() as peer:
        peer.start(f"/body/aborted{id}", ("CONTENT_LENGTH", "9"), id=id)
        peer.body(id, b"hello", end=False)
        peer.abort(id)
        assert usable(peer, id)


def test_F088_a_read_that_waits_is_told(live: Served) -> None:
    with live.connect() as peer:
        peer.start("/first/reader", ("CONTENT_LENGTH", "9"))
        assert peer.until(lambda: peer.out(1).endswith(b"first\n"))
        live.go("reader")
        peer.body(1, b"hello", end=False)
        peer.abort(1)
        assert usable(peer)
    assert live.noted("closed reader")


@pytest.mark.parametrize("ended", [True, False])
def test_F088_F090_abort_while_the_application_is_busy(live: Served, ended: bool) -> None:
    """It neither reads nor writes; its answer, whenever it comes, goes nowhere."""
    name = f"deaf{ended}"
    with live.connect() as peer:
        peer.start(f"/wait/{name}", ("CONTENT_LENGTH", "5"))
        if ended:
            peer.body(1, b"hello")
        assert live.noted(f"in {name}")
        peer.abort(1)
        assert usable(peer)
        live.go(name)
        assert peer.ask("/hello").body == b"hello"
        assert peer.order == []


def test_F089_abort_before_the_end_of_params(live: Served) -> None:
    with live.connect() as peer:
        for data in (b"", rec(PARAMS, 1, block(("A", "b"))), rec(PARAMS, 1, b"\xff\xff")):
            peer.send(begin(1, KEEP) + data + rec(2, 1))
            answer = peer.answer()
            assert (answer.app, answer.protocol, answer.out) == (0, 0, b"")
            peer.send(rec(PARAMS, 1) + rec(STDIN, 1))  # was under way
            assert peer.ask("/hello").body == b"hello"
    with live.connect() as peer:
        peer.send(begin(1, 0) + rec(2, 1))
        peer.answer()
        assert peer.closed()


@pytest.mark.parametrize("path", ["/endless/stream", "/flood/flood"])
def test_F090_abort_while_it_streams(live: Served, path: str) -> None:
    with live.connect() as peer:
        peer.whole(path)
        assert peer.until(lambda: len(peer.out(1)) > 1000)
        peer.abort(1)
        assert usable(peer)
    assert live.noted(f"closed {path.rpartition('/')[2]}")


@pytest.mark.parametrize("abort", [True, False])
def test_F065_F090_nothing_stands_inside_a_record(live: Served, abort: bool) -> None:
    """The daemon waits for room in the middle of a record; room and our record come at once."""
    with live.connect() as peer:
        for _ in range(5):
            peer.start("/flood/torn" if abort else "/big/5242880", ("CONTENT_LENGTH", "5"))
            assert peer.full()
            live.process.send_signal(signal.SIGSTOP)
            try:
                assert peer.receive()
                peer.send(rec(2, 1) if abort else rec(9, 0))
            finally:
                live.process.send_signal(signal.SIGCONT)
            if abort:
                assert usable(peer)
            else:
                assert len(peer.answer().body) == 5 << 20
                assert peer.management() == (10, 0, b"")
            assert peer.order == []


def test_F090_the_others_go_on(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/endless/a", id=1)
        peer.whole("/held/b", id=2)
        assert peer.until(lambda: peer.out(2).endswith(b"first\n") and peer.out(1) != b"")
        peer.abort(1)
        peer.answer(1)
        live.go("b")
        assert peer.answer(2).body == b"first\nsecond\n"
    assert live.noted("closed a")


def test_F091_abort_of_an_inactive_id(live: Served) -> None:
    with live.connect() as peer:
        peer.abort(1)
        peer.abort(0)
        peer.whole("/wait/inactive", id=2)
        assert live.noted("in inactive")
        peer.abort(3)
        live.go("inactive")
        assert peer.answer(2).body == b"waited inactive"
        peer.abort(2)
        assert peer.ask("/hello", id=2).body == b"hello"
        assert peer.order == []


def test_F092_aborted_and_asked_again_and_again(live: Served) -> None:
    with live.connect() as peer:
        for number in range(50):
            peer.start(f"/body/again{number}", ("CONTENT_LENGTH", "99999"))
            peer.body(1, bytes(number * 500), end=False)
            peer.abort(1)
            peer.answer()
        assert peer.ask("/hello").body == b"hello"
    assert live.calm()


def test_F092_abort_without_keep_conn_closes(live: Served) -> None:
    for path in ("/body/last", "/endless/last"):
        with live.connect() as peer:
            peer.start(path, ("CONTENT_LENGTH", "9"), flags=0)
            peer.abort(1)
            peer.answer()
            assert peer.closed()

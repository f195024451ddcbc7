"""FastCGI to a running daemon: management records, several requests at once, roles."""

import json
from collections.abc import Iterator

import pytest

from gatebridge.wire.events import Body, End, Event, Fault, Values
from gatebridge.wire.fastcgi_client import FastCGIClient
from tests.serve.fastcgi_peer import Peer, Served, head, served
from tests.wire.fastcgi_rows import (
    AUTHORIZER,
    DATA,
    FILTER,
    KEEP,
    PARAMS,
    STDIN,
    begin,
    block,
    pairs_of,
    rec,
    stream,
)

QUERY = block(("FCGI_MAX_CONNS", ""), ("FCGI_MAX_REQS", ""), ("FCGI_MPXS_CONNS", ""))
ENDED = bytes(8)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("m")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two threads, one request at a time on a connection."""
    options = ("--threads", "2", "--max-queue", "7", "--limit-connections", "99", "--no-multiplex")
    with served(tmp_path_factory.mktemp("n"), *options) as daemon:
        yield daemon


def values(peer: Peer, raw: bytes = QUERY) -> dict[str, str]:
    peer.send(rec(9, 0, raw))
    kind, _, content = peer.management()
    assert kind == 10
    return dict(pairs_of(content))


# -- management


def test_F060_F061_values(live: Served, narrow: Served) -> None:
    with live.connect() as peer:
        assert values(peer) == {
            "FCGI_MAX_CONNS": "4096",
            "FCGI_MAX_REQS": "520",
            "FCGI_MPXS_CONNS": "1",
        }
    with narrow.connect() as peer:
        assert values(peer) == {
            "FCGI_MAX_CONNS": "99",
            "FCGI_MAX_REQS": "9",
            "FCGI_MPXS_CONNS": "0",
        }


def test_F062_F063_unknown_names_and_none(live: Served) -> None:
    with live.connect() as peer:
        assert values(peer, block(("X", ""), ("FCGI_MPXS_CONNS", ""))) == {"FCGI_MPXS_CONNS": "1"}
        assert values(peer, block(("X", "y"))) == {}
        assert values(peer, b"") == {}
        assert peer.ask("/hello").body == b"hello"


def test_F064_F065_at_any_time(live: Served) -> None:
    data = head("/mirror", ("CONTENT_LENGTH", "5")) + stream(STDIN, 1, b"hello", 2)
    at = 0
    with live.connect() as peer:
        while at < len(data):
            assert values(peer)["FCGI_MPXS_CONNS"] == "1"
            end = at + 8 + int.from_bytes(data[at + 4 : at + 6], "big") + data[at + 6]
            peer.send(data[at:end])
            at = end
        assert peer.answer().body == b"hello"
        assert values(peer)["FCGI_MPXS_CONNS"] == "1"


@pytest.mark.parametrize("ended", [True, False])
def test_F065_F066a_while_the_application_works(live: Served, ended: bool) -> None:
    """On the very connection; also when the application leaves its body unread meanwhile."""
    name = f"asked{ended}"
    with live.connect() as peer:
        peer.start(f"/wait/{name}", ("CONTENT_LENGTH", "5"))
        if ended:
            peer.body(1, b"hello")
        assert live.noted(f"in {name}")
        for _ in range(3):
            assert values(peer)["FCGI_MPXS_CONNS"] == "1"
        live.go(name)
        assert peer.answer().body == f"waited {name}".encode()


def test_F066a_while_all_threads_are_busy(narrow: Served) -> None:
    peers = [narrow.connect() for _ in range(4)]
    idle = narrow.connect()
    assert idle.ask("/hello").body == b"hello"
    for number, peer in enumerate(peers[:2]):
        peer.whole(f"/wait/busy{number}")
        assert narrow.noted(f"in busy{number}")
    for peer in peers[2:]:
        peer.whole("/hello")  # they wait for a thread
    with narrow.connect() as fresh:
        for peer in (idle, fresh, *peers):
            for _ in range(3):
                assert values(peer)["FCGI_MAX_REQS"] == "9"
        narrow.go("busy0")
        narrow.go("busy1")
    assert [peer.answer().body for peer in peers] == [
        b"waited busy0", b"waited busy1", b"hello", b"hello"]  # fmt: skip
    for peer in (idle, *peers):
        peer.close()


@pytest.mark.parametrize("kind", [0, 12, 99, 255])
def test_F066_F067_unknown_types(live: Served, kind: int) -> None:
    with live.connect() as peer:
        for content in (b"", b"abc", begin(9), bytes(60_000)):
            peer.send(rec(kind, 0, content, 3))
            assert peer.management() == (11, 0, bytes((kind, 0, 0, 0, 0, 0, 0, 0)))
        assert peer.ask("/hello").body == b"hello"


@pytest.mark.parametrize("kind", [0, 12, 99, 255])
def test_F068_unknown_types_inside_a_request(live: Served, kind: int) -> None:
    with live.connect() as peer:
        peer.send(begin(1, KEEP) + rec(kind, 1, b"abc", 1))
        peer.send(head("/mirror", ("CONTENT_LENGTH", "5"))[16:] + rec(kind, 1, begin(9)))
        peer.send(rec(STDIN, 1, b"he") + rec(kind, 1) + rec(STDIN, 1, b"llo") + rec(STDIN, 1))
        assert peer.answer().body == b"hello"
        assert peer.order == []


# -- roles


def test_F070_F071_F072_unknown_roles(live: Served) -> None:
    with live.connect() as peer:
        for role in (99, 0, 4, 0x0100, 0xFFFF):
            peer.send(head("/hello", role=role) + rec(STDIN, 1))
            answer = peer.answer()
            assert (answer.protocol, answer.app, answer.out) == (3, 0, b"")
        assert peer.ask("/hello").body == b"hello"
    with live.connect() as peer:
        peer.send(begin(1, 0, 99))
        assert peer.answer().protocol == 3
        assert peer.closed()


@pytest.mark.parametrize("stdin", [b"", rec(STDIN, 1), stream(STDIN, 1, b"unasked")])
def test_F073_F073a_authorizer(live: Served, stdin: bytes) -> None:
    with live.connect() as peer:
        for name, status in (("ok", "200 OK"), ("denied", "403 Forbidden")):
            raw = block(("REQUEST_METHOD", "GET"), ("REQUEST_URI", f"/role/{name}"))
            peer.send(begin(1, KEEP, AUTHORIZER) + stream(PARAMS, 1, raw) + stdin)
            answer = peer.answer()
            assert answer.status == status
            assert [(n, v) for n, v in answer.headers if n.startswith("Variable-")] == [
                ("Variable-AUTH_METHOD", "test"), ("Variable-N", "2")]  # fmt: skip
            assert json.loads(answer.body) == ["authorizer", "GET"]


def told(answer: bytes) -> list[str]:
    return [line.split(" ")[0] for line in answer.decode().split("\n")[:3]]


def test_F074_F074a_filter(live: Served) -> None:
    large = bytes(range(256)) * 12_000
    with live.connect() as peer:
        for stdin, data in ((b"", b""), (b"form", b"file"), (b"", large), (large, large)):
            pairs = [("CONTENT_LENGTH", str(len(stdin))), ("FCGI_DATA_LENGTH", str(len(data)))]
            peer.start("/data", *pairs, role=FILTER)
            peer.body(1, stdin)
            peer.body(1, data, DATA)
            body = peer.answer().body
            assert told(body) == ["filter", str(len(stdin)), str(len(data))]
            assert body.endswith(f"{len(data)} of {len(data)}".encode())


def test_F074a_less_data_than_was_said(live: Served) -> None:
    with live.connect() as peer:
        peer.start("/data", ("FCGI_DATA_LENGTH", "9"), role=FILTER)
        peer.body(1, b"")
        peer.body(1, b"file", DATA)
        assert peer.answer().body.endswith(b"4 of 9")
    with live.connect() as peer:
        peer.start("/data/gone", ("FCGI_DATA_LENGTH", "9"), role=FILTER)
        peer.body(1, b"")
        peer.body(1, b"file", DATA, end=False)
    assert live.noted("data gone ConnectionResetError")


def test_F074a_the_streams_may_end_in_any_order(live: Served) -> None:
    with live.connect() as peer:
        for early in (False, True):
            data = head("/data", ("CONTENT_LENGTH", "2"), role=FILTER)
            ends = rec(DATA, 1)
            peer.send(data[:16] + ends + data[16:] if early else data + ends)
            peer.send(stream(STDIN, 1, b"ab"))
            assert told(peer.answer().body) == ["filter", "2", "0"]


def test_F075_data_of_a_responder(live: Served) -> None:
    with live.connect() as peer:
        peer.start("/mirror", ("CONTENT_LENGTH", "5"))
        peer.send(rec(DATA, 1, b"no"), rec(STDIN, 1, b"he"), stream(DATA, 1, b"no"))
        peer.send(stream(STDIN, 1, b"llo"))
        assert peer.answer().body == b"hello"


# -- ids


def test_F080_ids_are_echoed(live: Served) -> None:
    with live.connect() as peer:
        for id in (255, 256, 0x1234, 65_535):
            assert peer.ask("/mirror", id=id, body=b"hello").body == b"hello"


def test_F081_F082_strays_have_no_effect(live: Served) -> None:
    with live.connect() as peer:
        peer.start("/mirror", ("CONTENT_LENGTH", "5"), id=3)
        for id in (0, 1, 2, 4, 300):
            peer.send(rec(STDIN, id, b"no"), rec(STDIN, id), stream(PARAMS, id, block(("A", "b"))))
        peer.body(3, b"hello")
        assert peer.answer(3).body == b"hello"
        before = live.kib()
        for id in range(4, 2000):
            peer.send(rec(STDIN, id, bytes(5_000)))
        assert peer.ask("/hello").body == b"hello"
        assert live.kib() - before < 4096
        assert peer.order == []


def test_F083_several_at_once_in_any_order(live: Served) -> None:
    names = ["one", "two", "three", "four"]
    with live.connect() as peer:
        for id, name in enumerate(names, 1):
            peer.whole(f"/wait/{name}", id=id)
        for name in names:
            assert live.noted(f"in {name}")
        for id in (3, 1, 4, 2):
            live.go(names[id - 1])
            assert peer.answer(id).body == f"waited {names[id - 1]}".encode()
        assert peer.order == []


@pytest.mark.parametrize("path", ["/first/reading", "/wait/unreading"])
def test_F083_one_whose_body_waits_holds_up_no_other(live: Served, path: str) -> None:
    """The first is inside its application, reading or not, with STDIN still open."""
    name = path.rpartition("/")[2]
    with live.connect() as peer:
        peer.start(path, ("CONTENT_LENGTH", "5"), id=1)
        assert live.noted(f"in {name}")
        if name == "reading":
            live.go(name)
        for id in (2, 3):
            peer.whole("/mirror", id=id, body=b"others")
            assert peer.answer(id).body == b"others"
        live.go(name)
        peer.body(1, b"hello")
        assert peer.answer(1).status == "200 OK"


def test_F083_F085_our_own_client(live: Served) -> None:
    """Requests, a query and an ABORT by wire.fastcgi_client, all on one connection."""
    client = FastCGIClient()
    bodies = {id: bytes([id]) * 40_000 for id in range(1, 6)}
    wire: list[bytes | memoryview] = client.get_values(["FCGI_MPXS_CONNS"])
    for id, body in bodies.items():
        vars = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/echo/client"), ("SCRIPT_NAME", "")]
        wire += client.request([*vars, ("CONTENT_LENGTH", str(len(body)))], id, keep=True)
    for id, body in bodies.items():
        wire += client.send_body(id, body[:30_000])
    wire += client.abort(5)
    for id in (4, 2, 1, 3):
        wire += client.send_body(id, bodies[id][30_000:]) + client.send_body_end(id)
    events: list[Event] = []
    with live.connect() as peer:
        peer.send(*[bytes(piece) for piece in wire])
        while client.active:
            events += client.receive(peer.sock.recv(65_536))
    assert Values({"FCGI_MPXS_CONNS": "1"}) in events
    assert not [event for event in events if isinstance(event, Fault)]
    for id in (1, 2, 3, 4):
        found = [event.data for event in events if isinstance(event, Body) and event.id == id]
        assert b"".join(found) == bodies[id]
        assert End(id) in events
    assert End(5) in events


def test_F084_refused_where_it_is_said_not_to_work(narrow: Served) -> None:
    with narrow.connect() as peer:
        peer.whole("/wait/alone", id=1)
        assert narrow.noted("in alone")
        peer.whole("/hello", id=2)
        answer = peer.answer(2)
        assert (answer.protocol, answer.out) == (1, b"")
        narrow.go("alone")
        assert peer.answer(1).body == b"waited alone"
        assert peer.ask("/hello", id=2).body == b"hello"


def test_F085_bodies_are_not_mixed(live: Served) -> None:
    bodies = {id: bytes([id]) * (30_000 * id) for id in range(1, 8)}
    with live.connect() as peer:
        for _ in range(3):
            for id, body in bodies.items():
                peer.start("/mirror", ("CONTENT_LENGTH", str(len(body))), id=id)
            for at in range(0, 210_000, 7_919):
                for id, body in bodies.items():
                    if at < len(body):
                        peer.send(rec(STDIN, id, body[at : at + 7_919], id))
            for id in bodies:
                peer.send(rec(STDIN, id))
            for id, body in bodies.items():
                assert peer.answer(id).body == body


def test_F086_an_id_that_is_active(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/wait/twice", id=1)
        assert live.noted("in twice")
        peer.whole("/hello", id=1)
        assert peer.closed()
        assert peer.order == []
    live.go("twice")
    assert live.ask("/hello").body == b"hello"
    assert live.calm()


def test_F087_id_zero_runs_nothing(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/wait/zero", id=0)
        peer.abort(0)
        assert peer.ask("/hello").body == b"hello"
        assert peer.order == []
    assert "in zero" not in live.ledger.read_text()

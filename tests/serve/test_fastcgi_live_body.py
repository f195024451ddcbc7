"""FastCGI to a running daemon: bodies both ways, the error stream, END_REQUEST's status."""

import hashlib
import threading
from collections.abc import Iterator

import pytest

from tests.serve.fastcgi_peer import Peer, Served, head, served
from tests.wire.fastcgi_rows import END, KEEP, STDERR, STDIN, STDOUT, rec, stream

LARGE = bytes(range(251)) * ((8 << 20) // 251 + 1)
LARGE = LARGE[: 8 << 20]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("b")) as daemon:
        yield daemon


def told(data: bytes) -> bytes:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode()


def lines(body: bytes) -> list[bytes]:
    return body.split(b"\n")


def in_step(peer: Peer) -> bool:
    """The connection still says what belongs to the request asked."""
    return peer.ask("/hello").body == b"hello"


# -- STDIN


@pytest.mark.parametrize("step", [65_535, 1])
def test_F040_F041_one_record_and_records_of_one_byte(live: Served, step: int) -> None:
    body = bytes(range(256)) * 20
    with live.connect() as peer:
        peer.send(head("/body", ("CONTENT_LENGTH", str(len(body)))) + stream(STDIN, 1, body, step))
        assert lines(peer.answer().body)[0] == told(body)
        assert in_step(peer)


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize(("step", "pad"), [(65_535, 0), (32_768, 7), (7_900, 0), (1_000, 255)])
def test_F042_F043_eight_mebibytes(live: Served, step: int, pad: int, length: bool) -> None:
    own = [("CONTENT_LENGTH", str(len(LARGE)))] if length else []
    with live.connect() as peer:
        peer.send(head("/body", *own) + stream(STDIN, 1, LARGE, step, pad))
        found = lines(peer.answer().body)
        assert found[:2] == [told(LARGE), b"short=False"]
        assert in_step(peer)


def test_F043_pauses_between_the_pieces(live: Served) -> None:
    with live.connect() as peer:
        peer.start("/body/pauses", ("CONTENT_LENGTH", "9"))
        for piece in (b"abc", b"def", b"ghi"):
            for part in (rec(STDIN, 1, piece, 5)[:4], rec(STDIN, 1, piece, 5)[4:]):
                assert live.ask("/hello").body == b"hello"  # meanwhile others are served
                peer.send(part)
        peer.send(rec(STDIN, 1))
        assert lines(peer.answer().body)[0] == told(b"abcdefghi")


def test_F044_surplus_is_not_seen(live: Served) -> None:
    for surplus in (b"!", b"!" * 100_000):
        with live.connect() as peer:
            peer.send(head("/body", ("CONTENT_LENGTH", "5")) + stream(STDIN, 1, b"hello" + surplus))
            assert lines(peer.answer().body)[:2] == [told(b"hello"), b"short=False"]
            assert in_step(peer)


def test_F045_F046a_a_short_stream_ends_and_says_so(live: Served) -> None:
    for step in (65_535, 1):
        with live.connect() as peer:
            peer.send(head("/body", ("CONTENT_LENGTH", "9")) + stream(STDIN, 1, b"hello", step))
            assert lines(peer.answer().body)[:2] == [told(b"hello"), b"short=True"]
            assert in_step(peer)


def test_F045_F046a_a_client_that_leaves_is_an_error(live: Served) -> None:
    """Whether STDIN's length is known or not; the application must not take half for a whole."""
    with live.connect() as peer:
        peer.send(head("/body/gone", ("CONTENT_LENGTH", "9")) + rec(STDIN, 1, b"hello"))
    assert live.noted("body gone ConnectionResetError")
    with live.connect() as peer:
        peer.send(head("/body/unknown") + rec(STDIN, 1, b"hello"))
    assert live.ask("/hello").body == b"hello"
    assert live.calm()  # the daemon is done with it
    assert "body unknown" not in live.ledger.read_text()


@pytest.mark.parametrize("text", ["", "0", "-1"])
def test_F046_no_length_is_no_body(live: Served, text: str) -> None:
    with live.connect() as peer:
        peer.send(head("/body", ("CONTENT_LENGTH", text)) + rec(STDIN, 1))
        found = lines(peer.answer().body)
        assert found[:2] == [told(b""), b"short=False"]
        assert in_step(peer)


ODD = ["abc", "-2", "100000000000000000000", "1e3", " 5", "5 ", "+5", "0x5", "5,5", "1_0", "\xb2"]


@pytest.mark.parametrize("text", ODD, ids=[repr(text) for text in ODD])
def test_F047_T9_lengths_that_are_none(live: Served, text: str) -> None:
    """Refused, or served without a body; never a hang, and the connection stays in step."""
    for body in (b"", b"hello", b"hello" * 40_000):
        with live.connect() as peer:
            peer.send(head("/body", ("CONTENT_LENGTH", text)) + stream(STDIN, 1, body))
            answer = peer.answer()
            assert answer.status.startswith("400 ") or lines(answer.body)[0] == told(b"")
            assert in_step(peer)


@pytest.mark.parametrize("flags", [0, KEEP])
def test_F048_F049_an_unread_mebibyte(live: Served, flags: int) -> None:
    body = bytes(1 << 20)
    with live.connect() as peer:
        for _ in range(3 if flags else 1):
            peer.whole("/unread", body=body, flags=flags)
            assert peer.answer().body == b"hello"
        assert in_step(peer) if flags else peer.closed()


def test_F048_unread_with_the_next_request_behind_it(live: Served) -> None:
    with live.connect() as peer:
        size = ("CONTENT_LENGTH", "100000")
        peer.send(head("/unread", size) + stream(STDIN, 1, bytes(100_000)) + head("/hello", id=2))
        peer.send(rec(STDIN, 2))
        assert peer.answer(1).body == b"hello"
        assert peer.answer(2).body == b"hello"


def test_F050_a_length_that_nobody_told(live: Served) -> None:
    for body in (b"hello", bytes(3 << 20)):
        with live.connect() as peer:
            own = ("HTTP_TRANSFER_ENCODING", "chunked")
            peer.send(head("/body", own) + stream(STDIN, 1, body, 8_000))
            found = lines(peer.answer().body)
            length = f"length={len(body)}".encode()
            assert found == [told(body), b"short=False", length, b"terminated=True"]


def test_F051_answered_before_stdin_ends(live: Served) -> None:
    body = b"x" * 200_000
    with live.connect() as peer:
        peer.start("/first/early", ("CONTENT_LENGTH", str(len(body))))
        assert peer.until(lambda: peer.out(1).endswith(b"first\n"))
        live.go("early")
        peer.body(1, body)
        assert peer.answer().body == b"first\n" + told(body)
        assert in_step(peer)


@pytest.mark.parametrize("length", ["0", "5"])
def test_F052_answered_without_any_stdin(live: Served, length: str) -> None:
    with live.connect() as peer:
        peer.start("/unread", ("CONTENT_LENGTH", length))
        assert peer.answer().body == b"hello"
        peer.body(1, b"hello")  # late, of an id that is inactive
        assert in_step(peer)


def test_F043_who_sends_all_before_reading_is_served(live: Served) -> None:
    """As mod_fcgid and Caddy do: the answer fills the socket while the body is still coming."""
    with live.connect() as peer:
        peer.whole("/echo/slow", body=LARGE[: 4 << 20])
        assert peer.answer().body == LARGE[: 4 << 20]
        assert in_step(peer)


def test_F043_who_was_slow_once_is_served_as_well_later(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/big/5242880")
        assert peer.full()
        assert len(peer.answer().body) == 5 << 20
        assert peer.ask("/echo/later", body=LARGE).body == LARGE


def test_F041_echoed_while_it_comes(live: Served) -> None:
    with live.connect() as peer:
        peer.start("/echo/piecewise", ("CONTENT_LENGTH", str(len(LARGE))))
        sending = threading.Thread(target=peer.body, args=(1, LARGE))
        sending.start()
        assert peer.answer().body == LARGE
        sending.join()
        assert in_step(peer)


# -- STDOUT and STDERR


def test_F120_five_megabytes_exact(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/big/5242880")
        assert peer.until(lambda: any(kind == END for kind, _, _ in peer.order))
        sizes = [len(content) for kind, _, content in peer.order if kind == STDOUT]
        assert max(sizes) <= 65_535
        assert sizes[-1] == 0
        answer = peer.answer()
        assert answer.body == bytes(range(256)) * 20_480
        assert dict(answer.headers)["Content-Length"] == "5242880"


def test_F121_a_slow_reader_gets_all(live: Served) -> None:
    """Nothing is read until the daemon has others to serve and has served them."""
    with live.connect() as slow:
        slow.whole("/big/5242880")
        for _ in range(10):
            assert live.ask("/hello").body == b"hello"
            assert slow.receive()
        assert slow.answer().body == bytes(range(256)) * 20_480


def test_F122_errors_go_beside_the_answer(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/errors/300", body=b"hello")
        answer = peer.answer()
        assert answer.errors == (b"e" * 99 + b"\n") * 3
        assert answer.body == told(b"hello")
        assert in_step(peer)


def test_F123_a_megabyte_of_errors(live: Served) -> None:
    with live.connect() as peer:
        answer = peer.ask("/errors/1000000", body=b"hello")
        assert len(answer.errors) == 1_000_000
        assert answer.body == told(b"hello")


@pytest.mark.parametrize("size", [1 << 20, 4 << 20])
def test_F123_a_megabyte_of_errors_while_the_body_is_sent(live: Served, size: int) -> None:
    """The peer reads when its body is out, and the application reads when its errors are."""
    body = LARGE[:size]
    with live.connect() as peer:
        peer.whole("/errors/1000000", body=body)
        answer = peer.answer()
        assert len(answer.errors) == 1_000_000
        assert answer.body == told(body)


def test_F124_ten_thousand_chunks_of_a_byte(live: Served) -> None:
    with live.connect() as peer:
        assert peer.ask("/chunks/10000").body == b"0123456789" * 1000
        assert in_step(peer)


@pytest.mark.parametrize("path", ["/endless/left", "/flood/over"])
def test_F125_the_peer_leaves_in_the_middle_of_an_answer(live: Served, path: str) -> None:
    with live.connect() as peer:
        peer.whole(path)
        assert peer.until(lambda: len(peer.out(1)) > 100)
    assert live.noted(f"closed {path.rpartition('/')[2]}")
    assert live.calm()


def test_F126_status_zero_on_success_and_after_a_clean_failure(live: Served) -> None:
    with live.connect() as peer:
        assert (peer.ask("/hello").app, peer.order) == (0, [])
        answer = peer.ask("/fails")
        assert answer.status.startswith("500 ")
        assert b"as asked" not in answer.body
        assert b"as asked" in answer.errors
        assert in_step(peer)


@pytest.mark.parametrize("flags", [0, KEEP])
def test_F126_an_answer_that_broke_off_is_no_success(live: Served, flags: int) -> None:
    with live.connect() as peer:
        peer.whole("/halfway", flags=flags)
        assert peer.closed()
        assert peer.out(1).endswith(b"\r\n\r\npartial")
        ends = [content for kind, _, content in peer.order if kind == END]
        assert all(int.from_bytes(content[:4], "big") and content[4] for content in ends)
        assert b"half-way, as asked" in peer.out(1, STDERR)


def test_F126_beside_another_request_it_ends_with_a_status(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/wait/neighbour", id=1)
        assert live.noted("in neighbour")
        peer.whole("/halfway", id=2)
        answer = peer.answer(2)
        assert answer.app != 0
        assert answer.protocol != 0
        live.go("neighbour")
        assert peer.answer(1).body == b"waited neighbour"

"""FastCGI to a running daemon: whole requests, kept connections, variables of every kind."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.serve.fastcgi_peer import Answer, Peer, Served, head, served
from tests.wire.fastcgi_rows import KEEP, PARAMS, STDIN, begin, block, pairs_of, rec, stream

HELLO = head("/hello") + rec(STDIN, 1)
DROP = head("/hello", flags=0) + rec(STDIN, 1)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("f"), "--header-timeout", "2") as daemon:
        yield daemon


def fine(answer: Answer, body: bytes = b"hello") -> bool:
    assert answer.status == "200 OK", answer
    assert answer.body == body, answer
    assert (answer.app, answer.protocol, answer.errors) == (0, 0, b""), answer
    return True


def variables(answer: Answer) -> list[list[str]]:
    assert answer.status == "200 OK", answer
    found = json.loads(answer.body)
    assert isinstance(found, list)
    return found


def test_F001_F002_F003_a_get_and_its_records(live: Served) -> None:
    with live.connect() as peer:
        peer.send(DROP)
        assert peer.closed()
        kinds = [kind for kind, _, _ in peer.order]
        assert kinds == [6, 6, 3]
        assert peer.order[1] == (6, 1, b"")
        assert peer.order[2] == (3, 1, bytes(8))
        assert fine(peer.answer())


def test_F003_nothing_comes_after_the_end(live: Served) -> None:
    with live.connect() as peer:
        assert fine(peer.ask("/hello", id=5))
        peer.send(rec(STDIN, 5, b"late"), rec(2, 5), rec(9, 0))
        assert peer.management() == (10, 0, b"")
        assert peer.order == []
        assert peer.silent()


def test_F004_F005_closed_or_kept(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/hello", flags=0)
        assert fine(peer.answer())
        assert peer.closed()
    with live.connect() as peer:
        assert fine(peer.ask("/hello"))
        assert fine(peer.ask("/hello"))
        assert not peer.eof


def test_F006_F007_ids_are_used_again(live: Served) -> None:
    with live.connect() as peer:
        for id in [7, 7, 7, *range(1, 101)]:
            assert fine(peer.ask("/hello", id=id))


def test_F008_the_flag_is_of_each_request(live: Served) -> None:
    with live.connect() as peer:
        assert fine(peer.ask("/hello"))
        peer.whole("/hello", id=2, flags=0)
        assert fine(peer.answer(2))
        assert peer.closed()


def test_F009_an_idle_connection_stays(live: Served) -> None:
    """Longer than the variables of a request may take: between requests that clock stands."""
    with live.connect() as peer:
        assert fine(peer.ask("/hello"))
        time.sleep(3.5)
        assert fine(peer.ask("/hello"))


def test_F010_other_flags_mean_nothing(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/hello", flags=0xFE)
        assert fine(peer.answer())
        assert peer.closed()
    with live.connect() as peer:
        peer.whole("/hello", flags=0xFF)
        assert fine(peer.answer())
        assert fine(peer.ask("/hello"))


@pytest.mark.parametrize("pad", [1, 7, 255])
def test_F011_padding_on_every_record(live: Served, pad: int) -> None:
    raw = block(("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/mirror"), ("CONTENT_LENGTH", "5"))
    data = begin(1, KEEP, pad=pad) + stream(PARAMS, 1, raw, 30, pad)
    data += stream(STDIN, 1, b"hello", 2, pad)
    with live.connect() as peer:
        for _ in range(2):
            peer.send(data)
            assert fine(peer.answer())


def test_F012_reserved_bytes(live: Served) -> None:
    data = bytearray(HELLO)
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 6], "big")
        data[at + 7] = 0xFF
        at += 8 + length
    data[11:16] = b"\xff" * 5
    with live.connect() as peer:
        peer.send(bytes(data))
        assert fine(peer.answer())


def test_F013_one_byte_a_write(live: Served) -> None:
    data = head("/mirror", ("CONTENT_LENGTH", "5")) + stream(STDIN, 1, b"hello", 2)
    with live.connect() as peer:
        peer.send(*(bytes((byte,)) for byte in data))
        assert fine(peer.answer())


def test_F014_headers_cut_from_their_content(live: Served) -> None:
    """Between two pieces somebody else is served, so that the daemon has seen the first alone."""
    raw = block(("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/mirror"), ("CONTENT_LENGTH", "5"))
    with live.connect() as peer:
        for record in (begin(1, KEEP), rec(PARAMS, 1, raw, 3), rec(PARAMS, 1),
                       rec(STDIN, 1, b"hello", 9), rec(STDIN, 1)):  # fmt: skip
            for piece in (record[:8], record[8:]):
                peer.send(piece)
                assert fine(live.ask("/hello"))
        assert fine(peer.answer())


# -- variables


def ask_raw(peer: Peer, raw: bytes, step: int = 65_535) -> Answer:
    own = block(("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/vars/X_"), ("SERVER_PROTOCOL", "x"))
    peer.send(begin(1, KEEP) + stream(PARAMS, 1, own + raw, step) + rec(STDIN, 1))
    return peer.answer()


def test_F020_F021_pairs_cut_anywhere(live: Served) -> None:
    raw = block(("X_A", "b" * 130), ("X_", ""))
    expected = [["X_A", "b" * 130], ["X_", ""]]
    with live.connect() as peer:
        for step in range(1, len(raw) + 9):
            assert variables(ask_raw(peer, raw, step)) == expected


def test_F022_F023_F024_F036_lengths(live: Served) -> None:
    with live.connect() as peer:
        for size in (0, 1, 127, 128, 255, 256, 16_384):
            for wide in (False, True):
                found = variables(ask_raw(peer, block(("X_A", "v" * size), wide=wide)))
                assert found == [["X_A", "v" * size]]
        for size in (127, 128, 300):
            name = "X_".ljust(size, "N")
            assert variables(ask_raw(peer, block((name, "v")))) == [[name, "v"]]


def test_F025_F026_F027_sizes(live: Served) -> None:
    with live.connect() as peer:
        assert variables(ask_raw(peer, block(("X_A", "v" * 70_000)))) == [["X_A", "v" * 70_000]]
        many = [(f"X_{number}", "v" * 270) for number in range(997)]
        assert sum(len(n) + len(v) for n, v in many) > 256 << 10
        assert variables(ask_raw(peer, block(*many))) == [list(pair) for pair in many]


def test_F028_empty_name(live: Served) -> None:
    with live.connect() as peer:
        assert variables(ask_raw(peer, block(("", "x"), ("X_A", "1")))) == [["X_A", "1"]]


def test_F029_nul_is_never_a_cut(live: Served) -> None:
    with live.connect() as peer:
        assert variables(ask_raw(peer, block(("X_A", "b\0c")))) == [["X_A", "b\0c"]]


def test_F030_every_byte(live: Served) -> None:
    text = bytes(range(128, 256)).decode("latin-1")
    with live.connect() as peer:
        assert variables(ask_raw(peer, block(("X_A", text)))) == [["X_A", text]]


def test_F031_no_variables_at_all(live: Served) -> None:
    with live.connect() as peer:
        peer.send(begin(1, KEEP) + rec(PARAMS, 1) + rec(STDIN, 1))
        assert peer.answer().status.startswith("400 ")
        assert fine(peer.ask("/hello"))


def test_F032_half_an_environ_reaches_nobody(live: Served) -> None:
    with live.connect() as peer:
        for raw in (b"\5\5AB", b"\1", b"\x80\0\0", block(("X", "y")) + b"\1\2Ab"):
            assert ask_raw(peer, raw).status.startswith("400 ")
        assert fine(peer.ask("/hello"))


def test_F033_T1_lengths_of_two_gigabytes(live: Served) -> None:
    with live.connect() as peer:
        before = 0
        for round in range(40):
            before = before or round // 20 * live.kib("VmHWM")  # what twenty of them settle at
            for tail in (b"", b"x" * 60_000):
                assert ask_raw(peer, b"\xff" * 8 + tail).status.startswith("400 ")
        assert live.kib("VmHWM") - before < 1024
        assert fine(peer.ask("/hello"))


def test_F034_of_a_repeated_name_the_last_value(live: Served) -> None:
    with live.connect() as peer:
        raw = block(("X_A", "1"), ("X_B", "2"), ("X_A", "3"))
        assert sorted(variables(ask_raw(peer, raw))) == [["X_A", "3"], ["X_B", "2"]]


def test_F035_records_after_their_end(live: Served) -> None:
    with live.connect() as peer:
        raw = block(("X_A", "late"))
        peer.send(head("/vars/X_") + rec(PARAMS, 1, raw) + rec(PARAMS, 1) + rec(STDIN, 1))
        assert variables(peer.answer()) == []
        data = head("/body", ("CONTENT_LENGTH", "9"))
        peer.send(data + stream(STDIN, 1, b"ab") + stream(STDIN, 1, b"cd"))
        assert peer.answer().body.startswith(b"2 ")


def test_F037_too_many_bytes_of_variables(live: Served) -> None:
    big = [(f"X_{number}", "v" * 60_000) for number in range(20)]
    with live.connect() as peer:
        for _ in range(3):
            answer = ask_raw(peer, block(*big))
            assert answer.status.startswith("431 ")
            assert answer.protocol == 0
            assert fine(peer.ask("/hello"))


@pytest.mark.parametrize("bind", ["", "fcgi://127.0.0.1:0"])
def test_F037_the_refusal_arrives_though_the_connection_ends(
    tmp_path_factory: pytest.TempPathFactory, bind: str
) -> None:
    """Without KEEP_CONN, sent to its end before anybody reads: over TCP a reset would eat it."""
    raw = b"".join(block((f"X_{number}", "v" * 60_000)) for number in range(40))
    with served(tmp_path_factory.mktemp("f"), bind=bind) as daemon:
        for _ in range(5):
            with daemon.connect() as peer:
                peer.send(begin() + stream(PARAMS, 1, raw) + rec(STDIN, 1))
                assert peer.answer().status.startswith("431 ")
                assert peer.closed()


def test_T21_too_many_variables(live: Served) -> None:
    with live.connect() as peer:
        many = block(*[(f"X_{number}", "") for number in range(1001)])
        assert ask_raw(peer, many).status[:3] in ("400", "431")
        assert fine(peer.ask("/hello"))


def test_T9_one_source_of_the_body_length(live: Served) -> None:
    """What HTTP headers say of the length is not ours to judge; CONTENT_LENGTH alone counts."""
    for pairs in (
        [("HTTP_CONTENT_LENGTH", "2")],
        [("HTTP_TRANSFER_ENCODING", "chunked")],
        [("HTTP_CONTENT_LENGTH", "9999"), ("HTTP_TRANSFER_ENCODING", "gzip, chunked")],
    ):
        with live.connect() as peer:
            assert fine(peer.ask("/mirror", *pairs, body=b"hello"))
            assert fine(peer.ask("/hello"))


def test_T9_two_lengths_are_one_or_none(live: Served) -> None:
    for lengths, expected in ((("5", "9"), 9), (("9", "5"), 5)):
        with live.connect() as peer:
            pairs = [("CONTENT_LENGTH", length) for length in lengths]
            peer.send(head("/mirror", *pairs) + stream(STDIN, 1, b"123456789"))
            answer = peer.answer()
            assert answer.status.startswith("400 ") or len(answer.body) == expected
            assert fine(peer.ask("/hello"))


def test_pairs_of_the_test_itself() -> None:
    raw = [("A", "b" * 200), ("", ""), ("N" * 128, "x")]
    assert pairs_of(block(*raw)) == raw

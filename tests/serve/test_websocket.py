"""WebSockets over the HTTP bind: opening, messages, both ends, limits."""

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.serve.aio_live import DEADLINE_S
from tests.serve.websocket_live import ACCEPT, client, frame, opening, rest, sockets, until


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    folder = tmp_path_factory.mktemp("websocket")
    options = ("--access-logfile", "access.log", "--access-logformat", "%m %U %s %B")
    with sockets(folder, *options, "--disconnect-timeout", "1") as live:
        yield live


def ended(socket):
    """How it ended, for the client: (code, reason)."""
    with pytest.raises(ConnectionClosed) as found:
        socket.recv(20)
    got = found.value.rcvd
    return (got.code, got.reason) if got is not None else (1006, "")


@pytest.mark.parametrize(
    "message", ["", "hello", "\u2603" * 70_000, b"", b"\0\xff", b"x" * 3_000_000],
    ids=["empty", "text", "long", "no-bytes", "bytes", "3MB"],
)  # fmt: skip
def test_a_message_comes_back(live, message):
    with client(live, "/echo/a") as socket:
        socket.send(message)
        assert socket.recv(20) == message


def test_a_message_in_pieces_is_one(live):
    with client(live, "/echo/pieces") as socket:
        socket.send(["sn\u00f6", "\u2603", "", "wm\u00e4n"])
        assert socket.recv(20) == "sn\u00f6\u2603wm\u00e4n"


def refusal(live, target, **change):
    """The status line and the whole answer to an opening by hand."""
    change.setdefault("Connection", "Upgrade")
    with live.open("http") as sock:
        sock.settimeout(DEADLINE_S)
        sock.sendall(opening(target, **change))
        got = until(sock, b"\r\n\r\n")
        return got.partition(b"\r\n")[0], got


def test_the_answer_to_the_opening_of_the_standard(live):
    line, head = refusal(live, "/echo/a")
    assert line == b"HTTP/1.1 101 Switching Protocols"
    assert f"\r\nSec-WebSocket-Accept: {ACCEPT}\r\n".encode() in head
    assert b"content-length" not in head.lower()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Sec_WebSocket_Version": "8"}, b"426"),
        ({"Sec_WebSocket_Version": None}, b"426"),
        ({"Sec_WebSocket_Key": "short"}, b"400"),
        ({"Sec_WebSocket_Key": None}, b"400"),
        ({"Content_Length": "1"}, b"400"),
        ({"Transfer_Encoding": "chunked"}, b"400"),
        ({"Content_Length": "0"}, b"101"),
        ({"Upgrade": "h2c"}, b"200"),
        ({"Connection": "keep-alive"}, b"200"),
        ({"Connection": "keep-alive, upgrade"}, b"101"),
        ({"Upgrade": "WebSocket"}, b"101"),
    ],
)
def test_what_is_no_opening(live, change, status):
    line, head = refusal(live, "/echo/a", **change)
    assert line.split()[1] == status
    if status == b"426":
        assert b"\r\nSec-WebSocket-Version: 13\r\n" in head


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [("/deny", 403, b"Forbidden\n"), ("/denial", 418, b"not now")],
)
def test_an_application_refuses(live, target, status, body):
    with pytest.raises(InvalidStatus) as found:
        client(live, target)
    assert (found.value.response.status_code, found.value.response.body) == (status, body)


@pytest.mark.parametrize("target", ["/fail", "/silent"])
def test_a_failure_before_the_answer_is_a_500_and_named_in_the_log(live, target):
    with pytest.raises(InvalidStatus) as found:
        client(live, target)
    assert found.value.response.status_code == 500
    incident = found.value.response.body.decode().rpartition("incident ")[2].strip(".\n")
    live.until_log(f"app.failed incident {incident} (GET {target})")


def test_a_failure_behind_it_is_1011_and_named_in_the_log(live):
    with client(live, "/half") as socket:
        assert socket.recv(DEADLINE_S) == "half"
        assert ended(socket) == (1011, "")
    live.until_log("(GET /half): ValueError: a failure")


def test_a_message_of_both_kinds_is_an_error_of_the_application(live):
    with client(live, "/wrong") as socket:
        assert ended(socket) == (1011, "")
    live.until_log("websocket.send needs either text, a str, or bytes")


def test_an_application_closes(live):
    with client(live, "/close/4001") as socket:
        assert ended(socket) == (4001, "enough")
    live.noted("closed 4001 4001")


@pytest.mark.parametrize("code", [1000, 1005, 3000, 4999])
def test_codes_that_may_be_sent(live, code):
    with client(live, f"/close/{code}") as socket:
        assert ended(socket)[0] == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2999, 5000])
def test_codes_that_may_not(live, code):
    with client(live, f"/close/{code}") as socket:
        assert ended(socket)[0] == 1011


def test_a_reason_that_may_not_be_sent(live):
    with client(live, "/surrogate") as socket:
        assert ended(socket)[0] == 1011


def test_an_application_that_returns_has_closed(live):
    with client(live, "/returns") as socket:
        assert ended(socket) == (1000, "")


def test_the_client_closes(live):
    with client(live, "/echo/bye") as socket:
        socket.close(4003, "done")
        assert socket.protocol.close_rcvd.code == 4003
    live.noted("echo bye 4003 done")


def test_a_close_frame_without_a_code(live):
    with live.open("http") as sock:
        sock.settimeout(DEADLINE_S)
        sock.sendall(opening("/echo/no-code"))
        until(sock, b"\r\n\r\n")
        sock.sendall(frame(8, b""))
        assert rest(sock) == b"\x88\0"
    live.noted("echo no-code 1005 ")


def test_a_client_that_leaves_without_a_word(live):
    with live.open("http") as sock:
        sock.sendall(opening("/echo/gone"))
        until(sock, b"\r\n\r\n")
    live.noted("echo gone 1006 ")


def test_a_client_that_leaves_before_the_answer(live):
    with live.open("http") as sock:
        sock.sendall(opening("/waits/early"))
        live.noted("waits early in")
    live.noted("waits early 1006")


def test_an_application_waits_for_messages_while_it_accepts(live):
    with live.open("http") as sock:
        sock.settimeout(DEADLINE_S)
        sock.sendall(opening("/waits/both"))
        live.noted("waits both in")
        sock.sendall(frame(1, b"ahead"))  # of the answer
        live.go("both")
        until(sock, b"\r\n\r\n")
        assert until(sock, b"ahead") == b"\x81\x0bheard ahead"


def test_pings_are_answered(live):
    with client(live, "/echo/ping") as socket:
        assert socket.ping("payload").wait(DEADLINE_S)


def test_a_close_frame_right_behind_a_ping(live):
    with live.open("http") as sock:
        sock.settimeout(DEADLINE_S)
        sock.sendall(opening("/echo/both-at-once"))
        until(sock, b"\r\n\r\n")
        sock.sendall(frame(9, b"ping") + frame(8, b""))
        assert rest(sock) == b"\x88\0"
    live.noted("echo both-at-once 1005 ")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(1, b"\xff"), 1007),
        (frame(3, b""), 1002),
        (b"\x81\x01a", 1002),
        (frame(0, b"a"), 1002),
        (frame(8, b"\x03"), 1002),
        (frame(9, b"x" * 126), 1002),
    ],
    ids=["utf-8", "opcode", "no-mask", "continuation", "half-a-code", "long-ping"],
)
def test_what_breaks_the_protocol_ends_it(live, sent, code):
    with live.open("http") as sock:
        sock.settimeout(DEADLINE_S)
        sock.sendall(opening(f"/echo/{sent[:2].hex()}"))
        until(sock, b"\r\n\r\n")
        sock.sendall(sent)
        got = rest(sock)
        assert (got[0], int.from_bytes(got[2:4], "big")) == (0x88, code)
    said = f"echo {sent[:2].hex()} {code} "
    live.until(lambda: any(note.startswith(said) for note in live.notes()))


def test_the_access_log_has_a_line_when_it_ends(live):
    with client(live, "/echo/logged") as socket:
        socket.send("12345")
        socket.recv(DEADLINE_S)
    log = live.folder / "access.log"
    live.until(lambda: "GET /echo/logged 101 11\n" in log.read_text())


def test_one_that_goes_on_behind_the_end_is_cancelled(live):
    with client(live, "/stays/on"):
        pass
    live.noted("stays on cancelled")


def flooded(live, name):
    """How much /flood/NAME has sent when it has to wait."""
    seen = []

    def settled():
        seen.append(int(live.ask(f"/flooded/{name}")))
        return len(seen) > 20 and seen[-1] == seen[-20] > 0

    live.until(settled)
    return seen[-1]


def test_a_peer_that_does_not_read_is_waited_for(live):
    with live.open("http") as sock:
        sock.sendall(opening("/flood/slow"))
        until(sock, b"\r\n\r\n")
        assert flooded(live, "slow") < 4 << 20
    live.noted("flood slow left")


def test_whoever_waits_for_such_a_peer_hears_of_the_end(live):
    with live.open("http") as sock:
        sock.sendall(opening("/flood/broken"))
        until(sock, b"\r\n\r\n")
        flooded(live, "broken")
        sock.sendall(frame(3, b""))
        live.noted("flood broken left")


def fill(sock, data):
    """Send it again and again until nobody takes more: (how many were begun, the last's rest)."""
    sock.settimeout(1)
    for count in range(1, 10_000):
        left = data
        while left:
            try:
                left = left[sock.send(left) :]
            except TimeoutError:
                return count, left
    raise AssertionError("all of it was taken")


def test_an_application_that_does_not_read_is_waited_for(live):
    with live.open("http") as sock:
        sock.sendall(opening("/lazy/full"))
        until(sock, b"\r\n\r\n")
        count, left = fill(sock, frame(2, b"x" * 65_536))
        assert 1 < count * 65_536 < 8 << 20
        live.go("full")
        sock.settimeout(DEADLINE_S)
        sock.sendall(left)
        until(sock, str(count * 65_536).encode())

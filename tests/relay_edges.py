"""More of a relay's behaviour: the rare byte, the rare server. Run as the rows of relays.py."""

import contextlib
import fcntl
import os
import socket
import subprocess
import termios
import threading
from pathlib import Path

from tests import cgi
from tests.cgi import DEADLINE_S
from tests.relay_stand import (
    END,
    STDERR,
    STDOUT,
    Conversation,
    Stand,
    document,
    end,
    record,
    wait_until,
)
from tests.relays import Row

ROWS: list[Row] = []


def row(function: Row) -> Row:
    ROWS.append(function)
    return function


def reply(talk: Conversation) -> None:
    talk.request()
    talk.answer()


def taken(sock: socket.socket) -> None:
    """Wait until the relay has received all that was sent."""
    wait_until(lambda: fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) == bytes(4))


@row
def F013_every_byte_of_an_answer_may_come_alone(stand: Stand) -> None:
    answer = record(STDOUT, document(b"ok"), pad=3) + record(STDERR, b"e\n", pad=1)
    answer += record(99, b"zz", id=0, pad=2) + end(4)

    def script(talk: Conversation) -> None:
        talk.request()
        for at in range(len(answer)):
            talk.send(answer[at : at + 1])
            taken(talk.sock)

    stand.peer(script)
    done = stand.ask()
    assert (done.code, done.body, done.errors) == (4, b"ok", "e\n")


@row
def F013_an_answer_of_two_pieces_cut_in_any_place_of_a_records_head(stand: Stand) -> None:
    records = record(STDOUT, document(b"")), record(STDOUT, b"ok", pad=2), end()
    answer = b"".join(records)
    starts = 0, len(records[0]), len(answer) - len(records[2])
    cuts = [start + more for start in starts for more in (1, 4, 6, 7, 8)]
    left = iter(cuts)

    def script(talk: Conversation) -> None:
        at = next(left)
        talk.request()
        talk.send(answer[:at])
        taken(talk.sock)
        talk.send(answer[at:])

    stand.peer(script)
    for at in cuts:
        done = stand.ask()
        assert (done.code, done.body, done.errors) == (0, b"ok", ""), at


MALFORMED = (
    bytes((1, END, 0, 1, 0, 0, 0, 0)),
    record(END, bytes(9)),
    record(END, bytes(65_535)),
    b"\0" + end()[1:],
    b"\2" + end()[1:],
    b"\xff" * 16,
)


@row
def T1_T16_what_breaks_the_protocol_is_told_and_answered(stand: Stand) -> None:
    answers = iter(MALFORMED)

    def script(talk: Conversation) -> None:
        talk.request()
        talk.send(next(answers))

    stand.peer(script)
    for bad in MALFORMED:
        done = stand.ask()
        assert (done.code, done.out[:23]) == (1, b"Status: 502 Bad Gateway"), (bad[:16], done)
        assert "relay.garbage" in done.errors, (bad[:16], done)


@row
def T16_garbage_behind_a_part_of_the_answer_adds_nothing_to_it(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.request()
        talk.send(record(STDOUT, document(b"part")) + b"garbage!")

    stand.peer(script)
    done = stand.ask()
    assert (done.code, done.out) == (1, document(b"part"))
    assert "relay.garbage" in done.errors


@row
def T16_so_it_is_while_a_body_is_sent(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.params()
        talk.send(record(STDOUT, document(b"part")) + b"garbage!")

    stand.peer(script)
    done = stand.ask(b"x" * 300_000, REQUEST_METHOD="POST", CONTENT_LENGTH="300000")
    assert (done.code, done.out) == (1, document(b"part"))
    assert "relay.garbage" in done.errors


@row
def F112_every_refusal_is_a_503_or_ends_what_was_begun(stand: Stand) -> None:
    answers = iter((end(0, 1), end(0, 3), end(0, 255), record(STDOUT, document(b"x")) + end(0, 2)))

    def script(talk: Conversation) -> None:
        talk.request()
        talk.send(next(answers))

    stand.peer(script)
    for _ in range(3):
        got = stand.ask().status
        assert got == "503 Service Unavailable"
    done = stand.ask()
    assert (done.code, done.out) == (1, document(b"x"))


@row
def F037_an_answer_before_the_variables_are_read(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.receive()
        talk.answer(b"too many")

    stand.peer(script)
    more = {f"HTTP_X_{number}": "x" * 100_000 for number in range(9)}
    done = stand.ask(**more)
    assert (done.code, done.body) == (0, b"too many"), done


@row
def F026_two_thousand_variables_of_every_length(stand: Stand) -> None:
    seen: list[dict[bytes, bytes]] = []

    def script(talk: Conversation) -> None:
        seen.append(talk.request()[0])
        talk.answer()

    stand.peer(script)
    more = {f"V{number}": "v" * (number % 300) for number in range(2000)}
    done = stand.ask(**more)
    assert done.body == b"ok"
    got = {name.decode(): value.decode() for name, value in seen[0].items()}
    assert {name: got.get(name) for name in more} == more


# --- servers


def _one_socket(stand: Stand, sent: bytes, **vars: str) -> tuple[bytes, int]:
    """As mod_cgid: standard input and output are one socket, the body is sent before all else."""
    ours, theirs = socket.socketpair()
    ours.settimeout(DEADLINE_S)
    with ours:
        process = subprocess.Popen(
            [str(stand.file)], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL,
            env=cgi.encoded(cgi.environment(**vars)),
        )  # fmt: skip
        theirs.close()
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)
        found = b""
        while data := ours.recv(65_536):
            found += data
        return found, process.wait(DEADLINE_S)


@row
def one_socket_for_both_as_mod_cgid_has_it(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.out(document(talk.request()[1]))
        talk.send(end())

    stand.peer(script)
    body = bytes(range(256)) * 2000
    got = _one_socket(stand, body, REQUEST_METHOD="POST", CONTENT_LENGTH=str(len(body)))
    assert got == (document(body), 0)


@row
def F048_a_body_that_nobody_read_does_not_reset_the_answer(stand: Stand) -> None:
    """Whoever leaves a socket with unread bytes in it resets it, and the answer with it."""

    def script(talk: Conversation) -> None:
        talk.params()
        talk.answer(b"no")

    stand.peer(script)
    size = 3 << 20
    got = _one_socket(stand, b"x" * size, REQUEST_METHOD="POST", CONTENT_LENGTH=str(size))
    assert got == (document(b"no"), 0)


@row
def a_502_is_not_reset_either(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.params()

    stand.peer(script)
    size = 3 << 20
    out, code = _one_socket(stand, b"x" * size, REQUEST_METHOD="POST", CONTENT_LENGTH=str(size))
    assert (out[:11], code) == (b"Status: 502", 1)


@row
def no_write_of_the_answer_waits_while_the_server_sends(stand: Stand) -> None:
    """A pipe that takes some bytes more does not take all of them."""

    def script(talk: Conversation) -> None:
        talk.params()
        for _ in range(3):
            talk.out(b"y" * 35_000)
            taken(talk.sock)
        talk.send(end())

    stand.peer(script)
    size = 1 << 20
    process = stand.start(REQUEST_METHOD="POST", CONTENT_LENGTH=str(size))
    assert process.stdin is not None
    assert process.stdout is not None
    taker = threading.Timer(DEADLINE_S, process.kill)  # else it would wait for ever
    taker.start()
    sent = process.stdin.write(b"x" * size)
    taker.cancel()
    out, code = process.stdout.read(), process.wait(DEADLINE_S)
    assert (sent, len(out), code) == (size, 105_000, 0)


@row
def an_error_stream_that_is_closed_keeps_no_answer(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.request()
        for _ in range(3):
            talk.send(record(STDERR, b"nobody reads this\n" * 3000))
        talk.answer()

    stand.peer(script)
    process = stand.start()
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.close()
    out, code = process.stdout.read(), process.wait(DEADLINE_S)
    assert (out, code) == (document(b"ok"), 0)


@row
def C13_a_megabyte_of_errors_goes_by_while_nobody_reads_the_answer(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.request()
        for _ in range(20):
            talk.send(record(STDERR, b"e" * 50_000))
        talk.answer()

    stand.peer(script)
    process = stand.start()
    assert process.stderr is not None
    assert process.stdout is not None
    errors, out = process.stderr.read(), process.stdout.read()
    assert (errors, out) == (b"e" * 1_000_000, document(b"ok"))


@row
def C16_a_server_that_leaves_during_an_upload_is_an_abort(stand: Stand) -> None:
    left = threading.Event()

    def script(talk: Conversation) -> None:
        talk.params()
        talk.receive()
        if talk.is_left():
            left.set()

    stand.peer(script)
    process = stand.start(REQUEST_METHOD="POST", CONTENT_LENGTH="1000000")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x" * 1000)
    process.stdout.close()
    code, told = process.wait(DEADLINE_S), left.wait(DEADLINE_S)
    assert (code, told) == (1, True)


# --- who listens


@row
def T8_a_stranger_who_listens_gets_nothing(stand: Stand) -> None:
    """SO_PEERCRED tells who called listen(); only root can act as somebody else."""
    stand.state.mkdir(mode=0o700)
    if os.geteuid():
        return
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stand.path("sock")))
        os.seteuid(65_534)
        try:
            sock.listen(8)
        finally:
            os.seteuid(0)
        done = stand.ask(HTTP_X_MARK="!")
        sock.setblocking(False)
        peer, _ = sock.accept()
        with peer:
            got = peer.recv(1)
    assert got == b""
    assert (done.code, done.body) == (0, b"one-shot !")
    assert "relay.stranger" in done.errors
    assert stand.started() == []


@row
def something_else_in_the_sockets_place_is_told(stand: Stand) -> None:
    stand.state.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(stand.path("sock")))
        done = stand.ask()
    assert (done.code, done.body) == (0, b"one-shot ")
    assert "relay.folder" in done.errors
    assert stand.started() == []


@row
def F112_a_daemon_that_accepts_nobody_is_not_waited_for_without_end(stand: Stand) -> None:
    stand.state.mkdir(mode=0o700)
    stand.write(wait_s=1)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stand.path("sock")))
        sock.listen(0)
        with contextlib.ExitStack() as queue:
            try:
                while True:
                    peer = queue.enter_context(socket.socket(socket.AF_UNIX))
                    peer.setblocking(False)
                    peer.connect(str(stand.path("sock")))
            except BlockingIOError:
                done = stand.ask()
                size = 1 << 20  # and its refusal is not reset by a body that nobody reads
                post = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(size)}
                out, code = _one_socket(stand, b"x" * size, **post)
    assert (done.code, done.status) == (1, "503 Service Unavailable")
    assert "relay.overloaded" in done.errors
    assert (out[:11], code) == (b"Status: 503", 1)


# --- once and no more


def _injected(stand: Stand, when: int, body: bytes) -> cgi.Done:
    """One send fails as if the daemon had just closed."""
    inject = f"inject=sendto:error=EPIPE:when={when}"
    argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, str(stand.file)]
    return cgi.ask(argv, body, Path("/"), REQUEST_METHOD="POST", CONTENT_LENGTH=str(len(body)))


@row
def a_request_of_which_no_byte_went_is_sent_again(stand: Stand) -> None:
    stand.peer(lambda talk: reply(talk) if stand.peers[0].count > 1 else None)
    done = _injected(stand, 1, b"a body")
    assert (done.code, done.body) == (0, b"ok"), done
    assert stand.peers[0].count == 2


@row
def a_request_of_which_a_byte_went_is_not_sent_again(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.params()  # and closes

    stand.peer(script)
    done = _injected(stand, 2, b"a body")
    assert (done.code, done.status) == (1, "502 Bad Gateway")
    assert stand.peers[0].count == 1


@row
def a_process_limit_is_told_once_and_answered_alone(stand: Stand) -> None:
    """As on hosts that cap processes: no fork succeeds."""
    inject = "inject=clone,clone3,fork,vfork:error=EAGAIN"
    argv = ["strace", "-qq", "-o", "/dev/null", "-e", inject, str(stand.file)]
    first, second = cgi.ask(argv, folder=Path("/")), stand.ask()
    assert (first.code, first.body) == (0, b"one-shot "), first
    assert "relay.start" in first.errors
    assert (second.code, second.body, second.errors) == (0, b"one-shot ", "")
    assert stand.started() == []


@row
def nothing_of_a_failure_can_look_like_a_line_of_the_log(stand: Stand) -> None:
    stand.write("fail")
    starter = stand.folder / "starter.py"
    starter.write_text(starter.read_text().replace("no daemon wants", "no\\rda\\x1b[2Jemon wants"))
    done = stand.ask()
    assert done.body == b"one-shot "
    assert "wants to live here" in done.errors
    assert not set(done.errors) & {"\r", "\x1b"}

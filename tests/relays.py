"""The behaviour of a relay, as rows that every relay must pass.

@pytest.mark.parametrize("row", relays.ROWS, ids=relays.name)
def test_relay(row, tmp_path):
    with Stand("python", tmp_path) as stand:
        row(stand)
"""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from tests import cgi
from tests.cgi import DEADLINE_S
from tests.relay_stand import (
    END,
    NAME,
    STDERR,
    STDIN,
    STDOUT,
    Conversation,
    Stand,
    alive,
    document,
    end,
    record,
    wait_until,
)

Row = Callable[[Stand], None]
ROWS: list[Row] = []


def row(function: Row) -> Row:
    ROWS.append(function)
    return function


def name(row: Row) -> str:
    return row.__name__


def reply(talk: Conversation) -> None:
    talk.request()
    talk.answer()


# --- the request


@row
def C22_called_directly_it_says_what_it_is(stand: Stand) -> None:
    done = stand.ask(REQUEST_METHOD=None)
    assert (done.code, done.out) == (2, b"")
    assert done.errors.startswith("This file answers CGI requests and is started by a web server.")
    assert not stand.state.exists()


@row
def C04_arguments_change_nothing(stand: Stand) -> None:
    stand.peer(reply)
    for words in (["-d"], ["--help"], ["-c", "evil"]):
        got = stand.ask(b"", *words).body
        assert got == b"ok"


@row
def C01_every_variable_arrives_as_its_bytes(stand: Stand) -> None:
    seen: list[dict[bytes, bytes]] = []
    more = {
        "HTTP_X_BYTES": "\x80\xff\xe9",
        "HTTP_X_EMPTY": "",
        "HTTP_X_127": "x" * 127,
        "HTTP_X_128": "x" * 128,
        "HTTP_X_" + "N" * 130: "long name",
        "HTTP_COOKIE": "c" * 70_000,
        "HTTP_X_MORE": "d" * 100_000,
        "QUERY_STRING": "a=b=c",
    }

    def script(talk: Conversation) -> None:
        seen.append(talk.request()[0])
        talk.answer()

    stand.peer(script)
    done = stand.ask(**more)
    assert (done.code, done.errors, done.body) == (0, "", b"ok"), done
    wanted = cgi.encoded(cgi.environment(**more))
    assert seen[0].pop(b"LC_CTYPE", b"C.UTF-8") == b"C.UTF-8"  # Python's own, in a C locale
    assert seen == [{**wanted, b"GATEBRIDGE_RELAY": b"1"}]


@row
def C18_HTTP_PROXY_goes_nowhere(stand: Stand) -> None:
    seen: list[dict[bytes, bytes]] = []

    def script(talk: Conversation) -> None:
        seen.append(talk.request()[0])
        talk.answer()

    stand.peer(script)
    got = stand.ask(HTTP_PROXY="evil", HTTP_PROXY_X="kept").body
    assert got == b"ok"
    assert b"HTTP_PROXY" not in seen[0]
    assert seen[0][b"HTTP_PROXY_X"] == b"kept"


def _body(stand: Stand, sent: bytes, **vars: str | None) -> bytes:
    """What the daemon got; standard input is never closed."""
    got: list[bytes] = []

    def script(talk: Conversation) -> None:
        got.append(talk.request()[1])
        talk.answer()

    stand.peer(script)
    process = stand.start(REQUEST_METHOD="POST", **vars)
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # who reads no body may have answered already
        process.stdin.write(sent)
    out, code = process.stdout.read(), process.wait(DEADLINE_S)
    assert (out, code) == (document(b"ok"), 0)
    return got[0]


@row
def C02_no_more_than_content_length_is_taken(stand: Stand) -> None:
    got = _body(stand, b"hello" + b"surplus", CONTENT_LENGTH="5")
    assert got == b"hello"


@row
def C03_without_content_length_standard_input_is_not_read(stand: Stand) -> None:
    got = _body(stand, b"not ours", CONTENT_LENGTH=None)
    assert got == b""


@row
def C03_an_empty_or_zero_length_is_no_body(stand: Stand) -> None:
    got = _body(stand, b"not ours", CONTENT_LENGTH="")
    assert got == b""


@row
def T9_a_malformed_length_is_left_to_the_daemon(stand: Stand) -> None:
    for length in ("abc", "-2", "1e3", " 5", "9" * 19, "5,5"):
        got = _body(stand, b"not ours", CONTENT_LENGTH=length)
        assert got == b"", length
        stand.peers.pop().close()
        stand.path("sock").unlink()


@row
def C03_F050_a_chunked_upload_is_read_to_its_end(stand: Stand) -> None:
    got: list[bytes] = []

    def script(talk: Conversation) -> None:
        got.append(talk.request()[1])
        talk.answer()

    stand.peer(script)
    body = b"x" * 200_000
    done = stand.ask(body, REQUEST_METHOD="POST", HTTP_TRANSFER_ENCODING="chunked")
    assert (done.body, got) == (b"ok", [body])


@row
def C03_F050_a_coding_counts_in_any_case_and_beside_a_length_of_0(stand: Stand) -> None:
    """Apache passes it on as the client wrote it; a 0 beside it is a lie."""
    got: list[bytes] = []

    def script(talk: Conversation) -> None:
        got.append(talk.request()[1])
        talk.answer()

    stand.peer(script)
    for words in ({"HTTP_TRANSFER_ENCODING": "Chunked"},
                  {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "0"}):  # fmt: skip
        assert stand.ask(b"body", REQUEST_METHOD="POST", **words).body == b"ok"
    assert got == [b"body", b"body"]


@row
def F046a_a_short_body_ends(stand: Stand) -> None:
    got: list[bytes] = []

    def script(talk: Conversation) -> None:
        got.append(talk.request()[1])
        talk.answer()

    stand.peer(script)
    done = stand.ask(b"hal", REQUEST_METHOD="POST", CONTENT_LENGTH="5")
    assert done.body == b"ok"
    assert got == [b"hal"]


@row
def descriptors_that_are_closed_do_no_harm(stand: Stand) -> None:
    stand.peer(reply)
    for closed in ("<&-", "2>&-", "<&- 2>&-"):
        done = cgi.ask(["sh", "-c", f'exec "$0" {closed}', str(stand.file)])
        assert (done.code, done.out) == (0, document(b"ok")), closed
    done = cgi.ask(["sh", "-c", 'exec "$0" <&- >&-', str(stand.file)])
    assert (done.code, done.out) == (0, b"")


# --- the answer


@row
def a_large_answer_arrives_unchanged(stand: Stand) -> None:
    body = bytes(range(256)) * 20_000

    def script(talk: Conversation) -> None:
        talk.request()
        talk.answer(body)

    stand.peer(script)
    got = stand.ask().body
    assert got == body


@row
def a_standard_output_that_does_not_wait_gets_all(stand: Stand) -> None:
    """A server may hand over one that it reads without waiting itself."""
    sent = os.urandom(1 << 20)

    def script(talk: Conversation) -> None:
        talk.request()
        talk.answer(sent)

    stand.peer(script)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(reading, "rb", 0) as pipe:
        process = stand.start(stdout=writing)
        os.close(writing)
        got = b"".join(iter(lambda: pipe.read(65_536), b""))
    code = process.wait(DEADLINE_S)
    assert (got[-len(sent) :] == sent, code) == (True, 0)


@row
def records_may_be_cut_anywhere(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.request()
        data = record(STDOUT, document(b"ok"), pad=5) + record(STDERR, b"note\n") + end(3)
        for at in range(len(data)):
            talk.send(data[at : at + 1])

    stand.peer(script)
    done = stand.ask()
    assert (done.code, done.body, done.errors) == (3, b"ok", "note\n")


@row
def records_of_others_are_skipped(stand: Stand) -> None:
    def script(talk: Conversation) -> None:
        talk.request()
        talk.send(record(STDOUT, b"of another request", id=2) + record(END, bytes(8), id=2))
        talk.send(record(11, bytes(8), id=0) + record(99, b"x" * 65535, pad=255))
        talk.send(record(STDOUT, document(b"ok"), pad=255) + record(STDOUT, b"") + end())

    stand.peer(script)
    done = stand.ask()
    assert (done.code, done.body) == (0, b"ok")


@row
def an_answer_arrives_as_it_is_sent(stand: Stand) -> None:
    """Also half a record, and the error text while nothing else comes."""
    go = [threading.Event() for _ in range(3)]

    def script(talk: Conversation) -> None:
        talk.request()
        talk.send(record(STDOUT, document(b"first")))
        go[0].wait(DEADLINE_S)
        whole = record(STDOUT, b"second")
        talk.send(whole[:11])
        go[1].wait(DEADLINE_S)
        talk.send(whole[11:] + record(STDERR, b"live\n"))
        go[2].wait(DEADLINE_S)
        talk.send(end())

    stand.peer(script)
    process = stand.start()
    assert process.stdout is not None
    assert process.stderr is not None
    assert os.read(process.stdout.fileno(), 99) == document(b"first")
    go[0].set()
    assert os.read(process.stdout.fileno(), 99) == b"sec"
    go[1].set()
    assert os.read(process.stderr.fileno(), 99) == b"live\n"
    go[2].set()
    out = process.stdout.read()
    assert out == b"ond"
    code = process.wait(DEADLINE_S)
    assert code == 0


@row
def the_exit_status_is_the_applications(stand: Stand) -> None:
    statuses = iter((7, 255, 256, 0xFFFFFFFF))

    def script(talk: Conversation) -> None:
        talk.request()
        talk.send(record(STDOUT, document(b"ok")) + end(next(statuses)))

    stand.peer(script)
    codes = [stand.ask().code for _ in range(4)]
    assert codes == [7, 255, 255, 255]


def _broken(stand: Stand, answer: bytes, **vars: str) -> cgi.Done:
    def script(talk: Conversation) -> None:
        talk.request()
        talk.send(answer)

    stand.peer(script)
    return stand.ask(**vars)


LINE = re.compile(r"gatebridge: relay\.(\w+) incident ([0-9a-f]{8}): (.+); next: (.+)")
NEXT = {  # the operator's next step, as docs/errors.md has it, too
    "cut": "read the daemon's log, NAME.log beside its socket",
    "garbage": "see who listens there: gatebridge shim check FILE",
    "oneshot": "write the shim anew: gatebridge shim new --force",
    "overloaded": "see what is slow: gatebridge top; or --serve-option=--threads=N in shim new",
}


def assert_one_incident(done: cgi.Done, reason: str, code: str) -> None:
    """The page has the reason and an incident, the log's last line the rest of it."""
    said = LINE.fullmatch(done.errors.splitlines()[-1])
    assert said is not None, done.errors
    assert (said[1], said[4]) == (code, NEXT[code])
    sentence = "The request was not answered. The server's log tells more under incident"
    assert done.body.decode() == f"{reason}\n\n{sentence} {said[2]}.\n"
    assert done.errors.count("incident") == 1


@row
def a_daemon_that_refuses_is_a_503(stand: Stand) -> None:
    done = _broken(stand, end(0, 2))
    assert (done.code, done.status) == (1, "503 Service Unavailable")
    assert ("Retry-After", "1") in done.headers
    assert_one_incident(done, "Service Unavailable", "overloaded")


@row
def a_daemon_that_leaves_without_a_word_is_a_502(stand: Stand) -> None:
    done = _broken(stand, b"")
    assert (done.code, done.status) == (1, "502 Bad Gateway")
    assert_one_incident(done, "Bad Gateway", "cut")


@row
def each_failure_is_an_incident_of_its_own(stand: Stand) -> None:
    found = {_broken(stand, b"").body}
    found |= {stand.ask().body for _ in range(5)}
    assert len(found) == 6


@row
def C11_its_own_answers_to_HEAD_have_no_body(stand: Stand) -> None:
    done = _broken(stand, b"", REQUEST_METHOD="HEAD")
    assert (done.status, done.body) == ("502 Bad Gateway", b"")


@row
def an_answer_that_is_cut_is_a_failure_and_nothing_is_added(stand: Stand) -> None:
    done = _broken(stand, record(STDOUT, document(b"half")) + record(STDOUT, b"x" * 99)[:20])
    assert (done.code, done.out) == (1, document(b"half") + b"x" * 12)
    assert "relay.cut" in done.errors


@row
def T16_what_is_not_FastCGI_is_a_502(stand: Stand) -> None:
    done = _broken(stand, b"HTTP/1.1 200 OK\r\n\r\n")
    assert (done.code, done.status) == (1, "502 Bad Gateway")
    assert_one_incident(done, "Bad Gateway", "garbage")


@row
def T1_an_end_of_another_size_is_garbage(stand: Stand) -> None:
    done = _broken(stand, record(END, bytes(7)))
    assert (done.code, done.status) == (1, "502 Bad Gateway")
    assert "relay.garbage" in done.errors


# --- both ways


def _echo(talk: Conversation) -> None:
    talk.params()
    talk.out(document(b""))
    while (got := talk.receive()) is not None and got[2]:
        assert got[0] == STDIN
        talk.send(record(STDOUT, got[2]))
    talk.send(end())


def _exchange(stand: Stand, size: int) -> None:
    stand.peer(_echo)
    process = stand.start(REQUEST_METHOD="POST", CONTENT_LENGTH=str(size))
    assert process.stdin is not None
    assert process.stdout is not None
    piece = bytes(range(256)) * 256

    def feed(pipe) -> None:
        for _ in range(size // len(piece)):
            pipe.write(piece)
        pipe.close()

    feeder = threading.Thread(target=feed, args=(process.stdin,))
    feeder.start()
    head = len(document(b""))
    count = 0
    while data := os.read(process.stdout.fileno(), 1 << 16):
        start = count - head
        if start >= 0:
            at = start % len(piece)
            assert data == (piece * 3)[at : at + len(data)]
        count += len(data)
    feeder.join(DEADLINE_S)
    code = process.wait(DEADLINE_S)
    assert (count, code) == (head + size, 0)


@row
def one_MB_goes_in_while_one_MB_comes_out(stand: Stand) -> None:
    _exchange(stand, 1 << 20)


@row
def fifty_MB_both_ways(stand: Stand) -> None:
    _exchange(stand, 50 << 20)


@row
def a_body_that_nobody_reads_does_not_keep_the_answer(stand: Stand) -> None:
    """And whoever sends it can send it all: a server answers 502 to a broken pipe."""

    def script(talk: Conversation) -> None:
        talk.params()
        talk.answer(b"no, thank you")

    stand.peer(script)
    body = b"x" * (4 << 20)
    done = stand.ask(body, REQUEST_METHOD="POST", CONTENT_LENGTH=str(len(body)))
    assert (done.code, done.body) == (0, b"no, thank you")


@row
def a_large_answer_before_the_body_is_read(stand: Stand) -> None:
    """A server that first sends all of the body gets the answer afterwards (mod_cgid)."""

    def script(talk: Conversation) -> None:
        talk.params()
        talk.answer(b"y" * 100_000)  # more than a pipe holds, less than pipe and relay

    stand.peer(script)
    size = 2 << 20
    process = stand.start(REQUEST_METHOD="POST", CONTENT_LENGTH=str(size))
    assert process.stdin is not None
    assert process.stdout is not None
    sent: list[int] = []
    feeder = threading.Thread(target=lambda: sent.append(process.stdin.write(b"x" * size)))
    feeder.start()
    feeder.join(DEADLINE_S)
    if not sent:
        process.kill()
        feeder.join()
        raise AssertionError("the body is not taken before the answer is")
    assert sent == [size]  # a broken pipe would have cut it short
    out = len(process.stdout.read())
    assert out == len(document(b"y" * 100_000))
    code = process.wait(DEADLINE_S)
    assert code == 0


# --- the client leaves


def _left(stand: Stand, leave: Callable[["subprocess.Popen[bytes]"], None], more: str) -> int:
    """The exit status of a relay whose server leaves while the daemon works on an answer."""
    gone = threading.Event()
    there = threading.Event()

    def script(talk: Conversation) -> None:
        talk.request()
        talk.out(document(b"first"))
        there.set()
        if more == "sends on":
            try:
                while True:
                    talk.out(b"x" * 60_000)
            except OSError:
                gone.set()
                return
        if talk.is_left():
            gone.set()

    stand.peer(script)
    process = stand.start()
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 99)
    there.wait(DEADLINE_S)
    leave(process)
    told = gone.wait(DEADLINE_S)
    assert told, "the daemon does not learn that the client has left"
    return process.wait(DEADLINE_S)


def _close(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    process.stdout.close()


@row
def C16_a_server_that_leaves_while_it_is_sent_to_is_an_abort(stand: Stand) -> None:
    assert _left(stand, _close, "sends on") != 0


@row
def C16_a_server_that_leaves_while_nothing_comes_is_an_abort(stand: Stand) -> None:
    assert _left(stand, _close, "is silent") != 0


@row
def C16_TERM_is_an_abort(stand: Stand) -> None:
    assert _left(stand, lambda process: process.terminate(), "is silent") == -signal.SIGTERM


# --- the state folder


@row
def T23_a_folder_that_others_can_enter_is_refused(stand: Stand) -> None:
    stand.peer(reply)
    stand.state.chmod(0o755)
    done = stand.ask(HTTP_X_MARK="m")
    assert (done.code, done.body) == (0, b"one-shot m")
    assert "relay.folder" in done.errors
    assert str(stand.state) in done.errors
    assert stand.peers[0].count == 0


@row
def T23_a_link_in_its_place_is_refused(stand: Stand) -> None:
    stand.peer(reply)
    elsewhere = stand.folder / "elsewhere"
    stand.state.rename(elsewhere)
    stand.state.symlink_to(elsewhere)
    done = stand.ask()
    assert (done.code, done.body) == (0, b"one-shot ")
    assert "relay.folder" in done.errors
    assert stand.peers[0].count == 0


@row
def T23_a_file_in_its_place_is_refused(stand: Stand) -> None:
    stand.state.write_text("")
    done = stand.ask()
    assert (done.code, done.body) == (0, b"one-shot ")
    assert "relay.folder" in done.errors


@row
def a_base_that_is_gone_is_told(stand: Stand) -> None:
    stand.state.parent.rmdir()
    done = stand.ask()
    assert (done.code, done.body) == (0, b"one-shot ")
    assert "relay.folder" in done.errors


@row
def the_one_shot_has_the_request_untouched(stand: Stand) -> None:
    stand.state.mkdir(mode=0o750)
    stand.state.chmod(0o750)
    done = stand.ask(b"the body", REQUEST_METHOD="POST", CONTENT_LENGTH="8", HTTP_X_MARK="!")
    assert done.body == b"one-shot the body!"


@row
def a_one_shot_that_cannot_be_started_is_a_500(stand: Stand) -> None:
    stand.state.mkdir(mode=0o755)
    stand.write(oneshot=("/absent/python", "-c", ""))
    done = stand.ask()
    assert (done.code, done.status) == (1, "500 Internal Server Error")
    assert "/absent/python" not in done.body.decode()
    assert_one_incident(done, "Internal Server Error", "oneshot")


# --- starting the daemon


@row
def a_daemon_is_started_where_there_is_none(stand: Stand) -> None:
    done = stand.ask()
    (note,) = stand.started()
    assert (done.code, done.body, done.errors) == (0, b"served by %d" % note["pid"], "")
    assert stat.S_IMODE(stand.state.stat().st_mode) == 0o700
    got = stand.ask().body
    assert got == done.body
    assert len(stand.started()) == 1


@row
def T22_the_daemon_escapes_the_request(stand: Stand) -> None:
    """No session, descriptor, folder or variable of the request's."""
    with (stand.folder / "inherited").open("w") as file:
        subprocess.run(
            [str(stand.file)],
            env=cgi.environment(HTTP_COOKIE="secret", LANG="C.UTF-8", LC_TIME="C", TZ="UTC",
                                HOME="/nowhere", LD_LIBRARY_PATH="/x", PYTHONPATH="/x"),
            pass_fds=[file.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            timeout=DEADLINE_S, check=True,
        )  # fmt: skip
    (note,) = stand.started()
    assert note["env"].pop("LC_CTYPE", "") in ("", "C.UTF-8")  # Python's own, in a C locale
    assert note["env"] == {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "LC_TIME": "C",
                           "TZ": "UTC", "HOME": "/nowhere"}  # fmt: skip
    assert note["sid"] == note["pgid"] != os.getsid(0)
    assert note["sid"] != note["pid"]  # no leader: it can never get a terminal
    assert note["cwd"] == "/"
    fds = note["fds"]
    assert (fds["0"], fds["1"]) == ("/dev/null", "/dev/null")
    assert fds["2"] == str(stand.path("log"))
    assert fds["3"] == str(stand.path("lock"))
    assert set(fds) - {"4"} == {"0", "1", "2", "3"}, fds  # 4 is that of the listing itself


@row
def a_socket_that_a_killed_daemon_left_is_no_daemon(stand: Stand) -> None:
    stand.peer(reply).close()
    stand.peers.clear()
    assert stand.path("sock").is_socket()
    got = stand.ask().body
    assert got.startswith(b"served by")


@row
def a_hundred_at_once_start_exactly_one(stand: Stand) -> None:
    processes = [stand.start() for _ in range(100)]
    answers = set()
    for process in processes:
        out, errors = process.communicate(timeout=3 * DEADLINE_S)
        assert (process.returncode, errors) == (0, b"")
        answers.add(out)
    (note,) = stand.started()
    assert answers == {document(b"served by %d" % note["pid"])}


@row
def a_start_that_fails_is_told_once_and_answered_alone(stand: Stand) -> None:
    stand.write("fail")
    first, second = stand.ask(HTTP_X_MARK="1"), stand.ask(HTTP_X_MARK="2")
    assert (first.code, first.body) == (0, b"one-shot 1")
    assert first.errors == "gatebridge: relay.start: no daemon wants to live here\n"
    assert (second.code, second.body, second.errors) == (0, b"one-shot 2", "")
    assert len(stand.started()) == 1


@row
def a_failure_of_a_minute_ago_is_forgotten(stand: Stand) -> None:
    stand.write("fail")
    stand.ask()
    old = stand.path("failed").stat().st_mtime - 61
    os.utime(stand.path("failed"), (old, old))
    stand.write("serve")
    got = stand.ask().body
    assert got.startswith(b"served by")


@row
def a_start_that_ends_without_a_word_is_a_failure(stand: Stand) -> None:
    stand.write("die")
    first, second = stand.ask(), stand.ask()
    assert (first.code, first.body) == (0, b"one-shot ")
    assert "relay.start: the daemon ended without a word" in first.errors
    assert f"{NAME}.log" in first.errors
    assert (second.body, second.errors) == (b"one-shot ", "")
    assert len(stand.started()) == 1
    assert stat.S_IMODE(stand.path("failed").stat().st_mode) == 0o600


@row
def an_interpreter_that_is_gone_is_a_failure(stand: Stand) -> None:
    stand.write(start=("/absent/python", "-c", ""))
    done = stand.ask()
    assert (done.code, done.body) == (0, b"one-shot ")
    assert "relay.start" in done.errors


@row
def a_start_without_end_is_not_waited_for(stand: Stand) -> None:
    stand.write("hang", wait_s=1)
    done = stand.ask()
    assert (done.code, done.body) == (0, b"one-shot ")
    assert "relay.start: no daemon" in done.errors
    assert len(stand.started()) == 1


@row
def TERM_ends_the_waiting(stand: Stand) -> None:
    stand.write("hang")
    process = stand.start()
    wait_until(lambda: len(stand.started()) == 1)
    process.terminate()
    code = process.wait(DEADLINE_S)
    assert code == -signal.SIGTERM


@row
def T23_a_lock_that_is_a_link_is_not_followed(stand: Stand) -> None:
    stand.state.mkdir(mode=0o700)
    stand.path("lock").symlink_to(stand.folder / "victim")
    done = stand.ask()
    assert (done.code, done.body) == (0, b"one-shot ")
    assert "relay.folder" in done.errors
    assert not (stand.folder / "victim").exists()


# --- with the real daemon

SHOP = """
import os, sys, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/out":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * 65536] * 16
    body = environ["wsgi.input"].read()
    text = {"/pid": str(os.getppid()), "/version": "VERSION", "/env": repr(sorted(os.environ)),
            "/relay": environ.get("GATEBRIDGE_RELAY", ""), "/cwd": os.getcwd()}.get(path, "")
    if path == "/error":
        environ["wsgi.errors"].write("told live\\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode() + body]
"""


def real(stand: Stand, code: str = SHOP) -> None:
    """The stand's relay, with a daemon of ours behind it."""
    site = stand.folder / "site"
    site.mkdir(exist_ok=True)
    (site / "shop.py").write_text(code)
    start = (
        *(sys.executable, "-I", "-c"),
        f"import sys; sys.path[:0] = [{str(cgi.ROOT)!r}]; "
        "from gatebridge.autostart import main; main()",
        *("--lock-fd", "3", "--base", stand.baked.base, "--name", NAME),
        *("--folder", str(site), "--", "shop:app"),
    )
    stand.write(start=start)
    stand.real = True


def kill(stand: Stand, daemon: int) -> None:
    """Kill the daemon; its workers follow, and until then a request may still reach one."""
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not alive(daemon))
    wait_until(lambda: not listens(stand))


def listens(stand: Stand) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(stand.path("sock")))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


@row
def real_a_request_starts_it_and_the_next_finds_it(stand: Stand) -> None:
    real(stand)
    first, second = stand.ask(PATH_INFO="/pid"), stand.ask(PATH_INFO="/pid")
    assert (first.code, first.status, first.errors) == (0, "200 OK", ""), first
    assert first.body == second.body
    assert stand.daemon() == int(first.body)
    got = stand.ask(PATH_INFO="/relay").body
    assert got == b"1"
    got = stand.ask(PATH_INFO="/cwd").body
    assert got == str(stand.folder / "site").encode()
    assert stat.S_IMODE(stand.path("sock").stat().st_mode) == 0o600


@row
def real_both_ways(stand: Stand) -> None:
    real(stand)
    body = bytes(range(256)) * 4096
    done = cgi.post([str(stand.file)], body)
    assert (done.code, done.body) == (0, body)
    assert len(stand.ask(PATH_INFO="/out").body) == 1 << 20
    done = stand.ask(PATH_INFO="/error")
    assert "told live" in done.errors


@row
def real_a_hundred_at_once_start_exactly_one(stand: Stand) -> None:
    real(stand)
    processes = [stand.start(PATH_INFO="/pid") for _ in range(100)]
    bodies = set()
    for process in processes:
        out, errors = process.communicate(timeout=3 * DEADLINE_S)
        assert (process.returncode, errors) == (0, b"")
        bodies.add(out.partition(b"\r\n\r\n")[2])
    assert bodies == {b"%d" % stand.daemon()}
    assert stand.path("log").read_text().count("listening on") == 1


@row
def real_a_killed_daemon_is_replaced(stand: Stand) -> None:
    real(stand)
    first = int(stand.ask(PATH_INFO="/pid").body)
    kill(stand, first)
    done = stand.ask(PATH_INFO="/pid")
    assert (done.code, done.errors) == (0, "")
    assert int(done.body) not in (first, 0)


@row
def real_where_daemons_are_killed_it_answers_alone(stand: Stand) -> None:
    """Some hosts end every process that a request has started."""
    real(stand)
    for _ in range(3):
        stand.ask()
        killed = stand.daemon()
        kill(stand, killed)
    done = stand.ask(HTTP_X_MARK="m")
    assert done.body == b"one-shot m"
    assert "start.killed" in done.errors
    got = stand.ask().errors
    assert got == ""


@row
def real_a_stopped_daemon_leaves_nothing(stand: Stand) -> None:
    real(stand)
    first = int(stand.ask(PATH_INFO="/pid").body)
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: not stand.path("sock").exists())
    got = int(stand.ask(PATH_INFO="/pid").body)
    assert got != first  # while the first one may still end
    wait_until(lambda: not alive(first))
    assert stand.path("sock").is_socket()
    assert stand.path("ctl").is_socket()


@row
def real_a_changed_file_starts_a_new_generation(stand: Stand) -> None:
    real(stand)
    got = stand.ask(PATH_INFO="/version").body
    assert got == b"VERSION"
    daemon = stand.daemon()
    path = stand.folder / "site" / "shop.py"
    path.write_text(SHOP.replace('"VERSION"', '"a newer one"'))
    wait_until(lambda: stand.ask(PATH_INFO="/version").body == b"a newer one")
    assert stand.daemon() == daemon


@row
def real_an_application_that_cannot_be_loaded_is_told(stand: Stand) -> None:
    real(stand, "import no_such_module\n")
    first, second = stand.ask(), stand.ask()
    assert (first.code, first.body) == (0, b"one-shot ")
    assert "no_such_module" in first.errors
    assert (second.body, second.errors) == (b"one-shot ", "")
    assert "no_such_module" in stand.path("log").read_text()


@row
def real_the_daemon_knows_nothing_of_the_first_request(stand: Stand) -> None:
    real(stand)
    found = stand.ask(PATH_INFO="/env", HTTP_COOKIE="secret").body.decode()
    assert not {"HTTP_COOKIE", "REQUEST_METHOD", "QUERY_STRING"} & set(eval(found))


@row
def T8_a_stranger_who_listens_is_refused(stand: Stand) -> None:
    """SO_PEERCRED is that of whoever called listen()."""
    if os.geteuid() != 0:
        pytest.skip("another user's socket needs root")
    stand.state.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stand.path("sock")))
        subprocess.run(
            [sys.executable, "-c",
             "import os, socket; s = socket.socket(fileno=0); os.setuid(65534); s.listen(1)"],
            stdin=sock, check=True, timeout=DEADLINE_S,
        )  # fmt: skip
        done = stand.ask()
    assert (done.code, done.body) == (0, b"one-shot ")
    assert "relay.stranger: user 65534" in done.errors

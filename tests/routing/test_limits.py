"""What a route may take: a body's size, a time, a number of requests at once."""

import gc
import tempfile
from io import BytesIO
from wsgiref.validate import validator

import pytest
from webtest import TestApp

from gatebridge.engine.wsgi import FileWrapper, run
from gatebridge.errors import PeerError
from gatebridge.routing.rule import parse_rule
from gatebridge.routing.table import Route, route_table
from tests.engine.recorder import Closable, Recorder, environ_of, giving, sized
from tests.routing.asking import Counters, answer, ask, named, request

PLACE = 4


def limited(app, counters: Counters | None = None, **limits):
    """A table of one route for everything."""
    if counters is not None:
        limits = {"concurrency": 1, "place": PLACE, **limits}
    return route_table([Route(parse_rule("/"), app, **limits)], None, counters)


# -- the body


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


@pytest.mark.parametrize(
    ("length", "most", "code"),
    [
        ("0", 0, None),
        ("10", 10, None),
        ("0" * 30 + "10", 10, None),
        ("11", 10, "body.too_big"),
        ("1", 0, "body.too_big"),
        ("9" * 19, 1 << 40, "body.too_big"),
        ("9" * 5000, 10, "body.too_big"),  # int() would refuse so many digits by ValueError
        ("1_0", 10, "length.malformed"),
        ("-1", 10, "length.malformed"),
        ("²", 10, "length.malformed"),
    ],
)
def test_a_body_by_its_length(length: str, most: int, code: str | None) -> None:
    environ = {**request("/"), "CONTENT_LENGTH": length, "wsgi.input": BytesIO(b"")}
    if code is None:
        assert answer(limited(echo, limit_body=most), environ)[0] == "200 OK"
        return
    with pytest.raises(PeerError) as caught:
        answer(limited(named("never"), limit_body=most), environ)
    assert caught.value.code == code


def test_the_engine_answers_413() -> None:
    out = Recorder()
    run(limited(echo, limit_body=3), environ_of("POST", b"four"), out)
    assert out.status == "413 Content Too Large"
    assert not out.incidents


READS = [
    ("at once", lambda body: [body.read()]),
    ("in pieces", lambda body: list(iter(lambda: body.read(4), b""))),
    ("in a large piece", lambda body: [body.read(1000)]),
    ("in a large line", lambda body: list(iter(lambda: body.readline(1000), b""))),
    ("in lines", lambda body: list(body)),
    ("in parts of lines", lambda body: list(iter(lambda: body.readline(2), b""))),
    ("as a list of lines", lambda body: body.readlines()),
    ("as lists of lines", lambda body: [line for _ in range(9) for line in body.readlines(1)]),
    ("what has come", lambda body: list(iter(lambda: body.read1(5), b""))),
    ("all that has come", lambda body: list(iter(body.read1, b""))),
    ("None for everything", lambda body: [body.read(None)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "read"), READS, ids=[row[0] for row in READS])
def test_a_body_of_unknown_length_is_counted(name, read) -> None:
    """Chunked, say: there is no CONTENT_LENGTH to judge by, and the limit holds all the same."""
    text = b"one\ntwo\nthree\n"

    def app(environ, start_response):
        start_response("200 OK", [])
        return read(environ["wsgi.input"])

    def body_of(most: int, source: BytesIO) -> bytes:
        environ = {**request("/"), "wsgi.input": source}
        return answer(limited(app, limit_body=most), environ)[1]

    assert body_of(len(text), BytesIO(text)) == text
    assert body_of(len(text) + 1, BytesIO(text)) == text
    for most in (len(text) - 1, 5, 0):
        source = BytesIO(text)
        with pytest.raises(PeerError, match="body.too_big"):
            body_of(most, source)
        assert source.tell() <= most + 1  # and no more was read to find that out


def test_a_piece_that_has_come_is_given_at_once() -> None:
    """A script that answers each line of a client's must not wait for a whole block."""

    class Talking:
        def read1(self, size: int) -> bytes:
            return b"ab"[:size]

        def read(self, size: int) -> bytes:
            return b"ab" * (size // 2)

    class Plain:
        def read(self, size: int) -> bytes:
            return b"c" * size

    for source, piece in ((Talking(), b"ab"), (Plain(), b"c" * 8)):
        environ = {**request("/"), "wsgi.input": source}
        answer(limited(named("a"), limit_body=100), environ)
        assert environ["wsgi.input"].read1(8) == piece


def test_a_refused_body_is_refused_again() -> None:
    environ = {**request("/"), "CONTENT_LENGTH": "", "wsgi.input": BytesIO(b"12345")}
    answer(limited(named("a"), limit_body=3), environ)
    for _ in range(3):
        with pytest.raises(PeerError):
            environ["wsgi.input"].read(100)


def test_a_route_without_a_limit_gets_the_input_itself() -> None:
    source = BytesIO(b"x" * 100)
    environ = {**request("/"), "wsgi.input": source}
    answer(limited(named("a"), timeout=1.0), environ)
    assert environ["wsgi.input"] is source


# -- the time


def test_a_timeout_is_told_to_who_keeps_time() -> None:
    told = []
    environ = {**request("/"), "gatebridge.timeout": told.append}
    answer(limited(named("a"), timeout=2.5), environ)
    answer(limited(named("a"), limit_body=5), {**environ, "wsgi.input": BytesIO()})
    assert told == [2.5]
    assert ask(limited(named("a"), timeout=2.5), "/")[0] == "200 OK"  # where nobody keeps time


# -- how many at once


def test_over_the_limit_is_503() -> None:
    counters = Counters()
    table = route_table(
        [
            Route(parse_rule("/a"), named("a"), concurrency=1, place=PLACE),
            Route(parse_rule("/b"), named("b"), concurrency=1, place=0),
        ],
        None,
        counters,
    )
    client = TestApp(validator(table))
    counters.enter(PLACE, 1)
    full = Recorder()
    run(table, environ_of() | request("/a"), full)
    assert full.status == "503 Service Unavailable"
    assert ("Retry-After", "1") in full.head.headers
    assert [code for _, code in full.refusals] == ["route.busy"]
    assert client.get("/b").status == "200 OK"
    counters.leave(PLACE)
    assert client.get("/a").text == "a '/a' ''"
    assert counters.inside == {PLACE: 0, 0: 0}
    assert counters.left == [0, PLACE, PLACE]


def raising(error: BaseException):
    def app(environ, start_response):
        raise error

    return app


def streaming(environ, start_response):
    start_response("200 OK", [])
    yield b"one"
    yield b"two"


def writing(environ, start_response):
    start_response("200 OK", [])(b"written")
    return []


ENDS = [
    ("a list", giving([b"a"]), "answer"),
    ("a tuple", giving((b"a", b"b")), "answer"),
    ("a generator", streaming, "end"),
    ("write()", writing, "end"),
    ("closable", giving(Closable([b"a"])), "end"),
    ("close() raises", giving(Closable([b"a"], raises=ValueError())), "end"),
    ("a block raises", giving(Closable([b"a", ValueError()])), "cut"),
    ("the first block raises", giving(Closable([ValueError()])), "answer"),
    ("too short", giving([b"a"], headers=sized(2)), "answer"),
    ("nothing is returned", giving(None), "answer"),
    ("it raises", raising(ValueError()), "answer"),
    ("it exits", raising(SystemExit(1)), "answer"),
    ("it refuses the request", raising(PeerError("x.y")), "answer"),
]


@pytest.mark.parametrize(("name", "app", "last"), ENDS, ids=[row[0] for row in ENDS])
def test_whatever_happens_it_leaves_once(name, app, last) -> None:
    counters, out = Counters(), Recorder()
    run(limited(app, counters), environ_of(), out)
    assert counters.left == [PLACE]
    assert last in out.names


def test_the_client_leaves_and_so_do_we() -> None:
    counters = Counters()
    run(limited(streaming, counters), environ_of(), Recorder(leaves_after=3))
    assert counters.left == [PLACE]


@pytest.mark.parametrize("result", [[b"a"], (b"a",), Closable([b"a"])], ids=["list", "tuple", "it"])
def test_it_is_inside_until_close(result) -> None:
    counters = Counters()
    held = limited(giving(result), counters)(request("/"), lambda status, headers: None)
    assert b"".join(held) == b"a"
    assert counters.inside == {PLACE: 1}
    for _ in range(3):
        held.close()
    assert counters.left == [PLACE]
    assert getattr(result, "closed", 1) == 1


def test_an_answer_nobody_reads_leaves_too() -> None:
    counters = Counters()
    limited(streaming, counters)(request("/"), lambda status, headers: None).close()
    assert counters.left == [PLACE]


def test_a_list_stays_a_list_for_the_engine() -> None:
    for blocks in ([b"abc"], (b"a", b"bc")):
        out = Recorder()
        run(limited(giving(blocks), Counters()), environ_of(), out)
        assert out.names == ["answer"]
        assert ("Content-Length", "3") in out.head.headers or out.head.length == 3


def test_a_file_stays_a_file_for_the_engine() -> None:
    counters, out = Counters(), Recorder()
    with tempfile.TemporaryFile() as file:
        file.write(b"of a file")
        file.seek(0)
        run(limited(giving(FileWrapper(file)), counters), environ_of(), out)
        assert file.closed
    assert out.names == ["file", "end"]
    assert counters.left == [PLACE]


def test_a_file_without_close_is_let_go() -> None:
    class Endless:
        def read(self, size: int) -> bytes:
            return b""

    counters = Counters()
    run(limited(giving(FileWrapper(Endless())), counters), environ_of(), Recorder())
    assert counters.left == [PLACE]


def test_nothing_to_close_nothing_to_wrap() -> None:
    """Limits that end with the call leave the answer as it is."""
    wrapper = FileWrapper(BytesIO(b"x"))
    environ = {**request("/"), "CONTENT_LENGTH": "1"}
    table = limited(giving(wrapper), limit_body=10, timeout=1.0)
    assert table(environ, lambda status, headers: None) is wrapper


def test_nothing_is_kept_of_a_request() -> None:
    """No circle of objects: an answer's memory goes with it, not with the next collection."""
    table = limited(streaming, Counters(), limit_body=10)
    ask(table, "/")
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            held = table(request("/"), lambda status, headers: None)
            held.close()
        del held
        assert gc.collect() == 0
    finally:
        gc.enable()

"""PEP 3333 where an application fails or breaks a rule: W042 to W050, W057, W058."""

import sys

import pytest

from gatebridge.errors import PeerError
from tests.engine.recorder import TEXT, Closable, ask, giving, sized

SECRET = "a reason no client may see"


# -- W042 to W045: failures


def raising(error: BaseException, start: bool = False):
    def app(environ, start_response):
        if start:
            start_response("200 OK", [("X-Never", "sent"), TEXT])
        raise error

    return app


BEFORE = [
    ("W042 at once", raising(ValueError(SECRET))),
    ("W042 after start_response()", raising(ValueError(SECRET), True)),
    ("W042 at the first block", giving(Closable([ValueError(SECRET)]))),
    ("W042 not callable twice", giving(5)),
    ("W042 returns None", lambda environ, start_response: None),
    ("W057 SystemExit", raising(SystemExit(SECRET))),
    ("W057 KeyboardInterrupt", raising(KeyboardInterrupt(SECRET), True)),
    ("W057 GeneratorExit", raising(GeneratorExit(SECRET))),
]


@pytest.mark.parametrize(("name", "app"), BEFORE, ids=[row[0] for row in BEFORE])
def test_W042_W043_W057_a_500_and_an_incident(name: str, app) -> None:
    out = ask(app)
    assert out.status == "500 Internal Server Error"
    assert out.whole
    assert b"X-Never" not in out.head.block
    (incident,) = out.incidents
    assert incident.encode() in out.body
    page = bytes(out.body).decode()
    for leak in (SECRET, "Traceback", "ValueError", "gatebridge", __file__):
        assert leak not in page
    assert "Traceback" in out.log


def test_W043_HEAD_gets_the_500_without_its_page() -> None:
    out = ask(raising(ValueError(SECRET)), "HEAD")
    assert (out.status[:3], bytes(out.body)) == ("500", b"")


def test_W042_an_error_of_the_network_is_the_applications() -> None:
    """A database that resets its connection is no browser that left."""
    out = ask(raising(ConnectionResetError(SECRET)))
    assert out.status.startswith("500")
    assert len(out.incidents) == 1


AFTER = [
    ("W044 block", [b"a", ValueError(SECRET)]),
    ("W044 exit", [b"a", SystemExit(0)]),
    ("W050 str", [b"a", "text"]),
    ("W050 None", [b"a", None]),
]


@pytest.mark.parametrize(("name", "blocks"), AFTER, ids=[row[0] for row in AFTER])
def test_W044_W045_after_output_no_clean_end(name: str, blocks: list) -> None:
    out = ask(giving(Closable(blocks)))
    assert out.names == ["start", "cut"]
    assert bytes(out.body) == b"a"
    assert len(out.incidents) == 1


SHORT = [
    ("W045 list", lambda: [b"abc"]),
    ("W045 iterator", lambda: iter([b"a", b"b"])),
    ("W045 nothing", lambda: iter([])),
    ("W045 empty list", lambda: []),
]


@pytest.mark.parametrize("give", [row[1] for row in SHORT], ids=[row[0] for row in SHORT])
def test_W045_less_than_promised_is_no_clean_end(give) -> None:
    out = ask(giving(give(), headers=sized(5)))
    assert out.was_cut or out.status.startswith("500")
    assert len(out.incidents) == 1
    assert "body.too_short" in out.log


# -- W046 to W049: start_response()


def exc_info():
    try:
        raise ValueError(SECRET)
    except ValueError:
        return sys.exc_info()


def test_W046_exc_info_before_output_replaces_the_head() -> None:
    def app(environ, start_response):
        start_response("200 OK", [TEXT, ("Content-Length", "99"), ("X-Never", "sent")])
        start_response("503 Later", [TEXT, ("X-Page", "ours")], exc_info())
        return [b"sorry"]

    out = ask(app)
    assert (out.status, bytes(out.body), out.whole) == ("503 Later", b"sorry", True)
    assert b"X-Never" not in out.head.block
    assert out.head.length == 5
    assert not out.incidents


def test_W046_exc_info_at_the_first_call() -> None:
    def app(environ, start_response):
        start_response("500 Ours", [TEXT], exc_info())
        return [b"sorry"]

    assert ask(app).status == "500 Ours"


def test_W047_exc_info_after_output_is_raised_again() -> None:
    raised = []

    def app(environ, start_response):
        write = start_response("200 OK", [TEXT])
        write(b"a")
        try:
            start_response("500 Ours", [TEXT], exc_info())
        except ValueError as error:
            raised.append(str(error))
            raise
        return [b"never"]

    out = ask(app)
    assert raised == [SECRET]
    assert (out.names, bytes(out.body)) == (["start", "cut"], b"a")


def test_W047_exc_info_after_only_empty_blocks_is_in_time() -> None:
    def app(environ, start_response):
        write = start_response("200 OK", [TEXT])
        write(b"")
        start_response("500 Ours", [TEXT], exc_info())
        return [b"ours"]

    assert ask(app).status == "500 Ours"


def test_W048_twice_without_exc_info() -> None:
    def app(environ, start_response):
        start_response("200 OK", [TEXT])
        start_response("200 OK", [TEXT])
        return [b"a"]

    out = ask(app)
    assert out.status.startswith("500")
    assert "start_response.twice" in out.log


NEVER = [
    ("W049 list", [b"a"]),
    ("W049 empty list", []),
    ("W049 iterator", iter([b"a"])),
    ("W049 empty blocks", iter([b"", b""])),
]


@pytest.mark.parametrize(("name", "result"), NEVER, ids=[row[0] for row in NEVER])
def test_W049_never_called(name: str, result) -> None:
    out = ask(lambda environ, start_response: result)
    assert out.status.startswith("500")
    assert "start_response.missing" in out.log


# -- W050: blocks of another type; W058: more than promised


@pytest.mark.parametrize("block", ["text", None, 5, bytearray(b"x"), memoryview(b"x"), [b"x"]])
@pytest.mark.parametrize("wrap", [lambda b: [b], lambda b: iter([b]), lambda b: [b"a", b]])
def test_W050_a_block_that_is_not_bytes(block: object, wrap) -> None:
    out = ask(giving(wrap(block)))
    assert out.status.startswith("500") or out.was_cut
    assert "body.type" in out.log or "TypeError" in out.log  # the compiled build says it so


def test_W050_str_alone_is_no_list_of_blocks() -> None:
    out = ask(giving("text"))
    assert out.status.startswith("500")
    assert "body.type" in out.log or "TypeError" in out.log


LONG = [
    ("W058 list", giving([b"abc", b"defg"], headers=sized(5))),
    ("W058 iterator", giving(iter([b"abc", b"defg", b"h"]), headers=sized(5))),
    ("W058 a block too many", giving(iter([b"abcde", b"f"]), headers=sized(5))),
]


@pytest.mark.parametrize(("name", "app"), LONG, ids=[row[0] for row in LONG])
def test_W058_surplus_is_cut_and_noted(name: str, app) -> None:
    out = ask(app)
    assert (bytes(out.body), out.whole) == (b"abcde", True)
    assert "body.too_long" in out.notes
    assert not out.incidents


def test_W058_surplus_by_write() -> None:
    def app(environ, start_response):
        write = start_response("200 OK", list(sized(5)))
        write(b"abcd")
        write(b"efgh")
        return [b"i"]

    out = ask(app)
    assert (bytes(out.body), out.whole) == (b"abcde", True)
    assert "body.too_long" in out.notes


# -- refusals


def test_a_refusal_of_the_body_is_logged_under_the_incident_of_its_page() -> None:
    """Reading a body may raise PeerError, and the application lets it pass."""

    def app(environ, start_response):
        raise PeerError("body.too_big", "20 > 10 bytes")

    out = ask(app)
    assert (out.status, out.whole) == ("413 Content Too Large", True)
    ((incident, code),) = out.refusals
    assert code == "body.too_big"
    assert incident.encode() in out.body
    assert not out.incidents

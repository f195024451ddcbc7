"""PEP 3333's response half: heads, blocks, close()."""

import pytest

from tests.engine.recorder import TEXT, Closable, Recorder, ask, giving, sized

SECRET = "a reason no client may see"


# -- W030 to W032: what is kept of status and headers


@pytest.mark.parametrize(
    "status", ["200 OK", "404 Not Here", "299 ", "418 I'm a teapot", "599 \xe9t\xe9", "200"]
)
def test_W030_code_and_reason_are_kept(status: str) -> None:
    assert ask(giving([b"x"], status)).status == status


HEADERS = [
    ("W031 order and case", [("X-b", "1"), ("X-A", "2"), ("x-C", "3")]),
    ("W031 duplicates", [("Set-Cookie", "a=1"), ("X-A", "m"), ("Set-Cookie", "b=2")]),
    ("W032 empty value", [("X-A", ""), ("X-B", "v")]),
    ("W032 latin-1 value", [("X-A", "caf\xe9 \xff\x80")]),
    ("W032 tab inside a value", [("X-A", "a\tb")]),
    ("W032 none at all", []),
    ("W032 two hundred", [(f"X-{n}", str(n)) for n in range(200)]),
]


@pytest.mark.parametrize(("name", "headers"), HEADERS, ids=[row[0] for row in HEADERS])
def test_W031_W032_headers_are_kept(name: str, headers: list[tuple[str, str]]) -> None:
    out = ask(giving(Closable([b"x"]), headers=list(headers)))
    assert out.head.headers == headers
    wanted = "".join(f"{key}: {value}\r\n" for key, value in headers)
    assert out.head.block == wanted.encode("latin-1")


def test_W031_a_list_changed_later_changes_nothing() -> None:
    """start_response() has looked at it; what is sent is what it saw."""
    headers = [TEXT, ("X-A", "1")]

    def app(environ, start_response):
        start_response("200 OK", headers)
        headers.append(("X-Late", "a\r\nb"))
        return [b"x"]

    assert b"X-Late" not in ask(app).head.block


# -- W033, W034: every way to give a body


def by_write(*blocks: bytes, rest: object = ()):
    def app(environ, start_response):
        write = start_response("200 OK", [TEXT])
        for block in blocks:
            write(block)
        return rest

    return app


def by_generator(*blocks: bytes):
    """start_response() is called when the first block is asked for."""

    def app(environ, start_response):
        start_response("200 OK", [TEXT])
        yield from blocks

    return app


class Iterator:
    """An application may be a class: its instances are the iterable."""

    def __init__(self, environ, start_response):
        self.start_response = start_response

    def __iter__(self):
        self.start_response("200 OK", [TEXT])
        yield b"ab"
        yield b"c"


class Sequence:
    """Iterable by __getitem__ alone."""

    def __getitem__(self, at):
        return (b"a", b"bc")[at]


class Bytes(bytes):
    """A subclass is bytes."""


BODIES = [
    ("W033 list of one", giving([b"abc"]), b"abc"),
    ("W033 list of several", giving([b"a", b"b", b"c"]), b"abc"),
    ("W033 tuple", giving((b"a", b"bc")), b"abc"),
    ("W033 empty list", giving([]), b""),
    ("W033 empty block", giving([b""]), b""),
    ("W033 empty blocks among others", giving(iter([b"", b"a", b"", b"bc", b""])), b"abc"),
    ("W033 only empty blocks", giving(iter([b"", b""])), b""),
    ("W033 generator, late start_response", by_generator(b"a", b"bc"), b"abc"),
    ("W033 generator of nothing", by_generator(), b""),
    ("W033 class", Iterator, b"abc"),
    ("W033 by __getitem__", giving(Sequence()), b"abc"),
    ("W033 subclass of bytes", giving([Bytes(b"abc")]), b"abc"),
    ("W033 write()", by_write(b"a", b"", b"bc"), b"abc"),
    ("W033 write() then blocks", by_write(b"a", rest=[b"b", b"c"]), b"abc"),
    ("W033 write() of nothing, then blocks", by_write(b"", rest=[b"abc"]), b"abc"),
    ("W033 write() then a generator", by_write(b"a", rest=iter([b"", b"bc"])), b"abc"),
    ("W034 a 3 MB block", giving([b"x" * 3_000_000]), b"x" * 3_000_000),
    ("W034 3 MB by write()", by_write(b"x" * 3_000_000), b"x" * 3_000_000),
]


@pytest.mark.parametrize(("name", "app", "body"), BODIES, ids=[row[0] for row in BODIES])
def test_W033_W034_body(name: str, app, body: bytes) -> None:
    out = ask(app)
    assert (out.status, bytes(out.body), out.whole) == ("200 OK", body, True)
    assert not out.incidents
    assert out.names.count("answer") + out.names.count("end") == 1


@pytest.mark.parametrize("app", [row[1] for row in BODIES], ids=[row[0] for row in BODIES])
def test_W033_a_length_is_told_only_if_it_is_right(app) -> None:
    out = ask(app)
    assert out.head.length in (-1, len(out.body))


def test_W035_each_block_is_out_before_the_next_is_asked_for() -> None:
    out = Recorder()
    seen = []

    def app(environ, start_response):
        start_response("200 OK", [TEXT])
        yield b"one"
        seen.append(bytes(out.body))
        yield b""
        yield b"two"
        seen.append(bytes(out.body))

    ask(app, out=out)
    assert seen == [b"one", b"onetwo"]


def test_W035_write_has_sent_when_it_returns() -> None:
    out = Recorder()
    seen = []

    def app(environ, start_response):
        write = start_response("200 OK", [TEXT])
        seen.append(list(out.names))  # PEP 3333: the head waits for the first bytes of body
        write(b"")
        seen.append(list(out.names))
        write(b"one")
        seen.append(list(out.names))
        return []

    ask(app, out=out)
    assert seen == [[], [], ["start"]]


def test_W035_the_head_waits_for_the_first_bytes() -> None:
    """So an application that fails late still gets its error page."""

    def app(environ, start_response):
        start_response("200 OK", [TEXT])
        yield b""
        raise ValueError(SECRET)

    assert ask(app).status == "500 Internal Server Error"


# -- W036 to W039: close()


CLOSES = [
    ("W036 normal end", [b"a", b"b"], "GET", -1, True),
    ("W036 empty", [], "GET", -1, True),
    ("W037 raises at first", [ValueError(SECRET)], "GET", -1, True),
    ("W037 raises later", [b"a", ValueError(SECRET)], "GET", -1, False),
    ("W037 wrong type", [b"a", "text"], "GET", -1, False),
    ("W037 exits", [SystemExit(1)], "GET", -1, True),
    ("W038 peer leaves at once", [b"a", b"b"], "GET", 0, None),
    ("W038 peer leaves later", [b"a", b"b", b"c"], "GET", 1, None),
    ("W039 HEAD", [b"a", b"b"], "HEAD", -1, True),
]


@pytest.mark.parametrize("row", CLOSES, ids=[row[0] for row in CLOSES])
def test_W036_W037_W038_W039_closed_once(row) -> None:
    _, blocks, method, leaves_after, whole = row
    result = Closable(blocks)
    out = ask(giving(result), method, Recorder(leaves_after))
    assert result.closed == 1
    if whole is not None:
        assert out.whole is whole
    else:
        assert out.gone
        assert not out.incidents  # a browser that was closed is no fault of the application's


def test_W036_close_that_raises_leaves_the_answer_whole() -> None:
    result = Closable([b"a"], ValueError(SECRET))
    out = ask(giving(result))
    assert (result.closed, bytes(out.body), out.whole) == (1, b"a", True)
    assert SECRET in out.log
    assert len(out.heads) == 1


def test_W036_close_of_a_list_subclass() -> None:
    class Closing(list):
        closed = 0

        def close(self):
            self.closed += 1

    result = Closing([b"a"])
    assert bytes(ask(giving(result)).body) == b"a"
    assert result.closed == 1


def test_W037_closed_where_start_response_was_never_called() -> None:
    result = Closable([b"a"])
    assert ask(lambda environ, start_response: result).status.startswith("500")
    assert result.closed == 1


def test_W038_a_peer_that_left_stops_the_iteration() -> None:
    result = Closable([b"x"] * 1000)
    ask(giving(result), out=Recorder(3))
    assert result.asked == 4


def test_W039_HEAD_of_an_endless_iterable_ends() -> None:
    result = Closable(iter(lambda: b"x", b""))
    assert ask(giving(result), "HEAD").whole
    assert result.closed == 1


# -- W040, W041: answers without a body


NO_BODY = [
    ("W040 HEAD", "HEAD", "200 OK"),
    ("W041 204", "GET", "204 No Content"),
    ("W041 304", "GET", "304 Not Modified"),
]
GIVE = [
    ("list", lambda: [b"body"]),
    ("iterator", lambda: iter([b"", b"body", b"more"])),
    ("nothing", lambda: iter([])),
]


@pytest.mark.parametrize("give", [row[1] for row in GIVE], ids=[row[0] for row in GIVE])
@pytest.mark.parametrize(("name", "method", "status"), NO_BODY, ids=[r[0] for r in NO_BODY])
def test_W040_W041_no_body(name: str, method: str, status: str, give) -> None:
    out = ask(giving(give(), status), method)
    assert (out.status, bytes(out.body), out.names) == (status, b"", ["answer"])
    if status[:3] in ("204", "304"):  # RFC 9110 section 8.6: no Content-Length that was not said
        assert b"Content-Length" not in out.head.block


@pytest.mark.parametrize(("name", "method", "status"), NO_BODY, ids=[r[0] for r in NO_BODY])
def test_W040_W041_no_body_by_write(name: str, method: str, status: str) -> None:
    def app(environ, start_response):
        write = start_response(status, [TEXT])
        write(b"body")
        return [b"more"]

    out = ask(app, method)
    assert (bytes(out.body), out.names) == (b"", ["answer"])


def test_W040_HEAD_keeps_the_promised_length() -> None:
    out = ask(giving([], headers=sized(5)), "HEAD")
    assert (out.head.length, out.names, out.incidents) == (5, ["answer"], [])

"""ASGI's extensions of HTTP: early hints, trailers, pathsend, where the wire carries them."""

from pathlib import Path

import pytest

from tests.engine.async_recorder import TEXT, AsyncRecorder, ask, body, made, sending, start

HINTS = "http.response.early_hint"
TRAILERS = "http.response.trailers"
PATHSEND = "http.response.pathsend"


def trailers(*headers, more=False):
    return {"type": TRAILERS, "headers": list(headers), "more_trailers": more}


def path_of(path):
    return {"type": PATHSEND, "path": str(path)}


# -- early hints


def test_hints_come_before_the_head():
    out = AsyncRecorder((HINTS,))
    hint = {"type": HINTS, "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]}
    ask(sending(hint, start(200, TEXT), hint, body(b"x")), out=out)
    assert out.names == ["hints", "hints", "answer"]
    assert out.fields == [(b"link", link) for link in hint["links"]]


@pytest.mark.parametrize("extensions", [(), (HINTS,)])
def test_hints_are_dropped_where_they_are_late_or_not_carried(extensions):
    hint = {"type": HINTS, "links": [b"</a.css>"]}
    messages = [start(200, TEXT), body(b"x", True), hint, body(b"y")]
    out = ask(sending(*messages), out=AsyncRecorder(extensions))
    assert (out.names, out.log) == (["start", "write", "end"], "")


def test_a_hint_cannot_split_the_answer():
    hint = {"type": HINTS, "links": [b"</a>\r\nset-cookie: a=b"]}
    out = ask(sending(hint, start(200, TEXT), body()), out=AsyncRecorder((HINTS,)))
    assert out.names == ["answer"]
    assert "header.control" in out.log


# -- trailers


def promised(*headers):
    return start(200, TEXT, *headers, trailers=True)


def test_trailers_follow_the_body():
    out = AsyncRecorder((TRAILERS,))
    messages = [promised(), body(b"a"), trailers((b"x-a", b"1"), more=True),
                trailers((b"x-b", b"2"))]  # fmt: skip
    ask(sending(*messages), made(HTTP_TE="gzip, Trailers"), out=out)
    assert out.names == ["start", "trailers", "trailers", "end"]
    assert out.fields == [(b"x-a", b"1"), (b"x-b", b"2")]


DROPPED = [
    ("not carried", (), {"HTTP_TE": "trailers"}, ()),
    ("the client did not ask, RFC 9110 6.5.1", (TRAILERS,), {}, ()),
    ("a Content-Length, RFC 9112 7.1.2", (TRAILERS,), {"HTTP_TE": "trailers"},
     ((b"content-length", b"1"),)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "extensions", "vars", "headers"), DROPPED, ids=[row[0] for row in DROPPED]
)
def test_trailers_that_nobody_can_get_are_dropped(name, extensions, vars, headers):
    out = AsyncRecorder(extensions)
    ask(sending(promised(*headers), body(b"a"), trailers((b"x", b"1"))), made(**vars), out=out)
    assert out.events == [("answer", b"a")]
    assert (out.log, out.notes) == ("", [])


def test_trailers_that_never_come_cut_the_answer():
    out = AsyncRecorder((TRAILERS,))
    ask(sending(promised(), body(b"a")), made(HTTP_TE="trailers"), out=out)
    assert out.names == ["start", "cut"]
    assert "asgi.unfinished" in out.log


def test_trailers_out_of_order():
    out = AsyncRecorder((TRAILERS,))
    ask(sending(promised(), trailers()), made(HTTP_TE="trailers"), out=out)
    assert out.status.startswith("500 ")
    assert "asgi.order" in out.log


def test_a_body_behind_the_last_one_is_refused_while_trailers_are_due():
    out = AsyncRecorder((TRAILERS,))
    messages = [promised(), body(b"a"), body(b"b"), trailers()]
    ask(sending(*messages), made(HTTP_TE="trailers"), out=out)
    assert bytes(out.body) == b"a"
    assert out.notes == ["body.too_long"]
    assert out.names[-1] == "end"


# -- pathsend


def test_a_path_is_handed_to_the_wire(tmp_path: Path):
    out = ask(sending(start(200, TEXT), path_of(tmp_path / "a")), out=AsyncRecorder((PATHSEND,)))
    assert out.events == [("file", str(tmp_path / "a").encode())]
    assert out.log == ""


@pytest.mark.parametrize("length", [(), ((b"content-length", b"100000"),)])
def test_a_path_that_the_wire_does_not_send_is_read(tmp_path: Path, length):
    data = bytes(range(250)) * 400
    (tmp_path / "a").write_bytes(data)
    out = AsyncRecorder(files=False)
    ask(sending(start(200, TEXT, *length), path_of(tmp_path / "a")), out=out)
    assert bytes(out.body) == data
    assert (out.names[-1], out.log) == ("end", "")


def test_a_path_for_head_sends_nothing(tmp_path: Path):
    out = ask(sending(start(200, (b"content-length", b"7")), path_of("/etc/passwd")), made("HEAD"))
    assert (out.events, out.head.length) == ([("answer", b"")], 7)


WRONG_PATHS = [("relative", "asgi.message"), (None, "asgi.message"), (b"/bytes", "asgi.message")]


@pytest.mark.parametrize(("path", "code"), WRONG_PATHS)
def test_paths_are_text_and_absolute(path, code):
    out = ask(sending(start(200, TEXT), {"type": PATHSEND, "path": path}))
    assert out.status.startswith("500 ")
    assert code in out.log


def test_a_path_out_of_order(tmp_path: Path):
    assert "asgi.order" in ask(sending(path_of(tmp_path))).log
    assert "asgi.order" in ask(sending(start(), body(b"a", True), path_of(tmp_path))).log


def test_a_missing_file_is_500(tmp_path: Path):
    out = ask(sending(start(200, TEXT), path_of(tmp_path / "no")), out=AsyncRecorder(files=False))
    assert out.status.startswith("500 ")
    assert "FileNotFoundError" in out.log

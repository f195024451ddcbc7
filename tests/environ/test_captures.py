"""Every captured request through our parsers and the environ, against independent readings."""

import hashlib

import pytest

from gatebridge.environ.build import Builder, set_length
from gatebridge.environ.changes import build_noting
from gatebridge.wire.events import AUTHORIZER, UNKNOWN_LENGTH, Request
from tests.corpus.captures import Capture, by_config, captures
from tests.environ.oracle import (
    FIRST_SEGMENT,
    WHOLE,
    WHOLE_BARE,
    Asked,
    expected_path,
    expected_split,
)
from tests.environ.replay import Replayed, replay

CONFIGS = sorted(by_config())
BYTEWISE = [c for at, c in enumerate(captures()) if at % 12 == 0 and len(c.data) < 3000]
TAKEN_BACK = [c for c in captures() if c.kind == "abort"]
WHOLE_REQUESTS = [c for c in captures() if c.kind in ("", "eof")]


def facts(capture: Capture, seen: Replayed) -> tuple[object, ...]:
    """What decoded.json tells too."""
    request = seen.request
    assert request is not None
    sha256 = hashlib.sha256(seen.body).hexdigest()
    fastcgi = (request.role, int(seen.keep)) if capture.protocol.startswith("fcgi") else ()
    last = dict(request.pairs.all())
    assert request.vars == last
    assert request.repeated == (len(last) != len(request.pairs))
    assert seen.ended or capture.protocol == "cgi"
    return (request.pairs.all(), len(seen.body), sha256, *fastcgi)


def decoded_facts(capture: Capture) -> tuple[object, ...]:
    told = capture.decoded
    fastcgi = (told["role"], told["flags"]) if capture.protocol.startswith("fcgi") else ()
    return (capture.pairs, told["body_len"], told["body_sha256"], *fastcgi)


def test_the_corpus_is_whole() -> None:
    assert len(captures()) == 1807
    assert len(WHOLE_REQUESTS) + len(TAKEN_BACK) == 1804
    assert len(CONFIGS) == 47


@pytest.mark.parametrize("step", [0, 7])
@pytest.mark.parametrize("config", CONFIGS)
def test_parsed_as_by_the_other_parser(config: str, step: int) -> None:
    for capture in by_config()[config]:
        if capture.kind in ("", "eof"):
            assert facts(capture, replay(capture, step)) == decoded_facts(capture), capture


@pytest.mark.parametrize("capture", BYTEWISE, ids=repr)
def test_parsed_byte_by_byte(capture: Capture) -> None:
    if capture.kind in ("", "eof"):
        assert facts(capture, replay(capture, 1)) == decoded_facts(capture)


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("capture", TAKEN_BACK, ids=repr)
def test_taken_back_before_its_variables(capture: Capture, step: int) -> None:
    """HAProxy sends BEGIN_REQUEST and ABORT_REQUEST: no request, only an END_REQUEST."""
    seen = replay(capture, step)
    assert seen.request is None
    assert capture.pairs == []
    assert [reply[1] for reply in seen.replies] == [3]
    ids = {record[1] for record in capture.decoded["records"]}
    assert ids == {int.from_bytes(seen.replies[0][2:4], "big")}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("capture", [c for c in captures() if c.kind == "mgmt"], ids=repr)
def test_management_record_is_answered(capture: Capture, step: int) -> None:
    """HAProxy's GET_VALUES: one GET_VALUES_RESULT on id 0."""
    seen = replay(capture, step)
    assert seen.request is None
    assert [reply[:4] for reply in seen.replies] == [b"\x01\x0a\x00\x00"]


def built(capture: Capture, mount: str | None) -> tuple[dict[str, object], int]:
    """The environ as an application gets it: bodies of unknown length are spooled."""
    seen = replay(capture)
    assert seen.request is not None
    environ, length = Builder(mount=mount).build(seen.request)
    if length == UNKNOWN_LENGTH:
        set_length(environ, len(seen.body))
        length = len(seen.body)
    return environ, length


@pytest.mark.parametrize("known", [True, False], ids=["mount", "no-mount"])
@pytest.mark.parametrize("config", CONFIGS)
def test_W008_C19_path_of_every_configuration(config: str, known: bool) -> None:
    for capture in by_config()[config]:
        if capture.kind not in ("", "eof"):
            continue
        asked = Asked(capture)
        environ, _ = built(capture, capture.mount if known else None)
        path = expected_path(capture, asked)
        split = (environ["SCRIPT_NAME"], environ["PATH_INFO"])
        assert split == expected_split(capture, path, known), capture
        assert environ["QUERY_STRING"] == asked.query, capture
        assert environ["REQUEST_METHOD"] == asked.method, capture


def test_undecidable_configurations_exist() -> None:
    assert {*WHOLE, *WHOLE_BARE, *FIRST_SEGMENT} <= set(CONFIGS)


@pytest.mark.parametrize("config", CONFIGS)
def test_F046_F050_T9_length_and_type(config: str) -> None:
    for capture in by_config()[config]:
        if capture.kind not in ("", "eof"):
            continue
        asked = Asked(capture)
        environ, length = built(capture, capture.mount)
        authorizer = capture.decoded.get("role") == AUTHORIZER
        expected = 0 if authorizer else asked.length
        assert length == expected, capture
        if not authorizer and b"?" not in asked.body and len(asked.body) >= asked.length:
            assert replay(capture).body == asked.body[: asked.length], capture
        if expected or environ.get("CONTENT_LENGTH") is not None:
            assert environ["CONTENT_LENGTH"] == str(expected), capture
        for name in ("HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"):
            assert name not in environ, capture
        if capture.case not in ("h2-post", "post-chunked-streamed-120k"):
            assert environ.get("CONTENT_TYPE") == asked.content_type(capture), capture


@pytest.mark.parametrize("config", CONFIGS)
def test_W004_W005_identity_of_every_configuration(config: str) -> None:
    for capture in by_config()[config]:
        if capture.kind not in ("", "eof"):
            continue
        asked = Asked(capture)
        environ, _ = built(capture, capture.mount)
        version = {"HTTP/2.0": "HTTP/2"}.get(asked.version, asked.version)
        protocol = version if capture.front == "h2o" else asked.version
        assert environ["SERVER_PROTOCOL"] == protocol, capture
        assert environ["wsgi.url_scheme"] == ("https" if asked.tls else "http"), capture
        assert environ["REMOTE_ADDR"] == ("::1" if asked.v6 else "127.0.0.1"), capture
        assert str(environ["REMOTE_PORT"]).isdigit(), capture
        assert not environ.get("REMOTE_USER"), capture
        if asked.headers:
            assert environ.get("HTTP_HOST") == asked.host(capture), capture
        name = environ["SERVER_NAME"]
        assert name in ("www.example.test", "localhost", "127.0.0.1"), capture
        assert str(environ["SERVER_PORT"]) in ("80", "443", "8080"), capture


def changed_by_rows(request: Request) -> set[str]:
    """Variables that some row may change; every other one arrives as sent."""
    names = {"SCRIPT_NAME", "PATH_INFO", "CONTENT_LENGTH", "CONTENT_TYPE", "SERVER_NAME"}
    names |= {"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"}
    if request.vars.get("HTTP_HOST") == "":
        names.add("HTTP_HOST")
    if request.vars.get("REMOTE_USER"):
        names |= {"REMOTE_USER", "AUTH_TYPE"}
    return names


@pytest.mark.parametrize("config", CONFIGS)
def test_C01_every_other_variable_arrives(config: str) -> None:
    for capture in by_config()[config]:
        if capture.kind not in ("", "eof"):
            continue
        seen = replay(capture)
        assert seen.request is not None
        free = changed_by_rows(seen.request)
        environ, _ = Builder(mount=capture.mount).build(seen.request)
        values: dict[str, list[str]] = {}
        for name, value in capture.pairs:
            values.setdefault(name, []).append(value)
        for name, sent in values.items():
            mark = "; " if name == "HTTP_COOKIE" else ", "
            expected = mark.join(sent) if name.startswith("HTTP_") else sent[-1]
            assert name in free or environ[name] == expected, (capture, name)
        params = environ["gatebridge.params"]
        assert params is seen.request.pairs


@pytest.mark.parametrize("known", [True, False], ids=["mount", "no-mount"])
@pytest.mark.parametrize("config", CONFIGS)
def test_explain_ends_where_build_ends(config: str, known: bool) -> None:
    for capture in by_config()[config]:
        if capture.kind not in ("", "eof"):
            continue
        builder = Builder(mount=capture.mount if known else None)
        one, other = replay(capture).request, replay(capture).request
        assert one is not None
        assert other is not None
        sent = dict(one.vars)
        environ, length = builder.build(one)
        explained, told, changes = build_noting(builder, other)
        environ.pop("gatebridge.params")
        explained.pop("gatebridge.params")
        assert (explained, told) == (environ, length), capture
        for change in changes:  # replayed, they lead from what came to what is there
            assert sent.get(change.name) == change.before, (capture, change)
            sent[change.name] = change.after
        after = {name: value for name, value in sent.items() if value is not None}
        assert after == {name: value for name, value in environ.items() if "." not in name}

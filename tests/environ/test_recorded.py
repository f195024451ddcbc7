"""Recorded files through the parsers to a report, and back from its JSON."""

import json

import pytest

from gatebridge.environ.build import Builder, set_length
from gatebridge.environ.recorded import Recorded, read, told_by
from gatebridge.environ.report import STEPS, report
from gatebridge.errors import GatebridgeError, PeerError, UseError
from gatebridge.wire.events import UNKNOWN_LENGTH
from tests.corpus.captures import by_config, captures
from tests.environ.making import GET, SOFTWARE, get, request
from tests.environ.replay import replay

WHOLE = [c for at, c in enumerate(captures()) if c.kind == "" and at % 5 == 0]
FIRST = [some[0] for some in by_config().values() if some[0].kind == ""]
HTTP = b"GET /a%20b?x HTTP/1.1\r\nHost: h:81\r\nCookie: a=b\r\n\r\n"


@pytest.mark.parametrize("capture", FIRST, ids=repr)
def test_every_protocol_is_told_by_its_first_bytes(capture) -> None:
    asked = {"fcgi": "fastcgi", "fcgid": "fastcgi"}.get(capture.protocol, capture.protocol)
    assert told_by(capture.data) == asked


def test_a_capture_gives_the_request_that_the_daemon_builds() -> None:
    for capture in WHOLE:
        seen = replay(capture)
        built, length = Builder(mount=capture.mount).build(seen.request)
        if length == UNKNOWN_LENGTH:
            set_length(built, len(seen.body))
            if not seen.body:
                del built["CONTENT_LENGTH"]
        recorded = read(capture.data)
        told = report(recorded.builder(mount=capture.mount), recorded.request, recorded.added)
        assert told["refused"] is None
        assert told["environ"] == {n: v for n, v in built.items() if isinstance(v, str)}, capture
        assert told["received"] == [[n, v] for n, v in capture.pairs], capture
        sent = dict(capture.pairs)
        for change in told["changes"]:  # replayed, they lead from what came to what is there
            assert sent.get(change["name"]) == change["before"], (capture, change)
            sent[change["name"]] = change["after"]
        given = {n: v for n, v in told["environ"].items() if "." not in n}
        assert {n: v for n, v in sent.items() if v is not None} == given, capture
        assert all(change["reason"] and change["source"] for change in told["changes"])


def test_a_report_is_read_again_and_gives_the_same_one() -> None:
    for capture in WHOLE[::7]:
        recorded = read(capture.data)
        told = report(recorded.builder(mount=capture.mount), recorded.request, recorded.added)
        again = read(json.dumps(told).encode())
        assert report(again.builder(), again.request, again.added) == told, capture
        other = report(again.builder(mount="/elsewhere"), again.request, again.added)
        assert other["settings"]["mount"] == "/elsewhere"


def test_http_has_what_its_listener_adds() -> None:
    recorded = read(HTTP)
    told = report(recorded.builder(), recorded.request, recorded.added)
    assert recorded.protocol == "http"
    assert told["front"]["name"] == "gatebridge"
    assert told["environ"]["PATH_INFO"] == "/a b"
    assert told["environ"]["SERVER_NAME"] == "localhost"
    assert told["added"]["SERVER_PORT"] == "80"
    assert "SERVER_NAME" not in dict(told["received"])


@pytest.mark.parametrize(
    ("data", "protocol", "code"),
    [
        (b"", "", "recorded.unknown"),
        (b"\x7fELF\x02", "", "recorded.unknown"),
        (b"\xff\xfe", "", "recorded.unknown"),
        (b"{}", "", "recorded.json"),
        (b"{", "", "recorded.json"),
        (b'{"a": [' * 5000, "", "recorded.json"),
        (b'{"received": [["a"]]}', "", "recorded.json"),
        (b"\x01\x01\x00\x01", "", "recorded.no_request"),
        (b"12:", "", "recorded.no_request"),
        (HTTP[:20], "http", "recorded.no_request"),
        (HTTP, "spdy", "recorded.protocol"),
        (HTTP, "fastcgi", "record.version"),
        (b"00012:", "", "netstring.length"),
    ],
)
def test_what_is_no_request(data: bytes, protocol: str, code: str) -> None:
    with pytest.raises(GatebridgeError) as caught:
        read(data, protocol)
    assert isinstance(caught.value, UseError | PeerError)
    assert caught.value.code == code or code.startswith(("record.", "netstring."))


def told(front: str = "unknown", builder: Builder | None = None, **sent: str) -> dict:
    return report(builder or Builder(), get(front, **sent), {})


def rows(found: dict) -> dict[str, str]:
    return {change["name"]: change["row"] for change in found["changes"]}


def test_a_request_that_is_refused_says_why() -> None:
    found = told(CONTENT_LENGTH="1_0")
    assert found["refused"]["code"] == "length.malformed"
    assert found["environ"] == {}
    assert ["CONTENT_LENGTH", "1_0"] in found["received"]


def test_the_request_itself_stays_as_it_was() -> None:
    made = get("nginx", SCRIPT_NAME="/a", REQUEST_URI="/a", HTTP_PROXY="x")
    before = dict(made.vars)
    report(Builder(), made, {})
    assert made.vars == before
    json.dumps(report(Builder(), made, {}))


@pytest.mark.parametrize(
    ("mount", "script", "row"),
    [(None, "/app/x", "whole-path-script"), ("", "/app/x", "whole-path-script"),
     ("/app", "/app/x", "mount"), ("/app", "/app", "mount")],
)  # fmt: skip
def test_the_mount_has_its_own_word(mount: str | None, script: str, row: str) -> None:
    found = told("nginx", Builder(mount=mount), SCRIPT_NAME=script, REQUEST_URI=script)
    assert rows(found).get("PATH_INFO") == row


def test_every_step_that_is_no_row_is_told_with_a_reason() -> None:
    builder = Builder(trusted=("*",))
    sent = {"HTTP_X_FORWARDED_FOR": "192.0.2.7", "REMOTE_ADDR": "127.0.0.1"}
    found = rows(told("nginx", builder, **sent))
    assert found["REMOTE_ADDR"] == "forwarded"
    assert found["SERVER_PROTOCOL"] == "default"
    nothing = request([("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/x?y=1"), ("PATH_INFO", "/x")])
    assert rows(report(Builder(), nothing, {}))["QUERY_STRING"] == "default"
    for reason, source in STEPS.values():
        assert len(reason.split()) > 5
        assert source


def test_a_recorded_request_keeps_its_settings_unless_told_otherwise() -> None:
    recorded = Recorded("json", request([*GET.items(), ("SERVER_SOFTWARE", SOFTWARE["iis"])]))
    recorded.settings = {"mount": "/a", "front": "nginx", "checked_user": True, "trusted": ["unix"]}
    builder = recorded.builder(mount="/b")
    assert builder.settings == ("/b", "nginx", ("unix",), ("for", "proto"), True)

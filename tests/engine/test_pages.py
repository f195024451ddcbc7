"""The answers in an application's place: status by code, nothing of the input, no version (T20)."""

import pytest

import gatebridge
from gatebridge.engine.pages import failure_page, page, refusal_page
from gatebridge.errors import PeerError
from gatebridge.wire.cgi_head import cgi_block

REFUSALS = [
    ("T18 too big", "body.too_big", "413"),
    ("T18 no space", "body.no_space", "507"),
    ("too late", "body.timeout", "408"),
    ("F037 variables above the limit", "params.too_big", "431"),
    ("T21 too many variables", "params.too_many", "431"),
    ("F032 malformed variables", "params.malformed", "400"),
    ("variables too late", "params.late", "400"),
    ("F112 queue", "queue.full", "503"),
    ("queue, too late", "queue.timeout", "503"),
    ("as many as a route may have", "route.busy", "503"),
    ("F047 length", "length.malformed", "400"),
    ("F047 length", "length.too_big", "400"),
    ("method", "method.malformed", "400"),
    ("any other", "something.new", "400"),
    ("no dot", "odd", "400"),
]


@pytest.mark.parametrize(("name", "code", "status"), REFUSALS, ids=[row[1] for row in REFUSALS])
def test_T20_refusal(name: str, code: str, status: str) -> None:
    evil = "<script>\r\nX-Evil: 1\x00\xff"
    head, body = refusal_page(PeerError(code, evil), "0badcafe", False)
    assert head.status.startswith(status + " ")
    line = "The request was refused. The server's log tells more under incident 0badcafe."
    assert body.decode() == f"{head.status[4:]}\n\n{line}\n"
    sent = cgi_block(head) + body
    assert b"script" not in sent
    assert b"Evil" not in sent
    assert code.encode() not in sent  # for the log
    assert head.length == len(body)


def test_F112_503_says_when_to_come_back() -> None:
    head, _ = refusal_page(PeerError("queue.full"), "x", False)
    assert ("Retry-After", "1") in head.headers
    head, _ = refusal_page(PeerError("body.timeout"), "x", False)
    assert "Retry-After" not in dict(head.headers)


def test_T20_failure_names_the_incident_alone() -> None:
    head, body = failure_page("0badcafe", False)
    assert head.status == "500 Internal Server Error"
    assert b"0badcafe" in body
    said = (cgi_block(head) + body).lower()
    for word in (b"gatebridge", gatebridge.__version__.encode(), b"python", b"traceback", b"<"):
        assert word not in said


@pytest.mark.parametrize("make", [lambda h: failure_page("x", h), lambda h: refusal_page(
    PeerError("queue.full"), "x", h)])  # fmt: skip
def test_W040_HEAD_gets_the_head_of_the_same_page(make) -> None:
    head, body = make(True)
    whole, text = make(False)
    assert body == b""
    assert head.headers == whole.headers
    assert head.length == len(text)


def test_a_page_is_plain_utf_8() -> None:
    head, body = page("299 Caf\xe9", ["\u20ac", "\udcff"], False, [("X-A", "1")])
    assert dict(head.headers)["Content-Type"] == "text/plain; charset=utf-8"
    assert body.decode() == "Caf\xe9\n\n\u20ac\n\n\\udcff\n"
    assert ("X-A", "1") in head.headers

"""Exceptions shown to a developer: who sees the plain page, and who does not."""

import io
import sys

import pytest

from gatebridge.apps.debugger import TracePage, with_debugger

LOCAL = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost:5000"}

SHOWN = [
    ("this machine", {}, True),
    ("IPv6", {"REMOTE_ADDR": "::1", "HTTP_HOST": "[::1]:5000"}, True),
    ("a name below localhost", {"HTTP_HOST": "shop.localhost"}, True),
    ("the name it was given", {"HTTP_HOST": "dev.example:5000"}, True),
    ("another machine", {"REMOTE_ADDR": "192.0.2.7"}, False),
    ("no address: a Unix socket", {"REMOTE_ADDR": ""}, False),
    ("a name that leads here: DNS rebinding", {"HTTP_HOST": "evil.example"}, False),
    ("no name", {"HTTP_HOST": ""}, False),
    ("through a proxy", {"HTTP_X_FORWARDED_FOR": "192.0.2.7"}, False),
    ("through a proxy, RFC 7239", {"HTTP_FORWARDED": "for=192.0.2.7"}, False),
]


def failing(environ, start_response):
    raise RuntimeError("a secret in the traceback")


class Late:
    """Fails behind its first block. closed: how often."""

    def __init__(self):
        self.closed = 0

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return self

    def __iter__(self):
        yield b"begun"
        raise RuntimeError("late")

    def close(self):
        self.closed += 1


def ask(app, **variables):
    """(status, body, error log)"""
    said, errors = [], io.StringIO()

    def start_response(status, headers, exc_info=None):
        if exc_info and said and sent:
            raise exc_info[1]
        said.append(status)

    sent = []
    environ = {"REQUEST_METHOD": "GET", "wsgi.errors": errors, **LOCAL, **variables}
    for block in app(environ, start_response):
        sent.append(block)
    return said[-1], b"".join(sent), errors.getvalue()


@pytest.mark.parametrize(("who", "variables", "shown"), SHOWN, ids=[row[0] for row in SHOWN])
def test_who_sees_the_page(who, variables, shown):
    app = TracePage(failing, "dev.example")
    if not shown:
        with pytest.raises(RuntimeError):  # the engine makes it the plain 500
            ask(app, **variables)
        return
    status, page, errors = ask(app, **variables)
    assert status.startswith("500 ")
    assert b"a secret in the traceback" in page
    assert "a secret in the traceback" in errors


def test_failure_behind_the_head_is_the_servers():
    app = Late()
    with pytest.raises(RuntimeError, match="late"):
        ask(TracePage(app))
    assert app.closed == 1


def test_answer_of_a_sound_application_is_its_own():
    def sound(environ, start_response):
        start_response("204 No Content", [])
        return []

    assert ask(TracePage(sound)) == ("204 No Content", b"", "")


def test_without_werkzeug_it_is_the_plain_page(monkeypatch):
    monkeypatch.setitem(sys.modules, "werkzeug.debug", None)
    assert isinstance(with_debugger(failing), TracePage)


def test_with_werkzeug_it_is_its_debugger_and_its_pin():
    from werkzeug.debug import DebuggedApplication

    made = with_debugger(failing, evalex=True, hostname="dev.example")
    assert isinstance(made, DebuggedApplication)
    assert made.pin_logging
    assert made.evalex
    assert made.trusted_hosts == [".localhost", "127.0.0.1", "dev.example"]
    assert not with_debugger(failing, evalex=False).evalex

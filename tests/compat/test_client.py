"""flup.client: WSGI applications that ask a server, here flup's own and ours.

flup's two do not work on Python 3 (types.StringTypes, bytes as header names); so these are told by
what their arguments say.
"""

import io
import json
import socket
import threading
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from gatebridge.compat.flup.client.fcgi_app import FCGIApp
from gatebridge.compat.flup.client.scgi_app import SCGIApp
from gatebridge.errors import UseError
from tests.compat.stand import FLUP, OURS, Script

CLIENTS = {"fcgi": FCGIApp, "scgi": SCGIApp}
kinds = pytest.mark.parametrize("kind", CLIENTS)


class Got:
    status = ""
    headers: list[tuple[str, str]] = []  # noqa: RUF012 - replaced by every answer
    body = b""
    errors = ""


def ask(app: Any, path: str = "/x y", body: bytes = b"", **more: Any) -> Got:
    got = Got()
    errors = io.StringIO()
    environ = {
        "REQUEST_METHOD": "POST" if body else "GET",
        "SCRIPT_NAME": "/app",
        "PATH_INFO": path,
        "QUERY_STRING": "a=1",
        "SERVER_NAME": "h",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_X_A": "\xe4",
        "MY_OWN": "mine",
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(body + b"behind it"),
        "wsgi.errors": errors,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.url_scheme": "http",
        "CONTENT_LENGTH": str(len(body)),
        **more,
    }

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        got.status, got.headers = status, headers
        return None

    result = app(environ, start_response)
    got.body = b"".join(result)
    close = getattr(result, "close", None)
    if close is not None:
        close()
    got.errors = errors.getvalue()
    return got


@kinds
@pytest.mark.parametrize("package", [FLUP, OURS])
def test_a_request_and_its_answer(tmp_path: Path, kind: str, package: str) -> None:
    with Script(
        tmp_path, "bindAddress='s'", kind, package=package, python=("-W", "ignore")
    ).up() as script:
        got = ask(CLIENTS[kind](connect=script.path))
    told = json.loads(got.body)
    assert got.status == "200 OK"
    assert ("Content-Type", "application/json") in got.headers
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/app", "/x y")
    assert (told["HTTP_X_A"], told["QUERY_STRING"]) == ("\xe4", "a=1")
    assert "MY_OWN" not in told


@kinds
def test_it_is_a_wsgi_application(tmp_path: Path, kind: str) -> None:
    with Script(tmp_path, "bindAddress='s'", kind).up() as script:
        checked = validator(CLIENTS[kind](connect=script.path))
        assert ask(checked, body=b"x", CONTENT_TYPE="text/plain").status == "200 OK"


@kinds
def test_filter_environ(tmp_path: Path, kind: str) -> None:
    """False: everything in capitals, not only what CGI knows."""
    with Script(tmp_path, "bindAddress='s'", kind).up() as script:
        told = json.loads(ask(CLIENTS[kind](connect=script.path, filterEnviron=False)).body)
    assert told["MY_OWN"] == "mine"


@kinds
def test_names_of_its_own(tmp_path: Path, kind: str) -> None:
    class App(CLIENTS[kind]):
        _environCopies = ("SCRIPT_NAME", "QUERY_STRING")
        _environRenames = {"MY_OWN": "THEIRS"}  # noqa: RUF012 - as flup's is

    with Script(tmp_path, "bindAddress='s'", kind).up() as script:
        assert json.loads(ask(App(connect=script.path)).body)["THEIRS"] == "mine"


@kinds
def test_a_body_of_a_megabyte(tmp_path: Path, kind: str) -> None:
    body = bytes(range(256)) * 4096
    with Script(tmp_path, "bindAddress='s'", kind).up() as script:
        got = ask(CLIENTS[kind](connect=script.path), "/body", body)
    assert got.body == b"1048576 " + body[-10:]


def test_the_error_stream(tmp_path: Path) -> None:
    with Script(tmp_path, "bindAddress='s'").up() as script:
        got = ask(FCGIApp(connect=script.path), "/boom")
    assert (got.status[:3], "told to fail" in got.errors) == ("500", True)


@kinds
def test_host_and_port(kind: str) -> None:
    """Also as connect=(host, port); both are where it connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        for app in (CLIENTS[kind](host=host, port=port), CLIENTS[kind](connect=(host, port))):
            came: list[bool] = []

            def take(came: list[bool] = came) -> None:
                sock, _ = listener.accept()
                came.append(True)
                sock.close()

            thread = threading.Thread(target=take)
            thread.start()
            got = ask(app)
            thread.join(20)
            assert came
            assert got.status == "502 Bad Gateway"


@kinds
def test_nobody_there(tmp_path: Path, kind: str) -> None:
    got = ask(CLIENTS[kind](connect=str(tmp_path / "none")))
    assert (got.status, got.body) == ("502 Bad Gateway", b"Bad Gateway\n")
    assert "connect.no_socket" in got.errors


@kinds
def test_arguments_that_say_nothing(kind: str) -> None:
    with pytest.raises(UseError, match="flup.address"):
        CLIENTS[kind]()
    with pytest.raises(UseError, match="flup.address"):
        CLIENTS[kind](host="h")


def test_a_command_is_not_implemented() -> None:
    with pytest.raises(NotImplementedError):
        FCGIApp(command=["x"])

"""Requests as IIS 10 is documented to describe them; none was captured (tests/README.md).

Sources: "IIS Server Variables" for names and meaning (ms524602), "allowPathInfoForScriptMappings"
of the handlers section for SCRIPT_NAME in PATH_INFO, "URL Rewrite Module Configuration
Reference" for HTTP_X_ORIGINAL_URL. The CGI module sends no REQUEST_URI, the FastCGI module does.
"""

import pytest

from gatebridge.environ.build import Builder
from tests.environ.making import environ, request

COMMON = {
    "APPL_MD_PATH": "/LM/W3SVC/1/ROOT",
    "APPL_PHYSICAL_PATH": "C:\\inetpub\\myapp\\",
    "AUTH_TYPE": "",
    "AUTH_USER": "",
    "CONTENT_LENGTH": "0",
    "CONTENT_TYPE": "",
    "GATEWAY_INTERFACE": "CGI/1.1",
    "HTTPS": "off",
    "HTTP_HOST": "www.example.test",
    "INSTANCE_ID": "1",
    "INSTANCE_META_PATH": "/LM/W3SVC/1",
    "LOCAL_ADDR": "192.0.2.7",
    "LOGON_USER": "",
    "PATH_TRANSLATED": "C:\\inetpub\\myapp\\a b",
    "QUERY_STRING": "x=1",
    "REMOTE_ADDR": "198.51.100.9",
    "REMOTE_HOST": "198.51.100.9",
    "REMOTE_PORT": "50123",
    "REMOTE_USER": "",
    "REQUEST_METHOD": "GET",
    "SERVER_NAME": "www.example.test",
    "SERVER_PORT": "80",
    "SERVER_PORT_SECURE": "0",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "Microsoft-IIS/10.0",
}

# what it is, variables, mount (None: not said), SCRIPT_NAME, PATH_INFO
PATHS: list[tuple[str, dict[str, str], str | None, str, str]] = [
    (
        "handler for every path, FastCGI",
        {"SCRIPT_NAME": "/a b", "PATH_INFO": "/a b", "REQUEST_URI": "/a%20b?x=1"},
        None,
        "",
        "/a b",
    ),
    ("handler for every path, CGI", {"SCRIPT_NAME": "/a b", "PATH_INFO": "/a b"}, None, "", "/a b"),
    ("handler for every path, root", {"SCRIPT_NAME": "/", "PATH_INFO": "/"}, None, "", "/"),
    (
        "handler for every path of an application at /app",
        {"SCRIPT_NAME": "/app/a b", "PATH_INFO": "/app/a b", "REQUEST_URI": "/app/a%20b?x=1"},
        "/app",
        "/app",
        "/a b",
    ),
    (
        "the same by CGI",
        {"SCRIPT_NAME": "/app/a b", "PATH_INFO": "/app/a b"},
        "/app",
        "/app",
        "/a b",
    ),
    ("the mount alone", {"SCRIPT_NAME": "/app", "PATH_INFO": "/app"}, "/app", "/app", ""),
    (
        "one script, allowPathInfoForScriptMappings false (the default)",
        {"SCRIPT_NAME": "/app.py", "PATH_INFO": "/app.py/a b", "REQUEST_URI": "/app.py/a%20b"},
        None,
        "/app.py",
        "/a b",
    ),
    (
        "one script, allowPathInfoForScriptMappings true",
        {"SCRIPT_NAME": "/app.py", "PATH_INFO": "/a b", "REQUEST_URI": "/app.py/a%20b"},
        None,
        "/app.py",
        "/a b",
    ),
    (
        "URL Rewrite leads every path to one script",
        {
            "SCRIPT_NAME": "/app.py",
            "PATH_INFO": "/app.py/a b",
            "REQUEST_URI": "/app.py/a%20b",
            "HTTP_X_ORIGINAL_URL": "/a%20b",
        },
        None,
        "/app.py",
        "/a b",
    ),
    (
        "bytes beyond ASCII",
        {
            "SCRIPT_NAME": "/caf\xc3\xa9",
            "PATH_INFO": "/caf\xc3\xa9",
            "REQUEST_URI": "/caf%C3%A9",
        },
        None,
        "",
        "/caf\xc3\xa9",
    ),
]


def built(sent: dict[str, str], mount: str | None = None) -> dict[str, object]:
    return environ(request([*(COMMON | sent).items()]), mount)


@pytest.mark.parametrize(
    ("sent", "mount", "script", "info"), [row[1:] for row in PATHS], ids=[row[0] for row in PATHS]
)
def test_C21_paths(sent: dict[str, str], mount: str | None, script: str, info: str) -> None:
    found = built(sent, mount)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == (script, info)


ROOT = {"SCRIPT_NAME": "/x", "PATH_INFO": "/x"}


@pytest.mark.parametrize(
    ("said", "scheme"), [("off", "http"), ("on", "https"), ("OFF", "http"), ("ON", "https")]
)
def test_https_is_off_in_words(said: str, scheme: str) -> None:
    assert built(ROOT | {"HTTPS": said})["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize("named", [True, False])
def test_it_is_recognised(named: bool) -> None:
    """By its name; where an operator removed that, by APPL_MD_PATH and INSTANCE_META_PATH."""
    sent = COMMON | {"SCRIPT_NAME": "/a/b", "PATH_INFO": "/a/b"}
    if not named:
        del sent["SERVER_SOFTWARE"]
    builder = Builder(mount=None)
    found = builder.build(request([*sent.items()]))[0]
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("", "/a/b")


def test_the_rest_arrives() -> None:
    found = built(ROOT | {"CONTENT_LENGTH": "7", "CONTENT_TYPE": "text/plain"})
    assert found["CONTENT_LENGTH"] == "7"
    assert found["CONTENT_TYPE"] == "text/plain"
    assert found["QUERY_STRING"] == "x=1"
    assert found["REMOTE_ADDR"] == "198.51.100.9"
    assert found["SERVER_PORT"] == "80"
    assert found["APPL_MD_PATH"] == "/LM/W3SVC/1/ROOT"


def test_proxy_is_dropped() -> None:
    assert "HTTP_PROXY" not in built(ROOT | {"HTTP_PROXY": "http://192.0.2.1:9/"})

"""Variables in, environ out: what PEP 3333 and RFC 3875 ask of every request."""

import os

import pytest

from gatebridge.environ.build import MAX_LENGTH, Builder, set_length
from gatebridge.errors import ConfigError, PeerError
from gatebridge.wire.events import AUTHORIZER, FILTER, UNKNOWN_LENGTH
from tests.environ.making import GET, environ, get, request

PLAIN = get("nginx", SCRIPT_NAME="/x", REQUEST_URI="/x")


def test_W001_W002_W003_environ() -> None:
    made = get("nginx", SCRIPT_NAME="/x", REQUEST_URI="/x", SERVER_PROTOCOL="HTTP/1.1")
    built, length = Builder(multithread=True).build(made)
    assert type(built) is dict
    assert built is made.vars  # in place: no copy of the variables is made
    assert length == 0
    assert all(type(name) is str for name in built)
    assert all(type(value) is str for name, value in built.items() if "." not in name)
    assert built["wsgi.version"] == (1, 0)
    for name in (
        "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING SERVER_NAME SERVER_PORT SERVER_PROTOCOL"
    ).split():
        assert name in built


@pytest.mark.parametrize(
    ("sent", "name", "value"),
    [
        ({}, "SCRIPT_NAME", ""),
        ({}, "PATH_INFO", "/"),
        ({}, "QUERY_STRING", ""),
        ({"REQUEST_URI": "/x?a=1"}, "QUERY_STRING", "a=1"),
        ({}, "SERVER_NAME", "localhost"),
        ({"SERVER_NAME": ""}, "SERVER_NAME", "localhost"),
        ({"SERVER_ADDR": "192.0.2.1"}, "SERVER_NAME", "192.0.2.1"),
        ({"SERVER_ADDR": "2001:db8::1"}, "SERVER_NAME", "[2001:db8::1]"),
        ({"HTTP_HOST": "www.example.test:8080"}, "SERVER_NAME", "www.example.test"),
        ({}, "SERVER_PORT", "80"),
        ({"SERVER_PORT": ""}, "SERVER_PORT", "80"),
        ({"HTTPS": "on"}, "SERVER_PORT", "443"),
        ({}, "SERVER_PROTOCOL", "HTTP/1.0"),
        ({"SERVER_PROTOCOL": ""}, "SERVER_PROTOCOL", "HTTP/1.0"),
    ],
)
def test_W004_required_keys(sent: dict[str, str], name: str, value: str) -> None:
    assert environ(request([("REQUEST_METHOD", "GET"), *sent.items()]))[name] == value


@pytest.mark.parametrize(
    ("https", "scheme", "expected"),
    [
        ("on", None, "https"),
        ("ON", None, "https"),
        ("1", None, "https"),
        ("yes", None, "https"),
        ("True", None, "https"),
        ("off", None, "http"),
        ("OFF", "https", "http"),
        ("0", None, "http"),
        ("", None, "http"),
        (None, None, "http"),
        (None, "https", "https"),
        ("", "https", "https"),
        (None, "http", "http"),
        ("maybe", None, "http"),
    ],
)
def test_W005_url_scheme(https: str | None, scheme: str | None, expected: str) -> None:
    sent = {"HTTPS": https, "REQUEST_SCHEME": scheme}
    made = get(**{name: value for name, value in sent.items() if value is not None})
    assert environ(made)["wsgi.url_scheme"] == expected


@pytest.mark.parametrize("flags", [(False, False, False), (True, True, False), (False, True, True)])
def test_W006_W007_flags(flags: tuple[bool, bool, bool]) -> None:
    threads, processes, once = flags
    builder = Builder(multithread=threads, multiprocess=processes, run_once=once)
    built, _ = builder.build(get())
    assert built["wsgi.multithread"] is threads
    assert built["wsgi.multiprocess"] is processes
    assert built["wsgi.run_once"] is once
    assert built["wsgi.input_terminated"] is True


@pytest.mark.parametrize("method", ["GET", "FOO", "M-SEARCH", "get", "!#$%&'*+-.^_`|~0"])
def test_W010_any_method_token(method: str) -> None:
    assert environ(request([("REQUEST_METHOD", method)]))["REQUEST_METHOD"] == method


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "G\xc9T", "GET,", "(GET)"])
def test_W010_method_that_is_no_token(method: str) -> None:
    with pytest.raises(PeerError) as caught:
        environ(request([("REQUEST_METHOD", method)]))
    assert caught.value.code == "method.malformed"


def test_F031_no_method_at_all() -> None:
    with pytest.raises(PeerError) as caught:
        environ(request([]))
    assert caught.value.code == "method.malformed"


def test_W009_W011_query_and_bytes_are_left_alone() -> None:
    built = environ(get(REQUEST_URI="/x?q=\xc3\xa9", QUERY_STRING="a=%26&b=+&\xc3\xa9"))
    assert built["QUERY_STRING"] == "a=%26&b=+&\xc3\xa9"


def test_F030_latin_1_throughout() -> None:
    text = "".join(map(chr, range(128, 256)))
    built = environ(get(HTTP_X_BYTES=text, REQUEST_URI="/%ff%80", SCRIPT_NAME="/\xff\x80"), "")
    assert built["HTTP_X_BYTES"] == text
    assert built["PATH_INFO"] == "/\xff\x80"


def test_W012_process_environment_untouched() -> None:
    before = dict(os.environ)
    environ(get(HTTP_PROXY="http://192.0.2.1/", PATH="/evil"))
    assert dict(os.environ) == before


WIRE_NAMES = [
    "wsgi.input",
    "wsgi.errors",
    "wsgi.version",
    "wsgi.url_scheme",
    "wsgi.run_once",
    "wsgi.file_wrapper",
    "wsgi.input_terminated",
    "wsgiorg.routing_args",
    "gatebridge.params",
    "gatebridge.role",
    "gatebridge.data",
    "werkzeug.request",
    "x.y",
]


@pytest.mark.parametrize("name", WIRE_NAMES)
def test_W014_names_of_the_gateway_are_not_believed(name: str) -> None:
    clean = environ(get())
    made = get(**{name: "evil"})
    built = environ(made)
    assert "evil" not in built.values()
    assert (name in built) == (name in clean)
    assert (name, "evil") in made.pairs.all()  # still to be seen by who looks


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UWSGI_FILE", "/etc/passwd"),
        ("UWSGI_PYHOME", "/tmp"),
        ("SCRIPT_FILENAME", "/etc/passwd"),
        ("PHP_VALUE", "auto_prepend_file=/etc/passwd"),
        ("PATH_TRANSLATED", "/etc/passwd"),
    ],
)
def test_W015_W065_C19_wire_variables_are_inert(name: str, value: str) -> None:
    built = environ(get(**{name: value}, REQUEST_URI="/a", SCRIPT_NAME="/a"))
    assert built[name] == value
    built.pop(name)
    built.pop("gatebridge.params")
    other = environ(get(REQUEST_URI="/a", SCRIPT_NAME="/a"))
    other.pop("gatebridge.params")
    assert built == other


def test_W016_nothing_of_one_request_in_the_next() -> None:
    builder = Builder()
    first, _ = builder.build(get(HTTP_COOKIE="secret", HTTPS="on", REQUEST_URI="/a"))
    second, _ = builder.build(get(REQUEST_URI="/b"))
    assert "HTTP_COOKIE" not in second
    assert second["wsgi.url_scheme"] == "http"
    assert first is not second


@pytest.mark.parametrize(
    ("field", "body", "complete", "length", "left"),
    [
        ("7", b"", False, 7, "7"),
        ("7", b"a=1&b=2", True, 7, "7"),
        ("0", b"", True, 0, "0"),
        ("007", b"", False, 7, "007"),
        (str(MAX_LENGTH), b"", False, MAX_LENGTH, str(MAX_LENGTH)),
        ("", b"", True, 0, None),
        (None, b"", True, 0, None),
        ("-1", b"", True, 0, None),
        ("", b"abc", True, 3, "3"),
        (None, b"abc", True, 3, "3"),
        ("-1", b"abc", True, 3, "3"),
        ("", b"abc", False, UNKNOWN_LENGTH, None),
        (None, b"", False, UNKNOWN_LENGTH, None),
        ("-1", b"", False, UNKNOWN_LENGTH, None),
    ],
)
def test_F046_F050_content_length(
    field: str | None, body: bytes, complete: bool, length: int, left: str | None
) -> None:
    sent = [*GET.items()] if field is None else [*GET.items(), ("CONTENT_LENGTH", field)]
    built, known = Builder().build(request(sent, body=body, complete=complete))
    assert known == length
    assert built.get("CONTENT_LENGTH") == left


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("abc", "length.malformed"),
        ("-2", "length.malformed"),
        ("+1", "length.malformed"),
        ("1e3", "length.malformed"),
        (" 5", "length.malformed"),
        ("5 ", "length.malformed"),
        ("5,5", "length.malformed"),
        ("1_0", "length.malformed"),
        ("\xb2", "length.malformed"),
        ("0x5", "length.malformed"),
        (str(10**20), "length.too_big"),
        (str(MAX_LENGTH + 1), "length.too_big"),
    ],
)
def test_F047_T9_malformed_length(field: str, code: str) -> None:
    with pytest.raises(PeerError) as caught:
        environ(request([*GET.items(), ("CONTENT_LENGTH", field)], complete=False))
    assert caught.value.code == code


def test_F050_spooled_body_gets_its_length() -> None:
    sent = [*GET.items(), ("HTTP_TRANSFER_ENCODING", "chunked")]
    built, length = Builder().build(request(sent, complete=False))
    assert length == UNKNOWN_LENGTH
    set_length(built, 120_000)
    assert built["CONTENT_LENGTH"] == "120000"
    assert "HTTP_TRANSFER_ENCODING" not in built


def test_roles_are_named() -> None:
    assert "gatebridge.role" not in environ(get())
    assert environ(request([*GET.items()], role=AUTHORIZER))["gatebridge.role"] == "authorizer"
    assert environ(request([*GET.items()], role=FILTER))["gatebridge.role"] == "filter"


def test_authorizer_may_lack_a_method() -> None:
    built = environ(request([("REQUEST_URI", "/app/x")], role=AUTHORIZER), "/app")
    assert built["REQUEST_METHOD"] == "GET"
    assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == ("/app", "/x")


@pytest.mark.parametrize(
    ("mount", "script"), [("/", ""), ("", ""), ("/app", "/app"), ("/app/", "/app")]
)
def test_mount_spellings(mount: str, script: str) -> None:
    built = environ(get("nginx", SCRIPT_NAME="/app/x", REQUEST_URI="/app/x"), mount)
    assert built["SCRIPT_NAME"] == script
    assert built["PATH_INFO"] == "/app/x"[len(script) :]


def test_mount_beyond_ascii_is_its_utf_8_bytes() -> None:
    made = get("nginx", SCRIPT_NAME="/\xc3\xa9/x", REQUEST_URI="/%C3%A9/x")
    assert environ(made, "/é")["SCRIPT_NAME"] == "/\xc3\xa9"


@pytest.mark.parametrize("mount", ["app", "/a//b"])
def test_mount_malformed(mount: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Builder(mount=mount)
    assert caught.value.code == "mount.malformed"


def test_front_unknown() -> None:
    with pytest.raises(ConfigError) as caught:
        Builder(front="ngnix")
    assert caught.value.code == "front.unknown"


def test_front_named_by_the_operator() -> None:
    """nginx without a SERVER_SOFTWARE parameter is known by --front alone."""
    sent = [*GET.items(), ("SCRIPT_NAME", "/x"), ("REQUEST_URI", "/x")]
    assert environ(request(sent))["SCRIPT_NAME"] == "/x"
    assert Builder(front="nginx").build(request(sent))[0]["SCRIPT_NAME"] == ""


def test_software_names_are_remembered_in_bounds() -> None:
    builder = Builder()
    for at in range(300):
        sent = [*GET.items(), ("SERVER_SOFTWARE", f"nginx/{at}"), ("SCRIPT_NAME", "/x")]
        assert builder.build(request([*sent, ("REQUEST_URI", "/x")]))[0]["PATH_INFO"] == "/x"
    assert len(builder._seen) <= 64
    builder.build(request([*GET.items(), ("SERVER_SOFTWARE", "x" * 100_000)]))
    assert all(len(name) <= 256 for name in builder._seen)

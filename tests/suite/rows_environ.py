"""The rows about what the application finds in its environ."""

from tests.suite.want import MOUNT, PORT, Row, Want
from tests.suite.wires import Req

FORM = ("Content-Type", "application/x-www-form-urlencoded")


def path_row(id: str, target: str, path_info: str, query: str = "", *kinds: str) -> Row:
    want = Want(
        environ={
            "SCRIPT_NAME": MOUNT,
            "PATH_INFO": path_info,
            "QUERY_STRING": query,
            "wsgi.url_scheme": "http",
        }
    )
    return Row(id, "environ", Req(target=target), want, *kinds)


ENVIRON = (
    path_row("path-root", "/", "/"),
    path_row("path-plain", "/a/b", "/a/b"),
    path_row("path-query", "/x?a=1&b=%20&c", "/x", "a=1&b=%20&c"),
    path_row("path-empty-query", "/x?", "/x"),
    path_row("path-encoded-space", "/a%20b/c", "/a b/c"),
    path_row("path-utf8", "/a%20b/%C3%A9?x=1", "/a b/\xc3\xa9", "x=1"),
    path_row("path-query-in-path", "/e%3Fq?x=a%26b", "/e?q", "x=a%26b"),
    path_row("path-reserved", "/a;b=1/c+d/%25/e", "/a;b=1/c+d/%/e"),
    path_row("path-suffix", "/x.php/tail", "/x.php/tail"),
    path_row("path-double-slash", "//x//y", "//x//y"),
    path_row("path-double-slash-inside", "/x//y/", "/x//y/"),
    path_row("path-encoded-slash", "/a%2Fb/c", "/a/b/c"),
    path_row("path-bad-utf8", "/%FF%FE", "/\xff\xfe"),
    path_row("path-mount-alone", "", "", "", "mounted"),
    path_row("path-mount-alone-query", "?x=1", "", "x=1", "mounted"),
    Row(
        "environ-request",
        "environ",
        Req("GET", "/x", (("User-Agent", "suite"), ("X-One", "1"))),
        Want(
            environ={
                "REQUEST_METHOD": "GET",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REMOTE_ADDR": "127.0.0.1",
                "SERVER_PORT": PORT,
                "HTTP_X_ONE": "1",
                "HTTP_USER_AGENT": "suite",
                "CONTENT_TYPE": None,
                "HTTP_CONTENT_TYPE": None,
                "HTTP_CONTENT_LENGTH": None,
            }
        ),
    ),
    Row(
        "environ-host",
        "environ",
        Req("GET", "/x", (("Host", "named.example.test:8080"),)),
        Want(environ={"HTTP_HOST": "named.example.test:8080"}),
    ),
    Row(
        "environ-method-patch",
        "environ",
        Req("PATCH", "/x", (FORM,), b"a=1"),
        Want(environ={"REQUEST_METHOD": "PATCH", "CONTENT_LENGTH": "3", "CONTENT_TYPE": FORM[1]}),
    ),
    Row(
        "environ-method-propfind",
        "environ",
        Req("PROPFIND", "/x", (FORM,), b"<a/>"),
        Want(environ={"REQUEST_METHOD": "PROPFIND", "CONTENT_LENGTH": "4"}),
        "plain",
    ),
    Row(
        "environ-method-unknown",
        "environ",
        Req("FROB", "/x"),
        Want(environ={"REQUEST_METHOD": "FROB"}),
        "plain",
    ),
    Row(
        "environ-method-options",
        "environ",
        Req("OPTIONS", "/x"),
        Want(environ={"REQUEST_METHOD": "OPTIONS", "PATH_INFO": "/x"}),
    ),
    Row(
        "environ-repeated-header",
        "environ",
        Req("GET", "/", (("X-Dup", "a"), ("X-Dup", "b"), ("Accept", "x/y"), ("Accept", "*/*"))),
        Want(environ={"HTTP_X_DUP": "a, b", "HTTP_ACCEPT": "x/y, */*"}),
    ),
    Row(
        "environ-repeated-cookie",
        "environ",
        Req("GET", "/", (("Cookie", "a=1"), ("Cookie", "b=2"))),
        Want(environ={"HTTP_COOKIE": "a=1; b=2"}),
    ),
    Row(
        "environ-header-bytes",
        "environ",
        Req("GET", "/", (("X-Latin", "caf\xe9"), ("X-Utf8", "caf\xc3\xa9"))),
        Want(environ={"HTTP_X_LATIN": "caf\xe9", "HTTP_X_UTF8": "caf\xc3\xa9"}),
    ),
    Row(
        "environ-header-large",
        "environ",
        Req("GET", "/", (("X-Large", "v" * 6000),)),
        Want(environ={"HTTP_X_LARGE": "v" * 6000}),
    ),
    Row(
        "environ-proxy-dropped",
        "environ",
        Req("GET", "/", (("Proxy", "http://192.0.2.1:9/"),)),
        Want(environ={"HTTP_PROXY": None}),
    ),
    Row(
        "environ-authorization",
        "environ",
        Req("GET", "/", (("Authorization", "Basic dXNlcjpwYXNz"),)),
        Want(environ={"HTTP_AUTHORIZATION": "Basic dXNlcjpwYXNz"}),
    ),
    Row(
        "environ-forwarded-not-believed",
        "environ",
        Req("GET", "/", (("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-Proto", "https"))),
        Want(
            environ={
                "REMOTE_ADDR": "127.0.0.1",
                "wsgi.url_scheme": "http",
                "HTTP_X_FORWARDED_FOR": "198.51.100.7",
            }
        ),
    ),
)

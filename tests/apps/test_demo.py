"""The demo application, driven in process through webtest and its WSGI lint."""

import hashlib
from html.parser import HTMLParser

import pytest
from webtest.app import TestApp

from gatebridge.apps import demo, demo_page
from gatebridge.apps.demo_variables import GROUPS, OTHER, place
from gatebridge.environ.build import Builder
from gatebridge.environ.report import LISTENERS
from gatebridge.wire.request import Pairs, Request

FASTCGI = {
    "SERVER_SOFTWARE": "nginx/1.22.1",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "8080",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "gatebridge.protocol": "fastcgi",
    "gatebridge.bind": "unix:/run/demo.sock",
}
VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """Text and links of a page; fails where tags do not match."""

    def __init__(self, body):
        super().__init__()
        self.open, self.links, self.texts, self.ids = [], [], [], []
        self.feed(body)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.links += [given[name] for name in ("href", "src", "action") if name in given]
        self.ids += [given["id"]] if "id" in given else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


def get(path="/", client=None, **environ):
    return TestApp(demo.app).get(path, extra_environ=environ, headers=client or {})


def page(path="/", client=None, **environ):
    answer = get(path, client, **environ)
    assert answer.content_type == "text/html"
    return Page(answer.text)


def test_page_shows_the_chain_in_order():
    found = page(client={"User-Agent": "Mozilla/5.0 Gecko/2 Firefox/140.0"}, **FASTCGI)
    order = [
        "Firefox 140",
        "nginx 1.22.1",
        "FastCGI",
        "gatebridge 0.1.0",
        "gatebridge.apps.demo:app",
    ]
    places = [found.texts.index(text) for text in order]
    assert places == sorted(places)
    assert "unix:/run/demo.sock" in found.texts


def test_page_over_http_has_no_front_server():
    found = page(**{"gatebridge.protocol": "http"})
    assert "HTTP/1.1" in found.texts
    assert "Front server" not in found.texts[: found.texts.index("Application")]


def test_page_explains_what_it_knows_and_shows_the_rest():
    found = page("/x/%C3%A9?q=1", X_ODD="1", **FASTCGI)
    for text in (
        "PATH_INFO",
        "/x/é",
        "the rest of the path, decoded",
        "X_ODD",
        "wsgi.input",
        "q=1",
    ):
        assert text in found.texts


def test_chain_on_one_line():
    line = get("/chain", {"User-Agent": "curl/8.5.0"}, **FASTCGI).text
    assert line.startswith("curl 8.5.0 (")
    assert " -> nginx 1.22.1 (HTTP/1.1 at localhost:8080) -> FastCGI (unix:/run" in line
    assert line.endswith("-> gatebridge.apps.demo:app (mounted at /)\n")


def test_page_needs_nothing_from_elsewhere():
    answer = get("/")
    found = Page(answer.text)
    assert {link for link in found.links if "//" in link} == set()
    assert "url(" not in answer.text
    assert "<script" not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert len(found.ids) == len(set(found.ids))


HOSTILE = "\"'><script>alert(1)</script>&\x1b\u202e"


@pytest.mark.parametrize("name", ["HTTP_USER_AGENT", "QUERY_STRING", "SERVER_SOFTWARE", "X<b>"])
def test_page_escapes_everything(name):
    answer = get("/", **{name: HOSTILE.encode().decode("latin-1")})
    assert "<script" not in answer.text
    assert "<b>" not in answer.text
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text
    Page(answer.text)


def test_page_keeps_credentials_to_itself():
    answer = get("/", {"Authorization": "Basic aHVzaA==", "Cookie": "id=hush"})
    assert "aHVzaA" not in answer.text
    assert "hush" not in answer.text


def served(monkeypatch, bind="unix:demo", **sent):
    """The environ of a request that a daemon serves here, as the application gets it."""
    pairs = [("REQUEST_METHOD", "GET"), ("SERVER_SOFTWARE", "nginx/1.22.1"), *sent.items()]
    monkeypatch.setitem(LISTENERS, "unix:demo", Builder())
    made = Request(1, dict(pairs), False, Pairs(b"", lambda _block: pairs))
    environ, _ = LISTENERS["unix:demo"].build(made)
    return {**environ, "gatebridge.bind": bind, "gatebridge.protocol": "fastcgi"}


def test_page_tells_what_changed_on_the_way(monkeypatch):
    sent = {"SCRIPT_NAME": "/a b", "REQUEST_URI": "/a%20b", "HTTP_PROXY": "<b>"}
    sent["HTTP_COOKIE"] = "id=hush"
    environ = served(monkeypatch, **sent)
    found = Page(demo_page.render(environ))
    changes = found.texts[found.texts.index("What changed on the way") :]
    assert changes.index("http-proxy") < changes.index("whole-path-script")
    assert "captures nginx-fcgi-root" in changes[changes.index("whole-path-script") + 2]
    assert "By the rules for nginx" in changes[1]
    assert "<b>" not in demo_page.render(environ)
    assert "hush" not in demo_page.render(environ)


def test_page_tells_what_came_after_the_rules(monkeypatch):
    environ = served(monkeypatch, SCRIPT_NAME="/a/x", REQUEST_URI="/a/x")
    environ |= {"SCRIPT_NAME": "/a", "PATH_INFO": "/x", "gatebridge.route": "/a"}
    environ |= {"CONTENT_LENGTH": "7", "HTTP_X_NEW": "1"}
    texts = Page(demo_page.render(environ)).texts
    assert {"route", "length-read", "application"} <= set(texts)


def test_page_tells_no_changes_where_there_was_no_listener(monkeypatch):
    environ = served(monkeypatch, SCRIPT_NAME="", PATH_INFO="/x", REQUEST_URI="/x")
    assert "What changed on the way" in demo_page.render(environ)
    environ["gatebridge.bind"] = "unix:elsewhere"
    assert "What changed on the way" not in demo_page.render(environ)
    assert "What changed on the way" not in get("/").text


def test_page_lists_the_raw_variables():
    pairs = [("A", "1"), ("A", "2"), ("HTTP_COOKIE", "hush")]
    answer = get("/", **{"gatebridge.params": pairs})
    assert "The 3 variables as they were sent" in answer.text
    assert "hush" not in answer.text


@pytest.mark.parametrize(
    ("mount", "link"),
    [
        ("", "/upload"),
        ("/app", "/app/upload"),
        ("/a b", "/a%20b/upload"),
        ("//evil", "/evil/upload"),
    ],
)
def test_links_stay_below_the_mount(mount, link):
    assert link in page("/x", SCRIPT_NAME=mount).links


def test_hello():
    assert get("/hello").body == b"Hello, world!"
    assert TestApp(demo.app).head("/hello").headers["Content-Length"] == "13"


def test_stream_gives_piece_after_piece(monkeypatch):
    monkeypatch.setattr(demo, "PAUSE_S", 0)
    pieces = demo.app({"PATH_INFO": "/stream"}, lambda status, headers: None)
    assert next(iter(pieces)) == b"line 1 of 10\n"
    assert get("/stream").body.count(b"\n") == 10


def test_error_raises():
    with pytest.raises(RuntimeError, match="on purpose"):
        get("/error")


CONTENT = bytes(range(256)) * 500


def send(content=CONTENT, accept="*/*", files=None):
    files = [("file", "ü<b>.bin", content)] if files is None else files
    form = TestApp(demo.app)
    return form.post("/upload", upload_files=files, headers={"Accept": accept}, expect_errors=True)


def test_upload_answers_name_size_and_digest():
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert send().text == f"name: ü<b>.bin\nsize: 128000\nsha256: {digest}\n"
    answer = send(accept="text/html,*/*")
    assert {"ü<b>.bin", "128,000 bytes", digest} <= set(Page(answer.text).texts)


def test_upload_of_an_empty_file():
    assert hashlib.sha256().hexdigest() in send(b"").text


def test_upload_form_names_what_the_application_reads():
    form = get("/").form
    form["file"] = ("a.txt", b"abc")
    answer = form.submit(headers={"Accept": "text/html"})
    assert "3 bytes" in Page(answer.text).texts


def test_upload_without_a_file_or_a_form():
    form = TestApp(demo.app)
    assert "multipart.type" in form.post("/upload", {"a": "b"}, status=400).text
    kind = "multipart/form-data; boundary=x"
    assert "multipart.no_file" in form.post("/upload", "--x--", content_type=kind, status=400).text
    assert form.get("/upload", status=405).headers["Allow"] == "POST"


def test_icon_is_not_the_page():
    assert TestApp(demo.app).get("/favicon.ico", status=404).content_type == "text/plain"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Mozilla/5.0 (X11) AppleWebKit/5 Chrome/140.0.1 Safari/5", "Chrome 140"),
        ("Mozilla/5.0 AppleWebKit/5 Chrome/140.0.1 Safari/5 Edg/141.2", "Edge 141"),
        ("Mozilla/5.0 (Macintosh) AppleWebKit/5 Version/18 Safari/605.1", "Safari"),
        ("curl/8.5.0", "curl 8.5.0"),
        ("", "unnamed"),
    ],
)
def test_agent(header, name):
    assert demo_page.agent(header) == name


def test_every_variable_has_a_group():
    for name in ("HTTP_X_Y", "HTTP_SEC_FETCH_MODE", "SSL_CIPHER", "REDIRECT_X", "REMOTE_X"):
        assert place(name)[0] in GROUPS
        assert place(name)[0] != OTHER
    assert place("NO_SUCH") == (OTHER, "")

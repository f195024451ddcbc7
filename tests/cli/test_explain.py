"""``gatebridge explain``: a recorded request, the next live one, and one through a real nginx."""

import json
import os
import stat
import subprocess
import sys

import pytest

from gatebridge.cli import explain
from gatebridge.errors import UseError
from tests.cli.run import run, said
from tests.corpus.captures import by_config
from tests.fronts.servers import Server, free_port, program
from tests.serve.service import DEADLINE_S, Service, service
from tests.serve.test_daemon_explain import nginx, send


def capture(config: str, case: str) -> bytes:
    return next(one.data for one in by_config()[config] if one.case == case)


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "seen.bin"
    path.write_bytes(capture("nginx-fcgi-app-plain", "get-encoded"))
    return path


def done(folder, *words: str, **more):
    found = run(folder, "explain", *words, **more)
    assert found.returncode == 0, found.stderr
    return found


# -- a recorded one


def test_a_recorded_request_is_told_change_by_change(recorded) -> None:
    text = done(recorded.parent, "--file", "seen.bin").stdout
    assert text.startswith("front server  nginx (nginx/1.22.1)\ncame by       fastcgi, seen.bin\n")
    parts = [line for line in text.splitlines() if line and line[0] != " "][3:]
    assert parts == ["received: 21 variables", "changed on the way: 4",
                     "given to the application: 27 keys"]  # fmt: skip
    assert (
        '  PATH_INFO                    absent -> "/app/a b/é"\n      whole-path-script: W' in text
    )
    assert "\n      seen: captures nginx-fcgi-root" in text
    assert "\n  wsgi.version                 (1, 0)\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_settings_come_from_options_and_from_a_file(recorded) -> None:
    folder = recorded.parent
    (folder / "g.toml").write_text('[server]\nbind = ["unix:s"]\n[[app]]\ntarget = "a:b"\n')
    (folder / "m.toml").write_text('[server]\nbind = ["unix:s"]\nmount = "/app"\n'
                                   '[[app]]\ntarget = "a:b"\n')  # fmt: skip

    def split(*words: str) -> tuple[str, str]:
        told = json.loads(done(folder, "--file", "seen.bin", "--json", *words).stdout)
        return told["environ"]["SCRIPT_NAME"], told["environ"]["PATH_INFO"]

    root, app = ("", "/app/a b/Ã©"), ("/app", "/a b/Ã©")
    assert [split(), split("-c", "g.toml"), split("--mount", "/")] == [root] * 3
    assert [split("-c", "m.toml"), split("--mount", "/app")] == [app] * 2
    assert split("-c", "m.toml", "--mount", "/") == root
    assert split("--front", "h2o") == ("/app/a b/Ã©", "")
    wrong = run(folder, "explain", "--file", "seen.bin", "--front", "ngnix")
    assert (wrong.returncode, "front.unknown" in said(wrong)) == (2, True)


def test_every_protocol_and_an_environment_can_be_a_file(tmp_path) -> None:
    for config in ("nginx-scgi-app", "nginx-uwsgi-app", "apache-cgid-scriptalias"):
        (tmp_path / "x").write_bytes(capture(config, "get-encoded"))
        told = json.loads(done(tmp_path, "--file", "x", "--json").stdout)
        assert told["front"]["name"] == config.partition("-")[0]
    (tmp_path / "x").write_bytes(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    assert "SERVER_PORT                  80 (of the con" in done(tmp_path, "--file", "x").stdout


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [(None, 2, "explain.file"), (b"\x7fELF", 2, "recorded.unknown"), (b"{}", 2, "recorded.json")],
)
def test_a_file_that_is_none(tmp_path, data, status: int, code: str) -> None:
    if data is not None:
        (tmp_path / "x").write_bytes(data)
    found = run(tmp_path, "explain", "--file", "x")
    assert (found.returncode, code in said(found)) == (status, True), found.stderr


SECRET = [("HTTP_COOKIE", "session=hush1234567"), ("HTTP_AUTHORIZATION", "Basic aHVzaDpodXNo"),
          ("REMOTE_USER", "hush"), ("HTTP_X_API_KEY", "hushhushhush")]  # fmt: skip


def test_secrets_are_short_in_every_form_unless_they_are_asked_for(tmp_path) -> None:
    block = b"".join(f"{n}={v}\0".encode() for n, v in [*nginx("/x"), *SECRET])
    (tmp_path / "x").write_bytes(block + b"\0")
    text = done(tmp_path, "--file", "x").stdout
    assert "sess... (19 characters)" in text
    assert "Basic ... (12 characters)" in text
    for words in ((), ("--json",)):
        shown = done(tmp_path, "--file", "x", "--save", "kept.json", *words).stdout
        kept = (tmp_path / "kept.json").read_text()
        for word in ("hush1", "aHVz", "hushh"):
            assert word not in shown + kept
    assert "user-unchecked" in done(tmp_path, "--file", "kept.json").stdout
    assert "session=hush1234567" in done(tmp_path, "--file", "x", "--secrets").stdout


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("HTTP_COOKIE", "a=b", "... (3 characters)"),
        ("HTTP_COOKIE", "", ""),
        ("HTTP_AUTHORIZATION", "Bearer abc", "Bearer ... (3 characters)"),
        ("REDIRECT_HTTP_AUTHORIZATION", "abc", "... (3 characters)"),
        ("HTTP_PROXY_AUTHORIZATION", "secret words here", "secret ... (10 characters)"),
        ("HTTP_X_CSRF_TOKEN", "0123456789", "0123... (10 characters)"),
        ("QUERY_STRING", "x=1", "x=1"),
        ("HTTP_USER_AGENT", "curl", "curl"),
    ],
)
def test_what_is_secret(name: str, value: str, shown: str) -> None:
    assert explain.masked(name, value) == shown


def test_what_is_saved_is_its_owners_and_can_be_read_again(recorded) -> None:
    folder = recorded.parent
    (folder / "kept.json").touch(0o666)
    first = done(folder, "--file", "seen.bin", "--mount", "/app", "--save", "kept.json")
    assert "--file kept.json shows it again" in first.stderr
    assert stat.S_IMODE((folder / "kept.json").stat().st_mode) == 0o600
    again = done(folder, "--file", "kept.json").stdout
    strip = [line for line in first.stdout.splitlines() if not line.startswith("came by")]
    assert [line for line in again.splitlines() if not line.startswith("came by")] == strip
    nowhere = run(folder, "explain", "--file", "seen.bin", "--save", "no/where")
    assert (nowhere.returncode, "explain.save" in said(nowhere)) == (2, True)


def test_a_terminal_is_not_taken_over(tmp_path) -> None:
    evil = "\x1b]0;x\x07\u202e".encode().decode("latin-1")
    block = b"".join(
        f"{n}={v}\0".encode("latin-1") for n, v in [*nginx("/x"), ("HTTP_X", evil), (evil, "y")]
    )
    (tmp_path / "x").write_bytes(block + b"\0")
    text = done(tmp_path, "--file", "x").stdout
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b]0;x\\x07\\u202e" in text


# -- a live one


@pytest.mark.parametrize(
    "words", [(), ("--next", "--url", "http://h/"), ("--url", "x", "--file", "y")]
)
def test_one_of_three(tmp_path, words) -> None:
    found = run(tmp_path, "explain", *words)
    assert (found.returncode, "explain.which" in said(found)) == (2, True)


@pytest.mark.parametrize(
    "url", ["ftp://h/", "localhost", "http://", "http://h:x/", "http://h:99999/"]
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UseError) as caught:
        explain.Fetch(url, "GET", [], 1.0, False)
    assert caught.value.code == "explain.url"


def test_no_daemon(tmp_path) -> None:
    found = run(tmp_path, "explain", "--next", "--control-socket", "nobody.ctl")
    assert (found.returncode, said(found) != "") == (7, True)


def test_the_next_request(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s") as live:
        words = ["explain", "--next", "--path", "/shop", "--timeout", str(DEADLINE_S)]
        asking = subprocess.Popen(
            [sys.executable, "-m", "gatebridge", *words, "--control-socket", live.control],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=live.variables,
        )  # fmt: skip
        assert asking.stderr.readline().startswith(f"waiting {DEADLINE_S:g} s for a request to ")
        send(live, nginx("/ping"))
        send(live, nginx("/shop/a b", ("HTTP_COOKIE", "session=0123456789")))
        out, err = asking.communicate(timeout=DEADLINE_S)
        assert (asking.returncode, err) == (0, "")
        assert '  PATH_INFO                    absent -> "/shop/a b"' in out
        assert "sess... (18 characters)" in out
        assert f"worker        pid {live.workers()[0]} of pool main\n" in out
        found = run(tmp_path, "explain", "--next", "--timeout", "0.3", "-c", "/dev/null",
                    "--control-socket", live.control)  # fmt: skip
        assert found.returncode == 1
        assert "explain.none" in found.stderr


NGINX = """
{user} daemon off; pid {home}/pid; error_log {home}/error.log; worker_processes 1;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/g;
  server {{
    listen 127.0.0.1:{port};
    location /static {{ return 404; }}
    location /dead {{ fastcgi_pass unix:{home}/nobody; }}
    location / {{ include /etc/nginx/fastcgi_params; fastcgi_pass unix:{home}/s; }}
  }}
}}
"""


@pytest.fixture
def site(tmp_path):
    """(the daemon, nginx's port)"""
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""  # pytest's folders are for one user
    (tmp_path / "nginx.conf").write_text(NGINX.format(home=tmp_path, port=port, user=user))
    argv = [program("nginx", package="nginx"), "-p", str(tmp_path), "-c",
            str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")]  # fmt: skip
    with service(
        tmp_path, "shop:application", "--bind", "unix:s?mode=0666", "--mount", "/"
    ) as live:
        server = Server("nginx", tmp_path, argv, [port], [tmp_path / "error.log"])
        try:
            yield live, port
        finally:
            server.stop()


def ask(live: Service, *words: str):
    return run(live.folder, "explain", *words, "--control-socket", live.control)


def test_a_url_through_nginx(site) -> None:
    live, port = site
    url = f"http://127.0.0.1:{port}"
    found = ask(live, "--url", f"{url}/a b/é?x=ü", "--json", "-H", "Proxy: evil", "-X", "POST")
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    sent = dict(told["received"])
    assert (sent["REQUEST_METHOD"], sent["HTTP_PROXY"]) == ("POST", "evil")
    assert sent["REQUEST_URI"] == "/a%20b/%C3%A9?x=%C3%BC"
    assert told["environ"]["PATH_INFO"].encode("latin-1").decode() == "/a b/é"
    assert told["front"]["name"] == "nginx"
    assert {one["row"] for one in told["changes"]} >= {"http-proxy", "content-type-empty"}
    live.until_log("front.recognised on unix:s: nginx (SERVER_SOFTWARE 'nginx/")
    away = ask(live, "--url", f"{url}/static/x")
    assert away.returncode == 1
    assert f"explain.not_reached: {url}/static/x was answered 404 Not Found by nginx" in said(away)
    broken = ask(live, "--url", f"{url}/dead")
    assert "502 Bad Gateway" in said(broken)
    assert "could not reach" in broken.stderr
    dead = ask(live, "--url", f"http://127.0.0.1:{free_port()}/")
    assert dead.returncode == 1
    assert "explain.no_answer" in said(dead)
    odd = ask(live, "--url", url, "-H", "a b: c\nd")
    assert odd.returncode == 1
    assert live.ask("/x") == "one"

"""--send-file: what is handed to the server in front, and what the option may say."""

import os
from pathlib import Path

import pytest

from gatebridge.errors import ConfigError
from gatebridge.serve.send_file import URL, SendFile, parse
from gatebridge.wire.cgi_head import Head, cgi_block, make_head

TEXT = ("Content-Type", "text/plain")
DATA = b"0123456789"
NGINX = "nginx/1.22.1"


@pytest.fixture(name="folder")
def make_folder(tmp_path: Path) -> Path:
    (tmp_path / "files" / "deep").mkdir(parents=True)
    (tmp_path / "files" / "deep" / "a").write_bytes(DATA)
    (tmp_path / "other").write_bytes(DATA)
    return tmp_path / "files"


def named(
    rule: SendFile | None,
    path: Path,
    headers: tuple[tuple[str, str], ...] = (TEXT,),
    status: str = "200 OK",
    offset: int = 0,
    count: int = 10,
    front: str = NGINX,
) -> Head | None:
    assert rule is not None
    with path.open("rb") as file:
        head = make_head(status, list(headers))
        return rule.head(head, file.fileno(), offset, count, front)


SAID = [
    ("nginx", NGINX, f"X-Accel-Redirect: {URL}deep/a"),
    ("nginx:/x/", NGINX, "X-Accel-Redirect: /x/deep/a"),
    ("caddy", "Caddy", f"X-Accel-Redirect: {URL}deep/a"),
    ("apache", "Apache/2.4", "X-Sendfile: {folder}/deep/a"),
    ("lighttpd", "lighttpd/1.4", "X-Sendfile: {folder}/deep/a"),
]


@pytest.mark.parametrize(("said", "front", "line"), SAID, ids=[row[0] for row in SAID])
def test_the_line_that_names_a_file(said: str, front: str, line: str, folder: Path) -> None:
    rule = parse(f"{said}={folder}")
    head = named(rule, folder / "deep/a", (TEXT, ("Content-Length", "10")), front=front)
    assert head is not None
    lines = cgi_block(head).decode().split("\r\n")
    wanted = ["Status: 200 OK", "Content-Type: text/plain", line.format(folder=folder)]
    assert lines == [*wanted, "Content-Length: 0", "", ""]
    assert ("Content-Length", "10") not in head.headers


@pytest.mark.parametrize("front", ["", NGINX, "openresty/1.21", "of my own"])
def test_whoever_may_be_nginx(front: str, folder: Path) -> None:
    assert named(parse(f"nginx={folder}"), folder / "deep/a", front=front)


@pytest.mark.parametrize("front", ["Apache/2.4", "lighttpd/1.4", "Caddy/v2", "HAProxy 2.6",
                                   "Microsoft-IIS/10.0", "h2o/2.2.5",
                                   "gatebridge/0.1.0"])  # fmt: skip
def test_another_server_gets_the_file_itself(front: str, folder: Path) -> None:
    assert named(parse(f"nginx={folder}"), folder / "deep/a", front=front) is None


def test_what_would_not_come_out_the_same(folder: Path) -> None:
    rule, path = parse(f"nginx={folder}"), folder / "deep/a"
    assert named(rule, path, status="206 Partial Content") is None
    assert named(rule, path, status="404 Not Found") is None
    assert named(rule, path, offset=1, count=9) is None
    assert named(rule, path, count=9) is None
    for name in ("X-Own", "Content-Encoding", "Content-Range", "X-Accel-Redirect", "X-Sendfile"):
        assert named(rule, path, (TEXT, (name, "x"))) is None, name
    assert named(rule, path, (TEXT, ("ETag", '"x"'), ("VARY", "x"), ("Set-Cookie", "a=1")))
    apache = parse(f"apache={folder}")
    assert named(apache, path, (TEXT, ("X-Own", "x")), front="Apache")
    assert named(apache, path, (TEXT, ("content-encoding", "gzip")), front="Apache") is None


def test_only_below_the_folder(folder: Path) -> None:
    rule = parse(f"nginx={folder}")
    (folder / "link").symlink_to(folder.parent / "other")
    (folder.parent / "files-not").write_bytes(DATA)
    for name in ("../other", "link", "../files-not", "deep/../../other"):
        assert named(rule, folder / name) is None, name
    (folder.parent / "to").symlink_to(folder / "deep")
    assert named(rule, folder.parent / "to" / "a"), "it is in the folder, whatever leads there"


def test_a_folder_behind_a_link_is_named_as_it_was_said(folder: Path) -> None:
    link = folder.parent / "current"
    link.symlink_to(folder)
    head = named(parse(f"lighttpd={link}"), folder / "deep/a", front="lighttpd")
    assert head is not None
    assert ("X-Sendfile", f"{link}/deep/a") in head.headers


def test_a_link_to_the_folder_that_leads_elsewhere_by_now(folder: Path) -> None:
    """As releases are switched: the server would open another file of the same name."""
    link, other = folder.parent / "current", folder.parent / "2"
    link.symlink_to(folder)
    rule = parse(f"nginx={link}")
    (other / "deep").mkdir(parents=True)
    (other / "deep" / "a").write_bytes(DATA[::-1])
    link.unlink()
    link.symlink_to(other)
    assert named(rule, folder / "deep/a") is None


def test_a_header_that_is_there_twice(folder: Path) -> None:
    """nginx before 1.23 brings back the first one; Content-Security-Policy may come twice."""
    path, twice = folder / "deep/a", (TEXT, ("Vary", "a"), ("vary", "b"))
    assert named(parse(f"nginx={folder}"), path, twice) is None
    assert named(parse(f"caddy={folder}"), path, twice, front="Caddy")
    assert named(parse(f"nginx={folder}"), path, (TEXT, ("Set-Cookie", "a"), ("Set-Cookie", "b")))


def test_a_name_that_ends_in_a_blank(folder: Path) -> None:
    """The blank at a header's end is not part of its value: "a" would be sent."""
    (folder / "deep" / "a ").write_bytes(DATA)
    for server in ("caddy", "apache"):
        assert named(parse(f"{server}={folder}"), folder / "deep/a ", front="") is None
    for server in ("nginx", "lighttpd"):
        assert named(parse(f"{server}={folder}"), folder / "deep/a ", front="")


@pytest.mark.parametrize("what", ["deleted", "another is called so", "replaced", "a pipe"])
def test_a_file_that_is_not_there_any_more(what: str, folder: Path) -> None:
    rule, path = parse(f"nginx={folder}"), folder / "deep/a"
    assert rule is not None
    head = make_head("200 OK", [TEXT])
    with path.open("rb") as file:
        if what in ("deleted", "another is called so"):
            path.unlink()
            if what != "deleted":  # as the system calls the one that is gone
                (folder / "deep/a (deleted)").write_bytes(b"x" * 10)
        elif what == "replaced":
            (folder / "new").write_bytes(b"x" * 10)
            os.replace(folder / "new", path)
        reading, writing = os.pipe()
        fd = reading if what == "a pipe" else file.fileno()
        found = rule.head(head, fd, 0, 0 if what == "a pipe" else 10, NGINX)
        os.close(reading)
        os.close(writing)
    assert found is None


WRONG = ["x", "nginx", "nginx=", "nginx=/", "nginx=files", "iis=/srv", "=/srv", "nginx:=/srv",
         "nginx:/=/srv", "nginx:x/=/srv", "nginx:/x=/srv", "nginx:/a b/=/srv", "nginx:/$x/=/srv",
         "apache:/x/=/srv", "lighttpd:/x/=/srv"]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_is_told(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert raised.value.code == "send_file.malformed"


def test_nothing_said() -> None:
    assert parse("") is None

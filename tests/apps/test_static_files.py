"""Files before an application: which paths are files, and what is the application's."""

import pytest

from gatebridge.apps.static_files import StaticFiles


@pytest.fixture
def places(tmp_path):
    (tmp_path / "public" / "deep").mkdir(parents=True)
    (tmp_path / "public" / "a.txt").write_text("a")
    (tmp_path / "public" / "deep" / "index.html").write_text("page")
    (tmp_path / "public" / ".secret").write_text("s")
    (tmp_path / "public" / "ä.txt").write_text("umlaut")
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "public" / "out.txt").symlink_to(tmp_path / "one.txt")
    public = str(tmp_path / "public")
    return {"/s": public, "/t/": public, "/one": str(tmp_path / "one.txt"), "/ü": public}


ROWS = [
    ("a file", "/s/a.txt", b"a"),
    ("below, by its name", "/s/deep/index.html", b"page"),
    ("a prefix with a slash", "/t/a.txt", b"a"),
    ("one file", "/one", b"one"),
    ("names beyond ASCII", "/ü/ä.txt", b"umlaut"),
    ("a folder", "/s/deep", b""),
    ("a folder's page", "/s/deep/", b""),
    ("nothing there", "/s/b.txt", b""),
    ("hidden", "/s/.secret", b""),
    ("a link that leads out", "/s/out.txt", b""),
    ("upwards", "/s/../one.txt", b""),
    ("only the beginning of a name", "/sa.txt", b""),
    ("below a file", "/one/more", b""),
    ("the prefix alone", "/s", b""),
    ("NUL", "/s/a.txt\0", b""),
]


def ask(app, path, method="GET"):
    """(body, what SCRIPT_NAME + PATH_INFO the application got, status)"""
    said = []
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": "",
    }
    result = app(environ, lambda status, headers: said.append((status, dict(headers))))
    try:
        return b"".join(result), said[-1]
    finally:
        if hasattr(result, "close"):
            result.close()


def own(environ, start_response):
    start_response("299 Own", [("Path", environ["SCRIPT_NAME"] + environ["PATH_INFO"])])
    return []


@pytest.mark.parametrize(("why", "path", "body"), ROWS, ids=[row[0] for row in ROWS])
def test_paths(places, why, path, body):
    got, (status, headers) = ask(StaticFiles(own, places), path)
    if body:
        assert (got, status) == (body, "200 OK")
    else:
        assert status == "299 Own"
        assert headers["Path"] == path.encode().decode("latin-1")


def test_other_methods_are_the_applications(places):
    assert ask(StaticFiles(own, places), "/s/a.txt", "POST")[1][0] == "299 Own"


def test_pairs_do_as_well(places):
    assert ask(StaticFiles(own, list(places.items())), "/s/a.txt")[1][0] == "200 OK"


def test_first_place_counts(tmp_path, places):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("other")
    (tmp_path / "other" / "b.txt").write_text("b")
    app = StaticFiles(own, {"/s": places["/s"], "/": str(tmp_path / "other"), **places})
    assert ask(app, "/s/a.txt")[0] == b"a"
    assert ask(app, "/b.txt")[0] == b"b"

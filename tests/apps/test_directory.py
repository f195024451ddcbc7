"""A folder of programs: which are programs, which one a path means, and which must not run."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatebridge.apps.directory import Directory
from gatebridge.apps.inventory import DEPTH_MOST, take_inventory
from gatebridge.apps.permission import Trust, open_program, owners_of
from gatebridge.apps.target import load_target
from gatebridge.errors import AppError, ConfigError
from tests.engine.recorder import Recorder, ask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = Path(os.path.realpath(tmp_path)) / "cgi-bin"
    found.mkdir(mode=0o755)
    return found


def put(root: Path, name: str, text: str = "", mode: int = 0o755) -> Path:
    path = root / name
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_text(text or f"#!/bin/sh\necho Content-Type: text/plain\necho\necho {name}\n")
    path.chmod(mode)
    return path


def names(root: Path, *extensions: str) -> list[str]:
    return sorted(take_inventory(str(root), extensions).programs)


class Told:
    """A program that tells what it was called with; it judges as a launcher would."""

    def __init__(self, path: str, whom: Trust) -> None:
        self.path = path
        self.whom = whom
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        os.close(open_program(self.path, self.whom))
        start_response("200 OK", [("Content-Type", "text/plain")])
        said = (os.path.basename(self.path), environ["SCRIPT_NAME"], environ["PATH_INFO"])
        return [repr(said).encode()]

    def close(self) -> None:
        self.closed += 1


def directory(root: Path) -> Directory:
    uid = os.geteuid()
    whom = Trust(str(root), owners_of(str(root), uid), uid)
    return Directory(take_inventory(str(root)), whom, lambda path: Told(path, whom))


def request(app: Any, path: str, front: str = "", method: str = "GET") -> tuple[Recorder, str]:
    """The answer, and what was said to the operator."""
    seen = {}

    def inner(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = front, path
        seen.update(environ)
        result: Iterable[bytes] = app(environ, start_response)
        return result

    recorder = ask(inner, method)
    return recorder, seen["wsgi.errors"].getvalue()


# -- what is a program


def test_programs_are_executable_files(root: Path) -> None:
    put(root, "a.cgi")
    put(root, "no-extension")
    put(root, "sub/deep/b.pl")
    put(root, "data.txt", mode=0o644)
    put(root, "README", mode=0o644)
    os.mkfifo(root / "pipe.cgi", 0o755)
    assert names(root) == ["a.cgi", "no-extension", "sub/deep/b.pl"]


def test_what_only_lacks_its_execute_bit_is_known_and_refused(root: Path) -> None:
    put(root, "a.py", mode=0o644)
    app = directory(root)
    assert "chmod +x" in app.refused["a.py"]
    answer, log = request(app, "/a.py")
    assert answer.status == "403 Forbidden"
    assert log.count("permission.mode") == 2  # in what is told of the folder, and now


LEFT = [".htaccess", "a.cgi~", "a.cgi.bak", "A.CGI.BAK", ".a.cgi.swp", "a.cgi.swp", "#a.cgi#",
        "a.cgi.dpkg-old", "a.cgi.dpkg-dist", "a.cgi.rpmsave", "a.cgi.orig", "a.cgi.ucf-old",
        ".git/hooks/pre-commit"]  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_hidden_files_and_backups_are_none(root: Path, name: str) -> None:
    put(root, name)
    put(root, "a.cgi")
    app = directory(root)
    assert list(app.inventory.programs) == ["a.cgi"]
    answer, log = request(app, f"/{name}")
    assert answer.status == "404 Not Found"
    assert "target.left_out" in log
    assert name.split("/")[0] in log
    _, log = request(app, f"/{name}")
    assert log == ""  # said once


def test_extensions_choose(root: Path) -> None:
    put(root, "a.cgi")
    put(root, "b.py")
    put(root, "c.py", mode=0o644)
    put(root, "py")
    assert names(root, ".py") == ["b.py", "c.py"]


def test_links_within_the_folder_are_resolved_and_no_others(root: Path) -> None:
    put(root, "real/a.cgi")
    outside = put(root.parent, "outside.cgi")
    (root / "in.cgi").symlink_to("real/a.cgi")
    (root / "out.cgi").symlink_to(outside)
    (root / "sly.cgi").symlink_to("../cgi-bin/../outside.cgi")
    (root / "none.cgi").symlink_to("nowhere")
    (root / "loop.cgi").symlink_to("loop.cgi")
    (root / "folder").symlink_to("real")
    (root / "up").symlink_to("..")
    (root.parent / "cgi-bin-other").mkdir()
    (root / "neighbour.cgi").symlink_to(put(root.parent, "cgi-bin-other/x.cgi"))
    found = take_inventory(str(root))
    assert found.programs == {
        "in.cgi": str(root / "real/a.cgi"),
        "real/a.cgi": str(root / "real/a.cgi"),
    }
    assert sorted(found.skipped) == [
        "folder", "loop.cgi", "neighbour.cgi", "none.cgi", "out.cgi", "sly.cgi", "up",
    ]  # fmt: skip
    answer, log = request(directory(root), "/out.cgi")
    assert answer.status == "404 Not Found"
    assert "target.skipped 'out.cgi' is a link out of the folder" in log


def test_a_folder_is_read_to_a_depth(root: Path) -> None:
    deepest = "/".join(["d"] * DEPTH_MOST)
    put(root, f"{deepest}/a.cgi")
    put(root, f"{deepest}/e/b.cgi")
    assert names(root) == [f"{deepest}/a.cgi"]
    answer, _ = request(directory(root), f"/{deepest}/a.cgi/more")
    assert answer.body.endswith(b"'/more')")


def test_too_many_programs_are_a_mistake(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatebridge.apps.inventory.PROGRAMS_MOST", 3)
    for number in range(4):
        put(root, f"{number}.cgi")
    with pytest.raises(ConfigError, match="name a smaller folder") as refused:
        take_inventory(str(root))
    assert refused.value.code == "target.too_many"


# -- which one a path means

PATHS = [
    ("", "/a.cgi", ("a.cgi", "/a.cgi", "")),
    ("", "/a.cgi/", ("a.cgi", "/a.cgi", "/")),
    ("", "/a.cgi/x/y", ("a.cgi", "/a.cgi", "/x/y")),
    ("/cgi-bin", "/a.cgi/x", ("a.cgi", "/cgi-bin/a.cgi", "/x")),
    ("", "/sub/b.cgi/a.cgi", ("b.cgi", "/sub/b.cgi", "/a.cgi")),
    ("", "/a.cgi//x", ("a.cgi", "/a.cgi", "//x")),
    ("", "/a.cgi/../b", ("a.cgi", "/a.cgi", "/../b")),
    ("", "/a.cgi/%0a\n\r", ("a.cgi", "/a.cgi", "/%0a\n\r")),
    ("", "/caf\xc3\xa9", ("café", "/caf\xc3\xa9", "")),
    ("", "/a.cgi/" + "x/" * 30_000, ("a.cgi", "/a.cgi", "/" + "x/" * 30_000)),
]


@pytest.mark.parametrize(("front", "path", "told"), PATHS, ids=[row[1][:20] for row in PATHS])
def test_C19_the_programs_name_moves(
    root: Path, front: str, path: str, told: tuple[str, str, str]
) -> None:
    for name in ("a.cgi", "sub/b.cgi", "café"):
        put(root, name)
    answer, _ = request(directory(root), path, front)
    assert answer.body.decode() == repr(told)


NOWHERE = ["", "/", "/a", "/a.cgi2", "/A.CGI", "a.cgi", "xa.cgi", "//a.cgi", "/./a.cgi",
           "/sub/../a.cgi",
           "/sub", "/sub/", "/sub/a.cgi", "/a.cgi\0", "/a.cgi\0/x", "/a.cgi\n", "/..", "/../a.cgi",
           "/%61.cgi", "/\xff", "/" + "x/" * 30_000]  # fmt: skip


@pytest.mark.parametrize("path", NOWHERE, ids=[repr(path[:20]) for path in NOWHERE])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_T12_other_paths_are_no_programs(root: Path, path: str, method: str) -> None:
    put(root, "a.cgi")
    put(root, "sub/b.cgi")
    answer, _ = request(directory(root), path, method=method)
    assert answer.status == "404 Not Found"
    assert str(root) not in answer.body.decode()


def test_the_list_is_fixed(root: Path) -> None:
    put(root, "a.cgi")
    app = directory(root)
    put(root, "new.cgi")
    assert request(app, "/new.cgi")[0].status == "404 Not Found"
    os.replace(put(root, "next.cgi"), root / "a.cgi")  # as an editor, or a deployment, writes
    assert request(app, "/a.cgi")[0].status == "200 OK"
    (root / "a.cgi").unlink()
    answer, log = request(app, "/a.cgi")
    assert answer.status == "404 Not Found"
    assert "permission.gone" in log


# -- which must not run


def test_a_refused_program_is_403_and_the_log_names_the_rule(root: Path) -> None:
    put(root, "a.cgi").chmod(0o775)
    app = directory(root)
    assert list(app.refused) == ["a.cgi"]
    request(app, "/")
    answer, log = request(app, "/a.cgi")
    assert answer.status == "403 Forbidden"
    assert log.startswith("permission.writable ")
    assert "chmod go-w" in log
    assert str(root) not in answer.body.decode()
    (root / "a.cgi").chmod(0o755)  # each request judges anew
    assert request(app, "/a.cgi")[0].status == "200 OK"


def test_T13_a_link_put_in_a_programs_place_is_not_run(root: Path) -> None:
    put(root, "a.cgi")
    app = directory(root)
    (root / "a.cgi").unlink()
    (root / "a.cgi").symlink_to(put(root.parent, "outside.cgi"))
    answer, log = request(app, "/a.cgi")
    assert answer.status == "404 Not Found"
    assert "permission.link" in log


def test_errors_of_a_program_are_its_own(root: Path) -> None:
    def broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise AppError("script.no_output", "it says nothing")

    put(root, "a.cgi")
    uid = os.geteuid()
    whom = Trust(str(root), owners_of(str(root), uid), uid)
    app = Directory(take_inventory(str(root)), whom, lambda path: broken)
    assert request(app, "/a.cgi")[0].status == "500 Internal Server Error"
    app.close()


def test_close_closes_each(root: Path) -> None:
    made = []

    def make(path: str) -> Told:
        made.append(Told(path, whom))
        return made[-1]

    put(root, "a.cgi")
    put(root, "b.cgi")
    whom = Trust(str(root), frozenset({os.geteuid()}), os.geteuid())
    Directory(take_inventory(str(root)), whom, make).close()
    assert [told.closed for told in made] == [1, 1]


# -- with real programs


@pytest.fixture
def served(root: Path) -> Iterator[Any]:
    text = '#!/bin/sh\nprintf "Content-Type: text/plain\\n\\n%s %s %s %s" '
    put(root, "sub/a.cgi", text + '"$0" "$SCRIPT_NAME" "$PATH_INFO" "$(pwd)"\n')
    (root / "link.cgi").symlink_to("sub/a.cgi")
    app: Any = load_target(f"cgi:{root}/", "/")
    yield app
    app.close()


def test_C17_a_program_runs_in_its_folder_under_its_name(root: Path, served: Any) -> None:
    answer, log = request(served, "/sub/a.cgi/x", "/bin")
    assert answer.body.decode() == f"{root}/sub/a.cgi /bin/sub/a.cgi /x {root}/sub"
    assert log == ""


def test_a_link_keeps_its_name_in_the_path(root: Path, served: Any) -> None:
    answer, _ = request(served, "/link.cgi")
    assert answer.body.decode() == f"{root}/sub/a.cgi /link.cgi  {root}/sub"


def test_a_program_that_becomes_writable_is_refused_at_once(root: Path, served: Any) -> None:
    (root / "sub").chmod(0o777)
    answer, log = request(served, "/sub/a.cgi")
    assert answer.status == "403 Forbidden"
    assert log.startswith("permission.writable ")


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="no execution by descriptor here")
@pytest.mark.parametrize("option", ["exec=descriptor", "owner=any"])
def test_by_descriptor(root: Path, served: Any, option: str) -> None:
    app: Any = load_target(f"cgi:{root}?{option}", "/")
    answer, _ = request(app, "/sub/a.cgi")
    assert answer.body.decode().startswith("/proc/self/fd/")
    app.close()

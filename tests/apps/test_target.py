"""A target by its name: the application it means, or a sentence why not."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gatebridge.apps.directory import Directory, Program
from gatebridge.apps.static import Static
from gatebridge.apps.target import is_hosted, load_target, parse_hosted
from gatebridge.errors import ConfigError
from tests.engine.recorder import Recorder, ask

TEXT = '#!/bin/sh\nprintf \'Content-Type: text/plain\\n\\n%s|%s\' "$SCRIPT_NAME" "$PATH_INFO"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = Path(os.path.realpath(tmp_path))
    (found / "cgi-bin").mkdir(mode=0o755)
    for name in ("one.cgi", "cgi-bin/a.cgi"):
        (found / name).write_text(TEXT)
        (found / name).chmod(0o755)
    (found / "page.html").write_text("page")
    return found


def get(app: Any, path: str) -> Recorder:
    def inner(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["PATH_INFO"] = path
        result: Iterable[bytes] = app(environ, start_response)
        return result

    try:
        return ask(inner)
    finally:
        if hasattr(app, "close"):
            app.close()


FORMS = [
    ("cgi:cgi-bin/", Directory, "/a.cgi/x", b"/a.cgi|/x"),
    ("cgi:cgi-bin", Directory, "/a.cgi", b"/a.cgi|"),
    ("cgi:./cgi-bin/../cgi-bin/?timeout=9s", Directory, "/a.cgi", b"/a.cgi|"),
    ("cgi:{}/cgi-bin/", Directory, "/a.cgi", b"/a.cgi|"),
    ("cgi:/{}/cgi-bin/", Directory, "/a.cgi", b"/a.cgi|"),
    ("cgi:one.cgi", Program, "/x", b"|/x"),
    ("cgi:link.cgi", Program, "", b"|"),
    ("cgi:one.cgi?memory=256MiB&owner=any&exec=path", Program, "/", b"|/"),
    ("static:.", Static, "/page.html", b"page"),
]


@pytest.mark.parametrize(("target", "kind", "path", "body"), FORMS)
def test_forms(folder: Path, target: str, kind: type, path: str, body: bytes) -> None:
    (folder / "link.cgi").symlink_to("one.cgi")
    app = load_target(target.format(folder), str(folder))
    assert type(app) is kind
    assert get(app, path).body == body


def test_others_are_imported(folder: Path) -> None:
    text = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'it']"
    (folder / "static.py").write_text(text)
    assert get(load_target(f"{folder}/static.py:app", str(folder)), "/").body == b"it"
    with pytest.raises(ConfigError) as refused:
        load_target("no_such_module_here", str(folder))
    assert refused.value.code == "app.not_found"


BAD = [
    ("cgi:", "target.malformed", "cgi.py:NAME"),
    ("static:", "target.malformed", "static.py:NAME"),
    ("cgi:a\0b", "target.malformed", "names no path"),
    ("cgi:none", "target.not_found", "No such file"),
    ("warm:none/", "target.not_found", "No such file"),
    ("cgi:loop", "target.not_found", "symbolic links"),
    ("cgi:one.cgi/", "target.type", "without the slash it is one program"),
    ("inproc:pipe", "target.type", "neither a file nor a folder"),
    ("static:page.html", "target.type", "is no folder"),
    ("static:.?timeout=3", "target.option", "no options"),
    ("cgi:one.cgi?tineout=3", "target.option", "did you mean 'timeout'?"),
    ("cgi:one.cgi?extensions=py", "target.option", "one file"),
    ("cgi:page.html", "target.refused", "permission.mode"),
    ("cgi:writable.cgi", "target.refused", "permission.writable"),
    ("warm:writable.cgi", "target.refused", "permission.writable"),
    ("inproc:writable.cgi", "target.refused", "permission.writable"),
    ("cgi:open/", "target.refused", "permission.writable"),
    ("warm:open/inner/", "target.refused", "permission.writable"),
]


@pytest.mark.parametrize(("target", "code", "why"), BAD)
def test_refused(folder: Path, target: str, code: str, why: str) -> None:
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    (folder / "writable.cgi").write_text(TEXT)
    (folder / "writable.cgi").chmod(0o777)
    (folder / "open").mkdir()
    (folder / "open/inner").mkdir()
    (folder / "open").chmod(0o777)
    with pytest.raises(ConfigError) as refused:
        load_target(target, str(folder))
    assert refused.value.code == code
    assert why in refused.value.detail
    assert target.partition("\0")[0] in refused.value.detail


def test_which_targets_are_programs() -> None:
    assert is_hosted("cgi:/srv/cgi-bin/")
    assert is_hosted("warm:x")
    assert not is_hosted("cgi")
    assert not is_hosted("static:/srv")
    assert not is_hosted("shop:app")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_the_user_of_the_programs_is_who_counts(folder: Path) -> None:
    """A check by root asks for the user that gatebridge will have."""
    os.chown(folder / "cgi-bin", 1000, 1000)
    target = f"cgi:{folder}/cgi-bin/"
    app: Any = load_target(target, "/", uid=1001)
    assert app.refused == {}
    app.close()
    with pytest.raises(ConfigError, match="gatebridge runs as root"):
        load_target(target, "/", uid=0)


def test_a_question_mark_begins_the_options(folder: Path) -> None:
    hosted = parse_hosted("warm:one.cgi?preload=json&children=3", str(folder))
    assert (hosted.mode, hosted.path, hosted.is_folder) == ("warm", f"{folder}/one.cgi", False)
    assert hosted.options.preload == ("json",)
    assert hosted.options.children == 3

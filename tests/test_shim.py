"""Shims: written for one interpreter and one application, and run as a web server runs them."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gatebridge.errors import ConfigError
from gatebridge.shim import imports, one_shot, path_entries, shebang, write
from gatebridge.wire import scan
from tests.cgi import ask

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    told = environ["SCRIPT_NAME"], environ["PATH_INFO"]
    return [repr(told).encode()]

class Holder:
    inner = staticmethod(application)

def factory():
    return application
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "site code"
    made.mkdir()
    (made / "shop.py").write_text(APP)
    (made / "pack").mkdir()
    (made / "pack" / "__init__.py").write_text("")
    (made / "pack" / "web.py").write_text("from shop import application as app\n")
    return made


def written(folder: Path, target: str, mount: str | None = None) -> Path:
    path = folder.parent / "app.cgi"
    write(str(path), one_shot(target, str(folder), mount), True)
    return path


TARGETS = ["shop", "shop:application", "shop:Holder.inner", "shop:factory()", "pack.web:app"]


@pytest.mark.parametrize("target", TARGETS)
def test_C01_every_form_of_target_answers(folder: Path, target: str) -> None:
    done = ask([str(written(folder, target))], folder=Path("/"))
    assert (done.code, done.errors) == (0, ""), done
    assert done.body == b"('/cgi-bin/app.cgi', '/x')"


@pytest.mark.parametrize("words", [["-d"], ["--help"], ["-c", "x"], ["--mount", "/evil"]])
def test_C04_the_shim_ignores_arguments(folder: Path, words: list[str]) -> None:
    done = ask([str(written(folder, "shop")), *words], QUERY_STRING="+".join(words))
    assert done.body == b"('/cgi-bin/app.cgi', '/x')"


def test_C22_called_directly(folder: Path) -> None:
    done = ask([str(written(folder, "shop"))], REQUEST_METHOD=None)
    assert (done.code, done.out) == (2, b"")
    assert "web server" in done.errors


def test_a_mount_is_written_into_it(folder: Path) -> None:
    done = ask(
        [str(written(folder, "shop", "/shop"))],
        REQUEST_URI="/shop/x",  # a rewrite rule of .htaccess leads to the shim
        SERVER_SOFTWARE="Apache",
        SCRIPT_NAME="/cgi-bin/app.cgi",
        PATH_INFO="/x",
    )
    assert done.body == b"('/shop', '/x')"


def test_it_needs_nothing_of_its_starter(folder: Path) -> None:
    """No PATH, no HOME, another folder: what mod_cgi gives a script is little."""
    path = written(folder, "shop")
    done = ask([str(path)], folder=Path("/"), PATH=None)
    assert done.code == 0, done


def test_T8_the_starters_python_variables_change_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("raise SystemExit('the wrong shop')")
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('the wrong site')")
    done = ask([str(written(folder, "shop"))], PYTHONPATH=str(tmp_path), PYTHONSTARTUP="/evil")
    assert done.code == 0, done


def test_the_text_is_short_and_says_what_it_is(folder: Path) -> None:
    lines = one_shot("shop:application", str(folder), None).splitlines()
    compiled = not scan.__file__.endswith(".py")  # then it says where the sources are, too
    assert len(lines) <= (23 if compiled else 12)
    assert lines[0].startswith("#!")
    assert "shop:application" in lines[1]


def test_it_is_readable_and_executable_as_the_umask_allows(folder: Path) -> None:
    before = os.umask(0o027)
    try:
        path = written(folder, "shop")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_an_existing_file_is_left_alone_without_force(tmp_path: Path) -> None:
    path = tmp_path / "app.cgi"
    path.write_text("precious")
    with pytest.raises(ConfigError) as raised:
        write(str(path), "new", False)
    assert raised.value.code == "shim.exists"
    assert path.read_text() == "precious"


def test_force_writes_over_a_longer_one_and_makes_it_executable(tmp_path: Path) -> None:
    path = tmp_path / "app.cgi"
    path.write_text("x" * 100)
    path.chmod(0o600)
    write(str(path), "#!/bin/sh\n", True)
    assert path.read_text() == "#!/bin/sh\n"
    assert path.stat().st_mode & 0o100


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        write(str(tmp_path / "absent" / "app.cgi"), "", False)
    assert raised.value.code == "shim.write"


MALFORMED = ["shop:1", "shop:a b", "shop:x;import os", "a-b:app", "shop:f(1)", ":app", "",
             "shop:app()()", "shop:a..b", "shop.py", "shop.py:app"]  # fmt: skip


@pytest.mark.parametrize("target", MALFORMED)
def test_T8_nothing_but_names_gets_into_the_text(folder: Path, target: str) -> None:
    with pytest.raises(ConfigError) as raised:
        one_shot(target, str(folder), None)
    assert raised.value.code == "app.malformed"


def test_a_mount_is_quoted(folder: Path) -> None:
    text = one_shot("shop", str(folder), "/a'\n\"b")
    compile(text, "shim", "exec")
    assert repr("/a'\n\"b") in text


def test_an_application_that_cannot_be_imported_is_told_at_once(folder: Path) -> None:
    (folder / "broken.py").write_text("import no_such_module\n")
    with pytest.raises(ConfigError) as raised:
        one_shot("broken:app", str(folder), None)
    assert raised.value.code == "app.import"
    assert "no_such_module" in raised.value.detail


def test_an_attribute_that_is_not_there_is_told_at_once(folder: Path) -> None:
    with pytest.raises(ConfigError):
        one_shot("shop:no_such_name", str(folder), None)


def test_site_is_skipped_unless_something_needs_it(folder: Path) -> None:
    assert one_shot("shop", str(folder), None).splitlines()[0].endswith(" -IS")
    (folder / "needs.py").write_text(
        "import sys\nsys.modules['site']\nfrom shop import application\n"
    )
    text = one_shot("needs", str(folder), None)
    assert text.splitlines()[0].endswith(" -I")
    path = folder / "app.cgi"
    write(str(path), text, False)
    assert ask([str(path)]).code == 0


def test_the_folder_comes_first_and_once(folder: Path) -> None:
    entries = path_entries(str(folder))
    assert entries[0] == str(folder)
    assert len(entries) == len(set(entries))
    assert all(os.path.isabs(entry) and os.path.isdir(entry) for entry in entries)


def test_the_folder_that_python_m_was_called_in_is_not_believed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m gatebridge shim new` in /tmp: anybody could put modules there."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert str(tmp_path) not in path_entries(str(folder))


def test_a_relative_folder_is_made_absolute(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    assert path_entries(".")[0] == str(folder)


def test_imports_says_what_went_wrong(folder: Path) -> None:
    entries = path_entries(str(folder))
    assert imports("-IS", entries, "shop", "application", "application") == ""
    assert "no_such" in imports("-IS", entries, "no_such", "app", "app")


INTERPRETERS = [
    ("plain", "/usr/bin/python3", "#!/usr/bin/python3 -IS"),
    ("space", "/opt/my python/bin/python3", "#!/bin/sh\n"),
    ("long", "/opt/" + "x" * 130 + "/python3", "#!/bin/sh\n"),
]


@pytest.mark.parametrize(("name", "path", "start"), INTERPRETERS, ids=[r[0] for r in INTERPRETERS])
def test_the_first_line_is_one_the_kernel_takes(monkeypatch, name, path, start) -> None:
    monkeypatch.setattr(sys, "executable", path)
    assert shebang("-IS").startswith(start)


@pytest.mark.parametrize("name", ["my python", "x" * 130, "it's", "tab\there"])
def test_C04_an_odd_path_of_the_interpreter_works(folder: Path, monkeypatch, name: str) -> None:
    """The kernel cuts a long line and stops at a space, so sh finds the interpreter."""
    place = folder / name
    place.mkdir()
    odd = place / "python3"
    odd.symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setattr(sys, "executable", str(odd))
    path = written(folder, "shop")
    done = ask([str(path), "-c", "evil $(touch x)"])
    assert (done.code, done.body) == (0, b"('/cgi-bin/app.cgi', '/x')"), done


def test_the_sample_in_cgi_bin_answers_with_the_demo() -> None:
    """cgi-bin/app.cgi works from a checkout as it stands."""
    sample = Path(__file__).resolve().parents[1] / "cgi-bin" / "app.cgi"
    done = ask([sys.executable, str(sample)])
    assert (done.code, done.status) == (0, "200 OK"), done
    assert len(sample.read_text().splitlines()) <= 12


def test_a_second_shim_for_the_same_file_is_refused_by_the_command(folder: Path) -> None:
    argv = [sys.executable, "-m", "gatebridge", "shim", "new", "shop", "app.cgi", "--oneshot"]
    root = str(Path(__file__).resolve().parents[1])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": root}
    first, second = (
        subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True)
        for _ in range(2)
    )
    assert (first.returncode, second.returncode) == (0, 2)
    assert "--force" in second.stderr

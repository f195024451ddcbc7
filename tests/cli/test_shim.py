"""gatebridge shim new: writes a file, says what is next, and says why not."""

from pathlib import Path

import pytest

from tests.cgi import ask
from tests.cli.run import APPLICATION, run, said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPLICATION)
    return tmp_path


def test_C01_the_written_shim_answers(folder: Path) -> None:
    done = run(folder, "shim", "new", "shop:app", "app.cgi", "--oneshot")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(folder / "app.cgi") in done.stdout
    answer = ask([str(folder / "app.cgi")], folder=Path("/"))
    assert (answer.code, answer.body) == (0, b"('/cgi-bin/app.cgi', '/x')"), answer


def test_folder_and_mount(folder: Path, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("cgi-bin")
    done = run(elsewhere, "shim", "new", "shop:app", "app.cgi", "--oneshot",
               "--folder", str(folder), "--mount", "/cgi-bin")  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = ask([str(elsewhere / "app.cgi")])
    assert answer.body == b"('/cgi-bin', '/app.cgi/x')"


def test_without_oneshot_it_says_what_this_version_writes(folder: Path) -> None:
    done = run(folder, "shim", "new", "shop:app", "app.cgi")
    assert "--oneshot" in said(done)
    assert done.returncode == 2
    assert not (folder / "app.cgi").exists()


def test_an_existing_file_needs_force(folder: Path) -> None:
    (folder / "app.cgi").write_text("precious")
    words = ("shim", "new", "shop:app", "app.cgi", "--oneshot")
    done = run(folder, *words)
    assert (done.returncode, (folder / "app.cgi").read_text()) == (2, "precious")
    assert "--force" in said(done)
    assert run(folder, *words, "--force").returncode == 0
    assert ask([str(folder / "app.cgi")]).code == 0


@pytest.mark.parametrize("target", ["absent:app", "shop:app;evil", "shop.py"])
def test_4_what_cannot_be_imported_is_not_written(folder: Path, target: str) -> None:
    done = run(folder, "shim", "new", target, "app.cgi", "--oneshot")
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("gatebridge: app.")
    assert not (folder / "app.cgi").exists()


@pytest.mark.parametrize("words", [[], ["new"], ["new", "shop:app"], ["old"]])
def test_2_usage(folder: Path, words: list[str]) -> None:
    assert run(folder, "shim", *words).returncode == 2

"""gatebridge cgi: one request, and words of a query that are none of its options."""

import sys
from pathlib import Path

import pytest

from tests.cgi import ROOT, ask
from tests.cli.run import APPLICATION, run

COMMAND = [sys.executable, "-m", "gatebridge", "cgi"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPLICATION)
    return tmp_path


def test_C01_it_answers(folder: Path) -> None:
    done = ask([*COMMAND, "shop:app"], folder=folder, PYTHONPATH=str(ROOT))
    assert (done.code, done.status, done.body) == (0, "200 OK", b"('/cgi-bin/app.cgi', '/x')")


def test_a_mount_before_the_application(folder: Path) -> None:
    done = ask([*COMMAND, "--mount", "/cgi-bin", "shop:app"], folder=folder, PYTHONPATH=str(ROOT))
    assert done.body == b"('/cgi-bin', '/app.cgi/x')"


WORDS = [["-d"], ["--help"], ["--mount", "/cgi-bin"], ["--mount=/cgi-bin"],
         ["--", "--mount", "/cgi-bin"], ["a", "b"], ["-"], ["--no-such"]]  # fmt: skip


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_C04_T4_words_behind_the_application_are_the_querys(folder: Path, words) -> None:
    """A script that ends in `exec gatebridge cgi APP "$@"` hands them on."""
    done = ask(
        [*COMMAND, "shop:app", *words],
        folder=folder,
        PYTHONPATH=str(ROOT),
        QUERY_STRING="+".join(words),
        REQUEST_URI="/cgi-bin/app.cgi/x?" + "+".join(words),
    )
    assert (done.code, done.body) == (0, b"('/cgi-bin/app.cgi', '/x')"), done


def test_C22_called_directly(folder: Path) -> None:
    done = run(folder, "cgi", "shop:app")
    assert (done.returncode, done.stdout) == (2, "")
    assert "web server" in done.stderr


def test_an_application_that_cannot_be_loaded(folder: Path) -> None:
    """The server gets no answer, so it says 500 itself and logs our sentence."""
    done = ask([*COMMAND, "shop:no_such"], folder=folder, PYTHONPATH=str(ROOT))
    assert done.code == 4
    assert done.errors.startswith("gatebridge: app.no_attribute")

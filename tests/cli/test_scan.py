"""gatebridge scan: lines for pipes, tables for terminals, JSON, a page; 0 or 6."""

import html.parser
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import ROOT, run, said
from tests.scan.cgi_bin import PROGRAMS, make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return make(tmp_path / "bin")


def test_6_and_a_line_for_each_program(folder: Path) -> None:
    done = run(folder, "scan", ".")
    assert (done.returncode, done.stderr) == (6, "")
    heads = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    for name in PROGRAMS:
        assert any(line.startswith(f"{name}: ") for line in heads), name
    assert "fork.py: Python 3 (" in done.stdout
    assert "; warm: forks: os.fork (line 3)\n" in done.stdout


def test_0_where_nothing_is_wrong(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name not in ("env.sh",) and path.is_file():
            path.unlink()
    done = run(folder, "scan", ".")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith("0 problems")


def test_0_for_an_empty_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = run(tmp_path, "scan", ".")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("0 programs")


def test_json(folder: Path) -> None:
    done = run(folder, "scan", ".", "--json")
    assert (done.returncode, done.stderr) == (6, "")
    data = json.loads(done.stdout)
    assert data["format"] == 1
    assert data["folder"] == str(folder)
    assert {item["path"] for item in data["programs"]} >= set(PROGRAMS)
    assert data["problems"] == sum(len(item["problems"]) for item in data["programs"])


class Page(html.parser.HTMLParser):
    """What a page is made of; every element that is opened must be closed."""

    EMPTY = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attributes)
        self.links += [str(given[name]) for name in ("href", "src") if name in given]
        self.ids += [str(given["id"])] if "id" in given else []
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_one_page_without_script_and_without_anything_from_elsewhere(folder: Path) -> None:
    (folder / "<b>&.cgi").write_bytes(b"#!/usr/bin/perl\n")
    done = run(folder, "scan", ".", "--html", "../report.html")
    assert done.stderr == "gatebridge scan: wrote ../report.html\n"
    text = (folder / "../report.html").read_text("utf-8")
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "b>&.cgi<"} & set(page.tags)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "prefers-color-scheme: dark" in text
    assert "url(" not in text
    for name in [*PROGRAMS, "<b>&.cgi"]:
        assert name in page.text
    assert set(os.listdir(folder.parent)) == {"bin", "report.html"}


def test_html_that_cannot_be_written(folder: Path) -> None:
    done = run(folder, "scan", ".", "--html", "absent/report.html")
    assert done.returncode == 2
    assert said(done).startswith("gatebridge: scan.html: cannot write absent/report.html")


@pytest.mark.parametrize("words", [["scan"], ["scan", "absent"], ["scan", "clean.py"]])
def test_2_usage(folder: Path, words: list[str]) -> None:
    done = run(folder, *words)
    assert done.returncode == 2
    assert "Usage" in said(done)


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = os.path.join(os.fsencode(tmp_path), b"latin\xe9.cgi")
    with open(path, "wb") as file:
        file.write(b"#!/no/perl\n")
    for words in (["--json"], [], ["--html", "page.html"]):
        done = run(tmp_path, "scan", ".", *words, LC_ALL="C.UTF-8")
        assert (done.returncode, "latin" in done.stdout) == (6, True), done.stderr


@pytest.mark.parametrize("words", [[], ["--verbose"]])
def test_a_table_and_a_bar_on_a_terminal(folder: Path, words: list[str]) -> None:
    ours, theirs = pty.openpty()
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gatebridge", "scan", ".", *words],
        cwd=folder, env={**kept, "COLUMNS": "160"}, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as terminal:
        try:
            while piece := terminal.read(65_536):
                shown += piece
        except OSError:  # EIO: the other end is closed
            pass
    assert process.wait(timeout=30) == 6
    assert "reading" in shown.decode()
    assert "wsgi_ready.py" in shown.decode()
    assert ("writes, moves or removes files" in shown.decode()) is bool(words)

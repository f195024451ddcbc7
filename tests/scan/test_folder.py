"""Folders that are hard: links, huge files, many files, files that cannot be read."""

import os
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from gatebridge.scan import access, facts, interpreter, inventory, modules, other_languages
from gatebridge.scan.report import scan
from tests.scan.cgi_bin import elf

SCRIPT = b"#!/usr/bin/env python3\nprint(1)\n"


def put(path: Path, data: bytes = SCRIPT, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path


def codes(report, path="a.py"):
    (found,) = [item for item in report.programs if item.path == path]
    return [code for code, _ in found.problems]


# --- permissions, by suexec's rules

MODES = [
    (0o755, []), (0o700, []), (0o775, ["permission.writable"]), (0o757, ["permission.writable"]),
    (0o644, ["permission.not_executable"]), (0o4755, ["permission.setid"]),
    (0o2755, ["permission.setid"]),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "expected"), MODES, ids=[f"{row[0]:o}" for row in MODES])
def test_T12_permissions_of_a_program(folder, mode, expected):
    path = put(folder / "a.py", mode=mode)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        pytest.skip("this file system drops setuid")
    assert codes(scan(str(folder))) == expected


@pytest.mark.parametrize(("mode", "count"), [(0o755, 0), (0o775, 1), (0o777, 1)])
def test_T12_permissions_of_a_folder(folder, mode, count):
    put(folder / "sub/a.py")
    (folder / "sub").chmod(mode)
    report = scan(str(folder))
    assert [path for path, _ in report.folders] == ["sub"] * count
    assert report.problem_count == count


def test_T12_owner(folder):
    """Root's files may lie anywhere, as suexec does not have it and every distribution does."""
    path = put(folder / "a.py")
    status = list(path.stat())
    for uid, expected in ((1234, []), (0, []), (4321, ["permission.owner"])):
        status[stat.ST_UID] = uid
        entry = inventory.Entry("a.py", str(path), os.stat_result(status), "")
        owner = list(folder.stat())
        owner[stat.ST_UID] = 1234
        found = access.of_program(entry, os.stat_result(owner), str(folder))
        assert [code for code, _ in found] == expected


def test_data_that_is_executable(folder):
    put(folder / "page.html", b"<p>")
    put(folder / "plain.txt", b"x", 0o644)
    assert codes(scan(str(folder)), "page.html") == ["permission.executable_data"]


def test_a_file_that_cannot_be_read():
    """Root may read everything, so it becomes somebody else for a moment."""
    euid = os.geteuid()
    with tempfile.TemporaryDirectory() as name:  # tmp_path lies in a folder of root's alone
        os.chmod(name, 0o755)
        put(Path(name, "a.py")).chmod(0o111)
        os.seteuid(65534 if euid == 0 else euid)
        try:
            report = scan(name)
        finally:
            os.seteuid(euid)
    assert codes(report) == ["permission.unreadable"]


# --- links


def test_links(folder, tmp_path_factory):
    outside = put(tmp_path_factory.mktemp("outside") / "b.py")
    put(folder / "a.py")
    (folder / "in.py").symlink_to("a.py")
    (folder / "out.py").symlink_to(outside)
    (folder / "loop.py").symlink_to("loop.py")
    (folder / "gone.py").symlink_to("absent")
    (folder / "again").symlink_to(".")
    report = scan(str(folder))
    assert codes(report, "in.py") == []
    assert codes(report, "out.py") == ["permission.link_outside"]
    assert [path for path, _ in report.left_out] == ["again", "gone.py", "loop.py"]


def test_pipes_and_sockets_are_not_opened(folder):
    os.mkfifo(folder / "pipe.cgi")
    put(folder / "a.py")
    report = scan(str(folder))
    assert [path for path, _ in report.left_out] == ["pipe.cgi"]


def test_a_file_that_becomes_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "a.py")
    entry = inventory.Entry("a.py", str(folder / "a.py"), os.stat(folder), "")
    with pytest.raises(OSError, match="no regular file"):
        inventory.read(entry, 100)


def test_a_module_with_a_first_line_is_no_program_that_somebody_forgot(folder):
    """It is not executable, and a neighbour imports it; the other one nobody imports."""
    put(folder / "a.py", b"#!/usr/bin/env python3\nimport b\n")
    put(folder / "b.py", SCRIPT, 0o644)
    put(folder / "c.py", SCRIPT, 0o644)
    report = scan(str(folder))
    assert [item.path for item in report.programs] == ["a.py", "c.py"]
    assert [item.path for item in report.modules] == ["b.py"]
    assert codes(report, "c.py") == ["permission.not_executable"]


def test_a_missing_module_that_a_script_can_do_without_keeps_it_from_nothing(folder):
    text = SCRIPT + b"try:\n    import absent_one\nexcept ImportError:\n    absent_one = None\n"
    put(folder / "a.py", text)
    (found,) = scan(str(folder)).programs
    assert found.mode.name == "inproc"
    assert [item.state.word for item in found.imports] == ["missing"]


# --- much


def test_a_huge_file_is_not_read(folder):
    path = put(folder / "a.py", SCRIPT)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    perl = put(folder / "b.pl", b"#!/usr/bin/perl\nfork;\n")
    with perl.open("r+b") as file:
        file.truncate(1 << 40)
    report = scan(str(folder))
    found = {item.path: item for item in report.programs}
    assert (found["a.py"].mode.name, found["a.py"].source) == ("exec", None)
    assert found["b.pl"].size == 1 << 40


def test_a_long_python_file_is_not_parsed(folder):
    put(folder / "a.py", SCRIPT + b"# x\n" * 300_000)
    (found,) = scan(str(folder)).programs
    assert (found.mode.name, found.source) == ("exec", None)
    assert "at most 1 MiB" in found.mode.reason


def test_many_files_and_their_bound(folder, monkeypatch):
    for number in range(300):
        put(folder / f"{number % 7}" / f"{number}.py")
    watched = []
    report = scan(str(folder), lambda done, of: watched.append((done, of)))
    assert len(report.programs) == 300
    assert watched[0] == (0, 300)
    assert watched[-1] == (300, 300)
    monkeypatch.setattr(inventory, "MAX_FILES", 100)
    report = scan(str(folder))
    assert len(report.programs) == 100
    assert "100 files" in report.stopped


def test_deep_folders_end(folder):
    path = folder
    for _ in range(inventory.MAX_DEPTH + 5):
        path = path / "d"
    put(path / "a.py")
    report = scan(str(folder))
    assert report.programs == []
    assert "folders deep" in report.left_out[0][1]


def test_what_is_done_often_is_kept_a_few_times():
    many = [facts.Fact("forks", line, "os.fork") for line in range(1, 1000)]
    assert [fact.line for fact in facts.some(many)] == [1, 2, 3, 4, 5]


# --- interpreters

LINES = [  # first bytes, interpreter's file, version, code of the problem
    (b"#!/bin/sh\n", "/bin/sh", "", ""),
    (b"#! /bin/sh -e\n", "/bin/sh", "", ""),
    (b"#!/usr/bin/env sh\n", None, "", ""),
    (b"#!/usr/bin/env -S sh -e\n", None, "", ""),
    (b"#!/usr/bin/env no-such-python2.6\n", "", "", "interpreter.missing"),
    (b"#!/no/python2.6\n", "", "2.6", "interpreter.missing"),
    (b"#!/usr/bin/env\n", "/usr/bin/env", "", "interpreter.none"),
    (b"#!/etc/passwd\n", "", "", "interpreter.not_executable"),
    (b"#!/tmp\n", "", "", "interpreter.not_executable"),
    (b"#!sh\n", "", "", "interpreter.relative"),
    (b"#!\n", "", "", "interpreter.none"),
    (b"#!/bin/sh\r\n", "/bin/sh", "", "interpreter.crlf"),
    (b"#!\r\n", "", "", "interpreter.none"),
    (b"#!C:\\Python27\\python.exe\n", "", "", "interpreter.relative"),
    (b"#!/bin/sh " + b"x" * 300 + b"\n", "", "", "interpreter.too_long"),
    (b"\xef\xbb\xbf#!/bin/sh\n", "", "", "interpreter.bom"),
    (b"#!/\xff\xfe\n", "", "", "interpreter.missing"),
    (b"", "", "", "interpreter.none"),
    (b"\x7fELF", "", "", "interpreter.none"),
    (b"\x7fELF\2\1\1" + b"\0" * 9 + b"\xff" * 500, "", "", "interpreter.none"),
    (elf(b"/bin/sh", machine=0xBEEF), "", "machine 48879", "interpreter.machine"),
]


@pytest.mark.parametrize("row", LINES, ids=[repr(row[0][:30]) for row in LINES])
def test_interpreter(row):
    data, path, version, code = row
    found = interpreter.find(data)
    assert found.problem[0] == code
    assert bool(found.problem[1]) == bool(code)
    assert path is None or found.path == path
    if version:
        assert found.version == version


@pytest.mark.parametrize("cut", range(0, 180, 7))
def test_a_compiled_program_cut_anywhere(cut):
    found = interpreter.find(elf(b"/lib/ld.so")[:cut])
    assert found.problem[0].startswith("interpreter.") or cut > 104


def test_versions_are_read_not_asked(tmp_path):
    """By the names of files; a venv says it in its configuration. Nothing is started."""
    program = put(tmp_path / "venv/bin/python", b"#!/bin/sh\ntouch ran\n")
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /x\nversion = 3.7.2\n")
    assert interpreter.find(f"#!{program}\n".encode()).version == "3.7.2"
    put(tmp_path / "bin/python2.7", b"")
    (tmp_path / "bin/python").symlink_to("python2.7")
    assert interpreter.find(f"#!{tmp_path}/bin/python\n".encode()).version == "2.7"
    assert not Path("ran").exists()


# --- modules

STATES = [  # name, version of Python, state, in which Python it is gone, part of the advice
    ("os", (3, 11), "stdlib", "", ""),
    ("cgi", (3, 11), "stdlib", "3.13", "gatebridge[legacy]"),
    ("cgi", (3, 13), "removed", "3.13", "gatebridge[legacy]"),
    ("cgitb", (3, 14), "removed", "3.13", "gatebridge[legacy]"),
    ("imp", (3, 12), "removed", "3.12", "importlib"),
    ("pipes", (3, 13), "removed", "3.13", "shlex"),
    ("urllib2", (3, 11), "removed", "3.0", ""),
    ("urllib2", (2, 7), "stdlib", "", ""),
    ("cgi", (2, 7), "stdlib", "", ""),
    ("MySQLdb", (3, 11), "missing", "", "mysqlclient"),
    ("beside", (3, 11), "local", "", ""),
    ("package", (3, 11), "local", "", ""),
    ("there", (3, 11), "found", "", ""),
    ("compiled", (3, 11), "found", "", ""),
    ("notes", (3, 11), "missing", "", ""),
]


@pytest.mark.parametrize("row", STATES, ids=[f"{r[0]}-{r[1][0]}.{r[1][1]}" for r in STATES])
def test_state_of_a_module(tmp_path, row):
    name, version, word, gone, advice = row
    put(tmp_path / "bin/beside.py")
    put(tmp_path / "bin/package/__init__.py")
    put(tmp_path / "bin/notes.txt")
    put(tmp_path / "lib/there.py")
    put(tmp_path / "lib/compiled.so")
    modules.forget()
    found = modules.find(name, str(tmp_path / "bin"), (str(tmp_path / "lib"),), version)
    assert (found.word, found.version) == (word, gone)
    assert advice in found.advice


def test_modules_of_another_interpreter(tmp_path):
    put(tmp_path / "bin/python2.7")
    put(tmp_path / "lib/python2.7/site-packages/MySQLdb/__init__.py")
    modules.forget()
    places = modules.places_of(str(tmp_path / "bin/python2.7"), "2.7")
    assert modules.find("MySQLdb", str(tmp_path), places, (2, 7)).word == "found"


def test_the_folder_where_scan_is_started_counts_for_nothing(tmp_path, monkeypatch):
    put(tmp_path / "stray.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    modules.forget()
    assert modules.find("stray", "/", modules.own_places(), (3, 11)).word == "missing"


# --- other languages

LANGUAGES = [
    ("python2.7", "a.cgi", "Python"), ("python3", "a", "Python"), ("pypy3", "a", "Python"),
    ("perl5.36.0", "a.cgi", "Perl"), ("sh", "a", "shell"), ("bash", "a", "shell"),
    ("php-cgi", "a", "PHP"), ("php8.2", "a", "PHP"), ("node", "a", "JavaScript"),
    ("ruby3.1", "a", "Ruby"), ("lua5.4", "a", "Lua"), ("", "a.pl", "Perl"), ("", "a.cgi", ""),
    ("fish", "a.cgi", ""), ("python-config", "a", ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "expected"), LANGUAGES)
def test_language(kind, name, expected):
    assert other_languages.language(kind, name) == expected


LOOKS = [  # language, line, code or nothing
    ("Perl", b"my $pid = fork;", {"forks"}), ("Perl", b"$fork = 1;", set()),
    ("Perl", b"$x = `date`;", {"shell"}), ("Perl", b"open(F, '>>log');", {"writes_files"}),
    ("Perl", b"open(F, '<log');", set()), ("Perl", b"# fork", set()),
    ("Perl", b"use LWP::UserAgent;", {"proxy"}), ("Perl", b"__END__\nfork;", set()),
    ("Perl", b"=pod\nfork;\n=cut\n", set()), ("shell", b"rm -f x", {"writes_files"}),
    ("shell", b"echo x >/dev/null", set()), ("shell", b"x=$(curl y)", {"connects"}),
    ("PHP", b"eval($_GET['x']);", {"evaluates"}), ("Ruby", b"system 'x'", {"shell"}),
]  # fmt: skip


@pytest.mark.parametrize(("language", "data", "expected"), LOOKS)
def test_facts_of_other_languages(language, data, expected):
    assert {fact.code for fact in other_languages.look(data, language, "")} == expected

"""Programs of a cgi-bin, broken in each way that the doctor knows, and what a log says of them."""

import os
from pathlib import Path

import pytest

from gatebridge.doctor.error_log import trace
from gatebridge.relay_place import Place, state_folder
from gatebridge.relay_text import bake, relay_text
from gatebridge.shim import one_shot
from tests.cli.run import APPLICATION
from tests.doctor.set_up import Fake, doctor, first, ids

SOUND = b"#!/bin/sh\necho Content-Type: text/plain\necho\n"


@pytest.fixture
def machine(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "machine")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "cgi-bin"
    made.mkdir(mode=0o755)
    monkeypatch.chdir(made)
    return made


def put(data: bytes | str, mode: int = 0o755, name: str = "a.cgi") -> str:
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
    os.chmod(name, mode)
    return name


def test_a_sound_program(machine: Fake) -> None:
    report = doctor(machine, scripts=(put(SOUND),))
    assert (ids(report), report.undecided) == ([], [])


@pytest.mark.parametrize(("data", "mode", "expected"), [
    (SOUND, 0o644, "script.execute"),
    (SOUND.replace(b"\n", b"\r\n"), 0o755, "script.line_ends"),
    (b"#!/opt/absent/python\n", 0o755, "script.interpreter"),
    (b"print('hello')\n", 0o755, "script.interpreter"),
    (b"\xef\xbb\xbf" + SOUND, 0o755, "script.interpreter"),
    (SOUND, 0o777, "script.owner"),
    (SOUND, 0o4755, "script.owner"),
])  # fmt: skip
def test_a_program(machine: Fake, data: bytes, mode: int, expected: str) -> None:
    assert ids(doctor(machine, scripts=(put(data, mode),))) == [expected]


def test_a_program_that_is_not_there(machine: Fake) -> None:
    assert ids(doctor(machine, scripts=("absent.cgi",))) == ["script.missing"]


def test_a_folder_that_others_may_write(machine: Fake, folder: Path) -> None:
    script = put(SOUND)
    folder.chmod(0o777)
    assert ids(doctor(machine, scripts=(script,))) == ["script.owner"]
    folder.chmod(0o1777)
    assert ids(doctor(machine, scripts=(script,))) == []


# -- shims


@pytest.fixture
def shim(tmp_path: Path) -> tuple[str, Place]:
    """A relay of an application, and where its daemon would be."""
    base = Path(f"/tmp/gb-doctor-{os.getpid()}")
    base.mkdir()
    (tmp_path / "shop.py").write_text(APPLICATION)
    baked = bake("shop:app", str(tmp_path), None, str(base), [])
    yield put(relay_text(baked, "shop:app")), Place(state_folder(str(base)), baked.name)
    import shutil

    shutil.rmtree(base)


def test_a_sound_shim(machine: Fake, shim: tuple[str, Place]) -> None:
    report = doctor(machine, scripts=(shim[0],))
    assert (ids(report), report.undecided) == ([], [])


def test_a_state_folder_that_others_may_read(machine: Fake, shim: tuple[str, Place]) -> None:
    os.mkdir(shim[1].folder, 0o755)
    os.chmod(shim[1].folder, 0o755)
    report = doctor(machine, scripts=(shim[0],))
    assert ids(report) == ["script.state"]
    assert "0755" in report.found[0].finding.evidence


def test_a_daemon_that_did_not_start(machine: Fake, shim: tuple[str, Place]) -> None:
    os.mkdir(shim[1].folder, 0o700)
    shim[1].write("failed", "ImportError: no shop\n")
    report = doctor(machine, scripts=(shim[0],))
    assert ids(report) == ["script.start"]
    assert "no shop" in report.found[0].finding.evidence


def test_a_shim_of_a_python_that_is_gone(machine: Fake, shim: tuple[str, Place]) -> None:
    import sys

    text = Path(shim[0]).read_text()
    first_line, _, rest = text.partition("\n")
    assert sys.executable in rest
    put(f"{first_line}\n{rest.replace(sys.executable, '/opt/gone/bin/python3')}")
    assert first(doctor(machine, scripts=(shim[0],))) == "script.python"


def test_a_one_shot_shim(machine: Fake, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)
    assert ids(doctor(machine, scripts=(put(one_shot("shop:app", str(tmp_path), None)),))) == []


# -- "Premature end of script headers"

APACHE = "[Sun Nov 22 14:00:0{} 2026] [cgid:error] [pid {}] {}[client 192.0.2.7:5{}] {}"
END = "End of script output before headers: a.cgi"
LIGHTTPD = "2026-11-22 14:00:01: (mod_cgi.c.5) "


def apache(*said: str, client: int = 1) -> list[str]:
    return [APACHE.format(at, 7, "", client, text) for at, text in enumerate(said)]


STDERR = "AH01215: stderr from /cgi-bin/a.cgi: "
LOGS = [
    (apache(f"{STDERR}Traceback (most recent call last):",
            f"{STDERR}ModuleNotFoundError: No module named 'cgi'", END), "No module named 'cgi'"),
    (["[cgid:error] [pid 7] (8)Exec format error: AH01241: exec of '/cgi-bin/a.cgi' failed",
      *apache(END)], "no #! line"),
    (["[cgid:error] [pid 7] (2)No such file or directory: AH01241: exec of '/cgi-bin/a.cgi' failed",
      *apache(END)], "the interpreter"),
    (["[cgid:error] [pid 7] (13)Permission denied: AH01241: exec of '/cgi-bin/a.cgi' failed",
      *apache(END)], "may not execute"),
    (["suexec policy violation: see suexec log for more details", *apache(END)], "suexec refuses"),
    (apache(f"{STDERR}  File \"a.cgi\", line 3", f"{STDERR}SyntaxError: invalid syntax", END),
     "no valid source"),
    (apache(f"{STDERR}Can't locate CGI.pm in @INC (you may need to install the CGI module)", END),
     "Perl module"),
    (apache("malformed header from script 'a.cgi': Bad header: hello",
            "Premature end of script headers: a.cgi"), "before its headers"),
    (apache("AH01220: Timeout waiting for output from CGI script /cgi-bin/a.cgi", END),
     "says nothing"),
    (apache(f"{STDERR}ValueError: no such order", END), "ValueError: no such order"),
    (["FastCGI sent in stderr: \"KeyError: 'QUERY'\" while reading, client: 192.0.2.7, server: x",
      "upstream prematurely closed FastCGI stdout while reading response header from upstream, "
      "client: 192.0.2.7, server: x"], "KeyError: 'QUERY'"),
    (apache(END), "without a word"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "words"), LOGS, ids=[row[1] for row in LOGS])
def test_what_is_behind_it(machine: Fake, lines: list[str], words: str) -> None:
    Path("error.log").write_text("\n".join(["[notice] Apache configured", *lines, ""]))
    report = doctor(machine, error_log="error.log")
    assert ids(report) == ["script.log"]
    assert words in report.found[0].finding.cause
    assert lines[-1] in report.found[0].finding.evidence


# As Apache 2.4.71 (mod_cgid) wrote it, of seven programs in turn.
REAL = """\
[cgid:error] [pid 30:tid 30] (8)Exec format error: AH01241: exec of '/srv/cgi/noshebang.cgi' failed
[cgid:error] [pid 9:tid 44] [client 127.0.0.1:40840] End of script output before headers: noshebang.cgi
[cgid:error] [pid 34:tid 34] (2)No such file or directory: AH01241: exec of '/srv/cgi/noint.cgi' failed
[cgid:error] [pid 7:tid 12] [client 127.0.0.1:40852] End of script output before headers: noint.cgi
[cgid:error] [pid 42:tid 42] (13)Permission denied: AH01241: exec of '/srv/cgi/noexec.cgi' failed
[cgid:error] [pid 7:tid 13] [client 127.0.0.1:40876] End of script output before headers: noexec.cgi
Traceback (most recent call last):
  File "/srv/cgi/mod.cgi", line 2, in <module>
    import absent_mod
ModuleNotFoundError: No module named 'absent_mod'
[cgid:error] [pid 7:tid 15] [client 127.0.0.1:40880] End of script output before headers: mod.cgi
[cgid:error] [pid 7:tid 16] [client 127.0.0.1:40882] malformed header from script 'bad.cgi': Bad header: hello
  File "/srv/cgi/syn.cgi", line 2
    print "x"
    ^^^^^^^^^
SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?
[cgid:error] [pid 7:tid 18] [client 127.0.0.1:40896] End of script output before headers: syn.cgi
"""  # noqa: E501 - its lines are long


@pytest.mark.parametrize(("name", "words", "mend"), [
    ("noshebang.cgi", "no #! line", "#!/usr/bin/python3"),
    ("noint.cgi", "the interpreter", "gatebridge doctor --script /srv/cgi/noint.cgi"),
    ("noexec.cgi", "may not execute", "chmod +x /srv/cgi/noexec.cgi"),
    ("mod.cgi", "No module named 'absent_mod'", "install it"),
    ("bad.cgi", "something before its headers", "print Content-Type"),
    ("syn.cgi", "SyntaxError: Missing parentheses", "docs/migration.md"),
])  # fmt: skip
def test_a_real_log(name: str, words: str, mend: str) -> None:
    traced = trace(REAL.splitlines(), [name])
    assert traced is not None
    assert traced.cause.startswith(f"{name}: ")
    assert words in traced.cause
    assert mend in traced.mend


def test_the_kernel_s_refusal_of_another_program_is_not_taken() -> None:
    lines = REAL.splitlines()
    traced = trace([lines[0], lines[3]])
    assert traced is not None
    assert "without a word" in traced.cause


def test_a_log_without_it(machine: Fake) -> None:
    Path("error.log").write_text("[notice] Apache configured\nValueError: of somebody else\n")
    assert ids(doctor(machine, error_log="error.log")) == []


def test_a_log_that_is_not_there_is_told(machine: Fake) -> None:
    report = doctor(machine, error_log="absent.log")
    assert [id for id, _ in report.undecided] == ["script.log"]


@pytest.mark.parametrize("kind", ["log", "program"])
def test_a_pipe_is_not_waited_for(machine: Fake, kind: str) -> None:
    """In containers, a server's error log is its standard error."""
    os.mkfifo("pipe")
    if kind == "log":
        report = doctor(machine, error_log="pipe")
        assert (ids(report), [id for id, _ in report.undecided]) == ([], ["script.log"])
    else:
        assert ids(doctor(machine, scripts=("pipe",))) == ["script.missing"]


def test_another_request_s_words_are_not_taken(machine: Fake) -> None:
    before = apache(f"{STDERR}ValueError: first", END)
    beside = apache(f"{STDERR}KeyError: other", client=2)
    traced = trace([*before, *beside, *apache(END)])
    assert traced is not None
    assert "without a word" in traced.cause


def test_only_the_named_program_s(machine: Fake) -> None:
    other = apache(f"{STDERR}ValueError: other", "End of script output before headers: b.cgi")
    assert trace(other, ["a.cgi"]) is None
    traced = trace([*apache(f"{STDERR}KeyError: mine", END), *other], ["a.cgi"])
    assert traced is not None
    assert "KeyError: mine" in traced.cause


def test_the_program_itself_is_named_before_what_the_log_says(machine: Fake) -> None:
    Path("error.log").write_text("\n".join(LOGS[3][0]))
    report = doctor(machine, scripts=(put(SOUND, 0o644),), error_log="error.log")
    assert [(one.check.id, one.because) for one in report.found] == [
        ("script.execute", ""),
        ("script.log", "script.execute"),
    ]

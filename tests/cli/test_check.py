"""gatebridge check: problems with 6 and a line each; nothing is started, nothing is changed."""

import os
import socket
from pathlib import Path

import pytest

from tests.cli.run import APPLICATION, run, said
from tests.peers import listening, silent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPLICATION)
    (tmp_path / "fails.py").write_text("raise ValueError('no database')\n")
    (tmp_path / "traces.py").write_text("open('imported', 'w')\n" + APPLICATION)
    return tmp_path


def test_config_error_check_exits_non_zero_with_file_and_line(folder: Path) -> None:
    (folder / "g.toml").write_text("app = 'traces:app'\n[server]\nthreads = 0\n[limit]\n")
    done = run(folder, "check", "-c", "g.toml")
    assert done.returncode == 6
    assert said(done).splitlines() == [
        f"{folder}/g.toml:3: server.threads: 0 is out of range, 1 to 128",
        f"{folder}/g.toml:4: limit: is unknown; did you mean 'limits'?",
        "gatebridge check: 2 problems",
    ]


def test_all_is_well(folder: Path) -> None:
    before = sorted(os.listdir(folder))
    done = run(folder, "check", "traces:app", "--bind", "unix:s")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("pool main: traces:app; ")
    assert done.stdout.splitlines()[-1].startswith("ok")
    assert sorted(os.listdir(folder)) == before


def test_imports_are_tried_when_asked_for(folder: Path) -> None:
    done = run(folder, "check", "traces:app", "--bind", "unix:s", "--imports")
    assert done.returncode == 0, done.stderr
    assert (folder / "imported").exists()


@pytest.mark.parametrize(("target", "words"), [
    ("absent:app", "app.not_found"), ("shop:absent", "app.no_attribute"),
    ("fails:app", "no database"),
])  # fmt: skip
def test_an_application_that_cannot_be_imported(folder: Path, target: str, words: str) -> None:
    done = run(folder, "check", target, "--bind", "unix:s", "--imports")
    assert done.returncode == 6
    assert words in done.stderr
    assert done.stderr.startswith("APP: ")
    assert run(folder, "check", target, "--bind", "unix:s").returncode == 0


def test_imports_of_every_pool_in_its_own_surroundings(folder: Path) -> None:
    """Modules of one name in two folders do not meet, and every failure is told."""
    for name, text in (
        ("a", APPLICATION),
        ("b", "import os\nassert os.environ['ROLE'] == 'b'\n" + APPLICATION),
        ("c", "import absent_module"),
    ):
        (folder / name).mkdir()
        (folder / name / "site_of_tests.py").write_text(text)
    pools = "".join(
        f"[pool.{name}]\nbind = 'unix:{name}.s'\nchdir = '{name}'\nenv = ['ROLE={name}']\n"
        for name in "abc"
    )
    (folder / "g.toml").write_text(f"app = 'site_of_tests:app'\n{pools}")
    done = run(folder, "check", "-c", "g.toml", "--imports")
    assert done.returncode == 6
    assert done.stderr.startswith(f"{folder}/g.toml:1: app.import: ")
    assert "absent_module" in done.stderr
    assert done.stderr.endswith("gatebridge check: 1 problem\n")


def test_the_system_is_asked(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = run(folder, "check", "shop:app", "--bind", place, "--bind", "unix:absent/s",
                   "--error-logfile", "absent/log", "--user", "no-such-user")  # fmt: skip
    assert done.returncode == 6
    assert [line.partition(": ")[0] for line in said(done).splitlines()] == [
        "--bind", "--bind", "--user", "--error-logfile", "gatebridge check"
    ]  # fmt: skip


def test_usage(folder: Path) -> None:
    assert run(folder, "check").returncode == 2
    assert run(folder, "check", "shop:app", "--thread", "1").returncode == 2


def test_a_slip_in_the_environment_is_noted(folder: Path) -> None:
    done = run(folder, "check", "shop:app", "--bind", "unix:s", GATEBRIDGE_THREAD="2")
    assert done.returncode == 0
    assert "note: GATEBRIDGE_THREAD is no option's" in done.stdout


# -- programs of a folder

SCRIPT = "#!/bin/sh\necho Content-Type: text/plain\necho\necho hello\n"


@pytest.fixture
def programs(folder: Path) -> Path:
    made = folder / "bin"
    made.mkdir()
    for name, mode in (("a.sh", 0o755), ("b.sh", 0o777), ("c.sh", 0o644), (".d.sh", 0o755)):
        (made / name).write_text(SCRIPT)
        (made / name).chmod(mode)
    return made


def test_programs_of_a_folder_are_named_and_the_refused_ones_with_the_rule(programs: Path) -> None:
    done = run(programs.parent, "check", "cgi:bin/", "--bind", "unix:s")
    assert (done.returncode, done.stderr) == (0, "")
    assert "note: cgi:bin/: 1 program: a.sh\n" in done.stdout
    assert "note: cgi:bin/: b.sh is refused: permission.writable " in done.stdout
    assert "note: cgi:bin/: c.sh is refused: permission." in done.stdout
    assert ".d.sh" in done.stdout


def test_a_back_end_that_is_not_there_yet_is_noted(folder: Path) -> None:
    """It may come later, and others answer meanwhile."""
    mount = "--mount=/x=http+unix:none.sock"
    done = run(folder, "check", "shop:app", mount, "--bind", "unix:s")
    assert (done.returncode, done.stderr) == (0, "")
    place = f"http+unix:{folder.resolve()}/none.sock"
    assert f"the back end is not there: {place} does not exist (connect.no_socket)" in done.stdout
    with listening(silent, folder / "none.sock"):
        done = run(folder, "check", "shop:app", mount, "--bind", "unix:s")
    assert (done.returncode, done.stderr) == (0, "")
    assert "back end" not in done.stdout


MISSING = ["http://127.0.0.1:1?timeuot=3", "https://h", "fcgi://h", "cgi:absent/", "cgi:bin/b.sh",
           "cgi:bin/?timeout=soon", "static:absent"]  # fmt: skip


@pytest.mark.parametrize("target", MISSING)
def test_a_target_that_would_stop_a_worker_is_a_problem(programs: Path, target: str) -> None:
    for words in ([target], ["shop:app", "--mount", f"/x={target}"]):
        done = run(programs.parent, "check", *words, "--bind", "unix:s")
        assert done.returncode == 6, done.stdout
        assert target.partition("?")[0] in done.stderr


def test_both_sides_of_a_route_are_looked_at(programs: Path) -> None:
    (programs.parent / "g.toml").write_text(
        'app = "shop:app"\n[server]\nbind = "unix:s"\nroute_state = "absent/routes"\n'
        '[[route]]\nmatch = "/x"\nlegacy = "cgi:bin/"\nnew = "static:absent"\n'
    )
    done = run(programs.parent, "check", "-c", "g.toml")
    assert done.returncode == 6
    assert "1 program: a.sh" in done.stdout
    assert "static:absent" in done.stderr
    assert ":4: route_state: " in done.stderr
    assert "there is no folder" in done.stderr


def test_a_new_side_that_cannot_be_imported_is_told(folder: Path) -> None:
    (folder / "g.toml").write_text(
        'app = "shop:app"\n[server]\nbind = "unix:s"\n'
        '[[route]]\nmatch = "/x"\nlegacy = "shop:app"\nnew = "fails:app"\n'
    )
    assert run(folder, "check", "-c", "g.toml").returncode == 0
    done = run(folder, "check", "-c", "g.toml", "--imports")
    assert done.returncode == 6
    assert "no database" in done.stderr

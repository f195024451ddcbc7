"""suexec's rules: whose file runs, and that it is that file which runs."""

import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from gatebridge.apps.execute import Execute
from gatebridge.apps.inprocess import InProcess
from gatebridge.apps.options import ScriptOptions
from gatebridge.apps.permission import Checked, Trust, check_folder, open_program, owners_of
from gatebridge.apps.running import Call, Launcher, Running
from gatebridge.apps.warm import Warm
from gatebridge.errors import AppError

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """outside.cgi and folder/cgi-bin/sub/x.cgi: give the folder of programs."""
    (tmp_path / "folder").mkdir(mode=0o755)
    found = Path(os.path.realpath(tmp_path)) / "folder" / "cgi-bin"
    found.mkdir(mode=0o755)
    (found / "sub").mkdir(mode=0o755)
    script(found / "sub" / "x.cgi", "good")
    script(tmp_path / "outside.cgi", "evil")
    return found


def script(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\necho {says} $0\n")
    path.chmod(0o755)
    return path


def trust(root: Path, **fields: Any) -> Trust:
    uid = fields.pop("uid", os.geteuid())
    return Trust(str(root), owners_of(str(root), uid), uid, **fields)


def code(path: Path, whom: Trust) -> str:
    """Of the refusal, or "" """
    try:
        os.close(open_program(str(path), whom))
    except AppError as error:
        return error.code if error.detail else "no sentence"
    return ""


def test_a_program_of_the_folders_owner_runs(root: Path) -> None:
    assert code(root / "sub" / "x.cgi", trust(root)) == ""


MODES = [
    ("sub/x.cgi", 0o775, "permission.writable"),
    ("sub/x.cgi", 0o757, "permission.writable"),
    ("sub/x.cgi", 0o4755, "permission.set_id"),
    ("sub/x.cgi", 0o2755, "permission.set_id"),
    ("sub/x.cgi", 0o644, "permission.mode"),
    ("sub/x.cgi", 0o711, ""),
    ("sub/x.cgi", 0o500, ""),
    ("sub", 0o775, "permission.writable"),
    ("sub", 0o757, "permission.writable"),
    ("sub", 0o1777, "permission.writable"),  # others could put files there
    ("", 0o775, "permission.writable"),
    ("", 0o1777, "permission.writable"),
    ("..", 0o775, "permission.writable"),  # they could put another cgi-bin there
    ("..", 0o777, "permission.writable"),
    ("..", 0o1777, ""),  # as /tmp: nobody renames another one's folder
]


@pytest.mark.parametrize(("name", "mode", "refusal"), MODES)
def test_who_else_could_write(root: Path, name: str, mode: int, refusal: str) -> None:
    (root / name).chmod(mode)
    assert code(root / "sub" / "x.cgi", trust(root)) == refusal


@pytest.mark.parametrize(("name", "mode", "refusal"), MODES)
def test_with_owner_any_all_of_it_may_be_written(
    root: Path, name: str, mode: int, refusal: str
) -> None:
    (root / name).chmod(mode)
    executable = name != "sub/x.cgi" or mode & 0o111
    expected = "" if executable else "permission.mode"
    assert code(root / "sub" / "x.cgi", trust(root, check=False)) == expected


@needs_root
@pytest.mark.parametrize("name", ["sub/x.cgi", "sub", ".."])
def test_what_belongs_to_another_user_does_not_run(root: Path, name: str) -> None:
    os.chown(root / name, NOBODY, NOBODY)
    assert code(root / "sub" / "x.cgi", trust(root, uid=1000)) == "permission.owner"
    assert code(root / "sub" / "x.cgi", trust(root, check=False)) == ""


@needs_root
def test_the_folders_owner_and_root_may_have_written_it(root: Path) -> None:
    os.chown(root, 1000, 1000)
    assert code(root / "sub" / "x.cgi", trust(root, uid=1001)) == ""
    os.chown(root / "sub", 1000, 1000)
    os.chown(root / "sub" / "x.cgi", 1000, 1000)
    assert code(root / "sub" / "x.cgi", trust(root, uid=1001)) == ""


@needs_root
def test_as_root_only_roots_programs_run(root: Path) -> None:
    os.chown(root, 1000, 1000)
    os.chown(root / "sub", 1000, 1000)
    os.chown(root / "sub" / "x.cgi", 1000, 1000)
    with pytest.raises(AppError, match="gatebridge runs as root") as refused:
        open_program(str(root / "sub" / "x.cgi"), trust(root, uid=0))
    assert refused.value.code == "permission.owner"


def test_a_program_that_cannot_be_read_is_executed_and_not_read(root: Path) -> None:
    (root / "sub" / "x.cgi").chmod(0o111)
    assert code(root / "sub" / "x.cgi", trust(root)) == ""
    if os.geteuid() != 0:  # who reads everything
        assert code(root / "sub" / "x.cgi", trust(root, read=True)) == "permission.denied"


def test_warmed_programs_need_no_execute_bit_where_one_is_named(root: Path) -> None:
    (root / "sub" / "x.cgi").chmod(0o644)
    assert code(root / "sub" / "x.cgi", trust(root, execute=False)) == ""


def test_no_link_is_followed_anywhere_on_the_way(root: Path) -> None:
    program = root / "sub" / "x.cgi"
    program.unlink()
    program.symlink_to(root.parents[1] / "outside.cgi")
    for check in (True, False):
        assert code(program, trust(root, check=check)) == "permission.link"
    (root / "sub").rename(root / "real")
    script(root / "real" / "y.cgi", "good")
    (root / "sub").symlink_to("real")
    for check in (True, False):
        assert code(root / "sub" / "y.cgi", trust(root, check=check)) == "permission.link"


SWAPS = [
    (lambda path, evil: path.symlink_to(evil), "permission.link"),
    (lambda path, evil: path.mkdir(), "permission.kind"),
    (lambda path, evil: path.write_text("not executable"), "permission.mode"),
]


@pytest.mark.parametrize(("swap", "refusal"), SWAPS, ids=[row[1] for row in SWAPS])
def test_T13_what_comes_between_two_looks_is_seen(
    root: Path, monkeypatch: pytest.MonkeyPatch, swap: Any, refusal: str
) -> None:
    program = root / "sub" / "x.cgi"
    look = os.stat

    def late(path: Any, **rest: Any) -> os.stat_result:
        found = look(path, **rest)
        if path == "x.cgi" and found.st_mode & 0o111:
            program.unlink()
            swap(program, root.parents[1] / "outside.cgi")
        return found

    whom = trust(root, check=False)
    monkeypatch.setattr(os, "stat", late)
    assert code(program, whom) == refusal


def test_what_is_no_file_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "pipe", 0o755)
    assert code(root / "pipe", trust(root)) == "permission.kind"
    assert code(root / "sub", trust(root)) == "permission.kind"
    assert code(root / "none", trust(root)) == "permission.gone"
    assert code(root / "sub" / "x.cgi" / "more", trust(root)) == "permission.link"
    assert code(root / ("n" * 300), trust(root)) == "permission.gone"


def test_names_do_not_forge_lines_of_the_log(root: Path) -> None:
    name = script(root / "x\npermission.fine.cgi", "evil")
    name.chmod(0o777)
    with pytest.raises(AppError) as refused:
        open_program(str(name), trust(root))
    assert "\n" not in str(refused.value)


def test_no_descriptor_is_left(root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for path in (root / "sub" / "x.cgi", root / "none" / "none", root / "sub"):
        code(path, trust(root))
    (root / "sub").chmod(0o777)
    code(root / "sub" / "x.cgi", trust(root))
    with pytest.raises(AppError):
        check_folder(str(root / "sub"), trust(root))
    assert os.listdir("/proc/self/fd") == before


# -- what runs is what was judged


def call(path: Path) -> Call:
    return Call(str(path), (), {b"PATH": b"/bin:/usr/bin"}, str(path.parent), False, {})


def output(launcher: Checked, path: Path) -> str:
    """What a program prints; the code of a refusal."""
    try:
        running = launcher.start(call(path))
    except AppError as error:
        return error.code
    text = b""
    try:
        while True:
            select.select([running.stdout], [], [], 60)
            piece = os.read(running.stdout, 4096)
            if not piece:
                return text.decode()
            text += piece
    finally:
        running.kill(9)
        running.close()


def test_a_program_runs_under_its_path(root: Path) -> None:
    path = root / "sub" / "x.cgi"
    launcher = Checked(Execute(), trust(root), give=False)
    assert output(launcher, path) == f"good {path}\n"
    launcher.close()


def test_a_program_that_has_become_writable_since_does_not_start(root: Path) -> None:
    path = root / "sub" / "x.cgi"
    launcher = Checked(Execute(), trust(root), give=False)
    path.chmod(0o777)
    assert output(launcher, path) == "permission.writable"
    launcher.close()


class Swapped:
    """Puts a link into a program's place when it has been judged."""

    def __init__(self, launcher: Launcher, evil: Path) -> None:
        self.launcher = launcher
        self.evil = evil

    def start(self, call: Call) -> Running:
        os.unlink(call.path)
        os.symlink(self.evil, call.path)
        return self.launcher.start(call)

    def close(self) -> None:
        self.launcher.close()


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="no execution by descriptor here")
@pytest.mark.parametrize(("give", "says"), [(True, "good /proc/self/fd/"), (False, "evil /")])
def test_T13_what_was_judged_runs_by_its_descriptor(root: Path, give: bool, says: str) -> None:
    """A path would run what lies there now, which the second row shows."""
    swapped = Swapped(Execute(), root.parents[1] / "outside.cgi")
    launcher = Checked(swapped, trust(root), give)
    assert output(launcher, root / "sub" / "x.cgi").startswith(says)
    launcher.close()


@pytest.mark.parametrize("warmed", [Warm, InProcess])
def test_T13_a_warmed_interpreter_reads_what_was_judged(
    root: Path, warmed: type[Warm | InProcess]
) -> None:
    path, evil = root / "sub" / "x.cgi", root.parents[1] / "outside.cgi"
    path.write_text("#!/usr/bin/python3\nprint('good', __file__)\n")
    evil.write_text("#!/usr/bin/python3\nprint('evil', __file__)\n")
    launcher = Checked(Swapped(warmed(ScriptOptions(preload=())), evil), trust(root), give=True)
    assert output(launcher, path) == f"good {path}\n"
    launcher.close()


SWAP = """
import os, sys
program, good, evil = sys.argv[1:]
spare = program + ".spare"
print("swapping", flush=True)
while os.getppid() == int(os.environ["PARENT"]):
    os.symlink(evil, spare)
    os.rename(spare, program)
    os.link(good, spare)
    os.rename(spare, program)
"""


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="no execution by descriptor here")
@pytest.mark.parametrize("kind", ["script", "binary"])
def test_T13_a_link_swapped_in_is_never_run(root: Path, kind: str) -> None:
    """Folders that anybody writes to: what was opened runs, or nothing does."""
    path, good, evil = root / "sub" / "x.cgi", root / "good", root.parents[1] / "outside.cgi"
    if kind == "binary":
        evil.write_bytes(Path("/bin/false").read_bytes())
        path.write_bytes(Path("/bin/echo").read_bytes())
    os.link(path, good)
    (root / "sub").chmod(0o777)
    launcher = Checked(Execute(), trust(root, check=False), give=True)
    found: dict[str, int] = {"ran": 0, "permission.link": 0}
    with subprocess.Popen(
        [sys.executable, "-ISE", "-c", SWAP, path, good, evil],
        env={"PARENT": str(os.getpid())},
        stdout=subprocess.PIPE,
    ) as swapper:
        try:
            swapper.stdout.readline()
            while min(found.values()) < 15 and sum(found.values()) < 300:
                said = output(launcher, path)
                if said == "\n" if kind == "binary" else said.startswith("good"):
                    said = "ran"
                found[said] = found.get(said, 0) + 1
        finally:
            swapper.kill()
    launcher.close()
    assert found.keys() == {"ran", "permission.link"}


RENAME = 'for path; do mv "$path" "$path.away" 2>/dev/null && echo "$path"; done; exit 0'


@needs_root
def test_T13_where_a_path_is_run_no_other_account_can_swap_it() -> None:
    """Every folder on the way is closed to it, or the program is refused."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own lets nobody in
        root = Path(os.path.realpath(folder), "home", "cgi-bin")
        root.mkdir(parents=True)
        path = script(root / "x.cgi", "good")
        for place, mode in ((root.parents[1], 0o755), (root.parent, 0o755), (root, 0o755)):
            place.chmod(mode)
        ways = [path, root, root.parent, root.parents[1]]
        for mode in (0o755, 0o1777):
            root.parent.chmod(mode)
            assert code(path, trust(root, uid=NOBODY)) == ""
            assert renamed_by_nobody(ways) == ""
        root.parent.chmod(0o777)  # and the test can tell
        assert code(path, trust(root, uid=NOBODY)) == "permission.writable"
        assert renamed_by_nobody(ways) == f"{root}\n"


def renamed_by_nobody(paths: list[Path]) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", RENAME, "sh", *paths],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout

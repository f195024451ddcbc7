"""Changed files, touched files and switched links are noticed; a file being saved is no fault."""

import contextlib
import importlib.util
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatebridge.errors import ConfigError
from gatebridge.serve import file_watch
from gatebridge.serve.file_watch import FileWatch

PACKAGE = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0
HAVE_WATCHFILES = importlib.util.find_spec("watchfiles") is not None

_clock = 1_000_000_000


def write(path: Path, text: str) -> Path:
    """A file whose time differs from that of every other one, however coarse the clock is."""
    global _clock
    _clock += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (_clock, _clock))
    return path


@pytest.fixture
def watch() -> Iterator[FileWatch]:
    made = FileWatch("stat")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A package with one below it, and a module beside."""
    write(tmp_path / "shop" / "__init__.py", "")
    write(tmp_path / "shop" / "orders.py", "1")
    write(tmp_path / "shop" / "tax" / "__init__.py", "")
    write(tmp_path / "wsgi.py", "1")
    return tmp_path


def follow(watch: FileWatch, app: Path) -> None:
    watch.follow("main", [str(app / "shop"), str(app / "wsgi.py")])


def names(app: Path, found: list[str]) -> list[str]:
    return [str(Path(path).relative_to(app)) for path in found]


# -- what an application consists of


CHANGES: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("nothing", lambda app: None, []),
    ("a module's text", lambda app: write(app / "wsgi.py", "2"), ["wsgi.py"]),
    ("its size alone", lambda app: resize(app / "wsgi.py"), ["wsgi.py"]),
    ("its time alone", lambda app: os.utime(app / "wsgi.py", (5, 5)), ["wsgi.py"]),
    ("another file in its place", lambda app: replace(app / "wsgi.py"), ["wsgi.py"]),
    ("in a package", lambda app: write(app / "shop/orders.py", "2"), ["shop/orders.py"]),
    ("deep in it", lambda app: write(app / "shop/tax/__init__.py", "2"), ["shop/tax/__init__.py"]),
    ("a new module in it", lambda app: write(app / "shop/new.py", ""), ["shop/new.py"]),
    ("a new package in it", lambda app: write(app / "shop/a/b.py", ""), ["shop/a/b.py"]),
    ("two", lambda app: (write(app / "wsgi.py", "2"), write(app / "shop/orders.py", "2")),
     ["shop/orders.py", "wsgi.py"]),
    ("a module beside, imported by nobody", lambda app: write(app / "other.py", ""), []),
    ("no Python file", lambda app: write(app / "shop/data.json", ""), []),
    ("an editor's copy", lambda app: write(app / "shop/.#orders.py", ""), []),
    ("an editor's other copy", lambda app: write(app / "shop/orders.py~", ""), []),
    ("compiled files", lambda app: write(app / "shop/__pycache__/x.py", ""), []),
    ("a hidden folder", lambda app: write(app / "shop/.venv/x.py", ""), []),
    ("its access time", lambda app: (app / "wsgi.py").read_text(), []),
    ("its mode", lambda app: (app / "wsgi.py").chmod(0o600), []),
]  # fmt: skip


def resize(path: Path) -> None:
    before = path.stat()
    path.write_text("longer")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """As mv does it: same size, same time."""
    before = path.stat()
    other = path.with_name("new")
    other.write_text(path.read_text())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize(("name", "change", "wanted"), CHANGES, ids=[row[0] for row in CHANGES])
def test_change(
    watch: FileWatch, app: Path, name: str, change: Callable[[Path], object], wanted: list[str]
) -> None:
    follow(watch, app)
    assert watch.look() == []
    change(app)
    assert names(app, watch.look()) == wanted
    assert watch.look() == []  # once


def test_a_file_that_an_editor_is_saving_is_no_fault(watch: FileWatch, app: Path) -> None:
    """Some remove the file before they write the new one."""
    follow(watch, app)
    text = (app / "wsgi.py").read_text()
    (app / "wsgi.py").unlink()
    assert watch.look() == []
    assert watch.look() == []
    write(app / "wsgi.py", text + "more")
    assert names(app, watch.look()) == ["wsgi.py"]


def test_one_that_comes_back_as_it_was_is_no_change(watch: FileWatch, app: Path) -> None:
    follow(watch, app)
    (app / "wsgi.py").rename(app / "away")
    assert watch.look() == []
    (app / "away").rename(app / "wsgi.py")
    assert [watch.look() for _ in range(9)] == [[]] * 9


def test_one_that_stays_away_is_a_change(watch: FileWatch, app: Path) -> None:
    follow(watch, app)
    (app / "shop" / "orders.py").unlink()
    looks = [names(app, watch.look()) for _ in range(6)]
    assert [look for look in looks if look] == [["shop/orders.py"]]
    assert looks[0] == []
    write(app / "shop" / "orders.py", "2")
    assert names(app, watch.look()) == ["shop/orders.py"]


def test_a_package_that_vanishes_and_returns(watch: FileWatch, app: Path) -> None:
    """git switches a branch: for a moment the folder is not there."""
    follow(watch, app)
    (app / "shop").rename(app / "away")
    assert watch.look() == []
    (app / "away").rename(app / "shop")
    assert watch.look() == []


def test_what_changes_while_a_new_generation_loads_is_told(watch: FileWatch, app: Path) -> None:
    """It has imported the file before; when it is ready, the list of files comes anew."""
    follow(watch, app)
    write(app / "wsgi.py", "2")
    follow(watch, app)
    assert names(app, watch.look()) == ["wsgi.py"]


def test_what_changes_while_the_first_generation_loads_is_told_once(
    watch: FileWatch, app: Path
) -> None:
    """The application may have been read before the change, and tells its files after it."""
    since_ns = os.stat(app / "wsgi.py").st_mtime_ns + 1_000_000_000
    write(app / "shop" / "orders.py", "changed")
    os.utime(app / "shop" / "orders.py", ns=(since_ns, since_ns + 5_000_000))
    watch.follow("main", [str(app / "shop"), str(app / "wsgi.py")], since_ns)
    assert names(app, watch.look()) == ["shop/orders.py"]
    assert watch.look() == []
    watch.follow("main", [str(app / "shop"), str(app / "wsgi.py")], since_ns)
    assert watch.look() == []


def test_a_new_generation_may_consist_of_others(watch: FileWatch, app: Path) -> None:
    write(app / "added.py", "")
    follow(watch, app)
    watch.follow("main", [str(app / "added.py")])
    assert watch.look() == []
    write(app / "wsgi.py", "2")
    assert watch.look() == []
    write(app / "added.py", "2")
    assert names(app, watch.look()) == ["added.py"]


def test_each_pool_has_its_own(watch: FileWatch, app: Path) -> None:
    watch.follow("one", [str(app / "wsgi.py")])
    watch.follow("two", [str(app / "shop")])
    write(app / "wsgi.py", "2")
    write(app / "shop" / "orders.py", "2")
    assert len(watch.look()) == 2
    watch.follow("one", [])
    write(app / "wsgi.py", "3")
    write(app / "shop" / "orders.py", "3")
    assert names(app, watch.look()) == ["shop/orders.py"]


def test_files_that_are_not_there_are_no_fault(watch: FileWatch, app: Path) -> None:
    watch.follow("main", [str(app / "absent.py"), "", "\0", str(app / "wsgi.py" / "below.py")])
    assert watch.look() == []
    write(app / "absent.py", "")
    assert names(app, watch.look()) == ["absent.py"]


def test_a_link_that_leads_in_circles_ends(watch: FileWatch, app: Path) -> None:
    (app / "shop" / "loop").symlink_to(app / "shop")
    (app / "shop" / "self.py").symlink_to(app / "shop" / "self.py")
    follow(watch, app)
    assert watch.look() == []


def test_a_folder_of_very_many_files_ends(
    watch: FileWatch, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_watch, "_MOST_FILES", 3)
    for number in range(10):
        write(app / "shop" / f"m{number}.py", "")
    follow(watch, app)
    assert watch.look() == []


def test_a_folder_that_may_not_be_read_is_no_fault(watch: FileWatch, app: Path) -> None:
    (app / "shop" / "closed").mkdir(mode=0)
    follow(watch, app)
    assert watch.look() == []


# -- extra files: touched to reload, and the link of a release


@pytest.fixture
def extra(tmp_path: Path) -> Callable[..., FileWatch]:
    def made(*names: str) -> FileWatch:
        return FileWatch("stat", [str(tmp_path / name) for name in names])

    return made


def test_a_touched_file(extra: Callable[..., FileWatch], tmp_path: Path) -> None:
    touched = write(tmp_path / "reload", "")
    watch = extra("reload")
    assert watch.look() == []
    os.utime(touched, (77, 77))
    assert watch.look() == [str(touched)]
    assert watch.look() == []


def test_a_file_that_is_made_to_reload(extra: Callable[..., FileWatch], tmp_path: Path) -> None:
    """Passenger's habit: touch tmp/restart.txt. Its removal is none."""
    watch = extra("restart.txt")
    assert watch.look() == []
    path = write(tmp_path / "restart.txt", "")
    assert watch.look() == [str(path)]
    path.unlink()
    assert [watch.look() for _ in range(5)] == [[]] * 5
    write(path, "")
    assert watch.look() == [str(path)]


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """current -> r1; r2 is the next one."""
    for name in ("r1", "r2"):
        write(tmp_path / name / "wsgi.py", name)
        write(tmp_path / name / "version", "1")
        os.utime(tmp_path / name / "version", (5, 5))
    (tmp_path / "current").symlink_to("r1")
    return tmp_path


def switch(folder: Path, target: str) -> None:
    """Atomic, as deployments do it."""
    (folder / "next").symlink_to(target)
    (folder / "next").rename(folder / "current")


def test_a_release_folder_switched_by_its_link(
    extra: Callable[..., FileWatch], releases: Path
) -> None:
    watch = extra("current")
    assert watch.look() == []
    switch(releases, "r2")
    assert watch.look() == [str(releases / "current")]
    assert watch.look() == []


def test_a_link_that_is_gone_for_a_moment(extra: Callable[..., FileWatch], releases: Path) -> None:
    """ln -sfn removes it first."""
    watch = extra("current")
    (releases / "current").unlink()
    assert watch.look() == []
    (releases / "current").symlink_to("r2")
    assert watch.look() == [str(releases / "current")]


def test_a_link_that_leads_nowhere_for_a_while(
    extra: Callable[..., FileWatch], releases: Path
) -> None:
    watch = extra("current")
    switch(releases, "r3")
    assert watch.look() == []
    (releases / "r3").mkdir()
    assert watch.look() == [str(releases / "current")]


def test_a_chain_of_links(extra: Callable[..., FileWatch], releases: Path) -> None:
    (releases / "live").symlink_to("current")
    watch = extra("live")
    switch(releases, "r2")
    assert watch.look() == [str(releases / "live")]


def test_a_file_behind_a_link_on_the_way(extra: Callable[..., FileWatch], releases: Path) -> None:
    watch = extra("current/version")
    switch(releases, "r2")
    assert watch.look() == [str(releases / "current/version")]


def test_a_link_to_the_same_place_by_another_name(
    extra: Callable[..., FileWatch], releases: Path
) -> None:
    watch = extra("current")
    switch(releases, str(releases / "r1"))
    assert watch.look() == []


def test_what_is_written_in_a_folder_is_no_switch(
    extra: Callable[..., FileWatch], releases: Path
) -> None:
    """Log files, sockets, compiled modules: the folder's own time changes all the time."""
    watch = extra("current")
    write(releases / "r1" / "app.log", "x")
    os.utime(releases / "r1", (77, 77))
    assert watch.look() == []


def test_a_release_made_anew_in_its_place(extra: Callable[..., FileWatch], releases: Path) -> None:
    watch = extra("current")
    (releases / "r1").rename(releases / "r0")
    (releases / "r1").mkdir()
    assert watch.look() == [str(releases / "current")]


def test_extra_files_are_found_after_a_change_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    watch = FileWatch("stat", ["reload"])
    monkeypatch.chdir("/")
    write(tmp_path / "reload", "")
    assert watch.look() == [str(tmp_path / "reload")]


# -- engines


def test_stat_has_no_descriptor_and_no_process(watch: FileWatch) -> None:
    assert watch.fd == -1
    assert not watch.wake()


def test_watchfiles_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as raised:
        FileWatch("watchfiles")
    assert raised.value.code == "reload.engine"
    assert "pip install watchfiles" in raised.value.detail
    assert FileWatch("auto").fd == -1


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **more: object) -> None:
        raise OSError(11, "no more processes")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = len(os.listdir("/proc/self/fd"))
    assert FileWatch("auto").fd == -1
    with pytest.raises(ConfigError) as raised:
        FileWatch("watchfiles")
    assert raised.value.code == "reload.engine"
    assert len(os.listdir("/proc/self/fd")) == before


def called(watch: FileWatch) -> bool:
    """Wait until watchfiles calls; then what wake() says."""
    assert select.select([watch.fd], [], [], DEADLINE_S)[0], "watchfiles says nothing"
    return watch.wake()


@pytest.fixture
def events(app: Path) -> Iterator[FileWatch | None]:
    """By watchfiles, following the application; None where it is not installed."""
    if not HAVE_WATCHFILES:
        yield None
        return
    made = FileWatch("auto")
    follow(made, app)
    try:
        assert called(made)  # that it watches
        while made.look() or made._hot > 0:
            continue
        yield made
    finally:
        made.close()


SAVES = [row for row in CHANGES if row[2]]


@pytest.mark.parametrize(("name", "change", "wanted"), SAVES, ids=[row[0] for row in SAVES])
def test_watchfiles_calls_for(
    events: FileWatch | None, app: Path, name: str, change: Callable[[Path], object],
    wanted: list[str],
) -> None:  # fmt: skip
    if events is None:
        assert FileWatch("auto").fd == -1
        return
    change(app)
    found: set[str] = set()
    while found != set(wanted):
        assert called(events)
        found.update(names(app, events.look()))


def test_without_a_call_nothing_is_looked_at_but_extra_files(app: Path) -> None:
    """That is what watchfiles is for."""
    touched = write(app / "reload", "")
    watch = FileWatch("auto", [str(touched)])
    try:
        follow(watch, app)
        write(touched, "2")
        if not HAVE_WATCHFILES:
            write(app / "wsgi.py", "2")
            assert len(watch.look()) == 2
            return
        assert watch.look() == [str(touched)]
    finally:
        watch.close()


def test_now_and_then_it_is_looked_at_all_the_same(app: Path) -> None:
    """NFS, and some mounts in containers, tell nobody of a change: wake() is never called."""
    watch = FileWatch("auto")
    try:
        follow(watch, app)
        write(app / "wsgi.py", "2")
        looks = [names(app, watch.look()) for _ in range(25)]
        assert [look for look in looks if look] == [["wsgi.py"]]
    finally:
        watch.close()


def test_a_process_that_dies_is_replaced_by_polling(events: FileWatch | None, app: Path) -> None:
    if events is None:
        return
    os.kill(events._events._process.pid, signal.SIGKILL)
    while called(events):
        continue
    write(app / "wsgi.py", "2")
    assert names(app, events.look()) == ["wsgi.py"]
    for number in range(9):
        events.look()
        write(app / "wsgi.py", f"{number}")
        assert names(app, events.look()) == ["wsgi.py"]
    follow(events, app)
    write(app / "wsgi.py", "x")
    assert names(app, events.look()) == ["wsgi.py"]


SUPERVISOR = """
import os, sys
from gatebridge.serve.file_watch import FileWatch
watch = FileWatch("auto")
watch.follow("main", [sys.argv[1]])
print(watch._events._process.pid if watch.fd >= 0 else 0, flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_the_process_ends_with_the_supervisor(app: Path) -> None:
    """kill -9, too: its standard input ends."""
    if not HAVE_WATCHFILES:
        return
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(app / "shop")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
    ) as supervisor:
        pid = int(supervisor.stdout.readline())
        handle = os.pidfd_open(pid)
        supervisor.kill()
        assert select.select([handle], [], [], DEADLINE_S)[0]
        os.close(handle)


def test_closing_leaves_nothing(app: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watch = FileWatch("auto")
    follow(watch, app)
    watch.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_T22_the_process_gets_no_descriptor_of_ours(app: Path) -> None:
    one, other = socket.socketpair()
    one.set_inheritable(True)
    watch = FileWatch("auto")
    try:
        if watch.fd >= 0:
            pid = watch._events._process.pid
            inodes = set()
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):  # one of its own, closed meanwhile
                    inodes.add(os.stat(f"/proc/{pid}/fd/{fd}").st_ino)
            assert os.fstat(one.fileno()).st_ino not in inodes
    finally:
        watch.close()
        one.close()
        other.close()


EXCLUDED = [
    ("*/orders.py", ["shop/tax/__init__.py"]),
    ("*/tax/*", ["shop/orders.py"]),
    ("*", []),
    ("orders.py", ["shop/orders.py", "shop/tax/__init__.py"]),  # the whole path is looked at
]


@pytest.mark.parametrize(("pattern", "told"), EXCLUDED)
def test_excluded_patterns_are_not_told(app, pattern, told):
    watch = FileWatch("stat", exclude=[pattern])
    try:
        follow(watch, app)
        for name in ("orders.py", "tax/__init__.py"):
            write(app / "shop" / name, "2")
        assert names(app, watch.look()) == told
        assert watch.look() == []
    finally:
        watch.close()

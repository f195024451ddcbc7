"""What the system says about a configuration, before anything is started."""

import os
import socket
from pathlib import Path

import pytest

from gatebridge.config import Asked, resolve
from gatebridge.config.outside import odd_variables
from gatebridge.config.system import System
from gatebridge.control_client import daemon_name, default_path

NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may do that")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def look(**flags: object) -> System:
    system = System(resolve(Asked(app="shop:app", flags=flags)))
    system.look()
    return system


def problems(**flags: object) -> list[str]:
    return [str(problem) for problem in look(**flags).problems]


def listening(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(0)
    return sock


def test_what_would_come_up_has_no_problem(folder: Path) -> None:
    (folder / "log").mkdir()
    flags = {"bind": ("unix:s", "http://127.0.0.1:0", f"unix:@{folder}"), "chdir": "log",
             "error_logfile": "log/e", "access_logfile": "a", "pid": "pid", "spool_dir": ".",
             "user": str(os.geteuid()), "group": str(os.getegid()), "env": ("A=1",)}  # fmt: skip
    system = look(**flags)
    assert (system.problems, system.notes) == ([], [])
    assert os.listdir(folder) == ["log"]  # and nothing was made


def test_a_folder_that_is_missing(folder: Path) -> None:
    (found,) = problems(bind=("unix:absent/s",))
    assert found == f"--bind: unix:absent/s: there is no folder {folder}/absent"


@NOT_ROOT
def test_a_folder_that_nobody_may_write(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o500)
    (found,) = problems(bind=("unix:closed/s",))
    assert "nothing may be made in" in found


def test_a_file_that_is_no_socket(folder: Path) -> None:
    (folder / "s").write_text("mine")
    (found,) = problems(bind=("unix:s",))
    assert "no socket" in found
    assert (folder / "s").read_text() == "mine"


def test_a_socket_that_somebody_listens_on() -> None:
    with listening("s") as other:
        (found,) = problems(bind=("unix:s",))
        assert found == "--bind: unix:s: another program listens there"
        clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for client in clients:  # its queue is full
            client.setblocking(False)
            client.connect_ex("s")
        assert problems(bind=("unix:s",)) == [found]
        other.close()
        for client in clients:
            client.close()
    assert problems(bind=("unix:s",)) == []  # stale: a start replaces it


def test_an_abstract_name_that_is_taken(folder: Path) -> None:
    with listening(f"\0{folder}"):
        (found,) = problems(bind=(f"unix:@{folder}",))
    assert "another program listens there" in found


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (found,) = problems(bind=(f"http://127.0.0.1:{taken.getsockname()[1]}",))
    assert "another program listens there" in found


def test_addresses_that_are_none_of_ours() -> None:
    (found,) = problems(bind=("http://192.0.2.1:8000?allow=192.0.2.2",))
    assert "cannot be bound" in found


def test_the_running_daemons_own_sockets_are_no_problem(folder: Path) -> None:
    """Before a reload, everything is in use, and by whom it should be."""
    path = default_path(daemon_name("unix:s"))
    assert path.startswith(str(folder))
    os.makedirs(os.path.dirname(path))
    with listening("s"), listening(path):
        system = look(bind=("unix:s",))
    assert system.problems == []
    assert "running" in system.notes[0]
    with listening("ctl"), listening("t"):
        assert look(bind=("unix:t",), control_socket="ctl").problems == []


def test_descriptors_are_the_starters() -> None:
    system = look(bind=("fd://0",))
    assert system.problems == []
    assert "fd://0" in system.notes[0]


def test_users_and_groups() -> None:
    assert "no user 'no-such-user'" in problems(user="no-such-user")[0]
    found = problems(bind=("unix:s?owner=no-such-user&group=no-such-group",))
    assert [line.rpartition(": ")[2] for line in found] == [
        "no user 'no-such-user'", "no group 'no-such-group'"
    ]  # fmt: skip


@NOT_ROOT
def test_only_root_becomes_another() -> None:
    assert "only root" in problems(user="root")[0]
    assert "only root" in problems(bind=("unix:s?owner=root",))[0]


def test_limits_and_files_of_variables() -> None:
    (found,) = problems(env_file="absent.env")
    assert found.startswith("--env-file: ")
    (found,) = problems(rlimit=("nofile=2:1",))
    assert found.startswith("--rlimit: ")


@pytest.mark.parametrize("name", ["error_logfile", "slowlog", "access_logfile", "pid"])
def test_files_to_write(folder: Path, name: str) -> None:
    flag = f"--{name.replace('_', '-')}: "
    (found,) = problems(**{name: "absent/file"})
    assert found.startswith(flag)
    assert "there is no folder" in found
    (found,) = problems(**{name: str(folder)})
    assert found == f"{flag}{folder} is a folder"
    (folder / "file").touch()
    assert problems(**{name: "file"}) == []


def test_the_access_log_is_written_from_the_workers_folder(folder: Path) -> None:
    (folder / "inner" / "log").mkdir(parents=True)
    assert problems(chdir="inner", access_logfile="log/a") == []
    assert "no folder" in problems(access_logfile="log/a")[0]


def test_problems_name_the_line(folder: Path) -> None:
    (folder / "g.toml").write_text(
        "app = 'a:b'\n[log]\nslowlog = 'x/y'\n[pool.a]\nbind = 'unix:x/s'\n"
    )
    system = System(resolve(Asked(file="g.toml")))
    system.look()
    assert [str(problem).partition(": there")[0] for problem in system.problems] == [
        f"{folder}/g.toml:5: pool.a.bind: unix:x/s", f"{folder}/g.toml:3: slowlog: x/y"
    ]  # fmt: skip


def test_notes() -> None:
    assert "pythonpath: absent" in look(pythonpath="absent").notes[0]
    assert "standard error" in look(daemon=True).notes[0]


def test_variables_that_look_like_a_slip() -> None:
    environ = {"GATEBRIDGE_THREAD": "1", "GATEBRIDGE_SERVICE_HOST": "1", "GATEBRIDGE_PORT": "1",
               "GATEBRIDGE_THREADS": "1", "GATEBRIDGE_CMD_ARGS": "", "THREADS": "1"}  # fmt: skip
    (note,) = odd_variables(environ)
    assert note == "GATEBRIDGE_THREAD is no option's; did you mean GATEBRIDGE_THREADS?"

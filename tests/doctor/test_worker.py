"""The daemon, its workers and what they stand on, broken in each way that the doctor knows."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gatebridge
from gatebridge import __version__
from gatebridge.doctor.sessions import find_sessions
from tests.cli.daemon import status
from tests.cli.run import APPLICATION
from tests.control_stand import Answering
from tests.doctor.set_up import Fake, configured, doctor, first, ids

POOL: dict[str, Any] = {
    "pm": "static",
    "workers": {"starting": 0, "ready": 1, "draining": 0},
    "binds": [],
    "crash_loop": False,
    "reason": "",
    "workers_list": [
        {"index": 0, "pid": 4712, "state": "ready", "threads": 1, "busy": 0, "running": []}
    ],
}


@pytest.fixture
def machine(tmp_path: Path) -> Fake:
    made = Fake(tmp_path / "machine")
    made.write("/proc/4712/limits", "Max open files            8192       8192       files\n")
    return made


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "site"
    made.mkdir()
    (made / "shop.py").write_text(APPLICATION)
    monkeypatch.chdir(made)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return made


@pytest.fixture
def daemon(folder: Path) -> Iterator[Any]:
    """A daemon of which a test says the status: of its pool, and other fields."""
    stands: list[Answering] = []

    def serve(pool: dict[str, Any] | None = None, **fields: Any) -> str:
        said = {"version": __version__, "pools": {"main": {**POOL, **(pool or {})}}, **fields}
        stand = Answering(folder / "d.ctl", status=status(**said))
        stand.__enter__()
        stands.append(stand)
        return stand.path

    yield serve
    for stand in stands:
        stand.__exit__()


def test_a_sound_daemon(machine: Fake, daemon: Any) -> None:
    report = doctor(machine, control_socket=daemon())
    assert (ids(report), report.undecided) == ([], [])


def test_a_sound_daemon_of_a_configuration(machine: Fake, daemon: Any, folder: Path) -> None:
    said = configured(control_socket=daemon(), bind=("unix:@" + str(folder),), workers="2")
    report = doctor(machine, **said)
    assert first(report) == "socket.refused"  # the stand has no such socket; nothing else is wrong
    assert (len(report.found), report.undecided) == (1, [])


def test_no_daemon(machine: Fake, folder: Path) -> None:
    assert first(doctor(machine, control_socket=str(folder / "absent"))) == "worker.not_running"
    assert first(doctor(machine, name="no-such-daemon")) == "worker.not_running"


def test_a_daemon_that_does_not_answer(
    machine: Fake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr("gatebridge.doctor.facts.ANSWER_S", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind("silent.ctl")
        silent.listen()
        assert first(doctor(machine, control_socket="silent.ctl")) == "worker.control"


FULL = {"index": 0, "pid": 4712, "state": "ready", "threads": 1, "busy": 1,
        "running": [{"age_s": 312.0, "line": "GET /report", "thread": 0, "id": ""}]}  # fmt: skip
YOUNG = {**FULL, "running": [{**FULL["running"][0], "age_s": 0.4}]}


@pytest.mark.parametrize(("pool", "expected"), [
    ({"crash_loop": True, "reason": "ImportError: no shop"}, ["worker.crash_loop"]),
    ({"workers": {"starting": 3, "ready": 0}}, ["worker.not_ready"]),
    ({"workers": {}, "reason": "drained"}, ["worker.not_ready"]),
    ({"workers": {}, "pm": "ondemand"}, []),
    ({"workers_list": [FULL]}, ["worker.stuck"]),
    ({"workers_list": [YOUNG]}, []),
    ({"workers_list": [FULL, POOL["workers_list"][0]]}, []),
])  # fmt: skip
def test_workers(machine: Fake, daemon: Any, pool: dict[str, Any], expected: list[str]) -> None:
    assert ids(doctor(machine, control_socket=daemon(pool))) == expected


def test_stuck_workers_are_named_before_the_queue_that_follows(machine: Fake, daemon: Any) -> None:
    bind = {"text": "unix:@gatebridge-absent", "backlog": 8, "queued": 8}
    path = daemon({"workers_list": [FULL], "binds": [bind]})
    report = doctor(machine, control_socket=path, binds=("systemd:x",))
    assert [(one.check.id, one.because) for one in report.found] == [
        ("worker.stuck", ""),
        ("socket.queue", "worker.stuck"),
    ]
    assert "GET /report" in report.found[0].finding.evidence


def test_a_failed_reload(machine: Fake, daemon: Any) -> None:
    failed = {"state": "failed", "error": "no shop", "traceback": "ImportError: no shop", "at": 1.0}
    report = doctor(machine, control_socket=daemon(reload=failed))
    assert (ids(report), report.is_broken) == (["worker.reload"], False)


def test_an_older_daemon(machine: Fake, daemon: Any) -> None:
    assert ids(doctor(machine, control_socket=daemon(version="0.0.1"))) == ["worker.version"]


# -- before a start


def test_a_configuration_that_is_not_accepted(machine: Fake) -> None:
    report = doctor(machine, problems=("g.toml:3: server.threads: 0 is out of range",))
    assert ids(report) == ["worker.configuration"]


def test_a_socket_folder_that_is_missing_comes_before_the_socket(machine: Fake) -> None:
    report = doctor(machine, **configured(bind=("unix:absent/s",)))
    assert [(one.check.id, one.because) for one in report.found] == [
        ("worker.start", ""),
        ("socket.missing", "worker.start"),
    ]


@pytest.mark.parametrize(("flags", "most", "expected"), [
    ({}, 1024, []), ({}, 128, ["worker.files"]),
    ({"limit_connections": "2000"}, 1024, ["worker.files"]),
    ({"limit_connections": "2000", "rlimit": ("nofile=3000",)}, 1024, []),
])  # fmt: skip
def test_files(
    machine: Fake, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], most: int,
    expected: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("resource.getrlimit", lambda kind: (most, 1 << 20))
    report = doctor(machine, **configured(bind=("systemd:x",), **flags))
    assert [id for id in ids(report) if id == "worker.files"] == expected


def test_files_of_a_running_worker(machine: Fake, daemon: Any) -> None:
    machine.write("/proc/4712/limits", "Max open files            64       8192       files\n")
    said = configured(bind=("systemd:x",), control_socket=daemon())
    assert ids(doctor(machine, **said)) == ["worker.files"]


@pytest.mark.parametrize(("environ", "expected"), [
    ({"GATEBRIDGE_THREAD": "2"}, ["worker.environment"]),
    ({"GUNICORN_CMD_ARGS": "--threads 2"}, ["worker.environment"]),
    ({"GATEBRIDGE_THREADS": "2", "PATH": "/bin"}, []),
])  # fmt: skip
def test_a_variable_that_nobody_reads(
    machine: Fake, environ: dict[str, str], expected: list[str]
) -> None:
    assert ids(doctor(machine, binds=("systemd:x",), environ=environ)) == expected


# -- sessions

LOGIN = "sessions = {}\ndef login(user):\n    sessions[user] = 1\n"


@pytest.mark.parametrize(("workers", "text", "expected"), [
    ("2", LOGIN, ["worker.sessions"]),
    ("1", LOGIN, []),
    ("2", "sessions = {}\n", []),
    ("2", "SESSIONS: dict = dict()\nasync def f():\n    SESSIONS['a'] = 1\n", ["worker.sessions"]),
    ("2", 'SESSION_ENGINE = "django.contrib.sessions.backends.cache"\n', ["worker.sessions"]),
    ("2", 'SESSION_ENGINE = "django.contrib.sessions.backends.cache"\nCACHES = {"default": '
          '{"BACKEND": "django.core.cache.backends.redis.RedisCache"}}\n', []),
    ("2", 'SESSION_ENGINE = "django.contrib.sessions.backends.db"\n', []),
    ("2", 'options = {"session.type": "memory"}\n', ["worker.sessions"]),
    ("2", 'config = {"tools.sessions.storage_type": "ram"}\n', ["worker.sessions"]),
    ("2", "def f(session):\n    session['user'] = 1\n", []),
    ("2", "sessions = {\n", []),
])  # fmt: skip
def test_sessions(
    machine: Fake, folder: Path, workers: str, text: str, expected: list[str]
) -> None:
    (folder / "login.py").write_text(text)
    report = doctor(machine, **configured(bind=("systemd:x",), workers=workers))
    assert ids(report) == expected


def test_sessions_are_looked_for_beside_the_application_only(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(LOGIN)
    assert find_sessions("shop:app", [str(tmp_path), str(folder)]) == ""
    (folder / "pages").mkdir()
    (folder / "pages" / "login.py").write_text(LOGIN)
    assert find_sessions("shop:app", [str(folder)]).startswith(f"{folder}/pages/login.py:1: ")
    assert find_sessions("cgi:shop.py", [str(folder)]) == ""


# -- what every process stands on


def test_the_clock(machine: Fake) -> None:
    written = os.stat(gatebridge.__file__).st_mtime
    for now, expected in ((time.time(), []), (written - 7 * 86_400, ["worker.clock"])):
        machine.clock = now
        assert ids(_alone(machine)) == expected


def _alone(machine: Fake) -> Any:
    """Nothing but the system."""
    return doctor(machine, binds=("systemd:x",), error_log=os.devnull)


@pytest.mark.parametrize(("zone", "expected"), [
    ("Europe/Brussels", []), ("Europe/Brusels", ["worker.time_zone"]), ("CET-1CEST", []), ("", []),
    (":UTC", []),
])  # fmt: skip
def test_time_zone(
    machine: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, zone: str, expected: list[str]
) -> None:
    (tmp_path / "zones" / "Europe").mkdir(parents=True)
    for name in ("UTC", "Europe/Brussels"):
        (tmp_path / "zones" / name).write_text("")
    monkeypatch.setattr("gatebridge.doctor.system_checks._ZONES", str(tmp_path / "zones"))
    report = doctor(machine, binds=("systemd:x",), environ={"TZ": zone})
    assert ids(report) == expected
    report = doctor(machine, **configured(bind=("systemd:x",), env=(f"TZ={zone}",)))
    assert ids(report) == expected


def test_a_system_without_its_time_zone(machine: Fake) -> None:
    etc = Path(f"{machine.root}/etc")
    etc.mkdir(parents=True)
    (etc / "localtime").symlink_to("../usr/share/zoneinfo/Europe/Absent")
    assert ids(_alone(machine)) == ["worker.time_zone"]


class Packages(Fake):
    """installed: versions by name, over what is."""

    installed: dict[str, str]

    def version(self, package: str) -> str:
        return self.installed.get(package, super().version(package))

    def needs(self, package: str) -> list[str]:
        return ["click>=8.1.7", "h11>=0.16", 'legacy-cgi>=2.6; extra == "legacy"']


@pytest.mark.parametrize(("installed", "expected"), [
    ({}, []), ({"click": "8.1.7"}, []), ({"click": "10.0"}, []),
    ({"h11": "0.14.0"}, ["worker.modules"]), ({"h11": ""}, ["worker.modules"]),
    ({"gatebridge": "0.0.1"}, ["worker.modules"]),
])  # fmt: skip
def test_modules(tmp_path: Path, installed: dict[str, str], expected: list[str]) -> None:
    machine = Packages(tmp_path / "machine")
    machine.installed = {"gatebridge": __version__, **installed}
    assert ids(_alone(machine)) == expected

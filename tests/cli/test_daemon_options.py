"""gatebridge serve, end to end: what an option promises is what the application sees."""

import fcntl
import json
import os
import pwd
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import run
from tests.serve.service import APP, DEADLINE_S, Service, open_to_all, service
from tests.serve.supervised import alive
from tests.suite.modes import environment, wait_until

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another")
BIND = ("shop:application", "--bind", "unix:s?mode=0666")
BROKEN = "raise RuntimeError('the shop is closed')\n"


# -- --daemon


def start_background(folder: Path, *words: str, app: str = APP) -> "subprocess.CompletedProcess":
    """The starter's whole life."""
    (folder / "shop.py").write_text(app)
    (folder / "imports").touch()
    return subprocess.run(
        [sys.executable, "-m", "gatebridge", "serve", *BIND, "--daemon", *words],
        cwd=folder,
        env={**environment(folder), "GATEBRIDGE_CONTROL_SOCKET": str(folder / "ctl")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def test_daemon_the_starter_returns_when_it_serves(tmp_path: Path) -> None:
    """Also with an import that takes a while: at the return a request is answered at once."""
    slow = "import time\ntime.sleep(0.5)\n" + APP
    with service(tmp_path, *BIND, "-D", "--error-logfile", "log", app=slow, wait=False) as live:
        assert live.process.wait(DEADLINE_S) == 0
        found = live.about()
        assert found["ppid"] == live.pid != live.process.pid
        assert os.getsid(live.pid) != os.getsid(0)
        assert live.log() == ""
        assert "listening on unix:s" in (tmp_path / "log").read_text()
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "ctl").exists()


@pytest.mark.parametrize("log", ["-", "log"])
@pytest.mark.parametrize("more", [(), ("--preload",)], ids=["plain", "preload"])
def test_daemon_of_a_broken_application_is_4_and_its_traceback(
    tmp_path: Path, more: tuple[str, ...], log: str
) -> None:
    done = start_background(tmp_path, "--error-logfile", log, *more, app=BROKEN)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("gatebridge: start.failed: ")
    assert 'shop.py", line 1' in done.stderr
    assert "RuntimeError: the shop is closed" in done.stderr
    assert not (tmp_path / "s").exists()
    if log == "log":
        assert "the shop is closed" in (tmp_path / "log").read_text()


def test_daemon_of_a_missing_module_tells_who_imports_it(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text("import nothing_of_that_name\n")
    done = start_background(tmp_path, app="import lib\n" + APP)
    assert done.returncode == 4
    assert 'lib.py", line 1' in done.stderr
    assert "nothing_of_that_name" in done.stderr


def test_daemon_that_cannot_bind_is_5(tmp_path: Path) -> None:
    done = start_background(tmp_path, "--bind", "unix:absent/s")
    assert done.returncode == 5
    assert done.stderr.startswith("gatebridge: bind.failed: ")
    assert done.stderr.count("\n") == 1


def test_daemon_without_options_that_hold_is_2(tmp_path: Path) -> None:
    done = start_background(tmp_path, "--threads", "none")
    assert done.returncode == 2
    assert "threads" in done.stderr


def test_daemon_twice_on_a_pid_file_is_refused(tmp_path: Path) -> None:
    words = (*BIND, "-D", "--pid", "pid", "--error-logfile", "log")
    with service(tmp_path, *words, wait=False) as live:
        assert live.process.wait(DEADLINE_S) == 0
        assert int((tmp_path / "pid").read_text()) == live.pid
        other = run(
            tmp_path,
            *("serve", "shop:application", "-b", "unix:t", "-D", "--pid", "pid"),
            PYTHONPATH=live.variables["PYTHONPATH"],
        )
        assert other.returncode == 2
        assert str(live.pid) in other.stderr
        assert not (tmp_path / "t").exists()
        assert live.ask("/") == "one"
    assert not (tmp_path / "pid").exists()


# -- --pid


def test_pid_is_the_supervisors_and_goes_with_it(tmp_path: Path) -> None:
    with service(tmp_path, *BIND, "--pid", "pid") as live:
        assert int((tmp_path / "pid").read_text()) == live.process.pid == live.about()["ppid"]
    assert not (tmp_path / "pid").exists()


def test_pid_of_a_live_daemon_is_refused_and_its_socket_not_touched(tmp_path: Path) -> None:
    with service(tmp_path, *BIND, "--pid", "pid") as live:
        words = ("serve", "shop:application", "-b", "unix:t", "--pid", "pid")
        other = run(tmp_path, *words, PYTHONPATH=live.variables["PYTHONPATH"])
        assert other.returncode == 2
        assert str(live.process.pid) in other.stderr
        assert "Traceback" not in other.stderr
        assert not (tmp_path / "t").exists()
        assert int((tmp_path / "pid").read_text()) == live.process.pid


def test_pid_of_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    first = Service(tmp_path, *BIND, "--pid", "pid")
    workers = first.workers()
    first.process.kill()
    first.process.wait()
    assert wait_until(lambda: not any(map(alive, workers)))
    assert int((tmp_path / "pid").read_text()) == first.process.pid
    with service(tmp_path, *BIND, "--pid", "pid") as live:
        assert int((tmp_path / "pid").read_text()) == live.process.pid


def test_pid_stays_locked_over_USR2(tmp_path: Path) -> None:
    with service(tmp_path, *BIND, "--pid", "pid") as live:
        (worker,) = live.workers()
        live.send_signal(signal.SIGUSR2)
        live.until(lambda: live.workers() and worker not in live.workers())
        assert int((tmp_path / "pid").read_text()) == live.process.pid
        with (tmp_path / "pid").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not (tmp_path / "pid").exists()


# -- who workers are, and where


@ROOT_ONLY
@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["plain", "preload"])
def test_user_group_and_umask(tmp_path: Path, preload: tuple[str, ...]) -> None:
    nobody = pwd.getpwnam("nobody")
    ctl = {"GATEBRIDGE_CONTROL_SOCKET": str(tmp_path / "run" / "ctl")}
    who = ("--user", "nobody", "--group", "daemon", "--umask", "027")
    with service(open_to_all(tmp_path), *BIND, *who, *preload, env=ctl, wait=False) as live:
        live.control = ctl["GATEBRIDGE_CONTROL_SOCKET"]
        live.until(lambda: live.serves())
        found = live.about()
        group = live_group("daemon")
        assert found["uid"] == [nobody.pw_uid] * 3
        assert found["gid"] == [group] * 3
        assert set(found["groups"]) <= {group}
        assert found["umask"] == 0o027
        assert found["environ"]["HOME"] == nobody.pw_dir
        assert found["environ"]["USER"] == "nobody"
        assert os.stat(f"/proc/{live.pid}").st_uid == 0
        assert live.get("/touch/" + str(tmp_path / "no")).status == 500
    assert not (tmp_path / "no").exists()


def live_group(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid


@ROOT_ONLY
def test_user_without_the_right_to_read_the_application_is_4_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "shop.py").chmod(0o600)
    live = Service(open_to_all(tmp_path), *BIND, "--user", "nobody", wait=False)
    assert live.process.wait(DEADLINE_S) == 4
    assert "ermission denied" in live.log()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--user", "nobody-of-that-name"), "nobody-of-that-name"),
        (("--group", "no-such-group"), "no-such-group"),
        (("--umask", "9"), "umask"),
        (("--rlimit", "nofiles=3"), "nofiles"),
        (("--nice", "40"), "nice"),
        (("--env", "A"), "A"),
        (("--env-file", "absent.env"), "absent.env"),
    ],
)
def test_options_that_cannot_hold_are_2_before_anything_is_bound(
    tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    done = run(tmp_path, "serve", *BIND, *words)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_nice_and_rlimits(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    words = ("--nice", "3", "--rlimit", "nofile=200:300", "--rlimit", "core=0")
    with service(tmp_path, *BIND, *words) as live:
        found = live.about()
        assert found["nice"] == os.nice(0) + 3
        assert found["limits"]["NOFILE"] == [200, 300]
        assert found["limits"]["CORE"] == [0, 0]
        assert found["limits"]["STACK"][1] == most
        assert os.getpriority(os.PRIO_PROCESS, live.pid) == os.getpriority(os.PRIO_PROCESS, 0)


def test_env_and_env_file(tmp_path: Path) -> None:
    (tmp_path / "more.env").write_text("# of the shop\nFROM_FILE=1\nBOTH='the file'\n")
    words = ("--env-file", "more.env", "-e", "BOTH=the flag", "-e", "EMPTY=")
    with service(tmp_path, *BIND, *words, env={"BOTH": "outside", "KEPT": "yes"}) as live:
        found = live.about()["environ"]
        assert found["FROM_FILE"] == "1"
        assert found["BOTH"] == "the flag"
        assert found["EMPTY"] == ""
        assert found["KEPT"] == "yes"


def test_env_is_there_at_the_import_and_a_reload_reads_the_file_anew(tmp_path: Path) -> None:
    app = APP.replace('VERSION = "one"', 'VERSION = os.environ["RELEASE"]')
    (tmp_path / "r.env").write_text("RELEASE=7\n")
    with service(tmp_path, *BIND, "--env-file", "r.env", app=app) as live:
        assert live.ask("/") == "7"
        (tmp_path / "r.env").write_text("RELEASE=8\n")
        assert live.ctl("reload")["ok"]
        live.settled()
        assert live.ask("/") == "8"
        (tmp_path / "r.env").unlink()
        told = live.ctl("reload")
        assert not told["ok"]
        assert "r.env" in told["error"]
        assert live.ask("/") == "8"


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["plain", "preload"])
def test_chdir_is_the_applications_alone(tmp_path: Path, preload: tuple[str, ...]) -> None:
    """Binds, logs and the pid file are named from where the daemon was started."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "shop.py").write_text(APP)
    (inner / "imports").touch()
    words = (*BIND, "--chdir", "inner", "--pid", "pid", "--error-logfile", "error",
             "--access-logfile", "access", "--slowlog", "slow", "--slowlog-timeout", "60",
             *preload)  # fmt: skip
    with service(tmp_path, *words) as live:
        assert live.about()["folder"] == str(inner)
        assert live.about()["environ"]["PWD"] == str(inner)
        live.until(lambda: (tmp_path / "access").read_text().count("\n") == 2)
        for name in ("pid", "error", "slow", "s"):
            assert (tmp_path / name).exists(), name
        assert os.readlink(f"/proc/{live.pid}/cwd") == str(tmp_path)
    assert {path.name for path in inner.iterdir()} <= {"shop.py", "imports", "__pycache__"}


# -- how many


@pytest.mark.parametrize(
    ("words", "variables", "count"),
    [
        ((), {"WEB_CONCURRENCY": "3"}, 3),
        (("--workers", "2"), {"WEB_CONCURRENCY": "3"}, 2),
        ((), {"WEB_CONCURRENCY": "3", "GATEBRIDGE_WORKERS": "2"}, 2),
        (("-w", "auto"), {}, len(os.sched_getaffinity(0))),
        ((), {}, 1),
    ],
    ids=["WEB_CONCURRENCY", "the flag is stronger", "our variable is stronger", "auto", "default"],
)
def test_workers(tmp_path: Path, words: tuple[str, ...], variables: dict, count: int) -> None:
    with service(tmp_path, *BIND, *words, env=variables) as live:
        assert len(live.settled(count)) == count
        assert live.imports() == count


# -- one file, several pools, several applications

POOLS = """
[server]
threads = 2

[pool.shop]
bind = "unix:s?mode=0666"
workers = 2
app = "shop:application"
env = { WHO = "the shop" }

[pool.staff]
bind = ["unix:t?mode=0666", "unix:u?mode=0666"]
umask = "077"
nice = 1
env = { WHO = "the staff" }

[[pool.staff.app]]
target = "shop:application"

[[pool.staff.app]]
mount = "/admin"
target = "desk:application"
"""


def test_pools_each_with_its_bind_environment_and_applications(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(POOLS)
    (tmp_path / "desk.py").write_text(APP.replace('"one"', '"desk"'))
    with service(tmp_path, "-c", "g.toml") as live:
        shop, staff = live.about("s"), live.about("t")
        assert (shop["environ"]["WHO"], staff["environ"]["WHO"]) == ("the shop", "the staff")
        assert staff["umask"] == 0o077 != shop["umask"]
        assert staff["nice"] == shop["nice"] + 1
        assert staff["pid"] not in live.settled(2, "shop")
        assert live.settled(1, "staff") == [staff["pid"]]
        assert json.loads(live.ask("/admin/where/x", "u")) == ["/admin", "/where/x", "desk"]
        assert json.loads(live.ask("/where/admin", "u")) == ["", "/where/admin", "one"]
        assert live.ask("/administrator", "t") == "one"
    assert not any((tmp_path / name).exists() for name in "stu")


@ROOT_ONLY
def test_pools_each_with_its_user(tmp_path: Path) -> None:
    text = POOLS.replace("nice = 1", 'user = "nobody"').replace("workers = 2", 'user = "daemon"')
    (tmp_path / "g.toml").write_text(text)
    (tmp_path / "desk.py").write_text(APP)
    ctl = str(tmp_path / "run" / "ctl")
    variables = {"GATEBRIDGE_CONTROL_SOCKET": ctl}
    with service(open_to_all(tmp_path), "-c", "g.toml", env=variables, wait=False) as live:
        live.control = ctl
        live.until(live.serves)
        for bind, user in (("s", "daemon"), ("t", "nobody")):
            assert live.about(bind)["uid"] == [pwd.getpwnam(user).pw_uid] * 3


def test_pools_may_come_and_go_with_a_reload(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(POOLS)
    (tmp_path / "desk.py").write_text(APP)
    with service(tmp_path, "-c", "g.toml") as live:
        old = live.settled(2, "shop")
        text = POOLS.replace('"unix:u?mode=0666"', '"unix:v?mode=0666"').replace("shop]", "shop2]")
        (tmp_path / "g.toml").write_text(text)
        assert live.ctl("reload")["ok"]
        live.until(lambda: set(live.status()["pools"]) == {"shop2", "staff"})  # the old has left
        assert live.ask("/", "v") == "one"
        live.until(lambda: not (tmp_path / "u").exists() and not any(map(alive, old)))
        assert live.about("s")["environ"]["WHO"] == "the shop"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (POOLS.replace("umask = ", "umsk = "), ["g.toml:13", "did you mean 'umask'"]),
        (POOLS.replace('"077"', '"0x7"'), ["umask"]),
        ("[server\n", ["g.toml:1"]),
        (POOLS.replace('"unix:t?mode=0666"', '"unix:absent/t"'), ["absent"]),
        (POOLS.replace("desk:application", "no_desk:application"), ["no_desk"]),
        (POOLS.replace("umask = ", "user = 'nobody-here'\numask = "), ["nobody-here"]),
    ],
    ids=["unknown key", "bad value", "not TOML", "cannot bind", "does not load", "no such user"],
)
def test_config_error_a_reload_changes_nothing_and_ctl_says_why(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    (tmp_path / "g.toml").write_text(POOLS)
    (tmp_path / "desk.py").write_text(APP)
    with service(tmp_path, "-c", "g.toml") as live:
        before = (live.settled(2, "shop"), live.settled(1, "staff"))
        (tmp_path / "g.toml").write_text(text)
        variables = {k: v for k, v in live.variables.items() if k != "PYTHONPATH"}
        done = run(tmp_path, "ctl", "reload", **variables)
        assert done.returncode == 1, done
        said = done.stdout + done.stderr
        for word in words:
            assert word in said, said
        assert (live.settled(2, "shop"), live.settled(1, "staff")) == before
        assert live.status()["reload"]["state"] == "failed"
        assert live.ask("/", "t") == live.ask("/", "u") == live.ask("/") == "one"
        (tmp_path / "g.toml").write_text(POOLS)
        assert live.ctl("reload")["ok"]


# -- exit statuses


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGQUIT, 0), (signal.SIGINT, 130)]
)
def test_exit_status_of_a_stop(tmp_path: Path, number: int, status: int) -> None:
    live = Service(tmp_path, *BIND)
    assert live.stop(number) == status
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_socket()) == []


def test_exit_0_of_ctl_stop(tmp_path: Path) -> None:
    with service(tmp_path, *BIND) as live:
        done = run(tmp_path, "ctl", "stop", "--control-socket", live.control)
        assert done.returncode == 0, done
        assert live.process.wait(DEADLINE_S) == 0


def test_exit_2_of_usage(tmp_path: Path) -> None:
    assert run(tmp_path, "serve", "shop:application", "--no-such-option").returncode == 2
    assert run(tmp_path, "serve").returncode == 2


def test_exit_3_when_no_worker_boots(tmp_path: Path) -> None:
    live = Service(tmp_path, *BIND, app="import os\nos._exit(9)\n", wait=False)
    assert live.process.wait(DEADLINE_S) == 3
    assert "exit status 9" in live.log()


@pytest.mark.parametrize(
    "words",
    [("nothing_here:app",), ("shop:nothing",), ("shop:VERSION",), ("shop:application",)],
    ids=["no module", "no such name", "not callable", "broken"],
)
def test_exit_4_when_the_application_does_not_load(tmp_path: Path, words: tuple[str, ...]) -> None:
    app = BROKEN if words == ("shop:application",) else APP
    live = Service(tmp_path, *words, "-b", "unix:s", app=app, wait=False)
    assert live.process.wait(DEADLINE_S) == 4
    assert words[0].partition(":")[0] in live.log()
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "ctl").exists()


@pytest.mark.parametrize("status", [500, 499])
def test_exit_4_when_the_warm_up_fails(tmp_path: Path, status: int) -> None:
    app = APP.replace('"200 OK"', f'"{status} As Told"')
    live = Service(tmp_path, *BIND, "--warmup", "/about", app=app, wait=status < 500)
    if status < 500:
        assert live.stop() == 0
    else:
        assert live.process.wait(DEADLINE_S) in (3, 4)
        assert "/about" in live.log()


def test_exit_5_when_it_cannot_bind(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"http://127.0.0.1:{taken.getsockname()[1]}"
        live = Service(tmp_path, "shop:application", "-b", bind, wait=False)
        assert live.process.wait(DEADLINE_S) == 5
    assert live.log().startswith("gatebridge: bind.failed: ")


@pytest.mark.parametrize("option", ["--access-logfile", "--error-logfile"])
def test_exit_2_when_a_log_cannot_be_written(tmp_path: Path, option: str) -> None:
    live = Service(tmp_path, *BIND, option, "absent/log", wait=False)
    assert live.process.wait(DEADLINE_S) == 2
    assert live.log().startswith("gatebridge: log.open: ")
    assert not (tmp_path / "s").exists()


def test_a_reload_to_a_log_that_cannot_be_written_fails(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text("app = 'shop:application'\n[server]\nbind = 'unix:s'\n")
    with service(tmp_path, "-c", "g.toml") as live:
        file.write_text(file.read_text() + "[log]\naccess_logfile = 'absent/log'\n")
        told = live.ctl("reload")
        assert (told["ok"], told["error"].startswith("log.open: ")) == (False, True)
        assert live.ask("/") == "one"
        assert "please report" not in live.log()


@pytest.mark.parametrize("words", [("status",), ("ping",), ("ctl", "reload"), ("top", "--once")])
def test_exit_7_when_no_daemon_answers(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, *words, "--control-socket", str(tmp_path / "ctl"))
    assert done.returncode == 7, done

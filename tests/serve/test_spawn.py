"""A forked child: what it sheds, whom it dies with, and how its end is told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.suite.modes import ROOT, wait_until


def run(code: str, *arguments: str, status: int = 0) -> str:
    """In an interpreter of its own: it forks, and it reaps whatever there is."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


HEAD = """
import atexit, os, signal, sys, time
from gatebridge.serve import spawn
def ended(pid):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return [str(death) for death in spawn.reap() if death.pid == pid]
"""


@pytest.mark.parametrize(
    ("child", "told"),
    [
        ("lambda: 0", "exit status 0"),
        ("lambda: 7", "exit status 7"),
        ("lambda: sys.exit(5)", "exit status 5"),
        ("lambda: sys.exit('text')", "exit status 1"),
        ("lambda: sys.exit()", "exit status 0"),
        ("lambda: 1 / 0", "exit status 1"),
        ("lambda: os.kill(os.getpid(), 9)", "signal 9, SIGKILL"),
        ("lambda: os.kill(os.getpid(), 11)", "signal 11, SIGSEGV"),
        ("lambda: os.kill(os.getpid(), 40)", "signal 40"),
    ],
)
def test_how_it_ended(child: str, told: str) -> None:
    assert run(f"print(ended(spawn.fork({child}, ())))").startswith(f"['{told}']")


def test_the_childs_end_is_a_programs_end_and_not_the_supervisors() -> None:
    code = """
atexit.register(print, "the supervisor's")
def child():
    atexit.register(print, "the child's")
    sys.stdout.write("no newline ")
    return 0
pid = spawn.fork(child, ())
ended(pid)
print("here")
"""
    assert run(code) == "no newline the child's\nhere\nthe supervisor's\n"


def test_signals_are_as_for_a_new_program() -> None:
    code = """
signal.signal(signal.SIGTERM, lambda *_: print("the supervisor's"))
signal.signal(signal.SIGCHLD, lambda *_: None)
read, write = os.pipe()
os.set_blocking(write, False)
signal.set_wakeup_fd(write)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
def child():
    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.set_wakeup_fd(-1))
    print([getattr(signal.getsignal(n), "__name__", 0) or signal.getsignal(n).name
           for n in (15, 2, 17, 1, 10, 12)], flush=True)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    return 0
print(ended(spawn.fork(child, ())), signal.getsignal(15) != signal.SIG_DFL)
"""
    default, ignored = "'SIG_DFL'", "'deaf'"  # and not SIG_IGN, which programs would inherit
    states = ", ".join([default] * 3 + [ignored] * 3)
    assert run(code) == f"set() -1\n[{states}]\n['signal 15, SIGTERM'] True\n"


def test_descriptors_that_are_not_named_are_closed() -> None:
    code = """
kept, other = os.pipe()
def child():
    names = os.listdir("/proc/self/fd")  # by a descriptor that has the number of the other now
    print(sorted(int(name) for name in names) == [0, 1, 2, kept, other])
    return 0
ended(spawn.fork(child, {kept}))
"""
    assert run(code) == "True\n"


def test_a_listener_on_descriptor_0_is_nobodys_standard_input() -> None:
    code = """
import socket
made = socket.socketpair()
os.dup2(made[0].fileno(), 0)
def child():
    print(os.readlink("/proc/self/fd/0"), os.read(0, 1))
    return 0
ended(spawn.fork(child, ()))
print(os.readlink("/proc/self/fd/0")[:6])
"""
    assert run(code) == "/dev/null b''\nsocket\n"


def test_reaping_waits_for_nobody() -> None:
    code = """
print(spawn.reap())
pid = spawn.fork(lambda: time.sleep(1000), ())
print(spawn.reap(), spawn.is_child(pid), spawn.is_child(1), spawn.is_child(2**40))
os.kill(pid, 9)
print(ended(pid), spawn.is_child(pid))
"""
    assert run(code) == "[]\n[] True False False\n['signal 9, SIGKILL'] False\n"


def test_master_killed_9_before_its_child_had_asked_to_die_with_it() -> None:
    """The race: the parent ends between the fork and the call."""
    code = """
read, write = os.pipe()
if not os.fork():  # the supervisor
    supervisor = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == supervisor:
        time.sleep(0.001)
    status = os.fork()
    if not status:
        spawn.die_with(supervisor)
        os._exit(0)
    os.write(write, str(os.waitstatus_to_exitcode(os.waitpid(status, 0)[1])).encode())
    os._exit(0)
print(os.read(read, 9))
"""
    assert run(code) == "b'1'\n"


def test_a_workers_worker_becomes_the_supervisors_and_dies_with_it(tmp_path: Path) -> None:
    code = """
spawn.adopt_orphans()
here = os.getpid()
def between():
    own = os.getpid()
    pid = os.fork()
    if pid:
        os._exit(0)
    spawn.await_adoption(own, here)
    spawn.die_with(here)
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(f"{os.getpid()} {os.getppid() == here}")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(1000)
spawn.fork(between, ())
while not os.path.exists(sys.argv[1]):
    spawn.reap()
    time.sleep(0.001)
os.kill(here, 9)
"""
    run(code, str(tmp_path / "told"), status=-signal.SIGKILL)
    pid, adopted = (tmp_path / "told").read_text().split()
    assert adopted == "True"
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists())

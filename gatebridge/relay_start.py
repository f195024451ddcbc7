"""The part of a relay for the case that no daemon answers: exactly one is started.

NAME.lock is held by whoever starts the daemon, until it serves or has failed; so whoever can take
it while nobody listens may start one. Exit of a process releases it, whatever happens.
"""

import posix

from gatebridge.relay import FRESH_S, NAME, START, STATE, WAIT_S, link, rare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn

# --- written into relays from here on

from fcntl import LOCK_EX, LOCK_NB, flock  # noqa: E402
from time import monotonic, sleep, time  # noqa: E402

FILE = STATE + b"/" + NAME
KEPT = (b"PATH", b"HOME", b"TZ", b"LANG")  # of the environment, beside LC_*
MOST_FDS = 1 << 16
SIGNALS = 65
PAUSES = (0.002, 0.1)  # seconds: the first and the longest


def usage() -> "NoReturn":
    text = (
        b"This file answers CGI requests and is started by a web server.\n"
        b"Put it into its cgi-bin, make it executable, and open its URL in a browser.\n"
        b"`gatebridge shim check FILE` says what it would do.\n"
    )
    posix.write(2, text)
    posix._exit(2)


def begin() -> "socket":
    """A connection to the daemon, which is started if need be; answers alone where it cannot."""
    try:
        return wait()
    except OSError as error:
        rare("fail", "one_shot")(b"folder: %s: %a" % (STATE, error))
        raise  # it never returns


def wait() -> "socket":
    make_folder()
    end = monotonic() + WAIT_S
    pause, longest = PAUSES
    mine = False
    lock = open_lock()
    while True:
        if taken(lock):
            sock = link()
            if sock is None:
                give_up(mine)
                start(lock)
                mine = True
            posix.close(lock)
            if sock is not None:
                return sock
            lock = open_lock()
        elif sock := link():
            posix.close(lock)
            return sock
        if monotonic() >= end:
            rare("fail", "one_shot")(
                b"start: no daemon serves after %d s; see %s.log" % (WAIT_S, FILE)
            )
        sleep(pause)
        pause = min(2 * pause, longest)


def make_folder() -> None:
    try:
        posix.mkdir(STATE, 0o700)
    except FileExistsError:
        pass
    found = posix.lstat(STATE)
    if found.st_mode & 0o170777 != 0o040700 or found.st_uid != posix.geteuid():
        link()  # it says why not


def open_lock() -> int:
    return posix.open(FILE + b".lock", posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW, 0o600)


def taken(lock: int) -> bool:
    try:
        flock(lock, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def give_up(mine: bool) -> None:
    """Answer alone when a start has just failed. mine: it was this request's."""
    reason = failure()
    if mine and not reason:
        reason = b"the daemon ended without a word; see %s.log" % FILE
        note(reason)
    if reason:
        rare("fail", "one_shot")(b"start: " + reason if mine else b"")


def failure() -> bytes:
    """Why a daemon could not be started a moment ago; nothing where none has failed."""
    try:
        found = posix.lstat(FILE + b".failed")
        if found.st_mode & 0o170000 != 0o100000 or abs(time() - found.st_mtime) >= FRESH_S:
            return b""
        fd = posix.open(FILE + b".failed", posix.O_RDONLY | posix.O_NOFOLLOW)
        text = posix.read(fd, 1000)
        posix.close(fd)
    except FileNotFoundError:
        return b""
    return text.partition(b"\n")[0] or b"no reason is known"


def note(reason: bytes) -> None:
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW
    fd = posix.open(FILE + b".failed", flags, 0o600)
    posix.write(fd, reason + b"\n")
    posix.close(fd)


def start(lock: int) -> None:
    """Start the daemon, which gets the lock; it is nobody's child and knows no request."""
    try:
        child = posix.fork()
    except OSError as error:
        reason = b"no process for the daemon: %a" % error
        note(reason)
        rare("fail", "one_shot")(b"start: " + reason)
    if child:
        try:
            posix.waitpid(child, 0)
        except ChildProcessError:  # the server ignores SIGCHLD
            pass
        return
    try:
        posix.setsid()
        if not posix.fork():
            become_daemon(lock)
    except BaseException as error:
        note(b"the daemon could not be started: %a" % error)
    posix._exit(0)


def become_daemon(lock: int) -> None:
    import signal

    posix.dup2(posix.dup(lock), 9)
    log = posix.open(b"/dev/null", posix.O_RDWR)
    for fd in 0, 1, 2:
        posix.dup2(log, fd)
    try:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_NOFOLLOW
        posix.dup2(posix.open(FILE + b".log", flags, 0o600), 2)
    except OSError:
        pass  # no log, then
    posix.dup2(9, 3)
    posix.closerange(4, MOST_FDS)
    for number in range(1, SIGNALS):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # not one that can be set
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    posix.chdir(b"/")
    kept = {k: v for k, v in posix.environ.items() if k in KEPT or k[:3] == b"LC_"}
    posix.execve(START[0], START, kept)

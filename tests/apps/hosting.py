"""Python scripts through a launcher alone: one call, its answer, and what was said about it."""

import os
import select
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gatebridge.apps.running import Call, Launcher, Running

WAIT_S = 60  # a busy machine; nothing is timed


@dataclass
class Done:
    status: int | None
    out: str
    err: str


def call(path: Path, arguments=(), environment=None, body=b"", limits=None, fd=-1) -> Call:
    return Call(
        path=str(path),
        arguments=tuple(arguments),
        environment=environment or {b"REQUEST_METHOD": b"GET"},
        folder=str(path.parent),
        has_body=bool(body),
        limits=limits or {},
        fd=fd,
    )


def script(folder: Path, text: str, name: str = "script.py") -> Path:
    """A script, put there by one rename."""
    folder.mkdir(exist_ok=True)
    fresh = folder / f".{name}.new"
    fresh.write_text(textwrap.dedent(text))
    fresh.replace(folder / name)
    return folder / name


def run(launcher: Launcher, asked: Call, body: bytes = b"") -> Done:
    running = launcher.start(asked)
    try:
        return finish(running, body)
    finally:
        running.close()


def finish(running: Running, body: bytes = b"") -> Done:
    """Feed and read to the end of both streams and of the script."""
    texts = {running.stdout: bytearray(), running.stderr: bytearray()}
    watch = select.poll()
    for fd in texts:
        watch.register(fd, select.POLLIN)
    if running.stdin >= 0:
        watch.register(running.stdin, select.POLLOUT)
    stdin, left = running.stdin, set(texts)
    while left:
        for fd, event in wait(watch):
            if fd == stdin:
                if body and not event & (select.POLLERR | select.POLLHUP):
                    body = body[os.write(fd, body[:65_536]) :]
                else:
                    watch.unregister(fd)
                    running.close_stdin()
                continue
            data = os.read(fd, 65_536)
            texts[fd] += data
            if not data:
                watch.unregister(fd)
                left.discard(fd)
    status = end(running)
    return Done(status, texts[running.stdout].decode(), texts[running.stderr].decode())


def wait(watch: select.poll) -> list[tuple[int, int]]:
    ready = watch.poll(WAIT_S * 1000)
    assert ready, "nothing happens"
    return ready


def end(running: Running) -> int | None:
    """Its exit status, waited for."""
    if running.ended >= 0:
        watch = select.poll()
        watch.register(running.ended, select.POLLIN)
        wait(watch)
    until(lambda: running.status() is not None)
    return running.status()


def line(running: Running) -> str:
    """The next line of its standard output."""
    text = bytearray()
    watch = select.poll()
    watch.register(running.stdout, select.POLLIN)
    while not text.endswith(b"\n"):
        wait(watch)
        data = os.read(running.stdout, 1)
        assert data, f"its output ends with {bytes(text)!r}"
        text += data
    return text.decode().strip()


def until(true: Callable[[], object]) -> None:
    """Look again and again."""
    idle = select.poll()
    for _ in range(WAIT_S * 200):
        if true():
            return
        idle.poll(5)
    raise AssertionError("it never becomes true")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"

"""Open ASGI streams: memory, how soon an event arrives, and what a WSGI neighbour pays."""

import select
import socket
import statistics
import time

from tests.bench.daemon import Answers, Daemon, request

OPEN = 1_000
BESIDE = 500
TICKS = 5
REQUESTS = 20_000


def opened(daemon: Daemon, count: int) -> list[socket.socket]:
    """So many streams whose first piece has arrived."""
    found = []
    for _ in range(count):
        sock = daemon.connect()
        sock.sendall(request("/events", keep=0))
        found.append(sock)
    for sock in found:
        while b"open\n" not in sock.recv(4096):
            pass
    return found


def delays(daemon: Daemon, streams: list[socket.socket]) -> list[float]:
    """Milliseconds from each send() to the arrival of its bytes."""
    poll = select.epoll()
    by_fd = {sock.fileno(): sock for sock in streams}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    found = []
    with daemon.connect() as sock:
        answers = Answers(sock)
        for _ in range(TICKS):
            sock.sendall(request("/tick"))
            left = len(streams)
            while left:
                for fd, _ in poll.poll(5):
                    data = by_fd[fd].recv(4096)
                    now = time.monotonic_ns()
                    found.append((now - int(data.rstrip(b"\0").rpartition(b"\n")[0][-20:])) / 1e6)
                    left -= 1
            answers.one()
    poll.close()
    return found


def cost(daemon: Daemon) -> float:
    """CPU microseconds of a WSGI request."""
    with daemon.connect() as sock:
        answers, data = Answers(sock), request("/wsgi/hello")
        for _ in range(1_000):
            sock.sendall(data)
            answers.one()
        before = daemon.cpu_s()
        for _ in range(REQUESTS):
            sock.sendall(data)
            answers.one()
        return (daemon.cpu_s() - before) / REQUESTS * 1e6


def run() -> None:
    with Daemon(8, "tests.bench.events:app") as daemon:
        with daemon.connect() as sock:
            sock.sendall(request("/tick"))
            Answers(sock).one()
        before = daemon.memory_kib()
        streams = opened(daemon, OPEN)
        late = delays(daemon, streams)
        grown = (daemon.memory_kib() - before) / 1024
        for sock in streams:
            sock.close()
    p50, p99 = statistics.median(late), statistics.quantiles(late, n=100)[98]
    print(f"streams: {OPEN} open: +{grown:.1f} MiB,", end=" ")
    print(f"an event arrives after {p50:.2f} ms (p50), {p99:.2f} ms (p99)")
    more = ("--mount", "/wsgi=tests.bench.app:app")
    with Daemon(8, "tests.bench.events:app", *more) as daemon:
        alone = cost(daemon)
        streams = opened(daemon, BESIDE)
        beside = cost(daemon)
        for sock in streams:
            sock.close()
    print(f"streams: a WSGI request takes {alone:.1f} us of CPU,", end=" ")
    print(f"beside {BESIDE} open streams {beside:.1f} us: {beside / alone:.2f}")

"""python -m tests.bench.service [reloads] [kill] [stop] [connects] [growth=N] [idle] [mixed] [rate]

The daemon as a service, behind nginx: what fails when it is reloaded, killed and stopped, what it
costs while nobody asks, and how it stands beside its peers in the same run.

    reloads   20,000 requests at 200 connections and more, until 10 reloads are over
    kill      kill -9 of a worker under that load
    stop      TERM with 8 requests under way and 4 queued
    connects  1,000 at once
    growth    of the resident set by N requests (100,000)
    idle      the supervisor's memory, and its processor time in 20 s
    mixed     p99 of 1 ms requests beside 500 ms ones
    rate      requests a second on kept connections, the median of three rounds
"""

import os
import signal
import socket
import statistics
import sys
import threading
import time

from tests.bench.daemon import Answers, request
from tests.bench.stand import (
    THREADS,
    WORKERS,
    Stand,
    cpu_s,
    latency_ms,
    load,
    result,
    rss_kib,
    wait_for,
)

REQUESTS, CLIENTS = 20_000, 200
IDLE_S = 20.0
MIXED_S = 10.0


def reloads(count: int = 10) -> None:
    for retry in (False, True):
        with Stand("gatebridge", retry=retry) as stand:
            took: list[float] = []
            reloading = threading.Thread(target=reload, args=(stand, count, took))
            done = failed = 0
            url = stand.contenders["gatebridge"].url("/hello")
            loading = load(url, REQUESTS, CLIENTS)
            reloading.start()
            while True:
                found = result(loading)
                done, failed = done + found.requests, failed + found.failed
                if not reloading.is_alive():
                    break
                loading = load(url, REQUESTS, CLIENTS)
            reloading.join()
            why = stand.reasons()
        print(f"daemon: {count} reloads under load: {failed} of {done} requests failed", end=" ")
        print(f"({front(retry)}), a reload took {statistics.median(took):.2f} s,", end=" ")
        print(f"the longest {max(took):.2f} s{why and ': '}{why}")


def reload(stand: Stand, count: int, took: list[float]) -> None:
    for _ in range(count):
        start = time.monotonic()
        told = stand.ctl("reload")
        took.append(time.monotonic() - start)
        if not told["ok"]:
            print(f"daemon: a reload failed: {told}")


def front(retry: bool) -> str:
    return "nginx as it is" if retry else "nginx asks nobody twice"


def kill() -> None:
    for retry in (False, True):
        with Stand("gatebridge", retry=retry) as stand:
            url = stand.contenders["gatebridge"].url("/sleep?ms=1")
            loading = load(url, REQUESTS, CLIENTS)
            time.sleep(1.0)
            victim = stand.workers()[0]["pid"]
            os.kill(victim, signal.SIGKILL)
            took = wait_for(lambda stand=stand, pid=victim: replaced(stand, pid), "a replacement")
            found = result(loading)
        print(f"daemon: kill -9 of a worker: {found.failed} of {found.requests} requests", end=" ")
        print(f"failed ({front(retry)}; {THREADS} threads), replaced after {took:.2f} s")


def replaced(stand: Stand, victim: int) -> bool:
    pids = [one["pid"] for one in stand.workers()]
    return len(pids) == WORKERS and victim not in pids


def stop() -> None:
    under_way, queued = WORKERS * THREADS, 4
    with Stand("gatebridge") as stand:
        socks = []
        for _ in range(under_way):
            socks.append(stand.connect())
            socks[-1].sendall(request("/sleep", "ms=1000", keep=0))
        busy = lambda: sum(one["busy"] for one in stand.workers()) == under_way  # noqa: E731
        wait_for(busy, f"{under_way} requests under way")
        for _ in range(queued):
            socks.append(stand.connect())
            socks[-1].sendall(request("/sleep", "ms=1", keep=0))
        process = stand.contenders["gatebridge"].process
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        answered = 0
        for sock in socks:
            sock.settimeout(30)
            try:
                answered += Answers(sock).one() > 0
            except (OSError, IndexError):
                pass
            sock.close()
        status = process.wait()
        took = time.monotonic() - start
    print(f"daemon: TERM with {under_way} under way and {queued} queued: {answered} of", end=" ")
    print(f"{len(socks)} answered, exit status {status} after {took:.2f} s")


def connects(count: int = 1000) -> None:
    with Stand("gatebridge") as stand:
        refused, socks = 0, []
        for _ in range(count):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            try:
                sock.connect(str(stand.folder / "ours.sock"))
            except OSError:  # EAGAIN: the queue is full
                refused += 1
                sock.close()
                continue
            socks.append(sock)
        answered = 0
        for sock in socks:
            sock.settimeout(30)
            sock.sendall(request("/hello", keep=0))
        for sock in socks:
            try:
                answered += Answers(sock).one() > 0
            except (OSError, IndexError):
                pass
            sock.close()
    print(f"daemon: {count} connects at once: {refused} refused, {answered} answered")


def growth(count: int = 100_000) -> None:
    with Stand("gatebridge") as stand:
        url = stand.contenders["gatebridge"].url("/hello")
        result(load(url, REQUESTS, CLIENTS))  # every thread has worked, every buffer was needed
        time.sleep(2)
        before = {one["pid"]: rss_kib(one["pid"]) for one in stand.workers()}
        before[stand.status()["pid"]] = rss_kib(stand.status()["pid"])
        found = result(load(url, count, CLIENTS))
        time.sleep(2)
        grown = [rss_kib(pid) - size for pid, size in before.items()]
    print(
        f"daemon: {found.requests} requests ({found.failed} failed): the processes grew by", end=" "
    )
    print(", ".join(f"{size / 1024:+.1f}" for size in grown), "MiB, the supervisor last")


def idle() -> None:
    with Stand("gatebridge") as stand:
        pid = stand.status()["pid"]
        time.sleep(3)
        pids = [one["pid"] for one in stand.workers()]
        before, workers = cpu_s(pid), sum(map(cpu_s, pids))
        time.sleep(IDLE_S)
        spent, theirs = cpu_s(pid) - before, sum(map(cpu_s, pids)) - workers
        size, each = rss_kib(pid), max(map(rss_kib, pids))
    print(f"daemon: supervisor {size / 1024:.1f} MiB, idle {spent / IDLE_S:.3%} CPU;", end=" ")
    print(f"{WORKERS} workers of {each / 1024:.1f} MiB, idle {theirs / IDLE_S:.3%} CPU together")


def mixed() -> None:
    """Four of eight threads have 500 ms requests all the time; eight clients ask for 1 ms ones."""
    with Stand("gatebridge", "gunicorn", "php-fpm") as stand:
        for name, one in stand.contenders.items():
            slow = threading.Thread(
                target=latency_ms, args=(one.url("/sleep?ms=500"), 4, MIXED_S + 1)
            )
            slow.start()
            time.sleep(0.5)
            half, most, rate = latency_ms(one.url("/sleep?ms=1"), 8, MIXED_S)
            slow.join()
            print(f"daemon: mixed load, {name}: 1 ms requests p50 {half:.1f} ms,", end=" ")
            print(f"p99 {most:.1f} ms, {rate:.0f}/s")


def rate(rounds: int = 3) -> None:
    with Stand("gatebridge", "uwsgi", "gunicorn", "php-fpm") as stand:
        found: dict[str, list[float]] = {name: [] for name in stand.contenders}
        failed = dict.fromkeys(found, 0)
        for one in stand.contenders.values():
            result(load(one.url("/hello"), REQUESTS // 10, CLIENTS))  # warms up
        for _ in range(rounds):
            for name, one in stand.contenders.items():
                one_round = result(load(one.url("/hello"), REQUESTS, CLIENTS))
                failed[name] += one_round.failed
                found[name].append(one_round.rate)
        for name, rates in found.items():
            print(f"daemon: {name}: {statistics.median(rates):.0f} requests/s", end=" ")
            print(f"({min(rates):.0f} to {max(rates):.0f}), {failed[name]} failed")


FIGURES = {
    "reloads": reloads,
    "kill": kill,
    "stop": stop,
    "connects": connects,
    "growth": growth,
    "idle": idle,
    "mixed": mixed,
    "rate": rate,
}


def run(words: list[str]) -> None:
    """words: names of figures, each with =N where it takes a number; all of them without."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # nothing stays behind
    for word in words or list(FIGURES):
        name, _, number = word.partition("=")
        FIGURES[name](*([int(number)] if number else []))
        sys.stdout.flush()


if __name__ == "__main__":
    run(sys.argv[1:])

"""python -m tests.bench.figures [cold] [parts] [threads] [memory] [peers] [routes] [scripts]
                                   [relays] [streams] [daemon[=N]]

    cold     one-shot CGI against `python3 -S -E -s -c pass`, CPU time, whole process
    parts    microseconds of the parts of a GET, in this process
    threads  a slow application on 16 threads, alone and beside a fast path
    memory   growth of the resident set by a 2 GB upload and a 2 GB answer
    peers    growth by 500 silent peers
    routes   what the routing table adds to a request
    scripts  one Python script in exec, warm and in-process mode
    relays   a CGI request under Apache: relays, one-shot, a C program, a bare interpreter
    streams  open ASGI streams: memory, delay of an event, cost of a WSGI neighbour
    daemon   all of tests.bench.service; N requests for the growth of memory

Quote ratios and medians of one run; a busy machine moves single figures by half.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from pathlib import Path

from gatebridge.engine.wsgi import run
from gatebridge.environ.build import Builder
from gatebridge.shim import one_shot
from gatebridge.wire.events import Limits, Pairs, Request
from gatebridge.wire.fastcgi import FastCGI
from gatebridge.wire.records import begin_request, decode_pairs, record, split_pairs
from tests.bench import relays, routes, service, streams
from tests.bench.app import app
from tests.bench.daemon import ROOT, Answers, Daemon, request, variables
from tests.bench.scripts import scripts

ROUNDS = 60
GIGABYTES = 2


def cpu_of(command: list[str], environ: dict[str, str]) -> float:
    with open(os.devnull, "r+b") as null:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environ, stdin=null, stdout=null, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cold() -> None:
    meta = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/cgi-bin/app.cgi",
        "PATH_INFO": "/x",
        "REQUEST_URI": "/cgi-bin/app.cgi/x",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_SOFTWARE": "Apache/2.4.62 (Debian)",  # RFC 3875 section 4.1.17: every server must
        "GATEWAY_INTERFACE": "CGI/1.1",
    }
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder, "tiny.py")
        tiny.write_text(
            "def app(environ, start_response):\n"
            "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
            "    return [b'Hello, world!']\n"
        )
        shim = Path(folder, "app.cgi")
        shim.write_text(one_shot("tiny:app", folder, None))
        shim.chmod(0o755)
        bare = [sys.executable, "-S", "-E", "-s", "-c", "pass"]
        cpu_of([str(shim)], meta)  # writes the .pyc files
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(cpu_of([str(shim)], meta))
            theirs.append(cpu_of(bare, meta))
    one, other = statistics.median(ours), statistics.median(theirs)
    print(f"cold: shim {one * 1e3:.1f} ms, bare interpreter {other * 1e3:.1f} ms,", end=" ")
    print(f"ratio {one / other:.2f}")


class Nowhere:
    """An Out that drops everything."""

    gone = False

    def answer(self, head: object, body: bytes) -> None:
        pass


def parts() -> None:
    block = variables("/hello")
    whole = request("/hello")
    known, _ = decode_pairs(block, 1000)
    raw = Pairs(block, split_pairs)
    wire, builder, out = FastCGI(Limits()), Builder(), Nowhere()
    environ, _ = builder.build(Request(1, dict(known), False, raw))

    def receive() -> None:
        wire.receive(whole)
        wire.send_end(1, 0)

    for name, call in (
        ("decode 25 pairs", lambda: decode_pairs(block, 1000)),
        ("receive a GET", receive),
        ("environ", lambda: builder.build(Request(1, dict(known), False, raw))),
        ("engine and application", lambda: run(app, environ, out)),
    ):
        best = min(timeit.repeat(call, number=5000, repeat=9)) / 5000
        print(f"parts: {name}: {best * 1e6:.2f} us")


def load(daemon: Daemon, path: str, clients: int, seconds: float, done: list[int]) -> None:
    stop = time.monotonic() + seconds
    counts = [0] * clients

    def client(number: int) -> None:
        with daemon.connect() as sock:
            answers, data = Answers(sock), request(path)
            while time.monotonic() < stop:
                sock.sendall(data)
                answers.one()
                counts[number] += 1

    workers = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done.append(sum(counts))


def threads() -> None:
    seconds = 4.0
    with Daemon(16) as daemon:
        slow: list[int] = []
        load(daemon, "/slow", 16, seconds, slow)
        print(f"threads: 16 clients on a 50 ms application: {slow[0] / seconds:.0f} requests/s")
        alone: list[int] = []
        load(daemon, "/hello", 8, seconds, alone)
        beside: list[int] = []
        other: list[int] = []
        background = threading.Thread(target=load, args=(daemon, "/slow", 4, seconds, other))
        background.start()
        load(daemon, "/hello", 8, seconds, beside)
        background.join()
    share = beside[0] / alone[0]
    print(f"threads: fast path alone {alone[0] / seconds:.0f}/s,", end=" ")
    print(f"beside 4 slow clients {beside[0] / seconds:.0f}/s: {share:.0%}")


def memory() -> None:
    piece = record(5, 1, b"u" * 32_768)
    count = GIGABYTES << 15
    size = count * 32_768
    with Daemon(2) as daemon:
        with daemon.connect() as sock:
            sock.sendall(request("/hello"))
            Answers(sock).one()
        before = daemon.memory_kib()
        start, spent = time.monotonic(), daemon.cpu_s()
        with daemon.connect() as sock:
            head = begin_request(1, 1, 0) + record(4, 1, variables("/upload", length=size))
            sock.sendall(head + record(4, 1, b""))
            for _ in range(count):
                sock.sendall(piece)
            sock.sendall(record(5, 1, b""))
            Answers(sock).one()
        took, cpu = time.monotonic() - start, daemon.cpu_s() - spent
        peak = daemon.memory_kib("VmHWM")
        print(f"memory: {GIGABYTES} GB upload: +{(peak - before) / 1024:.1f} MiB,", end=" ")
        print(f"{size / took / 1e6:.0f} MB/s, {cpu:.1f} s CPU")
        with daemon.connect() as sock:
            sock.sendall(request("/big", str(GIGABYTES << 14), keep=0))
            got = Answers(sock).one()
        peak = daemon.memory_kib("VmHWM")
        print(f"memory: {got / 1e9:.1f} GB answer: +{(peak - before) / 1024:.1f} MiB")


def peers() -> None:
    with Daemon(8) as daemon:
        with daemon.connect() as sock:
            sock.sendall(request("/hello"))
            Answers(sock).one()
        before = daemon.memory_kib()
        silent = [daemon.connect() for _ in range(500)]
        with daemon.connect() as sock:
            answers = Answers(sock)
            for _ in range(1000):
                sock.sendall(request("/hello"))
                answers.one()
        grown = daemon.memory_kib("VmHWM") - before
        for sock in silent:
            sock.close()
    print(f"peers: 500 silent peers: +{grown / 1024:.1f} MiB, 1000 of 1000 requests answered")


def daemon(count: str = "") -> None:
    service.run(
        [f"growth={count}" if name == "growth" and count else name for name in service.FIGURES]
    )


def main() -> None:
    figures = {"cold": cold, "parts": parts, "threads": threads, "memory": memory, "peers": peers}
    figures |= {
        "routes": routes.run,
        "scripts": scripts,
        "relays": relays.run,
        "streams": streams.run,
    }
    os.chdir(ROOT)
    for word in sys.argv[1:] or [*figures, "daemon"]:
        name, _, count = word.partition("=")
        if name == "daemon":
            daemon(count)
        else:
            figures[name]()


if __name__ == "__main__":
    main()

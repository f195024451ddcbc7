"""The slow log shows the line a request is in, while it runs."""

import faulthandler
import os
import runpy
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from gatebridge.serve.scoreboard import READY, Running, Scoreboard, WorkerView, begin
from gatebridge.serve.slow_log import ANSWER_S, FRAMES_MAX, QUIET_S, SlowLog, dump_pipe
from gatebridge.serve.stacks import Frame, Sources, parse

DEADLINE_S = 60.0

# --- dumps as Python wrote them: 3.11.7, 3.12.1 and 3.13.0 alike

DUMP = rb"""Thread 0x00007fef61f966c0 (most recent call first):
  File "<str\xe9 "q"\x0a>", line 3 in f
  File "/usr/lib/python3.11/threading.py", line 982 in run

Thread 0x00007fef637996c0 (most recent call first):
  File "/srv/shop.py", line 4 in deep
  File "/srv/shop.py", line 3 in <listcomp>
  ...

Current thread 0x00007fef64e68b80 (most recent call first):
  File "/srv/main.py", line 13 in <module>
"""


def test_a_dump_is_read() -> None:
    first, second, third = parse(DUMP)
    assert (first.ident, first.current, first.whole) == (0x7FEF61F966C0, False, True)
    assert first.frames == [
        Frame(r"<str\xe9 " + '"q"' + r"\x0a>", 3, "f"),
        Frame("/usr/lib/python3.11/threading.py", 982, "run"),
    ]
    assert second.frames == [
        Frame("/srv/shop.py", 4, "deep"),
        Frame("/srv/shop.py", 3, "<listcomp>"),
    ]
    assert not second.whole
    assert (third.ident, third.current) == (0x7FEF64E68B80, True)


DUMPS = [
    ("nothing", b"", []),
    ("no Python frame", b"Thread 0x0a (most recent call first):\n  <no Python frame>\n",
     [(10, "", 0, ["<no Python frame>"])]),
    ("garbage collection",
     b'Current thread 0x0a (most recent call first):\n  Garbage-collecting\n  File "x", line 1 in f'
     b"\n",
     [(10, "", 1, ["Garbage-collecting"])]),
    ("more than a hundred threads",
     b'Thread 0x0a (most recent call first):\n  File "x", line 1 in f\n\n...\n', [(10, "", 1, [])]),
    ("3.14: a thread's name",
     b'Thread 0x0a [pool (1) [x]] (most recent call first):\n  File "x", line 1 in f\n',
     [(10, "pool (1) [x]", 1, [])]),
    ("3.14: a C stack follows",
     b'Thread 0x0a (most recent call first):\n  File "x", line 1 in f\n\n'
     b"Current thread's C stack trace (most recent call first):\n"
     b'  Binary file "/lib/libpython3.14.so", at _Py_DumpStack+0x44 [0x10]\n  <truncated>\n',
     [(10, "", 1, [])]),
    ("3.13t: one thread, without its number",
     b"<Cannot show all threads while the GIL is disabled>\n"
     b'Stack (most recent call first):\n  File "x", line 1 in f\n', [(0, "", 1, [])]),
    ("unknown parts", b"Thread 0x0a (most recent call first):\n  File ???, line ??? in ???\n",
     [(10, "", 1, [])]),
    ("cut in a line", b'Thread 0x0a (most recent call first):\n  File "x", line 1 in f\n  File "/s',
     [(10, "", 1, ['File "/s'])]),
    ("calls of nobody", b'  File "x", line 1 in f\nThread 0xzz (most recent call first):\n', []),
    ("anything", bytes(range(256)) * 3, []),
    ("a number without end", b"Thread 0x" + b"1" * 5000 + b" (most recent call first):\n", []),
]  # fmt: skip


@pytest.mark.parametrize(("data", "told"), [row[1:] for row in DUMPS],
                         ids=[row[0] for row in DUMPS])  # fmt: skip
def test_every_form_of_a_dump(data: bytes, told: list[object]) -> None:
    stacks = parse(data)
    assert [(s.ident, s.name, len(s.frames), s.remarks) for s in stacks] == told


# --- source lines


def test_a_source_line_is_shown_without_its_indent(tmp_path: Path) -> None:
    path = tmp_path / "caf\xe9.py"
    path.write_text("one\n\tif caf\xe9:\x1b[2J   \nthree")
    shown = str(path).replace("\xe9", r"\xe9")
    sources = Sources()
    lines = [sources.line(Frame(shown, at, "f")) for at in (0, 1, 2, 3, 4)]
    assert lines == ["", "one", r"if caf\xe9:\x1b[2J".replace(r"\xe9", "\xe9"), "three", ""]


def test_a_long_source_line_is_cut(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("x" * 5000)
    assert len(Sources().line(Frame(str(tmp_path / "x.py"), 1, "f"))) == 160


def test_T12_odd_files_are_not_read(tmp_path: Path) -> None:
    """The application names the path, and the supervisor may be root."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "big").write_bytes(b"x\n" * (1 << 20))
    names = ["pipe", "big", "absent", "", "\0", "x" * 5000]
    paths = [str(tmp_path / name) for name in names]
    for path in [*paths, "/dev/zero", "/dev/tty", "/proc/self/mem", "relative.py", "<string>"]:
        assert Sources().line(Frame(path, 1, "f")) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="about a supervisor that is root")
def test_T12_roots_own_secrets_are_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password\n")
    (tmp_path / "secret").chmod(0o640)
    assert Sources().line(Frame(str(tmp_path / "secret"), 1, "f")) == ""
    os.chown(tmp_path / "secret", 65_534, 65_534)
    assert Sources().line(Frame(str(tmp_path / "secret"), 1, "f")) == "password"


def test_a_file_that_changed_after_the_start_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("one\n")
    os.utime(tmp_path / "x.py", (1000, 1000))
    assert Sources(1001).line(Frame(str(tmp_path / "x.py"), 1, "f")) == "one"
    assert Sources(999).line(Frame(str(tmp_path / "x.py"), 1, "f")) == ""


# --- which requests, and when


def worker(*running: Running, pid: int = 70, pool: str = "main", index: int = 2) -> WorkerView:
    return WorkerView(
        index, pid, pool, 1, READY, 8, 3600.0, 0, 0, 0, 0, 0, 0, list(running)
    )  # fmt: skip


def request(age: float, thread: int = 5, ident: int = 0x7FEF637996C0, **more: str) -> Running:
    texts = {"line": "GET /report", "id": "", **more}
    return Running(thread, ident, 100.0 - age, age, texts["line"], texts["id"])


class Stand:
    """A slow log with a clock of ours, and the signals it sends."""

    def __init__(self, timeout: object = 2.0) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        self.asked: list[int] = []
        self.log = SlowLog(self.lines.append, timeout, lambda: self.now)

    def look(self, *views: WorkerView) -> None:
        self.log.look(self.now, list(views), self.asked.append)

    def settle(self, seconds: float = QUIET_S) -> None:
        self.now += seconds
        self.log.settle(self.now)


def test_an_entry_names_the_request_and_shows_its_calls() -> None:
    stand = Stand()
    stand.look(worker(request(3.24, id="8f3c")))
    assert stand.asked == [70]
    stand.log.dumped(70, DUMP[:100])
    stand.log.dumped(70, DUMP[100:])
    assert stand.lines == []
    stand.settle()
    assert stand.lines == [
        "slow.request main/2/5 pid 70: GET /report has run for 3.2 s, id 8f3c",
        "slow.stack main/2/5 (0 or more outer calls left out)",
        'slow.stack main/2/5 File "/srv/shop.py", line 3 in <listcomp>',
        'slow.stack main/2/5 File "/srv/shop.py", line 4 in deep',
    ]
    assert stand.log.written == {"main": 1}


def test_a_request_is_written_once() -> None:
    stand = Stand()
    for _ in range(5):
        stand.look(worker(request(3.0)))
        stand.log.dumped(70, DUMP)
        stand.settle()
    assert [line for line in stand.lines if line.startswith("slow.request")] == stand.lines[:1]


def test_the_next_request_of_the_same_thread_is_another() -> None:
    stand = Stand()
    for age in (3.0, 2.5):
        stand.look(worker(request(age)))
        stand.settle(ANSWER_S)
        stand.look(worker())
    assert stand.log.written == {"main": 2}


def test_young_requests_are_left_alone() -> None:
    stand = Stand()
    stand.look(worker(request(1.99)))
    assert stand.asked == []
    assert stand.log.deadline is None


def test_each_pool_has_its_own_limit_and_none_is_no_limit() -> None:
    stand = Stand({"main": 5.0, "off": 0.0})
    views = [
        worker(request(4.0), pid=71, pool="main", index=0),
        worker(request(4.0), pid=72, pool="off", index=1),
        worker(request(4.0), pid=73, pool="unknown", index=2),
        worker(request(6.0), pid=74, pool="main", index=3),
    ]
    stand.look(*views)
    assert stand.asked == [74]
    stand.log.timeout = {"main": 1.0}
    stand.look(*views)
    assert stand.asked == [74, 71]


def test_two_slow_requests_of_a_worker_take_one_signal() -> None:
    stand = Stand()
    stand.look(worker(request(3.0), request(4.0, thread=6, ident=0x7FEF61F966C0)))
    assert stand.asked == [70]
    stand.log.dumped(70, DUMP)
    stand.look(worker(request(3.0), request(4.0, 6, 0x7FEF61F966C0), request(5.0, 7, 1)))
    assert stand.asked == [70]
    stand.settle()
    assert stand.log.written == {"main": 3}
    assert "slow.stack main/2/7 (no stack: this thread is not in the dump)" in stand.lines


def test_only_the_innermost_calls_are_shown() -> None:
    frames = b"".join(b'  File "/srv/x.py", line %d in f\n' % at for at in range(1, 51))
    stand = Stand()
    stand.look(worker(request(3.0, ident=10)))
    stand.log.dumped(70, b"Thread 0x0a (most recent call first):\n" + frames)
    stand.settle()
    assert len(stand.lines) == 2 + FRAMES_MAX
    assert stand.lines[1].endswith("(30 outer calls left out)")
    assert "line 20 in f" in stand.lines[2]
    assert "line 1 in f" in stand.lines[-1]


def test_a_worker_that_does_not_answer_has_an_entry_all_the_same() -> None:
    stand = Stand()
    stand.look(worker(request(3.0)))
    assert stand.log.deadline == stand.now + ANSWER_S
    stand.settle(ANSWER_S)
    assert stand.lines[1:] == [
        "slow.stack main/2/5 (no stack: the worker did not answer the signal)"
    ]
    assert stand.log.deadline is None


def test_a_worker_that_has_just_ended() -> None:
    stand = Stand()

    def refuse(pid: int) -> None:
        raise ProcessLookupError(pid)

    stand.log.look(stand.now, [worker(request(3.0))], refuse)
    assert len(stand.lines) == 2
    stand.look(worker(request(9.0), pid=71))
    stand.log.gone(71)
    assert len(stand.lines) == 4
    stand.log.gone(71)


def test_a_dump_without_end_is_cut_short() -> None:
    stand = Stand()
    stand.look(worker(request(3.0)))
    end = stand.now + ANSWER_S
    while stand.now < end:
        stand.log.dumped(70, b"x" * 100_000)
        stand.settle(QUIET_S / 2)
    assert stand.log.written == {"main": 1}
    stand.log.dumped(70, b"x" * (3 << 20))
    assert stand.log.deadline is not None
    stand.settle()
    assert stand.log.deadline is None


def test_a_request_that_ended_meanwhile_is_told_so() -> None:
    stand = Stand()
    stand.look(worker(request(3.0)))
    stand.log.dumped(70, DUMP)
    stand.now += QUIET_S
    stand.look(worker())
    assert "ended meanwhile" in stand.lines[-1]


def test_T19_nothing_in_an_entry_forges_a_line(tmp_path: Path) -> None:
    stand = Stand()
    stand.look(worker(request(3.0, ident=10, line="GET /\n2026 forged", id="\x1b[2J"), pool="a\nb"))
    stand.log.dumped(
        70, b'Thread 0x0a (most recent call first):\n  File "x\r\x9b", line 1 in \x07f\n'
    )
    stand.settle()
    assert all(line.isprintable() for line in stand.lines)
    assert len(stand.lines) == 2


def test_a_dump_that_nobody_here_asked_for_is_written() -> None:
    """USR1 to a worker by hand."""
    stand = Stand()
    stand.log.dumped(99, DUMP)
    assert stand.log.deadline == stand.now + QUIET_S
    stand.settle()
    assert stand.lines[0].startswith("stacks pid 99 thread 1 of 3 File ")
    assert stand.lines[-1] == 'stacks pid 99 thread 3 of 3 File "/srv/main.py", line 13 in <module>'


# --- ctl stacks


def test_stacks_of_all_workers() -> None:
    stand = Stand()
    answers: list[dict[str, object]] = []
    busy = worker(request(3.0, id="8f3c"), pid=70, index=0)
    idle = worker(pid=71, pool="other", index=1)
    stand.log.stacks([busy, idle], stand.asked.append, answers.append)
    assert stand.asked == [70, 71]
    stand.log.dumped(70, DUMP)
    stand.settle()
    assert answers == []
    stand.settle(ANSWER_S)
    (answer,) = answers
    assert (answer["ok"], answer["whole"]) == (True, True)
    first, second = answer["workers"]
    assert (first["pool"], first["index"], first["pid"], first["state"]) == ("main", 0, 70, "ready")
    assert [t["line"] for t in first["threads"]] == ["", "GET /report", ""]
    assert (first["threads"][1]["id"], first["threads"][1]["age_s"]) == ("8f3c", 3.0)
    assert first["threads"][2]["calls"] == ['File "/srv/main.py", line 13 in <module>']
    assert (second["answered"], second["threads"]) == (False, [])
    assert stand.lines == []


def test_stacks_of_no_worker() -> None:
    answers: list[dict[str, object]] = []
    Stand().log.stacks([], lambda pid: None, answers.append)
    assert answers == [{"ok": True, "workers": [], "whole": True}]


def test_stacks_and_a_slow_request_share_a_dump() -> None:
    stand = Stand()
    answers: list[dict[str, object]] = []
    view = worker(request(3.0))
    stand.look(view)
    stand.log.stacks([view], stand.asked.append, answers.append)
    stand.log.stacks([view], stand.asked.append, answers.append)
    stand.log.dumped(70, DUMP)
    stand.settle()
    assert stand.asked == [70]
    assert len(answers) == 2
    assert stand.log.written == {"main": 1}


def test_an_answer_fits_the_control_socket() -> None:
    stand = Stand()
    answers: list[dict[str, object]] = []
    name = "\\u20ac" * 80
    frames = b"".join(b'  File "/srv/%s", line 1 in f\n' % name.encode() for _ in range(20))
    dump = b"".join(b"Thread 0x%x (most recent call first):\n" % at + frames for at in range(1, 99))
    views = [worker(pid=pid, index=pid) for pid in range(20)]
    stand.log.stacks(views, lambda pid: None, answers.append)
    for view in views:
        stand.log.dumped(view.pid, dump)
    stand.settle()
    assert len(repr(answers[0])) < 1 << 20
    assert not answers[0]["whole"]
    assert answers[0]["workers"][0]["threads"]


# --- a real process

SHOP = """\
import re, time

def sleep():
    time.sleep(600)  # the line of the sleeper

def match():
    re.match("(a+)+$", "a" * 60 + "b")  # the line that never ends
"""


@contextmanager
def busy_worker(folder: Path) -> Iterator[tuple[int, int, Scoreboard]]:
    """(pid, its dump pipe, the board) of a worker whose two threads are in SHOP's functions."""
    path = folder / "shop.py"
    path.write_text(SHOP)
    os.utime(path, (1000, 1000))
    board = Scoreboard()
    read, write = dump_pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(read)
            faulthandler.register(signal.SIGUSR1, file=write, all_threads=True, chain=False)
            _work(board, runpy.run_path(str(path)))
        finally:
            os._exit(1)
    os.close(write)
    try:
        yield pid, read, board
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _work(board: Scoreboard, shop: dict[str, object]) -> None:
    slot = board.worker(2)
    slot.start(os.getpid(), "main", 1, 2)

    def call(at: int, name: str) -> None:
        begin(slot.thread(at), threading.get_ident(), monotonic(), f"GET /{name}".encode(), b"id")
        if at == 0:
            slot.state(READY)
        shop[name]()

    threading.Thread(target=call, args=(0, "sleep"), daemon=True).start()
    while board.read(0.0)[0].state != READY:
        sleep(0.001)
    threading.Thread(target=call, args=(1, "match"), daemon=True).start()
    signal.pause()


def until(true: Callable[[], bool]) -> None:
    end = monotonic() + DEADLINE_S
    while not true():
        assert monotonic() < end
        sleep(0.01)


def ticks(pid: int) -> int:
    """Processor time that it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_the_stack_of_a_thread_that_sleeps_and_of_one_that_hangs_in_c(tmp_path: Path) -> None:
    """re.match() keeps the GIL for hours: no Python code of that process runs any more."""
    lines: list[str] = []
    log = SlowLog(lines.append, 0.2)
    with busy_worker(tmp_path) as (pid, dumps, board):
        until(lambda: len([r for view in board.read(0.0) for r in view.running]) == 2)
        before = ticks(pid)
        until(lambda: ticks(pid) > before + 20)  # the matcher is at it
        end = monotonic() + DEADLINE_S
        while log.written != {"main": 2}:
            now = monotonic()
            assert now < end, lines
            log.look(now, board.read(now), lambda pid: os.kill(pid, signal.SIGUSR1))
            if select.select([dumps], [], [], 0.05)[0]:
                log.dumped(pid, os.read(dumps, 65_536))
        assert len(board.read(monotonic())[0].running) == 2  # both still run
    shop = tmp_path / "shop.py"
    asleep = f'slow.stack main/2/0 File "{shop}", line 4 in sleep: '
    hangs = f'slow.stack main/2/1 File "{shop}", line 7 in match: '
    assert asleep + "time.sleep(600)  # the line of the sleeper" in lines
    assert lines[-1].startswith("slow.stack main/2/1 ")
    text = 're.match("(a+)+$", "a" * 60 + "b")  # the line that never ends'
    assert hangs + text in lines
    heads = [line for line in lines if line.startswith("slow.request")]
    assert [head.partition(" has run")[0] for head in sorted(heads)] == [
        f"slow.request main/2/0 pid {pid}: GET /sleep",
        f"slow.request main/2/1 pid {pid}: GET /match",
    ]
    assert all(head.endswith("s, id id") for head in heads)


def test_a_dump_waits_for_nobody(tmp_path: Path) -> None:
    """A supervisor that does not read must not stop a worker in its signal handler."""
    read, write = dump_pipe()
    assert not os.get_inheritable(write)
    sent = 0
    while True:
        try:
            sent += os.write(write, b"x" * 65_536)
        except BlockingIOError:
            break
    assert sent >= 65_536
    os.close(write)
    while os.read(read, 1 << 20):
        pass
    os.close(read)


def test_an_empty_pipe_and_one_whose_worker_is_gone() -> None:
    read, write = dump_pipe()
    with pytest.raises(BlockingIOError):
        os.read(read, 1)
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)

"""How an answer flows: both ways at once, as it comes, and to its end whatever a program does."""

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from gatebridge.apps import execute, script_talk
from gatebridge.apps.execute import Execute
from gatebridge.apps.options import ScriptOptions
from gatebridge.apps.script import Script
from gatebridge.errors import AppError, PeerError
from tests.apps.hosted import ECHO, Recorder, ask, environ, says, write
from tests.serve.whole import alive, wait_until

HTML = "Content-Type: text/html"
MB = 1 << 20
# For programs that are to die of a signal, and tell who they are
TELL = "open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'told')"


class Stand:
    """Programs in a folder, and what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scripts: list[Script] = []

    def script(self, text: str, **options: Any) -> Script:
        path = write(self.folder, text)
        made = Script(path, Execute(), ScriptOptions(**options))
        self.scripts.append(made)
        return made

    def told(self, name: str = "told") -> int:
        """The pid that a program has written down."""
        assert wait_until((self.folder / name).exists)
        return int((self.folder / name).read_text())

    def close(self) -> None:
        for script in self.scripts:
            script.close()


def children() -> set[str]:
    lists = Path("/proc/self/task").glob("*/children")
    return {pid for one in lists for pid in one.read_text().split()}


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    os.mkfifo(tmp_path / "go")
    threads = threading.active_count()
    fds = len(os.listdir("/proc/self/fd"))
    others = children()  # of other tests in this process
    yield made
    made.close()
    assert wait_until(lambda: threading.active_count() <= threads), threading.enumerate()
    assert wait_until(lambda: len(os.listdir("/proc/self/fd")) <= fds)
    assert children() <= others  # not even a zombie


class Upload:
    """A wsgi.input that is no memory: its pieces come one by one, and may be errors."""

    def __init__(self, pieces: Any) -> None:
        self.pieces = iter(pieces)
        self.data = b""
        self.largest = 0

    def read(self, size: int) -> bytes:
        self.largest = max(self.largest, size)
        while len(self.data) < size:
            piece = next(self.pieces, b"")
            if isinstance(piece, BaseException):
                raise piece
            if not piece:
                break
            self.data += piece
        data, self.data = self.data[:size], self.data[size:]
        return data


class Live(Upload):
    """The same, with what is there and no more: as read1() of the engine's."""

    def read1(self, size: int) -> bytes:
        if not self.data:
            return self.read(1) + self.read1(size - 1) if size else b""
        data, self.data = self.data[:size], self.data[size:]
        return data


def uploaded(size: int, pieces: Any, kind: type[Upload] = Upload, **more: Any) -> dict[str, Any]:
    body = {"CONTENT_LENGTH": str(size), "wsgi.input": kind(pieces)}
    return environ("POST") | body | more


def quiet(status: str, headers: Any, exc_info: Any = None) -> None:
    """A start_response that wants nothing."""


BOTH_WAYS = """#!python
import os, sys
left = int(os.environ["CONTENT_LENGTH"])
os.write(1, b"Content-Type: a/b\\n\\n")
while left:
    data = os.read(0, 100_000)
    left -= len(data)
    while data:
        data = data[os.write(1, data):]
"""


@pytest.mark.parametrize("in_memory", [True, False])
def test_fifty_megabytes_both_ways(stand: Stand, in_memory: bool) -> None:
    piece = bytes(range(256)) * 2048
    asked = uploaded(50 * MB, [piece] * 100)
    if in_memory:
        asked = environ("POST", piece * 100)
    out = ask(stand.script(BOTH_WAYS), asked)
    assert bytes(out.body) == piece * 100
    if not in_memory:
        assert asked["wsgi.input"].largest <= 8192


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("reads", ["", "os.close(0)", "sys.stdin.read()"])
def test_all_is_written_before_anything_is_read(stand: Stand, in_memory: bool, reads: str) -> None:
    text = says(HTML, "", then=f"sys.stdout.write('x' * 3_000_000); sys.stdout.flush(); {reads}")
    body = b"y" * 3_000_000
    asked = environ("POST", body) if in_memory else uploaded(len(body), [body])
    out = ask(stand.script(text), asked)
    assert out.whole
    assert len(out.body) == 3_000_000


def test_a_body_that_nobody_reads_holds_up_no_answer(stand: Stand) -> None:
    """The client sends the rest when it likes; the thread that waits for it is not the answer's."""
    late = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"x" * 10
        late.wait(30)

    out = ask(stand.script(says(HTML, "", "done")), uploaded(20, pieces()))
    late.set()
    assert out.whole
    assert bytes(out.body) == b"done\n"


def test_words_are_answered_as_they_come(stand: Stand) -> None:
    """A conversation: each side waits for the other's next word."""
    heard = [threading.Event() for _ in range(3)]

    def pieces() -> Iterator[bytes]:
        for event in heard:
            yield b"hello"
            assert event.wait(30)

    text = "#!python\nimport os\nos.write(1, b'Status: 200\\n\\n')\nfor _ in range(3):\n"
    text += "    os.write(1, os.read(0, 5))\n"
    answer = stand.script(text)(uploaded(15, pieces(), Live), quiet)
    for event in heard:
        assert next(answer) == b"hello"
        event.set()
    assert list(answer) == []
    answer.close()


def test_each_piece_goes_out_as_it_comes(stand: Stand) -> None:
    text = says(HTML, "", "one", then="open('go').read(); print('two')")
    answer = stand.script(text)(environ(), quiet)
    assert next(answer) == b"one\n"
    (stand.folder / "go").write_text("")
    assert next(answer) == b"two\n"
    assert list(answer) == []
    answer.close()


def test_a_slow_client_stops_the_program(stand: Stand) -> None:
    """What it writes is not kept anywhere: it fills the pipe, and has to wait."""
    text = """#!python
import os
os.write(1, b"Status: 200 OK\\n\\nfirst")
open("go").read()
os.set_blocking(1, False)
sent = 0
try:
    while sent < 50_000_000:
        sent += os.write(1, b"x" * 65536)
except BlockingIOError:
    open("full", "w").write(str(sent))
    os.rename("full", "told")
"""
    answer = stand.script(text)(environ(), quiet)
    assert next(answer) == b"first"
    (stand.folder / "go").write_text("")
    assert stand.told() < MB
    answer.close()


def test_C13_much_on_standard_error_while_nothing_is_answered(stand: Stand) -> None:
    text = "#!python\nimport sys\nsys.stderr.write('0123456789abcde\\n' * 65536)\n"
    out = ask(stand.script(text + "print('Status: 200 OK\\n\\nx')"))
    assert bytes(out.body) == b"x\n"
    assert out.log == "0123456789abcde\n" * 65536


def test_C13_standard_error_is_told_at_once(stand: Stand) -> None:
    told = threading.Event()

    class Errors:
        def write(self, text: str) -> None:
            assert text == "working\n"
            told.set()

        def flush(self) -> None:
            """Nothing is held."""

    def release() -> None:
        assert told.wait(30)
        (stand.folder / "go").write_text("")

    thread = threading.Thread(target=release)
    thread.start()
    text = says(then="print('working', file=sys.stderr); sys.stderr.write('no line'); open('go')")
    text += "print('Status: 200 OK\\n')"
    asked = environ(**{"wsgi.errors": Errors()})
    with suppress(AssertionError):
        ask(stand.script(text), asked)
    thread.join()
    assert told.is_set()


def test_C14_what_is_kept_of_standard_error_has_an_end(stand: Stand) -> None:
    text = "#!python\nimport sys\nfor n in range(200): print('line', n, file=sys.stderr)"
    out = ask(stand.script(text))
    assert out.status == "502 Bad Gateway"
    assert b"line" not in out.body
    incident = out.log.split("gatebridge: incident ")[1][:8]
    assert incident.encode() in out.body
    assert out.log.count(f"[{incident}] line") == 20
    assert out.log.endswith(f"[{incident}] line 199\n")


HELD = """
import time
if os.fork() == 0:
    if {setsid}: os.setsid()
    {tell}
    time.sleep(600)
while {tell!r} != 'pass' and not os.path.exists('told'): time.sleep(.01)
"""


@pytest.mark.parametrize("stream", [b"x", b""])
def test_C15_a_child_that_holds_the_output(stand: Stand, stream: bytes) -> None:
    """It ends with the answer, which ends soon after the program itself."""
    text = says(HTML, "", then=f"os.write(1, {stream!r})\n" + HELD.format(setsid=False, tell=TELL))
    out = ask(stand.script(text, linger=0.2, grace=0.2))
    assert out.whole
    assert bytes(out.body) == stream
    pid = stand.told()
    assert wait_until(lambda: not alive(pid))


def test_C15_a_child_that_writes_without_end(stand: Stand) -> None:
    then = "if os.fork() == 0:\n    while True: os.write(1, b'y' * 1000)\n"
    out = ask(stand.script(says(HTML, "", "x" * 1000, then=then), linger=0.2, grace=0.2))
    assert out.whole
    assert out.body.startswith(b"x" * 1000)


def test_C15_what_the_program_wrote_itself_is_sent_whole(stand: Stand) -> None:
    """Though the client took it late, and a child holds the pipe."""
    held = HELD.format(setsid=False, tell="pass")
    large = "import fcntl; fcntl.fcntl(1, 1031, 1 << 20)"  # F_SETPIPE_SZ: more than one read
    then = f"{large}\nopen('go').read(); os.write(1, b'z' * 300_000)\n{held}"
    text = says(HTML, "", "first", then=then)
    script = stand.script(text + TELL, linger=0.0, grace=0.2)
    answer = script(environ(), quiet)
    assert next(answer) == b"first\n"
    (stand.folder / "go").write_text("")
    pid = stand.told()
    assert wait_until(lambda: not alive(pid))
    assert b"".join(answer) == b"z" * 300_000
    answer.close()


def test_C15_a_child_with_a_session_of_its_own_lives_on(stand: Stand) -> None:
    text = says(HTML, "", "x", then=HELD.format(setsid=True, tell=TELL))
    out = ask(stand.script(text, linger=0.1, grace=0.1))
    assert out.whole
    pid = stand.told()
    stand.close()
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(pid))


def test_C15_whoever_has_the_promised_length_waits_for_nobody(stand: Stand) -> None:
    text = says(HTML, "Content-Length: 4", "", then="os.write(1, b'done')\n" + HELD.format(
        setsid=False, tell="pass"))  # fmt: skip
    assert ask(stand.script(text, linger=3600)).whole


STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
POLITE = """
import signal
def leave(number, frame):
    open('polite', 'w').close()
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
"""


@pytest.mark.parametrize("has_head", [True, False])
@pytest.mark.parametrize("manner", [STUBBORN, POLITE])
def test_C16_the_client_leaves_a_silent_program(stand: Stand, has_head: bool, manner: str) -> None:
    """TERM first, and KILL for those that will not hear."""
    gone = threading.Event()
    lines = [HTML, "", "x"] if has_head else []
    text = says(*lines, then=f"{manner}\n{TELL}\nimport time\nwhile True: time.sleep(600)")
    script = stand.script(text, grace=0.3 if manner is STUBBORN else 60.0)

    def leave() -> None:
        stand.told()
        gone.set()

    thread = threading.Thread(target=leave)
    thread.start()
    answer = None
    with pytest.raises(ConnectionError):  # noqa: PT012 - before its head, or after
        answer = script(environ(**{"gatebridge.gone": gone.is_set}), quiet)
        list(answer)
    if answer is not None:
        answer.close()
    thread.join()
    assert wait_until(lambda: not alive(stand.told()))
    assert (stand.folder / "polite").exists() == (manner is POLITE)


def test_C16_the_client_leaves_while_the_answer_flows(stand: Stand) -> None:
    text = says(HTML, "", then=f"{TELL}\nwhile True: os.write(1, b'x' * 9999)")
    ask(stand.script(text, grace=0.3), out=Recorder(leaves_after=100_000))
    assert wait_until(lambda: not alive(stand.told()))


@pytest.mark.parametrize(
    "error", [ConnectionResetError("gone"), PeerError("body.timeout"), TimeoutError("late")]
)
def test_C16_a_body_that_breaks_off_is_not_taken_for_whole(stand: Stand, error: Exception) -> None:
    text = f"#!python\nimport os, sys\n{TELL}\nsys.stdin.read()\nopen('whole', 'w').close()\n"
    asked = uploaded(100, [b"x" * 10, error])
    out = ask(stand.script(text, grace=0.3), asked)
    is_peers = isinstance(error, PeerError)
    assert out.status == ("408 Request Timeout" if is_peers else "500 Internal Server Error")
    stand.close()
    assert not (stand.folder / "whole").exists()


def test_C02_a_body_that_is_too_short(stand: Stand) -> None:
    out = ask(stand.script(ECHO), uploaded(100, [b"x" * 10]))
    assert out.status == "400 Bad Request"


def test_C02_no_more_than_the_announced_length(stand: Stand) -> None:
    text = "#!python\nimport sys\nprint('Status: 200 OK\\n')\nprint(sys.stdin.read())"
    assert bytes(ask(stand.script(text), uploaded(4, [b"bodyrest"])).body) == b"body\n"


def test_C02_a_body_of_unknown_length_goes_to_its_end(stand: Stand) -> None:
    text = "#!python\nimport sys\nprint('Status: 200 OK\\n')\nprint(sys.stdin.read())"
    asked = environ("POST") | {"wsgi.input": Upload([b"one", b"two"])}
    assert bytes(ask(stand.script(text), asked).body) == b"onetwo\n"


def test_C03_without_length_or_end_nothing_is_read(stand: Stand) -> None:
    asked = environ("POST") | {"wsgi.input": Upload([AssertionError("was read")])}
    asked["wsgi.input_terminated"] = False
    text = "#!python\nimport sys\nprint('Status: 200 OK\\n')\nprint(sys.stdin.read())"
    assert bytes(ask(stand.script(text), asked).body) == b"\n"


@pytest.mark.parametrize("reads", [True, False])
def test_one_shot_leaves_no_second_reader(stand: Stand, reads: bool) -> None:
    """Whatever the program does with its body, afterwards nobody else is still reading it."""
    out = Recorder()
    late = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"x" * MB
        assert reads or wait_until(lambda: out.whole)
        late.set()
        yield b"x" * MB

    text = says(HTML, "", "x", then="sys.stdin.read()" if reads else "")
    ask(stand.script(text), uploaded(2 * MB, pieces(), **{"wsgi.run_once": True}), out)
    assert out.whole
    assert late.is_set()
    assert "gatebridge-body" not in [one.name for one in threading.enumerate()]


def test_a_forked_process_ends_nothing_of_its_parent(stand: Stand) -> None:
    """The application forks, and the child exits as a program does."""
    script = stand.script(says(HTML, "", "x", then=f"{TELL}\nopen('go').read()"))
    answer = script(environ(), quiet)
    assert next(answer) == b"x\n"
    pid = stand.told()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
        child = os.fork()
    if not child:
        script.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert alive(pid)
    (stand.folder / "go").write_text("")
    assert list(answer) == []
    answer.close()


def test_timeout_before_the_head(stand: Stand) -> None:
    out = ask(stand.script(f"#!python\nimport os, time\n{TELL}\ntime.sleep(600)", timeout=0.5))
    assert out.status == "504 Gateway Timeout"
    assert "script.timeout" in out.log
    assert wait_until(lambda: not alive(stand.told()))


def test_timeout_after_the_head(stand: Stand) -> None:
    text = says(HTML, "", "x", then=f"{TELL}\nimport time; time.sleep(600)")
    out = ask(stand.script(text, timeout=0.5))
    assert out.was_cut
    assert "script.timeout" in out.log
    assert wait_until(lambda: not alive(stand.told()))


class Clock:
    """The real one, put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return monotonic() + self.ahead


def test_timeout_is_of_silence_not_of_work(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty seconds before each word, and forty in which the client takes none."""
    clock = Clock()
    monkeypatch.setattr(script_talk, "monotonic", clock)
    then = "for _ in range(3):\n    open('go').read(); os.write(2, b'.\\n')\n"
    then += "    open('go').read(); os.write(1, b'x')"
    asked = environ()
    answer = stand.script(says(HTML, "", "", then=then))(asked, quiet)
    assert next(answer) == b"\n"

    def speak() -> None:
        heard = len(asked["wsgi.errors"].getvalue())
        clock.ahead += 40
        (stand.folder / "go").write_text("")
        assert wait_until(lambda: len(asked["wsgi.errors"].getvalue()) > heard)
        (stand.folder / "go").write_text("")

    for _ in range(3):
        speaker = threading.Thread(target=speak)
        speaker.start()
        assert next(answer) == b"x"
        speaker.join()
        clock.ahead += 40
    assert list(answer) == []
    answer.close()


def test_a_program_ended_by_a_signal(stand: Stand) -> None:
    """Half an answer is not passed off as a whole one."""
    text = says(HTML, "", "half", then="os.kill(os.getpid(), 11)")
    out = ask(stand.script(text))
    assert bytes(out.body) == b"half\n"
    assert out.was_cut
    assert "was ended by signal SIGSEGV" in out.log


def test_a_program_ended_by_a_signal_after_all_it_promised(stand: Stand) -> None:
    text = says(HTML, "Content-Length: 5", "", "half", then="os.kill(os.getpid(), 11)")
    out = ask(stand.script(text))
    assert out.whole
    assert "SIGSEGV" in out.log


def test_a_program_that_works_on_after_all_it_promised(stand: Stand) -> None:
    then = "import time; time.sleep(.4); open('finished', 'w').close()"
    script = stand.script(says(HTML, "Content-Length: 2", "", "x", then=then), linger=0.0)
    assert ask(script).whole
    assert (stand.folder / "finished").exists()


def test_a_program_that_is_silent_after_all_it_promised(stand: Stand) -> None:
    then = f"{TELL}\nimport time; time.sleep(600)"
    script = stand.script(says(HTML, "Content-Length: 2", "", "x", then=then), timeout=0.3)
    out = ask(script)
    assert out.whole
    assert "script.timeout" in out.log
    assert out.incidents == []


def test_a_program_that_does_not_keep_to_its_promise(stand: Stand) -> None:
    then = "while True: os.write(1, b'x' * 65536)"
    out = ask(stand.script(says(HTML, "Content-Length: 2", "", "x", then=then), grace=0.2))
    assert out.whole
    assert bytes(out.body) == b"x\n"
    assert "more than its Content-Length" in out.log


def test_C14_ended_by_a_signal_before_any_answer(stand: Stand) -> None:
    out = ask(stand.script("#!python\nimport os; os.kill(os.getpid(), 9)"))
    assert out.status == "502 Bad Gateway"
    assert "ended by signal 9" in out.log


def test_C11_a_head_request_lets_the_program_finish(stand: Stand) -> None:
    text = says(HTML, "", "x" * 200_000, then="open('finished', 'w').close()")
    out = ask(stand.script(text), environ("HEAD"))
    assert (out.names, bytes(out.body)) == (["answer"], b"")
    assert (stand.folder / "finished").exists()


def test_an_answer_that_is_not_wanted_any_more(stand: Stand) -> None:
    answer = stand.script(says(HTML, "", "x", then=f"{TELL}\nopen('go').read()"))(environ(), quiet)
    assert next(answer) == b"x\n"
    pid = stand.told()
    answer.close()
    assert wait_until(lambda: not alive(pid))
    answer.close()


def test_what_stays_in_the_group_is_ended(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """By KILL where TERM does not help, though the program itself ended well."""
    monkeypatch.setattr(execute, "_REST_S", 0.2)
    child = f"if os.fork() == 0:\n    {STUBBORN}\n    os.close(1); os.close(2)\n    {TELL}\n"
    child += "    import time; time.sleep(600)\nwhile not os.path.exists('told'): pass\n"
    assert ask(stand.script(says(HTML, "", "x", then=child))).whole
    assert wait_until(lambda: not alive(stand.told()))


def test_a_program_that_closes_its_output_is_ended(stand: Stand) -> None:
    text = says(HTML, "", "x", then=f"{TELL}\nos.close(1)\nimport time; time.sleep(600)")
    assert ask(stand.script(text, grace=0.2)).whole
    assert wait_until(lambda: not alive(stand.told()))


def test_close_ends_what_runs(stand: Stand) -> None:
    """The worker's end: a request under way is cut, and no program stays."""
    script = stand.script(says(HTML, "", "x", then=f"{STUBBORN}\n{TELL}\nopen('go').read()"))
    answer = script(environ(), quiet)
    assert next(answer) == b"x\n"
    pid = stand.told()
    script.close()
    assert not alive(pid)
    with pytest.raises(AppError, match=r"script\.killed"):
        list(answer)
    answer.close()
    assert ask(script).status == "503 Service Unavailable"


def test_many_at_once(stand: Stand) -> None:
    script = stand.script(BOTH_WAYS)
    failed: list[object] = []

    def run(number: int) -> None:
        body = bytes([number]) * 200_000
        for in_memory in (True, False):
            asked = environ("POST", body) if in_memory else uploaded(len(body), [body])
            out = ask(script, asked)
            if bytes(out.body) != body:
                failed.append(out)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []

"""Something tried in a child: how it ends is told, whatever it does."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gatebridge.errors import AppError, ConfigError
from gatebridge.serve.trial import run_apart

DEADLINE_S = 20.0


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def failed(work) -> ConfigError:
    before = children()  # other tests' daemons
    with pytest.raises(ConfigError) as raised:
        run_apart(work, DEADLINE_S)
    assert children() <= before  # it is reaped
    return raised.value


def refuse() -> None:
    raise AppError("app.import", "é\n" * 200_000)


def test_what_goes_well_says_nothing_and_stays_there() -> None:
    run_apart(lambda: os.environ.update(TRIED="1"), DEADLINE_S)
    assert "TRIED" not in os.environ


def test_our_errors_keep_their_code() -> None:
    error = failed(refuse)
    assert error.code == "app.import"
    assert error.detail.startswith("é\né")


def test_other_errors_come_with_their_traceback() -> None:
    error = failed(lambda: [][0])
    assert error.code == "trial.failed"
    assert "IndexError" in error.detail
    assert "Traceback" in error.detail


@pytest.mark.parametrize(("work", "words"), [
    (lambda: sys.exit(3), "SystemExit(3)"),
    (lambda: os._exit(3), "status 3"),
    (lambda: os.kill(os.getpid(), signal.SIGSEGV), "SIGSEGV"),
], ids=["exit", "_exit", "killed"])  # fmt: skip
def test_however_it_ends(work, words: str) -> None:
    assert words in failed(work).detail


def test_its_output_is_no_outcome() -> None:
    code = (
        "from gatebridge.serve.trial import run_apart\n"
        "print('before')\n"
        "run_apart(lambda: print('loading'), 20)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("before\n", "loading\n")


def test_threads_and_children_of_it_hold_nobody() -> None:
    read, write = os.pipe()

    def linger() -> None:
        threading.Thread(target=lambda: time.sleep(600)).start()
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        os.write(write, b"%d" % pid)

    run_apart(linger, DEADLINE_S)
    os.kill(int(os.read(read, 20)), signal.SIGKILL)
    os.close(read)
    os.close(write)


def test_it_has_an_end() -> None:
    with pytest.raises(ConfigError) as raised:
        run_apart(lambda: time.sleep(600), 0.1)
    assert raised.value.code == "trial.timeout"

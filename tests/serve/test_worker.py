"""A worker's signals: TERM drains, a second one is quick, INT is quick, USR1 reopens logs."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.serve.gated import Gated, answer, gated, wait_until

POLLERS = ("epoll", "selectors")


@pytest.fixture(params=POLLERS)
def poller(request) -> str:
    return request.param


def refuses(live: Gated) -> bool:
    """Nobody listens any more."""
    try:
        live.connect().close()
    except OSError:
        return True
    return False


STOPPED = {signal.SIGTERM: 0, signal.SIGQUIT: 0, signal.SIGINT: 130}


@pytest.mark.parametrize("number", STOPPED)
def test_F115_an_idle_daemon_ends_and_removes_its_socket(tmp_path, number) -> None:
    with gated(tmp_path) as live:
        assert live.get("/fast").body == b"fast"
        live.signal(number)
        assert live.wait() == STOPPED[number]
        assert not Path(live.path).exists()
        assert "stopped" in live.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_F115_TERM_finishes_what_is_under_way(tmp_path: Path, number: int, poller: str) -> None:
    with gated(tmp_path, poller=poller) as live:
        gate = live.gate("g")
        with live.send("/hold/g") as sock:
            gate.entered()
            live.signal(number)
            assert wait_until(lambda: refuses(live))
            gate.release()
            assert answer(sock).body == b"held g"
        assert live.wait() == 0


def test_F115_TERM_finishes_what_is_queued_too(tmp_path: Path, poller: str) -> None:
    """One thread, held: the others wait in the worker and in the kernel's queue."""
    with gated(tmp_path, "--threads", "1", poller=poller) as live:
        gate = live.gate("g")
        socks = [live.send("/hold/g")]
        gate.entered()
        socks += [live.send("/fast") for _ in range(5)]
        live.signal(signal.SIGTERM)
        assert wait_until(lambda: refuses(live))
        gate.release()
        bodies = [answer(sock).body for sock in socks]
        for sock in socks:
            sock.close()
        assert bodies == [b"held g"] + [b"fast"] * 5
        assert live.wait() == 0


def test_F115_an_upload_under_way_is_finished(tmp_path: Path, poller: str) -> None:
    with gated(tmp_path, poller=poller) as live:
        data = live.request("/body", body=b"x" * 100_000)
        with live.connect() as sock:
            sock.sendall(data[:50_000])
            live.get("/fast")  # accepted after the first
            live.signal(signal.SIGTERM)
            assert wait_until(lambda: refuses(live))
            sock.sendall(data[50_000:])
            assert answer(sock).body == b"100000"
        assert live.wait() == 0


def test_F115_kept_connections_that_are_idle_do_not_hold_it_up(tmp_path: Path) -> None:
    with gated(tmp_path, "--graceful-timeout", "1000") as live:
        socks = [live.connect() for _ in range(3)]
        for sock in socks:
            sock.sendall(live.request("/fast", keep=True))
            assert answer(sock).body == b"fast"
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
        for sock in socks:
            assert sock.recv(1) == b""
            sock.close()


def test_F115_silent_connections_do_not_hold_it_up(tmp_path: Path) -> None:
    with gated(tmp_path, "--graceful-timeout", "1000") as live:
        with live.connect(), live.connect() as half:
            half.sendall(b"\x01")
            live.get("/fast")
            half.close()
            live.signal(signal.SIGTERM)
            assert live.wait() == 0


def test_a_second_TERM_is_quick(tmp_path: Path) -> None:
    with gated(tmp_path, "--graceful-timeout", "1000") as live:
        gate = live.gate("g")
        with live.send("/hold/g") as sock:
            gate.entered()
            live.signal(signal.SIGTERM)
            assert wait_until(lambda: refuses(live))
            live.signal(signal.SIGTERM)
            assert live.wait() == 0
            assert answer_or_nothing(sock) == b""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGQUIT])
def test_so_is_any_that_stops_after_a_TERM(tmp_path: Path, second: int) -> None:
    with gated(tmp_path, "--graceful-timeout", "1000") as live:
        gate = live.gate("g")
        with live.send("/hold/g"):
            gate.entered()
            live.signal(signal.SIGTERM)
            assert wait_until(lambda: refuses(live))
            live.signal(second)
            assert live.wait() == STOPPED[second]


def answer_or_nothing(sock: socket.socket) -> bytes:
    sock.settimeout(20)
    try:
        return sock.recv(65_536)
    except ConnectionResetError:
        return b""


def test_INT_is_quick(tmp_path: Path) -> None:
    with gated(tmp_path, "--graceful-timeout", "1000") as live:
        gate = live.gate("g")
        with live.send("/hold/g") as sock:
            gate.entered()
            live.signal(signal.SIGINT)
            assert live.wait() == STOPPED[signal.SIGINT]
            assert answer_or_nothing(sock) == b""
        assert not Path(live.path).exists()


def test_the_graceful_time_has_an_end(tmp_path: Path) -> None:
    with gated(tmp_path, "--graceful-timeout", "0.1") as live:
        gate = live.gate("g")
        with live.send("/hold/g"):
            gate.entered()
            live.signal(signal.SIGTERM)
            assert live.wait() == 0
        assert "1 requests did not end in time" in live.log()


def test_HUP_and_PIPE_change_nothing(tmp_path: Path) -> None:
    with gated(tmp_path) as live:
        live.signal(signal.SIGHUP)
        live.signal(signal.SIGPIPE)
        assert live.get("/fast").body == b"fast"
        assert live.stop() == 0


def test_USR1_reopens_both_logs(tmp_path: Path) -> None:
    error, access = tmp_path / "e.log", tmp_path / "a.log"
    options = ("--error-logfile", str(error), "--access-logfile", str(access))
    with gated(tmp_path, *options) as live:
        live.get("/say/before")
        assert wait_until(lambda: "before" in access.read_text())
        error.rename(tmp_path / "e.1")
        access.rename(tmp_path / "a.1")
        live.signal(signal.SIGUSR1)
        assert wait_until(lambda: error.exists() and access.exists())
        live.get("/say/after")
        assert wait_until(lambda: "after" in access.read_text())
        assert "app.says said" in error.read_text()
        assert "after" not in (tmp_path / "a.1").read_text()
        assert live.stop() == 0
        assert "stopped" in error.read_text()


def test_USR1_while_a_request_is_under_way_and_while_draining(tmp_path: Path) -> None:
    access = tmp_path / "a.log"
    with gated(tmp_path, "--access-logfile", str(access)) as live:
        gate = live.gate("g")
        with live.send("/hold/g") as sock:
            gate.entered()
            live.signal(signal.SIGUSR1)
            live.signal(signal.SIGTERM)
            assert wait_until(lambda: refuses(live))
            access.rename(tmp_path / "a.1")
            live.signal(signal.SIGUSR1)
            assert wait_until(access.exists)
            gate.release()
            assert answer(sock).body == b"held g"
        assert live.wait() == 0
        # the worker may hear of the new file a moment later than we see it
        assert (access.read_text() + (tmp_path / "a.1").read_text()).count("/hold/g") == 1


@pytest.mark.parametrize("count", [25])
def test_many_signals_at_once(tmp_path: Path, count: int) -> None:
    with gated(tmp_path, "--access-logfile", str(tmp_path / "a.log")) as live:
        for _ in range(count):
            live.signal(signal.SIGUSR1)
            live.signal(signal.SIGHUP)
        assert live.get("/fast").body == b"fast"
        live.signal(signal.SIGTERM)
        assert live.wait() == 0


def test_T23_a_new_daemon_may_have_the_path_while_the_old_one_drains(tmp_path: Path) -> None:
    """The old one's exit must not take the new one's socket away."""
    with gated(tmp_path) as old:
        gate = old.gate("g")
        with old.send("/hold/g") as sock:
            gate.entered()
            old.signal(signal.SIGTERM)
            assert wait_until(lambda: not Path(old.path).exists())
            assert wait_until(lambda: refuses(old))
            other = tmp_path / "new"
            other.mkdir()
            with gated(other, bind=f"unix:{old.path}") as new:
                gate.release()
                assert answer(sock).body == b"held g"
                assert old.wait() == 0
                assert os.path.exists(old.path)
                new.path = old.path
                assert new.get("/fast").body == b"fast"


def test_T23_a_second_daemon_on_a_live_path_is_refused(tmp_path: Path) -> None:
    with gated(tmp_path) as live:
        other = tmp_path / "new"
        other.mkdir()
        with pytest.raises(AssertionError, match="did not come up"):
            Gated(other, bind=f"unix:{live.path}")
        assert "bind.in_use" in (other / "error.log").read_text()
        assert live.get("/fast").body == b"fast"


def test_T23_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    with gated(tmp_path) as live:
        live.process.kill()
        live.process.wait()
        assert os.path.exists(live.path)
        assert wait_until(lambda: refuses(live))  # its workers die a moment later
        live.log_path.write_text("")
        with gated(tmp_path) as again:
            assert again.get("/fast").body == b"fast"


def test_T23_a_socket_file_removed_meanwhile_is_no_error_at_the_end(tmp_path: Path) -> None:
    with gated(tmp_path) as live:
        os.unlink(live.path)
        assert live.stop() == 0
    assert "Traceback" not in live.log()


def test_T8_the_daemons_socket_has_mode_0660(tmp_path: Path) -> None:
    with gated(tmp_path) as live:
        assert os.stat(live.path).st_mode & 0o777 == 0o660


def test_T22_nothing_but_0_to_2_reaches_a_child(tmp_path: Path) -> None:
    options = ("--access-logfile", str(tmp_path / "a"), "--error-logfile", str(tmp_path / "e"))
    with gated(tmp_path, *options) as live:
        assert live.get("/fds").body == b""


# -- logs that cannot be written


def test_a_dead_log_pipe_does_not_stop_the_service(tmp_path: Path) -> None:
    read, write = os.pipe()
    live = Gated(tmp_path, "--access-logfile", "-", output=write)
    try:
        os.close(write)
        assert live.get("/say").body == b"fast"
        os.close(read)
        for _ in range(5):
            assert live.get("/say").body == b"fast"
            assert live.get("/fail").status == 500
    finally:
        assert live.stop() == 0


def test_a_full_log_disk_does_not_stop_the_service(tmp_path: Path) -> None:
    options = ("--access-logfile", "/dev/full", "--error-logfile", "/dev/full")
    with gated(tmp_path, *options) as live:
        for _ in range(3):
            assert live.get("/say").body == b"fast"
            assert live.get("/fail").status == 500
        assert live.stop() == 0

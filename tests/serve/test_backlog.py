"""The kernel's queue of a listening socket: three who connected and were not accepted are three."""

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.serve import backlog
from gatebridge.serve.backlog import queue

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")


@contextlib.contextmanager
def listener(kind: str, path: Path) -> Iterator[socket.socket]:
    family = {"tcp": socket.AF_INET, "tcp6": socket.AF_INET6}.get(kind, socket.AF_UNIX)
    address: object = {
        "tcp": ("127.0.0.1", 0),
        "tcp6": ("::1", 0),
        "unix": str(path),
        "abstract": f"\0gatebridge-test-{os.getpid()}",
    }[kind]
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(address)
        except OSError as error:
            pytest.skip(f"no {kind} here: {error}")
        sock.listen(17)
        yield sock


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "unix", "abstract"])
def test_those_who_wait_are_counted(kind: str, tmp_path: Path) -> None:
    with listener(kind, tmp_path / "s") as sock, contextlib.ExitStack() as stack:
        told = queue(sock)
        if told is None:
            pytest.skip("this kernel does not tell (unix_diag)")
        assert told == (0, 17)
        for count in (1, 2, 3):
            peer = stack.enter_context(socket.socket(sock.family, socket.SOCK_STREAM))
            peer.connect(sock.getsockname())
            assert queue(sock) == (count, 17)
        for left in (2, 1, 0):
            stack.enter_context(sock.accept()[0])
            assert queue(sock) == (left, 17)


def test_a_client_that_left_waits_all_the_same(tmp_path: Path) -> None:
    with listener("unix", tmp_path / "s") as sock:
        if queue(sock) is None:
            pytest.skip("this kernel does not tell (unix_diag)")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(sock.getsockname())
        assert queue(sock) == (1, 17)


def test_a_socket_that_does_not_listen_has_no_queue() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        assert queue(sock) is None
    assert queue(sock) is None  # closed


def test_asking_leaves_nothing_open(tmp_path: Path) -> None:
    with listener("unix", tmp_path / "s") as sock:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            queue(sock)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_kernel_without_netlink_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_NETLINK_SOCK_DIAG", 9999)
    with listener("unix", tmp_path / "s") as sock:
        assert queue(sock) is None


ANSWERS = [
    ("an error", struct.pack("=IHHII i", 20, 2, 0, 1, 0, -2), None),
    ("nothing about the queue", struct.pack("=IHHII 16x", 32, 20, 0, 1, 0), None),
    ("an attribute of no length", struct.pack("=IHHII 16x HH", 36, 20, 0, 1, 0, 0, 9), None),
    (
        "another attribute first",
        struct.pack("=IHHII 16x HH B3x HHII", 52, 20, 0, 1, 0, 5, 6, 1, 12, 4, 3, 17),
        (3, 17),
    ),
]


@pytest.mark.parametrize(("answer", "told"), [row[1:] for row in ANSWERS],
                         ids=[row[0] for row in ANSWERS])  # fmt: skip
def test_answers(answer: bytes, told: tuple[int, int] | None) -> None:
    assert backlog._parse(answer) == told


@pytest.mark.parametrize("cut", range(16))
def test_a_cut_answer_is_no_answer(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "_tcp", lambda sock: backlog._parse(b"\0" * cut))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        assert queue(sock) is None

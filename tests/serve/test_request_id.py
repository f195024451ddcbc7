"""A request's id: the front server's where it sends a sane one, else one of our own."""

import os
import threading

import pytest

from gatebridge.serve.request_id import KEY, request_id

# Another test may have left a thread, and Python 3.12 and later say so.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

GIVEN = [
    "r1",
    "0",
    "5f2b3c1e9a774d0c8e1f2a3b4c5d6e7f",  # nginx, $request_id
    "8f14e45f-ceea-467f-a9d1-2b5c8d0e6a3b",
    "01HQZX3V7C9K2M4N5P6R7S8T9V",
    "Root=1-67891233-abcdef012345678912345678",  # AWS
    "YWJjZA==",
    "a/b+c",
    "urn:uuid:1",
    "projects/x@y~z_1.2$3",
    "x" * 128,
]


@pytest.mark.parametrize("text", GIVEN)
def test_the_front_servers_is_taken(text: str) -> None:
    environ: dict[str, object] = {"HTTP_X_REQUEST_ID": text}
    assert request_id(environ) == text
    assert environ[KEY] == text
    assert environ["HTTP_X_REQUEST_ID"] == text


INSANE = [
    "",
    " ",
    "a b",
    "a, b",  # two fields of one name
    "a,b",
    "x" * 129,
    "a\nb",
    "a\n",
    "a\0",
    'a"b',
    "a'b",
    "a\\b",
    "<script>",
    "$(reboot)",
    "-rf",
    "../../etc/passwd",
    "{{7*7}}",
    "caf\xe9",
    "\u0661",
    "a;b",
    "a%0a",
]


@pytest.mark.parametrize("text", INSANE, ids=map(repr, INSANE))
def test_T19_what_is_no_id_is_replaced(text: str) -> None:
    environ: dict[str, object] = {"HTTP_X_REQUEST_ID": text}
    found = request_id(environ)
    assert found != text
    assert found.isascii()
    assert environ["HTTP_X_REQUEST_ID"] == text  # the application sees what was sent


def test_apaches_mod_unique_id_gives_one_too() -> None:
    assert request_id({"UNIQUE_ID": "Zx3v7C9K2M4N5P6R7S8T9V"}) == "Zx3v7C9K2M4N5P6R7S8T9V"
    assert request_id({"UNIQUE_ID": "u", "HTTP_X_REQUEST_ID": "x"}) == "x"


def test_asked_twice_it_is_the_same() -> None:
    environ: dict[str, object] = {}
    assert request_id(environ) == request_id(environ) == environ[KEY]


@pytest.mark.parametrize("other", [None, 5, b"x", object()])
def test_what_an_application_puts_there_is_no_trap(other: object) -> None:
    assert isinstance(request_id({KEY: other, "HTTP_X_REQUEST_ID": other}), str)


def test_two_requests_have_two() -> None:
    assert len({request_id({}) for _ in range(10_000)}) == 10_000


def test_in_many_threads_too() -> None:
    found: list[list[str]] = [[] for _ in range(8)]

    def ask(mine: list[str]) -> None:
        mine += [request_id({}) for _ in range(5000)]

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for mine in found for one in mine}) == 40_000


def test_a_forked_worker_makes_others() -> None:
    """Workers of a stem begin with the same memory."""
    seen = []
    for _ in range(3):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, request_id({}).encode())
            os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        seen.append(os.read(read, 99))
        os.close(read)
    assert len({*seen, request_id({}).encode()}) == 4

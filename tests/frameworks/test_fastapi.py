"""FastAPI beyond the table: what runs behind an answer, and at the daemon's start and end."""

from collections.abc import Iterator

import pytest

from tests.frameworks.stand import Framework, Place, Stand
from tests.suite.modes import wait_until

FASTAPI = Framework("fastapi_asgi")
PLACE = Place("nginx-fastcgi-app", "/app")


@pytest.fixture
def stand() -> Iterator[Stand]:
    made = Stand([FASTAPI])
    try:
        yield made
    finally:
        made.close()


def test_lifespan_background_tasks_and_dependencies(stand: Stand) -> None:
    def count(name: str) -> int:
        path = stand.folder / f"fastapi.{name}"
        return len(path.read_text()) if path.exists() else 0

    found = stand.ask(FASTAPI.name, PLACE, "/after")
    assert found.body == b'{"what":"borrowed"}', stand.trouble(FASTAPI.name, PLACE)
    assert wait_until(lambda: count("after") == 1)
    assert wait_until(lambda: count("given-back") == 1)
    assert count("began") == 2  # each pool's worker
    assert count("ended") == 0
    process = stand.daemons[FASTAPI.name]
    process.terminate()
    assert process.wait(30) == 0
    assert count("ended") == 2

"""One table of expectations for all frameworks, at every place."""

import hashlib
import json
import urllib.parse
from collections.abc import Callable, Iterator

import pytest

from tests.frameworks.apps.said import PIECES
from tests.frameworks.stand import Answer, Framework, Place, Stand, places
from tests.frameworks.table import FRAMEWORKS

CASES = [
    pytest.param(framework, place, id=f"{framework.name}-{place.name}")
    for framework in FRAMEWORKS
    for place in places(framework)
]
FILE = bytes(range(256)) * 4096  # 1 MiB
BOUNDARY = "----boundary"


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    made = Stand(FRAMEWORKS)
    try:
        yield made
    finally:
        made.close()


class Asked:
    """What a row needs: ask, and what is right at this place."""

    def __init__(self, stand: Stand, framework: Framework, place: Place) -> None:
        self.stand = stand
        self.framework = framework.name
        self.without_mount = framework.without_mount
        self.place = place
        self.mount = place.mount
        self.origin = f"http://{stand.netloc(framework.name, place)}"

    def __call__(self, target: str, *args: object, status: int = 200, **more: object) -> Answer:
        found = self.stand.ask(self.framework, self.place, target, *args, **more)  # type: ignore[arg-type]
        shown = f"{found.status} {found.headers} {found.body[:2000]!r}"
        assert found.status == status, f"{shown}\n{self.trouble()}"
        return found

    def mount_in(self, what: str) -> str:
        return "" if what in self.without_mount else self.mount

    def json(self, target: str, *args: object, **more: object) -> dict:
        return json.loads(self(target, *args, **more).body)

    def trouble(self) -> str:
        return self.stand.trouble(self.framework, self.place)


def multipart(name: str, data: bytes, field: str) -> tuple[bytes, dict[str, str]]:
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="field"\r\n\r\n{field}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + data
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def urls(ask: Asked) -> None:
    """What it was asked and what it builds have the mount; the client is the browser."""
    query = urllib.parse.urlencode({"q": "ä b"})
    said = ask.json(f"/hello?{query}")
    said["url"] = urllib.parse.unquote_plus(said["url"])  # Flask's is for people
    assert said == {
        "url": f"{ask.origin}{ask.mount_in('url')}/hello?q=ä b",
        "path": f"{ask.mount_in('path')}/hello",
        "absolute": f"{ask.origin}{ask.mount_in('absolute')}/hello",
        "client": "127.0.0.1",
        "q": "ä b",
    }, f"{said}\n{ask.trouble()}"


def names(ask: Asked) -> None:
    """A name in the path that is not ASCII."""
    name = urllib.parse.quote("é 你")
    said = ask.json(f"/name/{name}")
    assert said["name"] == "é 你"
    assert urllib.parse.unquote(said["path"]) == f"{ask.mount_in('path')}/name/é 你"


def cookies(ask: Asked) -> None:
    found = ask("/cookie", headers={"Cookie": "a=1; b=two"})
    assert json.loads(found.body) == {"a": "1", "b": "two"}
    pairs = sorted(value.partition(";")[0] for value in found.header("set-cookie"))
    assert pairs == ["first=1", "second=2"]


def uploads(ask: Asked) -> None:
    said = ask.json("/upload", *multipart("ä.bin", FILE, "ö"))
    sha = hashlib.sha256(FILE).hexdigest()
    assert said == {"name": "ä.bin", "size": len(FILE), "sha": sha, "field": "ö"}


def bodies(ask: Asked) -> None:
    """A body of a kind that no framework parses."""
    data = FILE * 2
    said = ask.json("/raw", data, {"Content-Type": "application/octet-stream"})
    assert said == {"size": len(data), "sha": hashlib.sha256(data).hexdigest()}


def streams(ask: Asked) -> None:
    """The application goes on only when the client has the first piece."""
    gate = f"{ask.framework}-{ask.place.name}.gate"
    if not ask.place.is_cgi:
        ask.stand.daemon(ask.framework)
    connection = ask.stand.connect(ask.place)
    try:
        headers = {"Host": ask.stand.netloc(ask.framework, ask.place)}
        connection.request("GET", f"{ask.mount}/stream?gate={gate}", headers=headers)
        response = connection.getresponse()
        assert response.status == 200, ask.trouble()
        assert response.read(len(PIECES[0])) == PIECES[0]
        (ask.stand.folder / gate).touch()
        assert response.read() == b"".join(PIECES[1:]), ask.trouble()
    finally:
        connection.close()


def redirects(ask: Asked) -> None:
    path = f"{ask.mount}/hello"
    found = ask.stand.ask(ask.framework, ask.place, "/away")
    assert found.status in (302, 303, 307), f"{found.status}\n{ask.trouble()}"
    (location,) = found.header("location")
    assert location in (path, ask.origin + path)


def errors(ask: Asked) -> None:
    found = ask("/fail", status=500)
    assert b"a failure" not in found.body
    assert b"Traceback" not in found.body


def unknown(ask: Asked) -> None:
    ask("/nothing", status=404)


ROWS = (urls, names, cookies, uploads, bodies, streams, redirects, errors, unknown)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
@pytest.mark.parametrize(("framework", "place"), CASES)
def test_row(
    stand: Stand, framework: Framework, place: Place, row: Callable[[Asked], None]
) -> None:
    row(Asked(stand, framework, place))

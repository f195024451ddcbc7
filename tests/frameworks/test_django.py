"""Django beyond the table: admin, a large upload, asynchronous views."""

import hashlib
import re
import urllib.parse
from collections.abc import Iterator
from http.cookies import SimpleCookie

import pytest

from tests.frameworks.stand import Framework, Place, Stand, places
from tests.frameworks.test_rows import Asked, multipart

BOTH = (Framework("django_wsgi"), Framework("django_asgi"))
CASES = [
    pytest.param(framework, place, id=f"{framework.name}-{place.name}")
    for framework in BOTH
    for place in places(framework)
    if place.name in ("nginx-fastcgi-root", "nginx-uwsgi-app", "apache-cgi")
]


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    made = Stand(BOTH)
    try:
        made.python("from tests.frameworks.apps.django_site import make_database; make_database()")
        yield made
    finally:
        made.close()


@pytest.fixture
def ask(stand: Stand, request: pytest.FixtureRequest) -> Asked:
    framework, place = request.param
    return Asked(stand, framework, place)


def each(*names: str) -> pytest.MarkDecorator:
    """ask at each of the cases."""
    pairs = [(one.values[0], one.values[1]) for one in CASES]
    ids = [str(one.id) for one in CASES]
    return pytest.mark.parametrize("ask", pairs, ids=ids, indirect=True)


class Browser:
    """Keeps cookies."""

    def __init__(self, ask: Asked) -> None:
        self.ask = ask
        self.cookies: dict[str, str] = {}

    def __call__(self, target: str, form: dict[str, str] | None = None, status: int = 200) -> bytes:
        headers = {"Cookie": "; ".join(f"{name}={self.cookies[name]}" for name in self.cookies)}
        body = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Referer"] = self.ask.origin + target
            body = urllib.parse.urlencode(form).encode()
        found = self.ask(target, body, headers, status=status)
        for value in found.header("set-cookie"):
            for name, morsel in SimpleCookie(value).items():
                self.cookies[name] = morsel.value
        self.location = (found.header("location") or [""])[0]
        return found.body


@each()
def test_admin(ask: Asked) -> None:
    browser = Browser(ask)
    browser("/admin/", status=302)
    assert browser.location == f"{ask.mount}/admin/login/?next={ask.mount}/admin/"
    page = browser("/admin/login/").decode()
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[0]
    form = {"csrfmiddlewaretoken": token, "username": "admin", "password": "secret"}
    browser("/admin/login/", {**form, "next": f"{ask.mount}/admin/"}, status=302)
    assert browser.location == f"{ask.mount}/admin/"
    page = browser("/admin/").decode()
    assert "Site administration" in page
    assert f'href="{ask.mount}/admin/auth/user/"' in page
    assert "admin@example.test" in browser("/admin/auth/user/").decode()


@each()
def test_upload_of_50_mb(ask: Asked) -> None:
    data = bytes(range(256)) * (50 * 4096)
    said = ask.json("/upload", *multipart("large.bin", data, "of 50 MB"))
    assert said["size"] == 50 << 20
    assert said["sha"] == hashlib.sha256(data).hexdigest()


@each()
def test_asynchronous_view(ask: Asked) -> None:
    assert ask.json("/slowly") == {"async": True}


@pytest.mark.parametrize("framework", BOTH, ids=lambda one: one.name)
def test_its_lifespan_error_is_no_news(stand: Stand, framework: Framework) -> None:
    """Django raises ValueError on lifespan: an application that supports none."""
    stand.ask(framework.name, Place("nginx-fastcgi-root", ""), "/hello")
    log = stand.log(framework.name)
    assert "Traceback" not in log
    assert "error" not in log

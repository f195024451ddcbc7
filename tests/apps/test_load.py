"""An application by name: what is understood, and a sentence for what is not."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.apps.load import load
from gatebridge.errors import ConfigError

MODULE = """
def application(environ, start_response):
    return [b"application"]

def app(environ, start_response):
    return [b"app"]

class Holder:
    @staticmethod
    def inner(environ, start_response):
        return [b"inner"]

holder = Holder()

class Callable:
    def __call__(self, environ, start_response):
        return [b"callable"]

called = Callable()

def factory():
    return app

def broken_factory():
    raise ValueError("no database")

def factory_of_nothing():
    return None

number = 5
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of modules; what a test imports is forgotten again."""
    modules, path = set(sys.modules), list(sys.path)
    (tmp_path / "shop_of_tests.py").write_text(MODULE)
    package = tmp_path / "pack_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "web.py").write_text("from shop_of_tests import app\n")
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def answer(target: str, folder: Path) -> bytes:
    (body,) = load(target, str(folder))({}, None)
    return body


FORMS = [
    ("shop_of_tests:app", b"app"),
    ("shop_of_tests:application", b"application"),
    ("shop_of_tests", b"application"),
    ("shop_of_tests:Holder.inner", b"inner"),
    ("shop_of_tests:holder.inner", b"inner"),
    ("shop_of_tests:called", b"callable"),
    ("shop_of_tests:factory()", b"app"),
    ("pack_of_tests.web:app", b"app"),
    ("pack_of_tests.web", b"app"),
]


@pytest.mark.parametrize(("target", "body"), FORMS, ids=[row[0] for row in FORMS])
def test_a_module(folder: Path, target: str, body: bytes) -> None:
    assert answer(target, folder) == body


@pytest.mark.parametrize("name", ["site.py", "site.wsgi", "site.cgi", "site.fcgi", "my-site.1.py"])
@pytest.mark.parametrize("attribute", ["", ":app", ":factory()"])
def test_a_file(folder: Path, name: str, attribute: str) -> None:
    (folder / name).write_text(MODULE)
    body = b"app" if attribute else b"application"
    assert answer(str(folder / name) + attribute, folder) == body


def test_a_file_imports_its_neighbours(folder: Path, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "neighbour_of_tests.py").write_text("name = b'neighbour'\n")
    (other / "site.wsgi").write_text(
        "import neighbour_of_tests\n"
        "def application(environ, start_response):\n    return [neighbour_of_tests.name]\n"
    )
    assert answer(str(other / "site.wsgi"), folder) == b"neighbour"


def test_two_files_of_one_name_are_two(folder: Path) -> None:
    for place, body in (("a", "1"), ("b", "2")):
        (folder / place).mkdir()
        (folder / place / "site.py").write_text(
            f"def app(environ, start_response):\n    return [b'{body}']\n"
        )
    assert answer(str(folder / "a" / "site.py"), folder) == b"1"
    assert answer(str(folder / "b" / "site.py"), folder) == b"2"


def test_the_search_goes_application_app_create_app(folder: Path) -> None:
    code = "def create_app():\n    return lambda environ, start_response: [b'created']\n"
    (folder / "only_of_tests.py").write_text(code)
    assert answer("only_of_tests", folder) == b"created"
    (folder / "both_of_tests.py").write_text(code + "app = lambda e, s: [b'app']\n")
    assert answer("both_of_tests", folder) == b"app"


def test_the_folder_comes_before_the_installed(folder: Path) -> None:
    (folder / "this.py").write_text(MODULE)  # the standard library has one too
    assert answer("this:app", folder) == b"app"


WRONG = [
    ("no_such_module:app", "app.not_found", "no_such_module"),
    ("no_such_module.sub:app", "app.not_found", "no_such_module"),
    ("pack_of_tests.no_such:app", "app.not_found", "no_such"),
    ("no/such/file.py", "app.not_found", "file.py"),
    ("shop_of_tests:ap", "app.no_attribute", "'app'"),
    ("shop_of_tests:holder.iner", "app.no_attribute", "'inner'"),
    ("shop_of_tests:no_such_thing()", "app.no_attribute", "no_such_thing"),
    ("shop_of_tests:number", "app.type", "int"),
    ("shop_of_tests:number()", "app.type", "number"),
    ("shop_of_tests:factory_of_nothing()", "app.type", "NoneType"),
    ("shop_of_tests:broken_factory()", "app.import", "no database"),
    ("pack_of_tests", "app.no_attribute", "MODULE:NAME"),
    ("", "app.", ""),
    (":app", "app.", ""),
    (".relative:app", "app.", ""),
    ("shop_of_tests:", "app.", ""),
]


@pytest.mark.parametrize(("target", "code", "word"), WRONG, ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_told_by_code_and_sentence(
    folder: Path, target: str, code: str, word: str
) -> None:
    if target == "shop_of_tests:":  # a module alone, with a colon too many
        assert answer(target, folder) == b"application"
        return
    with pytest.raises(ConfigError) as raised:
        load(target, str(folder))
    assert raised.value.code.startswith(code)
    assert word in raised.value.detail


FAILS = [
    ("raises", "raise ValueError('no database')", "app.import", "no database"),
    ("exits", "raise SystemExit(3)", "app.import", "SystemExit"),
    ("syntax", "def (:", "app.import", "SyntaxError"),
    ("misses a module", "import no_such_module_of_tests", "app.import", "no_such_module_of_tests"),
    ("misses a name", "from os import no_such_name", "app.import", "no_such_name"),
    ("recurses", "def f(): f()\nf()", "app.import", "RecursionError"),
]


@pytest.mark.parametrize(("name", "text", "code", "word"), FAILS, ids=[row[0] for row in FAILS])
@pytest.mark.parametrize("kind", ["module", "file"])
def test_an_import_that_fails_says_where(
    folder: Path, name: str, text: str, code: str, word: str, kind: str
) -> None:
    (folder / "fails_of_tests.py").write_text(f"\n\n{text}\n")
    target = "fails_of_tests" if kind == "module" else str(folder / "fails_of_tests.py")
    with pytest.raises(ConfigError) as raised:
        load(target, str(folder))
    assert raised.value.code == code
    assert word in raised.value.detail

"""CGI programs by exec: the rows every mode has, and the languages only this one takes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.apps.execute import Execute
from gatebridge.apps.options import ScriptOptions
from gatebridge.apps.script import Script
from tests.apps.hosted import (
    ANY_PYTHON,
    LANGUAGES,
    PYTHON,
    PYTHONS,
    Row,
    ask,
    check,
    compiled,
    environ,
    python_of,
    write,
)


@pytest.fixture
def launcher() -> Iterator[Execute]:
    made = Execute()
    yield made
    made.close()


@pytest.mark.parametrize("row", PYTHON, ids=lambda row: row.id.replace(" ", "-"))
def test_row(row: Row, tmp_path: Path, launcher: Execute) -> None:
    check(row, tmp_path, launcher)


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages(language: str, tmp_path: Path, launcher: Execute) -> None:
    text = LANGUAGES[language]
    path = compiled(tmp_path, text) if language == "c" else write(tmp_path, text)
    script = Script(path, launcher, ScriptOptions())
    asked = environ("POST", b"body", QUERY_STRING="a=b")
    assert bytes(ask(script, asked).body) == f"{language} a=b\nbody".encode()


@pytest.mark.parametrize("version", PYTHONS)
def test_other_pythons(version: str, tmp_path: Path, launcher: Execute) -> None:
    interpreter = python_of(version)
    if not interpreter:
        pytest.skip(f"no Python {version} here")
    path = write(tmp_path, ANY_PYTHON.format(interpreter=interpreter))
    asked = environ("POST", b"body", QUERY_STRING="a=b")
    assert bytes(ask(Script(path, launcher, ScriptOptions()), asked).body) == b"python a=b\nbody"

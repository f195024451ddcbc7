"""conf/ holds what ``gatebridge conf`` prints, and each server's own test accepts it.

GATEBRIDGE_WRITE_DOCS=1 writes the samples anew (make conf).
"""

import os

import pytest

from gatebridge.errors import ConfigError
from gatebridge.front_check import check
from gatebridge.fronts.registry import SERVERS
from tests.fronts import servers
from tests.fronts_text import samples

WRITE = bool(os.environ.get("GATEBRIDGE_WRITE_DOCS"))


@pytest.mark.parametrize(("server", "form"), samples.FORMS)
def test_samples_are_what_the_command_prints(server: str, form: str) -> None:
    text = samples.made(server, form)
    path = samples.path(server, form)
    if WRITE:
        path.write_text(text, "utf-8")
    assert path.read_text("utf-8") == text, "make conf writes it anew"


def test_the_list_of_samples_is_whole() -> None:
    path = samples.FOLDER / "README.md"
    if WRITE:
        path.write_text(samples.readme(), "utf-8")
    assert path.read_text("utf-8") == samples.readme()
    named = {samples.path(*each).name for each in samples.FORMS}
    assert len(named) == len(samples.FORMS), "two forms have one sample"
    assert {each.name for each in samples.FOLDER.iterdir()} == {*named, "README.md"}


# systemd-analyze asks for the program, too, and /opt/myapp is on nobody's machine.
TESTED = [each for each in samples.FORMS if SERVERS[each[0]].check and each[0] != "systemd"]


@pytest.mark.parametrize(("server", "form"), TESTED)
def test_samples_are_accepted(server: str, form: str) -> None:
    text = samples.path(server, form).read_text("utf-8")
    try:
        accepted, words = check(SERVERS[server], form, text, "myapp")
    except ConfigError as error:
        if error.code != "conf.no_program":
            raise
        servers.absent(SERVERS[server].programs[0], SERVERS[server].package)
    assert accepted, words

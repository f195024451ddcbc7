"""The rows of the suite behind what ``gatebridge conf lighttpd`` writes."""

import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest

from tests.fronts import generated_lighttpd, lines_seen, servers
from tests.fronts.generated import ROWS, cases
from tests.fronts.generated_apache import grounds_of
from tests.fronts.generated_lighttpd import (
    ALL,
    CHECKED,
    EXTRA,
    LIGHTTPD,
    ODD_SOCKETS,
    SECURE,
    TWINS,
)
from tests.fronts.sites import Ground, Site
from tests.suite.differences import wanted
from tests.suite.modes import check
from tests.suite.stage import FrontMode, Stage
from tests.suite.streaming import check_leaving, check_streamed
from tests.suite.want import Row, Want

# As tests/suite/differences.py, looked at first. None: the row itself holds here.
DIFFERENCES: tuple[tuple[str, str, str, Want | None], ...] = (
    (
        "raise-halfway-no-length",
        "lighttpd-*-tcp-made-*",
        "a reset may overtake the head: then there is a 502",
        Want(200, cut=None),
    ),
)
# Whether its first read holds the whole upload decides between 200 and 411.
UNSURE = [("lighttpd-fastcgi-made-app-streamed", "chunked-70k")]
CASES = [case for case in cases(LIGHTTPD) if tuple(map(repr, case.values)) not in UNSURE]
WITH_FILES = [site for site in EXTRA if site.name.split("-")[1] in ("fastcgi", "scgi", "uwsgi")]


def held_to(row: Row, name: str) -> Want:
    for pattern, site, _, want in DIFFERENCES:
        if fnmatchcase(row.id.removesuffix("-validated"), pattern) and fnmatchcase(name, site):
            return want or row.want
    return wanted(row, name)


@pytest.fixture(scope="module")
def modes(stage: Stage) -> Iterator[dict[str, FrontMode]]:
    """One lighttpd with all of them, by their names."""
    folder = stage.folder / "lighttpd-made"

    def start() -> servers.Server:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        found[:] = grounds_of(stage, ALL, folder)
        return generated_lighttpd.start(found, servers.free_port())

    found: list[tuple[Site, Ground]] = []
    server = servers.start(start)
    yield {site.name: FrontMode(site, ground, server, stage) for site, ground in found}
    server.stop()


@pytest.mark.parametrize(("site", "row"), CASES)
def test_row(modes: dict[str, FrontMode], site: Site, row: Row) -> None:
    check(modes[site.name], row, held_to(row, site.name))


def test_each_difference_is_of_a_row_and_a_site() -> None:
    for pattern, name, _, _ in DIFFERENCES:
        assert [site for site in LIGHTTPD if fnmatchcase(site.name, name)], name
        assert [row for row in ROWS if fnmatchcase(row.id, pattern)], pattern


Modes = dict[str, FrontMode]


@pytest.mark.parametrize("site", EXTRA, ids=repr)
@pytest.mark.parametrize("seen", lines_seen.LINES, ids=lambda seen: seen.__name__)
def test_each_line_is_for_something(modes: Modes, site: Site, seen: lines_seen.Seen) -> None:
    seen(modes[site.name])


@pytest.mark.parametrize("site", ODD_SOCKETS, ids=repr)
def test_a_socket_of_any_name(modes: Modes, site: Site) -> None:
    assert lines_seen.environ(modes[site.name])["SCRIPT_NAME"] == "/app"


@pytest.mark.parametrize("site", TWINS, ids=repr)
def test_two_back_ends_are_both_asked(modes: Modes, site: Site) -> None:
    lines_seen.both_are_asked(modes[site.name])


@pytest.mark.parametrize("site", SECURE, ids=repr)
def test_the_application_knows_of_tls(modes: Modes, site: Site) -> None:
    lines_seen.tls_is_told(modes[site.name])


@pytest.mark.parametrize("site", CHECKED, ids=repr)
def test_a_back_end_that_is_nobody_is_left_alone(modes: Modes, site: Site) -> None:
    lines_seen.nobody_is_left_alone(modes[site.name])


@pytest.mark.parametrize("site", WITH_FILES, ids=repr)
def test_a_file_that_the_application_names(modes: Modes, site: Site) -> None:
    lines_seen.a_named_file_is_sent(modes[site.name])


STREAMED = [site for site in LIGHTTPD if site.name.endswith("-streamed")]


@pytest.mark.parametrize("site", STREAMED, ids=repr)
def test_streams_are_passed_at_once(modes: Modes, site: Site) -> None:
    check_streamed(modes[site.name], "gated")
    check_leaving(modes[site.name])

"""The rows of the suite behind what ``gatebridge conf apache`` writes, in each of its forms."""

import os
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.fronts import generated_apache, lines_seen, servers
from tests.fronts.generated import ROWS, cases
from tests.fronts.generated_apache import (
    ALL,
    APACHE,
    CHECKED,
    EXTRA,
    KEPT,
    ODD_SOCKETS,
    SECURE,
    TWINS,
    UNCHECKED,
    grounds_of,
    kept_path,
)
from tests.fronts.sites import Ground, Site
from tests.suite.differences import NO_END, wanted
from tests.suite.modes import Daemon, check, wait_until
from tests.suite.stage import FrontMode, Stage, write_shim
from tests.suite.streaming import check_leaving, check_streamed
from tests.suite.want import Row, Want
from tests.suite.wires import Req

CUTS = (
    *("raise-early", "raise-halfway*"),
    *("ends-short", "file-shorter-than-said", "exc-info-too-late"),
)
REWRITTEN = "a rewritten path may not hold an encoded percent sign or question mark"
# As tests/suite/differences.py, looked at first. None: the row itself holds here.
DIFFERENCES: tuple[tuple[str, str, str, Want | None], ...] = (
    ("path-encoded-slash", "*-htaccess-*", "AllowEncodedSlashes is the host's", Want(404)),
    ("path-encoded-slash", "apache-*", "AllowEncodedSlashes is on", None),
    ("path-double-slash-inside", "apache-http-*", "nocanon passes the raw path", None),
    ("path-double-slash", "apache-http-tcp-made-pass-app", "nocanon passes the raw path", None),
    ("headers-kept", "apache-http-*", "repeated lines stay repeated", None),
    ("path-reserved", "*-htaccess-*", REWRITTEN, Want(400)),
    ("path-query-in-path", "*-htaccess-*", REWRITTEN, Want(403)),
    ("path-query-in-path", "*-handler-root", "maps the path to a file name", Want(403)),
    ("raise-halfway-no-length", "apache-uwsgi-made-*", NO_END, Want(200)),
    ("raise-halfway-no-length", "apache-uwsgi-tcp-*", "may miss a reset", Want(200, cut=None)),
    *(
        (row, "apache-scgi-made-*", f"ignores the application's Content-Length; {NO_END}", Want())
        for row in CUTS
    ),
)


def held_to(row: Row, name: str) -> Want:
    for pattern, site, _, want in DIFFERENCES:
        if fnmatchcase(row.id.removesuffix("-validated"), pattern) and fnmatchcase(name, site):
            return want or row.want
    return wanted(row, name)


@pytest.fixture(scope="module")
def modes(stage: Stage) -> Iterator[dict[str, FrontMode]]:
    """One Apache with all of them, by their names."""
    folder = stage.folder / "apache-made"
    shim = stage.scripts() / "app-mounted.cgi"
    write_shim(stage.folder, shim, "--oneshot", "--mount", "/app")

    def start() -> servers.Server:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        found[:] = grounds_of(stage, ALL, folder)
        return generated_apache.start(found)

    binds = [f"unix:{kept_path(stage.folder, number)}" for number in range(len(KEPT))]
    stage.daemons["kept"] = Daemon(stage.folder, "kept", binds, "--threads", "4")
    found: list[tuple[Site, Ground]] = []
    server = servers.start(start)
    yield {site.name: FrontMode(site, ground, server, stage) for site, ground in found}
    server.stop()


@pytest.mark.parametrize(("site", "row"), cases(APACHE))
def test_row(modes: dict[str, FrontMode], site: Site, row: Row) -> None:
    check(modes[site.name], row, held_to(row, site.name))


def test_each_difference_is_of_a_row_and_a_site() -> None:
    for pattern, name, _, _ in DIFFERENCES:
        sites = [site for site in APACHE if fnmatchcase(site.name, name)]
        rows = [row for row in ROWS if fnmatchcase(row.id, pattern)]
        assert sites, name
        assert rows, pattern


FLUSHED = [site for site in APACHE if site.name.endswith("-flushed") or "-cgi-" in site.name]


@pytest.mark.parametrize("site", FLUSHED, ids=repr)
def test_W035_streamed(modes: dict[str, FrontMode], site: Site) -> None:
    check_streamed(modes[site.name], "gated")


# A shim that Apache starts may be killed before it has noted anything; test_streaming has those.
SERVED = [site for site in APACHE if site.daemon]


@pytest.mark.parametrize("site", SERVED, ids=repr)
def test_W038_client_leaves(modes: dict[str, FrontMode], site: Site) -> None:
    check_leaving(modes[site.name])


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


@pytest.mark.parametrize("site", UNCHECKED, ids=repr)
def test_a_back_end_that_is_nobody_is_left_alone(modes: Modes, site: Site) -> None:
    lines_seen.nobody_is_left_alone(modes[site.name])


@pytest.mark.parametrize("site", CHECKED, ids=repr)
def test_a_back_end_that_is_not_well_is_found(modes: Modes, site: Site) -> None:
    mode = modes[site.name]
    asks = "HCTCP: attempt to connect to" if "fastcgi" in site.name else "HCOH: attempt to connect"
    assert wait_until(lambda: asks in mode.server.log()), mode.server.log()[-2000:]
    lines_seen.nobody_is_left_alone(mode)  # and the one that is well was not found dead


def connected(path: str) -> int:
    """How many connections the listener at this path has accepted and not lost."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return sum(1 for words in lines if words[-1] == path and words[5] == "03")


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="Linux tells of Unix sockets")
@pytest.mark.parametrize("number", range(len(KEPT)), ids=[site.name for site in KEPT])
def test_connections_are_kept_where_asked(modes: Modes, number: int) -> None:
    mode = modes[KEPT[number].name]
    wanted = "keep0" not in mode.name
    for _ in range(3):
        assert mode.send(Req(headers=(("Suite-App", "hello"),))).body == b"hello\n"
    path = kept_path(mode.stage.folder, number)
    assert wait_until(lambda: bool(connected(path)) is wanted), connected(path)

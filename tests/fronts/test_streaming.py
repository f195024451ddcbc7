"""Pieces that arrive one by one and clients that leave, behind front servers."""

from fnmatch import fnmatchcase

import pytest

from tests.fronts.sites import Site
from tests.fronts.test_rows import SITES
from tests.suite.stage import Stage
from tests.suite.streaming import check_leaving, check_streamed

# Configurations that collect an answer before they pass it on (fnmatch), and why.
BUFFERED = "buffering is on, nginx's default"
COLLECTS = (
    ("nginx-*-stock-*", BUFFERED),
    ("nginx-fastcgi-split-*", BUFFERED),
    ("nginx-*-tcp*", BUFFERED),
    ("nginx-fastcgi-kept", BUFFERED),
    ("nginx-fastcgi-kept-tcp", BUFFERED),
    ("apache-fastcgi-*[!d]", "mod_proxy_fcgi flushes by itself only with flushpackets"),
    ("caddy-fastcgi-*[!d]", "flush_interval is 0, Caddy's default"),
    ("lighttpd-*[!d]", "stream-response-body is 0, lighttpd's default"),
    ("lighttpd-fastcgi-root-fixed", "stream-response-body is 0, lighttpd's default"),
    ("lighttpd-fastcgi-spawned", "stream-response-body is 0, lighttpd's default"),
    ("lighttpd-scgi-root-fixed", "stream-response-body is 0, lighttpd's default"),
)
# Configurations behind which a client that leaves is not noticed before the answer is whole.
NEVER_TELLS = (
    ("lighttpd-*[!d]", "takes the whole answer before it looks at the client"),
    ("lighttpd-fastcgi-root-fixed", "takes the whole answer before it looks at the client"),
    ("lighttpd-fastcgi-spawned", "takes the whole answer before it looks at the client"),
    ("lighttpd-scgi-root-fixed", "takes the whole answer before it looks at the client"),
)


def but_for(table: tuple[tuple[str, str], ...]) -> list[Site]:
    return [s for s in SITES if not any(fnmatchcase(s.name, pattern) for pattern, _ in table)]


def test_the_configurations_made_to_stream_are_tested() -> None:
    names = {site.name for site in but_for(COLLECTS)}
    made = {s.name for s in SITES if s.name.endswith(("-streamed", "-flushed", "-unbuffered"))}
    assert made
    assert made <= names


@pytest.mark.parametrize("site", but_for(COLLECTS), ids=repr)
def test_W035_streamed(stage: Stage, site: Site) -> None:
    check_streamed(stage.front(site), "gated")


@pytest.mark.parametrize("site", but_for(NEVER_TELLS), ids=repr)
def test_W038_client_leaves(stage: Stage, site: Site) -> None:
    check_leaving(stage.front(site))

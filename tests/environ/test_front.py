"""Which server is in front: told once for each SERVER_SOFTWARE, and said by whoever listens."""

import pytest

from gatebridge.environ.build import Builder
from gatebridge.environ.front import BY_NAME, UNKNOWN
from gatebridge.environ.shape import by_shape
from tests.corpus.captures import by_config
from tests.environ.making import GET, SOFTWARE, get, request
from tests.environ.replay import replay

CONFIGS = sorted(by_config())


def met(builder: Builder) -> list[tuple[str, str, str]]:
    return [(one.front, one.software, one.sign) for one in builder.met]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_capture_of_a_server_is_told_as_that_server(config: str) -> None:
    """With its name as it came; without it by the variables, or not at all, and never wrongly."""
    for capture in by_config()[config]:
        if capture.kind not in ("", "eof"):
            continue
        builder = Builder()
        builder.build(replay(capture).request)
        assert [one.front for one in builder.met] == [capture.front], capture
        sent = {name: value for name, value in capture.pairs if name != "SERVER_SOFTWARE"}
        front, sign = by_shape(sent)
        assert front in (BY_NAME[capture.front], UNKNOWN), capture
        renamed, _ = by_shape({**sent, "SERVER_SOFTWARE": "Secret/1"})
        assert renamed in (BY_NAME[capture.front], UNKNOWN), capture
        assert bool(sign) == (front is not UNKNOWN)


@pytest.mark.parametrize(
    ("names", "software", "front"),
    [
        ("DOCUMENT_ROOT REQUEST_SCHEME", "", "nginx"),
        ("DOCUMENT_ROOT REQUEST_SCHEME GATEWAY_INTERFACE", "", "unknown"),
        ("DOCUMENT_ROOT REQUEST_SCHEME", "thttpd/2", "unknown"),
        ("DOCUMENT_URI REQUEST_SCHEME", "cloud/1", "nginx"),
        ("CONTEXT_PREFIX SERVER_SIGNATURE", "Microsoft-like", "apache"),
        ("DOCUMENT_URI REMOTE_IDENT REQUEST_SCHEME", "edge", "caddy"),
        ("APPL_MD_PATH INSTANCE_META_PATH", "", "iis"),
        ("SCRIPT_NAME", "", "unknown"),
        ("HTTP_DOCUMENT_URI HTTP_REQUEST_SCHEME", "", "unknown"),
    ],
)
def test_shapes(names: str, software: str, front: str) -> None:
    sent = dict.fromkeys(names.split(), "x") | ({"SERVER_SOFTWARE": software} if software else {})
    builder = Builder()
    builder.build(request([*GET.items(), *sent.items()]))
    assert [one.front for one in builder.met] == [front]


def test_one_word_for_each_software_and_none_for_a_request() -> None:
    builder = Builder()
    for front in ("nginx", "apache", "nginx", "apache", "nginx"):
        builder.build(get(front))
    assert met(builder) == [
        ("nginx", SOFTWARE["nginx"], "SERVER_SOFTWARE"),
        ("apache", SOFTWARE["apache"], "SERVER_SOFTWARE"),
    ]
    assert builder.news
    builder.met.clear()
    builder.news = False
    builder.build(get("nginx"))
    assert not builder.news


NAMELESS = [("DOCUMENT_ROOT", "/srv"), ("REQUEST_SCHEME", "http")]


def test_a_shape_settles_it_for_every_later_request_of_that_name() -> None:
    """No guess for each request: what the first one with a sign showed holds."""
    builder = Builder()
    script = ("SCRIPT_NAME", "/x"), ("REQUEST_URI", "/x")
    first, _ = builder.build(request([*GET.items(), *script]))  # a health check
    assert (first["SCRIPT_NAME"], met(builder)) == ("/x", [("unknown", "", "")])
    builder.build(request([*GET.items(), *NAMELESS]))
    later, _ = builder.build(request([*GET.items(), *script]))
    assert later["SCRIPT_NAME"] == ""
    assert met(builder)[1:] == [("nginx", "", "DOCUMENT_ROOT, REQUEST_SCHEME")]
    builder.build(request([*GET.items(), ("APPL_MD_PATH", "x"), ("INSTANCE_META_PATH", "y")]))
    assert len(builder.met) == 2


def test_a_name_that_nobody_knows_is_settled_at_once() -> None:
    builder = Builder()
    builder.build(get("unknown"))
    builder.build(get("unknown", DOCUMENT_URI="/", REQUEST_SCHEME="http"))
    assert met(builder) == [("unknown", SOFTWARE["unknown"], "")]


def test_what_the_operator_says_counts_and_is_said() -> None:
    builder = Builder(front="nginx")
    builder.build(get("apache", CONTEXT_PREFIX="", SERVER_SIGNATURE=""))
    assert met(builder) == [("nginx", SOFTWARE["apache"], "front")]


def test_nobody_who_looks_costs_no_memory() -> None:
    builder = Builder()
    for at in range(500):
        builder.build(request([*GET.items(), ("SERVER_SOFTWARE", f"x/{at}")]))
    builder.build(request([*GET.items(), ("SERVER_SOFTWARE", "x" * 100_000)]))
    assert len(builder.met) <= 65
    assert max(len(one.software) for one in builder.met) <= 256

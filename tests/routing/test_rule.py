"""What an operator may write as a rule, and what it means."""

import pytest

from gatebridge.errors import ConfigError
from gatebridge.routing.rule import Rule, host_name, parse_rule

ROWS = [
    ("everything", "", "/", "prefix", ""),
    ("everything, as a slash", "/", "/", "prefix", ""),
    ("a prefix", "/shop", "/shop", "prefix", "/shop"),
    ("a prefix with a slash", "/shop/", "/shop", "prefix", "/shop"),
    ("a prefix in bytes", "/käse", "/käse", "prefix", "/kÃ¤se"),
    ("with a blank inside", "/a b", "/a b", "prefix", "/a b"),
    ("exact", "= /shop", "= /shop", "exact", "/shop"),
    ("exact without a blank", "=/shop", "= /shop", "exact", "/shop"),
    ("exact keeps its slash", "=  /shop/ ", "= /shop/", "exact", "/shop/"),
    ("a pattern", "~ /a/[0-9]+", "~ /a/[0-9]+", "pattern", "/a/[0-9]+"),
    ("a pattern without a blank", "~/a$", "~ /a$", "pattern", "/a$"),
    ("a pattern that ignores case", "~ (?i)/a", "~ (?i)/a", "pattern", "(?i)/a"),
    ("a pattern with a choice", "~ a|/b", "~ a|/b", "pattern", "a|/b"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "match", "kind", "path"), ROWS, ids=lambda row: str(row))
def test_a_match(name, text, match, kind, path) -> None:
    rule = parse_rule(text)
    assert (rule.match, rule.kind, rule.path) == (match, kind, path)
    assert parse_rule(rule.match) == rule  # what is shown may be typed


REFUSED = [
    ("no slash", ("shop",), "route.match"),
    ("exact without a slash", ("= shop",), "route.match"),
    ("exact without a path", ("=",), "route.match"),
    ("a query", ("/shop?x=1",), "route.match"),
    ("a fragment", ("/shop#x",), "route.match"),
    ("encoded", ("/a%20b",), "route.match"),
    ("a dot segment", ("/a/../b",), "route.match"),
    ("a newline", ("/a\nb",), "route.match"),
    ("NUL", ("= /a\0",), "route.match"),
    ("nginx's mark for no case", ("~* /a",), "route.match"),
    ("nginx's mark for no patterns", ("^~ /a",), "route.match"),
    ("a mark of nobody's", ("!~ /a",), "route.match"),
    ("an empty pattern", ("~ ",), "route.pattern"),
    ("a broken pattern", ("~ /(a",), "route.pattern"),
    ("a pattern beyond the compiler", ("~ /a{99999999999}",), "route.pattern"),
    ("a pattern for no path", ("~ shop/[0-9]+",), "route.pattern"),
    ("a port", ("/", "h.org:80"), "route.host"),
    ("a URL", ("/", "http://h.org"), "route.host"),
    ("a star in the middle", ("/", "a.*.org"), "route.host"),
    ("a star alone", ("/", "*"), "route.host"),
    ("a star without a dot", ("/", "*h.org"), "route.host"),
    ("letters that no Host header has", ("/", "käse.org"), "route.host"),
    ("a long host", ("/", "a." * 128), "route.host"),
    ("a method with a blank", ("/", "", ["GET POST"]), "route.method"),
    ("a method of nothing", ("/", "", [""]), "route.method"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "asked", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_refused(name, asked, code) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rule(*asked)
    assert caught.value.code == code
    assert ":" in caught.value.detail  # a cause, and what to do


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("Shop.Example.ORG", "shop.example.org"),
        ("shop.example.org.", "shop.example.org"),
        ("*.Example.org", "*.example.org"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        ("127.0.0.1", "127.0.0.1"),
        ("under_score.local", "under_score.local"),
        ("", ""),
    ],
)
def test_a_host(host: str, found: str) -> None:
    assert parse_rule("/", host).host == found


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("h.org", "h.org"),
        ("H.org:8080", "h.org"),
        ("h.org.", "h.org"),
        ("h.org.:80", "h.org"),
        ("[::1]:80", "[::1]"),
        ("[::1", ""),
        ("", ""),
        (":80", ""),
        ("a." * 4000, ""),
    ],
)
def test_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


def test_rules_are_equal_where_they_are_for_the_same_requests() -> None:
    assert parse_rule("/a/", "H.org", ["post", "get"]) == parse_rule("/a", "h.org", ["GET", "POST"])
    assert parse_rule("/a") != parse_rule("= /a")


def test_a_rule_in_words() -> None:
    assert str(parse_rule("/a")) == "/a"
    assert str(Rule("")) == "/"
    rule = parse_rule("= /a", "h.org", ("POST", "GET"))
    assert str(rule) == "= /a on h.org for GET, POST"

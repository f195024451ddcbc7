"""docs/routes.md: its table of requests is what a table of those rules does."""

import re
from pathlib import Path

from gatebridge.routing.rule import parse_rule
from gatebridge.routing.table import Route, Table
from tests.routing.asking import ask

TEXT = Path(__file__).parents[2].joinpath("docs", "routes.md").read_text("utf-8")


def rows(first_column: str) -> list[list[str]]:
    """The cells of the table that begins so, without their quotes."""
    start = TEXT.index(f"\n| {first_column} |")
    lines = TEXT[start:].lstrip("\n").partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def telling(name: str):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [f"{name}|{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    return app


def test_requests_get_what_the_document_says() -> None:
    rules = [
        parse_rule(match, host, methods.split(",") if methods else ())
        for match, host, methods in rows("rule")
    ]
    table = Table([Route(rule, telling(str(rule))) for rule in rules])
    requests = rows("request")
    assert len(requests) > 10
    for request, *wanted in requests:
        method, _, url = request.partition(" ")
        host, path = re.fullmatch(r"([^/]+)(/.*)", url).groups()
        _, body = ask(table, path, method=method, host=host)
        assert body.decode().split("|") == wanted, request

"""python -m tests.bench.routes, or `figures routes`: what the routing table adds to a request.

Microseconds of CPU: the table's call less the application's alone, the best of nine rounds, for
200 routes below one folder, or for 200 hosts.
"""

import time
import timeit
from typing import TYPE_CHECKING

from gatebridge.routing.rule import parse_rule
from gatebridge.routing.table import Route, Table

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application

KINDS = ("prefix", "exact")
ROUTES, CALLS, ROUNDS = 200, 20_000, 9
DEEP = "/shop/archive/2011/orders/list"


def app(environ: dict[str, object], start_response: object) -> list[bytes]:
    return []


def rules(kind: str) -> list[str]:
    """200 rules of one kind; a cgi-bin's scripts lie in one folder."""
    scripts = [f"/cgi-bin/script{number}.cgi" for number in range(ROUTES - 2)]
    if kind == "exact":
        scripts = [f"= {script}" for script in scripts]
    return [*scripts, DEEP, "/"]


def spent_us(application: "Application", path: str, host: str = "www.example.org") -> float:
    def once() -> None:
        application(
            {
                "REQUEST_METHOD": "GET",
                "SCRIPT_NAME": "",
                "PATH_INFO": path,
                "HTTP_HOST": host,
            },
            None,
        )

    return (
        min(timeit.repeat(once, timer=time.process_time, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6
    )


def run() -> None:
    last = f"/cgi-bin/script{ROUTES - 3}.cgi"
    hosts = [Route(parse_rule("/", f"h{number}.example.org"), app) for number in range(ROUTES)]
    tables = {kind: [Route(parse_rule(rule), app) for rule in rules(kind)] for kind in KINDS}
    asked = [
        ("prefix, first", tables["prefix"], "/cgi-bin/script0.cgi", ""),
        ("prefix, last and something behind it", tables["prefix"], f"{last}/a/b", ""),
        ("prefix, the deepest", tables["prefix"], f"{DEEP}/x", ""),
        ("prefix, everything else", tables["prefix"], "/x/y", ""),
        ("exact, last", tables["exact"], last, ""),
        ("host, last", hosts, "/x", f"h{ROUTES - 1}.example.org:8080"),
    ]
    for name, routes, path, host in asked:
        alone = spent_us(app, path, host)
        took = spent_us(Table(routes), path, host) - alone
        print(f"routes: {len(routes)} routes, {name}: {took:.2f} us")


if __name__ == "__main__":
    run()

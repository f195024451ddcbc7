"""What a pool does, for a person and for programs; also as pages that a front server can ask for.

The pages are PHP-FPM's: status_path, ?full with the workers and their requests, ?json; and ping.
They are answered by a worker, so a stuck pool does not answer them; `gatebridge ping` asks the
supervisor.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gatebridge.environ.trust import Trust
from gatebridge.errors import ConfigError
from gatebridge.serve.escape import escape
from gatebridge.serve.scoreboard import DRAINING, READY, STARTING, STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatebridge.engine.seams import Application
    from gatebridge.serve.scoreboard import Running, WorkerView

RUNNING_MAX = 8  # requests shown of one worker: the oldest
_STATES = (STARTING, READY, DRAINING)


def pool_summary(views: list[WorkerView]) -> dict[str, Any]:
    """A pool as the scoreboard shows it: views are those of its workers.

    The supervisor adds what only it knows, and what workers that are gone had counted.
    """
    states = [view.state for view in views]
    return {
        "workers": {STATES[state]: states.count(state) for state in _STATES},
        "threads": sum(view.threads for view in views),
        "busy": sum(len(view.running) for view in views),
        "waiting": sum(view.queued for view in views),
        "requests": sum(view.requests for view in views),
        "failed": sum(view.failed for view in views),
        "slow": sum(view.slow for view in views),
        "lost_lines": sum(view.lost for view in views),
        "rss": sum(view.rss for view in views),
        "workers_list": [_worker(view) for view in views],
    }


def _worker(view: WorkerView) -> dict[str, Any]:
    return {
        "index": view.index,
        "pid": view.pid,
        "state": STATES[view.state],
        "generation": view.generation,
        "age_s": round(view.age, 1),
        "requests": view.requests,
        "failed": view.failed,
        "slow": view.slow,
        "rss": view.rss,
        "threads": view.threads,
        "busy": len(view.running),
        "waiting": view.queued,
        "running": [_request(running) for running in view.running[:RUNNING_MAX]],
    }


def _request(running: Running) -> dict[str, Any]:
    return {
        "age_s": round(running.age, 3),
        "line": escape(running.line),
        "thread": running.thread,
        "id": escape(running.id),
    }


class StatusPage:
    """A WSGI application of two paths.

    pool         the pool's name
    read         pool_summary() of now
    status_path  "" for none; ping_path, too
    allow        REMOTE_ADDRs that are answered, with commas: addresses, networks, * for all; a
                 ping without any is answered, too: a front server's own health check has no
                 client, and who comes by another way learns no more than "pong"
    raises       ConfigError("status.allow"), ConfigError("status.path")
    """

    __slots__ = ("_ping_path", "_pool", "_read", "_status_path", "_trust", "paths")

    def __init__(
        self,
        pool: str,
        read: Callable[[], dict[str, Any]],
        status_path: str,
        ping_path: str,
        allow: str,
    ) -> None:
        self._pool = pool
        self._read = read
        self._status_path = status_path
        self._ping_path = ping_path
        self.paths = frozenset({path for path in (status_path, ping_path) if path})
        for path in self.paths:
            if not path.startswith("/"):
                raise ConfigError("status.path", f"{path!r} is no path: it begins with /")
        try:
            self._trust = Trust(tuple([item.strip() for item in allow.split(",") if item]), ())
        except ConfigError as error:
            raise ConfigError("status.allow", error.detail) from error

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        status, kind, text = self._answer(environ)
        body = text.encode("utf-8", "backslashreplace")
        headers = [
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        if status.startswith("405"):
            headers.append(("Allow", "GET, HEAD"))
        start_response(status, headers)
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]

    def _answer(self, environ: dict[str, Any]) -> tuple[str, str, str]:
        address = str(environ.get("REMOTE_ADDR", ""))
        ping = path_of(environ) == self._ping_path
        if not self._trust.believes(address) and not (ping and not address):
            return "403 Forbidden", "text/plain", "Forbidden\n"
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return "405 Method Not Allowed", "text/plain", "Method Not Allowed\n"
        if ping:
            return "200 OK", "text/plain", "pong\n"
        flags = str(environ.get("QUERY_STRING", "")).split("&")
        summary = {"pool": self._pool, **self._read()}
        if "full" not in flags:
            del summary["workers_list"]
        if "json" in flags:
            return "200 OK", "application/json", json.dumps(summary) + "\n"
        return "200 OK", "text/plain", as_text(summary)


def path_of(environ: dict[str, Any]) -> str:
    return f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"


def with_page(page: StatusPage, application: Application) -> Application:
    """The application, with the page before it."""
    paths = page.paths

    def first(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if path_of(environ) in paths:
            return page(environ, start_response)
        return application(environ, start_response)

    return first


def as_text(summary: dict[str, Any]) -> str:
    """A pool_summary(), a field a line."""
    lines = []
    for name, value in summary.items():
        if isinstance(value, dict):
            lines += [f"{key} {name}: {count}" for key, count in value.items()]
        elif not isinstance(value, list):
            lines.append(f"{name}: {value}")
    for worker in summary.get("workers_list", []):
        lines.append("")
        lines += [f"{name}: {value}" for name, value in worker.items() if name != "running"]
        for request in worker["running"]:
            id = f"  id {request['id']}" if request["id"] else ""
            lines.append(f"request: {request['age_s']:.3f} s  {request['line']}{id}")
    return escape_lines(lines)


def escape_lines(lines: list[str]) -> str:
    return "".join(f"{escape(line)}\n" for line in lines)

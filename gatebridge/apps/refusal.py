"""The short plain answers of applications that gatebridge itself brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def refuse(
    environ: dict[str, object],
    start_response: Any,
    status: str,
    line: str,
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    """A page of the reason phrase and one line. It names nothing of the request and no path."""
    text = f"{status[4:]}\n\n{line}\n".encode()
    own = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    start_response(status, [*own, *headers])
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [text]


def say(environ: dict[str, object], line: str) -> None:
    """One line for the operator."""
    errors: Any = environ["wsgi.errors"]
    errors.write(line + "\n")
    errors.flush()

"""The plain answers of the table itself, as WSGI gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def page(
    environ: dict[str, object],
    start_response: Any,
    status: str,
    line: str,
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    """The reason phrase and a sentence; headers: further ones. HEAD gets no body."""
    text = f"{status[4:]}\n\n{line}\n".encode()
    own = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    start_response(status, [*own, *headers])
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [text]

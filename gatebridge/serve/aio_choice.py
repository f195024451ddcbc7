"""Asynchronous applications among WSGI ones, and how the two are told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gatebridge.engine.aseams import AsyncOut, AsyncSource
    from gatebridge.wire.request import Request

CHOSEN: Final = "gatebridge.asgi"  # the application that a request is for, in environ


class Asynchronous(Protocol):
    """What engine.asgi.Asgi is, and whatever else is driven by an event loop."""

    async def startup(self) -> None: ...
    async def shutdown(self) -> None: ...
    def serve(
        self,
        request: Request,
        environ: dict[str, object],
        length: int,
        out: AsyncOut,
        source: AsyncSource,
    ) -> Coroutine[Any, Any, None]: ...


def is_async(application: object) -> bool:
    """Whether it is Asynchronous. Called as a WSGI one it leaves itself in environ[CHOSEN]."""
    return getattr(application, "is_async_engine", False) is True

"""What the engine needs of its callers, as types. Never imported at run time."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol

from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import Head

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Application = Callable[[dict[str, object], Any], Iterable[bytes]]


class Source(Protocol):
    """Where a body comes from."""

    def pull(self, want: int) -> bytes:
        """The next piece, at best ``want`` bytes, perhaps more; b"" at the stream's end.

        Blocks until something has come. Raises ConnectionError when the peer has left
        before the end, TimeoutError when it has been silent for too long.
        """

    def gather(self, want: int) -> bytes:
        """The next ``want`` bytes, fewer only at the stream's end. Raises as pull() does."""


class Out(Protocol):
    """Where an answer goes. Every member raises ConnectionError once the peer has left.

    answer(), start() and file() may refuse a head with AppError, having sent nothing.
    """

    def answer(self, head: Head, body: bytes) -> None:
        """The whole answer; nothing follows."""

    def start(self, head: Head, data: bytes) -> None:
        """The head and the first piece, sent before this returns."""

    def write(self, data: bytes) -> None:
        """A further piece, sent before this returns."""

    def file(self, head: Head, fd: int, offset: int, count: int) -> int:
        """The head and count bytes of a file; how many there were. end() or cut() follows."""

    def end(self) -> None:
        """The answer is complete."""

    def cut(self, error: BaseException) -> None:
        """The answer failed half-way: let the client see that it is not complete."""

    def failed(self, incident: str, error: BaseException) -> None:
        """Put the traceback where the operator looks, under the incident's id."""

    def refused(self, incident: str, error: PeerError) -> None:
        """One line for the operator: the request was refused, and its page names the incident."""

    def note(self, error: AppError) -> None:
        """One line for the operator: something of this answer was put right."""

    @property
    def gone(self) -> bool:
        """The peer has left: nobody waits for this answer."""

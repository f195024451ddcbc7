"""What a route may take of the daemon: the size of a body, and how many requests at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatebridge.engine.wsgi import FileWrapper
from gatebridge.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def limit_body(environ: dict[str, object], most: int) -> None:
    """Refuse a longer body; one whose length is not known is counted as it is read.

    most    bytes
    raises  PeerError("body.too_big"), PeerError("length.malformed")
    """
    length = str(environ.get("CONTENT_LENGTH") or "")
    if not length:
        if environ.get("wsgi.input") is not None:
            environ["wsgi.input"] = CountedInput(environ["wsgi.input"], most)
        return
    if not (length.isascii() and length.isdigit()):
        raise PeerError("length.malformed", repr(length[:32]))
    if len(length.lstrip("0")) > 19 or int(length) > most:
        raise _too_big(most)


def _too_big(most: int) -> PeerError:
    return PeerError("body.too_big", f"more than the {most} bytes of this route")


class CountedInput:
    """A wsgi.input that refuses to give more than so many bytes.

    Every member raises PeerError("body.too_big") once more have come.
    """

    __slots__ = ("_input", "_left", "_most")

    def __init__(self, source: Any, most: int) -> None:
        self._input = source
        self._most = most
        self._left = most

    @property
    def most(self) -> int:
        """Bytes; for who reads the body in another way."""
        return self._most

    def read(self, size: int | None = -1) -> bytes:
        return self._count(self._input.read(self._want(size)))

    def read1(self, size: int | None = -1) -> bytes:
        """What has come, as soon as there is something, where the input can tell."""
        read = getattr(self._input, "read1", self._input.read)
        return self._count(read(self._want(size)))

    def readline(self, size: int | None = -1) -> bytes:
        return self._count(self._input.readline(self._want(size)))

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint <= size:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _want(self, size: int | None) -> int:
        """One byte more than is allowed, to tell a body that is too long from one that is not."""
        if self._left < 0:
            raise _too_big(self._most)
        return self._left + 1 if size is None or size < 0 else min(size, self._left + 1)

    def _count(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise _too_big(self._most)
        return data


class Release:
    """The close() of an answer that holds a place; frees it once, whatever happens."""

    __slots__ = ("_close", "_leave", "_place")

    def __init__(self, leave: Callable[[int], None], place: int) -> None:
        self._leave: Callable[[int], None] | None = leave
        self._place = place
        self._close: Callable[[], object] | None = None

    def __call__(self) -> None:
        leave, self._leave = self._leave, None
        if leave is None:
            return
        try:
            if self._close is not None:
                self._close()
        finally:
            leave(self._place)

    def hold(self, result: Iterable[bytes]) -> Iterable[bytes]:
        """The answer with this as its close(), of a kind that the engine sends as fast."""
        self._close = getattr(result, "close", None)
        if isinstance(result, FileWrapper):
            result.close = self
            return result
        if type(result) is list or type(result) is tuple:
            return _HeldList(result, self)
        return _Held(result, self)


class _Held:
    __slots__ = ("_result", "close")

    def __init__(self, result: Iterable[bytes], close: Release) -> None:
        self._result = result
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._result)


class _HeldList(list[bytes]):
    """Still a list, so the engine knows the answer's length."""

    __slots__ = ("close",)

    def __init__(self, blocks: Iterable[bytes], close: Release) -> None:
        super().__init__(blocks)
        self.close = close

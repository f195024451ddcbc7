"""The lifespan half of ASGI 3: startup before the first request, shutdown behind the last.

"Lifespan Protocol" 2.0. An application that raises on it, or returns, does without.
"""

from asyncio import CancelledError, Future, Task, get_running_loop, wait

from gatebridge.errors import AppError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gatebridge.engine.aseams import AsgiApplication, Message

AUTO = "auto"  # go on without where the application raises on it
ON = "on"  # an application that raises on it is not served

_WAITING = 0  # for the application's word on startup
_RUNNING = 1
_ABSENT = 2  # it does without
_ASKED = 3  # to shut down
_ENDED = 4
_SILENT = "it returned without a word"


class Lifespan:
    """One application's, in one event loop.

    double  ASGI 2: called with the scope first
    mode    AUTO or ON
    absent  why the application does without; "" while it takes part
    """

    __slots__ = ("_answer", "_app", "_asked", "_double", "_mode", "_received", "_state", "_task",
                 "absent", "state")  # fmt: skip

    def __init__(
        self, app: "AsgiApplication | Any", double: bool = False, mode: str = AUTO
    ) -> None:
        self._app: Any = app
        self._double = double
        self._mode = mode
        self._state = _WAITING
        self._received = 0  # messages that receive() has given
        self._task: Task[None] | None = None
        self._answer: Future[str] | None = None  # "" for complete, else what went wrong
        self._asked: Future[None] | None = None  # done once shutdown is asked for
        self.absent = ""
        self.state: dict[str, Any] = {}

    async def startup(self) -> "dict[str, Any]":
        """Start the application; what it put into ``state``, which its owner copies.

        raises  AppError("lifespan.failed"): it says that it cannot serve;
                AppError("lifespan.raised"): ON, and it does without
        """
        loop = get_running_loop()
        self._answer = loop.create_future()
        self._asked = loop.create_future()
        self._task = loop.create_task(self._run())
        fault = await self._answered(self._answer, self._task)
        if fault:
            await _end(self._task)
            raise AppError("lifespan.failed", f"the application refuses to start: {fault}")
        if self._state == _ABSENT and self._mode == ON:
            raise AppError("lifespan.raised", f"the application has no lifespan: {self.absent}")
        return self.state

    async def shutdown(self) -> None:
        """Let it clean up, once. Whoever calls bounds the wait.

        raises  AppError("lifespan.failed"), AppError("lifespan.raised")
        """
        if self._state != _RUNNING or self._task is None or self._asked is None:
            return
        self._state = _ASKED
        self._answer = get_running_loop().create_future()
        if self._task.done():
            raise AppError("lifespan.raised", f"it had ended before shutdown: {self.absent}")
        self._asked.set_result(None)
        fault = await self._answered(self._answer, self._task)
        await _end(self._task)
        if fault:
            raise AppError("lifespan.failed", f"the application's shutdown failed: {fault}")

    async def _answered(self, answer: "Future[str]", task: "Task[None]") -> str:
        """What the application says; where the wait is cancelled, so is the application."""
        try:
            return await answer
        except CancelledError:
            await _end(task)
            raise

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "2.0" if self._double else "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            if self._double:
                await self._app(scope)(self._receive, self._send)
            else:
                await self._app(scope, self._receive, self._send)
            self._over("")
        except GeneratorExit:
            raise
        except BaseException as error:  # SystemExit too: it must not end the loop
            self._over(f"{type(error).__name__}: {error}")
            if isinstance(error, CancelledError):
                raise

    def _over(self, fault: str) -> None:
        """The application has returned, or raised what ``fault`` says."""
        if self._state == _WAITING:
            self._state = _ABSENT
            self.absent = fault or _SILENT
            self._tell("")
        elif self._state == _RUNNING:
            self.absent = fault or _SILENT
        elif self._state == _ASKED:
            self._tell(fault)  # to return is to have cleaned up

    def _tell(self, fault: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(fault)

    async def _receive(self) -> "Message":
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        if self._asked is not None:
            await self._asked
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: "Message") -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and self._state == _WAITING:
            self._state = _RUNNING
            self._tell("")
        elif kind == "lifespan.startup.failed" and self._state == _WAITING:
            self._state = _ABSENT
            self._tell(_said(message))
        elif kind == "lifespan.shutdown.complete" and self._state == _ASKED:
            self._state = _ENDED
            self._tell("")
        elif kind == "lifespan.shutdown.failed" and self._state == _ASKED:
            self._state = _ENDED
            self._tell(_said(message))
        else:
            raise AppError("asgi.order", f"{kind!r:.80} does not belong here")


async def _end(task: "Task[None]") -> None:
    """Leave nothing of the application in the loop: it has said all that it has to say."""
    task.cancel()
    await wait([task])


def _said(message: "Message") -> str:
    return str(message.get("message") or "") or "it does not say why"

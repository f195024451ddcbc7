"""Streams of events, each stamped with the time of its sending."""

import asyncio
import time

tick = asyncio.Event()


async def app(scope, receive, send):
    """/tick makes an event for every stream that is open; everything else is a stream."""
    if scope["type"] != "http":
        return
    head = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    if scope["path"].endswith("/tick"):
        tick.set()
        tick.clear()
        await send({"type": "http.response.body", "body": b"ok"})
        return
    await send({"type": "http.response.body", "body": b"open\n", "more_body": True})
    while True:
        await tick.wait()
        stamp = b"%020d\n" % time.monotonic_ns()
        await send({"type": "http.response.body", "body": stamp, "more_body": True})

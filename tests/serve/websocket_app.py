"""An ASGI application of WebSockets, beside that of aio_app.py: what it does the path says."""

import asyncio

from other import answer, event, notes
from other import app as http

SENT = {}


async def echo(name, socket):
    await socket.accept()
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            notes.append(f"echo {name} {message['code']} {message['reason']}")
            if message["code"] == 1001:
                with open("told", "a") as file:
                    file.write(f"{name}\n")
            return
        await socket.send(**{key: message[key] for key in ("text", "bytes") if key in message})


async def scope(name, socket):
    offered = socket.scope["subprotocols"]
    headers = [(b"x-said", b"yes")]
    await socket.accept(subprotocol=offered[-1] if offered else None, headers=headers)
    told = {key: repr(value) for key, value in socket.scope.items() if "environ" not in key}
    await socket.send(text=repr(told))


async def deny(name, socket):
    await socket.pass_on({"type": "websocket.close"})


async def denial(name, socket):
    prefix = "websocket.http.response"
    head = [(b"content-type", b"text/plain"), (b"x-why", b"busy")]
    await socket.pass_on({"type": f"{prefix}.start", "status": 418, "headers": head})
    await socket.pass_on({"type": f"{prefix}.body", "body": b"not ", "more_body": True})
    await socket.pass_on({"type": f"{prefix}.body", "body": b"now"})


async def close(name, socket):
    """/close/4001: the application closes with that code."""
    await socket.accept()
    await socket.pass_on({"type": "websocket.close", "code": int(name), "reason": "enough"})
    notes.append(f"closed {name} {(await socket.receive())['code']}")


async def surrogate(name, socket):
    """The text of a close frame that no UTF-8 can say."""
    await socket.accept()
    await socket.pass_on({"type": "websocket.close", "reason": "\ud800"})


async def returns(name, socket):
    await socket.accept()


async def silent(name, socket):
    pass


async def fail(name, socket):
    raise ValueError("a failure")


async def half(name, socket):
    await socket.accept()
    await socket.send(text="half")
    raise ValueError("a failure")


async def wrong(name, socket):
    await socket.accept()
    await socket.send(text="one", bytes=b"two")


async def waits(name, socket):
    """Accept only when told to, and hear of a client that does not wait."""
    notes.append(f"waits {name} in")
    told = asyncio.ensure_future(event(name).wait())
    heard = asyncio.ensure_future(socket.receive())
    done, _ = await asyncio.wait({told, heard}, return_when=asyncio.FIRST_COMPLETED)
    if told in done:
        await socket.accept()
        message = await heard
        await socket.send(text=f"heard {message.get('text')}")
    else:
        told.cancel()
        notes.append(f"waits {name} {heard.result()['code']}")


async def flood(name, socket):
    """Send until nobody takes it."""
    await socket.accept()
    try:
        while True:
            await socket.send(bytes=b"x" * 65_536)
            SENT[name] = SENT.get(name, 0) + 65_536
    except OSError:
        notes.append(f"flood {name} left")


async def lazy(name, socket):
    """Take nothing before it is told to; then count."""
    await socket.accept()
    await event(name).wait()
    size = 0
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        size += len(message["bytes"])
        await socket.send(text=str(size))


async def stays(name, socket):
    """Goes on behind the client's end, until it is cancelled."""
    await socket.accept()
    try:
        await event(name).wait()
    except asyncio.CancelledError:
        notes.append(f"stays {name} cancelled")
        raise


class Socket:
    def __init__(self, scope, receive, send):
        self.scope = scope
        self.receive = receive
        self.pass_on = send

    async def accept(self, **more):
        await self.pass_on({"type": "websocket.accept", **more})

    async def send(self, **data):
        await self.pass_on({"type": "websocket.send", **data})


DOES = (echo, scope, deny, denial, close, surrogate, returns, silent, fail, half, wrong, waits,
        flood, lazy, stays)  # fmt: skip


def old(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"old"]


async def app(scope, receive, send):
    path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
    what, _, name = path.strip("/").partition("/")
    if scope["type"] == "websocket":
        assert (await receive())["type"] == "websocket.connect"
        (does,) = [one for one in DOES if one.__name__ == what]
        await does(name, Socket(scope, receive, send))
    elif what == "flooded":
        await answer(send, SENT.get(name, 0))
    else:
        await http(scope, receive, send)

"""An ASGI application that does what the path says; what happened to a request is in /notes."""

import asyncio
import contextvars
import gc
import hashlib
import json
import os
import sys
import threading

notes = []
events = {}
STATE = {}
WHO = contextvars.ContextVar("who", default="nobody")


def event(name):
    return events.setdefault(name, asyncio.Event())


async def works_on():
    try:
        await asyncio.Event().wait()
    finally:
        with open("ended", "a") as file:
            file.write("cancelled\n")


async def lifespan(scope, receive, send):
    await receive()
    scope["state"]["began"] = "yes"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    with open("ended", "a") as file:
        file.write("shutdown\n")
    await send({"type": "lifespan.shutdown.complete"})


async def read(receive):
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("left")
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def answer(send, body, status=200, headers=()):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = [(b"content-type", b"text/plain"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def start(send, headers=(), **more):
    head = [(b"content-type", b"text/plain"), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": head, **more})


async def piece(send, body, more=True):
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def flood(name, receive, send):
    """Send until nobody takes it; noted is how much went out before each wait."""
    sent = 0
    await start(send)
    try:
        while sent < 1 << 30:
            await piece(send, b"x" * 65536)
            sent += 65536
            STATE[name] = sent
    except OSError:
        pass
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
    notes.append(f"flood {name} left")


async def hold(name, receive, send):
    try:
        notes.append(f"hold {name} in")
        await event(name).wait()
        await answer(send, b"held " + name.encode())
        notes.append(f"hold {name} out")
    except asyncio.CancelledError:
        notes.append(f"hold {name} cancelled")
        raise


async def tidy(name, receive, send):
    try:
        await event(name).wait()
    finally:
        notes.append(f"tidy {name} begins")
        await event(f"{name}-on").wait()
        notes.append(f"tidy {name} ended")


async def look(name, receive, send):
    """Ask often whether the client is there, as frameworks do while they stream."""
    await read(receive)
    for _ in range(100):
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    held = [one for one in gc.get_objects() if isinstance(one, asyncio.Future)]
    await answer(send, len([one for one in held if one.cancelled()]))


async def leaves_the_loop(name, receive, send):
    async def leave():
        sys.exit(3)

    loop = asyncio.get_running_loop()
    if name == "task":
        STATE[name] = loop.create_task(leave())
    elif name == "callback":
        loop.call_soon(sys.exit, 4)
    else:
        loop.stop()
    await answer(send, b"answered")


async def until_gone(name, receive, send):
    await read(receive)
    notes.append(f"gone {name} in")
    message = await receive()
    notes.append(f"gone {name} {message['type']}")


async def slowly(name, receive, send):
    """Take one piece of the body at each /go/NAME."""
    size = 0
    more = True
    while more:
        await event(name).wait()
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body")
    await answer(send, str(size).encode())


async def stream(name, receive, send):
    await start(send)
    await piece(send, b"first ")
    await event(name).wait()
    await piece(send, b"last", False)


async def background(name, receive, send):
    await answer(send, b"answered")
    await event(name).wait()
    notes.append(f"background {name} ended")


async def blocking(name, receive, send):
    with open(name, "rb") as fifo:  # an application that does what it should not
        fifo.read()
    await answer(send, b"unblocked")


def scope_of(scope):
    names = (
        "type",
        "http_version",
        "method",
        "scheme",
        "path",
        "root_path",
        "query_string",
        "raw_path",
        "headers",
        "client",
        "server",
        "state",
        "extensions",
        "asgi",
    )
    return {name: repr(scope.get(name)) for name in names}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    what, _, name = scope["path"].removeprefix(scope["root_path"]).strip("/").partition("/")
    long = {
        "flood": flood,
        "hold": hold,
        "tidy": tidy,
        "look": look,
        "leave": leaves_the_loop,
        "gone": until_gone,
        "slowly": slowly,
        "stream": stream,
        "background": background,
        "blocking": blocking,
    }
    if what in long:
        await long[what](name, receive, send)
    elif what == "echo":
        body = await read(receive)
        await answer(send, f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode())
    elif what == "go":
        event(name).set()
        await answer(send, b"gone on")
    elif what == "notes":
        await answer(send, notes)
    elif what == "task":
        STATE[name] = asyncio.create_task(works_on())
        await answer(send, b"begun")
    elif what == "who":
        was = WHO.get()
        WHO.set(name)
        await answer(send, was)
    elif what == "sent":
        await answer(send, STATE.get(name, 0))
    elif what == "tasks":
        await answer(send, len(asyncio.all_tasks()))
    elif what == "loop":
        await answer(send, type(asyncio.get_running_loop()).__module__)
    elif what == "pid":
        await answer(send, os.getpid())
    elif what == "scope":
        await answer(send, scope_of(scope))
    elif what == "fail":
        raise ValueError("a failure")
    elif what == "half":
        await start(send)
        await piece(send, b"half")
        raise ValueError("a failure")
    elif what == "file":
        await start(send)
        path = os.path.join(os.getcwd(), name)
        await send({"type": "http.response.pathsend", "path": path})
    elif what == "hints":
        links = [b"</a.css>; rel=preload"]
        await send({"type": "http.response.early_hint", "links": links})
        await answer(send, b"hinted")
    elif what == "trailers":
        await start(send, trailers=True)
        await piece(send, b"body", False)
        fields = [(b"x-first", b"1")]
        await send({"type": "http.response.trailers", "headers": fields, "more_trailers": True})
        fields = [(b"x-sum", b"7")]
        await send({"type": "http.response.trailers", "headers": fields, "more_trailers": False})
    else:
        await answer(send, b"hello")


async def stubborn(scope, receive, send):
    """Does not end when it is cancelled."""
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    while scope["path"] == "/stubborn":
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue
    await answer(send, os.getpid())


async def refusing(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})


def old(environ, start_response):
    what, _, name = environ["PATH_INFO"].strip("/").partition("/")
    if what == "hold":
        with open(name, "rb") as fifo:
            fifo.read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"wsgi {threading.current_thread().name} {environ['SCRIPT_NAME']}".encode()]


async def whole(scope, receive, send):
    """The same, by the whole path."""
    await app({**scope, "root_path": ""}, receive, send)

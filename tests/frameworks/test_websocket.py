"""Frameworks' WebSockets under a mount: an echo, a refusal, and how they hear of the end."""

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.serve.aio_live import DEADLINE_S, aio
from tests.serve.websocket_live import client

FASTAPI = """
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
app = FastAPI()

@app.websocket("/echo/{name}")
async def echo(socket: WebSocket, name: str):
    await socket.accept()
    try:
        while True:
            await socket.send_text(name + " " + await socket.receive_text())
    except WebSocketDisconnect as error:
        print("left", error.code, file=sys.stderr, flush=True)

@app.websocket("/close")
async def close(socket: WebSocket):
    await socket.accept()
    await socket.close(4001, "enough")

@app.websocket("/deny")
async def deny(socket: WebSocket):
    await socket.close()
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

async def echo(socket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(socket.path_params["name"] + " " + await socket.receive_text())
    except WebSocketDisconnect as error:
        print("left", error.code, file=sys.stderr, flush=True)

async def close(socket):
    await socket.accept()
    await socket.close(4001, "enough")

async def deny(socket):
    await socket.close()

app = Starlette(routes=[WebSocketRoute("/echo/{name}", echo), WebSocketRoute("/close", close),
                        WebSocketRoute("/deny", deny)])
"""
QUART = """
import asyncio
from quart import Quart, abort, websocket
app = Quart(__name__)

@app.websocket("/echo/<name>")
async def echo(name):
    try:
        while True:
            await websocket.send(name + " " + await websocket.receive())
    except asyncio.CancelledError:
        print("left", 1000, file=sys.stderr, flush=True)
        raise

@app.websocket("/close")
async def close():
    await websocket.accept()
    await websocket.close(4001, "enough")

@app.websocket("/deny")
async def deny():
    abort(403)
"""
FALCON = """
import falcon.asgi

class Echo:
    async def on_websocket(self, request, socket, name):
        await socket.accept()
        try:
            while True:
                await socket.send_text(name + " " + await socket.receive_text())
        except falcon.WebSocketDisconnected as error:
            print("left", error.code, file=sys.stderr, flush=True)

class Close:
    async def on_websocket(self, request, socket):
        await socket.accept()
        await socket.close(4001, "enough")

class Deny:
    async def on_websocket(self, request, socket):
        await socket.close()

app = falcon.asgi.App()
app.add_route("/echo/{name}", Echo())
app.add_route("/close", Close())
app.add_route("/deny", Deny())
"""


@pytest.mark.parametrize(
    "app", [FASTAPI, STARLETTE, QUART, FALCON], ids=["fastapi", "starlette", "quart", "falcon"]
)
def test_a_framework(tmp_path, app):
    with aio(tmp_path, "--mount", "/app", app=f"import sys\n{app}") as live:
        with client(live, "/app/echo/n%20m") as socket:
            for text in ("one", "\u2603"):
                socket.send(text)
                assert socket.recv(DEADLINE_S) == f"n m {text}"
        live.until_log("left 1000")
        with client(live, "/app/close") as socket:
            with pytest.raises(ConnectionClosed) as found:
                socket.recv(DEADLINE_S)
        assert found.value.rcvd.code == 4001
        for target in ("/app/deny", "/app/nothing"):
            with pytest.raises(InvalidStatus) as refused:
                client(live, target)
            assert refused.value.response.status_code in (403, 404)
        assert "app.failed" not in live.log()

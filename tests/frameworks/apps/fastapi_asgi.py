import os
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse

from tests.frameworks.apps import said


def note(name):
    with open(os.path.join(os.environ["FRAMEWORKS_GATES"], name), "a") as file:
        file.write("x")


@asynccontextmanager
async def lifespan(app):
    note("fastapi.began")
    yield
    note("fastapi.ended")


app = FastAPI(lifespan=lifespan)


@app.get("/hello")
async def hello(request: Request, q: str = ""):
    return {
        "url": str(request.url),
        "path": request.url_for("hello").path,
        "absolute": str(request.url_for("hello")),
        "client": request.client.host,
        "q": q,
    }


@app.get("/name/{name}")
def named(request: Request, name: str):
    return {"name": name, "path": request.url_for("named", name=name).path}


@app.get("/cookie")
async def cookie(request: Request, response: Response):
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", httponly=True)
    return dict(request.cookies)


@app.post("/upload")
async def upload(file: UploadFile, field: Annotated[str, Form()]):
    return said.upload(file.filename, await file.read(), field)


@app.post("/raw")
async def raw(request: Request):
    return said.raw(await request.body())


@app.get("/stream")
async def stream(gate: str = ""):
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(said.astream(gate), media_type="text/plain", headers=headers)


@app.get("/away")
async def away(request: Request):
    return RedirectResponse(request.url_for("hello"))


@app.get("/fail")
async def fail():
    raise ValueError("a failure")


async def borrowed():
    yield "borrowed"
    note("fastapi.given-back")


@app.get("/after")
async def after(tasks: BackgroundTasks, what: Annotated[str, Depends(borrowed)]):
    tasks.add_task(note, "fastapi.after")
    return JSONResponse({"what": what})

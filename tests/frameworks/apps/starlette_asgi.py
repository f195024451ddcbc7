from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route

from tests.frameworks.apps import said


async def hello(request):
    return JSONResponse(
        {
            "url": str(request.url),
            "path": request.url_for("hello").path,
            "absolute": str(request.url_for("hello")),
            "client": request.client.host,
            "q": request.query_params.get("q", ""),
        }
    )


async def named(request):
    name = request.path_params["name"]
    return JSONResponse({"name": name, "path": request.url_for("named", name=name).path})


async def cookie(request):
    answer = JSONResponse(dict(request.cookies))
    answer.set_cookie("first", "1")
    answer.set_cookie("second", "2", httponly=True)
    return answer


async def upload(request):
    async with request.form() as form:
        file = form["file"]
        return JSONResponse(said.upload(file.filename, await file.read(), form["field"]))


async def raw(request):
    return JSONResponse(said.raw(b"".join([piece async for piece in request.stream()])))


async def stream(request):
    pieces = said.astream(request.query_params.get("gate", ""))
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(pieces, media_type="text/plain", headers=headers)


async def away(request):
    return RedirectResponse(request.url_for("hello"))


async def fail(request):
    raise ValueError("a failure")


app = Starlette(
    routes=[
        Route("/hello", hello, name="hello"),
        Route("/name/{name}", named, name="named"),
        Route("/cookie", cookie),
        Route("/upload", upload, methods=["POST"]),
        Route("/raw", raw, methods=["POST"]),
        Route("/stream", stream),
        Route("/away", away),
        Route("/fail", fail),
    ]
)

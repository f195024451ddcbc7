from sanic import Sanic
from sanic.response import json, redirect

from tests.frameworks.apps import said

app = Sanic("rows")


def root_path(request):
    """Sanic knows no mount: url_for() gives the path below it."""
    return request.transport.scope.get("root_path", "")


@app.get("/hello")
async def hello(request):
    return json(
        {
            "url": request.url,
            "path": app.url_for("hello"),
            "absolute": request.url_for("hello"),
            "client": request.ip,
            "q": request.args.get("q", ""),
        }
    )


@app.get("/name/<name:str>", unquote=True)
async def named(request, name):
    return json({"name": name, "path": app.url_for("named", name=name)})


@app.get("/cookie")
async def cookie(request):
    answer = json({name: request.cookies.get(name) for name in request.cookies})
    answer.add_cookie("first", "1", secure=False)
    answer.add_cookie("second", "2", secure=False, httponly=True)
    return answer


@app.post("/upload")
async def upload(request):
    file = request.files.get("file")
    return json(said.upload(file.name, file.body, request.form.get("field")))


@app.post("/raw")
async def raw(request):
    return json(said.raw(request.body))


@app.get("/stream")
async def stream(request):
    headers = {"X-Accel-Buffering": "no"}
    answer = await request.respond(content_type="text/plain", headers=headers)
    async for piece in said.astream(request.args.get("gate", "")):
        await answer.send(piece)
    await answer.eof()


@app.get("/away")
async def away(request):
    return redirect(root_path(request) + app.url_for("hello"))


@app.get("/fail")
async def fail(request):
    raise ValueError("a failure")

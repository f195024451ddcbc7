from quart import Quart, jsonify, redirect, request, url_for

from tests.frameworks.apps import said

app = Quart(__name__)


@app.get("/hello")
async def hello():
    return jsonify(
        url=request.url,
        path=url_for("hello"),
        absolute=url_for("hello", _external=True),
        client=request.remote_addr,
        q=request.args.get("q", ""),
    )


@app.get("/name/<name>")
async def named(name):
    return jsonify(name=name, path=url_for("named", name=name))


@app.get("/cookie")
async def cookie():
    answer = jsonify(request.cookies)
    answer.set_cookie("first", "1")
    answer.set_cookie("second", "2", httponly=True)
    return answer


@app.post("/upload")
async def upload():
    file = (await request.files)["file"]
    return said.upload(file.filename, file.read(), (await request.form)["field"])


@app.post("/raw")
async def raw():
    return said.raw(b"".join([piece async for piece in request.body]))


@app.get("/stream")
async def stream():
    headers = {"X-Accel-Buffering": "no", "Content-Type": "text/plain"}
    return said.astream(request.args.get("gate", "")), 200, headers


@app.get("/away")
async def away():
    return redirect(url_for("hello"))


@app.get("/fail")
async def fail():
    raise ValueError("a failure")

import json

from bottle import Bottle, redirect, request, response

from tests.frameworks.apps import said

app = Bottle()


def origin():
    parts = request.urlparts
    return f"{parts.scheme}://{parts.netloc}"


@app.get("/hello", name="hello")
def hello():
    return {
        "url": request.url,
        "path": app.get_url("hello"),
        "absolute": origin() + app.get_url("hello"),
        "client": request.remote_addr,
        "q": request.query.getunicode("q", ""),
    }


@app.get("/name/<name>", name="named")
def named(name):
    return {"name": name, "path": app.get_url("named", name=name)}


@app.get("/cookie")
def cookie():
    response.set_cookie("first", "1", path="/")
    response.set_cookie("second", "2", path="/", httponly=True)
    response.content_type = "application/json"
    return json.dumps(dict(request.cookies))


@app.post("/upload")
def upload():
    file = request.files.get("file")
    return said.upload(file.raw_filename, file.file.read(), request.forms.getunicode("field"))


@app.post("/raw")
def raw():
    return said.raw(request.body.read())


@app.get("/stream")
def stream():
    response.set_header("X-Accel-Buffering", "no")
    response.content_type = "text/plain"
    return said.stream(request.query.get("gate", ""))


@app.get("/away")
def away():
    redirect(app.get_url("hello"))


@app.get("/fail")
def fail():
    raise ValueError("a failure")

from flask import Flask, Response, jsonify, redirect, request, url_for

from tests.frameworks.apps import said

app = Flask(__name__)


@app.get("/hello")
def hello():
    return jsonify(
        url=request.url,
        path=url_for("hello"),
        absolute=url_for("hello", _external=True),
        client=request.remote_addr,
        q=request.args.get("q", ""),
    )


@app.get("/name/<name>")
def named(name):
    return jsonify(name=name, path=url_for("named", name=name))


@app.get("/cookie")
def cookie():
    answer = jsonify(request.cookies)
    answer.set_cookie("first", "1")
    answer.set_cookie("second", "2", httponly=True)
    return answer


@app.post("/upload")
def upload():
    file = request.files["file"]
    return said.upload(file.filename, file.read(), request.form["field"])


@app.post("/raw")
def raw():
    return said.raw(request.get_data())


@app.get("/stream")
def stream():
    headers = {"X-Accel-Buffering": "no"}
    return Response(
        said.stream(request.args.get("gate", "")), mimetype="text/plain", headers=headers
    )


@app.get("/away")
def away():
    return redirect(url_for("hello"))


@app.get("/fail")
def fail():
    raise ValueError("a failure")

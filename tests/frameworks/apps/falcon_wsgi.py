import falcon

from tests.frameworks.apps import said


class Hello:
    def on_get(self, req, resp):
        resp.media = {
            "url": req.url,
            "path": req.root_path + "/hello",
            "absolute": req.prefix + "/hello",
            "client": req.remote_addr,
            "q": req.get_param("q", default=""),
        }


class Named:
    def on_get(self, req, resp, name):
        path = req.root_path + "/name/" + falcon.uri.encode_value(name)
        resp.media = {"name": name, "path": path}


class Cookie:
    def on_get(self, req, resp):
        resp.media = dict(req.cookies)
        resp.set_cookie("first", "1", secure=False)
        resp.set_cookie("second", "2", secure=False, http_only=True)


class Upload:
    def on_post(self, req, resp):
        for part in req.get_media():
            if part.name == "file":
                name, data = part.filename, part.stream.read()
            else:
                field = part.text
        resp.media = said.upload(name, data, field)


class Raw:
    def on_post(self, req, resp):
        resp.media = said.raw(req.bounded_stream.read())


class Stream:
    def on_get(self, req, resp):
        resp.content_type = "text/plain"
        resp.set_header("X-Accel-Buffering", "no")
        resp.stream = said.stream(req.get_param("gate", default=""))


class Away:
    def on_get(self, req, resp):
        raise falcon.HTTPFound(req.prefix + "/hello")


class Fail:
    def on_get(self, req, resp):
        raise ValueError("a failure")


app = falcon.App()
app.add_route("/hello", Hello())
app.add_route("/name/{name}", Named())
app.add_route("/cookie", Cookie())
app.add_route("/upload", Upload())
app.add_route("/raw", Raw())
app.add_route("/stream", Stream())
app.add_route("/away", Away())
app.add_route("/fail", Fail())

import tornado.web

from tests.frameworks.apps import said


class Handler(tornado.web.RequestHandler):
    def mounted(self, name, *args):
        """Tornado knows no mount of its own: the request has it, as everywhere else here."""
        return self.request.connection.context.root_path + self.reverse_url(name, *args)


class Hello(Handler):
    def get(self):
        path = self.mounted("hello")
        self.write(
            {
                "url": self.request.full_url(),
                "path": path,
                "absolute": f"{self.request.protocol}://{self.request.host}{path}",
                "client": self.request.remote_ip,
                "q": self.get_query_argument("q", ""),
            }
        )


class Named(Handler):
    def get(self, name):
        self.write({"name": name, "path": self.mounted("named", name)})


class Cookie(Handler):
    def get(self):
        self.set_cookie("first", "1")
        self.set_cookie("second", "2", httponly=True)
        self.write({name: morsel.value for name, morsel in self.cookies.items()})


class Upload(Handler):
    def post(self):
        (file,) = self.request.files["file"]
        self.write(said.upload(file.filename, file.body, self.get_body_argument("field")))


@tornado.web.stream_request_body
class Raw(Handler):
    def prepare(self):
        self.pieces = []

    def data_received(self, chunk):
        self.pieces.append(chunk)

    def post(self):
        self.write(said.raw(b"".join(self.pieces)))


class Stream(Handler):
    async def get(self):
        self.set_header("Content-Type", "text/plain")
        self.set_header("X-Accel-Buffering", "no")
        async for piece in said.astream(self.get_query_argument("gate", "")):
            self.write(piece)
            await self.flush()


class Away(Handler):
    def get(self):
        self.redirect(self.mounted("hello"))


class Fail(Handler):
    def get(self):
        raise ValueError("a failure")


app = tornado.web.Application(
    [
        tornado.web.url(r"/hello", Hello, name="hello"),
        tornado.web.url(r"/name/([^/]+)", Named, name="named"),
        (r"/cookie", Cookie),
        (r"/upload", Upload),
        (r"/raw", Raw),
        (r"/stream", Stream),
        (r"/away", Away),
        (r"/fail", Fail),
    ]
)

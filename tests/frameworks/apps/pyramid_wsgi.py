from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.response import Response

from tests.frameworks.apps import said


def hello(request):
    return {
        "url": request.url,
        "path": request.route_path("hello"),
        "absolute": request.route_url("hello"),
        "client": request.remote_addr,
        "q": request.params.get("q", ""),
    }


def named(request):
    name = request.matchdict["name"]
    return {"name": name, "path": request.route_path("named", name=name)}


def cookie(request):
    request.response.set_cookie("first", "1")
    request.response.set_cookie("second", "2", httponly=True)
    return dict(request.cookies)


def upload(request):
    file = request.POST["file"]
    return said.upload(file.filename, file.file.read(), request.POST["field"])


def raw(request):
    return said.raw(request.body)


def stream(request):
    answer = Response(content_type="text/plain", charset=None)
    answer.headers["X-Accel-Buffering"] = "no"
    answer.app_iter = said.stream(request.params.get("gate", ""))
    return answer


def away(request):
    return HTTPFound(request.route_url("hello"))


def fail(request):
    raise ValueError("a failure")


def make():
    config = Configurator()
    for view, path, renderer in (
        (hello, "/hello", "json"),
        (named, "/name/{name}", "json"),
        (cookie, "/cookie", "json"),
        (upload, "/upload", "json"),
        (raw, "/raw", "json"),
        (stream, "/stream", None),
        (away, "/away", None),
        (fail, "/fail", None),
    ):
        config.add_route(view.__name__, path)
        config.add_view(view, route_name=view.__name__, renderer=renderer)
    return config.make_wsgi_app()


app = make()

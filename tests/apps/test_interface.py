"""--interface: how an application is told, and what it is served by."""

import functools
import inspect

import pytest

from gatebridge.apps.interface import (
    INTERFACES,
    LIFESPANS,
    ROOT_PATHS,
    Interface,
    as_application,
    interface_of,
)
from gatebridge.engine.asgi import Asgi
from gatebridge.errors import ConfigError
from gatebridge.settings import Settings


def wsgi(environ, start_response):
    return []


def wsgi_factory():
    return wsgi


async def asgi(scope, receive, send):
    pass


def returning(scope, receive, send):
    return asgi(scope, receive, send)


def double(scope):
    async def instance(receive, send):
        pass

    return instance


class WsgiObject:
    def __call__(self, environ, start_response):
        return []


class WsgiClass:
    """Its instances are the iterable."""

    def __init__(self, environ, start_response):
        pass

    def __iter__(self):
        return iter(())


class WsgiAny:
    def __call__(self, *args):
        return []


class AsgiObject:
    async def __call__(self, scope, receive, send):
        pass

    async def method(self, scope, receive, send):
        pass


class AsgiAwaitable:
    """A class called with all three, awaited."""

    def __init__(self, scope, receive, send):
        pass

    def __await__(self):
        yield


class DoubleClass:
    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


class Marked:
    _asgi_single_callable = True

    def __call__(self, *args):
        pass


class MarkedDouble:
    _asgi_double_callable = True

    def __call__(self, *args):
        pass


async def with_more(scope, receive, send, extra):
    pass


APPLICATIONS = [
    (wsgi, "wsgi"),
    (wsgi_factory, "wsgi"),
    (WsgiObject(), "wsgi"),
    (WsgiClass, "wsgi"),
    (WsgiAny(), "wsgi"),
    (dict, "wsgi"),
    (functools.partial(lambda extra, environ, start_response: [], 1), "wsgi"),
    (asgi, "asgi"),
    (returning, "asgi"),
    (AsgiObject(), "asgi"),
    (AsgiObject().method, "asgi"),
    (AsgiAwaitable, "asgi"),
    (functools.partial(with_more, extra=1), "asgi"),
    (Marked(), "asgi"),
    (double, "asgi2"),
    (DoubleClass, "asgi2"),
    (MarkedDouble(), "asgi2"),
]


@pytest.mark.parametrize(("app", "kind"), APPLICATIONS, ids=range(len(APPLICATIONS)))
def test_how_they_look(app, kind):
    assert interface_of(app) == kind


def flask():
    import flask

    return flask.Flask("shop")


def django_asgi():
    from django.core.handlers.asgi import ASGIHandler

    return ASGIHandler.__new__(ASGIHandler)


def django_wsgi():
    from django.core.handlers.wsgi import WSGIHandler

    return WSGIHandler.__new__(WSGIHandler)


def starlette():
    from starlette.applications import Starlette

    return Starlette()


def fastapi():
    import fastapi

    return fastapi.FastAPI()


def quart():
    import quart

    return quart.Quart("shop")


def sanic():
    import sanic

    return sanic.Sanic.__new__(sanic.Sanic)


def falcon_asgi():
    import falcon.asgi

    return falcon.asgi.App()


def falcon_wsgi():
    import falcon

    return falcon.App()


def bottle():
    import bottle

    return bottle.Bottle()


def tornado():
    import tornado.web

    return tornado.web.Application()


REAL = [
    (flask, "wsgi"),
    (django_wsgi, "wsgi"),
    (falcon_wsgi, "wsgi"),
    (bottle, "wsgi"),
    (django_asgi, "asgi"),
    (starlette, "asgi"),
    (fastapi, "asgi"),
    (quart, "asgi"),
    (sanic, "asgi"),
    (falcon_asgi, "asgi"),
    (tornado, "tornado"),
]


@pytest.mark.parametrize(("make", "kind"), REAL, ids=[row[0].__name__ for row in REAL])
def test_real_ones(make, kind):
    assert interface_of(make()) == kind


def test_a_wsgi_application_is_served_as_it_is():
    assert as_application(wsgi, Interface(), "shop:app") is wsgi


@pytest.mark.parametrize("kind", ["auto", "asgi"])
def test_an_asgi_application_gets_an_engine(kind):
    engine = as_application(asgi, Interface(kind), "shop:app")
    assert isinstance(engine, Asgi)


def test_what_is_said_counts_more_than_the_looks():
    assert as_application(WsgiAny(), Interface("asgi"), "shop:app").is_async_engine
    assert as_application(double, Interface("wsgi"), "shop:app") is double


def test_wsgi_for_a_coroutine_function_is_refused():
    with pytest.raises(ConfigError, match="shop:app") as raised:
        as_application(asgi, Interface("wsgi"), "shop:app")
    assert raised.value.code == "app.interface"


ROOTS = [("auto", asgi, False), ("auto", sanic, True), ("strip", asgi, True),
         ("include", sanic, False)]  # fmt: skip


@pytest.mark.parametrize(("style", "app", "strip"), ROOTS)
def test_sanic_gets_no_root_path_in_its_path(style, app, strip):
    app = app() if app is sanic else app
    engine = as_application(app, Interface("asgi", style), "shop:app")
    assert engine.strips_root_path is strip


def test_lifespan_off():
    engine = as_application(asgi, Interface(lifespan="off"), "shop:app")
    assert engine.without_lifespan == "it is off"
    assert inspect.iscoroutinefunction(engine.startup)


def test_the_settings_have_the_same_choices():
    fields = Settings.__dataclass_fields__
    assert fields["interface"].metadata["choices"] == INTERFACES
    assert fields["root_path_style"].metadata["choices"] == ROOT_PATHS
    assert fields["lifespan"].metadata["choices"] == LIFESPANS

"""Which interface an application has, and how it is served by it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application

INTERFACES: Final = ("auto", "wsgi", "asgi", "asgi2", "tornado")
ROOT_PATHS: Final = ("auto", "include", "strip")
LIFESPANS: Final = ("auto", "on", "off")

_STRIPPED: Final = (  # 404 for any path that includes root_path
    ("sanic.app", "Sanic"),
    ("falcon.asgi.app", "App"),
)
_EMPTY: Final = inspect.Parameter.empty
_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


@dataclass(frozen=True, slots=True)
class Interface:
    """What an operator says about applications; "auto" is for what they look like.

    kind       one of INTERFACES
    root_path  whether an ASGI scope's path includes its root_path: one of ROOT_PATHS
    lifespan   whether ASGI's startup and shutdown are sent: one of LIFESPANS
    """

    kind: str = "auto"
    root_path: str = "auto"
    lifespan: str = "auto"


AUTO: Final = Interface()


def interface_of(app: object) -> str:
    """ "wsgi", "asgi", "asgi2" or "tornado", by how a callable looks.

    The rules are asgiref's and uvicorn's: its marks first, then coroutine functions; what is
    none goes by the arguments it needs: 3 for ASGI 3, one named scope for ASGI 2, else WSGI.
    """
    if _has_base(app, "tornado.web", "Application"):
        return "tornado"
    if getattr(app, "_asgi_single_callable", False):
        return "asgi"
    if getattr(app, "_asgi_double_callable", False):
        return "asgi2"
    if inspect.isclass(app):
        return _interface_of_class(app)
    call = getattr(type(app), "__call__", None)  # noqa: B004 - the method itself is asked for
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call):
        return "asgi"
    needed = _needed(app)
    if len(needed) == 3:
        return "asgi"
    return "asgi2" if needed == ["scope"] else "wsgi"


def _interface_of_class(app: type) -> str:
    """Calling it makes an instance per request; what that is then awaited or called with."""
    if hasattr(app, "__await__"):
        return "asgi"
    call = getattr(app, "__call__", None)  # noqa: B004 - as above
    return "asgi2" if inspect.iscoroutinefunction(call) else "wsgi"


def _needed(app: Any) -> list[str]:
    """The positional arguments it must be given; none where that cannot be told."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):  # written in C, or in a way of its own
        return []
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        return []
    return [one.name for one in parameters if one.kind in _POSITIONAL and one.default is _EMPTY]


def _has_base(app: object, module: str, name: str) -> bool:
    """Whether it is an instance of a class of another package, which is not imported here."""
    return any(base.__module__ == module and base.__name__ == name for base in type(app).__mro__)


def as_application(app: Any, interface: Interface, target: str) -> Application:
    """What the routes hold: a WSGI application as it is, any other as the engine that serves it.

    An engine can be called as a WSGI application: it then says who it is; see Asgi.__call__().
    raises  ConfigError("app.interface")
    """
    seen = interface_of(app)
    kind = seen if interface.kind == "auto" else interface.kind
    if kind == "wsgi":
        if seen in ("asgi", "tornado") and interface.kind == "wsgi":
            why = f"interface says wsgi, but {target} is an application for {seen}"
            raise ConfigError("app.interface", why)
        wsgi: Application = app
        return wsgi
    if kind == "tornado":
        from gatebridge.engine.asgi import Asgi  # as below
        from gatebridge.engine.tornado import TornadoAsgi

        return Asgi(TornadoAsgi(app), False, True, None, False)  # its routes lie below the mount
    return _asgi(app, interface, kind == "asgi2")


def _asgi(app: Any, interface: Interface, double: bool) -> Application:
    from gatebridge.engine.asgi import Asgi  # only where one is served: it brings asyncio
    from gatebridge.engine.lifespan import Lifespan

    strip = interface.root_path == "strip"
    if interface.root_path == "auto":
        strip = any(_has_base(app, module, name) for module, name in _STRIPPED)
    lifespan = None
    if interface.lifespan != "off":
        lifespan = Lifespan(app, double, interface.lifespan)
    return Asgi(app, double, strip, lifespan)

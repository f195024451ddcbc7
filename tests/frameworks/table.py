"""The frameworks, and what must be said for one of them."""

from tests.frameworks.stand import Framework

FRAMEWORKS = (
    Framework("flask_wsgi"),
    Framework("bottle_wsgi"),
    Framework("pyramid_wsgi"),
    Framework("falcon_wsgi"),
    Framework("django_wsgi"),
    Framework("django_asgi"),
    Framework("starlette_asgi"),
    Framework("fastapi_asgi"),
    Framework("quart_asgi"),
    Framework("sanic_asgi", ("url", "path", "absolute")),
    Framework("falcon_asgi"),
    Framework("tornado_app", ("url",)),
)

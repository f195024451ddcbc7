from django.core.asgi import get_asgi_application

from tests.frameworks.apps import django_site  # noqa: F401 - sets Django up

app = get_asgi_application()

from django.core.wsgi import get_wsgi_application

from tests.frameworks.apps import django_site  # noqa: F401 - sets Django up

app = get_wsgi_application()
